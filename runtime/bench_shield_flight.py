"""One flight of the adversary through tick and shield on the independent simulator, and whether the assumptions held in it.

The vehicle is rotorpy's, behind the simulated flight controller's rate loop; the clock does not wait. Everything random comes from
the seed: fence, floor, obstacles, wind, gusts, payload, delays, missed ticks, errors of the estimate, and in every third flight
something that breaks an assumption. Whether one was broken is not taken from what was meant, but measured afterwards, from the
simulator's own states against the plant that the certificate speaks of (docs/certificate.md, section 2).
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.simulator import Factors, SimulatedQuadrotor
from tubepilot.firmware_bridge.simulator_wind import GustyWind, wind_vector
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, FlightMode, Setpoint, Vector, VehicleState

from .bench_shield_adversary import Adversary
from .keep_clear import KeepClear, Obstacle
from .local_frame import LocalFrame
from .observer import DisturbanceObserver
from .on_board import STATE_AGE_S, OnBoard
from .phases import Phase
from .predictor import Predictor
from .reference import Hover
from .shield import Decision, Shield, Verdict
from .shield_margins import Held
from .shield_states import flatten
from .state_check import StateLimits
from .tick import Tick
from .tick_types import PLAN_SHARE, SEND_SHARE, Guidance, Instant, TickSettings

SETTLE_S, RISE_S = 2.0, 1.0
"""Until then the vehicle hovers in the open, so that the estimate of the disturbance settles; the wind is up after the second [s]."""
FAULTS = ("none", "gust", "payload", "thrust", "delay", "missed ticks", "frozen state")
HEIGHT_M = 40.0
STYLES = ((0.006, 0.15), (0.008, 0.2), (0.01, 0.25), (0.011, 0.3), (0.03, 0.0), (3.0, 0.0))
"""Of the adversary: largest change of its rates from tick to tick [rad/s], and the margin that it leaves. The rate loop follows the
first ones to the residual that is assumed; the last is as fast as the limits."""
NOISE = (0.008, 0.015, 0.002, 0.015)
"""Largest errors of the streamed state: position [m], velocity [m/s], attitude [rad], rates [rad/s]."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What one flight is flown in; drawn by `draw_scene`.

    Attributes:
        fault, fault_s, size: What is broken on purpose, from when on [s], and how much of it, 0 to 1.
        wind_m_s, from_deg, gust_m_s: Wind.
        mass, thrust: Factors of the vehicle.
        slew_rad_s: Largest change of the adversary's rates from tick to tick.
        reserve: Margin that it leaves.
        clear: Fence, floor and obstacles, around where the vehicle is when it has settled.
    """

    fault: str
    fault_s: float
    size: float
    wind_m_s: float
    from_deg: float
    gust_m_s: float
    mass: float
    thrust: float
    slew_rad_s: float
    reserve: float
    clear: KeepClear


@dataclass(frozen=True, slots=True)
class FlightResult:
    """What came of one flight.

    Attributes:
        seed, fault: Which flight.
        held: Whether every assumption held until its end or the breach.
        broken: Which assumptions were broken, with the instant of each [s].
        worst: Largest share of each assumption that was used.
        breach_s: When the vehicle was outside the fence, below the floor or in an obstacle [s]; None if never.
        breach: Which of them.
        void_s, reason: When the certificate was declared void, and why; None if never.
        duration_s: How long it flew.
        verdicts: Ticks by verdict.
        closest_m: Smallest distance from fence, floor and obstacles; negative: by how much it was beyond.
        speed_m_s: Largest speed.
        path: Position every tenth of a second, rounded to centimetres.
    """

    seed: int
    fault: str
    held: bool
    broken: dict[str, float]
    worst: dict[str, float]
    breach_s: float | None
    breach: str
    void_s: float | None
    reason: str
    duration_s: float
    verdicts: dict[str, int]
    closest_m: float
    speed_m_s: float
    path: list[list[float]] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def draw_scene(seed: int, room_m: tuple[float, float]) -> Scene:
    """Fence, floor, obstacles, wind, vehicle and fault of a seed.

    Args:
        seed: Every third one breaks something on purpose.
        room_m: What the vehicle needs to stop from hover, horizontally and vertically: at least so much is there.
    """
    random = np.random.default_rng(seed)
    across, high = room_m
    obstacles = []
    for _ in range(int(random.integers(0, 4))):
        angle, radius = float(random.uniform(0.0, 2.0 * math.pi)), float(random.uniform(0.3, 2.0))
        far = across + 1.5 * radius + float(random.uniform(0.4, 12.0))  # the corner of a box is nearer than its faces
        centre = (far * math.cos(angle), far * math.sin(angle), float(random.uniform(-2.0, 2.0)))
        half = ((0.0, 0.0, 0.0), (0.0, 0.0, math.inf), (radius, radius, 2.0 * radius))[int(random.integers(3))]
        obstacles.append(Obstacle(centre, half, radius if half[0] == 0.0 else 0.1))
    slew_rad_s, reserve = STYLES[int(random.integers(len(STYLES)))]
    floor = -high - float(random.uniform(0.3, 4.0)) if random.random() < 0.7 else -math.inf
    clear = KeepClear(across + float(random.uniform(0.3, 14.0)), floor, obstacles=tuple(obstacles))
    return Scene(
        fault=str(random.choice(FAULTS[1:])) if seed % 3 == 2 else "none",
        fault_s=float(random.uniform(SETTLE_S, SETTLE_S + 2.0)),
        size=float(random.uniform(0.0, 1.0)),
        wind_m_s=float(random.uniform(0.0, 3.0)),
        from_deg=float(random.uniform(0.0, 360.0)),
        gust_m_s=float(random.uniform(0.0, 0.7)),
        mass=float(random.uniform(0.99, 1.01)),
        thrust=float(random.uniform(0.99, 1.01)),
        slew_rad_s=slew_rad_s,
        reserve=reserve,
        clear=clear,
    )


class RisingWind(GustyWind):
    """Wind that comes up over `RISE_S`, and from an instant on blows harder from another side."""

    def __init__(self, scene: Scene, seed: int) -> None:
        super().__init__(wind_vector(scene.wind_m_s, scene.from_deg), scene.gust_m_s, seed)
        extra = 1.5 + 12.0 * scene.size if scene.fault == "gust" else 0.0
        self._extra, self._from_s = extra * wind_vector(1.0, scene.from_deg + 137.0), scene.fault_s

    def velocity_m_s(self, t_s: float, position_m: Vector) -> Vector:
        """See `GustyWind`."""
        blown: Vector = super().velocity_m_s(t_s, position_m) * min(t_s / RISE_S, 1.0)
        return blown + self._extra if t_s >= self._from_s else blown


class Status:
    """What the flight controller says of itself: flying under our set-points."""

    mode, armed, landed, texts = FlightMode.OFFBOARD, True, False, ()


class Link:
    """The simulated vehicle and its link on a clock that does not wait.

    Args:
        scene: What is flown in.
        on_board: For the thrust scale.
        seed: Of gusts, errors and delays.
    """

    def __init__(self, scene: Scene, on_board: OnBoard, seed: int) -> None:
        self.scene, self._scale = scene, on_board.thrust_scale_m_s2
        self.vehicle = SimulatedQuadrotor(RisingWind(scene, seed), factors=Factors(mass=scene.mass, thrust=scene.thrust))
        self.vehicle.reset(np.array([0.0, 0.0, HEIGHT_M]), hovering=True)
        self._random = np.random.default_rng((seed, 1))
        self.now_ns = self.start_ns = 10**9
        self._queue: deque[tuple[int, Setpoint]] = deque()
        self.acting = Setpoint(np.zeros(3), GRAVITY_M_S2)
        self.delivered: list[tuple[int, Setpoint]] = [(0, self.acting)]
        self.delay_max_s = 0.0
        self._frozen: VehicleState | None = None
        self.errors: Vector = np.zeros(4)
        self._burst = 0
        self.oldest_s = self.stale_s = 0.0

    def __call__(self) -> int:
        """The clock: every reading takes 2 us."""
        self.now_ns += 2_000
        return self.now_ns

    @property
    def time_s(self) -> float:
        """Since the start [s]."""
        return 1e-9 * (self.now_ns - self.start_ns)

    @property
    def faulty(self) -> bool:
        """Whether the fault of the scene is on."""
        return self.time_s >= self.scene.fault_s

    def poll(self) -> None:
        """Nothing to do."""

    def status(self) -> Status:
        """The flight controller's word."""
        return Status()

    def state(self) -> VehicleState:
        """The estimate, as wrong as the assumptions allow at most, or as the fault makes it."""
        v = self.vehicle
        if self.scene.fault == "frozen state" and self.faulty and self._frozen is not None:
            self._note(self._frozen)
            self.oldest_s = max(self.oldest_s, 1e-9 * (self.now_ns - self._frozen.t_ns))
            self.stale_s = self.scene.fault_s + STATE_AGE_S
            return self._frozen
        errors = [self._ball(size) for size in NOISE]
        w, x, y, z = v.quaternion_wxyz
        a, b, c = 0.5 * errors[2]
        turned = np.array([w - x * a - y * b - z * c, x + w * a + y * c - z * b, y + w * b - x * c + z * a, z + w * c + x * b - y * a])
        turned /= np.linalg.norm(turned)
        state = VehicleState(
            self.now_ns, v.position_m + errors[0], v.velocity_m_s + errors[1], turned, v.rates_rad_s + errors[3]
        )
        self._frozen = state
        self._note(state)
        return state

    def _note(self, state: VehicleState) -> None:
        """Remember the largest errors: horizontal or vertical position, velocity, attitude, rates of roll and pitch."""
        v = self.vehicle
        p, u = state.position_m - v.position_m, state.velocity_m_s - v.velocity_m_s
        angle = 2.0 * math.acos(min(abs(float(state.quaternion_wxyz @ v.quaternion_wxyz)), 1.0))
        rates = float(np.abs(state.rates_rad_s - v.rates_rad_s)[:2].max())
        found = [max(math.hypot(p[0], p[1]), abs(p[2])), max(math.hypot(u[0], u[1]), abs(u[2])), angle, rates]
        self.errors = np.maximum(self.errors, found)

    def misses(self, skipped: int, random: np.random.Generator, allowed: int) -> bool:
        """Whether the companion has no time for this tick, so many having been skipped before it."""
        if self._burst > 0:
            self._burst -= 1
            return True
        if self.scene.fault == "missed ticks" and self.faulty and random.random() < 0.1:
            self._burst = 1 + int(40 * self.scene.size)
            return True
        return skipped < allowed and random.random() < 0.02

    def _ball(self, size: float) -> Vector:
        """A vector of at most that length, of any direction."""
        direction = self._random.normal(size=3)
        result: Vector = size * direction / np.linalg.norm(direction) * float(self._random.random())
        return result

    def send(self, setpoint: Setpoint) -> None:
        """Take a set-point; it arrives after a delay that changes from one to the next, never out of order."""
        most_s = 0.01
        if self.scene.fault == "delay" and self.faulty:
            most_s += 0.15 * (0.1 + self.scene.size)
        delay_s = float(self._random.uniform(0.0, most_s))
        arrives = max(self.now_ns + round(1e9 * delay_s), self._queue[-1][0] if self._queue else 0)
        self.delay_max_s = max(self.delay_max_s, 1e-9 * (arrives - self.now_ns))
        self._queue.append((arrives, setpoint))

    def fly(self, until_ns: int) -> None:
        """Advance the physics, set-points taking effect when they arrive."""
        if self.faulty and self.scene.fault in ("payload", "thrust"):
            heavier = 1.05 + 0.35 * self.scene.size if self.scene.fault == "payload" else 1.0
            weaker = 0.95 - 0.3 * self.scene.size if self.scene.fault == "thrust" else 1.0
            self.vehicle.factors = Factors(mass=self.scene.mass * heavier, thrust=self.scene.thrust * weaker)
        while self.now_ns < until_ns:
            while self._queue and self._queue[0][0] <= self.now_ns:
                arrived, self.acting = self._queue.popleft()
                self.delivered.append((arrived, self.acting))
            next_ns = min(until_ns, self._queue[0][0]) if self._queue else until_ns
            throttle = self.acting.thrust_m_s2 / self._scale
            self.vehicle.step(self.acting.rates_rad_s, throttle, 1e-9 * (next_ns - self.now_ns))
            self.now_ns = next_ns


