"""MPPI and CEM: TD-MPC2's settings, better than the policy on the model, elites and limits, determinism, refusals."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.flyable import flyable_checkpoint

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.controllers import planner_model
from tubepilot.train.planner import PlannerModel, Problem, plan_return, policy_plan
from tubepilot.train.sampling_planners import SamplingSettings, cem_settings, mppi_settings, plan_by_sampling

MPPI = mppi_settings(dt_plan_s=0.04, tick_hz=100.0)
CEM = cem_settings(dt_plan_s=0.04, tick_hz=100.0)
SMALL = {"samples": 96, "elites": 12, "policy_plans": 8}
sample = jax.jit(plan_by_sampling, static_argnums=1)


@partial(jax.jit, static_argnums=1)
def returned(model: PlannerModel, settings: SamplingSettings, problem: Problem, plan: Any) -> Any:
    """Return of a plan."""
    return plan_return(model, settings.problem, problem, plan)[0]


@pytest.fixture(scope="module")
def model() -> PlannerModel:
    return planner_model(flyable_checkpoint())


def displaced() -> Problem:
    state = np.zeros(14, np.float32)
    state[0:6], state[6], state[13] = (0.4, -0.3, 0.2, 0.5, 0.0, -0.3), 1.0, 9.81
    return Problem(state, np.zeros((4, 9), np.float32), np.zeros(3, np.float32), np.zeros(4, np.float32))  # type: ignore[arg-type]


def test_settings_are_those_of_td_mpc2_and_count_their_evaluations() -> None:
    assert (MPPI.samples, MPPI.elites, MPPI.policy_plans, MPPI.iterations) == (512, 64, 24, 6)
    assert (MPPI.problem.horizon, MPPI.temperature, MPPI.std_min, MPPI.std_max) == (3, 0.5, 0.05, 2.0)
    assert MPPI.model_evaluations == CEM.model_evaluations == 9216 + 72
    assert (CEM.temperature, CEM.elites) == (0.0, 64)


@pytest.mark.parametrize("base", [MPPI, CEM], ids=["mppi", "cem"])
def test_the_plan_is_better_than_the_policy_and_repeats_bit_for_bit(base: SamplingSettings, model: PlannerModel) -> None:
    settings = replace(base, **SMALL)
    key, mean = jax.random.key(1), np.zeros((3, 4), np.float32)
    result = sample(model, settings, displaced(), mean, key)
    again = sample(model, settings, displaced(), mean, key)
    other = sample(model, settings, displaced(), mean, jax.random.key(2))
    for mine, theirs in zip(result, again, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not np.array_equal(result.plan, other.plan)
    policy = policy_plan(model, settings.problem, displaced(), jnp.zeros((3, 4)))
    by_policy = float(returned(model, settings, displaced(), policy))
    assert float(result.best_return) > by_policy
    assert float(returned(model, settings, displaced(), result.mean)) > by_policy
    assert np.abs(result.plan).max() <= 1.0
    assert (np.asarray(result.std) >= settings.std_min).all()
    if not settings.draw_elite:
        np.testing.assert_array_equal(result.plan, result.mean)


@pytest.mark.slow
def test_one_iteration_by_hand(model: PlannerModel) -> None:
    """Mean and deviation are the weighted moments of the elites; here all samples are the policy's and all elites."""
    noise = replace(MPPI.problem, noise=0.3)
    for temperature in (0.0, 2.0):
        settings = SamplingSettings(noise, samples=8, elites=8, policy_plans=8, iterations=1, temperature=temperature)
        key = jax.random.key(4)
        result = sample(model, settings, displaced(), np.zeros((3, 4), np.float32), key)
        drawn = noise.noise * jax.random.normal(jax.random.split(key, 3)[0], (8, 3, 4))
        plans = np.stack([policy_plan(model, noise, displaced(), n) for n in drawn])
        returns = np.array([float(returned(model, settings, displaced(), p)) for p in plans])
        weights = np.exp(temperature * (returns - returns.max()))
        weights /= weights.sum()
        mean = np.tensordot(weights, plans, 1)
        std = np.clip(np.sqrt(np.tensordot(weights, (plans - mean) ** 2, 1)), 0.05, 2.0)
        np.testing.assert_allclose(result.mean, mean, atol=2e-5)
        np.testing.assert_allclose(result.std, std, atol=2e-5)
        assert min(np.abs(np.asarray(result.plan) - p).max() for p in plans) < 1e-5


def test_a_return_that_is_not_finite_ranks_last(model: PlannerModel) -> None:
    settings = replace(MPPI, **SMALL)
    fast = displaced()._replace(state=np.full(14, 1e30, np.float32))
    result = sample(model, settings, fast, np.zeros((3, 4), np.float32), jax.random.key(0))
    assert np.isfinite(result.plan).all()
    assert float(result.best_return) == -1e9


@pytest.mark.parametrize(
    ("name", "value"),
    [("samples", 0), ("elites", 513), ("elites", 0), ("policy_plans", 513), ("iterations", 0), ("temperature", -1.0),
     ("std_min", 0.0), ("std_max", 0.01)],
)  # fmt: skip
def test_settings_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"sampling setting {name} is"):
        replace(MPPI, **{name: value})
