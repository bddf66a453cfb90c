"""Vehicles of tasks against what they are made of: the learned model's own step, closed forms, and the nominal interface."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_model import random_model

from tubepilot.firmware_bridge.errors import InputError, MissingExtraError
from tubepilot.firmware_bridge.simulator import Factors
from tubepilot.firmware_bridge.simulator_wind import GustyWind
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.dynamics import Physics, WorldModel, step
from tubepilot.train.residual import zero_residual
from tubepilot.train.task_vehicle import LearnedVehicle, RotorpyVehicle, Vehicle
from tubepilot.train.task_vehicle_crazyflow import CrazyflowVehicle

SCALE_M_S2 = 19.0


def plain(physics: Physics) -> LearnedVehicle:
    """Known physics without residual and with true thrust gain 1 and no rate offset, so that it hovers at throttle g / scale."""
    return LearnedVehicle(
        WorldModel(physics._replace(thrust_gain=jnp.asarray(1.0), rate_offset_rad_s=jnp.zeros(3)), zero_residual()), SCALE_M_S2
    )


def acceleration(vehicle: Vehicle, throttle: float, settle: int = 60) -> np.ndarray:
    """Mean acceleration over a tick after `settle` ticks at level attitude, shape (3,) [m/s^2]."""
    for _ in range(settle):
        vehicle.step(np.zeros(3), throttle, 0.01)
    before = vehicle.velocity_m_s
    vehicle.step(np.zeros(3), throttle, 0.01)
    return (vehicle.velocity_m_s - before) / 0.01


def test_the_learned_vehicle_is_the_models_own_step() -> None:
    model = random_model(3).world
    vehicle = LearnedVehicle(model, SCALE_M_S2)
    vehicle.reset(np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.2, -0.1]))
    x = jnp.asarray(np.concatenate([[1.0, -2.0, 3.0, 0.5, 0.2, -0.1, 1.0], np.zeros(6), [GRAVITY_M_S2]]))
    generator = np.random.default_rng(0)
    for _ in range(40):
        rates, throttle = generator.uniform(-2.0, 2.0, 3), generator.uniform(0.3, 0.8)
        x, _ = step(model, x, jnp.asarray([*rates, throttle * SCALE_M_S2]), jnp.zeros(3), 0.01)
        vehicle.step(rates, throttle, 0.01)
        flown = np.concatenate([vehicle.position_m, vehicle.velocity_m_s, vehicle.quaternion_wxyz, vehicle.rates_rad_s])
        # Both in float32; compiled and uncompiled sums may differ in their order.
        assert np.allclose(flown, np.asarray(x)[0:13], atol=2e-5)


def test_factors_of_the_learned_vehicle_act_as_mass_thrust_and_drag_do(known_physics: Physics) -> None:
    vehicle = plain(known_physics)
    hover = GRAVITY_M_S2 / SCALE_M_S2
    assert vehicle.thrust_scale_m_s2 == SCALE_M_S2
    for mass, thrust in ((1.3, 1.0), (1.0, 0.8), (1.2, 1.1)):
        vehicle.set_factors(Factors(mass=mass, thrust=thrust))
        assert vehicle.thrust_scale_m_s2 == SCALE_M_S2
        vehicle.reset(np.array([0.0, 0.0, 5.0]), np.zeros(3))
        rate = float(known_physics.drag_1_s[2]) / mass
        expected = GRAVITY_M_S2 * (thrust / mass - 1.0)
        seen = acceleration(vehicle, hover)
        assert seen[2] == pytest.approx(expected - rate * vehicle.velocity_m_s[2], abs=0.02)
    vehicle.set_factors(Factors(drag=2.0, mass=1.25))
    vehicle.wind = GustyWind(np.array([3.0, 0.0, 0.0]))
    vehicle.reset(np.array([0.0, 0.0, 5.0]), np.zeros(3))
    assert acceleration(vehicle, hover, 0)[0] == pytest.approx(3.0 * float(known_physics.drag_1_s[0]) * 2.0 / 1.25, rel=0.01)


def test_a_payload_in_flight_changes_the_acceleration_at_once(known_physics: Physics) -> None:
    for vehicle, gravity in ((plain(known_physics), GRAVITY_M_S2), (RotorpyVehicle(), 9.81)):
        vehicle.reset(np.array([0.0, 0.0, 5.0]), np.zeros(3))
        hover = gravity / vehicle.thrust_scale_m_s2
        assert np.abs(acceleration(vehicle, hover, 5)).max() < 1e-3
        vehicle.set_mass_factor(1.3)
        assert acceleration(vehicle, hover, 0)[2] == pytest.approx(gravity / 1.3 - gravity, rel=0.005)
        vehicle.set_thrust_factor(1.3)
        assert vehicle.factors == Factors(mass=1.3, thrust=1.3)
        vehicle.reset(np.array([0.0, 0.0, 5.0]), np.zeros(3))
        assert np.abs(acceleration(vehicle, hover, 5)).max() < 0.01


def test_motor_lag_slows_the_thrust(known_physics: Physics) -> None:
    for vehicle in (plain(known_physics), RotorpyVehicle()):
        gained = []
        for lag in (0.7, 1.0, 1.4):
            vehicle.set_factors(Factors(motor_lag=lag))
            vehicle.reset(np.array([0.0, 0.0, 5.0]), np.zeros(3))
            for _ in range(10):
                vehicle.step(np.zeros(3), 0.8, 0.01)
            gained.append(vehicle.velocity_m_s[2])
        assert gained[0] > 1.1 * gained[1] > 1.2 * gained[2] > 0.0


def test_a_start_that_is_not_finite_is_refused(known_physics: Physics) -> None:
    for vehicle in (plain(known_physics), RotorpyVehicle()):
        with pytest.raises(InputError):
            vehicle.reset(np.array([0.0, np.nan, 1.0]), np.zeros(3))


CRAZYFLOW = """
import numpy as np
from tubepilot.firmware_bridge.simulator import Factors
from tubepilot.firmware_bridge.simulator_wind import GustyWind
from tubepilot.train.task_vehicle_crazyflow import CrazyflowVehicle
vehicle = CrazyflowVehicle()
hover, still = 9.81 / vehicle.thrust_scale_m_s2, np.zeros(3)
def fly(factors, wind, rates, ticks):
    vehicle.set_factors(factors)
    vehicle.wind = GustyWind(np.array(wind))
    vehicle.reset(np.array([0.0, 0.0, 5.0]), still)
    for _ in range(ticks):
        vehicle.step(np.array(rates), hover, 0.01)
    return vehicle.position_m, vehicle.velocity_m_s, vehicle.rates_rad_s
