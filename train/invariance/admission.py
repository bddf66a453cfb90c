"""The one-tick admission box as a table: by how much the state that a set-point leads to can be off, term by term.

Docs: docs/certificate.md, section 6. Three instants are judged: the present (0), and the first (1) and the last (2) at which the
backup policy can have taken over. At each, the radius of position, velocity, acceleration and jerk is a sum of `TERMS` times a
constant; what is across the thrust vector counts vertically only by the sine of the tilt, so its columns stand apart. The terms: 1; c
the nominal thrust; |j| the nominal jerk; `timing` by how much the set-point asks differently than the one before; `older` by how much
those before it differ; `swing` how far the rates were from what the set-point before asked for; `force` and `twist` what the nominal
state leaves out of acceleration and jerk; `feedback` |nu|; `change` by how much the backup's rates can move the jerk; `late` by how
much its thrust slope can. The constants are rounded up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.errors import CertificateError

from .certificate import Certificate
from .interval import Numbers

TERMS = ("one", "thrust", "jerk", "timing", "older", "swing", "force", "twist", "feedback", "change", "late")
PRESENT, FIRST, LAST = 0, 1, 2
UPWARD = 1.0 + 1e-12
"""The few dozen roundings behind an entry, and those of the graph that multiplies with it, stay far below."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What the box depends on; pairs are (horizontal, vertical); units as in the certificate.

    Attributes:
        errors: E: position, velocity, attitude, rates.
        acceleration: Bound of w [m/s^2].
        rate_residual: W of the roll-pitch rates [rad/s].
        tick, window, missed: Control period, half the span in which a set-point may act [s], ticks that may be missed.
        rate_lag, thrust_lag: Lags [s].
        gain: Of the backup policy, shape (2, 3).
        rounding: Of its graph, as an error of nu [m/s^3].
        jerk, feedback: Largest |j| and |nu| in S [m/s^3].
        least_thrust: Smallest c in S [m/s^2].
        backup_rates: Largest roll-pitch rate that the backup's set-points lead to [rad/s].
        gravity: [m/s^2].
        drag: The larger one [1/s].
    """

    errors: tuple[float, float, float, float]
    acceleration: tuple[float, float]
    rate_residual: float
    tick: float
    window: float
    missed: int
    rate_lag: float
    thrust_lag: float
    gain: Numbers
    rounding: float
    jerk: float
    feedback: float
    least_thrust: float
    backup_rates: float
    gravity: float
    drag: float

    @classmethod
    def of(cls, certificate: Certificate) -> Admission:
        """Of a certificate.

        Raises:
            CertificateError: disturbance and drag exceed gravity, of which the box takes no account.
        """
        a, limits, law = certificate.assumptions, certificate.limits, certificate.law
        pull = math.hypot(*a.disturbance_estimate_m_s2) + math.hypot(
            *(drag * speed for drag, speed in zip(a.drag_1_s, limits.velocity_m_s, strict=True))
        )
        if pull >= a.gravity_m_s2:
            raise CertificateError(f"disturbance and drag may reach {pull:.1f} m/s^2, more than gravity: the admission box has no room")
        rates = np.abs(law.rate_gain[:2]) * law.rate_limit_rad_s[:2] + np.abs(law.rate_offset_rad_s[:2])
        return cls(
            errors=(a.position_error_m, a.velocity_error_m_s, a.attitude_error_rad, a.rate_error_rad_s),
            acceleration=certificate.disturbance.acceleration_m_s2, rate_residual=a.rate_residual_rad_s, tick=a.tick_s,
            window=a.window_s, missed=a.missed_ticks, rate_lag=a.rate_lag_s, thrust_lag=a.thrust_lag_s, gain=law.gain,
            rounding=certificate.rounding_m_s3, jerk=math.hypot(*limits.jerk_m_s3), feedback=math.hypot(*limits.feedback_m_s3),
            least_thrust=a.gravity_m_s2 - limits.acceleration_m_s2[1] - a.disturbance_estimate_m_s2[1],
            backup_rates=float(np.hypot(*rates)), gravity=a.gravity_m_s2, drag=max(a.drag_1_s),
        )  # fmt: skip

    @property
    def last(self) -> float:
        """From the instant of the tick to the last judged one [s]."""
        return max((1 + self.missed) * self.tick, self.window)

    @property
    def lead(self) -> float:
        """How long the backup's thrust can have acted before its rates do [s]."""
        return max(self.window - self.tick, 0.0)

    def drawn(self, time: float) -> float:
        """Share of the way to a rate set-point that the lag goes in a time [s]."""
        return -math.expm1(-time / self.rate_lag)

    def turned(self, time: float) -> float:
        """What rates that follow a set-point have turned by after a time, over the set-point [s]."""
        return time - self.rate_lag * self.drawn(time)


def shares(numbers: Admission) -> Numbers:
    """How far the backup's rate set-point can have drawn the jerk at each instant, shape (3,)."""
    drawn = numbers.drawn(numbers.window)
    return np.array([0.0, drawn, drawn]) * UPWARD


def slower(numbers: Admission) -> float:
    """Factor of the slope of the modelled thrust in `late`."""
    return 1.0 - numbers.rate_lag / numbers.thrust_lag


