"""What the ensemble's disagreement says about its error: rank correlation, calibrated expected error, and what becomes of both under
conditions that the training did not have.

Windows of one flight resemble each other, so the interval of a rank correlation is that of a bootstrap over flights (clusters), not
over windows, and expected errors are checked on flights that their scale was not fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Vector

from .calibration_models import HORIZONS, Unseen
from .prediction import QUANTITIES

DRAWS = 200
BINS = 10
_KNOTS = 40
ALARM_SHARE = 0.95
"""A signal is raised above this quantile of its values on the flights of the reference."""


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Spearman's rank correlation between disagreement and error.

    Attributes:
        value: Over the windows of all flights together.
        low, high: 95 % interval of a bootstrap over flights; nan for fewer than 3 flights.
        within: Median over flights of the rank correlation inside one flight.
        windows: Number of windows.
    """

    value: float
    low: float
    high: float
    within: float
    windows: int


@dataclass(frozen=True, slots=True)
class ErrorScale:
    """Expected error from disagreement, in two ways.

    Attributes:
        factor: Linear: expected error over disagreement, through zero.
        knots, expected: Isotonic: expected error at these disagreements, linear between and constant beyond, shape (k,).
    """

    factor: float
    knots: Vector
    expected: Vector

    def linear(self, disagreement: Vector) -> Vector:
        """Expected error, same shape."""
        return self.factor * disagreement

    def isotonic(self, disagreement: Vector) -> Vector:
        """Expected error, same shape."""
        result: Vector = np.interp(disagreement, self.knots, self.expected)
        return result


@dataclass(frozen=True, slots=True)
class Reliability:
    """Error against expected error in bins of equal count, flights left out in turn; row b of each array is a bin, shape (BINS,).

    Attributes:
        disagreement, error: Means.
        linear, isotonic: Mean expected errors, from scales fitted on the other flights.
        linear_gap, isotonic_gap: Mean difference between expected error and error over the bins, relative to the mean error.
    """

    disagreement: Vector
    error: Vector
    linear: Vector
    isotonic: Vector
    linear_gap: float
    isotonic_gap: float


def _spearman(a: Vector, b: Vector) -> float:
    """Pearson's correlation of the ranks; nan where one of them does not vary. (`scipy.stats.spearmanr` adds a p-value, for ten times
    the time, and windows are too dependent for it.)"""
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else math.nan


def rank_correlation(
    disagreement: Sequence[Vector], error: Sequence[Vector], seed: int = 0, draws: int = DRAWS
) -> RankCorrelation:
    """Spearman's rank correlation with an interval over flights.

    Args:
        disagreement: By flight, shape (W,).
        error: By flight, shape (W,).
        seed: Of the bootstrap.
        draws: Bootstrap samples of the flights.

    Raises:
        InputError: there are fewer than three windows, or disagreement or error are the same everywhere.
    """
    d, e = np.concatenate(list(disagreement)), np.concatenate(list(error))
    if len(d) < 3 or np.ptp(d) == 0 or np.ptp(e) == 0:
        raise InputError(
            f"a rank correlation needs at least 3 windows that differ; there are {len(d)}, disagreement from "
            f"{d.min(initial=math.inf):g} to {d.max(initial=-math.inf):g}; take more flights, and members that differ"
        )
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(draws if len(disagreement) >= 3 else 0):
        pick = generator.integers(0, len(disagreement), len(disagreement))
        values.append(_spearman(np.concatenate([disagreement[k] for k in pick]), np.concatenate([error[k] for k in pick])))
    low, high = np.nanquantile(values, [0.025, 0.975]) if values else (math.nan, math.nan)
    single = [_spearman(a, b) for a, b in zip(disagreement, error, strict=True) if len(a) >= 3]
    known = [value for value in single if math.isfinite(value)]
    return RankCorrelation(_spearman(d, e), float(low), float(high), float(np.median(known)) if known else math.nan, len(d))


def fit_error_scale(disagreement: Vector, error: Vector) -> ErrorScale:
    """Fit expected error to disagreement, shapes (W,): ratio of the means, and isotonic regression on the means of bins of equal count.

    Raises:
        InputError: there are no windows, or the members agree everywhere.
    """
    if not len(disagreement) or disagreement.mean() <= 0:
        raise InputError(f"the members agree in all {len(disagreement)} windows; an error scale needs disagreement above 0")
    order = np.array_split(np.argsort(disagreement, kind="stable"), min(_KNOTS, len(disagreement)))
    means = np.array([[disagreement[part].mean(), error[part].mean(), len(part)] for part in order])
    rising = np.asarray(isotonic_regression(means[:, 1], weights=means[:, 2]).x, dtype=np.float64)
    return ErrorScale(float(error.mean() / disagreement.mean()), means[:, 0], rising)


