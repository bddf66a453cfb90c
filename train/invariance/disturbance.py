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
        cells: Cells of the thrust vector that it was bounded over.
    """

    acceleration_m_s2: tuple[float, float]
    jerk_m_s3: tuple[float, float]
    parts: dict[str, tuple[float, float]]
    thrust_m_s2: tuple[float, float]
    rates_rad_s: float
    tilt_cosine: float
    setpoint_rates_rad_s: float
    setpoint_thrust_m_s2: tuple[float, float]
    cells: int = 0


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


@dataclass(frozen=True, slots=True)
class _Vectors:
    """Per cell of the thrust vector: its length c, its direction b, and the sizes of b horizontally and vertically; each valid from
    an instant to the sample that acts at it."""

    c: Interval
    b: tuple[Interval, Interval, Interval]
    b_xy: Interval
    b_z: Interval
    tilt_cosine: float


@dataclass(frozen=True, slots=True)
class _Direction:
    """A unit vector u, seen from the thrust vectors of each cell; all are sizes.

    Attributes:
        along: u . b.
        across: Length of P u, the part of u across b; `across_xy` and `across_z` its horizontal length and vertical part.
        curvature: Largest |2 (b . j) (u . j) - (u . b) ((b . j)^2 + |j|^2)| [m^2/s^6].
    """

    along: Interval
    across: Interval
    across_xy: Interval
    across_z: Interval
    curvature: Interval


def _vectors(assumptions: Assumptions, limits: Limits, span_s: float, pieces: int) -> _Vectors:
    """Cut the thrust vectors that the limits allow into cells, grown by what j moves them within `span_s`."""
    reach = [
        float((interval(limits.acceleration_m_s2[i]) + assumptions.disturbance_estimate_m_s2[i]).hi)
        for i in (HORIZONTAL, VERTICAL)
    ]
    moves = [float((interval(span_s) * limits.jerk_m_s3[i]).hi) for i in (HORIZONTAL, VERTICAL)]
    a = _cells((reach[0], reach[1]), (moves[0], moves[1]), pieces)
    up = a[:, 2] + assumptions.gravity_m_s2
    if not up.lo.min() > 0.0:
        raise CertificateError(f"the limits allow free fall: a thrust of {up.lo.min():.2f} m/s^2 upwards; narrow the vertical ones")
    level = _norm(a[:, 0], a[:, 1])
    level = Interval(level.lo, np.minimum(level.hi, reach[0]))
    b = (_share(a[:, 0], _norm(a[:, 1], up)), _share(a[:, 1], _norm(a[:, 0], up)), _share(up, level))
    return _Vectors(
        c=_norm(level, up), b=b, b_xy=_size(_share(level, up)), b_z=_size(b[2]), tilt_cosine=float(b[2].lo.min())
    )


def _directions(v: _Vectors, jerk: tuple[float, float], gamma: Interval, turn: Interval) -> list[_Direction]:
    """u = e_x, which stands for every horizontal direction, and u = e_z. P e_x = e_x - b_x b, P e_z = e_z - b_z b; `gamma` and
    `turn` bound j along and across b."""
    x, _, z = v.b
    longest = 1.1548 * _norm(*jerk).square()  # sqrt(4/3) |j|^2, as gamma^2 + |h|^2 = |j|^2
    across = _size(_clip0(1.0 - x.square()).sqrt())
    parts = across * _least(2.0 * gamma * turn, _norm(*jerk).square()) + _size(x) * turn.square()
    level = _Direction(
        along=_size(x),
        across=across,
        across_xy=_size(_clip0(1.0 - x.square() * (1.0 + z.square())).sqrt()),
        across_z=_size(x) * v.b_z,
        curvature=_least(parts, longest),
    )
    # a quadratic form of j: horizontal parts make it negative, the vertical one positive, the mixed ones either
    side = v.b_xy.square()
    mixed = 2.0 * side * v.b_xy * jerk[0] * jerk[1]
    down = v.b_z * (1.0 + side) * interval(jerk[0]).square() + mixed
    rise = v.b_z * side * interval(jerk[1]).square() + mixed
    upright = _Direction(v.b_z, v.b_xy, v.b_xy * v.b_z, side, _least(_worst(down, rise), longest))
    return [level, upright]


def _share(part: Interval, rest: Interval) -> Interval:
    """part / |(part, rest)| for rest not negative; it grows with part, and its size shrinks with rest: taken at the ends."""

    def at(x: Numbers, other: Numbers) -> Interval:
        return interval(x) / _norm(interval(x), interval(other))

    high = np.where(part.hi >= 0.0, at(part.hi, rest.lo).hi, at(part.hi, rest.hi).hi)
    low = np.where(part.lo >= 0.0, at(part.lo, rest.hi).lo, at(part.lo, rest.lo).lo)
    return _clip1(Interval(low, high))


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
        CertificateError: a thrust lag near the control period, or errors that rival the feedback itself.
        ZeroDivisionError: the limits allow zero thrust.
    """
    if assumptions.tick_s > 0.8 * assumptions.thrust_lag_s:
        raise CertificateError(
            f"thrust lag {assumptions.thrust_lag_s} s at a period of {assumptions.tick_s} s: the lag must be above 1.25 periods"
        )
    tau = interval(assumptions.rate_lag_s)
    tick = interval(assumptions.tick_s)
    held = tick * float(1 + assumptions.missed_ticks)
    window = (held + assumptions.delay_max_s) / 2.0
    theta = interval(assumptions.attitude_error_rad)
    yaw = interval(assumptions.yaw_rate_rad_s)

    v = _vectors(assumptions, limits, float(max(window.hi, held.hi)), pieces)
    c, b_xy, b_z = v.c, v.b_xy, v.b_z
    j_xy, j_z = limits.jerk_m_s3
    nu_xy, nu_z = limits.feedback_m_s3
    j_norm, nu_norm = _norm(j_xy, j_z), _norm(nu_xy, nu_z)
    gamma = _least(b_xy * j_xy + b_z * j_z, j_norm)  # |c'| = |b . j|
    turn = _least(j_xy + b_xy * j_z, j_norm)  # |h|, h the part of j across b
    spin = turn / c  # |b'|
    nu_along = _least(b_xy * nu_xy + b_z * nu_z, nu_norm)
    nu_across = _least(nu_xy + b_xy * nu_z, nu_norm)

    # Between ticks the thrust and its smooth model share end points; each bends by at most h^2 / 8 max|f''|, where
    # |f''| is below 1.5 slope / lag for the one and (slope + |b_hat . nu_hat|) / lag for the other; the errors of
    # b_hat . nu_hat are below half the largest nu (checked below).
    bend = (2.5 * gamma + nu_along + 0.5 * nu_norm) / min(assumptions.thrust_lag_s, assumptions.rate_lag_s)
    scale = assumptions.thrust_scale_error * c + tick.square() / 8.0 * bend
    w_h, w_z = assumptions.acceleration_m_s2
    w_bound = [w_h + b_xy * scale, w_z + b_z * scale]

    # The sampled feedback, less the present one: what the estimate of position and velocity, rounding and time add (plain),
    # per axis, and what the estimate of the attitude adds, across and along the estimated direction of thrust.
    k = interval(np.abs(gain))

    def plain(axis: int, time: Interval) -> Interval:
        estimate = k[axis, 0] * assumptions.position_error_m + k[axis, 1] * assumptions.velocity_error_m_s + rounding_m_s3
        return estimate + time * (limits.slope_m_s4[axis] + k[axis, 1] * w_bound[axis])

    k_most = float(max(k.hi[0, 2], k.hi[1, 2]))
    k_differ = interval(interval(float(gain[0, 2]) - interval(float(gain[1, 2]))).magnitude())
    seen_xy, seen_z = b_xy + theta, b_z + theta  # of the estimated direction
    second = theta.square() / 2.0
    plain_rates = [plain(axis, window) for axis in (HORIZONTAL, VERTICAL)]
    delta_across = _least(plain_rates[0] + seen_xy * plain_rates[1], _norm(*plain_rates)) + k_most * c * theta
    plain_thrust = [plain(axis, held) for axis in (HORIZONTAL, VERTICAL)]
    delta_along = _least(seen_xy * plain_thrust[0] + seen_z * plain_thrust[1], _norm(*plain_thrust))
    delta_along = delta_along + c * (k_most * second + k_differ * (theta * b_xy + second))
    turned_along = theta * nu_across + second * nu_along + held * spin * nu_across
    if not np.all((delta_along + turned_along).hi <= 0.5 * nu_norm.lo):
        raise CertificateError(
            f"errors of the sampled feedback reach {(delta_along + turned_along).hi.max():.2f} m/s^3, the feedback itself only "
            f"{float(nu_norm.lo):.2f} m/s^3; tighten the estimate errors or the window"
        )
    seen_across = nu_across + theta * nu_norm
    ratio = gamma * window / c
    rotated = theta + window * (spin + yaw)  # by how much the attitude at an instant differs from that estimated for its sample
    # an error of the attitude turns the thrust vector that the feedback sees, and the feedback: one rotation of nu - k c b
    k_level = k[0, 2] * c
    turned_both = theta * (k_level.square() + 2.0 * k_level * nu_along + nu_norm.square()).sqrt() + second * nu_across
    parts: dict[str, list[Interval]] = {}
    for u in _directions(v, limits.jerk_m_s3, gamma, turn):
        wide_xy = _least(u.across, u.across_xy + rotated * u.across)
        wide_z = _least(u.across, u.across_z + rotated * u.across)
        sampled = _least(wide_xy * plain_rates[0] + wide_z * plain_rates[1], u.across * _norm(*plain_rates))
        unequal = k_differ * c * (theta * b_xy + second) * wide_z
        for name, part in {
            "estimate, sampling and delay of the feedback": sampled + u.across * turned_both + unequal + u.along * delta_along,
            "turning while a set-point is held": u.across
            * (ratio * (seen_across + delta_across) + window * (yaw * nu_across + spin * nu_along))
            + u.along * turned_along,
            "centripetal and thrust slope": tau * (u.curvature / c + u.across * yaw * turn),
            "rate residual W": u.across * c * assumptions.rate_residual_rad_s,
        }.items():
            parts.setdefault(name, []).append(part)
    r_bound = [sum((part[i] for part in parts.values()), interval(0.0)) for i in (HORIZONTAL, VERTICAL)]
    # The modelled thrust moves by at most tick * max(|gamma|, |b_hat . nu_hat|) per tick; the set-point that does it leads by
    # that over 1 - exp(-tick / lag), and x / (1 - exp(-x)) <= 1 + x.
    lead = (interval(assumptions.thrust_lag_s) + tick) * _worst(nu_along + delta_along + turned_along, gamma)
    return Disturbance(
        acceleration_m_s2=_pair(w_bound),
        jerk_m_s3=_pair(r_bound),
        parts={name: _pair(value) for name, value in parts.items()},
        thrust_m_s2=(float(c.lo.min()), float(c.hi.max())),
        rates_rad_s=float(spin.hi.max()),
        tilt_cosine=v.tilt_cosine,
        setpoint_rates_rad_s=float(((seen_across + delta_across) / c).hi.max()),
        setpoint_thrust_m_s2=(float((c - lead).lo.min()), float((c + lead).hi.max())),
        cells=int(c.lo.size),
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
