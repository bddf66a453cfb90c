"""Choose gains and limits of the backup policy, make the sets and have them proven: the most ambitious design that holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from scipy.optimize import linprog

from tubepilot.firmware_bridge.errors import CertificateError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2

from .assumptions import Assumptions, Pair
from .backup import BackupLaw, rounding_bound
from .certificate import AtOnce, Certificate, Stages
from .disturbance import HORIZONTAL, VERTICAL, Disturbance, bound
from .interval import Numbers
from .loop import AxisLoop
from .maximal_set import maximal_set
from .proof import AxisProof, following, multipliers, prove
from .stages import Start, as_limits, between, bounded_over, limits_of

STEP_S = 0.04
SUBSTEPS = 40
STAGES = 40
"""Stages before the last one: the vehicle has so many steps to slow down into the limits that hold for ever."""
CALM_STAGES = 30
"""Likewise, of the chain for slow flight."""
PIECES = 12
"""Cells of the thrust vector from 0 to its largest value, per axis."""
AT_ONCE_M_S = (4.0, 2.0)
"""Velocity, horizontal and vertical, with which the largest tilt is sought that lies in S at once [m/s]."""
INSIDE = 1.0 - 1e-9
"""Part of a facet that a state found by a float linear program may use: the program's own errors stay below the rest."""


@dataclass(frozen=True, slots=True)
class Design:
    """What a designer chooses.

    Attributes:
        horizontal_poles, vertical_poles: The three slow closed-loop poles, magnitudes [1/s]; the fourth follows from the lag.
        starts: What the first stage should hold.
        stages: Stages before the last one.
        calm: What the first stage of a second chain should hold: slow flight, which needs less room; none: there is no second chain.
        calm_stages: Stages before its last one.
    """

    horizontal_poles: tuple[float, float, float]
    vertical_poles: tuple[float, float, float]
    starts: tuple[Start, ...]
    stages: int = STAGES
    calm: tuple[Start, ...] = ()
    calm_stages: int = CALM_STAGES

    def chains(self) -> list[tuple[tuple[Start, ...], int]]:
        """What the first stage of each chain should hold, and how many stages follow."""
        return [(self.starts, self.stages)] + ([(self.calm, self.calm_stages)] if self.calm else [])


def _starts(
    tilt_deg: float, ahead_m: tuple[float, float, float], jerk_m_s3: tuple[float, float], steep_m_s2: float = 0.0
) -> tuple[Start, ...]:
    """Full speed with a tilt at once; half of it with the jerk of brisk flight; the jerk with which a tight turn begins; and, if an
    acceleration is given, a turn steeper than the tilt at half the speed. The anchor lies ahead along horizontal velocity, acceleration
    and vertical velocity."""
    along_v, along_a, rise = ahead_m
    most = GRAVITY_M_S2 * float(np.tan(np.radians(tilt_deg)))

    def start(velocity: Pair, acceleration: Pair, jerk: Pair) -> Start:
        shares = velocity[0] / AT_ONCE_M_S[0], velocity[1] / AT_ONCE_M_S[1], acceleration[0] / most
        return Start(velocity, acceleration, jerk, ((along_v * shares[0], rise * shares[1]), (along_a * shares[2], 0.0)))

    steep = (start((2.5, 0.5), (steep_m_s2, 0.5), (3.0, 2.0)),) if steep_m_s2 > 0.0 else ()
    return (
        start(AT_ONCE_M_S, (most, 0.0), (0.0, 0.0)),
        start((2.5, 1.0), (2.5, 0.6), (5.5, 2.5)),
        start((0.5, 0.3), (2.0, 0.6), jerk_m_s3),
        *steep,
    )


def _calm(speed_m_s: Pair, acceleration_m_s2: Pair, jerk_m_s3: Pair) -> tuple[Start, ...]:
    """Slow flight."""
    ahead = ((0.9 * speed_m_s[0], 1.2 * speed_m_s[1]), (0.55 * acceleration_m_s2[0], 0.0))
    return (Start(speed_m_s, acceleration_m_s2, jerk_m_s3, ahead),)


SLOW = _calm((2.0, 1.0), (2.5, 0.4), (8.0, 3.0))
DESIGNS: tuple[Design, ...] = (
    Design((0.649, 0.725, 0.765), (0.938, 0.901, 1.123), _starts(35.2, (3.63, 5.05, 2.77), (17.0, 10.0), 7.5), 60, SLOW),
    Design((0.671, 0.696, 0.649), (0.815, 0.872, 0.888), _starts(35.0, (7.5, 6.42, 5.81), (8.0, 3.0)), 80, SLOW),
    Design((0.520, 0.608, 0.611), (0.693, 0.713, 0.940), _starts(35.2, (5.41, 9.46, 5.36), (10.0, 3.5)), calm=SLOW),
    Design((0.439, 0.371, 0.527), (0.534, 0.582, 0.509), _starts(35.2, (14.5, 21.6, 5.37), (10.0, 3.5)), calm=SLOW),
    Design((0.677, 0.569, 0.641), (0.508, 0.873, 0.86), _starts(30.0, (3.6, 6.0, 2.33), (5.5, 2.5))),
)
"""For vehicles with a rate lag near 45 ms: the first for small disturbances and errors, the second for large ones, the third and fourth
likewise for 50 Hz; found by a random search over poles and anchors for the smallest tube around the anchor."""


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


