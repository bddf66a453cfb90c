"""Which assumption to tighten: what the certificate would gain if one of them were 10 % smaller.

Two answers for each: how much the bound of r shrinks over the certificate's own limits, and how much less room around the anchor the
last stage of the fast chain needs, with the same gains, when the limits of the stages are found anew (`limits_of`: floats, a proposal,
nothing is proven here).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tubepilot.firmware_bridge.errors import CertificateError

from .assumptions import Assumptions, Pair
from .certificate import Certificate
from .design import PIECES
from .disturbance import bound
from .loop import AxisLoop
from .stages import Start, limits_of

SMALLER = 0.9
TIGHTENED = (
    "position_error_m", "velocity_error_m_s", "attitude_error_rad", "acceleration_m_s2", "disturbance_estimate_m_s2",
    "rate_residual_rad_s", "yaw_rate_rad_s", "delay_max_s", "rate_lag_s",
)  # fmt: skip
"""Assumptions that are looked at; the estimate of the rates enters the admission box only."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What one assumption that is 10 % smaller is worth; pairs are (horizontal, vertical).

    Attributes:
        jerk_m_s3: Less r.
        room_m: Less distance from the anchor in the last stage.
    """

    jerk_m_s3: Pair
    room_m: Pair


def sensitivity(certificate: Certificate, names: Sequence[str] = TIGHTENED) -> dict[str, Gain]:
    """By assumption; a room that could not be found is not a number. About 3 s for each."""
    base, room, result = certificate.disturbance.jerk_m_s3, _room(certificate, certificate.assumptions), {}
    for name in names:
        value = getattr(certificate.assumptions, name)
        smaller = tuple(SMALLER * x for x in value) if isinstance(value, tuple) else SMALLER * value
        assumptions = replace(certificate.assumptions, **{name: smaller})
        less = bound(assumptions, certificate.limits, certificate.law.gain, PIECES, certificate.rounding_m_s3).jerk_m_s3
        own = _room(certificate, assumptions)
        result[name] = Gain((base[0] - less[0], base[1] - less[1]), (room[0] - own[0], room[1] - own[1]))
    return result


def _room(certificate: Certificate, assumptions: Assumptions) -> Pair:
    """Distance from the anchor that the last stage needs, after the states held at once [m]."""
    gain, both = certificate.law.gain, certificate.at_once
    ahead_v, ahead_a, ahead_z = (-value for value in both.anchor_m)
    tilted = assumptions.gravity_m_s2 * float(np.tan(both.tilt_rad))
    start = Start(both.velocity_m_s, (tilted, 0.0), (0.0, 0.0), ((ahead_v, ahead_z), (ahead_a, 0.0)))
    loops = [AxisLoop(gain[axis], assumptions.drag_1_s[axis], assumptions.rate_lag_s) for axis in (0, 1)]
    count = certificate.stages.lasting[0]  # of the chain that they begin
    try:
        limits = limits_of(assumptions, gain, loops, (start,), count, certificate.step_s)
    except CertificateError:
        return float("nan"), float("nan")
    return float(limits[-1, 0, 0]), float(limits[-1, 0, 1])
