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


class _Instant(NamedTuple):
    """What one of the judged instants needs, none of it dependent on the state; all times are counted from s_k.

    Attributes:
        t_s: When it is [s].
        left, swung_s: Share of the present rates that is left, and what they have turned by, over the rates [s].
        held_s: What the set-point before has turned by, over its rates, if it had acted throughout [s].
        new_share, new_s: Share of the way to the judged set-point, and what that has turned by, over its rates [s], in the middle
            between the earliest and the latest instant at which it can have begun to act.
        thrust_left: What is left of the thrust's distance from its target.
        horizontal, vertical: See `_ramp`.
    """

    t_s: float
    left: float
    swung_s: float
    held_s: float
    new_share: float
    new_s: float
    thrust_left: float
    horizontal: tuple[float, ...]
    vertical: tuple[float, ...]


def _ramp(drag_1_s: float, t_s: float) -> tuple[float, ...]:
    """Velocity and position after a time, with linear drag, under an acceleration that goes straight from one value to another: of
    the velocity what is left and what it moves; of the first acceleration, and of its change, what they add to both."""
    add_v = add_p = change_v = change_p = 0.0
    term = 1.0
    for n in range(1, 12):  # drag times time is far below 1: the terms that are left out are below one rounding
        term *= t_s / n
        change_v += term / (n + 1)
        add_v += term
        add_p += term * t_s / (n + 1)
        change_p += term * t_s / ((n + 1) * (n + 2))
        term *= -drag_1_s
    return 1.0 - drag_1_s * add_v, add_v, add_v, add_p, change_v, change_p


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

    def ahead(self, now: Present, command: Command, disturbance: Triple, acting: Sequence[Command]) -> Ahead:
        """Where a set-point leads.

        Args:
            now: State at s_k, as if the set-point before acted until then.
            command: The set-point.
            disturbance: Estimate, within its limits [m/s^2].
            acting: Set-points before it that may act too late, newest first; empty if none is known.
        """
        a, flat, up = self._assumed, now.flat, now.up
        p, v, acceleration = flat.position, flat.velocity, flat.acceleration
        wanted = self.turn(now, command)
        before = [self.turn(now, old) for old in acting] or [wanted]
        (tx, ty, tz) = turn = (
            flat.jerk[0] - now.slope * up[0], flat.jerk[1] - now.slope * up[1], flat.jerk[2] - now.slope * up[2],
        )  # fmt: skip
        (ox, oy, oz), (wx, wy, wz) = old, new = before[0], less(wanted, before[0])
        target, start = a.thrust_gain * command[3], flat.thrust or math.nan
        timing, older = norm(new), sum(norm(less(one, other)) for one, other in itertools.pairwise(before))
        swing = norm(less(old, turn))
        rates = max(norm(turn), norm(wanted), *map(norm, before)) / start + self._errors_rad_s
        states, asked, left_out = [], [], []
        for instant in self._instants:
            thrust = target + (start - target) * instant.thrust_left
            swung, held, added = instant.swung_s / start, instant.held_s / start, instant.new_s / start
            ux, uy, uz = (
                up[0] + swung * tx + held * ox + added * wx,
                up[1] + swung * ty + held * oy + added * wy,
                up[2] + swung * tz + held * oz + added * wz,
            )
            length = math.sqrt(ux * ux + uy * uy + uz * uz) or math.nan
            ux, uy, uz = direction = ux / length, uy / length, uz / length
            share, went, scale = instant.left, 1.0 - instant.left, thrust / start
            hx, hy, hz = _across(direction, scale, (
                share * tx + went * ox + instant.new_share * wx,
                share * ty + went * oy + instant.new_share * wy,
                share * tz + went * oz + instant.new_share * wz,
            ))  # fmt: skip
            force = thrust * ux, thrust * uy, thrust * uz - a.gravity_m_s2
            slope = (target - thrust) / a.thrust_lag_s
            (px, vx), (py, vy), (pz, vz) = (
                _moved(instant.horizontal, p[0], v[0], acceleration[0], force[0], disturbance[0]),
                _moved(instant.horizontal, p[1], v[1], acceleration[1], force[1], disturbance[1]),
                _moved(instant.vertical, p[2], v[2], acceleration[2], force[2], disturbance[2]),
            )
            states.append(
                Flat(
                    position=(px, py, pz),
                    velocity=(vx, vy, vz),
                    acceleration=force,
                    jerk=(slope * ux + hx, slope * uy + hy, slope * uz + hz),
                    thrust=thrust,
                )
            )
            asked.append(_across(direction, scale, wanted))
            left_out.append(self._left_out(instant.t_s, start, target, rates, timing, swing + timing))
        (first_a, first_j), (last_a, last_j) = left_out
        most = max(states[1].thrust / start, 1.0)
        timing, older, swing = most * timing, most * older, most * swing
        doubts = (timing, timing, older, older, swing, swing, first_a, last_a, first_j, last_j)
        return Ahead((states[0], states[1]), (asked[0], asked[1]), doubts)

    def _left_out(
        self, t_s: float, start: float, target: float, rates: float, timing: float, swing: float
    ) -> tuple[float, float]:
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


def _moved(
    ramp: tuple[float, ...], position: float, velocity: float, acceleration: float, then: float, disturbance: float
) -> tuple[float, float]:
    """Position and velocity along one axis at an instant, see `_ramp`: the thrust vector goes straight to what it is then."""
    left, moves, add_v, add_p, change_v, change_p = ramp
    first, change = acceleration + disturbance, then - acceleration
    return position + moves * velocity + add_p * first + change_p * change, left * velocity + add_v * first + change_v * change
