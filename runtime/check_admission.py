"""The constants of the shield graph against the certificate, in ball arithmetic: facets, tubes, and the admission box.

The box is derived here from docs/certificate.md, section 6, term by term, and not copied from the prover. What may be larger than
needed (radii, the share that the backup's rates have drawn, sizes of facets, tubes) has to cover; all else has to be exact, or, for
the factor of the thrust slope, right to 1e-12.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import CertificateError

from .check_arithmetic import Ball, Claimed, Numbers, flint

Constants = dict[str, npt.NDArray[Any]]
AXES = ("horizontal", "vertical")
NOWHERE_M = 1e6
"""Room that no fence has."""
EXACT: dict[str, list[Any]] = {
    "ones": [[[1.0], [1.0]]], "jerk_row": [0.0, 0.0, 0.0, 1.0], "axis_0": [0], "axis_2": [2], "axis_3": [3],
    "all_options": [4, 2, 4], "halves": [4, 4], "plane": [2, 1],
}  # fmt: skip
SCALARS = {"row_2": 2, "row_3": 3, "least": 0.0}
NEAR = 1e-12
JUDGED = 8
"""Stages that the graph judges."""


def check_shield(found: Constants, claim: Claimed, arrays: dict[str, Numbers]) -> None:
    """Compare every constant of the graph.

    Args:
        found: Constants of shield.onnx by name.
        claim: The certificate's numbers.
        arrays: Arrays of certificate.npz.

    Raises:
        CertificateError: one does not hold.
    """
    for name, wanted in {**EXACT, **SCALARS}.items():
        _same(found, name, np.array(wanted))
    _same(found, "gain", np.concatenate([claim.gain[[0, 0, 1]], np.zeros((3, 1))], axis=1)[:, None, None])
    _same(found, "weight", np.array([0.0, 0.0, claim.gravity]).reshape(3, 1, 1))
    one, nowhere = found["one"], found["nowhere"]
    if one.shape != () or not 0.0 < float(one) <= 1.0 - 1e-10:
        raise CertificateError(f"shield.onnx: constant one is {one.tolist()}, must be just below 1; certify again")
    if nowhere.shape != (2, 1) or not (nowhere >= NOWHERE_M).all():
        raise CertificateError(f"shield.onnx: constant nowhere is {nowhere.tolist()}, must be above {NOWHERE_M:g}; certify again")
    for column in range(JUDGED):
        if not any(_covers(found, arrays, column, stage) for stage in range(claim.limits.shape[0])):
            raise CertificateError(f"shield.onnx: column {column} of the inverse offsets is that of no stage; certify again")
    levels = sum(name.startswith("tube_") for name in found)
    for n in range(levels + 1):
        _check_set(found, arrays, f"_{n}" if n else "", f"level{levels - n}_" if n else "")
    _check_box(found, claim)


def _covers(found: Constants, arrays: dict[str, Numbers], column: int, stage: int) -> bool:
    """Whether a column of inverse offsets is at least one over the offsets of a stage, of both axes; checks the shapes too."""
    for name in AXES:
        inverse, offsets = found[f"inverse_{name}"], arrays[f"{name}_offsets"][stage]
        if inverse.shape != (offsets.shape[0], JUDGED):
            raise CertificateError(f"shield.onnx: inverse_{name} has the shape {inverse.shape}; certify again")
        if not (np.nextafter(inverse[:, column] * offsets, -np.inf) >= 1.0).all():
            return False
    return True


def _same(found: Constants, name: str, wanted: npt.NDArray[Any]) -> None:
    value = found[name]
    if value.shape != wanted.shape or not (value == wanted).all():
        raise CertificateError(f"shield.onnx: constant {name} is {value.tolist()}, must be {wanted.tolist()}; certify again")


def _check_set(found: Constants, arrays: dict[str, Numbers], ending: str, prefix: str) -> None:
    """Facets bit for bit, their magnitudes not below them, and the tube that belongs to them."""
    for name in AXES:
        facets = arrays[f"{prefix}{name}_facets"].T
        own, size = found[f"facets_{name}{ending}"], found[f"size_{name}{ending}"]
        if own.shape != facets.shape or own.tobytes() != np.ascontiguousarray(facets).tobytes():
            raise CertificateError(f"shield.onnx: facets_{name}{ending} are not those of certificate.npz; certify again")
        if size.shape != facets.shape or not (size >= np.abs(facets)).all():
            raise CertificateError(f"shield.onnx: size_{name}{ending} is below the facets' magnitude; certify again")
    tube = found[f"tube{ending}"]
    proven = np.array([[float(arrays[f"{prefix}{name}_tube"][:, 0].max())] for name in AXES])
    if tube.shape != proven.shape or not (tube >= proven).all():
        raise CertificateError(f"shield.onnx: tube{ending} is {tube.tolist()}, below the proven {proven.tolist()}; certify again")


def _check_box(found: Constants, claim: Claimed) -> None:
    """Every radius of the admission box, and how far the backup's set-points can have acted."""
    arb = flint().arb
    lag, tick, window = arb(claim.rate_lag), arb(claim.tick), arb(claim.window)
    lead = (window - tick).max(arb(0))
    last = (tick * (1 + claim.missed)).max(window)

    def drawn(time: Ball) -> Ball:
        return 1 - (-time / lag).exp()

    slower = 1 - lag / arb(claim.thrust_lag)
    if found["slower"].shape != () or not abs(arb(float(found["slower"])) - slower) < NEAR:
        raise CertificateError(f"shield.onnx: constant slower is {found['slower'].tolist()}, must be {float(slower)}; certify again")
    shares, box = found["shares"], found["box"]
    if shares.shape != (3, 1) or box.shape != (3, 6, 8):
        raise CertificateError(f"shield.onnx: shares or box have the shapes {shares.shape}, {box.shape}; certify again")
    early = [None, tick + lead, tick + lead + lead]
    needed = [_present(claim)]
    for n, (time, thrust_acts) in ((1, (tick, arb(0))), (2, (last, lead))):
        acted = early[n]
        if not drawn(acted) <= arb(float(shares[n, 0])) or not shares[n, 0] <= 1.0:
            raise CertificateError(f"shield.onnx: share {n} of the backup's rates is {shares[n, 0]}, too small; certify again")
        needed.append(_taken_over(claim, time, drawn(thrust_acts), acted, last, drawn))
    if shares[0, 0] != 0.0:
        raise CertificateError("shield.onnx: the backup's rates act before the tick; certify again")
    for instant, table in enumerate(needed):
        for term, row in enumerate(table):
            for radius, value in enumerate(row):
                if not value <= arb(float(box[instant, term, radius])):
                    raise CertificateError(
                        f"shield.onnx: box[{instant}, {term}, {radius}] is {box[instant, term, radius]:.9g}, this check finds "
                        f"{float(value):.9g}: the admission box is too small; certify again"
                    )


