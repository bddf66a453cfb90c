"""The JAX reference of the planner: the return summed by hand, shift and blend, settings and their limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_model import random_model

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train import dynamics, planner, task
from tubepilot.train.planner_settings import NORMALISED_FLOOR, PlannerSettings, StepRule, preset

SETTINGS = preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=2, candidates=3)


@pytest.fixture(scope="module")
def model() -> Any:
    with jax.enable_x64(True):
        return jax.tree.map(jnp.asarray, random_model(0, members=3, width=4, policy_width=8))


def draw(seed: int) -> tuple[planner.Problem, Any]:
    rng = np.random.default_rng(seed)
    attitude = np.array([1.0, 0.1, -0.2, 0.05])
    state = np.concatenate(
        [rng.normal(size=6), attitude / np.linalg.norm(attitude), 0.3 * rng.normal(size=3), [9.5]]
    )
    problem = planner.Problem(
        jnp.asarray(state),
        jnp.asarray(0.5 * rng.normal(size=(3, 9))),
        jnp.asarray(0.3 * rng.normal(size=3)),
        jnp.asarray(0.3 * rng.normal(size=4)),
    )
    return problem, jnp.asarray(rng.uniform(-0.8, 0.8, size=(3, 2, 4)))


def test_return_is_the_sum_that_the_design_states(model: Any) -> None:
    """J = -(sum dt (cost + lambda disagreement) + V), each term alone, for another lambda than the model's."""
    settings = replace(SETTINGS, disagreement=3.0, position=2.0, value=0.5)
    with jax.enable_x64(True):
        firm = model.cost._replace(position=2.0 * model.cost.position)
        problem, plans = draw(0)
        plan = plans[0]
        step = jax.jit(dynamics.step)
        total, spreads, state, before = 0.0, [], problem.state, problem.previous_action
        for h in range(2):
            held = task.setpoint(model.action_scale, plan[h])
            state, members = step(model.world, state, held, problem.disturbance, 0.04)
            cost = task.stage_cost(
                firm, model.action_scale, state, problem.reference[h + 1], problem.disturbance, plan[h], before
            )
            spreads.append(float(jnp.mean(jnp.var(members / model.world.residual.output_scale, axis=0))))
            total += 0.04 * (float(cost) + 3.0 * spreads[-1])
            before = plan[h]
        seen = task.observe(model.observation_scale, state, problem.reference[2], problem.disturbance)
        total += 0.5 * float(task.network(model.value, seen)[0])
        returned, spread = jax.jit(lambda p: planner.plan_return(model, settings, problem, p))(plan)
    assert float(returned) == pytest.approx(-total, rel=1e-12)
    assert float(spread) == pytest.approx(np.mean(spreads), rel=1e-12)
    assert spreads[0] > 0


def test_rank_takes_the_best_after_refinement(model: Any) -> None:
    with jax.enable_x64(True):
        problem, plans = draw(1)
        ranking = jax.jit(lambda p: planner.rank(model, SETTINGS, problem, p))(plans)
        score = jax.jit(lambda p: planner.plan_return(model, SETTINGS, problem, p)[0])
        each = [float(score(plan)) for plan in plans]
    assert int(ranking.best) == int(np.argmax(each))
    np.testing.assert_array_equal(ranking.plan, plans[int(ranking.best)])


def test_shift_moves_by_a_quarter_of_a_knot_and_repeats_the_last() -> None:
    with jax.enable_x64(True):
        plan = jnp.asarray(np.arange(8.0).reshape(2, 4))
        np.testing.assert_allclose(planner.shift(SETTINGS, plan), [[1, 2, 3, 4], [4, 5, 6, 7]], atol=1e-12)
        whole = replace(SETTINGS, shift_knots=1.0)
        np.testing.assert_allclose(planner.shift(whole, plan), [[4, 5, 6, 7], [4, 5, 6, 7]], atol=1e-12)


