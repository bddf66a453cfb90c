"""The constants of the shield graph against the certificate: facets, offsets and tubes of stages, and the admission box.

The box is derived here from docs/certificate.md, section 6, term by term, and not copied from the prover. What may be larger than
needed (radii, the share that the backup's rates have drawn, sizes of facets, tubes) has to cover; all else has to be exact, or, for
the factor of the thrust slope, right to 1e-12.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import CertificateError

from .check_arithmetic import Ball, Claimed, Numbers, flint

Constants = dict[str, npt.NDArray[Any]]
AXES = ("horizontal", "vertical")
NOWHERE_M = 1e6
"""Room that no fence has."""
EXACT: dict[str, Any] = {
    "ones": [[[1.0], [1.0]]], "jerk_row": [0.0, 0.0, 0.0, 1.0], "axis_0": [0], "axis_1": [1], "axis_2": [2], "axis_3": [3],
    "thirds": [4, 4, 4], "halves": [4, 4], "singles": [1, 1, 1], "pairs": [2, 2], "twice": [1, 1], "stages": [0, 1],
    "level": [[[1.0]], [[1.0]], [[0.0]]], "row_2": 2, "row_3": 3, "least": 0.0, "tiny": 1e-9, "whole": 1.0,
}  # fmt: skip
NEAR = 1e-12
JUDGED = 8
"""Stages that the shield graph judges."""


def check_shield(found: Constants, claim: Claimed) -> None:
    """Compare every constant of the graph, `found` by its name, with what the certificate says.

    Raises:
        CertificateError: one does not hold.
    """
    gain = np.concatenate([claim.gain[[0, 0, 1]], np.zeros((3, 1))], axis=1)[:, None, None]
    for name, value in {**EXACT, "gain": gain, "weight": [[[0.0]], [[0.0]], [[claim.e.gravity_m_s2]]]}.items():
        own, wanted = found[name], np.array(value)
        if own.shape != wanted.shape or not (own == wanted).all():
            raise CertificateError(f"shield.onnx: constant {name} is {own.tolist()}, must be {wanted.tolist()}; certify again")
    one, nowhere = found["one"], found["nowhere"]
    if one.shape != () or not 0.0 < float(one) <= 1.0 - 1e-10:
        raise CertificateError(f"shield.onnx: constant one is {one.tolist()}, must be just below 1; certify again")
    if nowhere.shape != () or not nowhere >= NOWHERE_M:
        raise CertificateError(f"shield.onnx: constant nowhere is {nowhere.tolist()}, must be above {NOWHERE_M:g}; certify again")
    _check_sets(found, claim.arrays)
    _check_box(found, claim)


def _backup_rates(claim: Claimed) -> Ball:
    """Largest roll-pitch rate that the backup's set-points, within their limits, lead to."""
    law = claim.t.backup
    return _length([abs(flint().arb(law.rate_gain[k])) * law.rate_limit_rad_s[k] + abs(law.rate_offset_rad_s[k]) for k in (0, 1)])


def _check_sets(found: Constants, arrays: Mapping[str, Numbers]) -> None:
    """Facets bit for bit, their magnitudes not below them; each column the inverse offsets of a stage, or larger, with its tube."""
    for name in AXES:
        facets = arrays[f"{name}_facets"].T
        own, size = found[f"facets_{name}"], found[f"size_{name}"]
        if own.shape != facets.shape or own.tobytes() != np.ascontiguousarray(facets).tobytes():
            raise CertificateError(f"shield.onnx: facets_{name} are not those of certificate.npz; certify again")
        if size.shape != facets.shape or not (size >= np.abs(facets)).all():
            raise CertificateError(f"shield.onnx: size_{name} is below the facets' magnitude; certify again")
        if found[f"inverse_{name}"].shape != (JUDGED, 1, facets.shape[1]):
            raise CertificateError(f"shield.onnx: inverse_{name} has another shape; certify again")
    if found["tube"].shape != (2, JUDGED, 1):
        raise CertificateError("shield.onnx: tube has another shape; certify again")
    tubes = np.array([np.maximum.accumulate(arrays[f"{name}_tube"][::-1, 0])[::-1] for name in AXES])
    for column in range(JUDGED):
        if not any(_is_stage(found, arrays, tubes, column, stage) for stage in range(tubes.shape[1])):
            raise CertificateError(f"shield.onnx: column {column} of offsets and tubes is that of no stage; certify again")


def _is_stage(found: Constants, arrays: Mapping[str, Numbers], tubes: Numbers, column: int, stage: int) -> bool:
    """Whether a column of inverse offsets is at least one over the offsets of a stage, of both axes, and its tube that of this stage
    and of all that follow, or wider."""
    inside = all(
        (np.nextafter(found[f"inverse_{name}"][column, 0] * arrays[f"{name}_offsets"][stage], -np.inf) >= 1.0).all() for name in AXES
    )
    return inside and bool((found["tube"][:, column, 0] >= tubes[:, stage]).all())