def attempt(
    assumptions: Assumptions, law: BackupLaw, design: Design, progress: Callable[[str], None] = lambda text: None
) -> Certificate:
    """Make and prove the sets of one design.

    Raises:
        CertificateError: it does not hold.
    """
    held, delay = (1 + assumptions.missed_ticks) * Fraction(assumptions.tick_s), Fraction(assumptions.delay_max_s)
    longest = max(held, (held + delay) / 2)
    if longest > Fraction(STEP_S):
        raise CertificateError(
            f"set-points may act {1e3 * float(longest):.1f} ms away from their instant, longer than a step of {1e3 * STEP_S:g} ms: the "
            "stages do not cover that; lower the delay or the missed ticks"
        )
    rows = [
        gains(poles, drag, assumptions.rate_lag_s)
        for poles, drag in zip((design.horizontal_poles, design.vertical_poles), assumptions.drag_1_s, strict=True)
    ]
    law = replace(law, gain=np.array(rows))
    loops = [AxisLoop(rows[i], assumptions.drag_1_s[i], assumptions.rate_lag_s) for i in (HORIZONTAL, VERTICAL)]
    progress("limits of the stages")
    chains = [limits_of(assumptions, law.gain, loops, starts, count, STEP_S) for starts, count in design.chains()]
    lasting = tuple(int(n) - 1 for n in np.cumsum([chain.shape[0] for chain in chains]))
    own = np.concatenate(chains)
    limits = np.concatenate([bounded_over(chain) for chain in chains])
    widest = as_limits(limits.max(axis=0))  # what is bounded over them holds in every stage
    draft = bound(assumptions, widest, law.gain)
    rounding = rounding_bound(law, widest, draft, assumptions.disturbance_estimate_m_s2)
    disturbance = bound(assumptions, widest, law.gain, pieces=PIECES, rounding_m_s3=rounding)
    check_setpoints(law, disturbance)
    progress("disturbances of the stages")
    bounds = stage_bounds(assumptions, limits, law.gain, rounding)
    room = between(assumptions.rate_lag_s)[None, :, None]
    proofs = prove_stages(loops, limits, own / room, bounds, lasting, progress)
    speed, acceleration = _reach(proofs[HORIZONTAL])
    calm = lasting[-2] + 1 if len(lasting) > 1 else -1
    return Certificate(
        assumptions=assumptions,
        limits=widest,
        law=law,
        disturbance=disturbance,
        stages=Stages(limits, bounds, lasting),
        axes=proofs,
        anchor=np.array([[anchor_map(proof.stage(stage)) for proof in proofs] for stage in (0, calm)]),
        step_s=STEP_S,
        substeps=SUBSTEPS,
        rounding_m_s3=rounding,
        speed_m_s=speed,
        tilt_rad=float(np.arctan2(acceleration, assumptions.gravity_m_s2)),
        at_once=at_once(
            (proofs[HORIZONTAL].stage(0), proofs[VERTICAL].stage(0)), assumptions.gravity_m_s2, design.starts[0].velocity_m_s
        ),
    )


def stage_bounds(assumptions: Assumptions, limits: Numbers, gain: Numbers, rounding_m_s3: float) -> Numbers:
    """Bounds of w and r of every stage, over its limits (stages, 6, 2); shape (stages, 2, 2): stage, axis, (w, r)."""
    different, place = np.unique(limits, axis=0, return_inverse=True)
    result = []
    for rows in different:
        found = bound(assumptions, as_limits(rows), gain, PIECES, rounding_m_s3)
        result.append(np.array([found.acceleration_m_s2, found.jerk_m_s3]).T)
    return np.array(result)[place.reshape(-1)]


