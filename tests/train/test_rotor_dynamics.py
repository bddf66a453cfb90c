"""Recurrent rotor dynamics: against the chain of the linear model, against a loop, by finite differences, and fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.flight import ROTORS, Flight, make_flight
from tubepilot.train.identify import rotation_matrices
from tubepilot.train.prediction import HORIZON, errors, integrate_attitude, window_starts
from tubepilot.train.rotor_dynamics import mean_prediction, plain_dynamics, predict, roll, with_network
from tubepilot.train.rotor_dynamics_fit import FitSettings, batch_of, error_sums, fit_dynamics, usual_speed
from tubepilot.train.rotor_features import THRUST_TAPS, squared_speeds
from tubepilot.train.rotor_learn import load_rotor_model, rotor_model_bytes
from tubepilot.train.rotor_model import RotorSettings, chain, fit_physics, fit_rotor_model, predict_rotor_model, stages
from tubepilot.train.rotor_windows import POSITION_SPANS, RATE_SPANS, VELOCITY_SPANS, force_terms, rotor_windows

DT_S = 0.01
MIXER = np.array([[-1.0, -1, 1, 1], [-1, 1, 1, -1], [-1, 1, -1, 1]])
TINY = FitSettings(plain_iterations=60, member_iterations=10, batch=32, every=4, width=4, members=2)


def body_of_rotors(seed: int, count: int = 300) -> Flight:
    """A rigid body whose rates follow a damped torque of the rotors, with linear drag."""
    generator = np.random.default_rng(seed)
    t_s = np.arange(count) * DT_S
    pulse, phase = generator.uniform(2, 9, (4, 3)), generator.uniform(0, 6, (4, 3))
    squared = 3.0 + 0.05 * np.sin(t_s[:, None, None] * pulse + phase).sum(axis=2)
    rates, velocity, position = np.zeros((count, 3)), np.zeros((count, 3)), np.zeros((count, 3))
    for k in range(count - 1):
        rates[k + 1] = rates[k] + DT_S * (8.0 * MIXER @ squared[k] - 2.0 * rates[k])
    attitude = np.array([[1.0, 0, 0, 0]])
    attitude = np.concatenate([attitude, integrate_attitude(attitude, 0.5 * (rates[:-1] + rates[1:])[None], DT_S)[0]])
    up = rotation_matrices(attitude)[:, :, 2]
    for k in range(count - 1):
        force = squared[k].sum() * GRAVITY_M_S2 / 12 * 0.5 * (up[k] + up[k + 1]) - [0, 0, GRAVITY_M_S2] - 0.3 * velocity[k]
        velocity[k + 1] = velocity[k] + DT_S * force
        position[k + 1] = position[k] + 0.5 * DT_S * (velocity[k] + velocity[k + 1])
    meta = {"source": "made", "action_level": ROTORS, "rate_hz": 100.0, "airframe": "made"}
    return make_flight(f"made{seed}", t_s, position, velocity, attitude, rates, 1000 * np.sqrt(squared), meta)


@pytest.fixture(scope="module")
def flights() -> list[Flight]:
    return [body_of_rotors(seed) for seed in range(3)]


def test_without_torque_it_is_the_chain_of_the_linear_model(flights: list[Flight]) -> None:
    flight, starts = flights[0], np.array([0, 40, 200])
    physics = np.array([0.5, 0.2, 0.1, 0.0, 0.05, 0.3, 0.2, 0.3, 0.4])
    usual = usual_speed(flights)
    force = physics.copy()
    force[THRUST_TAPS] += 4 * usual * physics[:THRUST_TAPS].sum()
    members = jax.tree.map(lambda v: v[None], plain_dynamics(force))
    (ours,) = predict(members, rotor_windows(flight, starts, usual), flight.position_m[starts], DT_S)
    theirs = chain(flight, starts, physics, np.repeat(flight.rates_rad_s[starts][:, None], HORIZON, axis=1))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)  # float32 over 50 steps


def test_means_over_spans_are_those_of_a_loop(flights: list[Flight]) -> None:
    flight, usual = flights[1], 2.5
    got = rotor_windows(flight, np.array([0, 2, 150]), usual)
    squared = squared_speeds(flight) - usual
    force = force_terms(rotation_matrices(flight.quaternion_wxyz), flight.velocity_m_s, squared)
    for row, start in enumerate((0, 2, 150)):
        for k, span in enumerate(RATE_SPANS):
            first = max(start - span, 0)
            mean = squared[first:start].mean(axis=0) if start > first else np.zeros(4)
            slope = (flight.rates_rad_s[start] - flight.rates_rad_s[first]) / (max(start - first, 1) * DT_S)
            np.testing.assert_allclose(got.rotor_mean[row, k], mean, atol=1e-5)
            np.testing.assert_allclose(got.rate_slope[row, k], slope, atol=1e-4)
        for k, span in enumerate(VELOCITY_SPANS):
            first = max(start - span, 0)
            mean = force[first:start].mean(axis=0) if start > first else np.zeros_like(force[0])
            np.testing.assert_allclose(got.force_mean[row, k], mean, atol=1e-4)
        for k, span in enumerate(POSITION_SPANS):
            first = max(start - span, 0)
            v = flight.velocity_m_s
            mean = 0.5 * (v[first:start] + v[first + 1 : start + 1]).mean(axis=0) if start > first else np.zeros(3)
            change = (flight.position_m[start] - flight.position_m[first]) / (max(start - first, 1) * DT_S)
            np.testing.assert_allclose(got.position_slope[row, k], change - mean, atol=1e-4)


def test_it_never_looks_ahead(flights: list[Flight]) -> None:
    flight, generator = flights[2], np.random.default_rng(0)
    plain = with_network(plain_dynamics(fit_physics(flights)), 4, generator)
    of = jax.tree.map(lambda v: v + jnp.asarray(0.05 * generator.normal(size=v.shape), v.dtype), plain)
    start = 100
    changed = flight.action.copy()
    changed[start + 20 :] *= 0.6
    runs = []
    for one in (flight, replace(flight, action=changed)):
        window = jax.tree.map(lambda v: v[0], rotor_windows(one, np.array([start]), 3.0))
        runs.append(roll(of, window, DT_S))
    for early, late in zip(*runs, strict=True):
        np.testing.assert_array_equal(early[:20], late[:20])
        assert np.abs(early[30:] - late[30:]).max() > 1e-4


def test_gradients_by_finite_differences(flights: list[Flight]) -> None:
    generator = np.random.default_rng(3)
    with jax.enable_x64(True):
        batch = batch_of(flights[0], np.array([120]), 3.0)
        one = jax.tree.map(lambda v: jnp.asarray(v[0], jnp.float64), batch)
        plain = with_network(plain_dynamics(fit_physics(flights)), 3, generator)
        of = jax.tree.map(lambda v: jnp.asarray(v + 0.02 * generator.normal(size=v.shape), jnp.float64), plain)

        @jax.jit
        def loss(parameters: object) -> jax.Array:
            return jnp.sum(error_sums(parameters, one, DT_S))

        gradient = jax.jit(jax.grad(loss))(of)
        for name in of._fields:
            value, slope = getattr(of, name), np.asarray(getattr(gradient, name))
            assert np.abs(slope).max() > 0, name
            direction = generator.normal(size=value.shape)
            h = 1e-6
            ends = [loss(of._replace(**{name: value + s * h * direction})) for s in (1.0, -1.0)]
            assert float(ends[0] - ends[1]) / (2 * h) == pytest.approx(float(np.sum(slope * direction)), rel=1e-4, abs=1e-5), name


def test_the_fit_learns_torque_and_members_differ(flights: list[Flight]) -> None:
    fit, test = flights[:2], flights[2]
    physics, usual = fit_physics(fit), usual_speed(fit)
    both = [fit_dynamics(fit, physics, np.array([1.0, 2.0, 1.0, 5.0]), TINY, 0) for _ in range(2)]
    for a, b in zip(*both, strict=True):
        np.testing.assert_array_equal(a, b)  # deterministic for a seed
    starts = window_starts(test, 5)
    members = predict(both[0], rotor_windows(test, starts, usual), test.position_m[starts], DT_S)
    held = chain(test, starts, physics, np.repeat(test.rates_rad_s[starts][:, None], HORIZON, axis=1))
    ours = errors(test, starts, mean_prediction(members, TINY.weights))
    assert ours.rates.sum() < 0.7 * errors(test, starts, held).rates.sum()
    assert not np.allclose(members[1].rates_rad_s, members[2].rates_rad_s, atol=1e-5)


def test_a_model_on_dynamics_is_written_and_read(flights: list[Flight], tmp_path: Path) -> None:
    settings = RotorSettings(history=2, members=1, ridge=1e-2, ridge_correction=1e-2, every=4, share=0.5, dynamics=TINY)
    told: list[str] = []
    model = fit_rotor_model(flights[:2], settings, 0, told.append)
    assert len(told) == stages(settings)
    test, starts = flights[2], window_starts(flights[2], 20)
    (tmp_path / "rotor_model.npz").write_bytes(rotor_model_bytes(model))
    ours, again = predict_rotor_model(model, test, starts), predict_rotor_model(load_rotor_model(tmp_path), test, starts)
    for a, b in zip(ours, again, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert (model.spread > 0).all()
