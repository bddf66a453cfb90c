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
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import CertificateError

from .bundle import Bundle
from .check_admission import check_shield
from .check_arithmetic import Claimed, Found, Numbers, beyond, disturbances, facet_values, flint, rounding, tube_values
from .check_claims import check_manifest, check_table
from .check_graphs import BACKUP, SHIELD, check_graph

AXES = ("horizontal", "vertical")
LIMITS = ("position_m", "velocity_m_s", "acceleration_m_s2", "jerk_m_s3", "feedback_m_s3", "slope_m_s4")
ERRORS = ("position_error_m", "velocity_error_m_s", "attitude_error_rad", "rate_error_rad_s")
TABLES = {"assumptions", "limits", "lasting_limits", "backup", "proof", "set", "tube", "disturbance", "graphs", "format", "statement"}
FORMAT = 5
LARGEST = 1e12
"""No number of a certificate is beyond."""
STATED = 1.0 - 1e-8
"""Part of the speed and of the tilt alone that is shown to lie in the set."""
EXCESS = {
    "w0": "disturbance w, horizontal,", "w1": "disturbance w, vertical,", "r0": "disturbance r, horizontal,",
    "r1": "disturbance r, vertical,", "share_of_errors": "errors of the sampled feedback, as a share of it,",
}  # fmt: skip
SINGLE = 2.0**-23
"""Relative accuracy asked of the float32 constants of the backup graph: two roundings."""


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
    check_manifest(bundle.manifest, tomllib.loads(bundle.files["certificate.toml"].decode()))
    return lines


def recheck_files(files: Mapping[str, bytes]) -> list[str]:
    """`recheck` for the bytes of certificate.toml, certificate.npz, backup.onnx and shield.onnx."""
    table, arrays = _read(files)
    claim, gains, offsets = _claims(table, arrays)
    backup = check_graph(files["backup.onnx"], BACKUP)
    _check_backup(backup, claim, table)
    check_shield(check_graph(files["shield.onnx"], SHIELD), claim, arrays, _backup_rates(table, gains, offsets))
    found = disturbances(claim, claim.widest)
    needed = _check_disturbances(found, claim, table, gains)
    _check_stages(claim)
    _check_setpoints(found, claim, table, gains, offsets)
    lines = [
        "graphs: the backup policy, the sets and the admission box are the certified ones",
        f"disturbance: at most w {_two(found.w)} m/s^2, r {_two(found.r)} m/s^3 in {claim.limits.shape[0]} stages, "
        f"rounding {needed:.1e} of {claim.rounding:.1e} m/s^3",
    ]
    for axis, name in enumerate(AXES):
        largest = _check_axis(axis, name, claim, table, arrays)
        count = arrays[f"{name}_facets"].shape[0]
        lines.append(
            f"{name}: {count} facet pairs lead every {1e3 * claim.step:g} ms into the next of {claim.limits.shape[0]} stages, the last "
            f"of a chain into itself; the largest at {largest:.9f} of 1"
        )
    _check_reach(table, arrays, claim.gravity)
    _check_at_once(table, arrays, claim.gravity)
    lines.append("tube: strictly inside the limits at all times; set-points never cut")
    return lines


