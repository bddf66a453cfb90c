"""Losses: gradients against finite differences, and what must not receive any."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.train.latent.learner import initial_learner, updates
from tubepilot.train.latent.losses import Batch, model_loss, policy_loss
from tubepilot.train.latent.networks import Parameters, encode
from tubepilot.train.latent.settings import LearnSettings, ModelSettings

pytestmark = pytest.mark.slow

STEP = 1e-6


def doubled(tree: object) -> object:
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), tree)


def assert_slope(function: Callable, at: object, seed: int) -> None:
    """The derivative along a random direction is the central difference."""
    leaves, structure = jax.tree.flatten(at)
    generator = np.random.default_rng(seed)
    way = jax.tree.unflatten(structure, [jnp.asarray(generator.normal(size=leaf.shape)) for leaf in leaves])
    function = jax.jit(function)
    sides = [function(jax.tree.map(lambda x, d, s=sign: x + s * STEP * d, at, way)) for sign in (1.0, -1.0)]
    gradient = jax.jit(jax.grad(function))(at)
    slope = sum(float(jnp.sum(g * d)) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True))
    assert abs(slope) > 1e-5
    assert slope == pytest.approx(float(sides[0] - sides[1]) / (2 * STEP), rel=1e-5, abs=1e-8)


def test_policy_loss_has_the_slope_of_differences(small: ModelSettings, weights: Parameters, batch: Batch) -> None:
    settings = LearnSettings(horizon=2, entropy=0.1)
    with jax.enable_x64(True):
        parameters, latents = doubled(weights), encode(small, doubled(weights), doubled(batch.observations))
        assert_slope(
            lambda p: policy_loss(small, settings, p, parameters, latents, jnp.asarray(2.0), jax.random.key(7))[0], parameters.policy, 1
        )


def test_model_loss_has_the_slope_of_differences(small: ModelSettings, weights: Parameters, batch: Batch) -> None:
    """Of the dynamics, reward and value heads; the encoder is compared without its part in the targets, which gets no gradient."""
    settings = LearnSettings(horizon=2)
    with jax.enable_x64(True):
        parameters, data = doubled(weights), doubled(batch)

        def loss(some: tuple) -> jax.Array:
            dynamics, reward, values = some
            changed = parameters._replace(dynamics=dynamics, reward=reward, values=values)
            return model_loss(small, settings, changed, parameters.values, data, jax.random.key(7))[0]

        assert_slope(loss, (parameters.dynamics, parameters.reward, parameters.values), 2)


def test_targets_and_slow_heads_get_no_gradient(small: ModelSettings, weights: Parameters, batch: Batch) -> None:
    settings = LearnSettings(horizon=2)

    def loss(parameters: Parameters, slow: object) -> jax.Array:
        return model_loss(small, settings, parameters, slow, batch, jax.random.key(7))[0]

    ours, slow = jax.jit(jax.grad(loss, argnums=(0, 1)))(weights, weights.values)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves((ours.policy, slow)))
    for part in (ours.encoder, ours.dynamics, ours.reward, ours.values):
        assert all(np.any(leaf) for leaf in jax.tree.leaves(part))


def test_updates_lower_the_losses_and_are_deterministic(small: ModelSettings, batch: Batch) -> None:
    settings = LearnSettings(horizon=2, learning_rate=3e-3)
    batches = jax.tree.map(lambda part: np.broadcast_to(part, (100, *part.shape)), batch)
    runs = []
    for _ in range(2):
        learner = initial_learner(small, settings, 3)
        learner, early = updates(small, settings, learner, batches)
        learner, late = updates(small, settings, learner, batches)
        assert float(late.reward) < 0.7 * float(early.reward)
        assert float(late.value) < float(early.value)
        runs.append(learner)
    for one, other in zip(*(jax.tree.leaves(run) for run in runs), strict=True):
        np.testing.assert_array_equal(one, other)