class Watched:
    """The shield, and what it said last.

    Args:
        shield: What decides.
    """

    def __init__(self, shield: Shield) -> None:
        self._shield = shield
        self.last: Decision | None = None
        self.held: list[tuple[float, Vector]] = []

    @property
    def lead_s(self) -> float:
        """See `Shield`."""
        return self._shield.lead_s

    def engage(self, predicted: Sequence[float]) -> None:
        """See `Shield`."""
        self._shield.engage(predicted)

    def decide(
        self, predicted: Sequence[float] | None, disturbance: Sequence[float], candidate: Setpoint | None, now_ns: int
    ) -> Decision:
        """See `Shield`."""
        self.last = self._shield.decide(predicted, disturbance, candidate, now_ns)
        return self.last


@dataclass(slots=True)
class Noted:
    """What is needed to judge a flight afterwards.

    Attributes:
        t_s: Instant of each tick.
        truth: Position, velocity, quaternion, rates at it, shape (13,).
        thrust: Instant [s] and modelled thrust there [m/s^2], of each decision.
        held: Instant [s] and disturbance estimate held from then on [m/s^2].
        missed: Most ticks skipped in a row.
    """

    t_s: list[float] = field(default_factory=list)
    truth: list[Vector] = field(default_factory=list)
    thrust: list[tuple[float, float]] = field(default_factory=list)
    held: list[tuple[float, Vector]] = field(default_factory=list)
    missed: int = 0


