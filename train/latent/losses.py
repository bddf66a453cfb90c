"""Losses of the latent model: joint-embedding consistency, two-hot reward and value, and a policy of maximum entropy.

TD-MPC2 (arXiv:2310.16828, equations 3 to 5). Episodes of the tasks end by time only, so every value is bootstrapped.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .networks import Parameters, Weights, advance, encode, policy_of, reward_logits, sample, value_logits, values_of
from .settings import LearnSettings, ModelSettings
from .two_hot import cross_entropy


class Batch(NamedTuple):
    """Sequences out of the replay buffer, time first.

    Attributes:
        observations: Shape (H + 1, B, O).
        actions: Between them, in [-1, 1], shape (H, B, A).
        rewards: Of these actions, summed over the action repeat, shape (H, B).
    """

    observations: Float[Array, "knots batch observation"]
    actions: Float[Array, "horizon batch action"]
    rewards: Float[Array, "horizon batch"]


class ModelLoss(NamedTuple):
    """Parts of the model's loss before weighting."""

    consistency: Float[Array, ""]
    reward: Float[Array, ""]
    value: Float[Array, ""]


def two_heads(values: Weights, key: Key[Array, ""]) -> Weights:
    """Two heads of an ensemble, drawn at random."""
    count = jax.tree.leaves(values)[0].shape[0]
    chosen = jax.random.permutation(key, count)[:2]
    return jax.tree.map(lambda leaf: leaf[chosen], values)


def value_targets(
    model: ModelSettings,
    parameters: Parameters,
    slow: Weights,
    batch: Batch,
    following: Float[Array, "horizon batch latent"],
    key: Key[Array, ""],
) -> Float[Array, "horizon batch"]:
    """Reward plus discounted value of the latent after it, by the smaller of two slow heads at an action of the policy."""
    noise_key, head_key = jax.random.split(key)
    action, _ = sample(policy_of(model, parameters, following), jax.random.normal(noise_key, batch.actions.shape))
    after = values_of(model, two_heads(slow, head_key), following, action)
    return batch.rewards + model.discount * jnp.min(after, axis=0)


def fading(settings: LearnSettings, count: int) -> Float[Array, "count"]:
    """Weights of the steps of a sequence, 1, rho, rho^2, ..."""
    return settings.fade ** jnp.arange(count, dtype=jnp.float32)


def model_loss(
    model: ModelSettings, settings: LearnSettings, parameters: Parameters, slow: Weights, batch: Batch, key: Key[Array, ""]
) -> tuple[Float[Array, ""], tuple[ModelLoss, Float[Array, "knots batch latent"]]]:
    """Loss of encoder, dynamics, reward and value heads.

    Args:
        model, settings: Shapes and weights.
        parameters: What is learned; the policy takes part in the targets only.
        slow: Slow copies of the value heads.
        batch: Sequences.
        key: Of the policy's noise and the choice of heads in the targets.

    Returns:
        The weighted loss; its parts, and the latents of the predicted sequence (H + 1, B, L), gradients stopped.
    """
    following = jax.lax.stop_gradient(encode(model, parameters, batch.observations[1:]))
    targets = jax.lax.stop_gradient(value_targets(model, parameters, slow, batch, following, key))
    first = encode(model, parameters, batch.observations[0])

    def body(latent: Array, action: Array) -> tuple[Array, Array]:
        latent = advance(model, parameters, latent, action)
        return latent, latent

    _, later = jax.lax.scan(body, first, batch.actions)
    sequence = jnp.concatenate([first[None], later])
    weight = fading(settings, len(batch.actions))[:, None]
    loss = ModelLoss(
        jnp.mean(weight * jnp.mean((sequence[1:] - following) ** 2, axis=-1)),
        jnp.mean(weight * cross_entropy(model, reward_logits(model, parameters, sequence[:-1], batch.actions), batch.rewards)),
        jnp.mean(weight * cross_entropy(model, value_logits(model, parameters.values, sequence[:-1], batch.actions), targets)),
    )
    total = settings.consistency * loss.consistency + settings.reward * loss.reward + settings.value * loss.value
    return total, (loss, jax.lax.stop_gradient(sequence))


def policy_loss(
    model: ModelSettings,
    settings: LearnSettings,
    policy: Weights,
    parameters: Parameters,
    latents: Float[Array, "knots batch latent"],
    scale: Float[Array, ""],
    key: Key[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, "batch"]]:
    """Loss of the policy: minus value over `scale`, minus weighted entropy, at latents of predicted sequences.

    Args:
        model, settings: Shapes and weights.
        policy: What is learned.
        parameters: Of the other networks.
        latents: Without gradient, shape (H + 1, B, L).
        scale: Running range of the values, shape ().
        key: Of the noise and the choice of heads.

    Returns:
        The loss, and the values at the first latents, shape (B,).
    """
    noise_key, head_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, (*latents.shape[:-1], model.action))
    action, log_probability = sample(policy_of(model, parameters._replace(policy=policy), latents), noise)
    value = jnp.mean(values_of(model, two_heads(parameters.values, head_key), latents, action), axis=0)
    weight = fading(settings, len(latents))[:, None]
    loss = jnp.mean(weight * (settings.entropy * log_probability - value / scale))
    return loss, jax.lax.stop_gradient(value[0])
