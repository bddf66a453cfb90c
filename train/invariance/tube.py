"""Reachable tube of one axis of the certified loop from a box, rounded outward, and sampled trajectories inside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import expm as float_expm

from .interval import Interval, Numbers, expm, interval, matmul, symmetric, total
from .stored import Stored

STEP_S = 0.002


@dataclass(frozen=True, slots=True)
class Tube:
    """Bounds of the four states over each step [t, t + STEP_S].

    Attributes:
        t_s: Start of each step, shape (n,).
        lo, hi: Bounds, shape (n, 4): position [m], velocity [m/s], thrust vector [m/s^2], jerk [m/s^3].
        inside: Whether the initial box lies in a stage of the invariant set, so that the largest bounds from there on hold for ever.
    """

    t_s: Numbers
    lo: Numbers
    hi: Numbers
    inside: bool


def tube(stored: Stored, axis: int, centre: Numbers, radius: Numbers, horizon_s: float) -> Tube:
    """Bound the states at all times.

    Every disturbance is kept as one generator per step (its influence on the states now), so nothing is boxed twice.

    Args:
        stored: The certificate.
        axis: 0 horizontal, 1 vertical.
        centre, radius: Initial box, shape (4,).
        horizon_s: Length [s].

    Returns:
        The tube.
    """
    loop = stored.loops[axis]
    stage = stored.stage_of(axis, centre, radius)
    bounds = interval(stored.bounds[stage or 0 :, axis].max(axis=0))
    flow = expm(loop.dynamics() * interval(STEP_S))
    within = expm(loop.dynamics() * Interval(np.zeros(()), np.asarray(STEP_S)))
    entry = matmul(within, loop.inputs())
    moved_centre, moved_radius = interval(centre[:, None]), interval(np.diag(radius))
    steps = int(np.ceil(horizon_s / STEP_S))
    spread = interval(np.zeros(4))
    power = interval(np.eye(4))
    lows, highs = [], []
    for _ in range(steps):
        middle = matmul(within, moved_centre)
        shape = matmul(within, moved_radius)
        fresh = STEP_S * total(interval(entry.magnitude()) * bounds)
        half = total(interval(shape.magnitude())) + total(interval(within.magnitude()) * spread.hi[None]) + fresh
        box = Interval(middle.lo[:, 0], middle.hi[:, 0]) + symmetric(half.hi)
        lows.append(box.lo)
        highs.append(box.hi)
        moved_centre, moved_radius = matmul(flow, moved_centre), matmul(flow, moved_radius)
        # the influence at the end of this step of what entered in each of the steps so far
        spread = spread + STEP_S * total(interval(matmul(power, entry).magnitude()) * bounds)
        power = matmul(power, flow)
    return Tube(np.arange(steps) * STEP_S, np.array(lows), np.array(highs), stage is not None)


def sample(
    stored: Stored, axis: int, centre: Numbers, radius: Numbers, horizon_s: float, count: int, seed: int
) -> Numbers:
    """Trajectories with random held disturbances within the bounds, at the start of each step, shape (count, n, 4)."""
    random = np.random.default_rng(seed)
    loop = stored.loops[axis]
    dynamics, inputs = (0.5 * (m.lo + m.hi) for m in (loop.dynamics(), loop.inputs()))
    block = np.zeros((6, 6))
    block[:4, :4], block[:4, 4:] = dynamics, inputs
    step = float_expm(block * STEP_S)
    z = centre + random.uniform(-1.0, 1.0, (count, 4)) * radius
    bounds = stored.bounds[stored.stage_of(axis, centre, radius) or 0 :, axis].max(axis=0)
    d = np.zeros((count, 2))
    result = []
    for k in range(int(np.ceil(horizon_s / STEP_S))):
        result.append(z)
        if k % 50 == 0:
            d = np.where(random.uniform(size=(count, 1)) < 0.5, np.sign(random.normal(size=(count, 2))), 2.0 * random.uniform(
                size=(count, 2)) - 1.0) * bounds
        z = z @ step[:4, :4].T + d @ step[:4, 4:].T
    return np.stack(result, axis=1)


def draw(results: list[tuple[str, Tube, Numbers]], path: Path) -> None:
    """Write a PNG: one column per axis, position, velocity and thrust vector over time."""
    figure, panels = plt.subplots(3, len(results), figsize=(11, 8), sharex=True, constrained_layout=True)
    labels = ("position from the anchor [m]", "velocity [m/s]", "thrust vector minus hover [m/s²]")
    for column, (name, bounds, seen) in enumerate(results):
        for row, label in enumerate(labels):
            panel = panels[row, column]
            panel.fill_between(bounds.t_s, bounds.lo[:, row], bounds.hi[:, row], color="tab:blue", alpha=0.25, label="tube")
            panel.plot(bounds.t_s, seen[:60, :, row].T, color="tab:gray", linewidth=0.4)
            panel.set_ylabel(label)
            panel.grid(alpha=0.3)
        panels[0, column].set_title(f"{name}: {'verified' if bounds.inside else 'unknown'}")
        panels[2, column].set_xlabel("time [s]")
    panels[0, 0].legend(loc="upper right")
    figure.savefig(path, dpi=110)
    plt.close(figure)