position, _, _ = fly(Factors(), [0, 0, 0], still, 100)
assert np.allclose(position, [0, 0, 5], atol=1e-4), position
_, velocity, _ = fly(Factors(mass=1.3), [0, 0, 0], still, 3)
assert abs(velocity[2]) < 0.08 * 9.81 * 0.03, velocity  # rotors start at the weight and fall to the command with their lag
vehicle.set_factors(Factors())
vehicle.reset(np.array([0.0, 0.0, 5.0]), still)
vehicle.set_mass_factor(1.3)
vehicle.step(still, hover, 0.01)
assert abs(vehicle.velocity_m_s[2] / 0.01 / (9.81 / 1.3 - 9.81) - 1) < 0.01, vehicle.velocity_m_s
for axis in range(3):
    asked = np.zeros(3)
    asked[axis] = 1.5
    _, _, rates = fly(Factors(), [0, 0, 0], asked, 40)
    assert np.allclose(rates, asked, atol=0.06), rates
_, velocity, _ = fly(Factors(drag=2.0), [3.0, 0, 0], still, 1)
assert abs(velocity[0] / 0.01 / (2.0 * 0.021643637770852733 / 0.0434 * 3.0) - 1) < 0.02, velocity
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("crazyflow") is None, reason="crazyflow is not installed")
def test_crazyflow_hovers_follows_rates_and_feels_payload_and_wind() -> None:
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", CRAZYFLOW], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(importlib.util.find_spec("crazyflow") is not None, reason="crazyflow is installed")
def test_without_crazyflow_its_extra_is_named() -> None:
    with pytest.raises(MissingExtraError, match=r"tubepilot\[crazyflow\]"):
        CrazyflowVehicle()
