"""Maximal robust invariant polytope of one linear axis with bounded disturbances and limited outputs (float; a candidate).

The set of states from which no disturbance sequence ever breaks a limit. It is finitely determined: rows are propagated
backwards until a whole step adds no facet. Nothing here is trusted: `proof` judges the result with rigorous arithmetic.
Source: Kolmanovsky and Gilbert, Mathematical Problems in Engineering 4(4), 1998, algorithm of section 6.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import expm
from scipy.optimize import linprog

from tubepilot.firmware_bridge.errors import CertificateError

from .interval import Numbers


def support(rows: Numbers, offsets: Numbers, direction: Numbers) -> tuple[float, Numbers]:
    """Largest direction . z over {z: |rows z| <= offsets}, and its dual multipliers.

    Args:
        rows: Facets, shape (n, 4).
        offsets: Their limits, shape (n,).
        direction: Shape (4,).

    Returns:
        The maximum, and signed multipliers y, shape (n,), with direction = y . rows and maximum = |y| . offsets.

    Raises:
        CertificateError: the linear program has no finite solution.
    """
    # Dual of the symmetric polytope: minimise |y| . offsets subject to rows^T y = direction, y = y+ - y-.
    n = rows.shape[0]
    solution = linprog(
        np.concatenate([offsets, offsets]), A_eq=np.hstack([rows.T, -rows.T]), b_eq=direction, bounds=(0, None), method="highs"
    )
    if solution.status != 0:
        raise CertificateError(f"linear program for the support function failed: {solution.message}")
    return float(solution.fun), solution.x[:n] - solution.x[n:]


def _grows(step: Numbers, inputs: Numbers, dynamics: Numbers, tick_s: float, bounds: Numbers, pieces: int = 8) -> Numbers:
    """Integral over a step of |row e^(A s) B| bounds, for each row of `step`, shape (n,)."""
    nodes, weights = np.polynomial.legendre.leggauss(pieces)
    result = np.zeros(step.shape[0])
    for node, weight in zip(nodes, weights, strict=True):
        flow = expm(dynamics * tick_s * 0.5 * (node + 1))
        result += 0.5 * tick_s * weight * (np.abs(step @ flow @ inputs) @ bounds)
    return result


def worst_response(
    dynamics: Numbers, inputs: Numbers, outputs: Numbers, bounds: Numbers, horizon_s: float = 20.0, step_s: float = 0.005
) -> Numbers:
    """Largest magnitude of each output that bounded disturbances reach from rest within the horizon (L1 norm), shape (m,)."""
    flow = expm(dynamics * step_s)
    response = expm(dynamics * 0.5 * step_s) @ inputs
    result = np.zeros((outputs.shape[0], inputs.shape[1]))
    for _ in range(int(horizon_s / step_s)):
        result += np.abs(outputs @ response) * step_s
        response = flow @ response
    return result @ bounds


def maximal_set(
    dynamics: Numbers,
    inputs: Numbers,
    outputs: Numbers,
    limits: Numbers,
    bounds: Numbers,
    step_s: float,
    margin: float = 0.011,
    max_steps: int = 1500,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Numbers, Numbers]:
    """Facets of the maximal robust invariant set.

    Args:
        dynamics: Closed-loop matrix A, shape (4, 4) [1/s].
        inputs: Disturbance inputs B, shape (4, 2).
        outputs: Limited rows, shape (m, 4).
        limits: Their limits, shape (m,).
        bounds: Bounds of the two disturbances, shape (2,).
        step_s: Step of the recursion [s].
        margin: Relative surplus on the disturbances, so that the rigorous, slightly larger bounds of the proof fit too.
        max_steps: Steps after which the search gives up.
        progress: Called with the step and the number of facets.

    Returns:
        Facet rows, shape (n, 4), scaled so that every offset is 1, and the offsets, shape (n,).

    Raises:
        CertificateError: the disturbances alone exceed a limit, or the recursion does not end.
    """
    demand = worst_response(dynamics, inputs, outputs, bounds) / limits
    if np.any(demand >= 1.0):
        raise CertificateError(
            f"no invariant set: the disturbances alone ask for {np.round(demand, 2).tolist()} of the limits "
            f"{np.round(limits, 3).tolist()} (disturbances {np.round(bounds, 3).tolist()}); tighten an assumption or widen a limit"
        )
    flow = expm(dynamics * step_s)
    rows = outputs / limits[:, None]
    box = limits[:4]
    used = np.zeros(rows.shape[0])
    facets: list[Numbers] = []
    offsets: list[float] = []
    for step in range(max_steps):
        added = 0
        for i in range(rows.shape[0]):
            offset = 1.0 - used[i]
            if offset <= 0.0:
                raise CertificateError(
                    f"no invariant set: after {step * step_s:.2f} s the disturbances alone exceed limit {i} "
                    f"(limits {np.round(limits, 3).tolist()}, disturbances {np.round(bounds, 3).tolist()}); "
                    "tighten an assumption or widen a limit"
                )
            if step and (np.abs(rows[i]) @ box <= offset or support(np.array(facets), np.array(offsets), rows[i])[0] <= offset):
                continue
            facets.append(rows[i] / offset)
            offsets.append(1.0)
            added += 1
        if progress is not None:
            progress(step, len(facets))
        if not added:
            return np.array(facets), np.array(offsets)
        used += _grows(rows, inputs, dynamics, step_s, bounds) * (1.0 + margin) + 1e-7
        rows = rows @ flow
    raise CertificateError(f"no invariant set: {max_steps} steps of {step_s} s were not enough; the loop is too slow")
