"""Bounds on w and r of `loop`: everything in which the vehicle differs from linear axes, over a set of limits.

Horizontal limits are Euclidean: the closed loop looks the same along every horizontal direction u, so one bound on u . w and
u . r serves all of them. By that symmetry u = e_x is taken. Notation: docs/certificate.md, section 3. All numbers are rounded
outward; the thrust vectors are cut into cells so that direction and magnitude of the thrust stay related.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.errors import CertificateError

from .assumptions import Assumptions
from .interval import Interval, Numbers, interval, symmetric

HORIZONTAL, VERTICAL = 0, 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Set that the tube never leaves. Each pair is (Euclidean norm of the horizontal part, absolute vertical part).

    Attributes:
        position_m: Distance from the backup's anchor [m].
        velocity_m_s: Speed [m/s].
        acceleration_m_s2: Thrust vector minus hover plus the disturbance estimate that the backup holds, a [m/s^2].
        jerk_m_s3: Its derivative j [m/s^3].
        feedback_m_s3: The feedback nu [m/s^3].
        slope_m_s4: Its derivative without w [m/s^4].
    """

    position_m: tuple[float, float]
    velocity_m_s: tuple[float, float]
    acceleration_m_s2: tuple[float, float]
    jerk_m_s3: tuple[float, float]
    feedback_m_s3: tuple[float, float]
    slope_m_s4: tuple[float, float]

    def rows(self, axis: int) -> Numbers:
        """Limits of one axis in the order of `loop.ROWS`, shape (6,)."""
        pairs = (
            self.position_m,
            self.velocity_m_s,
            self.acceleration_m_s2,
            self.jerk_m_s3,
            self.feedback_m_s3,
            self.slope_m_s4,
        )
        return np.array([pair[axis] for pair in pairs])


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Bounds over the limits; pairs are (along any horizontal direction, vertical).

    Attributes:
        acceleration_m_s2: Bound on |w|.
        jerk_m_s3: Bound on |r|.
        parts: Bound of each part of r [m/s^3], by name (for people: which assumption to tighten).
        thrust_m_s2: Smallest and largest modelled thrust c.
        rates_rad_s: Largest roll-pitch rate, Euclidean norm.
        tilt_cosine: Smallest b_z.
        setpoint_rates_rad_s: Largest roll-pitch rate set-point of the backup policy, Euclidean norm.
        setpoint_thrust_m_s2: Smallest and largest thrust set-point of the backup policy.
    """

    acceleration_m_s2: tuple[float, float]
    jerk_m_s3: tuple[float, float]
    parts: dict[str, tuple[float, float]]
    thrust_m_s2: tuple[float, float]
    rates_rad_s: float
    tilt_cosine: float
    setpoint_rates_rad_s: float
    setpoint_thrust_m_s2: tuple[float, float]


def _cells(radius: tuple[float, float], moves: tuple[float, float], pieces: int) -> Interval:
    """Boxes that cover the cylinder |a_xy| <= radius[0], |a_z| <= radius[1], shape (cells, 3).

    Every bound is the same for +-a_x and +-a_y, so the quadrant of positive ones is enough. Each box is grown by
    `moves`, how far the thrust vector goes (horizontally, vertically) between an instant and the sample that acts at
    it: what is bounded over a box holds at both.
    """
    corners = ((0.0, radius[0], pieces), (0.0, radius[0], pieces), (-radius[1], radius[1], 2 * pieces))
    edges = [np.linspace(low, high, count + 1) for low, high, count in corners]
    for edge, (low, high, _) in zip(edges, corners, strict=True):
        edge[0], edge[-1] = low, high
    lo = np.stack(np.meshgrid(*[e[:-1] for e in edges], indexing="ij"), axis=-1).reshape(-1, 3)
    hi = np.stack(np.meshgrid(*[e[1:] for e in edges], indexing="ij"), axis=-1).reshape(-1, 3)
    touches = lo[:, 0] ** 2 + lo[:, 1] ** 2 <= radius[0] ** 2 * (1 + 1e-9)
    grown = Interval(lo[touches], hi[touches]) + symmetric(np.array([moves[0], moves[0], moves[1]]))
    most = np.array([radius[0], radius[0], radius[1]])
    return Interval(np.maximum(grown.lo, -most), np.minimum(grown.hi, most))


def _norm(*parts: Interval | float) -> Interval:
    """Euclidean norm of several scalars."""
    result = interval(0.0)
    for part in parts:
        result = result + interval(part).square()
    return result.sqrt()


def _size(x: Interval) -> Interval:
    """Bound of |x| as a point interval per cell."""
    return interval(x.magnitude())


def bound(
    assumptions: Assumptions, limits: Limits, gain: Numbers, pieces: int = 8, rounding_m_s3: float = 0.0
) -> Disturbance:
    """Bound w and r over the limits.

    Args:
        assumptions: E, W, timing and lags.
        limits: What states, feedback and slope stay within.
        gain: Feedback gains, shape (2, 3): rows horizontal and vertical; columns position, velocity, acceleration.
        pieces: Cells of the thrust vector from 0 to its largest value, per axis.
        rounding_m_s3: Bound of the float32 rounding of the exported backup graph, as an error of nu [m/s^3].

    Returns:
        The bounds.

    Raises:
        CertificateError: the thrust model does not cover missed ticks, or a thrust lag near the control period.
        ZeroDivisionError: the limits allow zero thrust.
    """
    if assumptions.missed_ticks or assumptions.tick_s > 0.8 * assumptions.thrust_lag_s:
        raise CertificateError(
            f"{assumptions.missed_ticks} missed ticks, thrust lag {assumptions.thrust_lag_s} s at a period of "
            f"{assumptions.tick_s} s: a thrust set-point is right for one period only, and the lag must be above 1.25 "
            "periods; assume 0 missed ticks"
        )
    tau = interval(assumptions.rate_lag_s)
    window = interval(assumptions.window_s)
    tick = interval(assumptions.tick_s)
    attitude = interval(assumptions.attitude_error_rad)
    yaw = interval(assumptions.yaw_rate_rad_s)

    reach = [
        float((interval(limits.acceleration_m_s2[i]) + assumptions.disturbance_estimate_m_s2[i]).hi)
        for i in (HORIZONTAL, VERTICAL)
    ]
    # A rate set-point acts within `window` of its instant. A thrust set-point moves the modelled thrust from its value
    # at the instant of the sample to the value a period later: it acts up to one whole period after its instant.
    span = max(assumptions.window_s, assumptions.tick_s)
    moves = [float((interval(span) * limits.jerk_m_s3[i]).hi) for i in (HORIZONTAL, VERTICAL)]
    a = _cells((reach[0], reach[1]), (moves[0], moves[1]), pieces)
    fz = a[:, 2] + assumptions.gravity_m_s2
    c = _norm(a[:, 0], a[:, 1], fz)
    b = [_clip1(f / c) for f in (a[:, 0], a[:, 1], fz)]
    b_u, b_z = _size(b[0]), _size(b[2])
    b_xy = _size(_clip1(_norm(b[0], b[1])))
    across_u = _clip0(1.0 - b[0].square())  # |P u|^2 for u = e_x, P the projection across b
    across_z = _clip0(1.0 - b[2].square())

    j_xy, j_z = limits.jerk_m_s3
    nu_xy, nu_z = limits.feedback_m_s3
    j_norm, nu_norm = _norm(j_xy, j_z), _norm(nu_xy, nu_z)
    gamma = _least(b_xy * j_xy + b_z * j_z, j_norm)  # |c'| = |b . j|
    spin = j_norm / c  # |b'| = |h| / c with h the part of j across b

    # Errors of the sampled feedback: estimate, rounding, and the time between sample and now.
    k = interval(np.abs(gain))
    # Between ticks the thrust and its smooth model share end points; each bends by at most h^2 / 8 max|f''|, where
    # |f''| is below 1.5 slope / lag for the one and (slope + |b_hat . nu_hat|) / lag for the other; the errors of
    # b_hat . nu_hat are below half the largest nu (checked below).
    bend = (2.5 * gamma + b_xy * nu_xy + b_z * nu_z + 0.5 * nu_norm) / min(assumptions.thrust_lag_s, assumptions.rate_lag_s)
    ripple = tick.square() / 8.0 * bend
    w_h, w_z = assumptions.acceleration_m_s2
    scale = assumptions.thrust_scale_error * c + ripple
    w_bound = [w_h + b_xy * scale, w_z + b_z * scale]
    # A turn by theta moves b along a unit vector m by at most theta |P m| + theta^2. Horizontally m may be any
    # direction ("any"), or that of b_xy itself ("tilt", where |P m| = b_z).
    levers = {"any": (HORIZONTAL, interval(1.0)), "tilt": (HORIZONTAL, b_z), "up": (VERTICAL, across_z.sqrt())}
    delta = {}
    for name, time in (("rates", window), ("thrust", tick)):
        for direction, (axis, lever) in levers.items():
            estimate = (
                k[axis, 0] * assumptions.position_error_m
                + k[axis, 1] * assumptions.velocity_error_m_s
                + k[axis, 2] * c * attitude * (lever + attitude)
                + rounding_m_s3
            )
            slope = limits.slope_m_s4[axis] + k[axis, 1] * w_bound[axis]
            delta[name, direction] = estimate + time * slope
    beta_rates = spin * window + attitude  # |b_hat(s) - b(t)|
    beta_thrust = spin * tick + attitude
    error = _norm(*(_worst(delta["rates", m], delta["thrust", m]) for m in ("any", "up")))
    if not np.all((error + beta_thrust * nu_norm).hi <= 0.5 * nu_norm.lo):
        raise CertificateError(
            f"errors of the sampled feedback reach {error.hi.max():.2f} m/s^3, the feedback itself only "
            f"{float(nu_norm.lo):.2f} m/s^3; tighten the estimate errors or the window"
        )
    asked = nu_norm + error  # |nu_hat|

    # r2: sampled nu, split along and across the sampled direction, against the continuous nu.
    along = _least(b_xy * nu_xy + b_z * nu_z + beta_rates * nu_norm, nu_norm)
    along_delta = (
        b_xy * delta["thrust", "tilt"]
        + b_z * delta["thrust", "up"]
        + beta_thrust * (delta["thrust", "any"] + delta["thrust", "up"])
    )
    coupling = b_z * b_xy  # |P u| has the vertical part |b_u b_z|, |P e_z| the horizontal part |b_xy b_z| along b_xy
    twice = 2.0 * beta_rates
    turned = twice * (delta["rates", "any"] + delta["rates", "up"])
    held = [
        across_u.sqrt() * delta["rates", "any"]
        + b_z * b_u * delta["rates", "up"]
        + turned
        + b_u * along_delta
        + b_u * (beta_rates + beta_thrust) * nu_norm
        + beta_rates * along,
        across_z * delta["rates", "up"]
        + coupling * delta["rates", "tilt"]
        + turned
        + b_z * along_delta
        + b_z * (beta_rates + beta_thrust) * nu_norm
        + beta_rates * along,
    ]

    # r1: the rate set-point is held in the body while the body turns and the thrust changes.
    angle = (spin + yaw) * window + attitude
    ratio = gamma * window / c
    rotated = asked * (angle + ratio + angle * ratio)

    # r3: (2 gamma h - |h|^2 b) / c and the yaw coupling, which the policy does not cancel; gamma^2 + |h|^2 = |j|^2.
    double = _least(2.0 * gamma * j_norm, j_norm.square())
    centripetal = [
        tau * ((double * across_u.sqrt() + j_norm.square() * b_u) / c + yaw * j_norm),
        tau * ((double * across_z.sqrt() + j_norm.square() * b_z) / c + yaw * j_norm),
    ]
    # r4: the rate residual W.
    residual = [
        c * assumptions.rate_residual_rad_s * across_u.sqrt(),
        c * assumptions.rate_residual_rad_s * across_z.sqrt(),
    ]

    parts = {
        "hold, delay, missed ticks, estimate error": held,
        "turning while a set-point is held": [rotated, rotated],
        "centripetal and thrust slope": centripetal,
        "rate residual W": residual,
    }
    r_bound = [held[i] + rotated + centripetal[i] + residual[i] for i in (HORIZONTAL, VERTICAL)]
    # The modelled thrust moves by at most tick * max(|gamma|, |nu_hat|) per tick; the set-point that does it leads by
    # that over 1 - exp(-tick / lag), and x / (1 - exp(-x)) <= 1 + x.
    lead = (interval(assumptions.thrust_lag_s) + tick) * _worst(asked, gamma)
    return Disturbance(
        acceleration_m_s2=_pair(w_bound),
        jerk_m_s3=_pair(r_bound),
        parts={name: _pair(value) for name, value in parts.items()},
        thrust_m_s2=(float(c.lo.min()), float(c.hi.max())),
        rates_rad_s=float(spin.hi.max()),
        tilt_cosine=float(b[2].lo.min()),
        setpoint_rates_rad_s=float((asked / c).hi.max()),
        setpoint_thrust_m_s2=(float((c - lead).lo.min()), float((c + lead).hi.max())),
    )


def _clip1(x: Interval) -> Interval:
    return Interval(np.clip(x.lo, -1.0, 1.0), np.clip(x.hi, -1.0, 1.0))


def _clip0(x: Interval) -> Interval:
    return Interval(np.maximum(x.lo, 0.0), np.maximum(x.hi, 0.0))


def _least(x: Interval, y: Interval) -> Interval:
    """Either bound holds: the smaller upper end, as a point."""
    return interval(np.minimum(x.hi, y.hi))


def _worst(x: Interval, y: Interval) -> Interval:
    """Upper bound of both magnitudes, as a point."""
    return interval(np.maximum(x.hi, y.hi))


def _pair(values: list[Interval]) -> tuple[float, float]:
    return float(values[0].hi.max()), float(values[1].hi.max())
