"""The certificate's inequalities in ball arithmetic (python-flint): disturbance bounds, facets, tube, float32 rounding.

Written from docs/certificate.md, sharing no code with the prover, and differently where there is a choice: thrust vectors in
cylindrical cells with every quantity at the worst corner, disturbance integrals exact wherever their integrand keeps its
sign. A ball holds its exact value; a comparison of balls is true only if it holds for every value in them. Notation: a is the
thrust vector minus hover plus the held disturbance estimate, j its derivative, b the up direction of the body, c the
modelled thrust, nu the feedback; u is any horizontal unit vector.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Ball = Any
"""flint.arb: python-flint has no type stubs."""

PIECES = 8
"""Pieces of a sub-step in which the disturbance integrals look for a constant sign."""
TURNS = 8
"""Cells of the angle between a horizontal direction and the thrust vector."""
HALVINGS = 6
"""How often a cell of the thrust vector is cut in four before it counts as not covered."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the certificate says; pairs are (horizontal, vertical).

    Attributes:
        t: Numbers of certificate.toml, by the names of its tables and keys, which name the units.
        arrays: Content of certificate.npz, shapes checked: `limits` of each stage (stages, 6, 2) of position, velocity, acceleration,
            jerk, feedback, slope; `bounds` (stages, 2, 2) of the disturbances, w and r; `gain` (2, 3); facets and what belongs to them.
        window: Largest distance of a rate set-point from the instant that it was computed for [s].
        following: Stage that a step leads into, from each: the next one or, from the last of a chain, itself.
    """

    t: SimpleNamespace
    arrays: Mapping[str, Numbers]
    window: float
    following: list[int]

    @property
    def e(self) -> SimpleNamespace:
        """The assumptions."""
        assumed: SimpleNamespace = self.t.assumptions
        return assumed

    @property
    def gain(self) -> Numbers:
        """Of the backup policy, shape (2, 3): horizontal and vertical; position, velocity, acceleration."""
        return self.arrays["gain"]

    @property
    def substeps(self) -> int:
        """Pieces of a step."""
        return int(self.t.proof.substeps)

    @property
    def widest(self) -> Numbers:
        """The largest limits of all stages, shape (6, 2)."""
        largest: Numbers = self.arrays["limits"].max(axis=0)
        return largest


def flint() -> Any:
    """The python-flint module, at 128 bits."""
    module = importlib.import_module("flint")
    module.ctx.prec = 128
    return module


def _largest(values: list[Ball]) -> Ball:
    """The largest of the upper ends of `values`."""
    return functools.reduce(lambda x, y: x.max(y), (value.upper() for value in values))


def thrusts(claim: Claimed) -> tuple[Ball, Ball, Ball]:
    """Smallest and largest modelled thrust, and the smallest vertical part of b, over the widest limits."""
    arb = flint().arb
    level, lift = (arb(float(claim.widest[2, k])) + arb(claim.e.disturbance_estimate_m_s2[k]) for k in (0, 1))
    bottom = claim.e.gravity_m_s2 - lift
    return bottom, _size(level, claim.e.gravity_m_s2 + lift), bottom / _size(level, bottom)


def beyond(claim: Claimed, limits: Numbers, stated: Mapping[str, Ball]) -> tuple[str, Ball, Ball] | None:
    """What can exceed its stated bound over every thrust vector that `limits` (6, 2) allow, at every instant between a sample and its
    last effect: name (see `_cell`), value and bound; None if nothing does.

    The thrust vectors are one cell at first; a cell whose values are too large is cut into four, up to `HALVINGS` times.
    """
    arb = flint().arb
    e, span = claim.e, arb(claim.window).max(arb(claim.e.tick_s) * (1 + claim.e.missed_ticks))
    level, lift = (arb(float(limits[2, k])) + arb(e.disturbance_estimate_m_s2[k]) for k in (0, 1))
    moves = (span * arb(float(limits[3, 0])), span * arb(float(limits[3, 1])))
    turns = [(arb.pi() * k / (2 * TURNS)).cos() for k in range(TURNS + 1)]
    cells, excess = [((arb(0), level), (e.gravity_m_s2 - lift, e.gravity_m_s2 + lift))], None
    for _ in range(HALVINGS + 1):
        left = []
        for radius, height in cells:
            found = _cell(claim, limits, radius, height, moves, turns)
            over = [(name, found[name], bound) for name, bound in stated.items() if not found[name] <= bound]
            if over:
                excess = over[0]
                left.append((radius, height))
        if not left:
            return None
        cells = [(r, h) for radius, height in left for r in _halves(*radius) for h in _halves(*height)]
    return excess


def _halves(low: Ball, high: Ball) -> tuple[tuple[Ball, Ball], tuple[Ball, Ball]]:
    middle = (low + high) / 2
    return (low, middle), (middle, high)


def _size(*parts: Ball) -> Ball:
    return sum((part * part for part in parts[1:]), parts[0] * parts[0]).sqrt()


def _smaller(x: Ball, y: Ball) -> Ball:
    """The smaller one: either bound holds."""
    return x.min(y)


def _cell(
    claim: Claimed, limits: Numbers, radius: tuple[Ball, Ball], height: tuple[Ball, Ball], moves: tuple[Ball, Ball], turns: list[Ball]
) -> dict[str, Ball]:
    """Bounds over thrust vectors of horizontal length in `radius` and vertical part in `height`.

    `far` and `near` below are the extremes over everything that the vector can be between a sample and its effect.
    """
    arb, e = flint().arb, claim.e
    zero = arb(0)
    reach = arb(float(limits[2, 0])) + arb(e.disturbance_estimate_m_s2[0])
    lift = arb(float(limits[2, 1])) + arb(e.disturbance_estimate_m_s2[1])
    inner = radius[0] - moves[0]
    near = inner if inner > 0 else zero
    far = _smaller(radius[1] + moves[0], reach)
    low = (height[0] - moves[1]).max(e.gravity_m_s2 - lift)
    high = _smaller(height[1] + moves[1], e.gravity_m_s2 + lift)
    c_low, c_high = _size(near, low), _size(far, high)
    tilt = far / _size(far, low)  # largest |b_xy| ...
    upright = high / _size(near, high)  # ... and largest b_z
    jerk, feedback, slope = ([arb(float(x)) for x in limits[row]] for row in (3, 4, 5))
    j, nu = _size(*jerk), _size(*feedback)
    theta, yaw, window, tick = (arb(x) for x in (e.attitude_error_rad, e.yaw_rate_rad_s, claim.window, e.tick_s))
    held = tick * (1 + e.missed_ticks)
    tau = arb(e.rate_lag_s)

    def along(pair: list[Ball]) -> Ball:
        """Bound of |b . x| for a vector of these sizes, horizontally and vertically."""
        return _smaller(tilt * pair[0] + upright * pair[1], _size(*pair))

    def across(pair: list[Ball]) -> Ball:
        """Bound of the length of x across b."""
        return _smaller(pair[0] + tilt * pair[1], _size(*pair))

    gamma, turn, nu_along, nu_across = along(jerk), across(jerk), along(feedback), across(feedback)
    spin = turn / c_low
    bend = (gamma * 5 / 2 + nu_along + nu / 2) / arb(min(e.thrust_lag_s, e.rate_lag_s))
    off = arb(e.thrust_scale_error) * c_high + tick * tick / 8 * bend
    w = [arb(e.acceleration_m_s2[0]) + tilt * off, arb(e.acceleration_m_s2[1]) + upright * off]

    def error(axis: int, time: Ball) -> Ball:
        """What position, velocity, rounding and time add to the feedback along an axis."""
        k_p, k_v, _ = (arb(abs(float(g))) for g in claim.gain[axis])
        state = k_p * arb(e.position_error_m) + k_v * arb(e.velocity_error_m_s)
        return state + arb(claim.t.proof.rounding_m_s3) + time * (slope[axis] + k_v * w[axis])

    k_a = [arb(abs(float(g))) for g in claim.gain[:, 2]]
    most, differ = _largest(k_a), abs(arb(float(claim.gain[0, 2])) - arb(float(claim.gain[1, 2])))
    early, late = [error(axis, window) for axis in (0, 1)], [error(axis, held) for axis in (0, 1)]
    wrong = _smaller(early[0] + (tilt + theta) * early[1], _size(*early)) + most * c_high * theta
    small = theta * theta / 2
    wrong_along = _smaller((tilt + theta) * late[0] + (upright + theta) * late[1], _size(*late))
    wrong_along += c_high * (most * small + differ * (theta * tilt + small))
    wrong_along += theta * nu_across + small * nu_along + held * spin * nu_across
    ratio = gamma * window / c_low
    asked = nu_across + theta * nu + wrong
    upright_least = low / _size(far, low)
    rotated = theta + window * (spin + yaw)
    drift = ratio * asked + window * (yaw * nu_across + spin * nu_along) + c_high * arb(e.rate_residual_rad_s)
    seen = k_a[0] * c_high  # an error of the attitude turns the feedback less its part from the thrust vector
    drift += theta * (seen * seen + 2 * seen * nu_along + nu * nu).sqrt() + small * nu_across + tau * yaw * turn
    longest = (arb(4) / 3).sqrt() * j * j

    def total(part: Ball, own: Ball, own_level: Ball, own_rise: Ball, curvature: Ball) -> Ball:
        """r along a unit vector u with |u . b| <= part, |P u| <= own, and the horizontal and vertical sizes of P u."""
        level, rise = (_smaller(own, size + rotated * own) for size in (own_level, own_rise))
        sampled = _smaller(level * early[0] + rise * early[1], own * _size(*early)) + differ * c_high * (theta * tilt + small) * rise
        return own * drift + sampled + part * wrong_along + tau * _smaller(curvature, longest) / c_low

    least_tilt = near / _size(near, high)
    r_horizontal = []
    for k in range(TURNS):
        least, most_part = least_tilt * turns[k + 1], tilt * turns[k]
        own = (1 - least * least).sqrt()
        own_level = (1 - least * least * (1 + upright_least * upright_least)).sqrt()
        curvature = own * _smaller(2 * gamma * turn, j * j) + most_part * turn * turn
        r_horizontal.append(total(most_part, own, own_level, most_part * upright, curvature))
    side = tilt * tilt
    mixed = 2 * side * tilt * jerk[0] * jerk[1]
    vertical = _largest([upright * (1 + side) * jerk[0] * jerk[0] + mixed, upright * side * jerk[1] * jerk[1] + mixed])
    return {
        "w0": w[0], "w1": w[1], "r0": _largest(r_horizontal), "r1": total(upright, tilt, tilt * upright, side, vertical),
        "rates": spin, "setpoint_rates": asked / c_low,
        "setpoint_lead": (arb(e.thrust_lag_s) + tick) * _largest([nu_along + wrong_along, gamma]),
        "share_of_errors": wrong_along / nu,
    }  # fmt: skip


def rounding(claim: Claimed) -> Ball:
    """Bound of the float32 rounding of the backup graph, as an error of nu (Euclidean).

    A value that passes n roundings is off by at most n u / (1 - n u) of the sum of the magnitudes in it, u = 2^-24 (Higham,
    section 3.1). At most 16 roundings lead to nu, 6 more to b . nu, 5 more to nu across b, 10 more to the rates.
    """
    arb, e, law = flint().arb, claim.e, claim.t.backup
    thrust_low, thrust_high, _ = thrusts(claim)
    gains, offset = [abs(arb(g)) for g in law.rate_gain[:2]], max(map(abs, law.rate_offset_rad_s))
    ratio = gains[0].max(gains[1]) / gains[0].min(gains[1])

    def share(n: int) -> Ball:
        return arb(n) / (2**24 - n)

    k = [arb(float(g)) for g in np.abs(claim.gain).max(axis=0)]
    widest = claim.widest
    size = k[0] * arb(float(widest[0].max())) + k[1] * arb(float(widest[1].max()))
    size += k[2] * (arb(max(e.disturbance_estimate_m_s2)) + arb(e.gravity_m_s2) + thrust_high)
    root = arb(3).sqrt()
    nu = root * share(16) * size
    along = nu + share(22) * root * size
    rates = (nu + along + share(37) * 4 * size) * ratio * thrust_high / thrust_low
    rates += share(6) * arb(offset) * ratio * thrust_high
    decay = (-arb(e.tick_s) / arb(e.rate_lag_s)).exp()
    from_nu = arb(e.tick_s) - arb(e.rate_lag_s) * (1 - decay)
    response = 1 / (1 - (-arb(e.tick_s) / arb(e.thrust_lag_s)).exp())
    jerk = _size(*(arb(float(x)) for x in widest[3]))
    step = response * (from_nu * along + share(30) * (from_nu * root * size + arb(e.tick_s) * jerk))
    command = (step + share(6) * thrust_high) / (response * from_nu)
    slope = along + share(30) * root * size + share(8) * jerk / (1 - decay)
    return _largest([nu, rates, command, slope])


def facet_values(claim: Claimed, axis: int, facets: Numbers, offsets: Numbers, witness: Numbers) -> Ball:
    """Largest share of the next stage's offset that any facet reaches one step after a state in a stage."""
    rows = flint().arb_mat(facets.tolist())
    ((held, added),) = _reached(claim, axis, rows, facets, offsets, [witness], [claim.substeps])
    return _largest([
        (held[i, k] + added[i, k]) / flint().arb(float(offsets[after, i]))
        for i in range(facets.shape[0]) for k, after in enumerate(claim.following)
    ])  # fmt: skip


