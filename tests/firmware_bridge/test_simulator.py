"""The simulated quadrotor against scipy's integrator, closed forms and its own declared behaviour."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rotorpy.controllers.quadrotor_control import SE3Control
from rotorpy.vehicles.multirotor import Multirotor
from scipy.integrate import solve_ivp

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.simulator import FACTOR_RANGE, Factors, SimulatedQuadrotor
from tubepilot.firmware_bridge.simulator_wind import GustyWind, wind_vector


def flown(substep_s: float, commands: np.ndarray, dt_s: float = 0.01) -> np.ndarray:
    """Packed states of a flight in wind under rotor speeds held for `dt_s` each."""
    vehicle = SimulatedQuadrotor(GustyWind(np.array([3.0, -1.0, 0.0])), substep_s)
    vehicle.reset(np.array([0.0, 0.0, 20.0]), yaw_rad=0.4)
    states = []
    for command in commands:
        vehicle.step_motors(command, dt_s)
        states.append(Multirotor._pack_state(vehicle.rotorpy_state()))
    return np.array(states)


def reference(commands: np.ndarray, dt_s: float = 0.01) -> np.ndarray:
    """The same flight by solve_ivp at a tight tolerance."""
    vehicle = SimulatedQuadrotor(GustyWind(np.array([3.0, -1.0, 0.0])))
    vehicle.reset(np.array([0.0, 0.0, 20.0]), yaw_rad=0.4)
    physics, s, states = vehicle._physics, Multirotor._pack_state(vehicle.rotorpy_state()), []
    for command in commands:
        solution = solve_ivp(
            physics._s_dot_fn, (0.0, dt_s), s, args=(command,), method="DOP853", rtol=1e-10, atol=1e-11
        )
        s = solution.y[:, -1]
        s[6:10] /= np.linalg.norm(s[6:10])
        states.append(s)
    return np.array(states)


@pytest.fixture(scope="module")
def motor_commands() -> np.ndarray:
    generator = np.random.default_rng(1)
    steps = generator.uniform(-60.0, 60.0, size=(8, 4)).repeat(5, axis=0)
    return 1800.0 + steps


def test_midpoint_steps_agree_with_solve_ivp(motor_commands: np.ndarray) -> None:
    # 0.4 s with angular accelerations of tens of rad/s^2; bounds are five times what was measured.
    error = np.abs(flown(1.0 / 300.0, motor_commands) - reference(motor_commands)).max(axis=0)
    assert error[0:3].max() < 2e-5
    assert error[3:6].max() < 2e-4
    assert error[6:10].max() < 1e-4
    assert error[10:13].max() < 2e-3
    assert error[16:20].max() < 0.05


def test_midpoint_steps_are_of_second_order(motor_commands: np.ndarray) -> None:
    exact = reference(motor_commands)[-1]
    steps = np.array([0.01, 0.005, 0.0025])
    errors = [np.linalg.norm((flown(h, motor_commands)[-1] - exact)[:13]) for h in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 1.8 < slope < 2.3


def test_hover_is_an_equilibrium() -> None:
    vehicle = SimulatedQuadrotor()
    vehicle.reset(np.array([1.0, 2.0, 3.0]), yaw_rad=1.0)
    for _ in range(50):
        vehicle.step(np.zeros(3), vehicle.hover_throttle, 0.01)
    assert np.allclose(vehicle.position_m, [1.0, 2.0, 3.0], atol=1e-9)
    assert np.allclose(vehicle.accelerometer_m_s2, [0.0, 0.0, 9.81], atol=1e-9)
    assert np.allclose(vehicle.quaternion_wxyz, [math.cos(0.5), 0.0, 0.0, math.sin(0.5)], atol=1e-12)


def test_rotor_drag_in_wind_has_the_closed_form_size_and_points_downwind() -> None:
    # rotorpy's H force: 4 rotors, k_d * rotor speed * airspeed, horizontal when level.
    vehicle = SimulatedQuadrotor(GustyWind(wind_vector(3.0, 270.0)))
    vehicle.reset(np.array([0.0, 0.0, 5.0]))
    omega = vehicle.rotor_rad_s[0]
    expected = 4.0 * vehicle.parameters["k_d"] * omega * 3.0 / vehicle.mass_kg
    vehicle.step(np.zeros(3), vehicle.hover_throttle, 0.002)
    assert vehicle.velocity_m_s[0] / 0.002 == pytest.approx(expected, rel=1e-3)
    assert abs(vehicle.velocity_m_s[1]) < 1e-9
    assert 0.5 < expected < 1.0


@pytest.mark.parametrize(("from_deg", "expected"), [(270.0, [2, 0, 0]), (0.0, [0, -2, 0]), (90.0, [-2, 0, 0])])
def test_wind_comes_from_where_it_is_said_to(from_deg: float, expected: list[float]) -> None:
    assert np.allclose(wind_vector(2.0, from_deg), expected, atol=1e-12)


def test_gust_is_bounded_smooth_and_seeded() -> None:
    winds = [GustyWind(np.array([3.0, 0.0, 0.0]), 0.5, seed) for seed in (4, 4, 5)]
    times = np.arange(0.0, 60.0, 0.01)
    gusts = [np.array([w.velocity_m_s(t, np.zeros(3)) - w.mean_m_s for t in times]) for w in winds]
    norm = np.linalg.norm(gusts[0], axis=1)
    assert norm.max() <= 0.5
    assert norm.max() > 0.15
    # slope bound: amplitude times the highest angular frequency
    assert np.abs(np.diff(gusts[0], axis=0)).max() / 0.01 < 0.5 * 0.66 * 2.0 * math.pi * 0.81
    assert np.array_equal(gusts[0], gusts[1])
    assert not np.array_equal(gusts[0], gusts[2])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("rate_rad_s", [0.5, 3.0])
def test_rate_step_response_is_first_order_like_and_well_damped(axis: int, rate_rad_s: float) -> None:
    vehicle = SimulatedQuadrotor()
    vehicle.reset(np.array([0.0, 0.0, 50.0]))
    setpoint = np.zeros(3)
    setpoint[axis] = rate_rad_s
    response = []
    for _ in range(200):
        response.append(vehicle.rates_rad_s[axis] / rate_rad_s)
        vehicle.step(setpoint, vehicle.hover_throttle, 0.002)
    t63_s = 0.002 * float(np.argmax(np.array(response) > 1.0 - math.exp(-1.0)))
    assert 0.038 <= t63_s <= 0.056
    assert max(response) < 1.03
    assert response[-1] == pytest.approx(1.0, abs=0.03)
    other = np.delete(vehicle.rates_rad_s, axis)
    assert np.abs(other).max() < 0.02 * rate_rad_s


def test_allocation_keeps_roll_and_pitch_when_rotors_saturate() -> None:
    vehicle = SimulatedQuadrotor()
    loop, wrench = vehicle._loop, vehicle._physics.f_to_TM
    limit = vehicle.force_max_n / 4.0
    generator = np.random.default_rng(3)
    for _ in range(500):
        force = generator.uniform(0.0, vehicle.force_max_n)
        torque = generator.uniform(-1.0, 1.0, size=3) * [4e-3, 4e-3, 2e-2]
        forces = loop.allocate(force, torque)
        assert forces.min() >= 0.0
        assert forces.max() <= limit
        made = wrench @ forces
        span = np.ptp(vehicle._physics.TM_to_f[:, 1:3] @ torque[:2])
        if span <= limit:
            assert np.allclose(made[1:3], torque[:2], atol=1e-12)
            assert abs(made[3]) <= abs(torque[2]) + 1e-12
        inside = vehicle._physics.TM_to_f @ np.array([force, *torque])
        if inside.min() >= 0.0 and inside.max() <= limit:
            assert np.allclose(forces, inside, atol=1e-12)


def test_takes_off_and_lands() -> None:
    vehicle = SimulatedQuadrotor(GustyWind(np.array([3.0, 0.0, 0.0])))
    vehicle.reset(np.zeros(3), yaw_rad=0.7)
    for _ in range(50):
        vehicle.step(np.array([0.5, 0.0, 0.0]), 0.4, 0.01)
    assert vehicle.on_ground
    assert np.allclose(vehicle.position_m, 0.0)
    for _ in range(100):
        vehicle.step(np.zeros(3), 0.6, 0.01)
    assert not vehicle.on_ground
    assert vehicle.position_m[2] > 0.2
    for _ in range(600):
        vehicle.step(np.zeros(3), 0.46, 0.01)
    assert vehicle.on_ground
    assert vehicle.position_m[2] == 0.0
    assert vehicle.velocity_m_s[2] == 0.0
    yaw = 2.0 * math.atan2(vehicle.quaternion_wxyz[3], vehicle.quaternion_wxyz[0])
    assert yaw == pytest.approx(0.7, abs=0.05)


def test_a_slow_climb_leaves_the_ground_at_once() -> None:
    vehicle = SimulatedQuadrotor()
    vehicle.reset(np.zeros(3), hovering=True)
    for _ in range(10):
        vehicle.step(np.zeros(3), 1.02 * vehicle.hover_throttle, 0.01)
    assert 0.0 < vehicle.position_m[2] < 0.005


def test_same_inputs_same_flight() -> None:
    def fly() -> np.ndarray:
        vehicle = SimulatedQuadrotor(GustyWind(np.array([2.0, 1.0, 0.0]), 0.5, 7))
        vehicle.reset(np.array([0.0, 0.0, 1.0]))
        for k in range(50):
            vehicle.step(np.array([math.sin(k), 0.2, -0.1]), 0.5, 0.01)
        return np.concatenate([vehicle.position_m, vehicle.quaternion_wxyz, vehicle.rotor_rad_s])

    assert np.array_equal(fly(), fly())


def test_rotorpys_own_controller_flies_it_by_motor_speeds() -> None:
    vehicle = SimulatedQuadrotor(GustyWind(wind_vector(3.0, 270.0)))
    vehicle.reset(np.array([0.0, 0.0, 1.0]))
    controller = SE3Control(vehicle.parameters)
    hold = {name: np.zeros(3) for name in ("x_dot", "x_ddot", "x_dddot", "x_ddddot")}
    hold |= {"x": np.array([0.5, 0.0, 1.0]), "yaw": 0.0, "yaw_dot": 0.0}
    for _ in range(400):
        command = controller.update(vehicle.time_s, vehicle.rotorpy_state(), hold)["cmd_motor_speeds"]
        vehicle.step_motors(command, 0.01)
    # SE3Control has no integrator: it rests downwind by drag over its position gain, 0.73 / 6.5 m.
    assert vehicle.position_m[0] == pytest.approx(0.5 + 0.11, abs=0.02)
    assert vehicle.position_m[2] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("rates", "throttle", "dt_s"),
    [([math.nan, 0, 0], 0.5, 0.01), ([0, 0, 0], math.inf, 0.01), ([0, 0, 0], 0.5, 0.0), ([0, 0], 0.5, 0.01)],
)
def test_refuses_what_cannot_be_simulated(rates: list[float], throttle: float, dt_s: float) -> None:
    with pytest.raises(InputError):
        SimulatedQuadrotor().step(np.array(rates, dtype=float), throttle, dt_s)


def test_factors_of_one_change_no_bit() -> None:
    def fly(vehicle: SimulatedQuadrotor) -> np.ndarray:
        vehicle.reset(np.array([0.0, 0.0, 5.0]))
        for k in range(40):
            vehicle.step(np.array([math.sin(k), 0.2, -0.1]), 0.5, 0.01)
        return np.concatenate([vehicle.position_m, vehicle.quaternion_wxyz, vehicle.rotor_rad_s])

    there_and_back = SimulatedQuadrotor(factors=Factors(1.3, 0.7, 1.5, 2.0))
    there_and_back.factors = Factors()
    assert np.array_equal(fly(SimulatedQuadrotor()), fly(there_and_back))


@pytest.mark.parametrize(("mass", "thrust"), [(1.3, 1.0), (1.0, 0.7), (0.8, 1.1)])
def test_mass_and_thrust_factors_scale_the_collective_acceleration(mass: float, thrust: float) -> None:
    nominal, vehicle = SimulatedQuadrotor(), SimulatedQuadrotor(factors=Factors(mass=mass, thrust=thrust))
    ratio = thrust / mass
    assert vehicle.thrust_scale_m_s2 == pytest.approx(ratio * nominal.thrust_scale_m_s2, rel=1e-12)
    assert vehicle.hover_throttle == pytest.approx(nominal.hover_throttle / ratio, rel=1e-12)
    vehicle.reset(np.array([0.0, 0.0, 20.0]))
    for _ in range(30):
        vehicle.step(np.zeros(3), vehicle.hover_throttle, 0.01)
    assert np.allclose(vehicle.position_m, [0.0, 0.0, 20.0], atol=1e-9)
    for _ in range(60):
        vehicle.step(np.zeros(3), nominal.hover_throttle, 0.01)
    inflow = 4.0 * 7.553e-7 * vehicle.rotor_rad_s.mean() * vehicle.velocity_m_s[2] / vehicle.mass_kg
    assert vehicle.accelerometer_m_s2[2] == pytest.approx(9.81 * ratio - inflow, rel=1e-3)


def test_motor_lag_and_drag_factors_scale_lag_and_drag() -> None:
    wind = GustyWind(np.array([3.0, 0.0, 0.0]))
    push, rise = [], []
    for factor in (1.0, 2.0):
        vehicle = SimulatedQuadrotor(wind, factors=Factors(motor_lag=factor, drag=factor))
        vehicle.reset(np.array([0.0, 0.0, 20.0]))
        push.append(vehicle.accelerometer_m_s2[0])
        start, end = vehicle.rotor_rad_s[0], 2200.0
        vehicle.step_motors(np.full(4, end), 0.03)
        rise.append(math.log((end - start) / (end - vehicle.rotor_rad_s[0])))
    assert push[1] == pytest.approx(2.0 * push[0], rel=1e-9)
    assert push[0] > 0.5
    # The midpoint step of 10 ms is off from the exponential by (dt / tau)^2 / 6.
    assert rise[0] == pytest.approx(0.03 / 0.072, rel=4e-3)
    assert rise[1] == pytest.approx(0.03 / 0.144, rel=4e-3)


@pytest.mark.parametrize("name", ["mass", "thrust", "motor_lag", "drag"])
@pytest.mark.parametrize("value", [FACTOR_RANGE[0] - 1e-9, FACTOR_RANGE[1] + 1e-9, math.nan, math.inf])
def test_a_factor_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        Factors(**{name: value})
    for limit in FACTOR_RANGE:
        assert getattr(Factors(**{name: limit}), name) == limit
