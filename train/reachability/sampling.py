"""Simulated trajectories that spread over everything a specification leaves open, to hold a tube against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .simulation import nominal, simulate
from .specification import Specification

Numbers = npt.NDArray[np.float64]
_LARGEST = 2e7  # numbers kept of all trajectories
_NOISE = 1e-10  # of the simulation, relative to the states


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Trajectories.

    Attributes:
        times_s: shape (K,) [s].
        states: shape (count, K, n); not finite after an escape.
    """

    times_s: Numbers
    states: Numbers

    def spread(self) -> Numbers:
        """Width of the states at the end, shape (n,); only finite trajectories count, NaN without any. Noise counts as 0."""
        end = self.states[:, -1]
        end = end[np.isfinite(end).all(axis=1)]
        if not len(end):
            return np.full(self.states.shape[-1], np.nan)
        widths = np.ptp(end, axis=0)
        return np.where(widths > _NOISE * np.abs(end).max(axis=0), widths, 0.0)


def sample(spec: Specification, count: int, seed: int = 0) -> Sampled:
    """Simulate.

    Half of the trajectories start at corners of the initial box, with disturbances that are constant at an end of their interval; the
    others anywhere, with disturbances that change every period. Parameters and delays likewise; updates are lost at random.

    Args:
        spec: the closed loop.
        count: trajectories.
        seed: of the random choices.
    """
    generator = np.random.default_rng(seed)
    corner = np.arange(count) % 2 == 0

    def within(box: Numbers, *shape: int) -> Numbers:
        z = generator.random((count, *shape, len(box)))
        if shape:
            z[corner] = np.round(z[corner][:, :1])
        else:
            z[corner] = np.round(z[corner])
        return np.clip(box[:, 0] + z * (box[:, 1] - box[:, 0]), box[:, 0], box[:, 1])

    samples = 1 if spec.discrete or count * spec.steps * 4 * len(spec.states) > _LARGEST else 4
    x0 = within(spec.initial_box)
    given = nominal(spec, x0)
    run = np.zeros(count, int)
    for k in range(1, spec.steps if spec.missed else 0):
        given.received[:, k] = (run >= spec.missed) | (generator.random(count) < 0.5)
        run = np.where(given.received[:, k], 0, run + 1)
    w = within(spec.disturbance_box, spec.steps)[:, :, None]
    delays = within(np.array([spec.delay_s]), spec.steps)[..., 0]
    times, states = simulate(
        spec, x0, w, within(spec.parameter_box), delays_s=delays, received=given.received, samples_per_period=samples
    )
    return Sampled(times, states)


def outside(sampled: Sampled, times_s: Numbers, lo: Numbers, hi: Numbers) -> int:
    """How many trajectories leave a tube. Any would be a mistake in the engine, up to the error of the simulation.

    Args:
        sampled: trajectories.
        times_s: start and end of the steps of the tube, shape (steps, 2) [s].
        lo, hi: bounds, shape (steps, n); steps with bounds that are not finite count as unbounded.
    """
    step = np.clip(np.searchsorted(times_s[:, 1], sampled.times_s - 1e-9 * times_s[-1, 1]), 0, len(times_s) - 1)
    slack = 1e-9 * (1.0 + np.maximum(np.abs(lo), np.abs(hi)))
    slack = np.where(np.isfinite(slack), slack, 0.0)
    low, high = (lo - slack)[step], (hi + slack)[step]
    with np.errstate(invalid="ignore"):
        left = (sampled.states < low) | (sampled.states > high)
    return int(left.any(axis=(1, 2)).sum())
