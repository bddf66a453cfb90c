"""How far the physics-only model can be off in one tick: split-conformal bounds from flights that it was not fitted
on."""

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
BLOCK_S = 2.0


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
    rank = min(int(np.ceil((len(values) + 1) * coverage)), len(values))
    result: Vector = np.sort(values, axis=0)[rank - 1]
    return result


def residual_bounds(
    physics: Physics, held_out: Sequence[Flight], scale_m_s2: float, coverage: float = COVERAGE
) -> ResidualBounds:
    """Bounds from every other block of two seconds of the held-out flights, checked on the blocks between.

    Args:
        physics: Identified from other flights.
        held_out: Flights that cover the shapes and winds that the bound is to hold for.
        scale_m_s2: Commanded collective acceleration at throttle 1 [m/s^2].
        coverage: Share of ticks that each bound is made to cover.

    Returns:
        The bounds and the share of ticks of the other blocks that they cover, the least of the six.
    """
    made, seen = [], []
    for flight in held_out:
        rows = scores(physics, flight, scale_m_s2)
        block = (np.arange(len(rows)) * flight.dt_s // BLOCK_S).astype(int)
        made.append(rows[block % 2 == 0])
        seen.append(rows[block % 2 == 1])
    bound = conformal_quantile(np.concatenate(made), coverage)
    covered = float(np.min(np.mean(np.concatenate(seen) <= bound, axis=0))) if sum(map(len, seen)) else float("nan")
    b = [float(v) for v in bound]
    count = sum(map(len, made))
    how = (
        f"split-conformal over {count} ticks in every other block of {BLOCK_S:g} s of "
        f"{', '.join(f.name for f in held_out)}, on which the physics was not fitted; coverage seen is that of the "
        "blocks between; ticks are dependent, so the coverage is empirical; the wind of these flights is part of the "
        "residual (drag is relative to the ground)"
    )
    return ResidualBounds((b[0], b[1], b[2]), (b[3], b[4], b[5]), coverage, covered, count, how)