def tube_values(claim: Claimed, axis: int, facets: Numbers, offsets: Numbers, witnesses: Numbers) -> list[list[Ball]]:
    """Largest value of each of the six limited outputs during a step, for each stage.

    Within a sub-step an undisturbed output is nowhere above the larger of its ends by more than an eighth of the squared length
    times its largest second derivative; what disturbances add only grows.
    """
    module, e = flint(), claim.e
    arb = module.arb
    k_p, k_v, k_a = (arb(float(g)) for g in claim.gain[axis])
    rows = [[arb(int(i == k)) for i in range(4)] for k in range(4)]
    rows += [[k_p, k_v, k_a, arb(0)], [arb(0), k_p - k_v * arb(e.drag_1_s[axis]), k_v, k_a]]
    outputs, system = module.arb_mat(rows), _block(_system(claim, axis), 4, 0, 4)
    steps = list(range(claim.substeps + 1))
    reached = _reached(claim, axis, outputs, facets, offsets, [witnesses[:, k] for k in steps], steps)
    length, box = arb(claim.t.proof.step_s) / claim.substeps, _box(facets, offsets)
    bent = []
    for k in range(claim.substeps):
        during = (system * (length * k).union(length * (k + 1))).exp()
        second = outputs * system * system * during
        bent.append(module.arb_mat([[abs(second[i, n]).upper() for n in range(4)] for i in range(6)]) * box)
    return [
        [
            _largest([
                reached[k][0][i, stage].max(reached[k + 1][0][i, stage]) + reached[k + 1][1][i, stage]
                + length * length / 8 * bent[k][i, stage]
                for k in range(claim.substeps)
            ])
            for i in range(6)
        ]
        for stage in range(offsets.shape[0])
    ]  # fmt: skip


