"""Flights made in simulators: the controller with nominal parameters, and whose vehicle is flown."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import MissingExtraError
from tubepilot.train.baseline import BaselineController, NominalController
from tubepilot.train.collect import fly, make_trajectory, missions
from tubepilot.train.task_vehicle import RotorpyVehicle

CRAZYFLOW = """
import numpy as np
from tubepilot.train.collect import fly, missions
flight = fly(missions(1, 4.0, 0, simulator="crazyflow")[0])
assert flight.meta["airframe"] == "crazyflow-crazyflie-brushless", flight.meta
assert 15.0 < flight.meta["thrust_scale_m_s2"] < 22.0, flight.meta
assert abs(flight.position_m[:, 2] - 3.0).max() < 1.0, flight.position_m
assert np.abs(flight.velocity_m_s).max() > 0.5
"""


def test_on_rotorpys_own_vehicle_both_controllers_are_the_same() -> None:
    vehicle = RotorpyVehicle()
    vehicle.reset(np.array([0.3, -0.2, 3.0]), np.array([0.5, 0.1, -0.2]))
    path = make_trajectory("circle", np.random.default_rng(3), 4.0)
    nominal, own = NominalController(vehicle), BaselineController(vehicle.simulator)
    for k in range(50):
        rates, throttle = nominal.setpoint(vehicle, k / 100.0, path)
        wanted, share = own.setpoint(vehicle.simulator, k / 100.0, path)
        np.testing.assert_allclose(rates, wanted, atol=1e-9)
        assert throttle == pytest.approx(share, abs=1e-9)
        vehicle.step(rates, throttle, 0.01)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("crazyflow") is None, reason="crazyflow is not installed")
def test_crazyflows_vehicle_flies_the_same_trajectories() -> None:
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", CRAZYFLOW], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(importlib.util.find_spec("crazyflow") is not None, reason="crazyflow is installed")
def test_without_crazyflow_its_extra_is_named() -> None:
    with pytest.raises(MissingExtraError, match=r"tubepilot\[crazyflow\]"):
        fly(missions(1, 2.0, 0, simulator="crazyflow")[0])


def test_the_airframe_is_flown_and_named_in_the_log() -> None:
    [mission] = missions(1, 2.0, 3, airframe="five-inch")
    flight = fly(mission)
    assert flight.meta["airframe"] == "rotorpy-five-inch"
    assert float(flight.meta["thrust_scale_m_s2"]) == pytest.approx(45.3, rel=0.01)
