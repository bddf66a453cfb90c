"""Linear predictors at every horizon, fitted to small error norms instead of small squares.

Violent manoeuvres leave errors several times those of the rest. In a least-squares fit they outvote all else, although the figure
that counts is the mean of the norms. Iteratively reweighted least squares minimises that mean: a window whose error has the norm r
counts with 1/r in the next pass. Each window has one weight for all horizons, so that one matrix of moments serves them all.

Source: Weiszfeld's iteration for the smallest sum of distances (Tohoku Math. J. 43, 1937), with a linear model in place of a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from tubepilot.firmware_bridge.types import Vector

from .prediction import HORIZON

SMALLEST_NORM = 0.05
"""Error norms below this share of their mean count as this share, lest single windows rule the fit."""
_LONGEST_STRIDE = 4
_ROWS_PER_FEATURE = 20


class Moments(NamedTuple):
    """Sums over the windows of one flight.

    Attributes:
        gram: Features times features, shape (n, n).
        cross: Features times outputs, shape (n, HORIZON, k).
        weight: Sum of the weights.
    """

    gram: Vector
    cross: Vector
    weight: float


def moments(x: Vector, y: Vector, weights: Vector) -> Moments:
    """Weighted sums of a flight's windows.

    Args:
        x: Features, shape (W, n), float32.
        y: Outputs, shape (W, HORIZON, k), float32.
        weights: Of the windows, shape (W,), float32.
    """
    weighted = x * weights[:, None]
    cross = (weighted.T @ y.reshape(len(y), -1)).astype(np.float64)
    return Moments((weighted.T @ x).astype(np.float64), cross.reshape(x.shape[1], *y.shape[1:]), float(weights.sum()))


def solve(parts: Sequence[Moments], draw: Vector, past: int, ridge: float) -> Vector:
    """Ridge weights at every horizon, shape (HORIZON, n, k).

    Args:
        parts: Moments by flight.
        draw: How often each flight counts.
        past: Number of features of the past; after them come four rotor speeds per step.
        ridge: Regularisation relative to unit feature variance.
    """
    total = sum(d * part.weight for d, part in zip(draw, parts, strict=True))
    gram = sum(d * part.gram for d, part in zip(draw, parts, strict=True)) / total
    cross = sum(d * part.cross for d, part in zip(draw, parts, strict=True)) / total
    # Step h+1 may use the past and the rotor speeds up to its start. These features come first, so that the leading part of one
    # Cholesky factor of all features is the factor of theirs.
    factor = cholesky(gram + ridge * np.eye(len(gram)), lower=True, check_finite=False)
    halfway = solve_triangular(factor, cross.reshape(len(cross), -1), lower=True, check_finite=False).reshape(cross.shape)
    weights = np.zeros((HORIZON, len(gram), cross.shape[2]))
    for h in range(HORIZON):
        size = past + 4 * (h + 1)
        weights[h, :size] = solve_triangular(factor[:size, :size], halfway[:size, h], lower=True, trans="T", check_finite=False)
    return weights


def apply(weights: Vector, x: Vector) -> Vector:
    """Outputs at every horizon in float32, shape (W, HORIZON, k)."""
    flat = np.moveaxis(weights, 0, 1).reshape(x.shape[1], -1).astype(np.float32)
    result: Vector = (x @ flat).reshape(len(x), HORIZON, -1)
    return result


def robust_moments(xs: Sequence[Vector], ys: Sequence[Vector], past: int, ridge: float, passes: int) -> list[Moments]:
    """Moments by flight, of the weights that make the mean error norm small.

    Args:
        xs: Features by flight, shape (W, n), float32.
        ys: Outputs by flight, shape (W, HORIZON, k), float32; k numbers that form one vector.
        past: See `solve`.
        ridge: See `solve`.
        passes: Of reweighting; 0 leaves the least-squares fit.
    """
    every, ones = np.ones(len(xs)), [np.ones(len(x), np.float32) for x in xs]
    if passes == 0:
        return _all_moments(xs, ys, ones)
    # Windows that follow each other are nearly the same: what the weights are computed from may leave some out.
    stride = min(_LONGEST_STRIDE, max(1, sum(len(x) for x in xs) // (_ROWS_PER_FEATURE * xs[0].shape[1])))
    few_x, few_y = [x[::stride] for x in xs], [y[::stride] for y in ys]
    weights = solve(_all_moments(few_x, few_y, [one[::stride] for one in ones]), every, past, ridge)
    for _ in range(passes - 1):
        weights = solve(_all_moments(few_x, few_y, _inverse_norms(few_x, few_y, weights)), every, past, ridge)
    return _all_moments(xs, ys, _inverse_norms(xs, ys, weights))


def _all_moments(xs: Sequence[Vector], ys: Sequence[Vector], counts: Sequence[Vector]) -> list[Moments]:
    return [moments(x, y, w) for x, y, w in zip(xs, ys, counts, strict=True)]


def _inverse_norms(xs: Sequence[Vector], ys: Sequence[Vector], weights: Vector) -> list[Vector]:
    """Weight of each window: the mean error norm of all over its own."""
    norms = [np.linalg.norm(y - apply(weights, x), axis=2).mean(axis=1) for x, y in zip(xs, ys, strict=True)]
    typical = float(np.concatenate(norms).mean()) or 1.0  # zero: nothing is left over, and all windows count the same
    return [(typical / np.maximum(norm, SMALLEST_NORM * typical)).astype(np.float32) for norm in norms]
