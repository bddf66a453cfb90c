"""Judges a candidate set with outward-rounded arithmetic: invariance of the polytopes and the tube between samples.

What is proven, and why each step is an enclosure: docs/certificate.md, sections 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.errors import CertificateError

from .disturbance import Disturbance, Limits
from .interval import Interval, Numbers, expm, interval, matmul, total
from .loop import ROWS, AxisLoop
from .maximal_set import support

AXES = ("horizontal", "vertical")
PIECES = 8
"""Pieces of a sub-step over which the influence of the disturbances is bounded by its largest value."""


@dataclass(frozen=True, slots=True)
class AxisProof:
    """Witnesses that one axis is invariant; a checker needs nothing else.

    Attributes:
        facets: Rows f with |f . z| <= 1, shape (n, 4); the first six are the limited outputs.
        facet_multipliers: Row i shows facet i after one step below 1, shape (n, n).
        tube_multipliers: Bound of each limited output at each sub-step, shape (6, substeps + 1, n).
        facet_bound: Proven largest value of each facet after one step, shape (n,); all below 1.
        tube_bound: Proven largest value of each limited output at any time, shape (6,).
    """

    facets: Numbers
    facet_multipliers: Numbers
    tube_multipliers: Numbers
    facet_bound: Numbers
    tube_bound: Numbers


def multipliers(loop: AxisLoop, facets: Numbers, step_s: float, substeps: int) -> tuple[Numbers, Numbers]:
    """Dual witnesses by linear programming (floats; `prove` does not trust them)."""
    ones = np.ones(facets.shape[0])
    flows = [_middle(flow) for flow in _flows(loop, step_s, substeps)]
    outputs = _middle(loop.outputs())
    facet = np.array([support(facets, ones, row)[1] for row in facets @ flows[-1]])
    tube = np.array([[support(facets, ones, row @ flow)[1] for flow in flows] for row in outputs])
    return facet, tube


def prove(
    axis: int,
    loop: AxisLoop,
    limits: Limits,
    disturbance: Disturbance,
    facets: Numbers,
    witnesses: tuple[Numbers, Numbers],
    step_s: float,
    substeps: int,
) -> AxisProof:
    """Check one axis.

    Args:
        axis: `disturbance.HORIZONTAL` or `VERTICAL`.
        loop: Linear part.
        limits: The limits over which `disturbance` was bounded.
        disturbance: Bounds of w and r.
        facets: Candidate, shape (n, 4), first six rows the limited outputs over their inner limits.
        witnesses: Multipliers of facets and tube.
        step_s: The set is shown to be reached again after every step of this length [s].
        substeps: Pieces of a step for the tube.

    Returns:
        The proof.

    Raises:
        CertificateError: a facet or a limit does not hold; the text names it and the value.
    """
    flows = _flows(loop, step_s, substeps)
    piece_s = interval(step_s / substeps) / float(PIECES)
    within = expm(loop.dynamics() * Interval(np.zeros(()), piece_s.hi))
    pieces = [expm(loop.dynamics() * (piece_s * float(p))) for p in range(PIECES)]
    entries = [matmul(matmul(piece, within), loop.inputs()) for piece in pieces]
    bounds = interval(np.array([disturbance.acceleration_m_s2[axis], disturbance.jerk_m_s3[axis]]))
    box = _box(facets)
    outputs = loop.outputs()
    name = AXES[axis]

    def reach(rows: Interval, step: int, y: Numbers) -> Numbers:
        largest = _support_bound(facets, box, matmul(rows, flows[step]), y)
        for k in range(step):
            moved = matmul(rows, flows[k])
            for entry in entries:
                influence = interval(matmul(moved, entry).magnitude())
                largest = largest + piece_s * total(influence * bounds)
        return largest.hi

    facet_bound = reach(interval(facets), substeps, witnesses[0])
    worst = int(np.argmax(facet_bound))
    if not facet_bound[worst] < 1.0:
        raise CertificateError(f"{name} axis: facet {worst} reaches {facet_bound[worst]:.9f}, the limit is 1: not invariant")
    sampled = np.max(np.stack([reach(outputs, k, witnesses[1][:, k]) for k in range(substeps + 1)]), axis=0)
    tube = (interval(sampled) + (step_s / substeps) * _speed(axis, loop, limits, disturbance)).hi
    allowed = limits.rows(axis)
    for i, row in enumerate(ROWS):
        if not tube[i] < allowed[i]:
            raise CertificateError(
                f"{name} axis: the tube reaches {row} {tube[i]:.4f}, the bounds were made for {allowed[i]:.4f}; "
                "widen that limit or shrink the set"
            )
    return AxisProof(facets, witnesses[0], witnesses[1], facet_bound, tube)


def _speed(axis: int, loop: AxisLoop, limits: Limits, disturbance: Disturbance) -> Interval:
    """Largest time derivative of each limited output within the limits, shape (6,)."""
    _, v, a, j, nu, slope = (interval(float(x)) for x in limits.rows(axis))
    w = interval(disturbance.acceleration_m_s2[axis])
    r = interval(disturbance.jerk_m_s3[axis])
    k_p, k_v, k_a = (interval(abs(float(g))) for g in loop.gain)
    v_rate = a + loop.drag_1_s * v + w
    j_rate = (nu + j + r) / loop.lag_s
    slope_rate = (k_p + k_v * loop.drag_1_s) * v_rate + k_v * j + k_a * j_rate
    rates = [v, v_rate, j, j_rate, slope + k_v * w, slope_rate]
    return Interval(np.array([float(x.lo) for x in rates]), np.array([float(x.hi) for x in rates]))


def _flows(loop: AxisLoop, step_s: float, substeps: int) -> list[Interval]:
    one = expm(loop.dynamics() * (interval(step_s) / float(substeps)))
    flows = [interval(np.eye(4))]
    for _ in range(substeps):
        flows.append(matmul(flows[-1], one))
    return flows


def _box(facets: Numbers) -> Interval:
    """Bounds of |z_k| over the set, from its first four facets, which are multiples of the unit rows."""
    bounds = []
    for k in range(4):
        row = facets[k]
        if row[k] <= 0.0 or np.any(np.delete(row, k) != 0.0):
            raise CertificateError(f"facet {k} is not a multiple of unit row {k}: {row.tolist()}")
        bounds.append(float((1.0 / interval(row[k])).hi))
    return interval(np.array(bounds))


def _support_bound(facets: Numbers, box: Interval, rows: Interval, y: Numbers) -> Interval:
    """Upper bound of rows . z over the set: rows = y . facets + rest, so at most |y|_1 + |rest| . box."""
    rest = rows - matmul(interval(y), interval(facets))
    return total(interval(np.abs(y))) + total(interval(rest.magnitude()) * Interval(box.lo[None], box.hi[None]))


def _middle(x: Interval) -> Numbers:
    return 0.5 * (x.lo + x.hi)
