"""How far a model can be off in one tick: split-conformal boxes from flights that it was not fitted on, by regime of speed.

What a box claims is that all six residuals of a tick are inside at once. So the conformal score of a tick is the greatest of its
residuals, each in units of that component's spread, and the box is the scores' quantile times the spreads. Its rank is that of a
finite sample: the ceil((n + 1) coverage)-th smallest of n scores covers the next one with at least that probability, if they are
exchangeable (Lei et al., Distribution-Free Predictive Inference for Regression, JASA 113, 2018). Ticks of one flight depend on each
other and flights differ, so that is doubtful here. Two things are done about it. Coverage is also measured, each flight left out in
turn. And beside the quantile over the ticks of all flights ("ticks") there is the largest of the quantiles of single flights
("flights"): exchangeability is then asked of whole flights only, and a further one has about the asked share of its ticks covered
with probability G / (G + 1), G the number of flights (Dunn, Wasserman, Ramdas, Distribution-Free Prediction Sets for Two-Layer
Hierarchical Models, JASA 118, 2023). The spreads come from the same ticks as the quantile, six numbers from thousands of ticks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Vector

from .checkpoint import RegimeBounds, ResidualBounds
from .dynamics import Physics, WorldModel
from .flight import Flight
from .model_prediction import one_step_residuals
from .residual import zero_residual

COVERAGE = 0.999
METHOD = "flights"
"""On real flights the quantile over the ticks of all covers what it claims on average and by regime, but not on a flight that is
livelier than the others; that of flights does on each of them, for wider boxes. A prover's bound has to hold on each flight."""
BLOCK_S = 2.0
SPEED_EDGES_M_S = (0.5, 1.0, 1.5, 2.0)
"""Where one regime of speed ends and the next begins [m/s]."""
METHODS = ("ticks", "flights")
OUTWARD = 1.001
"""Boxes are this much wider than their quantile: a steady wind leaves nearly the same residual in each tick, and the rounding of
single precision must not count as a miss."""
_LEAST_SPREAD = 0.01
"""A component whose residuals are below this (m/s^2, rad/s or rad/s^2) counts as this: the rounding noise of a perfect component must
not blow up the others."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """Residuals of a flight.

    Attributes:
        name: Of the flight.
        speed_m_s: Speed at each tick, shape (T,) [m/s].
        scores: Sizes of the six residuals, shape (T, 6); see `scores`.
    """

    name: str
    speed_m_s: Vector
    scores: Vector


@dataclass(frozen=True, slots=True)
class RegimeBox:
    """The box of one regime of speed.

    Attributes:
        speed_m_s: Where the regime begins and ends [m/s].
        half_widths: Of the six components, shape (6,), in the units of the scores.
        claimed: Coverage that the rank gives for exchangeable ticks: what was asked for, or n / (n + 1) if n ticks are too few for it.
        ticks: Number of ticks in the regime itself.
        pooled_ticks: Number of ticks behind the box.
        pooled_m_s: Speeds they are from [m/s]; wider than the regime if that had too few.
    """

    speed_m_s: tuple[float, float]
    half_widths: Vector
    claimed: float
    ticks: int
    pooled_ticks: int
    pooled_m_s: tuple[float, float]


def scores(physics: Physics, flight: Flight, scale_m_s2: float) -> Vector:
    """What is bounded, for each tick, shape (T-1, 6).

    Columns 0 and 1 are both the horizontal norm of the acceleration residual, so that a bound holds whichever way the
    wind blows; column 2 is its vertical part [m/s^2]. Columns 3 to 5 are the error of the rate target that explains
    the rate residual: lag times angular acceleration [rad/s].
    """
    acceleration, angular = one_step_residuals(WorldModel(physics, zero_residual()), flight, scale_m_s2)
    horizontal = np.linalg.norm(acceleration[:, 0:2], axis=1)
    settled = 1 - np.exp(-flight.dt_s / np.asarray(physics.rate_lag_s, dtype=np.float64))
    rates = np.abs(angular) * flight.dt_s / settled
    return np.column_stack([horizontal, horizontal, np.abs(acceleration[:, 2]), rates])


def conformal_quantile(values: Vector, coverage: float) -> Vector:
    """Smallest bound per column with split-conformal coverage: the ceil((n + 1) coverage)-th smallest score, at most
    the largest."""
    rank = min(_rank(len(values), coverage), len(values))
    result: Vector = np.sort(values, axis=0)[rank - 1]
    return result


def _rank(count: int, coverage: float) -> int:
    """ceil((n + 1) coverage), not pushed up by the rounding of the product."""
    return math.ceil((count + 1) * coverage * (1 - 1e-12))


def fewest_ticks(coverage: float) -> int:
    """Smallest sample whose rank exists: ceil((n + 1) coverage) <= n."""
    count = math.ceil(coverage / (1 - coverage) - 1e-6)
    return count if _rank(count, coverage) <= count else count + 1


def spreads(rows: Vector, coverage: float) -> Vector:
    """Size of each component: the quantile of its own residuals at the coverage asked for, shape (6,).

    A spread from the middle of the data would let the component with the heaviest tail blow up the box of all others.
    """
    result: Vector = np.maximum(conformal_quantile(rows, coverage), _LEAST_SPREAD)
    return result


def regimes(speed_m_s: Vector, edges_m_s: Sequence[float]) -> np.ndarray:
    """Index of the regime of each tick, 0..len(edges)."""
    result: np.ndarray = np.searchsorted(np.asarray(edges_m_s, dtype=np.float64), speed_m_s, side="right")
    return result


def calibrate(
    flights: Sequence[Ticks], coverage: float = COVERAGE, edges_m_s: Sequence[float] = SPEED_EDGES_M_S, method: str = "ticks"
) -> list[RegimeBox]:
    """One box per regime of speed.

    A regime with too few ticks for the coverage is united with its faster neighbour (with the slower one if there is none), and so on
    until there are enough. Its box is then never smaller than its own largest score.

    Args:
        flights: Residuals on flights that the model was not fitted on.
        coverage: Share of ticks that a box is to cover, all six components at once.
        edges_m_s: Ends of the regimes, rising [m/s]; none gives one box for all.
        method: "ticks" or "flights", see the head of this module.

    Returns:
        The boxes from slow to fast.

    Raises:
        InputError: there are no ticks, the coverage is not inside (0, 1), or edges or method cannot be used.
    """
    _check(flights, coverage, edges_m_s, method)
    rows = np.concatenate([f.scores for f in flights])
    owner = np.repeat(np.arange(len(flights)), [len(f.scores) for f in flights])
    regime = regimes(np.concatenate([f.speed_m_s for f in flights]), edges_m_s)
    ends = [0.0, *map(float, edges_m_s), math.inf]
    least = fewest_ticks(coverage)
    boxes = []
    for k in range(len(ends) - 1):
        low, high, inside = k, k, regime == k
        while np.count_nonzero(inside) < least and (low > 0 or high < len(ends) - 2):
            low, high = (low, high + 1) if high < len(ends) - 2 else (low - 1, high)
            inside = (regime >= low) & (regime <= high)
        unit = spreads(rows[inside], coverage)
        joint = (rows[inside] / unit).max(axis=1)
        groups = [joint] if method == "ticks" else [joint[owner[inside] == g] for g in np.unique(owner[inside])]
        size = max(float(conformal_quantile(group, coverage)) for group in groups)
        own = regime[inside] == k
        if (low, high) != (k, k) and own.any():
            size = max(size, float(joint[own].max()))
        count = int(np.count_nonzero(inside))
        size *= OUTWARD
        claimed = coverage if count >= least else count / (count + 1)
        boxes.append(
            RegimeBox((ends[k], ends[k + 1]), size * unit, claimed, int(np.count_nonzero(own)), count, (ends[low], ends[high + 1]))
        )
    return boxes


def _check(flights: Sequence[Ticks], coverage: float, edges_m_s: Sequence[float], method: str) -> None:
    if sum(len(f.scores) for f in flights) == 0:
        raise InputError("there are no ticks to calibrate on; give at least one flight that the model was not fitted on")
    if not 0.0 < coverage < 1.0:
        raise InputError(f"the coverage asked for is {coverage}, it must be above 0 and below 1, as 0.99")
    edges = [0.0, *edges_m_s]
    if not all(math.isfinite(e) for e in edges) or any(b <= a for a, b in itertools.pairwise(edges)):
        raise InputError(f"the speeds at which regimes end are {list(edges_m_s)} m/s; they must be positive, finite and rising")
    if method not in METHODS:
        raise InputError(f"the calibration method is {method!r}, it must be one of {', '.join(METHODS)}")


def covered(boxes: Sequence[RegimeBox], flight: Ticks) -> tuple[np.ndarray, np.ndarray]:
    """Ticks inside the box of their regime, all six components at once, and ticks in all; each shape (regimes,)."""
    regime = regimes(flight.speed_m_s, [box.speed_m_s[0] for box in boxes[1:]])
    inside = np.all(flight.scores <= np.array([box.half_widths for box in boxes])[regime], axis=1)
    seen = np.bincount(regime[inside], minlength=len(boxes))
    return seen, np.bincount(regime, minlength=len(boxes))


def left_out(
    flights: Sequence[Ticks], coverage: float = COVERAGE, edges_m_s: Sequence[float] = SPEED_EDGES_M_S, method: str = "ticks"
) -> tuple[np.ndarray, np.ndarray]:
    """Each flight in the boxes made from the others.

    Returns:
        Ticks covered and ticks in all, each shape (flights, regimes).

    Raises:
        InputError: there are fewer than two flights, or see `calibrate`.
    """
    if len(flights) < 2:
        raise InputError(f"{len(flights)} flight to calibrate on; leaving one out needs at least 2")
    pairs = [
        covered(calibrate([*flights[:k], *flights[k + 1 :]], coverage, edges_m_s, method), flight)
        for k, flight in enumerate(flights)
    ]
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])


def share(inside: np.ndarray | int, count: np.ndarray | int) -> float:
    """Ticks covered over ticks, nan if there are none."""
    total = int(np.sum(count))
    return float(np.sum(inside)) / total if total else math.nan


def residual_bounds(
    physics: Physics, held_out: Sequence[Flight], scale_m_s2: float, coverage: float = COVERAGE, method: str = METHOD
) -> ResidualBounds:
    """Bounds from the held-out flights, for all speeds together and by regime; each flight checked by the others.

    Args:
        physics: Identified from other flights.
        held_out: Flights that cover the shapes and winds that the bound is to hold for.
        scale_m_s2: Commanded collective acceleration at throttle 1 [m/s^2].
        coverage: Share of ticks that each box is made to cover, all six components at once.
        method: See `calibrate`.

    Returns:
        The bounds from all ticks, and the share of ticks that bounds made in the same way from the other flights cover. A single flight
        is cut into blocks of two seconds: every other one is checked by the ones between.
    """
    ticks = [Ticks(f.name, np.linalg.norm(f.velocity_m_s[:-1], axis=1), scores(physics, f, scale_m_s2)) for f in held_out]
    parts = ticks if len(ticks) > 1 else _blocks(ticks[0], held_out[0].dt_s)
    whole = calibrate(ticks, coverage, (), method)[0]
    seen = share(*left_out(parts, coverage, (), method))
    inside, count = left_out(parts, coverage, SPEED_EDGES_M_S, method)
    stored = tuple(
        RegimeBounds(
            box.speed_m_s, *_triples(box.half_widths), box.claimed, share(inside[:, k], count[:, k]), box.ticks, box.pooled_m_s
        )
        for k, box in enumerate(calibrate(ticks, coverage, SPEED_EDGES_M_S, method))
    )
    between = "each flight by the others" if len(ticks) > 1 else f"every other block of {BLOCK_S:g} s by those between"
    how = (
        f"split-conformal over the {whole.pooled_ticks} ticks of {', '.join(f.name for f in held_out)}, on which the physics was "
        f"not fitted; all six components at once; coverage seen: {between}; quantile over {method}; ticks are dependent, so the "
        "coverage is empirical; the wind of these flights is part of the residual (drag is relative to the ground)"
    )
    names = tuple(f.name for f in held_out)
    return ResidualBounds(*_triples(whole.half_widths), whole.claimed, seen, whole.pooled_ticks, how, stored, names)


def _triples(values: Vector) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    a, b, c, d, e, f = (float(v) for v in values)
    return (a, b, c), (d, e, f)


def _blocks(flight: Ticks, dt_s: float) -> list[Ticks]:
    """Two halves of a flight, of every other block."""
    block = (np.arange(len(flight.scores)) * dt_s // BLOCK_S).astype(int) % 2
    if not block.any():
        raise InputError(f"flight {flight.name} is shorter than two blocks of {BLOCK_S:g} s; give a longer one, or two flights")
    return [Ticks(flight.name, flight.speed_m_s[block == k], flight.scores[block == k]) for k in (0, 1)]
