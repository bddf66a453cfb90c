"""Vehicles of the simulator: what they weigh and how fast they answer, against their data."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
from tubepilot.firmware_bridge.simulator_airframes import AIRFRAMES, CRAZYFLIE, FIVE_INCH, Airframe, named


def lag_s(airframe: Airframe, axis: int) -> float:
    """Time to 63 % of a step of the rate set-point [s]."""
    vehicle = SimulatedQuadrotor(airframe=airframe)
    vehicle.reset(np.array([0.0, 0.0, 20.0]))
    setpoint = np.zeros(3)
    setpoint[axis] = 0.5
    for k in range(400):
        vehicle.step(setpoint, vehicle.hover_throttle, 0.001)
        if vehicle.rates_rad_s[axis] >= 0.5 * (1.0 - math.exp(-1.0)):
            return 1e-3 * (k + 1)
    raise AssertionError("the rate never followed")


def test_the_five_inch_vehicle_is_strong_and_fast() -> None:
    vehicle = SimulatedQuadrotor(airframe=FIVE_INCH)
    assert vehicle.mass_kg == 0.75
    assert vehicle.airframe is FIVE_INCH
    assert vehicle.force_max_n / 4.0 == pytest.approx(8.5, rel=0.01)  # of a rotor
    assert vehicle.thrust_scale_m_s2 / vehicle.gravity_m_s2 == pytest.approx(4.62, rel=0.01)
    for axis in (0, 1):
        assert 0.015 < lag_s(FIVE_INCH, axis) < 0.03 < lag_s(CRAZYFLIE, axis) < 0.06


def test_it_hovers_and_slows_down_by_its_drag() -> None:
    vehicle = SimulatedQuadrotor(airframe=FIVE_INCH)
    vehicle.reset(np.array([0.0, 0.0, 20.0]), velocity_m_s=np.array([2.0, 0.0, 0.0]))
    for _ in range(50):
        vehicle.step(np.zeros(3), vehicle.hover_throttle, 0.01)
    assert abs(vehicle.velocity_m_s[2]) < 0.05
    assert math.log(2.0 / vehicle.velocity_m_s[0]) / 0.5 == pytest.approx(0.4, abs=0.05)  # 1/s


def test_names_lead_back_to_airframes() -> None:
    assert {named(airframe.name) for airframe in AIRFRAMES.values()} == {CRAZYFLIE, FIVE_INCH}
    with pytest.raises(InputError, match="rotorpy-crazyflie, rotorpy-five-inch"):
        named("px4")
