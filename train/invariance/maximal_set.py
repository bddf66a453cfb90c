"""Maximal robust set of one linear axis whose limits and disturbances shrink from stage to stage (float; a candidate).

Stage k holds the states from which no disturbance sequence ever breaks a limit if those of stages k, k + 1, ... of its chain apply one
after the other, a step each, and the last one for ever. All stages share their facets; only the offsets differ. It is finitely
determined: rows are propagated backwards until a whole step adds no facet. Nothing here is trusted: `proof` judges the result
with rigorous arithmetic. Source: Kolmanovsky and Gilbert, Mathematical Problems in Engineering 4(4), 1998, algorithm of
section 6, with limits that depend on time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm
from scipy.optimize import linprog

from tubepilot.firmware_bridge.errors import CertificateError

from .interval import Numbers

LOOKED_AT = 6
"""Stages that a linear program looks at; all are checked afterwards."""
NEWEST = 36
"""Facets found last that a test of redundancy looks at."""
SLACK = 2e-6
"""Share of a limit left for what the linear programs do not solve exactly."""


def support(
    rows: Numbers, offsets: Numbers, direction: Numbers, added: Numbers, targets: Numbers
) -> tuple[float, Numbers]:
    """Multipliers that bound a direction over all stages at once, as far as possible below a target for each.

    Args:
        rows: Facets, shape (n, 4).
        offsets: Their offsets at each stage: |rows z| <= offsets[k], shape (stages, n).
        direction: Shape (4,).
        added: What disturbances add at each stage, shape (stages,).
        targets: What should not be exceeded, shape (stages,).

    Returns:
        The largest share of a target, and signed multipliers y, shape (n,): direction = y . rows, so that
        |direction . z| <= |y| . offsets[k] at stage k.

    Raises:
        CertificateError: the linear program has no finite solution.
    """
    n, stages = rows.shape[0], offsets.shape[0]
    some = np.unique(np.linspace(0, stages - 1, min(stages, LOOKED_AT)).round().astype(int))
    while True:
        # Minimise t subject to rows^T (y+ - y-) = direction and (y+ + y-) . offsets + added <= t targets.
        share = offsets[some] / targets[some, None]
        solution = linprog(
            np.append(np.zeros(2 * n), 1.0),
            A_ub=np.hstack([share, share, -np.ones((some.size, 1))]),
            b_ub=-added[some] / targets[some],
            A_eq=np.hstack([rows.T, -rows.T, np.zeros((rows.shape[1], 1))]),
            b_eq=direction,
            bounds=(0, None),
            method="highs-ds",
        )
        if solution.status != 0:
            raise CertificateError(f"linear program for the support function failed: {solution.message}")
        y = solution.x[:n] - solution.x[n : 2 * n]
        shares = (offsets @ np.abs(y) + added) / targets
        worst = int(np.argmax(shares))
        if shares[worst] <= float(solution.x[2 * n]) * (1.0 + 1e-7) + 1e-9 or worst in some:
            return float(shares[worst]), y
        some = np.append(some, worst)


def influence(step: Numbers, inputs: Numbers, dynamics: Numbers, tick_s: float, pieces: int = 80) -> Numbers:
    """Integral over a step of |row e^(A s) B|, for each row of `step` and each input, shape (n, 2); midpoints, as it has kinks."""
    flow, entry = expm(dynamics * tick_s / pieces), expm(dynamics * 0.5 * tick_s / pieces) @ inputs
    result = np.zeros((step.shape[0], inputs.shape[1]))
    for _ in range(pieces):
        result += tick_s / pieces * np.abs(step @ entry)
        entry = flow @ entry
    return result


def maximal_set(
    dynamics: Numbers,
    inputs: Numbers,
    outputs: Numbers,
    limits: Numbers,
    bounds: Numbers,
    following: npt.NDArray[np.int64],
    step_s: float,
    margin: float = 0.007,
    max_steps: int = 1500,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Numbers, Numbers]:
    """Facets of the maximal robust sets of all stages.

    Args:
        dynamics: Closed-loop matrix A, shape (4, 4) [1/s].
        inputs: Disturbance inputs B, shape (4, 2).
        outputs: Limited rows, shape (m, 4).
        limits: Their limits at each stage, shape (stages, m).
        bounds: Bounds of the two disturbances at each stage, shape (stages, 2).
        following: Number of the stage that a step leads into, from each, shape (stages,).
        step_s: Length of a stage, and step of the recursion [s].
        margin: Relative surplus on the disturbances, so that the rigorous, slightly larger bounds of the proof fit too.
        max_steps: Steps after which the search gives up.
        progress: Called with the step and the number of facets.

    Returns:
        Facet rows, shape (n, 4), and their offsets at each stage, shape (stages, n), all 1 at the last.

    Raises:
        CertificateError: the disturbances alone exceed a limit, or the recursion does not end.
    """
    last = limits.shape[0] - 1
    reached = np.arange(last + 1)  # the stage after so many steps, from each
    flow = expm(dynamics * step_s)
    rows = outputs.copy()
    used = np.zeros((last + 1, rows.shape[0]))
    facets, offsets, useful = np.zeros((0, 4)), np.zeros((last + 1, 0)), set(range(rows.shape[0]))
    for step in range(max_steps):
        allowed = limits[reached] - used
        if not np.all(allowed > 0.0):
            stage, i = np.argwhere(~(allowed > 0.0))[-1]
            raise CertificateError(
                f"no invariant set: {step * step_s:.2f} s after stage {stage} the disturbances alone exceed limit {i} "
                f"(limits {np.round(limits[last], 3).tolist()}, disturbances {np.round(bounds[last], 3).tolist()} at the last); "
                "tighten an assumption or widen a limit"
            )
        added = 0
        for i in range(rows.shape[0]):
            if step and _redundant(facets, offsets, limits[:, :4], rows[i], allowed[:, i], useful):
                continue
            facets = np.vstack([facets, rows[i] / allowed[last, i]])
            offsets = np.hstack([offsets, allowed[:, i : i + 1] / allowed[last, i]])
            added += 1
        if progress is not None:
            progress(step, facets.shape[0])
        if not added:
            return facets, offsets
        once = influence(rows, inputs, dynamics, step_s)
        used = used[following] + bounds @ once.T * (1.0 + margin) + SLACK * limits[last]
        rows = rows @ flow
        reached = following[reached]
    raise CertificateError(f"no invariant set: {max_steps} steps of {step_s} s were not enough; the loop is too slow")


def _redundant(
    facets: Numbers, offsets: Numbers, box: Numbers, row: Numbers, allowed: Numbers, useful: set[int]
) -> bool:
    """Whether the facets so far, with the same multipliers at all stages, keep a row within what is allowed.

    Only those are looked at that were of use before, and the newest: a row that is kept without need costs less than a large
    linear program.
    """
    if np.all(box @ np.abs(row) <= allowed * (1.0 - SLACK)):
        return True
    some = np.array(sorted(useful | set(range(max(0, facets.shape[0] - NEWEST), facets.shape[0]))))
    share, y = support(facets[some], offsets[:, some], row, np.zeros(allowed.size), allowed)
    if share > 1.0 - SLACK:
        return False
    useful.update(some[np.abs(y) > 1e-9].tolist())
    return True
