"""Where a set-point leads the state until the backup policy can have taken over, and how sure that is.

Docs: docs/certificate.md, section 6. Plain floats, as in `shield_states`. By how much the state there can be off is summed up in the
shield graph; what that needs of the set-points stands in `Ahead.doubts`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from .shield_assumed import Assumed, Triple
from .shield_states import Command, Flat, Present, less, norm


class Ahead(NamedTuple):
    """Where a set-point leads, at the first and the last instant at which the backup policy can have taken over.

    Attributes:
        states: Nominal states.
        wanted: What the set-point asks of the jerk across the thrust vector there [m/s^3].
        doubts: What the admission box depends on besides, in pairs: how much it asks differently than the set-point before
            [m/s^3]; how much those before it differed from each other [m/s^3]; how far the rates are from what the set-point
            before asked for [m/s^3], these three with the largest thrust until then; what the nominal state leaves out of the
            acceleration [m/s^2] and of the jerk [m/s^3].
    """

    states: tuple[Flat, Flat]
    wanted: tuple[Triple, Triple]
    doubts: tuple[float, ...]


class Ramp(NamedTuple):
    """Velocity and position after a time, with linear drag, under an acceleration that goes straight from one value to another: of
    the velocity what is left and what it moves; of the first acceleration, and of its change, what they add to both."""

    left: float
    moves: float
    add_v: float
    add_p: float
    change_v: float
    change_p: float


class _Instant(NamedTuple):
    """What one of the judged instants needs, none of it dependent on the state; all times are counted from s_k.

    Attributes:
        t_s: When it is [s].
        left, swung_s: Share of the present rates that is left, and what they have turned by, over the rates [s].
        held_s: What the set-point before has turned by, over its rates, if it had acted throughout [s].
        new_share, new_s: Share of the way to the judged set-point, and what that has turned by, over its rates [s], in the middle
            between the earliest and the latest instant at which it can have begun to act.
        thrust_left: What is left of the thrust's distance from its target.
        horizontal, vertical: See there.
    """

    t_s: float
    left: float
    swung_s: float
    held_s: float
    new_share: float
    new_s: float
    thrust_left: float
    horizontal: Ramp
    vertical: Ramp


class Leg(NamedTuple):
    """What the set-points before lead to until one of the judged instants; world.

    Attributes:
        instant: Which.
        up: Direction of the thrust vector, not normalised.
        turn: Of the jerk across it, at the present thrust [m/s^3].
        position, velocity: With the present thrust vector throughout [m], [m/s].
    """

    instant: _Instant
    up: Triple
    turn: Triple
    position: Triple
    velocity: Triple


class Course(NamedTuple):
    """What is known of a tick before a set-point is.

    Attributes:
        old: What the set-point before asks of the jerk across the thrust vector [m/s^3].
        older: How much those before it differed from each other [m/s^3].
        swing: How far the jerk is from `old` [m/s^3].
        fastest: The largest of all these that it is or was asked to be [m/s^3].
        legs: To both instants.
    """

    old: Triple
    older: float
    swing: float
    fastest: float
    legs: tuple[Leg, Leg]


class Start(NamedTuple):
    """What all set-points of a tick have in common.

    Attributes:
        now: State at s_k.
        disturbance: Estimate, within its limits [m/s^2].
        course: None if no set-point before is known: then it is that of the judged one.
    """

    now: Present
    disturbance: Triple
    course: Course | None


def _ramp(drag_1_s: float, t_s: float) -> Ramp:
    """See there."""
    add_v = add_p = change_v = change_p = 0.0
    term = 1.0
    for n in range(1, 12):  # drag times time is far below 1: the terms that are left out are below one rounding
        term *= t_s / n
        change_v += term / (n + 1)
        add_v += term
        add_p += term * t_s / (n + 1)
        change_p += term * t_s / ((n + 1) * (n + 2))
        term *= -drag_1_s
    return Ramp(1.0 - drag_1_s * add_v, add_v, add_v, add_p, change_v, change_p)


class Prediction:
    """Where set-points lead within the window, and how sure that is.

    A set-point is judged where the backup policy can have taken over in full: a period after s_k at the earliest, and at the
    latest after the missed ticks too, or at s_k + window. By how much the states there can be off is in the shield graph.

    Args:
        assumed: Numbers of the certificate.
    """

    def __init__(self, assumed: Assumed) -> None:
        self._assumed = a = assumed
        last_s = max((1 + a.missed_ticks) * a.tick_s, a.window_s)
        self._late_s = 2.0 * a.window_s - a.tick_s
        self._instants = self._instant(a.tick_s), self._instant(last_s)
        self._before_s = self._turned(a.window_s)
        self._errors_rad_s = math.sqrt(2.0) * a.rate_error_rad_s + a.rate_residual_rad_s
        self.remembered = max(math.ceil(self._late_s / a.tick_s - 1e-9), 1)

    def _turned(self, time_s: float) -> float:
        """How far rates that follow a set-point with the lag have turned, over the set-point [s]."""
        lag = self._assumed.rate_lag_s
        return time_s + lag * math.expm1(-time_s / lag)

    def _instant(self, t_s: float) -> _Instant:
        """Shares at an instant."""
        a, lag = self._assumed, self._assumed.rate_lag_s
        early_s = t_s + a.window_s
        late_s = max(early_s - self._late_s, 0.0)
        return _Instant(
            t_s=t_s,
            left=math.exp(-t_s / lag),
            swung_s=-lag * math.expm1(-t_s / lag),
            held_s=self._turned(t_s),
            new_share=-0.5 * (math.expm1(-early_s / lag) + math.expm1(-late_s / lag)),
            new_s=0.5 * (self._turned(early_s) + self._turned(late_s)),
            thrust_left=math.exp(-t_s / a.thrust_lag_s),
            horizontal=_ramp(a.drag_1_s[0], t_s),
            vertical=_ramp(a.drag_1_s[1], t_s),
        )

    def turn(self, now: Present, command: Command) -> Triple:
        """c times the derivative of the up direction that the rate set-point asks for [m/s^3], world."""
        gain, offset = self._assumed.rate_gain, self._assumed.rate_offset_rad_s
        roll, pitch = gain[0] * command[0] + offset[0], gain[1] * command[1] + offset[1]
        c, forward, left = now.flat.thrust, now.forward, now.left
        return (
            c * (pitch * forward[0] - roll * left[0]),
            c * (pitch * forward[1] - roll * left[1]),
            c * (pitch * forward[2] - roll * left[2]),
        )

    def start(self, now: Present, disturbance: Triple, acting: Sequence[Command]) -> Start:
        """What all set-points of a tick have in common.

        Args:
            now: State at s_k, as if the set-point before acted until then.
            disturbance: Estimate, within its limits [m/s^2].
            acting: Set-points before it that may act too late, newest first; empty if none is known.
        """
        before = [self.turn(now, old) for old in acting]
        return Start(now, disturbance, self._course(now, disturbance, before) if before else None)

    def _course(self, now: Present, disturbance: Triple, before: Sequence[Triple]) -> Course:
        """Where the set-points before lead, by what they ask of the jerk across the thrust vector, newest first [m/s^3]."""
        flat, up, start = now.flat, now.up, now.flat.thrust or math.nan
        (tx, ty, tz) = turn = (
            flat.jerk[0] - now.slope * up[0], flat.jerk[1] - now.slope * up[1], flat.jerk[2] - now.slope * up[2],
        )  # fmt: skip
        (ox, oy, oz) = old = before[0]
        older = sum(norm(less(one, other)) for one, other in itertools.pairwise(before))
        legs = []
        for instant in self._instants:
            swung, held, share, went = instant.swung_s / start, instant.held_s / start, instant.left, 1.0 - instant.left
            (px, vx), (py, vy), (pz, vz) = (
                _coasted(instant.horizontal, flat.position[0], flat.velocity[0], flat.acceleration[0], disturbance[0]),
                _coasted(instant.horizontal, flat.position[1], flat.velocity[1], flat.acceleration[1], disturbance[1]),
                _coasted(instant.vertical, flat.position[2], flat.velocity[2], flat.acceleration[2], disturbance[2]),
            )
            legs.append(
                Leg(
                    instant=instant,
                    up=(up[0] + swung * tx + held * ox, up[1] + swung * ty + held * oy, up[2] + swung * tz + held * oz),
                    turn=(share * tx + went * ox, share * ty + went * oy, share * tz + went * oz),
                    position=(px, py, pz),
                    velocity=(vx, vy, vz),
                )
            )
        return Course(old, older, norm(less(old, turn)), max(norm(turn), *map(norm, before)), (legs[0], legs[1]))

    def ahead(self, tick: Start, command: Command) -> Ahead:
        """Where a set-point leads."""
        a, flat = self._assumed, tick.now.flat
        wanted = self.turn(tick.now, command)
        course = tick.course or self._course(tick.now, tick.disturbance, [wanted])
        wx, wy, wz = new = less(wanted, course.old)
        target, start = a.thrust_gain * command[3], flat.thrust or math.nan
        timing, rates = norm(new), max(course.fastest, norm(wanted)) / start + self._errors_rad_s
        (ax, ay, az), states, asked, left_out = flat.acceleration, [], [], []
        for instant, (ux, uy, uz), (tx, ty, tz), (px, py, pz), (vx, vy, vz) in course.legs:
            thrust = target + (start - target) * instant.thrust_left
            added, new_share, scale = instant.new_s / start, instant.new_share, thrust / start
            ux, uy, uz = ux + added * wx, uy + added * wy, uz + added * wz
            length = math.sqrt(ux * ux + uy * uy + uz * uz) or math.nan
            ux, uy, uz = direction = ux / length, uy / length, uz / length
            hx, hy, hz = _across(direction, scale, (tx + new_share * wx, ty + new_share * wy, tz + new_share * wz))
            fx, fy, fz = force = thrust * ux, thrust * uy, thrust * uz - a.gravity_m_s2
            slope, level, upright = (target - thrust) / a.thrust_lag_s, instant.horizontal, instant.vertical
            states.append(
                Flat(
                    position=(px + level.change_p * (fx - ax), py + level.change_p * (fy - ay), pz + upright.change_p * (fz - az)),
                    velocity=(vx + level.change_v * (fx - ax), vy + level.change_v * (fy - ay), vz + upright.change_v * (fz - az)),
                    acceleration=force,
                    jerk=(slope * ux + hx, slope * uy + hy, slope * uz + hz),
                    thrust=thrust,
                )
            )
            asked.append(_across(direction, scale, wanted))
            left_out.append(self._left_out(instant.t_s, start, target, rates, timing, course.swing + timing))
        (first_a, first_j), (last_a, last_j) = left_out
        most = max(states[1].thrust / start, 1.0)
        timing, older, swing = most * timing, most * course.older, most * course.swing
        doubts = (timing, timing, older, older, swing, swing, first_a, last_a, first_j, last_j)
        return Ahead((states[0], states[1]), (asked[0], asked[1]), doubts)

    def _left_out(self, t_s: float, start: float, target: float, rates: float, timing: float, swing: float) -> tuple[float, float]:
        """What the nominal state leaves out of the acceleration [m/s^2] and of the jerk [m/s^3]: the yaw rate, the second order of
        the turns, and how far the path between the instants bends besides (docs/certificate.md, section 6).

        Args:
            t_s: The instant.
            start, target: Thrust now, and where the set-point leads it [m/s^2].
            rates: Largest roll-pitch rate until then [rad/s].
            timing, swing: See `Ahead`; bound of what the lag still has to go [m/s^3].
        """
        a, most, least = self._assumed, max(start, target), min(start, target) or math.nan
        yaw, span_s, last_s = a.yaw_rate_rad_s, t_s + a.window_s, self._instants[1].t_s
        turned, early, growth = (rates + yaw) * span_s, self._before_s * timing / start, abs(target - start) / a.thrust_lag_s / least
        bend_s2 = last_s * last_s / 8.0
        tilt = yaw * rates * span_s * span_s + turned * turned * turned + 2.0 * early * turned
        path = bend_s2 * (rates * rates + 2.0 * rates * growth + yaw * rates + growth / a.thrust_lag_s)
        twist = yaw * (t_s + 2.0 * a.window_s) + 2.0 * turned * turned + 2.0 * early
        swerve = bend_s2 * (3.0 * rates * most / start * swing / a.rate_lag_s + 3.0 * most * rates * rates * (rates + growth))
        return most * (tilt + path), most * (rates + growth) * twist + swerve


def _across(direction: Triple, scale: float, vector: Triple) -> Triple:
    """The part of a vector across a direction, scaled."""
    (ux, uy, uz), (x, y, z) = direction, vector
    along = ux * x + uy * y + uz * z
    return scale * (x - ux * along), scale * (y - uy * along), scale * (z - uz * along)


def _coasted(ramp: Ramp, position: float, velocity: float, acceleration: float, disturbance: float) -> tuple[float, float]:
    """Position and velocity along one axis at an instant if the thrust vector stays what it is; what its way to another one adds is
    `Ramp.change_p` and `Ramp.change_v` times the change."""
    first = acceleration + disturbance
    return position + ramp.moves * velocity + ramp.add_p * first, ramp.left * velocity + ramp.add_v * first
