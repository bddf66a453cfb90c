"""Gradient of every term of the return against central differences in float64; the switches of the ablation."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_model import random_model
from helpers.small_bundle import random_checkpoint

from tubepilot.export import cli_export, curvature
from tubepilot.train.constraints import Constraints
from tubepilot.train.planner import PlannerModel, Problem, inverse_curvature, plan, plan_return, rank, refine, rollout
from tubepilot.train.planner_settings import PlannerSettings, StepRule, preset
from tubepilot.train.task import CostWeights

SETTINGS = replace(
    preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=3, candidates=3), disagreement=None, shell_m=0.05
)
STEP = 1e-5
"""Of the central differences, in action units: their error is about STEP^2 times the third derivative."""
HINGES = ("obstacle", "fence", "speed")
OBSTACLE, FACE = [0.4, 0.3, 0.0, 1.0, 1.2, 0.5], [0.6, 0.8, 0.0, -0.5]
UNUSED_OBSTACLE, UNUSED_FACE = [1e3, 1e3, 1e3, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]


def problem(at_work: tuple[str, ...] = HINGES) -> Problem:
    """Inside an obstacle, beyond a face and too fast throughout; rows of hinges that are not at work are unused."""
    rng = np.random.default_rng(3)
    attitude = np.array([1.0, 0.1, -0.2, 0.05])
    state = np.concatenate([[0.1, -0.2, 0.1], [1.0, 0.7, -0.4], attitude / np.linalg.norm(attitude), [0.3, -0.2, 0.1], [9.5]])
    constraints = Constraints(
        jnp.asarray([OBSTACLE if "obstacle" in at_work else UNUSED_OBSTACLE, UNUSED_OBSTACLE]),
        jnp.asarray([FACE if "fence" in at_work else UNUSED_FACE, UNUSED_FACE]),
        jnp.asarray(0.8 if "speed" in at_work else jnp.inf),
    )
    return Problem(
        jnp.asarray(state),
        jnp.asarray(0.5 * rng.normal(size=(4, 9))),
        jnp.asarray(0.3 * rng.normal(size=3)),
        jnp.asarray(0.3 * rng.normal(size=4)),
        constraints,
    )


def whole() -> PlannerModel:
    """The random model in the precision of the context."""
    return jax.tree.map(jnp.asarray, random_model(0, members=3, width=4, policy_width=8))


def only(term: str) -> PlannerModel:
    """The random model with every weight 0 but that of one term."""
    model = whole()
    weights = {name: (w if name == term else 0.0 * w) for name, w in model.cost._asdict().items()}
    value = model.value if term == "value" else jax.tree.map(lambda v: 0.0 * v, model.value)
    return model._replace(cost=CostWeights(**weights), value=value)


# Models go in as arguments: the compiler would fold constants for seconds.
@partial(jax.jit, static_argnums=0)
def score(settings: PlannerSettings, model: PlannerModel, asked: Problem, plans: Any) -> Any:
    """Returns of many plans."""
    return jax.vmap(lambda p: plan_return(model, settings, asked, p)[0])(plans)


@partial(jax.jit, static_argnums=0)
def slope(settings: PlannerSettings, model: PlannerModel, asked: Problem, actions: Any) -> Any:
    """Return of a plan and its gradient."""
    return jax.value_and_grad(lambda p: plan_return(model, settings, asked, p)[0])(actions)


@pytest.mark.parametrize("term", [*CostWeights._fields, "value", *HINGES])
def test_gradient_of_each_term_alone(term: str) -> None:
    with jax.enable_x64(True):
        model, asked = only(term), problem((term,))
        actions = jnp.asarray(np.random.default_rng(5).uniform(-0.7, 0.7, size=(3, 4)))
        gradient = np.asarray(slope(SETTINGS, model, asked, actions)[1]).ravel()
        moves = STEP * np.eye(12).reshape(12, 3, 4)
        above, below = (np.asarray(score(SETTINGS, model, asked, actions + sign * moves)) for sign in (1, -1))
    assert np.abs(gradient).max() > 1e-6, "the term is not at work"
    error = np.abs(gradient - (above - below) / (2 * STEP)).max() / np.abs(gradient).max()
    assert error < 1e-5


def test_no_term_is_left_out_of_that_list() -> None:
    with jax.enable_x64(True):
        plans = np.random.default_rng(1).uniform(-0.7, 0.7, size=(12, 3, 4))
        np.testing.assert_array_equal(score(SETTINGS, only("none"), problem(()), plans), np.zeros(12))


def test_disagreement_without_gradient_keeps_the_return() -> None:
    with jax.enable_x64(True):
        model, asked, actions = only("disagreement"), problem(()), jnp.full((3, 4), 0.3)
        returned, gradient = slope(SETTINGS, model, asked, actions)
        same, nothing = slope(replace(SETTINGS, disagreement_gradient=False), model, asked, actions)
    assert float(same) == pytest.approx(float(returned), rel=1e-12)
    assert float(returned) < 0
    assert np.abs(gradient).max() > 1e-6
    np.testing.assert_array_equal(nothing, np.zeros((3, 4)))


def test_no_constraints_equal_unused_rows() -> None:
    with jax.enable_x64(True):
        actions = jnp.asarray(np.random.default_rng(1).uniform(-0.7, 0.7, size=(3, 4)))
        unused = slope(SETTINGS, whole(), problem(()), actions)
        none = slope(SETTINGS, whole(), problem()._replace(constraints=None), actions)
        broken = slope(SETTINGS, whole(), problem(), actions)
    np.testing.assert_allclose(none[0], unused[0], rtol=1e-12)
    np.testing.assert_allclose(none[1], unused[1], rtol=1e-9, atol=1e-12)
    assert float(broken[0]) < float(none[0]) - 1.0


@partial(jax.jit, static_argnums=0)
def by_parts(settings: PlannerSettings, model: Any, metric: Any, asked: Any, previous: Any, noise: Any, share: Any) -> Any:
    """Candidates after all steps, returns before the last one, and the ranking, each from its own function."""
    plans = rollout(model, settings, asked, previous, noise, share)
    for _ in range(settings.steps):
        plans, returns = refine(model, settings, metric, asked, plans)
    return plans, returns, rank(model, settings, asked, plans)


@pytest.mark.slow
def test_plan_is_rollout_refine_rank_and_keeps_the_best_first() -> None:
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        previous, noise = (jnp.asarray(0.3 * rng.normal(size=(3, 3, 4))) for _ in range(2))
        settings = replace(SETTINGS, steps=2)
        inputs = (whole(), jnp.full((3, 4), 0.02), problem(), previous, noise, jnp.asarray(0.5))
        whole_tick = jax.jit(plan, static_argnums=1)
        plans, before, ranking = by_parts(settings, *inputs)
        kept, got = whole_tick(inputs[0], settings, *inputs[1:])
        _, released = whole_tick(inputs[0], replace(settings, rank_before_last_step=True), *inputs[1:])
    close = {"rtol": 1e-9, "atol": 1e-12}
    best, plans = int(ranking.best), np.asarray(plans)
    np.testing.assert_allclose(got.plan, ranking.plan, **close)
    np.testing.assert_allclose(got.returns, ranking.returns, **close)
    order = [best if i == 0 else 0 if i == best else i for i in range(3)]
    np.testing.assert_allclose(kept, plans[order], **close)
    np.testing.assert_allclose(released.returns, before, **close)
    np.testing.assert_allclose(released.plan, plans[int(np.argmax(before))], **close)


def test_metric_is_the_exported_one() -> None:
    model = cli_export.planner_model(random_checkpoint())
    settings = preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=4)
    np.testing.assert_allclose(inverse_curvature(model, settings), curvature.inverse_curvature(model, settings), rtol=1e-4)
    plain = replace(settings, step_rule=StepRule.GRADIENT)
    np.testing.assert_array_equal(inverse_curvature(model, plain), np.ones((4, 4)))
