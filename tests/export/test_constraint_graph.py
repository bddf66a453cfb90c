"""Obstacles, fence and speed limit in the exported planner: the same as JAX, on board too, and the preset `long`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_model import random_model

from tubepilot.export import parity, samples
from tubepilot.export.cli_export import build_graphs
from tubepilot.export.constraint_graph import ConstraintSize
from tubepilot.export.curvature import inverse_curvature
from tubepilot.export.planner_graphs import refine_graph, score_graph
from tubepilot.firmware_bridge.errors import InputError
from tubepilot.runtime.limits import NO_LIMIT_M_S, UNUSED_FACE, UNUSED_OBSTACLE, Limits
from tubepilot.train import planner
from tubepilot.train.constraints import Constraints, relative, widened
from tubepilot.train.planner_settings import StepRule, preset

MODEL = random_model(0, members=3, width=8, policy_width=16)
SIZE = ConstraintSize(obstacles=2, faces=3)


def test_return_and_gradient_with_constraints_are_those_of_jax() -> None:
    settings = replace(
        preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=3, candidates=2),
        step_rule=StepRule.GRADIENT, step_size=1e-5, shell_m=0.0,
    )  # fmt: skip
    refine, score = refine_graph(MODEL, settings, np.ones((3, 4)), SIZE), score_graph(MODEL, settings, SIZE)
    with jax.enable_x64(True):
        cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), MODEL)

        @jax.jit
        def wanted(x: dict[str, Any]) -> Any:
            limits = Constraints(x["obstacles"], x["fence"], x["speed_limit"][0])
            problem = planner.Problem(x["state"][0], x["reference"], x["disturbance"][0], x["previous_action"][0], limits)
            plans = x["plans"].reshape(3, 2, 4).swapaxes(0, 1)
            value = jax.value_and_grad(lambda plan: planner.plan_return(cast, settings, problem, plan)[0])
            returns, gradient = jax.vmap(value)(plans)
            return returns, gradient.swapaxes(0, 1).reshape(-1, 4)

        drawn = samples.draw(settings, 8, 3, SIZE)
        drawn["state"][..., 6:10] /= np.linalg.norm(drawn["state"][..., 6:10], axis=-1, keepdims=True)
        drawn["plans"] *= 0.5
        for k in range(8):
            known = {name: array[k] for name, array in drawn.items()}
            returns, gradient = wanted(known)
            known.update(score.evaluate({name: known[name] for name in score.inputs}))
            refined = refine.evaluate({name: known[name] for name in refine.inputs})
            np.testing.assert_allclose(known["returns"], returns, rtol=1e-11)
            np.testing.assert_allclose(refined["refined"], np.clip(known["plans"] + 1e-5 * gradient, -1, 1), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "horizon"), [("quadrotor", 4), ("long", None)])
def test_graphs_with_constraints_stay_within_the_parity_bounds(name: str, horizon: int | None) -> None:
    settings = preset(name, dt_plan_s=0.04, tick_hz=100.0, horizon=horizon)
    metric = inverse_curvature(MODEL, settings)
    built = build_graphs(MODEL, settings, metric, {}, SIZE)
    drawn = samples.draw(settings, 24, 3, SIZE)
    models = {graph: model for graph, (_, model) in built.items()}
    results = parity.check_parity(models, MODEL, settings, metric, drawn, constrained=True, progress=False)
    assert {result.graph for result in results} == {"rollout", "refine", "rank", "policy"}
    assert settings.horizon == (horizon or 20)


def test_constraints_lower_the_return_and_unused_rows_do_not() -> None:
    settings = preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=4)
    graph, free = score_graph(MODEL, settings, SIZE), score_graph(MODEL, settings)
    drawn = {name: array[0] for name, array in samples.draw(settings, 4, 0, SIZE).items()}
    returns = free.evaluate({name: drawn[name] for name in free.inputs})["returns"]
    unused = {
        "obstacles": np.tile(UNUSED_OBSTACLE, (2, 1)), "fence": np.tile(UNUSED_FACE, (3, 1)),
        "speed_limit": np.full(1, NO_LIMIT_M_S),
    }  # fmt: skip
    np.testing.assert_allclose(
        graph.evaluate({name: {**drawn, **unused}[name] for name in graph.inputs})["returns"], returns, rtol=1e-9
    )
    inside = np.concatenate([drawn["state"][0, :3], np.ones(3)])[None]
    for change in ({"obstacles": np.repeat(inside, 2, axis=0)}, {"speed_limit": np.full(1, 0.01)}):
        limited = graph.evaluate({name: {**drawn, **unused, **change}[name] for name in graph.inputs})["returns"]
        assert np.all(limited < returns)


def test_tables_on_board_are_those_of_the_reference() -> None:
    """Shell and shift to the first reference row, against `train.constraints`; free rows stay free."""
    rng = np.random.default_rng(0)
    obstacles = np.hstack([rng.normal(size=(2, 3)), rng.uniform(0.5, 4.0, size=(2, 3))])
    obstacles[1, 5] = 0.0
    normals = rng.normal(size=(2, 3))
    faces = np.hstack([normals / np.linalg.norm(normals, axis=1, keepdims=True), rng.uniform(1.0, 2.0, size=(2, 1))])
    origin = np.array([0.3, -4.0, 1.0])
    limits = Limits(3, 3, present=True)
    limits.set(obstacles, faces, 2.5, 0.2)
    limits.load(origin)
    with jax.enable_x64(True):
        given = Constraints(jnp.asarray(obstacles), jnp.asarray(faces), jnp.asarray(2.5))
        wanted = relative(widened(given, 0.2), origin, 0.0)
    np.testing.assert_allclose(limits.buffers["obstacles"][:2], wanted.obstacles, rtol=1e-6)
    np.testing.assert_allclose(limits.buffers["fence"][:2], wanted.fence, rtol=1e-6)
    np.testing.assert_array_equal(limits.buffers["obstacles"][2, 3:], 1.0)
    np.testing.assert_array_equal(limits.buffers["fence"][2], UNUSED_FACE)
    assert limits.buffers["speed_limit"][0] == 2.5


@pytest.mark.parametrize(
    ("obstacles", "faces", "speed", "message"),
    [
        (np.ones((4, 6)), np.ones((1, 4)), 1.0, "4 obstacles are given, this bundle takes 3: export it with --obstacles 4"),
        (np.ones((1, 5)), np.ones((1, 4)), 1.0, r"must be \(n, 6\)"),
        (np.full((1, 6), np.nan), np.ones((1, 4)), 1.0, "finite"),
        (-np.ones((1, 6)), np.ones((1, 4)), 1.0, "at least 0"),
        (np.ones((1, 6)), np.ones((1, 4)), 0.0, "above 0"),
    ],
)  # fmt: skip
def test_unusable_tables_are_refused(obstacles: Any, faces: Any, speed: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Limits(3, 3, present=True).set(obstacles, faces, speed, 0.1)


def test_a_planner_without_tables_refuses_obstacles_and_takes_none() -> None:
    limits = Limits.of({})
    assert limits.buffers == {}
    limits.set(np.zeros((0, 6)), np.zeros((0, 4)), 2.0, 0.1)
    with pytest.raises(InputError, match="takes 0"):
        limits.set(np.ones((1, 6)), np.zeros((0, 4)), 2.0, 0.1)


def test_table_sizes_are_checked() -> None:
    with pytest.raises(InputError, match="number of faces is 65"):
        ConstraintSize(faces=65)


def test_the_long_preset_plans_as_in_jax() -> None:
    """A whole tick of `long` through the graphs in float64."""
    settings = replace(preset("long", dt_plan_s=0.04, tick_hz=100.0), steps=2)
    metric = inverse_curvature(MODEL, settings)
    graphs = {name: graph for name, (graph, _) in build_graphs(MODEL, settings, metric, {}).items()}
    known = {name: array[0] for name, array in samples.draw(settings, 2, 5).items()}
    known["state"][0, 6:10] /= np.linalg.norm(known["state"][0, 6:10])
    for name in ("rollout", "refine", "refine", "rank"):
        made = graphs[name].evaluate({port: known[port] for port in graphs[name].inputs})
        known = {**known, **parity.handed_on(made)}
    with jax.enable_x64(True):
        cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), MODEL)
        x = {name: jnp.asarray(array) for name, array in samples.draw(settings, 2, 5).items()}
        problem = planner.Problem(known["state"][0], x["reference"][0], x["disturbance"][0, 0], x["previous_action"][0, 0])
        _, ranking = planner.plan(
            cast, settings, jnp.asarray(metric), problem, x["previous_plans"][0], x["noise"][0], x["reuse"][0, 0]
        )
    np.testing.assert_allclose(known["plan"], ranking.plan, atol=1e-9)