def _system(claim: Claimed, axis: int) -> Any:
    """State and integral of the inputs in one matrix: exp(t [[A, B], [0, 0]]) = [[e^(A t), integral of e^(A s) B], [0, 1]]."""
    module, e = flint(), claim.e
    arb = module.arb
    lag, zero = arb(e.rate_lag_s), arb(0)
    k_p, k_v, k_a = (arb(float(g)) for g in claim.gain[axis])
    return module.arb_mat([
        [zero, arb(1), zero, zero, zero, zero],
        [zero, -arb(e.drag_1_s[axis]), arb(1), zero, arb(1), zero],
        [zero, zero, zero, arb(1), zero, zero],
        [k_p / lag, k_v / lag, k_a / lag, -1 / lag, zero, 1 / lag],
        [zero] * 6,
        [zero] * 6,
    ])  # fmt: skip


def _box(facets: Numbers, offsets: Numbers) -> Any:
    """Bounds of |z_k| in each stage, from the first four facets, shape (4, stages)."""
    arb = flint().arb
    return flint().arb_mat([[arb(float(offset)) / arb(float(facets[k, k])) for offset in offsets[:, k]] for k in range(4)])


def _reached(
    claim: Claimed, axis: int, rows: Any, facets: Numbers, offsets: Numbers, witnesses: list[Numbers], steps: list[int]
) -> list[tuple[Any, Any]]:
    """Bounds of each row (line) from each stage (column) after each number of sub-steps: undisturbed, rows e^(A t) = y facets + rest,
    and what the disturbances add."""
    module = flint()
    arb, matrix = module.arb, module.arb_mat
    zero = arb(0)
    system = _system(claim, axis)
    piece = arb(claim.t.proof.step_s) / (claim.substeps * PIECES)
    shape, size = matrix(facets.tolist()), matrix(offsets.T.tolist())
    sizes = matrix(claim.arrays["bounds"][:, axis].T.tolist())
    box = _box(facets, offsets)
    added = [[zero, zero] for _ in range(rows.nrows())]
    inputs = matrix([[zero, zero], [arb(1), zero], [zero, zero], [zero, 1 / arb(claim.e.rate_lag_s)]])
    result, before = [], (system * zero).exp()
    for step in range(claim.substeps + 1):
        if step in steps:
            y = witnesses[steps.index(step)]
            rest = rows * _block(before, 4, 0, 4) - matrix(y.tolist()) * shape
            rest_size = matrix([[abs(rest[i, k]) for k in range(4)] for i in range(rows.nrows())])
            result.append((matrix(np.abs(y).tolist()) * size + rest_size * box, matrix(added) * sizes))
        for part in range(PIECES if step < claim.substeps else 0):
            number = step * PIECES + part
            after = (system * (piece * (number + 1))).exp()
            during = (system * (piece * number).union(piece * (number + 1))).exp()
            influence = rows * _block(during, 4, 0, 4) * inputs
            integral = rows * (_block(after, 4, 4, 6) - _block(before, 4, 4, 6))
            for i in range(rows.nrows()):
                for k in (0, 1):
                    share = piece * abs(influence[i, k]) if influence[i, k].contains(0) else abs(integral[i, k])
                    added[i][k] += share.upper()
            before = after
    return result


def _block(source: Any, rows: int, first: int, last: int) -> Any:
    return flint().arb_mat([[source[i, k] for k in range(first, last)] for i in range(rows)])