def _check_box(found: Constants, claim: Claimed) -> None:
    """Every radius of the admission box, and how far the backup's set-points can have acted."""
    arb, e = flint().arb, claim.e
    slower = 1 - arb(e.rate_lag_s) / arb(e.thrust_lag_s)
    if found["slower"].shape != () or not abs(arb(float(found["slower"])) - slower) < NEAR:
        raise CertificateError(f"shield.onnx: constant slower is {found['slower'].tolist()}, must be {float(slower)}; certify again")
    shares, box = found["shares"], found["box"]
    if shares.shape != (3,) or box.shape != (3, len(TERMS), 12):
        raise CertificateError(f"shield.onnx: shares or box have the shapes {shares.shape}, {box.shape}; certify again")
    pull = _length(e.disturbance_estimate_m_s2) + _length([d * float(claim.widest[1, axis]) for axis, d in enumerate(e.drag_1_s)])
    if not pull < e.gravity_m_s2:
        raise CertificateError("shield.onnx: disturbance and drag may exceed gravity; the admission box does not cover that")
    if shares[0] != 0.0:
        raise CertificateError("shield.onnx: the backup's rates act before the tick; certify again")
    last = (arb(e.tick_s) * (1 + e.missed_ticks)).max(arb(claim.window))
    for n in (1, 2):
        if not _drawn(claim, arb(claim.window)) <= arb(float(shares[n])) or not shares[n] <= 1.0:
            raise CertificateError(f"shield.onnx: share {n} of the backup's rates is {shares[n]}, too small; certify again")
    needed = [_present(claim), _taken_over(claim, arb(e.tick_s), last), _taken_over(claim, last, last)]
    for instant, columns in enumerate(needed):
        for radius, column in enumerate(columns):
            for term, value in enumerate(column):
                if not value <= arb(float(box[instant, term, radius])):
                    raise CertificateError(
                        f"shield.onnx: box[{instant}, {term}, {radius}] is {box[instant, term, radius]:.9g}, this check finds "
                        f"{float(value):.9g}: the admission box is too small; certify again"
                    )


Sum = list[Ball]
"""What multiplies each of the terms, which are 1, c, |j|, timing, older, swing, force, twist, |nu|, change, late."""
TERMS = ("one", "thrust", "jerk", "timing", "older", "swing", "force", "twist", "feedback", "change", "late")


def _sum(**factors: Ball) -> Sum:
    """A sum by the names of its terms."""
    return [flint().arb(factors.get(name, 0)) for name in TERMS]


def _plus(*sums: Sum) -> Sum:
    return [functools.reduce(operator.add, terms) for terms in zip(*sums, strict=True)]


def _times(factor: Ball, terms: Sum) -> Sum:
    return [factor * term for term in terms]


def _length(values: Any) -> Ball:
    arb = flint().arb
    return functools.reduce(operator.add, (arb(value) * arb(value) for value in values)).sqrt()


def _drawn(claim: Claimed, time: Ball) -> Ball:
    """Share of the way to a set-point that the rates go in a time."""
    return 1 - (-time / flint().arb(claim.e.rate_lag_s)).exp()


def _turned(claim: Claimed, time: Ball) -> Ball:
    """Integral of `_drawn`."""
    return time - flint().arb(claim.e.rate_lag_s) * _drawn(claim, time)


def _present(claim: Claimed) -> list[Sum]:
    """The estimate's errors: an attitude error turns thrust vector and jerk, rate errors of two axes turn the thrust vector. What they
    do to the thrust vector, and rate errors to the jerk, is across it."""
    e = claim.e
    theta, noise = flint().arb(e.attitude_error_rad), flint().arb(2).sqrt() * e.rate_error_rad_s
    place, speed = _sum(one=e.position_error_m), _sum(one=e.velocity_error_m_s)
    level = [place, speed, _sum(thrust=theta), _sum(thrust=noise, jerk=theta)]
    return [*level, place, speed, _sum(), _sum(jerk=theta), _sum(), _sum(), _sum(thrust=theta), _sum(thrust=noise)]


