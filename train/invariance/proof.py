"""Judges candidate sets with outward-rounded arithmetic: each stage leads into the next, the last of a chain into itself, and the tube
between.

What is proven, and why each step is an enclosure: docs/certificate.md, sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import CertificateError

from .interval import Interval, Numbers, expm, interval, matmul, up
from .loop import ROWS, AxisLoop
from .maximal_set import influence, support

AXES = ("horizontal", "vertical")
PIECES = 16
"""Pieces of a sub-step over which the influence of the disturbances is bounded by its largest value."""


@dataclass(frozen=True, slots=True)
class AxisProof:
    """Witnesses that the stages of one axis lead into one another, the last into itself; a checker needs nothing else.

    Attributes:
        facets: Rows f, shape (n, 4); the first six are the limited outputs.
        offsets: Stage k holds the states with |f . z| <= offset, shape (stages, n); all 1 at the last stage.
        facet_multipliers: Row i bounds facet i after one step, at every stage, shape (n, n).
        tube_multipliers: Bound of each limited output at each sub-step, at every stage, shape (6, substeps + 1, n).
        facet_bound: Proven largest share of the next stage's offset after one step, shape (stages, n); all below 1.
        stage_tube: Proven largest value of each limited output during a step from each stage, shape (stages, 6).
    """

    facets: Numbers
    offsets: Numbers
    facet_multipliers: Numbers
    tube_multipliers: Numbers
    facet_bound: Numbers
    stage_tube: Numbers

    @property
    def tube_bound(self) -> Numbers:
        """Largest value of each limited output at any time, from any stage, shape (6,)."""
        result: Numbers = self.stage_tube.max(axis=0)
        return result

    def stage(self, k: int) -> Numbers:
        """Facets of one stage, scaled so that every offset is 1, shape (n, 4)."""
        result: Numbers = self.facets / self.offsets[k][:, None]
        return result


def following(stages: int, lasting: Sequence[int]) -> npt.NDArray[np.int64]:
    """Number of the stage that a step leads into, from each: the next one, or, from the last one of a chain, itself."""
    result = np.arange(1, stages + 1)
    result[list(lasting)] = lasting
    return result


def multipliers(
    loop: AxisLoop, facets: Numbers, offsets: Numbers, bounds: Numbers, limits: Numbers, lasting: Sequence[int], step_s: float,
    substeps: int,
) -> tuple[Numbers, Numbers]:
    """Dual witnesses by linear programming (floats; `prove` does not trust them).

    Args:
        loop: Linear part.
        facets, offsets: Candidate, see `AxisProof`.
        bounds: Of w and r at each stage, shape (stages, 2).
        limits: Within which the tube should stay, at each stage, shape (stages, 6).
        lasting, step_s, substeps: See `prove`.
    """
    flows = [_middle(flow) for flow in _flows(loop, step_s, substeps)]
    dynamics, inputs, outputs = (_middle(m) for m in (loop.dynamics(), loop.inputs(), loop.outputs()))
    after = offsets[following(offsets.shape[0], lasting)]
    added = bounds @ influence(facets, inputs, dynamics, step_s).T
    facet = np.array([
        _successor(facets, row) if _leads(facets, offsets, row, added[:, i], after[:, i])
        else support(facets, offsets, row, added[:, i], after[:, i])[1]
        for i, row in enumerate(facets @ flows[-1])
    ])  # fmt: skip
    tube = np.zeros((outputs.shape[0], substeps + 1, facets.shape[0]))
    for i, row in enumerate(outputs):
        for k, flow in enumerate(flows):
            grown = bounds @ influence(row[None], inputs, dynamics, k * step_s / substeps)[0]
            tube[i, k] = support(facets, offsets, row @ flow, grown, limits[:, i])[1]
    return facet, tube


def _successor(facets: Numbers, row: Numbers) -> Numbers:
    """Multipliers of the one facet that a row is most nearly a multiple of, shape (n,)."""
    size = np.linalg.norm(facets, axis=1)
    best = int(np.argmax(np.abs(facets @ row) / size))
    y = np.zeros(facets.shape[0])
    y[best] = float(facets[best] @ row) / size[best] ** 2
    return y


def _leads(facets: Numbers, offsets: Numbers, row: Numbers, added: Numbers, targets: Numbers) -> bool:
    """Whether a row is a multiple of one facet, and that is enough: most facets are what another one becomes after a step."""
    y = _successor(facets, row)
    exact = np.linalg.norm(y @ facets - row) <= 1e-11 * np.linalg.norm(row)
    return bool(exact and np.all(offsets @ np.abs(y) + added < targets * (1.0 - 1e-6)))


def prove(
    axis: int,
    loop: AxisLoop,
    limits: Numbers,
    bounds: Numbers,
    facets: Numbers,
    offsets: Numbers,
    witnesses: tuple[Numbers, Numbers],
    lasting: Sequence[int],
    step_s: float,
    substeps: int,
) -> AxisProof:
    """Check one axis.

    Args:
        axis: `disturbance.HORIZONTAL` or `VERTICAL`.
        loop: Linear part.
        limits: The limits of this axis over which `bounds` were made, at each stage, shape (stages, 6).
        bounds: Bounds of w and r at each stage, shape (stages, 2).
        facets, offsets: Candidate, see `AxisProof`.
        witnesses: Multipliers of facets and tube.
        lasting: Last stages of the chains, which lead into themselves, in order; the last stage of all is one of them.
        step_s: From each stage the next is shown to be reached after a step of this length [s].
        substeps: Pieces of a step for the tube.

    Returns:
        The proof.

    Raises:
        CertificateError: a facet or a limit does not hold; the text names it and the value.
    """
    name = AXES[axis]
    flows = _flows(loop, step_s, substeps)
    piece_s = interval(step_s) / float(substeps) / float(PIECES)
    within = expm(loop.dynamics() * Interval(np.zeros(()), piece_s.hi))
    pieces = [expm(loop.dynamics() * (piece_s * float(p))) for p in range(PIECES)]
    entries = [matmul(matmul(piece, within), loop.inputs()) for piece in pieces]
    if not (np.all(offsets > 0.0) and np.all(offsets[-1] == 1.0)):
        raise CertificateError(f"{name} axis: offsets must be above 0, and 1 at the last stage")
    next_stage = following(offsets.shape[0], lasting)
    box = _box(facets, offsets)
    sizes = interval(bounds)  # (stages, 2)

    def held(rows: Interval, step: int, y: Numbers) -> Interval:
        """Upper bounds of the rows after so many sub-steps without disturbances, from every stage, shape (stages, rows)."""
        return _support_bound(facets, offsets, box, matmul(rows, flows[step]), y)

    def added(rows: Interval) -> list[Interval]:
        """What the disturbances of each stage have added to the rows after each sub-step, shape (stages, rows)."""
        sums = [interval(np.zeros((offsets.shape[0], rows.shape[0])))]
        for k in range(substeps):
            moved, largest = matmul(rows, flows[k]), sums[-1]
            for entry in entries:
                largest = largest + piece_s * matmul(sizes, interval(matmul(moved, entry).magnitude().T))
            sums.append(largest)
        return sums

    after = offsets[next_stage]
    rows = interval(facets)
    share = ((held(rows, substeps, witnesses[0]) + added(rows)[-1]) / interval(after)).hi
    if not np.all(share < 1.0):
        stage, worst = np.unravel_index(int(np.argmax(share)), share.shape)
        raise CertificateError(
            f"{name} axis: facet {worst} of stage {stage} reaches {share[stage, worst]:.9f} of the next stage's offset: not invariant"
        )
    outputs = loop.outputs()
    ends = [held(outputs, k, witnesses[1][:, k]).hi for k in range(substeps + 1)]
    bent = _bend(loop, flows, interval(step_s) / float(substeps), box)
    grown = added(outputs)
    tube = np.max([
        (interval(np.maximum(ends[k], ends[k + 1])) + bent[k] + grown[k + 1]).hi for k in range(substeps)
    ], axis=0)  # fmt: skip
    _inside(name, tube, limits, next_stage)
    return AxisProof(facets, offsets, witnesses[0], witnesses[1], share, tube)


def _inside(name: str, tube: Numbers, limits: Numbers, next_stage: npt.NDArray[np.int64]) -> None:
    """The tube of each stage lies within the limits of the stage, of those that lead into it and of the one after: what acts during
    a step was computed, and is bounded, for instants of these."""
    for stage, after in enumerate(next_stage):
        for other in {stage, int(after), *np.flatnonzero(next_stage == stage).tolist()}:
            for i, row in enumerate(ROWS):
                if not tube[stage, i] < limits[other, i]:
                    raise CertificateError(
                        f"{name} axis: the tube reaches {row} {tube[stage, i]:.4f} in stage {stage}, the bounds of stage {other} were "
                        f"made for {limits[other, i]:.4f}; widen that limit or shrink the set"
                    )


def _bend(loop: AxisLoop, flows: list[Interval], length_s: Interval, box: Interval) -> list[Interval]:
    """By how much an undisturbed output can rise, during each sub-step, above the straight line between its ends, shape (stages, 6):
    an eighth of the squared length times its largest second derivative."""
    within = expm(loop.dynamics() * Interval(np.zeros(()), length_s.hi))
    second = matmul(matmul(loop.outputs(), loop.dynamics()), matmul(loop.dynamics(), within))
    return [length_s * length_s / 8.0 * matmul(box, interval(matmul(second, flow).magnitude().T)) for flow in flows[:-1]]


def _flows(loop: AxisLoop, step_s: float, substeps: int) -> list[Interval]:
    one = expm(loop.dynamics() * (interval(step_s) / float(substeps)))
    flows = [interval(np.eye(4))]
    for _ in range(substeps):
        flows.append(matmul(flows[-1], one))
    return flows


def _box(facets: Numbers, offsets: Numbers) -> Interval:
    """Bounds of |z_k| over each stage, from the first four facets, which are multiples of the unit rows, shape (stages, 4)."""
    for k in range(4):
        row = facets[k]
        if row[k] <= 0.0 or np.any(np.delete(row, k) != 0.0):
            raise CertificateError(f"facet {k} is not a multiple of unit row {k}: {row.tolist()}")
    return interval((interval(offsets[:, :4]) / interval(np.diagonal(facets[:4]).copy())).hi)


def _support_bound(facets: Numbers, offsets: Numbers, box: Interval, rows: Interval, y: Numbers) -> Interval:
    """Upper bound of rows . z over each stage, shape (stages, rows): rows = y . facets + rest, so |y| . offsets + |rest| . box."""
    rest = rows - matmul(interval(y), interval(facets))
    held = np.zeros((offsets.shape[0], y.shape[0]))
    for weights, offset in zip(np.abs(y).T, offsets.T, strict=True):  # nothing here is negative: only upper ends matter
        held = up(held + up(offset[:, None] * weights[None]))
    return interval(held) + matmul(box, interval(rest.magnitude().T))


def _middle(x: Interval) -> Numbers:
    return 0.5 * (x.lo + x.hi)
