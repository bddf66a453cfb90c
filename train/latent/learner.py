"""What is learned and how one batch changes it; a pytree, so that many updates run in one compiled loop."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, UInt32

from .losses import Batch, model_loss, policy_loss
from .networks import Parameters, Weights, initial_parameters
from .settings import LearnSettings, ModelSettings


class Learner(NamedTuple):
    """State of training.

    Attributes:
        parameters: Weights of all networks.
        slow: Slow copies of the value heads.
        model_optimiser, policy_optimiser: States of Adam.
        scale: Running range of the values, 5th to 95th percentile, at least 1, shape ().
        random: Raw random key of the next update.
    """

    parameters: Parameters
    slow: Weights
    model_optimiser: optax.OptState
    policy_optimiser: optax.OptState
    scale: Float[Array, ""]
    random: UInt32[Array, "2"]


class Metrics(NamedTuple):
    """Losses before weighting, value range and mean value at the states of the batch, each shape ()."""

    consistency: Float[Array, ""]
    reward: Float[Array, ""]
    value: Float[Array, ""]
    policy: Float[Array, ""]
    scale: Float[Array, ""]
    mean_value: Float[Array, ""]


def _model_optimiser(settings: LearnSettings) -> optax.GradientTransformation:
    rates = {"encoder": settings.encoder_rate * settings.learning_rate, "rest": settings.learning_rate}
    labels = Parameters("encoder", "rest", "rest", "rest", "rest")
    adam = optax.multi_transform({name: optax.adam(rate) for name, rate in rates.items()}, labels)
    return optax.chain(optax.clip_by_global_norm(settings.clip), adam)


def _policy_optimiser(settings: LearnSettings) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(settings.clip), optax.adam(settings.learning_rate, eps=1e-5))


def initial_learner(model: ModelSettings, settings: LearnSettings, seed: int) -> Learner:
    """Random weights and empty optimisers."""
    weights_key, later = jax.random.split(jax.random.key(seed))
    parameters = initial_parameters(model, weights_key)
    without_policy = parameters._replace(policy=())
    return Learner(
        parameters,
        jax.tree.map(jnp.copy, parameters.values),
        _model_optimiser(settings).init(without_policy),
        _policy_optimiser(settings).init(parameters.policy),
        jnp.ones((), jnp.float32),
        jax.random.key_data(later),
    )


def update(model: ModelSettings, settings: LearnSettings, learner: Learner, batch: Batch) -> tuple[Learner, Metrics]:
    """One gradient step of model and policy on one batch."""
    model_key, policy_key, later = jax.random.split(jax.random.wrap_key_data(learner.random), 3)
    policy = learner.parameters.policy

    def loss_of(world: Parameters) -> tuple[Array, tuple]:
        return model_loss(model, settings, world._replace(policy=policy), learner.slow, batch, model_key)

    world = learner.parameters._replace(policy=())
    (_, (parts, latents)), gradient = jax.value_and_grad(loss_of, has_aux=True)(world)
    change, model_optimiser = _model_optimiser(settings).update(gradient, learner.model_optimiser)
    world = optax.apply_updates(world, change)

    (loss, values), gradient = jax.value_and_grad(
        lambda p: policy_loss(model, settings, p, world, latents, learner.scale, policy_key), has_aux=True
    )(policy)
    change, policy_optimiser = _policy_optimiser(settings).update(gradient, learner.policy_optimiser)
    policy = optax.apply_updates(policy, change)

    low, high = jnp.percentile(values, jnp.array([5.0, 95.0]))
    scale = jnp.maximum(1.0, learner.scale + settings.target_rate * (high - low - learner.scale))
    slow = optax.incremental_update(world.values, learner.slow, settings.target_rate)
    after = Learner(
        world._replace(policy=policy), slow, model_optimiser, policy_optimiser, scale, jax.random.key_data(later)
    )
    return after, Metrics(parts.consistency, parts.reward, parts.value, loss, scale, jnp.mean(values))


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def updates(model: ModelSettings, settings: LearnSettings, learner: Learner, batches: Batch) -> tuple[Learner, Metrics]:
    """Several updates in one call.

    Args:
        model, settings: Shapes, losses and optimisers.
        learner: State before; its buffers are given away.
        batches: With a leading axis over updates.

    Returns:
        State after, and metrics averaged over the updates.
    """
    learner, metrics = jax.lax.scan(lambda state, batch: update(model, settings, state, batch), learner, batches)
    return learner, jax.tree.map(jnp.mean, metrics)
