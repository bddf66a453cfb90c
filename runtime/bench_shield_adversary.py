"""A planner that wants the worst: of the set-points that the shield admits, the one that leads fastest towards fence or obstacle.

It asks the shield itself, through the same check that will judge what it hands over, so that nearly all it asks for is accepted.
For benches only; it flies where a `Planner` does. While `hold` is set it only damps its own motion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Setpoint, Vector

from .keep_clear import KeepClear
from .predictor import Predictor
from .shield import Reason, Shield
from .shield_ahead import Start
from .shield_states import Command, flatten

PULLS_M_S2 = (4.0, 2.5, 1.6, 0.8, 0.3, 0.0, -0.5, -1.5)
"""Horizontal accelerations towards the target that are tried in this order [m/s^2]."""
LIFTS_M_S2 = (1.2, 0.3, -0.5)
"""Vertical ones, towards the target."""
ATTITUDE_1_S = 6.0
"""Rates asked for over the angle still to go [1/s]: about what the rate loop follows."""
ROOM_M = 8.0
"""Room that is left besides, for each whole of margin that is left [m]."""
HORIZON, DT_PLAN_S = 1, 0.04


@dataclass(frozen=True, slots=True)
class Demand:
    """What the adversary asks for; a tick reads it like a plan."""

    setpoint: Setpoint
    steps: int = 0
    return_before: float = math.nan
    return_after: float = math.nan
    disagreement: float = math.nan


def closer(clear: KeepClear, by_m: float) -> KeepClear:
    """The same, with everything nearer by a distance [m]."""
    walls = tuple(replace(wall, offset_m=wall.offset_m - by_m) for wall in clear.walls)
    obstacles = tuple(replace(obstacle, radius_m=obstacle.radius_m + by_m) for obstacle in clear.obstacles)
    return KeepClear(clear.fence_m - by_m, clear.floor_m + by_m, clear.ceiling_m - by_m, walls, obstacles, clear.home)


class Moment(Protocol):
    """When the coming set-point acts, CLOCK_MONOTONIC [ns]."""

    def __call__(self) -> int: ...


class Adversary:
    """See the module's text.

    Args:
        shield: That judges.
        predictor: Of the tick.
        clear: What the shield keeps clear of.
        act_ns: When this tick's set-point will act.
        random: Chooses the target, and now and then another one.
        slew_rad_s: Largest change of a rate set-point from one tick to the next: what the vehicle's rate loop can follow as the
            certificate assumes, or more.
        reserve: Margin that it leaves, and room with it: whoever changes its set-points slowly has to turn round in time.
    """

    horizon, dt_plan_s = HORIZON, DT_PLAN_S

    def __init__(
        self, shield: Shield, predictor: Predictor, clear: KeepClear, act_ns: Moment, random: np.random.Generator,
        slew_rad_s: float = math.inf, reserve: float = 0.0,
    ) -> None:
        self._shield, self._predictor, self.clear, self._act_ns = shield, predictor, clear, act_ns
        self.hold = False
        self._random, self._slew_rad_s, self._reserve = random, slew_rad_s, reserve
        self._sent: Vector = np.zeros(3)
        self._first = 0
        self._target = self._draw()
        self.asked = self.refused = 0

    def _draw(self) -> Vector:
        """A point on or beyond something that must not be reached."""
        angle = float(self._random.uniform(0.0, 2.0 * math.pi))
        x, y = self.clear.home
        far = [[x + 1e3 * math.cos(angle), y + 1e3 * math.sin(angle), 200.0 * float(self._random.choice([0.0, 1.0, -1.0]))]] * 2
        floor = [[x, y, -1e3]] if math.isfinite(self.clear.floor_m) else []
        obstacles = [list(obstacle.centre_m) for obstacle in self.clear.obstacles]
        walls = [[1e3 * value for value in wall.normal] for wall in self.clear.walls]
        points = [*far, *floor, *obstacles, *walls]
        return np.array(points[int(self._random.integers(len(points)))])

    def plan(self, state: Vector, reference: Vector, disturbance: Vector, deadline_ns: int) -> Demand:
        """The first admitted set-point, from the worst to the mildest; level flight if none is.

        Args:
            state: Predicted, 14 numbers.
            reference, deadline_ns: Not heeded.
            disturbance: Estimate [m/s^2].
        """
        if self._random.random() < 0.002:
            self._target = self._draw()
        act_ns = self._act_ns()
        shield = self._shield
        x = self._predictor.carry(state.tolist(), act_ns, act_ns + round(1e9 * shield.lead_s), disturbance.tolist())
        if shield._thrust is not None:
            x[13] = shield._thrust
        now = flatten(x, shield._slope(x[13]), GRAVITY_M_S2)
        tick = shield._start(now, (float(disturbance[0]), float(disturbance[1]), float(disturbance[2])))
        away = self._target - np.array(x[:3])
        flat = math.hypot(away[0], away[1])
        direction = away[:2] / max(flat, 1e-6) if flat > 0.5 else np.zeros(2)
        rise = math.copysign(1.0, away[2]) if abs(away[2]) > 0.3 * flat else 0.0
        limits, low, high = shield.assumed.admitted_rates_rad_s, shield.assumed.thrust_min_m_s2, shield.assumed.thrust_max_m_s2
        if self.hold:
            direction, rise = -np.array(x[3:5]), -float(np.sign(x[5]))
        lifts = LIFTS_M_S2 if rise else (0.0,)
        demands = [(1.0, min(abs(x[5]), 1.0))] if self.hold else [(pull, lift) for pull in PULLS_M_S2 for lift in lifts]
        if not self.hold and rise != 0.0 and flat < abs(away[2]):  # above or below all: height first
            demands.sort(key=lambda pair: (-pair[1], -pair[0]))
        command = mildest = (0.0, 0.0, 0.0, GRAVITY_M_S2)
        most = -math.inf
        self.asked += 1
        start = 0 if self.hold else max(self._first - 1, 0)  # what was admitted a tick ago, and one worse
        for number, (pull, lift) in enumerate(demands[start:], start):
            self._first = number
            force = np.array([pull * direction[0], pull * direction[1], GRAVITY_M_S2 + lift * rise]) - disturbance
            size = float(np.linalg.norm(force))
            wx, wy, wz = (force / size).tolist()
            ux, uy, uz = now.up
            turn = np.array([uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx])
            rates = [ATTITUDE_1_S * float(turn @ np.array(axis)) for axis in (now.forward, now.left)]
            roll, pitch = (
                min(max(rate, -most, before - self._slew_rad_s), most, before + self._slew_rad_s)
                for rate, most, before in zip(rates, limits, self._sent, strict=False)
            )
            command = roll, pitch, 0.0, min(max(size / shield.assumed.thrust_gain, low), high)
            reason, margin, roomy = self._ask(tick, command)
            if reason is Reason.OK and margin >= self._reserve and roomy:
                break
            if reason is Reason.OK and margin > most:
                mildest, most = command, margin
        else:
            if most > 0.0:
                command = mildest
            self.refused += 1
            self._first = 0 if self.refused % 4 == 0 else len(demands) - 2  # all of them again, but not in every tick
        return Demand(Setpoint(np.array(command[:3]), command[3]))

    def _ask(self, tick: Start, command: Command) -> tuple[Reason, float, bool]:
        """What the shield says of a set-point, its margin, and whether room is left besides."""
        certified = self._shield._set
        certified.clear = closer(self.clear, ROOM_M * self._reserve)
        reason, _, margin = self._shield._admit(tick, command)
        certified.clear = self.clear
        if reason is Reason.OK or self._reserve == 0.0 or reason not in (Reason.GEOFENCE, Reason.OBSTACLE):
            return reason, margin, reason is Reason.OK
        reason, _, margin = self._shield._admit(tick, command)
        return reason, margin, False

    def applied(self, setpoint: Setpoint) -> None:
        """What was sent in the end: the next one changes from there."""
        self._sent = setpoint.rates_rad_s

    def reset(self) -> None:
        """Choose another target."""
        self._target = self._draw()
