"""Checks a bundle's certificate again, from its bytes alone, in rigorous ball arithmetic, with no code of the prover.

What is shown, in this order: the graphs and arrays are the ones that the certificate names; the backup graph computes
exactly the law that the certificate speaks of, with its gains; the shield graph judges by exactly its facets; the
disturbance bounds w and r of every stage cover all that the assumptions allow within its limits, float32 rounding included; no
set-point of the backup policy is ever cut; every stage leads into the next one, the last one into itself; the tube stays
strictly inside the limits, so that the bounds made for the limits hold for ever (first exit). Needs python-flint and onnx, which the
on-board install leaves out.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import tomllib
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import CertificateError

from .bundle import Bundle
from .check_admission import check_shield
from .check_arithmetic import Ball, Claimed, Numbers, beyond, facet_values, flint, rounding, thrusts, tube_values
from .check_claims import LAGS, LARGEST, SIX, check_agreement, check_table
from .check_graphs import BACKUP, SHIELD, check_graph

AXES = ("horizontal", "vertical")
NAMES = {
    "w0": "disturbance w, horizontal,", "w1": "disturbance w, vertical,", "r0": "disturbance r, horizontal,",
    "r1": "disturbance r, vertical,", "share_of_errors": "errors of the sampled feedback, as a share of it,",
    "rates": "roll-pitch rate", "setpoint_rates": "rate set-point, before gain and offset,",
    "setpoint_lead": "lead of the thrust set-point",
}  # fmt: skip
"""Of what `beyond` bounds."""
SINGLE = 2.0**-23
"""Relative accuracy asked of the float32 constants of the backup graph: two roundings."""
ROUNDED = 1e-5
"""Share of a set-point that float32 may add before it meets its limit."""


def recheck(bundle: Bundle) -> list[str]:
    """Prove a bundle's certificate again.

    Args:
        bundle: Verified bundle.

    Returns:
        Lines to print: what was shown, with numbers.

    Raises:
        CertificateError: something does not hold; the text names it.
    """
    lines = recheck_files(bundle.files)
    check_agreement(bundle)
    return lines


def recheck_files(files: Mapping[str, bytes]) -> list[str]:
    """`recheck` for the bytes of certificate.toml, certificate.npz, backup.onnx and shield.onnx."""
    claim = _read(files)
    t, stages = claim.t, len(claim.following)
    _check_backup(check_graph(files["backup.onnx"], BACKUP), claim)
    check_shield(check_graph(files["shield.onnx"], SHIELD), claim)
    needed = _check_thrusts(claim)
    for stage, (limits, bounds) in enumerate(zip(claim.arrays["limits"], claim.arrays["bounds"], strict=True)):
        _within(claim, limits, bounds.T.tolist(), {}, f" of stage {stage}")
    w, r = (" / ".join(f"{value:.4f}" for value in pair) for pair in (t.disturbance.acceleration_m_s2, t.disturbance.jerk_m_s3))
    lines = [
        "graphs: the backup policy, the sets and the admission box are the certified ones",
        f"disturbance: at most w {w} m/s^2, r {r} m/s^3 in {stages} stages, rounding {needed:.1e} of {t.proof.rounding_m_s3:.1e} m/s^3",
    ]
    for axis, name in enumerate(AXES):
        largest = _check_axis(axis, name, claim)
        lines.append(
            f"{name}: {claim.arrays[f'{name}_facets'].shape[0]} facet pairs lead every {1e3 * t.proof.step_s:g} ms into the next of "
            f"{stages} stages, the last of a chain into itself; the largest at {largest:.9f} of 1"
        )
    _check_reach(claim)
    _check_at_once(claim)
    return [*lines, "tube: strictly inside the limits at all times; set-points never cut"]


# --- what the files say: forms, ranges, and that they belong together -----------------------------------------------------


def _read(files: Mapping[str, bytes]) -> Claimed:
    """Parse both files; the certificate names the hash of every other one."""
    for name in ("certificate.toml", "certificate.npz", "backup.onnx", "shield.onnx"):
        if name not in files:
            raise CertificateError(f"{name}: missing; certify and export again")
    try:
        table = tomllib.loads(files["certificate.toml"].decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CertificateError(f"certificate.toml: not readable: {error}; certify again") from error
    t = check_table(table)
    graphs, proof = table["graphs"], table["proof"]
    named = {"backup.onnx": graphs["backup_sha256"], "shield.onnx": graphs["shield_sha256"], "certificate.npz": proof["arrays_sha256"]}
    for name, stated in named.items():
        digest = hashlib.sha256(files[name]).hexdigest()
        if stated != digest:
            raise CertificateError(f"{name}: sha256 {digest}, the certificate speaks of {stated}; certify and export again")
    window, following = _timing(t), _following(proof["lasting"], int(t.proof.stages))
    claim = Claimed(t, _arrays(files["certificate.npz"], t), window, following)
    _check_tables(claim)
    if table["backup"]["gain"] != claim.gain.tolist() or table["set"]["anchor"] != claim.arrays["anchor"].tolist():
        raise CertificateError("certificate.toml: [backup] gain or [set] anchor is not that of certificate.npz; certify again")
    return claim


def _timing(t: SimpleNamespace) -> float:
    """Largest distance of a rate set-point from the instant that it was computed for [s], rounded up; that the argument covers it."""
    e, step = t.assumptions, Fraction(t.proof.step_s)
    for key in LAGS:
        if getattr(e, key) != getattr(t.backup, key) or getattr(e, key) <= 0:
            raise CertificateError(f"certificate.toml: {key} of assumptions and backup policy differ or are 0; certify again")
    held = Fraction(e.tick_s) * int(1 + min(e.missed_ticks, 1e6))
    window = (held + Fraction(e.delay_max_s)) / 2
    if max(held, window) > step:
        raise CertificateError("certificate.toml: a step shorter than the window of a set-point; certify again")
    if not e.missed_ticks.is_integer() or window > 3 * Fraction(e.tick_s) or e.tick_s > 0.8 * e.thrust_lag_s:
        raise CertificateError(
            f"{e.missed_ticks:g} missed ticks, a window of {1e3 * float(window):g} ms, or a thrust lag below 1.25 periods: not covered "
            "by the argument; certify again"
        )
    return math.nextafter(float(window), math.inf)


def _following(lasting: Any, stages: int) -> list[int]:
    """The stage that each leads into: the next one, or, for the last ones of chains, itself."""
    numbers = isinstance(lasting, list) and all(type(k) is int and 0 <= k < stages for k in lasting)
    if not numbers or lasting[-1:] != [stages - 1] or lasting != sorted(set(lasting)):
        raise CertificateError(f"certificate.toml: [proof] lasting = {str(lasting)[:80]}: must number stages, in order, up to the last")
    return [k if k in lasting else k + 1 for k in range(stages)]


def _arrays(content: bytes, t: SimpleNamespace) -> dict[str, Numbers]:
    """Finite float64 arrays of exactly the names and shapes that the table's counts ask for."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as source:
            names, arrays = source.files, {key: np.array(source[key]) for key in source.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise CertificateError(f"certificate.npz: not readable arrays: {error}; certify again") from error
    stages = int(t.proof.stages)
    shapes: dict[str, tuple[int, ...]] = {"gain": (2, 3), "anchor": (2, 2, 3), "limits": (stages, 6, 2), "bounds": (stages, 2, 2)}
    for name, count in zip(AXES, t.proof.facets, strict=True):
        n = int(count)
        shapes |= {f"{name}_facets": (n, 4), f"{name}_facet_multipliers": (n, n), f"{name}_tube": (stages, 6)}
        shapes |= {f"{name}_offsets": (stages, n), f"{name}_tube_multipliers": (6, int(t.proof.substeps) + 1, n)}
    if sorted(names) != sorted(shapes):
        raise CertificateError(f"certificate.npz: arrays {sorted(set(names) ^ set(shapes))} missing, unknown or double; certify again")
    for key, shape in shapes.items():
        if arrays[key].shape != shape or arrays[key].dtype != np.float64 or not np.isfinite(arrays[key]).all():
            raise CertificateError(f"certificate.npz: {key} is not a finite float64 array of shape {shape}; certify again")
    return arrays


def _check_tables(claim: Claimed) -> None:
    """Limits of the stages: above 0, no free fall; those of the table are the widest and the last. The law's gains are none of 0."""
    t, limits, law = claim.t, claim.arrays["limits"], claim.t.backup
    if claim.widest[2, 1] + claim.e.disturbance_estimate_m_s2[1] >= 0.9 * claim.e.gravity_m_s2 or not (limits > 0).all():
        raise CertificateError("certificate.npz: a limit is 0, or the limits allow free fall; certify again")
    if not (claim.arrays["bounds"] >= 0).all():
        raise CertificateError("certificate.npz: a bound of w or r is negative; certify again")
    for part, own in (("limits", claim.widest), ("lasting_limits", limits[-1])):
        if [list(getattr(getattr(t, part), key)) for key in SIX] != own.tolist():
            raise CertificateError(f"certificate.toml: [{part}] are not those of certificate.npz; certify again")
    if min(abs(g) for g in (*law.rate_gain, law.thrust_gain)) < 0.1:
        raise CertificateError(f"certificate.toml: rate gains {law.rate_gain} or thrust gain are near 0; identify the vehicle again")


# --- what it claims ------------------------------------------------------------------------------------------------------


def _check_backup(found: dict[str, npt.NDArray[Any]], claim: Claimed) -> None:
    """Every constant of the graph, against the law; the gains exactly, the others to float32."""
    e, law, three = claim.e, claim.t.backup, claim.gain[[0, 0, 1]]
    gains, offsets = np.array(law.rate_gain), np.array(law.rate_offset_rad_s)
    decay = math.exp(-e.tick_s / e.rate_lag_s)
    from_slope = -e.rate_lag_s * math.expm1(-e.tick_s / e.rate_lag_s)
    response = -1.0 / math.expm1(-e.tick_s / e.thrust_lag_s)
    exact = {
        "weights": np.concatenate([np.diag(three[:, k]) for k in range(3)]), "acceleration_gain": three[:, 2][None],
        "select_up": np.array([[0.0], [0.0], [1.0]]), "swap": np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    }  # fmt: skip
    near = {
        "offset": np.array([[0.0, 0.0, -e.gravity_m_s2 * three[2, 2]]]), "rate_inverse": (1.0 / gains)[None],
        "rate_shift": (-offsets / gains)[None], "from_nu": np.array([[response * (e.tick_s - from_slope)]]),
        "from_slope": np.array([[response * from_slope]]), "thrust_inverse": np.array([[1.0 / law.thrust_gain]]),
        "decay": np.array([[decay]]), "keep": np.array([[1.0 - decay]]),
        "low": np.array([[*(-r for r in law.rate_limit_rad_s), law.thrust_min_m_s2]]),
        "high": np.array([[*law.rate_limit_rad_s, law.thrust_max_m_s2]]),
    }  # fmt: skip
    for name, wanted in {**exact, **near}.items():
        value = found[name].astype(np.float64)
        slack = SINGLE * np.abs(wanted) if name in near else np.zeros(wanted.shape)
        if value.shape != wanted.shape or not (np.abs(value - wanted) <= slack).all():
            raise CertificateError(
                f"backup.onnx: constant {name} is {value.tolist()}, the law needs {wanted.tolist()}; certify again"
            )


def _within(claim: Claimed, limits: Numbers, bounds: Any, more: dict[str, Ball], where: str) -> None:
    """What `bounds` (w and r, horizontally and vertically) and `more` state is not exceeded over limits (6, 2)."""
    arb = flint().arb
    stated = {f"{kind}{axis}": arb(bounds[n][axis]) for n, kind in enumerate("wr") for axis in (0, 1)}
    excess = beyond(claim, limits, {**stated, "share_of_errors": arb(1) / 2, **more})
    if excess is not None:
        name, value, bound = excess
        _require(value, bound, NAMES[name] + where)


def _check_thrusts(claim: Claimed) -> float:
    """Over the widest limits: w, r, rates, tilt and thrust are not beyond the stated ones, the limits of the backup graph never cut its
    set-points, or the law would not be the linear one, and its float32 rounding, which is returned, is not above the stated one."""
    arb, t, law = flint().arb, claim.t, claim.t.backup
    low, high, upright = thrusts(claim)
    gains, offsets = [abs(arb(g)) for g in law.rate_gain], [abs(arb(o)) for o in law.rate_offset_rad_s]
    allowed = [arb(law.rate_limit_rad_s[k]) * gains[k] / (1 + arb(ROUNDED)) - offsets[k] for k in (0, 1)]
    up = arb(law.thrust_max_m_s2) * arb(law.thrust_gain) / (1 + arb(ROUNDED)) - high
    down = low - arb(law.thrust_min_m_s2) * arb(law.thrust_gain) / (1 - arb(ROUNDED))
    more = {"rates": arb(t.tube.largest_rates_rad_s), "setpoint_rates": allowed[0].min(allowed[1]), "setpoint_lead": up.min(down)}
    _within(claim, claim.widest, (t.disturbance.acceleration_m_s2, t.disturbance.jerk_m_s3), more, "")
    _require(offsets[2] / gains[2], law.rate_limit_rad_s[2], "yaw rate set-point")
    needed = rounding(claim)
    _require(needed, t.proof.rounding_m_s3, "float32 rounding of the backup graph")
    least, most = t.tube.thrust_m_s2
    _require(high, most, "largest thrust")
    _require(-low, -least, "smallest thrust, negated")
    _require(-upright, -t.tube.smallest_tilt_cosine, "smallest tilt cosine, negated")
    return float(needed.upper())


def _check_axis(axis: int, name: str, claim: Claimed) -> float:
    """Facets and tube of one axis; returns the largest facet."""
    arrays, t = claim.arrays, claim.t
    facets, offsets, tube = arrays[f"{name}_facets"], arrays[f"{name}_offsets"], arrays[f"{name}_tube"]
    for k in range(4):
        if not facets[k, k] > 0 or np.any(np.delete(facets[k], k) != 0):
            raise CertificateError(f"{name}: facet {k} is not a multiple of unit row {k}; certify again")
    if not (offsets > 0).all() or not (offsets[-1] == 1).all():
        raise CertificateError(f"{name}: an offset is not above 0, or not 1 at the last stage; certify again")
    largest, stated = facet_values(claim, axis, facets, offsets, arrays[f"{name}_facet_multipliers"]), t.proof.largest_facet[axis]
    _require(largest, stated, f"{name}: largest facet, as a share of the next stage,")
    if not stated < 1.0:
        raise CertificateError(f"{name}: a facet reaches {stated} of the next stage after a step: not invariant; certify again")
    for stage, values in enumerate(tube_values(claim, axis, facets, offsets, arrays[f"{name}_tube_multipliers"])):
        # What acts during a step was computed for instants of this stage and of its neighbours.
        around = [stage, claim.following[stage], *(k for k, after in enumerate(claim.following) if after == stage)]
        for i, value in enumerate(values):
            _require(value, float(tube[stage, i]), f"{name} tube of stage {stage}, {SIX[i]}")
            least = arrays["limits"][around, i, axis].min()
            if not tube[stage, i] < least:
                raise CertificateError(f"{name}: tube of stage {stage} reaches {SIX[i]} {tube[stage, i]:.5f}, not inside {least:.5f}")
            if i < 4 and getattr(t.tube, SIX[i])[axis] < tube[stage, i]:
                raise CertificateError(f"certificate.toml: [tube] {SIX[i]} is below the proven {name} tube; certify again")
    return float(largest)


def _acceleration(degrees: float, gravity: float, name: str) -> Ball:
    """Horizontal part of the thrust that carries the weight at a tilt [m/s^2]."""
    if not degrees < 90.0:
        raise CertificateError(f"certificate.toml: [set] {name} is {degrees}; certify again")
    arb = flint().arb
    return arb(gravity) * (arb(degrees) * arb.pi() / 180).tan()


def _check_reach(claim: Claimed) -> None:
    """The stated speed (level) and tilt (at rest) lie in the first stage for some anchor: an interval of positions satisfies every
    facet."""
    arb, t = flint().arb, claim.t
    rows = [[arb(float(x)) for x in row] for row in claim.arrays["horizontal_facets"]]
    offsets = [arb(float(x)) for x in claim.arrays["horizontal_offsets"][0]]
    tilt = _acceleration(t.set.tilt_deg, claim.e.gravity_m_s2, "tilt_deg")
    for k, value, name in ((1, arb(t.set.speed_m_s), "speed"), (2, tilt, "tilt")):
        lows, highs = [arb(-LARGEST)], [arb(LARGEST)]
        for row, offset in zip(rows, offsets, strict=True):
            rest = row[k] * value
            if row[0] == 0:
                lows.append(arb(-LARGEST) if abs(rest) <= offset else arb(2 * LARGEST))  # met by every position, or by none
                continue
            ends = ((offset - rest) / row[0], (-offset - rest) / row[0])
            lows.append(ends[0].min(ends[1]))
            highs.append(ends[0].max(ends[1]))
        if not _most(lows) <= -_most([-high for high in highs]):
            raise CertificateError(f"certificate.toml: [set] {name} {float(value):.6f} does not lie in the set; certify again")


def _most(values: list[Ball]) -> Ball:
    """The largest of balls, as a ball."""
    return functools.reduce(lambda x, y: x.max(y), values)


def _check_at_once(claim: Claimed) -> None:
    """The stated velocities and tilt lie in the first stage at once, whatever their directions, for the stated anchor."""
    arb, own = flint().arb, claim.t.set
    along, tilted, below = (arb(x) for x in own.at_once_anchor_m)
    acceleration = _acceleration(own.at_once_tilt_deg, claim.e.gravity_m_s2, "at_once_tilt_deg")
    for row, offset in zip(claim.arrays["horizontal_facets"], claim.arrays["horizontal_offsets"][0], strict=True):
        f = [arb(float(x)) for x in row]
        value = abs(f[0] * along + f[1] * own.at_once_velocity_m_s[0]) + abs(f[0] * tilted + f[2] * acceleration)
        _require(value, float(offset), "velocity and tilt at once")
    for row, offset in zip(claim.arrays["vertical_facets"], claim.arrays["vertical_offsets"][0], strict=True):
        f = [arb(float(x)) for x in row]
        _require(abs(f[0] * below + f[1] * own.at_once_velocity_m_s[1]), float(offset), "vertical velocity")


def _require(found: Ball, stated: Any, name: str) -> None:
    """A bound found here, as a ball, is not above the stated one."""
    bound = flint().arb(stated)
    if not found <= bound:
        raise CertificateError(
            f"{name}: {found.str(9, radius=False)} by this check, the certificate states {bound.str(9, radius=False)}: "
            "it does not hold; do not fly this bundle, certify again"
        )