def box(numbers: Admission) -> Numbers:
    """Coefficients of `TERMS`, shape (3 instants, 11 terms, 12 sums): four horizontal radii; of the four vertical ones first what may
    point anywhere or along the thrust vector, then what is across it and counts vertically by the sine of the tilt alone."""
    position, velocity, attitude, rates = numbers.errors
    one, thrust, turn, *_ = np.eye(len(TERMS))
    table = np.zeros((3, len(TERMS), 12))
    noise, nothing = math.sqrt(2.0) * rates * thrust, 0.0 * one
    table[PRESENT] = np.stack([
        position * one, velocity * one, attitude * thrust, noise + attitude * turn,
        position * one, velocity * one, nothing, attitude * turn, nothing, nothing, attitude * thrust, noise,
    ], axis=1)  # fmt: skip
    for n, t in ((FIRST, numbers.tick), (LAST, numbers.last)):
        table[n] = np.concatenate(_rows(numbers, t), axis=1)
    return table * UPWARD


def _rows(numbers: Admission, t: float) -> list[Numbers]:
    """Sums at an instant: horizontal, vertical anywhere, vertical across the thrust vector; each of shape (terms, 4)."""
    position, velocity, attitude, rates = numbers.errors
    one, thrust, turn, timing, older, swing, force, twist, feedback, change, late = np.eye(len(TERMS))
    lag, window, tick, gap = numbers.rate_lag, numbers.window, numbers.tick, numbers.last - numbers.tick
    share, noise, residual = numbers.drawn(t), math.sqrt(2.0) * rates, numbers.rate_residual
    delay = 2.0 * window - tick  # how much later than at the earliest a set-point may begin to act
    early, latest, before = t + window, max(t - window + tick, 0.0), max(t - window + 2.0 * tick, 0.0)
    half = 0.5 * (numbers.drawn(early) - numbers.drawn(latest))
    half_turned = 0.5 * (numbers.turned(early) - numbers.turned(latest))
    old = numbers.drawn(early + tick) - numbers.drawn(before)
    drawn, tilted = numbers.drawn(window), numbers.turned(window) / numbers.drawn(window)  # of the backup's rates
    slope_share = numbers.drawn(numbers.lead)
    bend = gap * gap / 8.0 / lag**2  # of a line between the instants; twice where its ends may differ
    corner = max(window - 2.0 * tick, 0.0)  # from the first instant to where a set-point that is as late as it may be begins to act
    corner = corner / gap * numbers.drawn(gap - corner) if corner > 0.0 else 0.0  # how far the line lies above the share of it there
    asked, fed = drawn * numbers.backup_rates, numbers.feedback / numbers.least_thrust
    spun = numbers.jerk / numbers.least_thrust + asked  # the jerk under our set-point, less what the backup's takes away of it
    # the thrust vector
    noisy = noise * share * lag + residual * numbers.turned(t)
    ours = attitude * thrust + noisy * thrust + half_turned * timing + delay * older
    ours += bend * lag * (swing + timing + 2.0 * (noise + residual) * thrust)
    sideways = ours + tilted * change  # across the thrust vector
    ours = ours + force
    anywhere = force + numbers.lead * slope_share * late
    acceleration = sideways + anywhere
    # velocity and position: thrust vectors off the straight line between its ends, and before
    line = t * t / 8.0 / lag * (swing + timing) + numbers.turned(window) * timing
    chord = gap * gap / 8.0
    pulled = thrust + 2.0 * numbers.gravity * one  # the largest acceleration, as disturbance and drag stay below gravity
    bow = turn + swing + timing + numbers.drag * pulled
    speeds = [velocity * one + t * (numbers.acceleration[axis] * one + line) + 2.0 * chord * bow for axis in (0, 1)]
    places = position * one + 2.0 * chord * pulled
    # what the backup's set-point can differ from the feedback at the nominal state
    k = np.abs(numbers.gain)
    wrong = [
        k[axis, 0] * (position * one + places + t * (speeds[axis] + t * ours)) + k[axis, 1] * (velocity * one + speeds[axis] + t * ours)
        + numbers.rounding * one
        for axis in (0, 1)
    ]  # fmt: skip
    error = np.hypot(*wrong) + k[:, 2].max() * (attitude * thrust + ours)
    error = (1.0 + attitude) * error + 3.0 * attitude * feedback + fed * (ours - attitude * thrust)
    # the jerk: what rates err by, or set-points that act at another time, is across the thrust vector
    across = noise * (1.0 - share) * thrust + residual * (share + 2.0 * bend) * thrust
    across += (half + bend + corner) * timing + old * older + bend * swing + drawn * error
    jerk = (attitude + noisy + 2.0 * bend + slope_share * _slope_error(numbers)) * turn
    jerk += half_turned * spun * timing + delay * spun * older + (1.0 + drawn) * twist
    jerk += (tilted * (spun + drawn * fed + asked) + attitude + noisy) * change
    jerk += slope_share * (1.0 + numbers.lead * spun) * late + slope_share * error
    speed, rise = (own + t * acceleration for own in speeds)  # the tilt until then is not known: all of it counts upwards too
    return [
        np.stack([places + t * speed, speed, acceleration, across + jerk], axis=1),
        np.stack([places + t * rise, rise, anywhere, jerk], axis=1),
        np.stack([0.0 * one, 0.0 * one, sideways, across], axis=1),
    ]


def _slope_error(numbers: Admission) -> float:
    """By how much the factor of the slope in `late` is off when the backup's thrust has acted for `lead`."""
    if numbers.lead == 0.0:
        return 0.0
    exact = -math.expm1(-numbers.lead / numbers.thrust_lag) / numbers.drawn(numbers.lead)
    return abs(exact - numbers.rate_lag / numbers.thrust_lag)