def _read(files: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, Numbers]]:
    """Parse both files; the certificate names the hash of every other one."""
    for name in ("certificate.toml", "certificate.npz", "backup.onnx", "shield.onnx"):
        if name not in files:
            raise CertificateError(f"{name}: missing; certify and export again")
    try:
        table = tomllib.loads(files["certificate.toml"].decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CertificateError(f"certificate.toml: not readable: {error}; certify again") from error
    if set(table) != TABLES or table["format"] != FORMAT:
        odd = sorted(set(table) ^ TABLES)
        raise CertificateError(
            f"certificate.toml: keys {odd} missing or unknown, or a format other than {FORMAT}; certify again"
        )
    check_table(table)
    for key, name in (("backup_sha256", "backup.onnx"), ("shield_sha256", "shield.onnx")):
        _same_hash(_entry(table, "graphs", key), files[name], name)
    _same_hash(_entry(table, "proof", "arrays_sha256"), files["certificate.npz"], "certificate.npz")
    try:
        with np.load(io.BytesIO(files["certificate.npz"]), allow_pickle=False) as source:
            arrays = {key: np.array(source[key]) for key in source.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise CertificateError(f"certificate.npz: not readable arrays: {error}; certify again") from error
    return table, arrays


def _same_hash(stated: Any, content: bytes, name: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if stated != digest:
        raise CertificateError(f"{name}: sha256 {digest}, the certificate speaks of {stated}; certify and export again")


def _entry(table: dict[str, Any], part: str, key: str) -> Any:
    group = table[part]
    if not isinstance(group, dict) or key not in group:
        raise CertificateError(f"certificate.toml: [{part}] {key} is missing; certify again")
    return group[key]


def _numbers(table: dict[str, Any], part: str, key: str, count: int, signed: bool = False) -> list[float]:
    """`count` numbers, none beyond `LARGEST`, not negative unless `signed`."""
    value = _entry(table, part, key)
    values = value if isinstance(value, list) else [value]
    good = len(values) == count and all(isinstance(v, float | int) and not isinstance(v, bool) for v in values)
    if not good or not all(abs(v) <= LARGEST and (signed or v >= 0) for v in values):
        raise CertificateError(
            f"certificate.toml: [{part}] {key} = {str(value)[:80]}: must be {count} finite numbers in range; certify again"
        )
    return [float(v) for v in values]


def _pair(table: dict[str, Any], part: str, key: str) -> tuple[float, float]:
    first, second = _numbers(table, part, key, 2)
    return first, second


def _claims(table: dict[str, Any], arrays: dict[str, Numbers]) -> tuple[Claimed, list[float], list[float]]:
    """All numbers that the proof needs, with rate gains and offsets; shapes and ranges checked."""

    def one(part: str, key: str) -> float:
        return _numbers(table, part, key, 1)[0]

    for key in ERRORS:
        one("assumptions", key)
    for key in ("rate_lag_s", "thrust_lag_s", "tick_s", "gravity_m_s2"):
        if one("assumptions", key) != one("backup", key) or one("backup", key) <= 0:
            raise CertificateError(
                f"certificate.toml: {key} of assumptions and backup policy differ or are 0; certify again"
            )
    tick, missed, delay = (one("assumptions", k) for k in ("tick_s", "missed_ticks", "delay_max_s"))
    window = 0.5 * ((1.0 + missed) * tick + delay)
    step = one("proof", "step_s")
    held = Fraction(tick) * int(min(missed, 1e6))
    if max(Fraction(tick) + held, (Fraction(tick) + held + Fraction(delay)) / 2) > Fraction(step):
        raise CertificateError("certificate.toml: a step shorter than the window of a set-point; certify again")
    if not missed.is_integer() or not window <= 3.0 * tick or tick > 0.8 * one("assumptions", "thrust_lag_s"):
        raise CertificateError(
            f"{missed:g} missed ticks, a window of {1e3 * window:g} ms, or a thrust lag below 1.25 periods: not covered by the "
            "argument; certify again"
        )
    substeps = _entry(table, "proof", "substeps")
    if not isinstance(substeps, int) or not 1 <= substeps <= 1000 or step <= 0:
        raise CertificateError(f"certificate.toml: step or substeps = {str(substeps)[:80]} out of range; certify again")
    counts = [one("proof", "stages"), *_numbers(table, "proof", "facets", 2)]
    if not all(count.is_integer() and 1 <= count <= 10_000 for count in counts):
        raise CertificateError(f"certificate.toml: stages and facets {counts} are no whole numbers up to 10000; certify again")
    stages = int(counts[0])
    shapes: dict[str, tuple[int, ...]] = {"gain": (2, 3), "anchor": (2, 2, 3), "limits": (stages, 6, 2), "bounds": (stages, 2, 2)}
    for name, count in zip(AXES, counts[1:], strict=True):
        n = int(count)
        shapes |= {f"{name}_facets": (n, 4), f"{name}_facet_multipliers": (n, n), f"{name}_tube": (stages, 6)}
        shapes[f"{name}_offsets"] = (stages, n)
        shapes[f"{name}_tube_multipliers"] = (6, substeps + 1, n)
    if set(arrays) != set(shapes):
        odd = sorted(set(arrays) ^ set(shapes))
        raise CertificateError(f"certificate.npz: arrays {odd} missing or unknown; certify again")
    for key, shape in shapes.items():
        if arrays[key].shape != shape or arrays[key].dtype != np.float64 or not np.isfinite(arrays[key]).all():
            raise CertificateError(
                f"certificate.npz: {key} is not a finite float64 array of shape {shape}; certify again"
            )
    claim = Claimed(
        position_error=one("assumptions", "position_error_m"),
        velocity_error=one("assumptions", "velocity_error_m_s"),
        attitude_error=one("assumptions", "attitude_error_rad"),
        rate_error=one("assumptions", "rate_error_rad_s"),
        acceleration=_pair(table, "assumptions", "acceleration_m_s2"),
        estimate=_pair(table, "assumptions", "disturbance_estimate_m_s2"),
        rate_residual=one("assumptions", "rate_residual_rad_s"),
        yaw_rate=one("assumptions", "yaw_rate_rad_s"),
        thrust_scale=one("assumptions", "thrust_scale_error"),
        tick=tick,
        missed=int(missed),
        window=math.nextafter(window, math.inf) * (1.0 + 1e-15),
        rate_lag=one("assumptions", "rate_lag_s"),
        thrust_lag=one("assumptions", "thrust_lag_s"),
        drag=_pair(table, "assumptions", "drag_1_s"),
        gravity=one("assumptions", "gravity_m_s2"),
        limits=arrays["limits"],
        gain=arrays["gain"],
        rounding=one("proof", "rounding_m_s3"),
        bounds=arrays["bounds"],
        step=step,
        substeps=substeps,
        following=_following(table, stages),
        most_w=_pair(table, "disturbance", "acceleration_m_s2"),
    )
    _check_limits(claim, table)
    gains, offsets = (_numbers(table, "backup", key, 3, signed=True) for key in ("rate_gain", "rate_offset_rad_s"))
    if _entry(table, "backup", "gain") != claim.gain.tolist():
        raise CertificateError("certificate.toml: [backup] gain is not that of certificate.npz; certify again")
    if _entry(table, "set", "anchor") != arrays["anchor"].tolist():
        raise CertificateError("certificate.toml: [set] anchor is not that of certificate.npz; certify again")
    if min(abs(g) for g in gains) < 0.1 or one("backup", "thrust_gain") < 0.1:
        raise CertificateError(f"certificate.toml: rate gains {gains} or thrust gain are near 0; identify the vehicle again")
    return claim, gains, offsets


def _following(table: dict[str, Any], stages: int) -> list[int]:
    """The stage that each leads into: the next one, or, for the last ones of chains, itself."""
    lasting = _entry(table, "proof", "lasting")
    numbers = isinstance(lasting, list) and all(type(k) is int and 0 <= k < stages for k in lasting)
    if not numbers or lasting[-1:] != [stages - 1] or lasting != sorted(set(lasting)):
        raise CertificateError(f"certificate.toml: [proof] lasting = {str(lasting)[:80]}: must number stages, in order, up to the last")
    return [k if k in lasting else k + 1 for k in range(stages)]


def _check_limits(claim: Claimed, table: dict[str, Any]) -> None:
    """Limits of the stages: above 0, no free fall; those of the table are the widest and the last."""
    if float(claim.widest[2, 1]) + claim.estimate[1] >= 0.9 * claim.gravity or not (claim.limits > 0).all():
        raise CertificateError("certificate.npz: a limit is 0, or the limits allow free fall; certify again")
    if not (claim.bounds >= 0).all():
        raise CertificateError("certificate.npz: a bound of w or r is negative; certify again")
    for part, limits in (("limits", claim.widest), ("lasting_limits", claim.limits[-1])):
        if [list(_pair(table, part, key)) for key in LIMITS] != limits.tolist():
            raise CertificateError(f"certificate.toml: [{part}] are not those of certificate.npz; certify again")


def _check_stages(claim: Claimed) -> None:
    """The bounds of each stage cover what is found over its limits."""
    for stage, (limits, bounds) in enumerate(zip(claim.limits, claim.bounds, strict=True)):
        excess = beyond(claim, limits, bounds)
        if excess is not None:
            name, value, stated = excess
            _require(value, stated, f"{EXCESS.get(name, name)} of stage {stage}")


def _check_backup(found: dict[str, npt.NDArray[Any]], claim: Claimed, table: dict[str, Any]) -> None:
    """Every constant of the graph, against the law; the gains exactly, the others to float32."""
    three = claim.gain[[0, 0, 1]]
    weights = np.concatenate([np.diag(three[:, k]) for k in range(3)])
    gains = np.array(_numbers(table, "backup", "rate_gain", 3, signed=True))
    offsets = np.array(_numbers(table, "backup", "rate_offset_rad_s", 3, signed=True))
    thrust_gain = _numbers(table, "backup", "thrust_gain", 1)[0]
    rates = _numbers(table, "backup", "rate_limit_rad_s", 3)
    low, high = (_numbers(table, "backup", f"thrust_{k}_m_s2", 1)[0] for k in ("min", "max"))
    decay = math.exp(-claim.tick / claim.rate_lag)
    from_slope = -claim.rate_lag * math.expm1(-claim.tick / claim.rate_lag)
    response = -1.0 / math.expm1(-claim.tick / claim.thrust_lag)
    exact = {"weights": weights, "acceleration_gain": three[:, 2][None], "select_up": np.array([[0.0], [0.0], [1.0]])}
    exact["swap"] = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    near = {
        "offset": np.array([[0.0, 0.0, -claim.gravity * three[2, 2]]]),
        "rate_inverse": (1.0 / gains)[None],
        "rate_shift": (-offsets / gains)[None],
        "from_nu": np.array([[response * (claim.tick - from_slope)]]),
        "from_slope": np.array([[response * from_slope]]),
        "thrust_inverse": np.array([[1.0 / thrust_gain]]),
        "decay": np.array([[decay]]),
        "keep": np.array([[1.0 - decay]]),
        "low": np.array([[*(-r for r in rates), low]]),
        "high": np.array([[*rates, high]]),
    }
    for name, wanted in {**exact, **near}.items():
        value = found[name].astype(np.float64)
        slack = SINGLE * np.abs(wanted) if name in near else np.zeros(wanted.shape)
        if value.shape != wanted.shape or not (np.abs(value - wanted) <= slack).all():
            raise CertificateError(
                f"backup.onnx: constant {name} is {value.tolist()}, the law needs {wanted.tolist()}; certify again"
            )


def _check_disturbances(found: Found, claim: Claimed, table: dict[str, Any], gains: list[float]) -> float:
    """Stated bounds cover the ones found here; returns the rounding bound found."""
    stated = (_pair(table, "disturbance", "acceleration_m_s2"), _pair(table, "disturbance", "jerk_m_s3"))
    for name, own, most in zip(("w", "r"), (found.w, found.r), stated, strict=True):
        for axis in (0, 1):
            _require(own[axis], most[axis], f"disturbance {name}, {AXES[axis]}")
    ratio = max(abs(g) for g in gains[:2]) / min(abs(g) for g in gains[:2])
    offset = max(abs(o) for o in _numbers(table, "backup", "rate_offset_rad_s", 3, signed=True))
    needed = rounding(claim, found.thrust_high, found.thrust_low, ratio, offset)
    _require(needed, claim.rounding, "float32 rounding of the backup graph")
    low, high = _pair(table, "tube", "thrust_m_s2")
    _require(found.thrust_high, high, "largest thrust")
    _require(found.rates, _numbers(table, "tube", "largest_rates_rad_s", 1)[0], "largest roll-pitch rate")
    _require(-found.thrust_low, -low, "smallest thrust, negated")
    _require(-found.cosine, -_numbers(table, "tube", "smallest_tilt_cosine", 1)[0], "smallest tilt cosine, negated")
    return float(needed.upper())


def _backup_rates(table: dict[str, Any], gains: Sequence[float], offsets: Sequence[float]) -> Any:
    """Largest roll-pitch rate that the backup's set-points, within their limits, lead to."""
    arb = flint().arb
    limits = _numbers(table, "backup", "rate_limit_rad_s", 3)
    most = [arb(abs(gains[axis])) * limits[axis] + abs(offsets[axis]) for axis in (0, 1)]
    return (most[0] * most[0] + most[1] * most[1]).sqrt()


def _check_setpoints(
    found: Found, claim: Claimed, table: dict[str, Any], gains: Sequence[float], offsets: Sequence[float]
) -> None:
    """The limits of the backup graph never cut its set-points, or the law would not be the linear one."""
    arb = flint().arb
    limits = _numbers(table, "backup", "rate_limit_rad_s", 3)
    for axis in (0, 1):
        asked = (found.setpoint_rates + abs(offsets[axis])) / arb(abs(gains[axis])) * arb(1 + 1e-5)
        _require(asked, limits[axis], f"rate set-point of axis {axis}")
    _require(arb(abs(offsets[2])) / arb(abs(gains[2])), limits[2], "yaw rate set-point")
    low, high = (_numbers(table, "backup", f"thrust_{k}_m_s2", 1)[0] for k in ("min", "max"))
    gain = arb(_numbers(table, "backup", "thrust_gain", 1)[0])
    _require((found.thrust_high + found.setpoint_lead) / gain * arb(1 + 1e-5), high, "largest thrust set-point")
    _require(-(found.thrust_low - found.setpoint_lead) / gain * arb(1 - 1e-5), -low, "smallest thrust set-point, negated")


def _check_axis(axis: int, name: str, claim: Claimed, table: dict[str, Any], arrays: dict[str, Numbers]) -> float:
    """Facets and tube of one axis; returns the largest facet."""
    facets, offsets = arrays[f"{name}_facets"], arrays[f"{name}_offsets"]
    for k in range(4):
        if not facets[k, k] > 0 or np.any(np.delete(facets[k], k) != 0):
            raise CertificateError(f"{name}: facet {k} is not a multiple of unit row {k}; certify again")
    if not (offsets > 0).all() or not (offsets[-1] == 1).all():
        raise CertificateError(f"{name}: an offset is not above 0, or not 1 at the last stage; certify again")
    largest = facet_values(claim, axis, facets, offsets, arrays[f"{name}_facet_multipliers"])
    if not largest < 1:
        raise CertificateError(f"{name}: a facet reaches {float(largest):.9f} of the next stage after a step: not invariant")
    tube = arrays[f"{name}_tube"]
    for stage, values in enumerate(tube_values(claim, axis, facets, offsets, arrays[f"{name}_tube_multipliers"])):
        for i, value in enumerate(values):
            # The prover's arithmetic is less exact by the width of its intervals; nothing but that may separate the two.
            _require(value, float(tube[stage, i]), f"{name} tube of stage {stage}, {LIMITS[i]}")
            # What acts during a step was computed for instants of this stage and of its neighbours.
            around = [stage, claim.following[stage], *(k for k, after in enumerate(claim.following) if after == stage)]
            least = claim.limits[around, i, axis].min()
            if not tube[stage, i] < least:
                raise CertificateError(
                    f"{name}: the tube of stage {stage} reaches {LIMITS[i]} {tube[stage, i]:.5f}, not inside {least:.5f}"
                )
            if i < 4 and _pair(table, "tube", LIMITS[i])[axis] < tube[stage, i]:
                raise CertificateError(f"certificate.toml: [tube] {LIMITS[i]} is below the proven {name} tube; certify again")
    stated = _numbers(table, "proof", "largest_facet", 2)[axis]
    _require(largest, stated, f"{name}: largest facet")
    if not stated < 1.0:
        raise CertificateError(f"certificate.toml: [proof] largest_facet {stated} is not below 1; certify again")
    return float(largest)


def _check_reach(table: dict[str, Any], arrays: dict[str, Numbers], gravity: float) -> None:
    """The stated speed (level) and tilt (at rest), less the last digits that a linear program has, lie in the first stage for some
    anchor: an interval of positions satisfies every facet."""
    arb = flint().arb
    rows = [[arb(float(x)) for x in row] for row in arrays["horizontal_facets"]]
    offsets = [arb(float(x)) for x in arrays["horizontal_offsets"][0]]
    degrees = _numbers(table, "set", "tilt_deg", 1)[0]
    if not degrees < 90.0:
        raise CertificateError(f"certificate.toml: [set] tilt_deg is {degrees}; certify again")
    tilt = arb(gravity) * (arb(degrees) * arb.pi() / 180).tan()
    for k, value, name in ((1, arb(_numbers(table, "set", "speed_m_s", 1)[0]), "speed"), (2, tilt, "tilt")):
        lows, highs = [arb(-LARGEST)], [arb(LARGEST)]
        for row, offset in zip(rows, offsets, strict=True):
            rest = row[k] * value * arb(STATED)
            if row[0] == 0:
                lows.append(arb(-LARGEST) if abs(rest) <= offset else arb(2 * LARGEST))  # met by every position, or by none
                continue
            ends = ((offset - rest) / row[0], (-offset - rest) / row[0])
            lows.append(ends[0].min(ends[1]))
            highs.append(ends[0].max(ends[1]))
        if not _most(lows) <= -_most([-high for high in highs]):
            raise CertificateError(f"certificate.toml: [set] {name} {float(value):.6f} does not lie in the set; certify again")


def _most(values: list[Any]) -> Any:
    """The largest of balls, as a ball."""
    return functools.reduce(lambda x, y: x.max(y), values)


def _check_at_once(table: dict[str, Any], arrays: dict[str, Numbers], gravity: float) -> None:
    """The stated velocities and tilt lie in the first stage at once, whatever their directions, for the stated anchor."""
    arb = flint().arb
    speed, rise = _numbers(table, "set", "at_once_velocity_m_s", 2)
    along, tilted, below = (arb(x) for x in _numbers(table, "set", "at_once_anchor_m", 3, signed=True))
    degrees = _numbers(table, "set", "at_once_tilt_deg", 1)[0]
    if not degrees < 90.0:
        raise CertificateError(f"certificate.toml: [set] at_once_tilt_deg is {degrees}; certify again")
    acceleration = arb(gravity) * (arb(degrees) * arb.pi() / 180).tan()
    for row, offset in zip(arrays["horizontal_facets"], arrays["horizontal_offsets"][0], strict=True):
        f = [arb(float(x)) for x in row]
        value = abs(f[0] * along + f[1] * speed) + abs(f[0] * tilted + f[2] * acceleration)
        _require(value, float(offset), "velocity and tilt at once")
    for row, offset in zip(arrays["vertical_facets"], arrays["vertical_offsets"][0], strict=True):
        f = [arb(float(x)) for x in row]
        _require(abs(f[0] * below + f[1] * rise), float(offset), "vertical velocity")


def _require(found: Any, stated: float, name: str) -> None:
    """A bound found here, as a ball, is not above the stated one."""
    if not found <= flint().arb(stated):
        raise CertificateError(
            f"{name}: {float(found):.9g} by this check, the certificate states {stated:.9g}: "
            "it does not hold; do not fly this bundle, certify again"
        )


def _two(values: tuple[Any, Any]) -> str:
    return "/".join(f"{float(v):.4f}" for v in values)