Rows = list[list[Ball]]
"""For each of the six terms (1, c, |j|, spread, change, late) its part of the eight radii."""


def _present(claim: Claimed) -> Rows:
    """The estimate's errors: an attitude error turns thrust vector and jerk, rate errors of two axes turn the thrust vector."""
    arb = flint().arb
    theta, rates, zero = arb(claim.attitude_error), arb(claim.rate_error), arb(0)
    position = [arb(claim.position_error), zero, zero, zero]
    velocity = [zero, arb(claim.velocity_error), zero, zero]
    one = [a + b for a, b in zip(position, velocity, strict=True)]
    thrust = [zero, zero, theta, arb(2).sqrt() * rates]
    jerk = [zero, zero, zero, theta]
    return [row + row for row in (one, thrust, jerk, [zero] * 4, [zero] * 4, [zero] * 4)]


def _taken_over(claim: Claimed, time: Ball, thrust_share: Ball, acted: Ball, last: Ball, drawn: Any) -> Rows:
    """What a state `time` after the tick can be off by, the backup's thrust having acted by a share, its rates for a time."""
    arb = flint().arb
    tick, lag = arb(claim.tick), arb(claim.rate_lag)
    kept = 1 - drawn(time)
    wrong_rates = drawn(time).max(drawn(arb(claim.window)) * kept)
    curve = (last - tick) * (last - tick) / 8 / (lag * lag)
    theta, noise = arb(claim.attitude_error), arb(2).sqrt() * arb(claim.rate_error)
    rows: Rows = [[] for _ in range(6)]
    for axis in (0, 1):
        residual = arb(claim.r[axis])
        # of the jerk, without what the rates' own errors have left in it
        moved = [drawn(time) * residual + curve * residual, arb(0), theta + curve, wrong_rates + curve, curve, thrust_share + curve]
        start = [arb(0), noise, arb(0), arb(0), arb(0), arb(0)]
        force = [arb(0), theta, arb(0), arb(0), acted, arb(0)]
        own = [arb(claim.velocity_error) + time * arb(claim.acceleration[axis]), *[arb(0)] * 5]
        for n in range(6):
            acceleration = force[n] + time * (start[n] + moved[n])
            velocity = own[n] + time * acceleration
            position = (arb(claim.position_error) if n == 0 else arb(0)) + time * velocity
            rows[n] += [position, velocity, acceleration, start[n] * kept + moved[n]]
    return rows
