"""What a flight of `tubepilot bench shield` is flown in, drawn from its seed, and the simulated vehicle with its link in it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.simulator import Factors, SimulatedQuadrotor
from tubepilot.firmware_bridge.simulator_wind import GustyWind, wind_vector
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, FlightMode, Setpoint, Vector, VehicleState

from .keep_clear import KeepClear, Obstacle
from .on_board import STATE_AGE_S, OnBoard

SETTLE_S, RISE_S = 2.0, 1.0
"""Until then the vehicle hovers in the open, so that the estimate of the disturbance settles; the wind is up after the second [s]."""
FAULTS = ("none", "gust", "payload", "thrust", "delay", "missed ticks", "frozen state")
HEIGHT_M = 40.0
STYLES = ((0.006, 0.15), (0.008, 0.2), (0.009, 0.22), (0.0095, 0.25), (0.03, 0.0), (3.0, 0.0))
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