def reliability(disagreement: Sequence[Vector], error: Sequence[Vector]) -> Reliability:
    """Expected errors of each flight from the scale of the others, in bins of equal count.

    Args:
        disagreement: By flight, shape (W,).
        error: By flight, shape (W,).

    Raises:
        InputError: there are fewer than two flights, or see `fit_error_scale`.
    """
    if len(error) < 2:
        raise InputError(f"{len(error)} flight; an error scale is checked on a flight left out, which needs at least 2")
    columns = []
    for k in range(len(error)):
        others = [i for i in range(len(error)) if i != k]
        scale = fit_error_scale(np.concatenate([disagreement[i] for i in others]), np.concatenate([error[i] for i in others]))
        columns.append(np.column_stack([disagreement[k], error[k], scale.linear(disagreement[k]), scale.isotonic(disagreement[k])]))
    rows = np.concatenate(columns)
    parts = np.array_split(np.argsort(rows[:, 0], kind="stable"), min(BINS, len(rows)))
    means = np.array([rows[part].mean(axis=0) for part in parts])
    weights = np.array([len(part) for part in parts]) / (len(rows) * max(float(rows[:, 1].mean()), 1e-300))
    gaps = [float(weights @ np.abs(means[:, column] - means[:, 1])) for column in (2, 3)]
    return Reliability(means[:, 0], means[:, 1], means[:, 2], means[:, 3], gaps[0], gaps[1])


def units(flights: Sequence[Unseen]) -> tuple[Vector, Vector]:
    """Median error and disagreement of each horizon and quantity, shape (3, 4) each: what makes the quantities comparable."""
    sizes = [np.median(np.concatenate([getattr(f, what) for f in flights]), axis=0) for what in ("error", "disagreement")]
    return np.maximum(sizes[0], 1e-12), np.maximum(sizes[1], 1e-12)


def together(values: Vector, unit: Vector) -> Vector:
    """Mean over the four quantities in units of their medians, (W, 3, 4) to (W, 3)."""
    result: Vector = (values / unit).mean(axis=2)
    return result


def correlations(flights: Sequence[Unseen], seed: int = 0) -> dict[int, dict[str, RankCorrelation]]:
    """Rank correlations by horizon and quantity; "all" is that of the four quantities `together`."""
    unit_e, unit_d = units(flights)
    result: dict[int, dict[str, RankCorrelation]] = {}
    for h, horizon in enumerate(HORIZONS):
        result[horizon] = {
            q: rank_correlation([f.disagreement[:, h, k] for f in flights], [f.error[:, h, k] for f in flights], seed)
            for k, q in enumerate(QUANTITIES)
        }
        d = [together(f.disagreement, unit_d)[:, h] for f in flights]
        e = [together(f.error, unit_e)[:, h] for f in flights]
        result[horizon]["all"] = rank_correlation(d, e, seed)
    return result


@dataclass(frozen=True, slots=True)
class Condition:
    """Flights of one condition beside those of the reference, at one horizon; ratios of medians, 1 for the reference itself.

    Attributes:
        name: Of the condition.
        windows: Number of windows.
        disagreement: Of the four quantities together over that of the reference.
        error: The same for the error.
        disagreement_alarm: Share of windows whose disagreement is above the reference's 0.95 quantile.
        observed_m_s2: Median size of the disturbance that the observer has found; nan if there is no observer.
        observed_alarm: Share of windows where it is above the reference's 0.95 quantile; nan if there is no observer.
    """

    name: str
    windows: int
    disagreement: float
    error: float
    disagreement_alarm: float
    observed_m_s2: float
    observed_alarm: float


def compare_conditions(groups: Mapping[str, Sequence[Unseen]], reference: str, horizon: int) -> list[Condition]:
    """Does the disagreement rise where the error does? And if not, does the disturbance observer leave its range?

    Args:
        groups: Flights by condition, all seen by one model.
        reference: Name of the condition that the training had, on flights that it did not have.
        horizon: One of `HORIZONS`.

    Returns:
        One row per condition, the reference first.

    Raises:
        InputError: the reference or the horizon is unknown, or a condition has no flights.
    """
    if reference not in groups or horizon not in HORIZONS or not all(groups.values()):
        raise InputError(
            f"conditions {', '.join(groups)} with reference {reference!r} at {horizon} steps: the reference must be one of them, each "
            f"needs a flight, and the horizon must be one of {HORIZONS}"
        )
    h = HORIZONS.index(horizon)
    unit_e, unit_d = units(groups[reference])

    def signals(flights: Sequence[Unseen]) -> tuple[Vector, Vector, Vector]:
        d = np.concatenate([together(f.disagreement, unit_d)[:, h] for f in flights])
        e = np.concatenate([together(f.error, unit_e)[:, h] for f in flights])
        return d, e, np.concatenate([f.observed_m_s2 for f in flights])

    base_d, base_e, base_o = signals(groups[reference])
    rows = []
    for name in [reference, *(n for n in groups if n != reference)]:
        d, e, o = signals(groups[name])
        observed = (float(np.median(o)), above(o, base_o)) if len(o) and len(base_o) else (math.nan, math.nan)
        ratios = [float(np.median(v) / np.median(base)) for v, base in ((d, base_d), (e, base_e))]
        rows.append(Condition(name, len(d), ratios[0], ratios[1], above(d, base_d), *observed))
    return rows


def above(values: Vector, reference: Vector) -> float:
    """Share of values above the 0.95 quantile of the reference."""
    return float(np.mean(values > np.quantile(reference, ALARM_SHARE)))
