"""One flight of the adversary through tick and shield on the independent simulator, and whether the assumptions held in it.

The vehicle is rotorpy's, behind the simulated flight controller's rate loop; the clock does not wait. Everything random comes from
the seed: fence, floor, obstacles, wind, gusts, payload, delays, missed ticks, errors of the estimate, and in every third flight
something that breaks an assumption. Whether one was broken is not taken from what was meant, but measured afterwards, from the
simulator's own states against the plant that the certificate speaks of (docs/certificate.md, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Setpoint

from .bench_shield_adversary import Adversary
from .bench_shield_judge import Noted, distance, placed, room_from_hover, used
from .bench_shield_scene import HEIGHT_M, SETTLE_S, Link, draw_scene
from .keep_clear import KeepClear
from .local_frame import LocalFrame
from .observer import DisturbanceObserver
from .on_board import STATE_AGE_S, OnBoard
from .phases import Phase
from .predictor import Predictor
from .reference import Hover
from .shield import Decision, Shield, Verdict
from .state_check import StateLimits
from .tick import Tick
from .tick_types import PLAN_SHARE, SEND_SHARE, Guidance, Instant, TickSettings


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
        alarms, alarm_s: Ticks in which the shield's watch found an assumption broken, and the first of them [s].
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
    alarms: int
    alarm_s: float | None
    duration_s: float
    verdicts: dict[str, int]
    closest_m: float
    speed_m_s: float
    path: list[list[float]] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Watched:
    """The shield, what it said last, and the instants [ns] at which its watch found an assumption broken.

    Args:
        shield: What decides.
    """

    def __init__(self, shield: Shield) -> None:
        self._shield = shield
        self.last: Decision | None = None
        self.alarms: list[int] = []

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
        if self.last.ticks > 0:
            self.alarms.append(now_ns)
        return self.last

    def settle(self) -> None:
        """See `Shield`."""
        self._shield.settle()



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
    alarm_s = 1e-9 * (watched.alarms[0] - link.start_ns) if watched.alarms else None
    worst = used(noted, link, on_board, certificate)
    broken = {name: at for name, (share, at) in worst.items() if share > 1.0}
    speed = float(np.linalg.norm(np.array(noted.truth)[:, 3:6], axis=1).max())
    return FlightResult(
        seed, scene.fault, not broken, broken, {name: round(share, 3) for name, (share, _) in worst.items()}, breach_s, breach, void_s,
        reason, len(watched.alarms), alarm_s, link.time_s, verdicts, closest, speed, path,
    )  # fmt: skip