def prove_stages(
    loops: Sequence[AxisLoop], limits: Numbers, inner: Numbers, bounds: Numbers, lasting: Sequence[int],
    progress: Callable[[str], None] = lambda text: None,
) -> tuple[AxisProof, AxisProof]:
    """Make the sets of both axes and prove them.

    Args:
        loops: Horizontal and vertical.
        limits: Over which `bounds` were made, shape (stages, 6, 2).
        inner: Limits at the steps of the proof, likewise.
        bounds: Of w and r, shape (stages, 2, 2).
        lasting: Last stages of the chains.
        progress: Called with what is being done.

    Raises:
        CertificateError: something does not hold.
    """
    proofs, next_stage = [], following(limits.shape[0], lasting)
    for axis, loop in enumerate(loops):
        name = ("horizontal", "vertical")[axis]
        progress(f"{name} set")
        middle = [0.5 * (m.lo + m.hi) for m in (loop.dynamics(), loop.inputs(), loop.outputs())]
        facets, offsets = maximal_set(*middle, inner[:, :, axis], bounds[:, axis], next_stage, STEP_S)
        progress(f"{name} witnesses, {facets.shape[0]} facets")
        witnesses = multipliers(loop, facets, offsets, bounds[:, axis], limits[:, :, axis], lasting, STEP_S, SUBSTEPS)
        progress(f"{name} proof")
        proofs.append(prove(axis, loop, limits[:, :, axis], bounds[:, axis], facets, offsets, witnesses, lasting, STEP_S, SUBSTEPS))
    return proofs[0], proofs[1]


def certify(
    assumptions: Assumptions,
    law: BackupLaw,
    designs: Iterable[Design] = DESIGNS,
    progress: Callable[[str], None] = lambda text: None,
    refused: Callable[[str], None] = lambda text: None,
) -> Certificate:
    """The first design that is proven.

    Args:
        assumptions: E, W, timing, lags.
        law: Backup policy; its gains are replaced by the design's.
        designs: From ambitious to modest.
        progress: Called with what is being done.
        refused: Called with the reason why a design does not hold.

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
            refused(reasons[-1])
    raise CertificateError("no design could be proven:\n  " + "\n  ".join(reasons))


def check_setpoints(law: BackupLaw, disturbance: Disturbance) -> None:
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
    """Largest speed at a = j = 0 and largest acceleration at v = j = 0 in the first stage, for some anchor."""
    result, facets = [], proof.stage(0)
    for k in (1, 2):
        matrix = np.vstack([facets[:, [0, k]], -facets[:, [0, k]]])
        solution = linprog([0.0, -1.0], A_ub=matrix, b_ub=np.ones(matrix.shape[0]), bounds=(None, None), method="highs")
        result.append(float(solution.x[1]) * INSIDE)
    return result[0], result[1]


def at_once(
    facets: tuple[Numbers, Numbers], gravity_m_s2: float, velocity_m_s: tuple[float, float] = AT_ONCE_M_S
) -> AtOnce:
    """The largest tilt, in any direction, that lies in S together with these velocities, in any direction; slower if none does.

    With the anchor at m v / |v| + n a / |a| from the vehicle, a facet is at most |f_p m + f_v v| + |f_p n + f_a a| whatever the
    angle between v and a.

    Args:
        facets: Horizontal and vertical.
        gravity_m_s2: Gravity [m/s^2].
        velocity_m_s: Horizontal and vertical velocity wanted [m/s].
    """
    horizontal, vertical = facets
    speed, rise = velocity_m_s
    for share in np.linspace(1.0, 0.05, 20):
        if _anchored(vertical, share * rise) is None:
            continue
        found = _tilted(horizontal, share * speed)
        if found is not None:
            m, n, acceleration = found
            tilt = float(np.arctan2(acceleration, gravity_m_s2))
            return AtOnce((float(share * speed), float(share * rise)), tilt, (m, n, _anchored(vertical, share * rise) or 0.0))
    return AtOnce((0.0, 0.0), 0.0, (0.0, 0.0, 0.0))


def _anchored(facets: Numbers, velocity_m_s: float) -> float | None:
    """Position from the anchor for which a velocity alone lies in the set; None if there is none."""
    position, margin = best_anchor(facets, np.array([velocity_m_s, 0.0, 0.0]))
    return position if margin > 1.0 - INSIDE else None


def _tilted(facets: Numbers, velocity_m_s: float) -> tuple[float, float, float] | None:
    """Positions from the anchor along velocity and acceleration, and the largest acceleration [m/s^2]; None if there is none."""
    f_p, f_v, f_a = facets[:, 0], facets[:, 1] * velocity_m_s, facets[:, 2]
    rows, limits = [], []
    for s in (1.0, -1.0):
        for t in (1.0, -1.0):
            rows.append(np.stack([s * f_p, t * f_p, t * f_a], axis=1))
            limits.append(INSIDE - s * f_v)
    bounds = [(None, None), (None, None), (0.0, None)]
    found = linprog([0.0, 0.0, -1.0], A_ub=np.vstack(rows), b_ub=np.concatenate(limits), bounds=bounds, method="highs")
    return None if found.status != 0 else (float(found.x[0]), float(found.x[1]), float(found.x[2]) * INSIDE)
