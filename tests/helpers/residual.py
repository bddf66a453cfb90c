"""The exact r of docs/certificate.md, section 3, over everything that limits and assumptions allow, and a search for its largest value.

Written from section 2 and independent of `disturbance`: states, errors and instants are drawn, the set-points that the law gives for
them are computed with rotations, and r = tau j' + j - nu is what is left. A row of numbers in [-1, 1] stands for one case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubepilot.train.invariance.assumptions import Assumptions

Numbers = npt.NDArray[np.float64]
PARTS = (
    "estimate, sampling and delay of the feedback", "turning while a set-point is held", "centripetal and thrust slope",
    "rate residual W",
)  # fmt: skip
PAIRED = ("thrust", "jerk", "feedback", "error", "error_old")
"""Horizontal part within the unit disc, vertical part within [-1, 1]."""
BALLS = ("attitude", "attitude_old", "residual", "rounding")
BLOCKS = (*PAIRED, *BALLS, "instants")
"""Blocks of three numbers; the last: yaw rate, and by how much the samples of rates and thrust lie away."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is attacked.

    Attributes:
        assumptions: E, W, timing, lags.
        limits: Shape (6, 2), rows as `loop.ROWS`.
        gain: Shape (2, 3).
        rounding: Bound of the float32 error [m/s^3].
        w_bound: Bound of w, horizontal and vertical [m/s^2].
    """

    assumptions: Assumptions
    limits: Numbers
    gain: Numbers
    rounding: float
    w_bound: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Residual:
    """Of every row.

    Attributes:
        parts: Of r, in the order of `PARTS`, shape (n, 4, 3) [m/s^3].
        rates: Size of the roll-pitch rate set-point, shape (n,) [rad/s].
        along: |b_hat . nu_hat - b . nu|, shape (n,) [m/s^3].
        outside: By how much a sample leaves the limits, shape (n,); such a row is no case.
    """

    parts: Numbers
    rates: Numbers
    along: Numbers
    outside: Numbers


def _dot(x: Numbers, y: Numbers) -> Numbers:
    return (x * y).sum(axis=-1, keepdims=True)


def _turn(vector: Numbers, x: Numbers) -> Numbers:
    """x turned by a rotation vector (Rodrigues)."""
    angle = np.sqrt(_dot(vector, vector)) + 1e-300
    k = vector / angle
    return x * np.cos(angle) + np.cross(k, x) * np.sin(angle) + k * _dot(k, x) * (1 - np.cos(angle))


def _beyond(x: Numbers, most: tuple[float, float]) -> Numbers:
    return np.maximum(np.linalg.norm(x[:, :2], axis=1) - most[0], 0.0) + np.maximum(np.abs(x[:, 2]) - most[1], 0.0)


def project(rows: Numbers) -> Numbers:
    """Every block into its set."""
    result = np.clip(rows, -1.0, 1.0)
    for n, name in enumerate(BLOCKS):
        width = 2 if name in PAIRED else 3 if name in BALLS else 0
        block = rows[:, 3 * n : 3 * n + width]
        if width:
            result[:, 3 * n : 3 * n + width] = block / np.maximum(1.0, np.linalg.norm(block, axis=1, keepdims=True))
    return result


def residual(case: Case, rows: Numbers) -> Residual:
    """r of every row, shape (n, 3 * len(BLOCKS)).

    Body rates are held over the window, so that the attitude at a sample follows from the present one without integration.
    """
    a, lim = case.assumptions, case.limits
    v = {name: rows[:, 3 * n : 3 * n + 3] for n, name in enumerate(BLOCKS)}
    size, k_a = np.abs(case.gain), case.gain[[0, 0, 1], 2]
    weight, tau = np.array([0.0, 0.0, a.gravity_m_s2]), a.rate_lag_s
    reach = (lim[2, 0] + a.disturbance_estimate_m_s2[0], lim[2, 1] + a.disturbance_estimate_m_s2[1])

    def scaled(name: str, row: int) -> Numbers:
        return v[name] * lim[row, [0, 0, 1]]

    force = v["thrust"] * np.array([reach[0], reach[0], reach[1]]) + weight
    c = np.sqrt(_dot(force, force))
    b, j, nu = force / c, scaled("jerk", 3), scaled("feedback", 4)
    slope = _dot(b, j)
    h = j - slope * b
    yaw, early, old = (v["instants"][:, n : n + 1] for n in range(3))
    turning = np.cross(b, h) / c
    omega = turning + a.yaw_rate_rad_s * yaw * b
    since, since_old = a.window_s * early, (1 + a.missed_ticks) * a.tick_s * np.abs(old)

    def sample(since_s: Numbers, error: Numbers, attitude: Numbers) -> tuple[Numbers, ...]:
        """Thrust and attitude error at a sample, estimated direction and feedback, and how far outside the limits it lies."""
        up, thrust, wrong = _turn(-omega * since_s, b), c - slope * since_s, a.attitude_error_rad * attitude
        seen = _turn(wrong, up)
        most = [
            size[axis, 0] * a.position_error_m + size[axis, 1] * a.velocity_error_m_s
            + np.abs(since_s[:, 0]) * (lim[5, axis] + size[axis, 1] * case.w_bound[axis])
            for axis in (0, 0, 1)
        ]  # fmt: skip
        asked = nu + error * np.stack(most, axis=1) + case.rounding * v["rounding"] + k_a * thrust * (seen - up)
        jerk = slope * up + thrust * np.cross(turning, up)
        return thrust, wrong, seen, asked, _beyond(thrust * up - weight, reach) + _beyond(jerk, (lim[3, 0], lim[3, 1]))

    def across(x: Numbers) -> Numbers:
        return x - b * _dot(b, x)

    thrust, wrong, seen, asked, outside = sample(since, v["error"], v["attitude"])
    _, _, seen_old, asked_old, outside_old = sample(since_old, v["error_old"], v["attitude_old"])
    realised = across(_turn(omega * since, _turn(-wrong, asked)))
    perfect = across(_turn(omega * since, nu))
    parts = [
        realised - perfect + _dot(seen_old, asked_old - nu) * b,
        (c / thrust - 1.0) * realised + perfect - across(nu) + _dot(seen_old - b, nu) * b,
        tau * (2.0 * slope * h / c + a.yaw_rate_rad_s * yaw * np.cross(b, h) - _dot(h, h) / c * b),
        c * a.rate_residual_rad_s * across(v["residual"]),
    ]
    rates = np.linalg.norm(asked - seen * _dot(seen, asked), axis=1) / thrust[:, 0]
    return Residual(np.stack(parts, axis=1), rates, np.abs(_dot(seen_old, asked_old) - _dot(b, nu))[:, 0], outside + outside_old)


def largest(
    case: Case, part: int | None, direction: tuple[float, float, float] | None, seed: int, count: int = 500, rounds: int = 110
) -> float:
    """The largest value found by random moves that shrink, the worse half starting again from the better one.

    Args:
        case: What is attacked.
        part: Number of the part of r; None: all of it.
        direction: Unit vector along which r is looked at; None: the rate set-point instead.
        seed: Of the search.
        count: Rows that search side by side.
        rounds: Moves.
    """
    random = np.random.default_rng(seed)
    width = 3 * len(BLOCKS)

    def value(rows: Numbers) -> Numbers:
        found = residual(case, rows)
        r = found.parts.sum(axis=1) if part is None else found.parts[:, part]
        aim = found.rates if direction is None else r @ np.array(direction)
        return np.where(found.outside > 1e-9, -1e3 * found.outside, aim)

    rows = project(random.normal(size=(count, width)) * random.choice([0.5, 1.0, 3.0], size=(count, 1)))
    best = value(rows)
    for number in range(rounds):
        moved = project(rows + (random.random((count, width)) < 0.25) * random.normal(size=(count, width)) * 0.6 * 0.97**number)
        now = value(moved)
        better = now > best
        rows[better], best[better] = moved[better], now[better]
        if number % 12 == 11:
            order = np.argsort(best)
            rows[order[: count // 2]], best[order[: count // 2]] = rows[order[count // 2 :]], best[order[count // 2 :]]
    return float(best.max())
