"""The exported MPPI is `train.sampling_planners.plan_by_sampling`, given the same random numbers."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from helpers.random_model import random_model

from tubepilot.export import samples
from tubepilot.export.bench_decision import make_case, mppi
from tubepilot.export.bench_planner import settings
from tubepilot.export.mppi_graph import mppi_graph
from tubepilot.train import planner
from tubepilot.train.sampling_planners import mppi_settings, plan_by_sampling

MODEL = random_model(0, members=2, width=8, policy_width=8)


def test_mppi_graph_is_the_same_algebra_as_jax() -> None:
    settings = replace(mppi_settings(dt_plan_s=0.04, tick_hz=100.0), samples=20, elites=6, policy_plans=4, iterations=2)
    horizon = settings.problem.horizon
    graph = mppi_graph(MODEL, settings)
    drawn = {name: array[0] for name, array in samples.draw(replace(settings.problem, candidates=1), 2, 0).items()}
    drawn["state"][0, 6:10] /= np.linalg.norm(drawn["state"][0, 6:10])
    mean = drawn["plans"]  # one candidate: its rows are its steps
    with jax.enable_x64(True):
        cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), MODEL)
        key = jax.random.key(3)
        policy_key, sample_key, elite_key = jax.random.split(key, 3)
        problem = planner.Problem(
            *(jnp.asarray(drawn[name]) for name in ("state", "reference", "disturbance", "previous_action"))
        )
        problem = problem._replace(
            state=problem.state[0], disturbance=problem.disturbance[0], previous_action=problem.previous_action[0]
        )
        wanted = jax.jit(lambda p, m: plan_by_sampling(cast, settings, p, m, key))(problem, jnp.asarray(mean))
        noise = [
            jax.random.normal(k, (settings.samples - settings.policy_plans, horizon, 4))
            for k in jax.random.split(sample_key, settings.iterations)
        ]
        feeds = {
            "mean": mean.reshape(1, -1),
            "policy_noise": np.asarray(jax.random.normal(policy_key, (settings.policy_plans, horizon, 4))),
            "sample_noise": np.stack([np.asarray(n).reshape(len(n), -1) for n in noise]),
            "draw": np.asarray(jax.random.gumbel(elite_key, (settings.elites,)))[None],
        }
    result = graph.evaluate({**{name: drawn[name] for name in graph.inputs if name in drawn}, **feeds})
    np.testing.assert_allclose(result["mean_after"].reshape(horizon, 4), wanted.mean, atol=1e-10)
    np.testing.assert_allclose(result["std_after"].reshape(horizon, 4), wanted.std, atol=1e-10)
    np.testing.assert_allclose(result["plan"], wanted.plan, atol=1e-10)


def test_the_contenders_of_the_bench_plan_over_three_steps_and_over_ours() -> None:
    case = make_case(random_model(0, members=2, width=4, policy_width=8), replace(settings(), horizon=4), 0)
    for same_horizon, steps in ((False, 3), (True, 4)):
        decide, _ = mppi(case, 0, same_horizon=same_horizon)
        plan = np.asarray(decide())
        assert plan.shape == (steps, 4)
        assert np.all(np.isfinite(plan))