def fly(seed: int, on_board: OnBoard, certificate: Mapping[str, Any], duration_s: float = 7.0) -> FlightResult:
    """Fly one seed.

    Args:
        seed: Of everything.
        on_board: The bundle, loaded; its shield keeps clear of what the seed draws.
        certificate: Content of certificate.toml, for the assumptions.
        duration_s: Longest flight [s].
    """
    shield = on_board.shield
    scene = draw_scene(seed, room_from_hover(shield))
    link, clear = Link(scene, on_board, seed), KeepClear(math.inf)
    shield.keep_clear(clear)
    predictor = Predictor(on_board.physics, on_board.delay_s)
    predictor.reset(GRAVITY_M_S2)
    period_ns = round(1e9 / on_board.tick_hz)
    settings = TickSettings(
        PLAN_SHARE * 1e-9 * period_ns, SEND_SHARE * 1e-9 * period_ns, 1e-9 * period_ns, state=StateLimits(STATE_AGE_S),
        setpoint=on_board.setpoint,
    )  # fmt: skip
    random, nominal_ns = np.random.default_rng((seed, 2)), link.now_ns
    adversary = Adversary(shield, predictor, clear, lambda: acts_ns(), random, scene.slew_rad_s, scene.reserve)
    watched = Watched(shield)
    tick = Tick(link, adversary, watched, predictor, DisturbanceObserver(), settings, LocalFrame(np.zeros(3), 0.0), link)

    def acts_ns() -> int:
        return nominal_ns + tick._usual_send_ns + round(1e9 * predictor.delay_s)

    adversary.hold = True
    hover, noted, verdicts = Hover(np.array([0.0, 0.0, HEIGHT_M]), 1e6), Noted(), dict.fromkeys((v.name for v in Verdict), 0)
    skipped, closest, breach, breach_s, void_s, reason = 0, math.inf, "", None, None, ""
    path: list[list[float]] = []
    for number in range(round(duration_s * on_board.tick_hz)):
        link.fly(nominal_ns)
        now_s, v = link.time_s, link.vehicle
        noted.t_s.append(now_s)
        noted.truth.append(np.concatenate([v.position_m, v.velocity_m_s, v.quaternion_wxyz, v.rates_rad_s]))
        if number % 10 == 0:
            path.append([round(float(value), 2) for value in v.position_m])
        if adversary.hold and now_s >= SETTLE_S:
            adversary.hold, clear = False, placed(scene.clear, v.position_m)
            adversary.clear = clear
            shield.keep_clear(clear)
            adversary.reset()
        near, what = distance(clear, v.position_m)
        closest = min(closest, near)
        if near < 0.0:
            breach, breach_s = what, now_s
            break
        nominal_ns += period_ns
        if number > 0 and link.misses(skipped, random, shield.assumed.missed_ticks):
            skipped += 1
            noted.missed = max(noted.missed, skipped)
            continue
        nominal_ns -= period_ns
        shield_s = 1e-9 * (acts_ns() - link.start_ns) + shield.lead_s
        guidance = Guidance(Phase.TRACK, hover, 0.0, shielded=True)
        outcome = tick.run(Instant(nominal_ns, max(link.now_ns - nominal_ns, 0), skipped), guidance)
        skipped, nominal_ns = 0, nominal_ns + period_ns
        if outcome.verdict in tuple(Verdict):
            verdicts[Verdict(outcome.verdict).name] += 1
        if outcome.give_up:
            void_s, reason = link.time_s, "" if watched.last is None else watched.last.reason.name
            break
        if shield._thrust is not None and shield._held is not None:
            noted.thrust.append((shield_s + 1e-9 * period_ns, shield._thrust))
            noted.held.append((shield_s, np.array(shield._held.disturbance)))
    worst = used(noted, link, on_board, certificate)
    broken = {name: at for name, (share, at) in worst.items() if share > 1.0}
    speed = float(np.linalg.norm(np.array(noted.truth)[:, 3:6], axis=1).max())
    return FlightResult(
        seed, scene.fault, not broken, broken, {name: round(share, 3) for name, (share, _) in worst.items()}, breach_s, breach, void_s,
        reason, link.time_s, verdicts, closest, speed, path,
    )  # fmt: skip


