"""The value's labels summed by hand, their derivatives, the states they are taken at, and that training learns them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.train.dynamics import Physics, WorldModel, rotation_matrix, step
from tubepilot.train.policy import PolicySettings, default_task, make_network, train_policy
from tubepilot.train.references import reference_at
from tubepilot.train.residual import zero_residual
from tubepilot.train.task import network, observe, setpoint, stage_cost
from tubepilot.train.value import DERIVATIVE_UNITS, PREFIX, draw_starts, label, moved, train_value, value_accuracy

DT_S = 0.04
COUNT = 64
SETTINGS = PolicySettings(width=8, steps=3, batch=8, iterations=4, value_iterations=3, value_rollouts=4)


@pytest.fixture(scope="module")
def made(known_physics: Physics) -> Any:
    """World model, task, a policy of random weights, and the labels of starts under it."""
    generator = np.random.default_rng(0)
    model = WorldModel(known_physics, zero_residual())
    task = default_task((6.0, 6.0, 3.0), 2.0, 17.0)
    policy, value = make_network(generator, 20, 8, 4, 0.3), make_network(generator, 20, 8, 1, 1.0)
    labels = jax.jit(jax.vmap(lambda start: label(model, task, policy, value, start, 3, DT_S)))
    return model, task, policy, labels


def test_a_state_is_moved_by_units_and_turned_in_the_body() -> None:
    with jax.enable_x64(True):
        x = jnp.concatenate([jnp.arange(6.0), jnp.array([0.8, 0.6, 0.0, 0.0]), jnp.arange(4.0)])
        change = np.zeros(13)
        change[[0, 5, 8, 10, 12]] = 1.0, 2.0, 1e-3, 3.0, -1.0
        after = np.asarray(moved(x, jnp.asarray(change)))
        wanted = np.asarray(x).copy()
        wanted[[0, 5, 11, 13]] += np.array([0.1, 0.6, 3.0, -1.0])
        np.testing.assert_allclose(after[[0, 1, 2, 3, 4, 5, 10, 11, 12, 13]], wanted[[0, 1, 2, 3, 4, 5, 10, 11, 12, 13]], atol=1e-12)
        about_body_z = np.asarray(rotation_matrix(x[6:10]).T @ rotation_matrix(jnp.asarray(after[6:10])))
        np.testing.assert_allclose(about_body_z[1, 0], 1e-3 * DERIVATIVE_UNITS[8], rtol=1e-6)


def test_a_label_is_the_cost_of_the_policy_from_there_and_its_slope(made: Any) -> None:
    model, task, policy, labels = made
    starts = draw_starts(np.random.default_rng(1), model, SETTINGS, COUNT)
    found = labels(starts)
    k = int(np.argmin(found.cost))
    episode = jax.tree.map(lambda v: jnp.asarray(np.asarray(v)[k], float), starts.episode)
    world = WorldModel(episode.physics, model.residual)

    @jax.jit
    def cost_of(x: Any) -> Any:
        total, previous = jnp.zeros(()), None
        for n in range(3):
            now, then = (reference_at(episode.tones, jnp.asarray((PREFIX + n + ahead) * DT_S)) for ahead in (0, 1))
            action = jnp.tanh(network(policy, observe(task.observation_scale, x, now, episode.observed)))
            x, _ = step(world, x, setpoint(task.action_scale, action), episode.disturbance, DT_S)
            before = action if previous is None else previous
            total += DT_S * stage_cost(task.cost, task.action_scale, x, then, episode.observed, action, before)
            previous = action
        return total

    x = jnp.asarray(np.asarray(found.x)[k], float)
    assert float(cost_of(x)) == pytest.approx(float(found.cost[k]), rel=1e-4)
    for axis in (0, 4, 7, 12):
        change = 0.05 * np.eye(13)[axis]
        there, back = (float(cost_of(moved(x, jnp.asarray(sign * change, x.dtype)))) for sign in (1, -1))
        slope = (there - back) / 0.1
        assert slope == pytest.approx(float(found.slope[k, axis]), rel=0.03, abs=2e-3 * float(found.cost[k]))


def test_states_lie_off_the_path_of_the_policy(made: Any) -> None:
    model, _, _, labels = made
    starts = draw_starts(np.random.default_rng(2), model, SETTINGS, COUNT)
    tame = starts._replace(noise=jnp.zeros_like(starts.noise), exploit=jnp.zeros_like(starts.exploit))
    rates = np.linalg.norm(np.asarray(labels(starts).x - labels(tame).x)[:, 10:13], axis=1)
    assert np.mean(rates > 0.5) > 0.5  # rad/s: most are driven away,
    assert np.mean(rates == 0.0) > 0.05  # and some are not


@pytest.mark.slow
def test_training_learns_costs_and_slopes_off_the_path(known_physics: Physics) -> None:
    task = default_task((6.0, 6.0, 3.0), 2.0, 17.0)
    model = WorldModel(known_physics, zero_residual())
    settings = PolicySettings(width=32, steps=24, batch=64, iterations=150, value_iterations=1200, value_rollouts=256)
    policy = train_policy(model, task, DT_S, settings, 0)
    before = train_value(model, task, policy, DT_S, replace(settings, value_iterations=1), 0)
    after = train_value(model, task, policy, DT_S, settings, 0)
    first, last = (value_accuracy(model, task, policy, value, DT_S, settings, 5, 512) for value in (before, after))
    assert last.rank_correlation > 0.9 > first.rank_correlation
    assert last.slope_cosine > 0.6 > first.slope_cosine
    assert last.explained > 0.5
