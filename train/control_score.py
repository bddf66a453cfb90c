"""Scores of flights put together: interquartile mean with stratified bootstrap intervals (arXiv:2108.13264)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

from tubepilot.firmware_bridge.types import Vector

RESAMPLES = 2000
CONFIDENCE = 0.95
LEAST = 1e-9
"""Scores below this count as this in a quotient."""

Scores = Mapping[str, Vector]
"""Task name to one score per seed, shape (S,)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: Of the scores as they are.
        low, high: Percentile bootstrap interval at `CONFIDENCE`.
    """

    value: float
    low: float
    high: float


def interquartile_mean(values: Vector) -> float:
    """Mean of the middle half, at least of one value."""
    return float(trim_mean(np.ravel(values), 0.25))


def resampled_means(scores: Scores, seed: int) -> Vector:
    """Interquartile means of resamples: seeds drawn with replacement within each task, so that every task keeps its weight.

    Returns:
        Shape (`RESAMPLES`,).
    """
    generator = np.random.default_rng(seed)
    picks = [values[generator.integers(0, len(values), (RESAMPLES, len(values)))] for values in scores.values()]
    result: Vector = trim_mean(np.concatenate(picks, axis=1), 0.25, axis=1)
    return result


def _interval(drawn: Vector) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def estimate(scores: Scores, seed: int = 0) -> Estimate:
    """Interquartile mean over tasks and seeds.

    Args:
        scores: At least one score.
        seed: Of the bootstrap.
    """
    return Estimate(interquartile_mean(np.concatenate(list(scores.values()))), *_interval(resampled_means(scores, seed)))


def gain(ours: Scores, other: Scores, seed: int = 0) -> Estimate:
    """Relative gain of the interquartile mean, `ours / other - 1`; seeds are the same flights, so they are drawn together.

    Args:
        ours, other: The same tasks with the same number of seeds.
        seed: Of the bootstrap.
    """
    against = {task: other[task] for task in ours}
    drawn = resampled_means(ours, seed) / np.maximum(resampled_means(against, seed), LEAST) - 1.0
    mine, theirs = (interquartile_mean(np.concatenate(list(s.values()))) for s in (ours, against))
    return Estimate(mine / max(theirs, LEAST) - 1.0, *_interval(drawn))


def difference(ours: Vector, other: Vector, seed: int = 0) -> Estimate:
    """Mean of the paired differences of one task's scores, `ours - other`, both of shape (S,)."""
    paired = np.asarray(ours) - np.asarray(other)
    generator = np.random.default_rng(seed)
    drawn = paired[generator.integers(0, len(paired), (RESAMPLES, len(paired)))].mean(axis=1)
    return Estimate(float(paired.mean()), *_interval(drawn))
