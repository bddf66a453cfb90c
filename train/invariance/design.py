"""Choose gains and limits of the backup policy, make the sets and have them proven: the most ambitious design that holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog

from tubepilot.firmware_bridge.errors import CertificateError

from .assumptions import Assumptions
from .backup import BackupLaw, rounding_bound
from .certificate import Certificate
from .disturbance import HORIZONTAL, VERTICAL, Disturbance, Limits, bound
from .interval import Numbers
from .loop import AxisLoop
from .maximal_set import maximal_set
from .proof import AxisProof, multipliers, prove

STEP_S = 0.02
SUBSTEPS = 10


@dataclass(frozen=True, slots=True)
class Design:
    """What a designer chooses.

    Attributes:
        horizontal_poles, vertical_poles: The three slow closed-loop poles, magnitudes [1/s]; the fourth follows from the lag.
        limits: Inner limits: states, feedback and slope at the samples of the set.
    """

    horizontal_poles: tuple[float, float, float]
    vertical_poles: tuple[float, float, float]
    limits: Limits


def _limits(horizontal: Sequence[float], vertical: Sequence[float]) -> Limits:
    pairs = [(float(h), float(v)) for h, v in zip(horizontal, vertical, strict=True)]
    return Limits(*pairs)


DESIGNS: tuple[Design, ...] = (
    Design((0.31, 1.14, 1.3), (0.33, 1.17, 3.17), _limits((7.9, 2.7, 3.3, 5.4, 3.85, 11.9), (3.5, 1.46, 1.37, 5.3, 3.7, 19.1))),
    Design((0.31, 1.14, 1.3), (0.33, 1.17, 3.17), _limits((7.9, 2.6, 3.2, 5.2, 3.78, 11.6), (3.45, 1.45, 1.35, 5.25, 3.65, 18.8))),
    Design((0.36, 1.08, 1.31), (0.32, 1.05, 3.56), _limits((6.9, 2.6, 3.2, 5.2, 3.55, 11.9), (3.4, 1.35, 1.33, 4.9, 3.95, 20.3))),
)
"""From the most ambitious to the most modest, for vehicles with a rate lag near 45 ms; found by a random search over poles and
limits for the smallest ratio of worst disturbance response to limit."""


def gains(poles: Sequence[float], drag_1_s: float, lag_s: float) -> Numbers:
    """Feedback (position, velocity, acceleration), no jerk term, that places three poles; rounded to float32.

    Raises:
        CertificateError: the fourth pole would be unstable.
    """
    fourth = 1.0 / lag_s + drag_1_s - sum(poles)
    if fourth <= 0.0:
        raise CertificateError(f"poles {tuple(poles)} are too fast for a rate lag of {lag_s} s")
    c = np.poly([-p for p in (*poles, fourth)])
    k_a = drag_1_s - c[2] * lag_s
    k_v = -c[3] * lag_s - drag_1_s * k_a
    k_p = -c[4] * lag_s
    return np.array([k_p, k_v, k_a], dtype=np.float32).astype(np.float64)


def _widened(inner: Limits, share: float) -> Limits:
    """Room for the tube between samples: jerk, feedback and slope move most."""
    grow = lambda pair, s: (pair[0] * (1 + s), pair[1] * (1 + s))  # noqa: E731
    return Limits(
        grow(inner.position_m, 0.01),
        grow(inner.velocity_m_s, 0.02),
        grow(inner.acceleration_m_s2, 0.02),
        grow(inner.jerk_m_s3, 1.4 * share),
        grow(inner.feedback_m_s3, 0.4 * share),
        grow(inner.slope_m_s4, 1.6 * share),
    )


def attempt(
    assumptions: Assumptions, law: BackupLaw, design: Design, progress: Callable[[str], None] = lambda text: None
) -> Certificate:
    """Make and prove the sets of one design.

    Raises:
        CertificateError: it does not hold.
    """
    rows = [
        gains(poles, drag, assumptions.rate_lag_s)
        for poles, drag in zip((design.horizontal_poles, design.vertical_poles), assumptions.drag_1_s, strict=True)
    ]
    law = replace(law, gain=np.array(rows))
    loops = [AxisLoop(rows[i], assumptions.drag_1_s[i], assumptions.rate_lag_s) for i in (HORIZONTAL, VERTICAL)]
    outer = _widened(design.limits, 0.1)
    draft = bound(assumptions, outer, law.gain)
    rounding = rounding_bound(law, outer, draft, assumptions.disturbance_estimate_m_s2)
    disturbance = bound(assumptions, outer, law.gain, pieces=12, rounding_m_s3=rounding)
    _check_setpoints(law, disturbance)
    proofs = []
    for axis in (HORIZONTAL, VERTICAL):
        name = ("horizontal", "vertical")[axis]
        progress(f"{name} set")
        loop = loops[axis]
        bounds = np.array([disturbance.acceleration_m_s2[axis], disturbance.jerk_m_s3[axis]])
        middle = [0.5 * (m.lo + m.hi) for m in (loop.dynamics(), loop.inputs(), loop.outputs())]
        facets, _ = maximal_set(*middle, design.limits.rows(axis), bounds, STEP_S)
        progress(f"{name} witnesses, {facets.shape[0]} facets")
        witnesses = multipliers(loop, facets, STEP_S, SUBSTEPS)
        progress(f"{name} proof")
        proofs.append(prove(axis, loop, outer, disturbance, facets, witnesses, STEP_S, SUBSTEPS))
    speed, acceleration = _reach(proofs[HORIZONTAL])
    return Certificate(
        assumptions=assumptions,
        limits=outer,
        law=law,
        disturbance=disturbance,
        axes=(proofs[0], proofs[1]),
        anchor=np.array([anchor_map(proof.facets) for proof in proofs]),
        step_s=STEP_S,
        substeps=SUBSTEPS,
        rounding_m_s3=rounding,
        speed_m_s=speed,
        tilt_rad=float(np.arctan2(acceleration, assumptions.gravity_m_s2)),
    )


def certify(
    assumptions: Assumptions,
    law: BackupLaw,
    designs: Sequence[Design] = DESIGNS,
    progress: Callable[[str], None] = lambda text: None,
) -> Certificate:
    """The first design that is proven.

    Args:
        assumptions: E, W, timing, lags.
        law: Backup policy; its gains are replaced by the design's.
        designs: From ambitious to modest.
        progress: Called with what is being done.

    Returns:
        The certificate.

    Raises:
        CertificateError: none holds; the text has the reason of each.
    """
    reasons = []
    for number, design in enumerate(designs, 1):
        try:
            return attempt(assumptions, law, design, lambda text, n=number: progress(f"design {n}: {text}"))
        except (CertificateError, ZeroDivisionError) as error:
            reasons.append(f"design {number}: {error}")
            progress(reasons[-1])
    raise CertificateError("no design could be proven:\n  " + "\n  ".join(reasons))


def _check_setpoints(law: BackupLaw, disturbance: Disturbance) -> None:
    shift = float(np.max(np.abs(law.rate_offset_rad_s / law.rate_gain)))
    if shift > 1.0:
        raise CertificateError(f"the identified rate offset is {shift:.2f} rad/s; the rounding bound covers 1 rad/s: identify again")
    rate = float(min(law.rate_limit_rad_s[:2]))
    asked = disturbance.setpoint_rates_rad_s / float(np.min(np.abs(law.rate_gain))) + float(
        np.max(np.abs(law.rate_offset_rad_s / law.rate_gain))
    )
    if asked > rate:
        raise CertificateError(f"the backup may ask for {asked:.2f} rad/s, the limit of a set-point is {rate:.2f} rad/s")
    low, high = (t / law.thrust_gain for t in disturbance.setpoint_thrust_m_s2)
    if low < law.thrust_min_m_s2 or high > law.thrust_max_m_s2:
        raise CertificateError(
            f"the backup may ask for {low:.2f} to {high:.2f} m/s^2 of thrust, "
            f"set-points are limited to {law.thrust_min_m_s2:.2f} to {law.thrust_max_m_s2:.2f} m/s^2"
        )


def best_anchor(facets: Numbers, fixed: Numbers) -> tuple[float, float]:
    """Position from the anchor with the largest margin for given velocity, acceleration and jerk, and that margin."""
    ones = np.ones((facets.shape[0], 1))
    known = facets[:, 1:] @ fixed
    a = np.vstack([np.hstack([facets[:, :1], ones]), np.hstack([-facets[:, :1], ones])])
    solution = linprog([0.0, -1.0], A_ub=a, b_ub=np.concatenate([1.0 - known, 1.0 + known]), bounds=(None, None), method="highs")
    return float(solution.x[0]), float(solution.x[1])


def anchor_map(facets: Numbers, samples: int = 160, seed: int = 0) -> Numbers:
    """Least-squares linear map from (velocity, acceleration, jerk) to the best position from the anchor, shape (3,)."""
    random = np.random.default_rng(seed)
    scale = np.array([1.0 / facets[k, k] for k in (1, 2, 3)])
    points = random.uniform(-0.6, 0.6, (samples, 3)) * scale
    best = [best_anchor(facets, point) for point in points]
    keep = np.array([margin > 0.02 for _, margin in best])
    target = np.array([position for position, _ in best])
    return np.linalg.lstsq(points[keep], target[keep], rcond=None)[0]


def _reach(proof: AxisProof) -> tuple[float, float]:
    """Largest speed at a = j = 0 and largest acceleration at v = j = 0, for some anchor."""
    result = []
    for k in (1, 2):
        matrix = np.vstack([proof.facets[:, [0, k]], -proof.facets[:, [0, k]]])
        solution = linprog([0.0, -1.0], A_ub=matrix, b_ub=np.ones(matrix.shape[0]), bounds=(None, None), method="highs")
        result.append(float(solution.x[1]))
    return result[0], result[1]