def placed(clear: KeepClear, position_m: Vector) -> KeepClear:
    """Fence, floor and obstacles around a position."""
    x, y, z = (float(value) for value in position_m)
    obstacles = [replace(o, centre_m=(o.centre_m[0] + x, o.centre_m[1] + y, o.centre_m[2] + z)) for o in clear.obstacles]
    return KeepClear(clear.fence_m, clear.floor_m + z, obstacles=tuple(obstacles), home=(x, y))


def room_from_hover(shield: Shield) -> tuple[float, float]:
    """Horizontal and vertical room that the vehicle needs to stop from hover [m], by the shield graph."""
    certified = shield._set
    flat = flatten([0.0] * 6 + [1.0] + [0.0] * 6 + [GRAVITY_M_S2], 0.0, GRAVITY_M_S2).flat
    certified.present(flat, [Held((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))])
    return certified._rooms[0][0], certified._rooms[1][0]


def distance(clear: KeepClear, position_m: Vector) -> tuple[float, str]:
    """Distance from what is nearest of fence, floor and obstacles, negative beyond, and its name."""
    x, y, z = (float(value) for value in position_m)
    found = [(clear.fence_m - math.hypot(x - clear.home[0], y - clear.home[1]), "fence"), (z - clear.floor_m, "floor")]
    for obstacle in clear.obstacles:
        gaps = [max(abs(p - c) - h, 0.0) for p, c, h in zip((x, y, z), obstacle.centre_m, obstacle.half_m, strict=True)]
        found.append((math.hypot(*gaps) - obstacle.radius_m, "obstacle"))
    return min(found)


