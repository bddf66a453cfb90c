"""What the tick is given: planned set-points are cut to what the shield admits, and no further."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.small_shield import certificate, graphs

from tubepilot.firmware_bridge.types import Setpoint
from tubepilot.runtime.on_board import _setpoint_limits
from tubepilot.runtime.shield import Shield, assumed_from


def test_plans_are_cut_to_the_rates_that_the_shield_admits() -> None:
    shield = Shield(*graphs(), assumed_from(certificate(yaw_rate_rad_s=("assumptions", 0.1), rate_gain=("backup", [1.0, 1.0, 1.25]))))
    limits = _setpoint_limits(shield)
    cut = limits.clip(Setpoint(np.array([9.0, -9.0, 9.0]), 9.8))
    assert cut.rates_rad_s.tolist() == pytest.approx([*limits.rate_rad_s[:1], -limits.rate_rad_s[1], limits.rate_rad_s[2]])
    assert tuple(limits.rate_rad_s) == shield.assumed.admitted_rates_rad_s
    assert limits.rate_rad_s[2] < 0.1  # a yaw rate that the vehicle turns into more than was asked