def test_rollout_without_reuse_is_the_policy_and_with_reuse_keeps_the_first(model: Any) -> None:
    with jax.enable_x64(True):
        problem, previous = draw(2)
        noise = jnp.zeros((3, 2, 4)).at[2].set(5.0)
        roll = jax.jit(lambda reuse: planner.rollout(model, SETTINGS, problem, previous, noise, reuse))
        fresh = np.asarray(roll(jnp.zeros(())))
        action = planner.policy_action(model, problem.state, problem.reference[0], problem.disturbance)
        blended = np.asarray(roll(jnp.asarray(0.25)))
        shifted = np.stack([planner.shift(SETTINGS, plan) for plan in previous])
    np.testing.assert_allclose(fresh[:2, 0], np.stack([action, action]), rtol=1e-12)
    np.testing.assert_array_equal(fresh[2], np.ones((2, 4)))
    np.testing.assert_allclose(blended[0], shifted[0], rtol=1e-12)
    np.testing.assert_allclose(blended[1:], 0.25 * shifted[1:] + 0.75 * fresh[1:], rtol=1e-12)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e6])
def test_step_rules_have_the_size_they_state(size: float) -> None:
    rng = np.random.default_rng(0)
    gradient = size * rng.normal(size=(2, 4))
    rms = float(np.sqrt(np.mean(gradient**2)))

    def step(rule: StepRule, metric: Any) -> Any:
        settings = replace(SETTINGS, step_rule=rule, step_size=0.1, radius=0.2)
        with jax.enable_x64(True):
            return np.asarray(planner.ascent(settings, jnp.asarray(metric), jnp.asarray(gradient)))

    np.testing.assert_allclose(step(StepRule.GRADIENT, np.ones((2, 4))), 0.1 * gradient, rtol=1e-12)
    normalised = np.sqrt(np.mean(step(StepRule.NORMALISED, np.ones((2, 4))) ** 2))
    assert normalised == pytest.approx(0.1 * rms / np.hypot(rms, NORMALISED_FLOOR), rel=1e-9)
    metric = np.arange(1.0, 9.0).reshape(2, 4)
    direction = metric * gradient
    moved = step(StepRule.PRECONDITIONED, metric)
    np.testing.assert_allclose(moved / np.linalg.norm(moved), direction / np.linalg.norm(direction), rtol=1e-9)
    assert np.sqrt(np.mean(moved**2)) <= 0.1 * 0.2
    if size < 1e-6:
        np.testing.assert_allclose(moved, 0.1 * direction, rtol=1e-9)


def test_presets() -> None:
    paper = preset("paper", dt_plan_s=0.04, tick_hz=100.0)
    assert (paper.candidates, paper.horizon, paper.steps, paper.step_rule) == (5, 3, 1, StepRule.GRADIENT)
    assert (paper.step_size, paper.reuse, paper.disagreement) == (0.1, 0.1, 0.01)
    quadrotor = preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0)
    assert (quadrotor.candidates, quadrotor.horizon, quadrotor.shift_knots) == (5, 12, pytest.approx(0.25))
    far = preset("long", dt_plan_s=0.04, tick_hz=100.0)
    assert (far.candidates, far.horizon, far.steps, far.step_rule) == (2, 20, 4, quadrotor.step_rule)
    assert far.model_evaluations == 2 * 20 * (1 + 2 * 4 + 1) < 9216 / 20
    assert (quadrotor.model_evaluations, paper.model_evaluations) == (600, 60)
    with pytest.raises(InputError, match="'fast' is unknown; the presets are: paper, quadrotor, long"):
        preset("fast", dt_plan_s=0.04, tick_hz=100.0)
    with pytest.raises(InputError, match="tick_hz is 0"):
        preset("paper", dt_plan_s=0.04, tick_hz=0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("candidates", 0), ("horizon", 65), ("steps", -1), ("shift_knots", 1.1), ("reuse", -0.1), ("step_size", 0.0),
     ("noise", float("nan")), ("disagreement", -1.0), ("radius", 0.0), ("curvature_floor", 2.0),
     ("obstacle", -1.0), ("position", -1.0), ("value", 1e4), ("fence", float("nan")), ("speed", 1e7), ("shell_m", -0.1)],
)  # fmt: skip
def test_settings_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"planner setting {name} is"):
        replace(SETTINGS, **{name: value})
    assert isinstance(SETTINGS, PlannerSettings)
