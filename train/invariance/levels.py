"""Smaller invariant sets inside S, for the same gains: near hover all disturbances are smaller, and so is the tube.

Within smaller limits of the state the bounds w and r are smaller (docs/certificate.md, section 3), so that a smaller polytope is
invariant as well. Each level is proven like S itself. From a state that lies in a level the vehicle stays in the level's tube,
which says how much room it needs to stop. The limits of a level lie between the smallest ones that can hold, found here by a
fixed point in plain floats that nothing relies on, and those of the last stage of S.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from tubepilot.firmware_bridge.errors import CertificateError

from .assumptions import Assumptions
from .backup import BackupLaw
from .disturbance import Disturbance, Limits, bound
from .interval import Numbers
from .loop import AxisLoop
from .maximal_set import maximal_set
from .proof import AxisProof, multipliers, prove
from .stages import BETWEEN, as_limits

SHARES = (0.05, 0.3)
"""Where the limits of each level lie between the smallest (0) and those of S (1), smallest first."""
ROOM = 1.03
"""Put on the smallest limits, so that a set with an inside exists."""
ROUNDS = 12
"""Of the fixed point; it converges by a factor of about two a round."""
SURPLUS = 1.005
"""On the bounds of w and r of stages and levels: a checker that cuts the thrust vectors into other cells finds a bit more."""
HORIZON_S, PIECE_S = 40.0, 0.01
NAMES = tuple(field.name for field in fields(Limits))


@dataclass(frozen=True, slots=True)
class Level:
    """A proven invariant set of both axes.

    Attributes:
        limits: Over which the disturbances were bounded; the tube stays inside.
        disturbance: Bounds of w and r within them.
        axes: Proof of the horizontal and of the vertical axis.
    """

    limits: Limits
    disturbance: Disturbance
    axes: tuple[AxisProof, AxisProof]


def widened(inner: Limits) -> Limits:
    """Room for the tube between samples: jerk, feedback and slope move most."""
    return as_limits(np.array([getattr(inner, name) for name in NAMES]) * BETWEEN[:, None])


def stage_bounds(assumptions: Assumptions, limits: Numbers, gain: Numbers, rounding_m_s3: float, pieces: int) -> Numbers:
    """Bounds of w and r of every stage, over its limits (stages, 6, 2); shape (stages, 2, 2): stage, axis, (w, r)."""
    result = []
    for rows in limits:
        found = bound(assumptions, as_limits(rows), gain, pieces, rounding_m_s3)
        result.append(np.array([found.acceleration_m_s2, found.jerk_m_s3]).T)
    return SURPLUS * np.array(result)


def prove_stages(
    loops: Sequence[AxisLoop], limits: Numbers, inner: Numbers, bounds: Numbers, step_s: float, substeps: int,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[AxisProof, AxisProof]:
    """Make the sets of both axes and prove them.

    Args:
        loops: Horizontal and vertical.
        limits: Over which `bounds` were made, shape (stages, 6, 2).
        inner: Limits at the steps of the proof, likewise.
        bounds: Of w and r, shape (stages, 2, 2).
        step_s, substeps: Length of a stage [s], its pieces.
        progress: Called with what is being done.

    Raises:
        CertificateError: something does not hold.
    """
    proofs = []
    for axis, loop in enumerate(loops):
        name = ("horizontal", "vertical")[axis]
        progress(f"{name} set")
        middle = [0.5 * (m.lo + m.hi) for m in (loop.dynamics(), loop.inputs(), loop.outputs())]
        facets, offsets = maximal_set(*middle, inner[:, :, axis], bounds[:, axis], step_s)
        progress(f"{name} witnesses, {facets.shape[0]} facets")
        witnesses = multipliers(loop, facets, offsets, bounds[:, axis], limits[:, :, axis], step_s, substeps)
        progress(f"{name} proof")
        proofs.append(prove(axis, loop, limits[:, :, axis], bounds[:, axis], facets, offsets, witnesses, step_s, substeps))
    return proofs[0], proofs[1]


def prove_level(
    assumptions: Assumptions, law: BackupLaw, inner: Limits, disturbance: Disturbance, step_s: float, substeps: int,
    progress: Callable[[str], None] = lambda text: None,
) -> Level:
    """Make and prove the sets of both axes within limits: one stage that leads into itself.

    Args:
        assumptions, law: What flies.
        inner: Limits at the samples of the set.
        disturbance: Bounds of w and r within the wider limits `widened(inner)`.
        step_s, substeps: Step of the invariance [s], its pieces.
        progress: Called with what is being done.

    Raises:
        CertificateError: it does not hold.
    """
    outer = widened(inner)
    loops = [AxisLoop(law.gain[axis], assumptions.drag_1_s[axis], assumptions.rate_lag_s) for axis in (0, 1)]
    limits, own = (np.array([getattr(value, name) for name in NAMES])[None] for value in (outer, inner))
    bounds = np.array([disturbance.acceleration_m_s2, disturbance.jerk_m_s3]).T[None]
    return Level(outer, disturbance, prove_stages(loops, limits, own, bounds, step_s, substeps, progress))


def inner_levels(
    assumptions: Assumptions, law: BackupLaw, inner: Limits, rounding_m_s3: float, pieces: int, step_s: float, substeps: int,
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[Level, ...]:
    """The levels inside a proven set, smallest first; one that cannot be proven is left out.

    Args:
        assumptions, law, step_s, substeps, progress: See `prove_level`.
        inner: Inner limits of the last stage of S.
        rounding_m_s3: Rounding bound of the backup graph within the limits of S.
        pieces: Cells of the thrust vector, per axis.
    """
    result: list[Level] = []
    whole = np.array([getattr(inner, name) for name in NAMES])
    try:
        least = np.minimum(ROOM * _least(assumptions, law, whole, rounding_m_s3, pieces), whole)
    except CertificateError:
        return ()
    for number, share in enumerate(SHARES, 1):
        limits = as_limits(least + share * (whole - least))
        try:
            found = bound(assumptions, widened(limits), law.gain, pieces=pieces, rounding_m_s3=rounding_m_s3)
            more = [(SURPLUS * h, SURPLUS * v) for h, v in (found.acceleration_m_s2, found.jerk_m_s3)]
            disturbance = replace(found, acceleration_m_s2=more[0], jerk_m_s3=more[1])
            made = prove_level(
                assumptions, law, limits, disturbance, step_s, substeps, lambda text, n=number: progress(f"level {n}: {text}")
            )
        except CertificateError as error:
            progress(f"level {number} left out: {error}")
            continue
        if not result or _holds_more(made, result[-1]):
            result.append(made)
    return tuple(result)


def _holds_more(level: Level, smaller: Level) -> bool:
    """Whether both tubes are wider than those of the level before: levels are tried from the smallest."""
    return all(one.tube_bound[0] > other.tube_bound[0] for one, other in zip(level.axes, smaller.axes, strict=True))


def _least(assumptions: Assumptions, law: BackupLaw, whole: Numbers, rounding_m_s3: float, pieces: int) -> Numbers:
    """The smallest limits that hold their own disturbances for ever, shape (6, 2): a fixed point, in floats."""
    influence = np.stack([_influence(assumptions, law, axis) for axis in (0, 1)], axis=1)
    least = whole
    for _ in range(ROUNDS):
        d = bound(assumptions, as_limits(least), law.gain, pieces=pieces, rounding_m_s3=rounding_m_s3)
        sizes = np.array([d.acceleration_m_s2, d.jerk_m_s3]).T
        least = np.minimum(np.einsum("oad,ad->oa", influence, sizes), whole)
    return least


def _influence(assumptions: Assumptions, law: BackupLaw, axis: int) -> Numbers:
    """Largest value of each output per unit of w and of r that acts for ever, shape (6, 2)."""
    loop = AxisLoop(law.gain[axis], assumptions.drag_1_s[axis], assumptions.rate_lag_s)
    dynamics, inputs, outputs = (0.5 * (m.lo + m.hi) for m in (loop.dynamics(), loop.inputs(), loop.outputs()))
    values, vectors = np.linalg.eig(dynamics)
    times = PIECE_S * (np.arange(round(HORIZON_S / PIECE_S)) + 0.5)
    response = np.einsum("ok,kt,kd->otd", outputs @ vectors, np.exp(np.outer(values, times)), np.linalg.solve(vectors, inputs))
    result: Numbers = np.abs(response.real).sum(axis=1) * PIECE_S
    return result