def used(noted: Noted, link: Link, on_board: OnBoard, certificate: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """By assumption: the largest share of it that was used, and the instant at which it was first exceeded, else at the most.

    W is taken tick by tick from the change of the true velocity against thrust, drag and the estimate that is held, where thrust
    is the shield's own model; the rates against the set-points as they arrived. Before the wind is up nothing counts.
    """
    a, backup = certificate["assumptions"], certificate["backup"]
    t, x = np.array(noted.t_s), np.array(noted.truth)
    result = {
        "state age": (link.oldest_s / STATE_AGE_S, round(link.stale_s, 3)),
        "missed ticks": (noted.missed / max(a["missed_ticks"], 1e-9), link.scene.fault_s),
        "delay": (link.delay_max_s / a["delay_max_s"], link.scene.fault_s),
    }
    limits = [a[name] for name in ("position_error_m", "velocity_error_m_s", "attitude_error_rad", "rate_error_rad_s")]
    for name, error, limit in zip(("position", "velocity", "attitude", "rates"), link.errors, limits, strict=True):
        result[f"estimate of {name}"] = (float(error) / limit, 0.0)
    if len(t) < 3 or len(noted.thrust) < 2:
        return result
    middle, dt = 0.5 * (t[1:] + t[:-1]), np.diff(t)
    when = np.array([at for at, _ in noted.thrust])
    thrust = np.interp(middle, when, [value for _, value in noted.thrust])
    place = np.clip(np.searchsorted([at for at, _ in noted.held], middle, side="right") - 1, 0, None)
    held = np.array([value for _, value in noted.held])[place]
    up = 0.5 * (_up(x[1:, 6:10]) + _up(x[:-1, 6:10]))
    drag = np.array([a["drag_1_s"][0], a["drag_1_s"][0], a["drag_1_s"][1]])
    v = 0.5 * (x[1:, 3:6] + x[:-1, 3:6])
    residual = np.diff(x[:, 3:6], axis=0) / dt[:, None] - (thrust[:, None] * up - [0.0, 0.0, GRAVITY_M_S2] - drag * v) - held
    counts = (middle > when[0]) & (middle < when[-1]) & (middle > SETTLE_S)
    rates = _rate_residual(t, x[:, 10:12], link, on_board, backup, a["rate_lag_s"])
    for name, sizes, limit in (
        ("horizontal W", np.hypot(residual[:, 0], residual[:, 1]), a["acceleration_m_s2"][0]),
        ("vertical W", np.abs(residual[:, 2]), a["acceleration_m_s2"][1]),
        ("rate residual", np.hypot(rates[:, 0], rates[:, 1]), a["rate_residual_rad_s"]),
        ("horizontal estimate", np.hypot(held[:, 0], held[:, 1]), a["disturbance_estimate_m_s2"][0]),
    ):
        shares = np.where(counts, sizes / limit, 0.0)
        first = np.flatnonzero(shares > 1.0)
        at = int(first[0]) if len(first) else int(np.argmax(shares))
        result[name] = (float(shares.max()), round(float(middle[at]), 3))
    return result


def _up(q: Vector) -> Vector:
    """Up directions of quaternions (n, 4), shape (n, 3)."""
    w, i, j, k = q.T
    return np.stack([2 * (i * k + w * j), 2 * (j * k - w * i), 1 - 2 * (i * i + j * j)], axis=1)


def _rate_residual(
    t: Vector, rates: Vector, link: Link, on_board: OnBoard, backup: Mapping[str, Any], lag_s: float
) -> Vector:
    """Error of the rate set-point that explains the change of roll and pitch rate in each tick, shape (n - 1, 2) [rad/s]."""
    start = [1e-9 * (at - link.start_ns) + on_board.delay_s for at, _ in link.delivered]
    start[0] = -1e9
    gain, offset = np.array(backup["rate_gain"][:2]), np.array(backup["rate_offset_rad_s"][:2])
    wanted = np.array([setpoint.rates_rad_s[:2] for _, setpoint in link.delivered]) * gain + offset
    result = np.zeros((len(t) - 1, 2))
    for n, (first, last) in enumerate(itertools.pairwise(t)):
        left = math.exp(-(last - first) / lag_s)
        expected = rates[n] * left
        low, high = np.searchsorted(start, first, side="right") - 1, np.searchsorted(start, last, side="left")
        for k in range(int(low), int(high)):
            begins, ends = max(start[k], first), min(start[k + 1] if k + 1 < len(start) else last, last)
            expected += wanted[k] * (math.exp(-(last - ends) / lag_s) - math.exp(-(last - begins) / lag_s))
        result[n] = (rates[n + 1] - expected) / (1.0 - left)
    return result