def _taken_over(claim: Claimed, time: Ball, last: Ball) -> list[Sum]:
    """Radii of a state `time` after the tick: section 6 of the text, term by term; of those upwards what may point anywhere, and what
    is across the thrust vector."""
    arb, e = flint().arb, claim.e
    tick, window, lag, zero = arb(e.tick_s), arb(claim.window), arb(e.rate_lag_s), arb(0)
    theta, noise, residual = arb(e.attitude_error_rad), arb(2).sqrt() * e.rate_error_rad_s, arb(e.rate_residual_rad_s)
    fast, slow = [arb(float(claim.widest[row, axis])) for row in (3, 4) for axis in (0, 1)], arb(e.gravity_m_s2)
    slow = slow - float(claim.widest[2, 1]) - e.disturbance_estimate_m_s2[1]  # the smallest thrust
    backup_share, backup_turned = _drawn(claim, window), _turned(claim, window)
    per_change = backup_turned / backup_share
    taken = backup_share * _backup_rates(claim)
    spun, fed = _length(fast[:2]) / slow + taken, _length(fast[2:]) / slow
    chord = (last - tick) * (last - tick) / 8

    # The set-point began to act between `earliest` and `latest` before; the one before it a tick earlier each.
    earliest, latest, latest_before = time + window, (time - window + tick).max(zero), (time - window + 2 * tick).max(zero)
    half_share = (_drawn(claim, earliest) - _drawn(claim, latest)) / 2
    half_turned = (_turned(claim, earliest) - _turned(claim, latest)) / 2
    older_share = _drawn(claim, earliest + tick) - _drawn(claim, latest_before)
    older_turned = 2 * window - tick

    # Thrust vector: attitude, rates that err or differ from the lag, timing, what is left out, the chord between the instants.
    loose = noise * lag * _drawn(claim, time) + residual * _turned(claim, time)
    bent = chord / lag
    ours = _sum(
        thrust=theta + loose + 2 * bent * (noise + residual), timing=half_turned + bent, older=older_turned, swing=bent, force=1
    )
    before_rates = (window - tick).max(zero)
    thrust_share = _drawn(claim, before_rates)
    free = _sum(force=1, late=before_rates * thrust_share)
    bound = _plus(ours, _sum(force=-1, change=per_change))

    # Velocity and position: their errors, w, the thrust vector's path against a straight one, chords again.
    crooked = time * time / (8 * lag)
    pulled = _sum(thrust=1, one=2 * arb(e.gravity_m_s2))  # the largest acceleration
    own = [
        _plus(
            _sum(one=e.velocity_error_m_s),
            _times(time, _sum(one=arb(claim.t.disturbance.acceleration_m_s2[axis]), swing=crooked, timing=crooked + backup_turned)),
            _times(2 * chord, _plus(_sum(jerk=1, swing=1, timing=1), _times(arb(max(e.drag_1_s)), pulled))),
        )
        for axis in (0, 1)
    ]  # fmt: skip
    place = _plus(_sum(one=e.position_error_m), _times(2 * chord, pulled))

    # The backup's feedback: at an estimate that errs, of a state that is off; turned with an attitude that errs.
    gain = [[abs(arb(float(value))) for value in row] for row in claim.gain]
    halves = []
    for axis in (0, 1):
        speed = _plus(own[axis], _times(time, ours))
        where = _plus(_sum(one=e.position_error_m), place, _times(time, speed))
        fast_part = _times(gain[axis][1], _plus(_sum(one=e.velocity_error_m_s), speed))
        halves.append(_plus(_times(gain[axis][0], where), fast_part, _sum(one=claim.t.proof.rounding_m_s3)))
    error = [_length(pair) for pair in zip(*halves, strict=True)]
    error = _plus(error, _times(gain[0][2].max(gain[1][2]), _plus(_sum(thrust=theta), ours)))
    turned_by = _plus(ours, _sum(thrust=-theta))
    error = _plus(_times(1 + theta, error), _sum(feedback=3 * theta), _times(fed, turned_by))

    # The jerk.
    bow = bent / lag
    # Between the instants, what a set-point has done that acts as late as it may has a corner below the straight line.
    silent = (window - 2 * tick).max(zero)
    corner = silent / (last - tick) * _drawn(claim, last - tick - silent) if silent > 0 else zero
    if claim.window > e.tick_s:
        exact = (1 - (-before_rates / arb(e.thrust_lag_s)).exp()) / thrust_share
        slope_error = abs(exact - lag / arb(e.thrust_lag_s))
    else:
        slope_error = zero
    bound_jerk = _plus(
        _sum(
            thrust=noise * (1 - _drawn(claim, time)) + residual * (_drawn(claim, time) + 2 * bow),
            timing=half_share + bow + corner,
            older=older_share,
            swing=bow,
        ),
        _times(backup_share, error),
    )
    free_jerk = _plus(
        _sum(
            jerk=theta + loose + 2 * bow + thrust_share * slope_error,
            timing=half_turned * spun,
            older=older_turned * spun,
            twist=1 + backup_share,
            change=per_change * (spun + backup_share * fed + taken) + theta + loose,
            late=thrust_share * (1 + before_rates * spun),
        ),
        _times(thrust_share, error),
    )

    # Velocity and position take in what the thrust vector did before, at tilts that the graph does not know: whole, upwards too.
    force = _plus(free, bound)
    fast, rise = (_plus(speed, _times(time, force)) for speed in own)
    far, high = (_plus(place, _times(time, speed)) for speed in (fast, rise))
    return [far, fast, force, _plus(free_jerk, bound_jerk), high, rise, free, free_jerk, _sum(), _sum(), bound, bound_jerk]
