"""One flight of a learning task through tick, planner and shield on the independent simulator, for `tubepilot bench shield-tasks`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.simulator import Factors
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Setpoint, Vector

SETTLE_S = 2.0
"""Before the path begins, at its start: the wind comes up and the observer finds it [s]."""


class NoShield:
    """Stands where the shield does and sends what the planner asks for."""

    lead_s = 0.0

    def engage(self, predicted: Sequence[float]) -> None:
        """Nothing to do."""

    def decide(self, predicted: Any, disturbance: Any, candidate: Setpoint | None, now_ns: int) -> Any:
        """The planner's set-point; without one, level flight."""
        from tubepilot.runtime.shield import Decision, Reason, Verdict

        wanted = Setpoint(np.zeros(3), GRAVITY_M_S2) if candidate is None else candidate
        return Decision(wanted, Verdict.ACCEPT, Reason.OK, math.nan)

    def settle(self) -> None:
        """Nothing to do."""


class TaskReference:
    """A task's path as the tick reads it; beyond the end of the flight it goes on, as in the task."""

    def __init__(self, path: Any, duration_s: float) -> None:
        self._path, self.duration_s = path, duration_s

    def derivatives(self, t_s: Vector, count: int = 3) -> Vector:
        """Position, velocity and acceleration, shape (n, 3, 3)."""
        rows: Vector = self._path.at(np.maximum(t_s, 0.0)).reshape(-1, 3, 3)
        return rows


def factors(task: Any, path_s: float) -> Factors:
    """The vehicle's deviations that are the task's own: payload and battery, at a time since the path began [s]."""
    heavier, stronger = 1.0, 1.0
    if task.payload is not None and path_s >= task.payload.from_s:
        heavier = task.payload.mass_factor
    if task.battery is not None:
        share = min(max(path_s / task.duration_s, 0.0), 1.0)
        stronger = task.battery.first + (task.battery.last - task.battery.first) * share
    return Factors(mass=heavier, thrust=stronger)


def fly_task(
    task: Any, on_board: Any, seed: int, wind: tuple[float, float], shielded: bool, governed: bool = True
) -> dict[str, Any]:
    """One flight, with or without the shield and the reference governor: RMSE over the path [m], ticks by verdict, reasons of those
    replaced, ticks in which the governor acted; the largest speed [m/s] and tilt [deg], and when
    the shield found an assumption broken, and when it gave up [s since the path began], if it did."""
    from tubepilot.runtime.bench_shield_flight import Watched
    from tubepilot.runtime.bench_shield_scene import Link, Scene
    from tubepilot.runtime.keep_clear import KeepClear
    from tubepilot.runtime.local_frame import LocalFrame
    from tubepilot.runtime.observer import DisturbanceObserver
    from tubepilot.runtime.on_board import STATE_AGE_S
    from tubepilot.runtime.phases import Phase
    from tubepilot.runtime.predictor import Predictor
    from tubepilot.runtime.reference import Hover
    from tubepilot.runtime.shield import Verdict
    from tubepilot.runtime.shield_decision import Reason
    from tubepilot.runtime.state_check import StateLimits
    from tubepilot.runtime.tick import Tick
    from tubepilot.runtime.tick_types import PLAN_SHARE, SEND_SHARE, Guidance, Instant, TickSettings

    random = np.random.default_rng(seed)
    scene = Scene("none", math.inf, 0.0, wind[0], float(random.uniform(0.0, 360.0)), wind[1], 1.0, 1.0, math.inf, 0.0, KeepClear())
    link = Link(scene, on_board, seed)
    link.vehicle.reset(task.path.start_m, hovering=True)
    on_board.planner._clock_ns = link
    on_board.planner.reset()
    predictor = Predictor(on_board.physics, on_board.delay_s)
    predictor.reset(GRAVITY_M_S2)
    period_ns = round(1e9 / on_board.tick_hz)
    period_s = 1e-9 * period_ns
    settings = TickSettings(
        PLAN_SHARE * period_s, SEND_SHARE * period_s, period_s, state=StateLimits(STATE_AGE_S), setpoint=on_board.setpoint
    )
    on_board.shield.keep_clear(KeepClear())
    watched = Watched(on_board.shield) if shielded else NoShield()
    governor = on_board.governor() if governed else None
    tick = Tick(
        link, on_board.planner, watched, predictor, DisturbanceObserver(), settings, LocalFrame(np.zeros(3), 0.0), link, governor
    )  # fmt: skip
    waiting, path = Hover(task.path.start_m, 1e6), TaskReference(task.path, task.duration_s)
    verdicts, reasons, errors, fastest, steepest = Counter[str](), Counter[str](), [], 0.0, 0.0
    nominal_ns, ticks, bounded, broken_s = link.now_ns, 0, 0, None
    for number in range(round((SETTLE_S + task.duration_s) * on_board.tick_hz)):
        link.fly(nominal_ns)
        path_s = number * period_s - SETTLE_S
        flying = path_s >= 0.0
        link.vehicle.factors = factors(task, path_s)
        if flying:
            w, x, y, z = link.vehicle.quaternion_wxyz
            errors.append(float(np.linalg.norm(link.vehicle.position_m - path.derivatives(np.array([path_s]))[0, 0])))
            fastest = max(fastest, float(np.linalg.norm(link.vehicle.velocity_m_s)))
            steepest = max(steepest, math.degrees(math.acos(max(min(w * w - x * x - y * y + z * z, 1.0), -1.0))))
        guidance = Guidance(Phase.TRACK, path if flying else waiting, max(path_s, 0.0), 1.0 if flying else 0.0, shielded=True)
        outcome = tick.run(Instant(nominal_ns, max(link.now_ns - nominal_ns, 0), 0), guidance)
        nominal_ns += period_ns
        if flying and isinstance(watched, Watched) and watched.last is not None:
            ticks += 1
            verdicts[Verdict(outcome.verdict).name] += 1
            if watched.last.reason is not Reason.OK:
                reasons[watched.last.reason.name] += 1
            if watched.last.ticks > 0 and broken_s is None:
                broken_s = round(path_s, 3)
        bounded += flying and governor is not None and governor.active
        if outcome.give_up:
            break
    return {
        "rmse_m": float(np.sqrt(np.mean(np.square(errors)))) if errors else math.nan, "ticks": ticks, "verdicts": dict(verdicts),
        "replaced": sum(reasons.values()), "reasons": dict(reasons), "ended": bool(outcome.give_up), "ended_s": round(path_s, 3),
        "governed": bounded, "broken_s": broken_s, "speed_m_s": round(fastest, 2), "tilt_deg": round(steepest, 1),
    }  # fmt: skip
