"""The search of poles and anchors: what it finds is proven and holds what was asked, and what is asked for is checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.proven import ASSUMED, LAW
from tubepilot.firmware_bridge.errors import CertificateError, InputError
from tubepilot.train.invariance.design import certify
from tubepilot.train.invariance.search import EASIER, Wanted, search

FAST = replace(
    ASSUMED, rate_lag_s=0.024, thrust_lag_s=0.033, drag_1_s=(0.41, 0.3), rate_lags_s=(0.024, 0.024, 0.03), drags_1_s=(0.41, 0.41, 0.3)
)
"""A five-inch vehicle."""
FAST_LAW = replace(LAW, rate_lag_s=0.024, thrust_lag_s=0.033, thrust_min_m_s2=4.0, thrust_max_m_s2=40.0)


def test_a_set_found_for_another_vehicle_is_proven_and_holds_what_was_asked() -> None:
    wanted = Wanted((3.0, 1.5), float(np.radians(25.0)))
    tubes: list[float] = []
    certificate = certify(
        FAST, FAST_LAW, search(FAST, FAST_LAW, wanted, 12, seed=1, progress=lambda variant, tube_m: tubes.append(tube_m))
    )
    assert certificate.at_once.velocity_m_s == pytest.approx(wanted.velocity_m_s, rel=0.02)
    assert certificate.at_once.velocity_m_s[0] >= wanted.velocity_m_s[0]
    assert certificate.at_once.tilt_rad > 0.97 * wanted.tilt_rad
    assert tubes == sorted(tubes, reverse=True)
    assert tubes[-1] < tubes[0]


def test_impossible_wishes_end_with_the_reasons() -> None:
    shaken = replace(FAST, attitude_error_rad=0.2)
    with pytest.raises(CertificateError, match="no design"):
        certify(shaken, FAST_LAW, search(shaken, FAST_LAW, Wanted((4.0, 2.0), 0.6), 2))


def test_easier_states_are_asked_for_in_turn() -> None:
    wanted = Wanted((4.0, 2.0), 0.6)
    shares = [wanted.times(share).velocity_m_s[0] / 4.0 for share in EASIER]
    assert shares == pytest.approx(EASIER)
    assert shares == sorted(shares, reverse=True)
    start, brisk, tight = wanted.starts((3.0, 5.0), 2.0)
    assert start.velocity_m_s == pytest.approx((4.0, 2.0), rel=0.02)
    assert brisk.velocity_m_s[0] < 4.0
    assert 0.0 < brisk.jerk_m_s3[0] < tight.jerk_m_s3[0]
    assert wanted.calm()
    assert not Wanted((2.0, 1.0), 0.3).calm()  # nothing is faster than slow flight


@pytest.mark.parametrize("velocity", [(0.0, 1.0), (4.0, -1.0), (float("nan"), 1.0), (99.0, 1.0)])
def test_a_wish_out_of_range_is_named(velocity: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="at most 30 / 15 m/s"):
        Wanted(velocity, 0.5)
