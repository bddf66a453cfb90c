"""How far the physics-only model can be off in one tick: split-conformal bounds from flights that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tubepilot.firmware_bridge.types import Vector

from .checkpoint import ResidualBounds
from .dynamics import Physics, WorldModel
from .flight import Flight
from .model_prediction import one_step_residuals
from .residual import zero_residual

COVERAGE = 0.999


def scores(physics: Physics, flight: Flight, scale_m_s2: float) -> Vector:
    """What is bounded, for each tick, shape (T-1, 6).

    Columns 0 and 1 are both the horizontal norm of the acceleration residual, so that a bound holds whichever way the wind
    blows; column 2 is its vertical part [m/s^2]. Columns 3 to 5 are the error of the rate target that explains the rate
    residual: lag times angular acceleration [rad/s].
    """
    acceleration, angular = one_step_residuals(WorldModel(physics, zero_residual()), flight, scale_m_s2)
    horizontal = np.linalg.norm(acceleration[:, 0:2], axis=1)
    settled = 1 - np.exp(-flight.dt_s / np.asarray(physics.rate_lag_s, dtype=np.float64))
    rates = np.abs(angular) * flight.dt_s / settled
    return np.column_stack([horizontal, horizontal, np.abs(acceleration[:, 2]), rates])


def conformal_quantile(values: Vector, coverage: float) -> Vector:
    """Smallest bound per column with split-conformal coverage: the ceil((n + 1) coverage)-th smallest score, at most the largest."""
    rank = min(int(np.ceil((len(values) + 1) * coverage)), len(values))
    result: Vector = np.sort(values, axis=0)[rank - 1]
    return result


def residual_bounds(
    physics: Physics,
    calibration: Sequence[Flight],
    test: Sequence[Flight],
    scale_m_s2: float,
    coverage: float = COVERAGE,
) -> ResidualBounds:
    """Bounds from calibration flights, checked on test flights.

    Args:
        physics: Identified from neither.
        calibration: Flights that make the bound.
        test: Flights that only count how often it holds.
        scale_m_s2: Commanded collective acceleration at throttle 1 [m/s^2].
        coverage: Share of ticks that each bound is made to cover.

    Returns:
        The bounds and their coverage on the test flights, the least of the six.
    """
    made = np.concatenate([scores(physics, flight, scale_m_s2) for flight in calibration])
    seen = np.concatenate([scores(physics, flight, scale_m_s2) for flight in test])
    bound = [float(v) for v in conformal_quantile(made, coverage)]
    covered = float(np.min(np.mean(seen <= np.array(bound), axis=0)))
    how = (
        f"split-conformal over {len(made)} ticks of {', '.join(f.name for f in calibration)}, checked on "
        f"{', '.join(f.name for f in test)}; ticks of one flight are dependent, so the coverage is empirical; wind of "
        "the flights is part of the residual (drag is relative to the ground)"
    )
    return ResidualBounds(
        (bound[0], bound[1], bound[2]), (bound[3], bound[4], bound[5]), coverage, covered, len(made), how
    )
