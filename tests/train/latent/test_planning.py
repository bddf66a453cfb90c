"""Planning in the latent space: the return of a plan, its gradient, and the three controllers."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.latent.controllers import GradientPlanner, Mppi, PolicyAlone
from tubepilot.train.latent.networks import Parameters, advance, encode, policy_of, reward_of, values_of
from tubepilot.train.latent.planning import Controller, Memory, plan_return, plan_returns, policy_plans, shifted
from tubepilot.train.latent.settings import ModelSettings

pytestmark = pytest.mark.slow

H = 3


def doubled(tree: object) -> object:
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), tree)


def latents(small: ModelSettings, weights: Parameters, count: int) -> jax.Array:
    return encode(small, weights, jax.random.normal(jax.random.key(11), (count, small.observation)))


def test_return_is_the_sum_written_out(small: ModelSettings, weights: Parameters) -> None:
    latent, plan = latents(small, weights, 1)[0], jnp.array([[0.3], [-0.8], [0.5]])
    expected, spread, state = 0.0, 0.0, latent
    for h, action in enumerate(plan):
        expected += small.discount**h * float(reward_of(small, weights, state, action))
        spread += float(np.std(np.asarray(values_of(small, weights.values, state, action))))
        state = advance(small, weights, state, action)
    values = np.asarray(values_of(small, weights.values, state, jnp.tanh(policy_of(small, weights, state).mean)))
    expected += small.discount**H * float(values.mean())
    spread += float(values.std())
    returned, seen = plan_return(small, weights, 0.3, latent, plan)
    assert float(seen) == pytest.approx(spread, rel=1e-4)
    assert float(returned) == pytest.approx(expected - 0.3 * spread, rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_gradient_of_the_return_is_that_of_differences(small: ModelSettings, weights: Parameters, weight: float) -> None:
    with jax.enable_x64(True):
        parameters = doubled(weights)
        latent, plan = latents(small, parameters, 1)[0], jnp.array([[0.3], [-0.8], [0.5]])
        returned = jax.jit(lambda p: plan_return(small, parameters, weight, latent, p)[0])
        gradient = jax.grad(returned)(plan)
        for h in range(H):
            step = jnp.zeros_like(plan).at[h, 0].set(1e-6)
            difference = float(returned(plan + step) - returned(plan - step)) / 2e-6
            assert abs(difference) > 1e-7
            assert float(gradient[h, 0]) == pytest.approx(difference, rel=1e-5, abs=1e-9)


def test_the_penalty_has_a_gradient(small: ModelSettings, weights: Parameters) -> None:
    """The difference of the gradients with and without it is the gradient of the disagreement, which is not zero."""
    with jax.enable_x64(True):
        parameters = doubled(weights)
        latent, plan = latents(small, parameters, 1)[0], jnp.array([[0.3], [-0.8], [0.5]])

        def part(weight: float, index: int) -> jax.Array:
            return jax.jit(jax.grad(lambda p: plan_return(small, parameters, weight, latent, p)[index]))(plan)

        # The disagreement that a weight of zero reports lacks the terms of the horizon, so a small weight stands for it.
        penalty = part(1.0, 0) - part(1e-12, 0)
        np.testing.assert_allclose(penalty, -part(1.0, 1), rtol=1e-6, atol=1e-10)
        assert float(jnp.min(jnp.abs(penalty))) > 1e-7


def test_agreeing_heads_give_a_finite_gradient(small: ModelSettings, weights: Parameters) -> None:
    same = weights._replace(values=jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), weights.values))
    gradient = jax.grad(lambda p: plan_return(small, same, 1.0, latents(small, same, 1)[0], p)[0])(jnp.zeros((H, 1)))
    assert np.all(np.isfinite(gradient))


def test_planner_is_never_worse_in_the_model_than_the_policy_plan(small: ModelSettings, weights: Parameters) -> None:
    planner = GradientPlanner(small, steps=4, step_size=0.3)
    observations = jax.random.normal(jax.random.key(11), (40, small.observation))
    memory = planner.start()
    decide = jax.jit(jax.vmap(lambda o, k: planner.decide(weights, memory, o, k)))
    decided = decide(observations, jax.random.split(jax.random.key(2), 40))

    def plain(observation: jax.Array) -> jax.Array:
        latent = encode(small, weights, observation)
        plan = policy_plans(small, weights, latent, jnp.zeros((1, H, 1)))
        return plan_returns(small, weights, planner.disagreement, latent, plan)[0]

    gain = np.asarray(decided.returned - jax.vmap(plain)(observations))
    assert gain.min() >= -1e-5
    assert np.mean(gain > 1e-3) > 0.9


def test_what_the_planner_reports_is_the_return_of_its_plan(small: ModelSettings, weights: Parameters) -> None:
    """Ranking comes after the last step: the number belongs to the refined plan."""
    planner, observation = GradientPlanner(small), jnp.array([0.4, -0.2])
    decided = planner.decide(weights, planner.start(), observation, jax.random.key(0))
    again = plan_return(small, weights, planner.disagreement, encode(small, weights, observation), decided.memory.plan)[0]
    assert float(decided.returned) == pytest.approx(float(again), rel=1e-5)
    np.testing.assert_array_equal(decided.action, decided.memory.plan[0])


def test_a_step_that_overshoots_is_taken_back(small: ModelSettings, weights: Parameters) -> None:
    latent = latents(small, weights, 1)[0]
    plan = jnp.array([[0.1], [0.2], [-0.1]])
    before = float(plan_return(small, weights, 0.01, latent, plan)[0])
    for size in (0.1, 1.0, 10.0):
        refined, returned = GradientPlanner(small, steps=1, step_size=size).refine(weights, latent, plan)
        assert float(returned) >= before - 1e-6
        assert np.abs(refined).max() <= 1.0


def test_reuse_blends_the_shifted_best_plan(small: ModelSettings, weights: Parameters) -> None:
    planner, latent, key = GradientPlanner(small, reuse=0.25), latents(small, weights, 1)[0], jax.random.key(3)
    old = jnp.array([[0.1], [0.9], [-0.9]])
    fresh = planner.seeds(weights, Memory(old, jnp.zeros((), bool)), latent, key)
    blended = planner.seeds(weights, Memory(old, jnp.ones((), bool)), latent, key)
    np.testing.assert_array_equal(blended[0], fresh[0])
    np.testing.assert_allclose(blended[1:], 0.75 * fresh[1:] + 0.25 * shifted(old), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(shifted(old)[:, 0], np.array([0.9, -0.9, -0.9], np.float32))


def test_mppi_iterations_raise_the_return(small: ModelSettings, weights: Parameters) -> None:
    observation = jnp.array([0.4, -0.2])

    def reached(iterations: int) -> float:
        controller = Mppi(small, samples=64, elites=8, policy_plans=4, iterations=iterations)
        decide = jax.jit(jax.vmap(lambda k: controller.decide(weights, controller.start(), observation, k)))
        plans = decide(jax.random.split(jax.random.key(5), 16)).memory.plan
        return float(jnp.mean(plan_returns(small, weights, 0.0, encode(small, weights, observation), plans)))

    assert reached(6) > reached(1)


@pytest.mark.parametrize("kind", [PolicyAlone, GradientPlanner, Mppi])
@pytest.mark.parametrize("explore", [False, True])
def test_all_controllers_share_one_interface(small: ModelSettings, weights: Parameters, kind: type, explore: bool) -> None:
    controller: Controller = kind(small)
    if explore:
        if kind is GradientPlanner:
            controller = replace(controller, steps=0)
        else:
            controller = replace(controller, explore=True)
    decide = jax.jit(controller.decide)
    memory = controller.start()
    for step in range(3):
        decided = decide(weights, memory, jnp.array([0.4, -0.2]), jax.random.key(step))
        same = decide(weights, memory, jnp.array([0.4, -0.2]), jax.random.key(step))
        np.testing.assert_array_equal(decided.action, same.action)
        assert decided.action.shape == (small.action,)
        assert float(jnp.abs(decided.action).max()) <= 1.0
        assert np.isfinite(decided.returned)
        memory = decided.memory


def test_counts_of_model_evaluations(small: ModelSettings) -> None:
    assert PolicyAlone(small).model_evaluations == 0
    # Policy rollout 15, one step forward and back 30, ranking 15.
    assert GradientPlanner(small).model_evaluations == 60
    # 512 samples, 3 steps, 6 iterations, and 24 policy rollouts.
    assert Mppi(small).model_evaluations == 9216 + 72


def test_settings_out_of_range_are_refused(small: ModelSettings) -> None:
    with pytest.raises(InputError, match=r"elites is 600, must be within \[1, 512\]"):
        Mppi(small, elites=600)
    with pytest.raises(InputError, match="step_size is nan"):
        GradientPlanner(small, step_size=float("nan"))
