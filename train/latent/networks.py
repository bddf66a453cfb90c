"""The five networks of the latent model: encoder, dynamics, reward, value ensemble and policy.

Structure of TD-MPC2 (arXiv:2310.16828, section 3.1): hidden layers are dense, LayerNorm, Mish; latents pass SimNorm, which makes
groups of entries into simplices and so bounds them; reward and value are two-hot; the policy is a Gaussian squashed by tanh. Dropout is
left out. Observations are taken as they are, latents are dimensionless, actions in [-1, 1], rewards summed over the action repeat.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Float, Key

from .settings import ModelSettings
from .two_hot import decode

Weights = Any  # a pytree of one linen module
_HIDDEN_LAYERS = 2


class Parameters(NamedTuple):
    """Weights of all networks; those of the value heads have a leading axis, one entry per head."""

    encoder: Weights
    dynamics: Weights
    reward: Weights
    values: Weights
    policy: Weights


class Gaussian(NamedTuple):
    """Distribution of an action before its tanh: mean and log standard deviation, shapes (..., A)."""

    mean: Float[Array, "*batch action"]
    log_std: Float[Array, "*batch action"]


def mish(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x * tanh(softplus(x)) (arXiv:1908.08681), by tanh(log(1 + e)) = (e^2 + 2 e) / (e^2 + 2 e + 2).

    Takes about half the time of jax.nn.mish on a CPU.
    """
    power = jnp.exp(jnp.minimum(x, 20.0))  # beyond 20 the quotient is 1 in float32
    product = power * (power + 2.0)
    return x * (product / (product + 2.0))


def sim_norm(x: Float[Array, "*batch latent"], simplex: int) -> Float[Array, "*batch latent"]:
    """Softmax over each group of `simplex` entries."""
    groups = x.reshape(*x.shape[:-1], -1, simplex)
    return jax.nn.softmax(groups).reshape(x.shape)


class Mlp(linen.Module):
    """Dense layers with LayerNorm and Mish; the last one bare, or with LayerNorm and SimNorm if `simplex` is given.

    Attributes:
        layers: Number of hidden layers.
        hidden, size: Width of the hidden layers, and of the output.
        simplex: Group size of SimNorm on the output; None leaves the output bare.
        zero: The output starts at zero: reward and value then start unbiased.
    """

    layers: int
    hidden: int
    size: int
    simplex: int | None = None
    zero: bool = False

    @linen.compact
    def __call__(self, x: Float[Array, "*batch input"]) -> Float[Array, "*batch size"]:
        """Output of the network."""
        start = linen.initializers.truncated_normal(0.02)
        for _ in range(self.layers):
            x = mish(linen.LayerNorm()(linen.Dense(self.hidden, kernel_init=start)(x)))
        x = linen.Dense(self.size, kernel_init=linen.initializers.zeros if self.zero else start)(x)
        return x if self.simplex is None else sim_norm(linen.LayerNorm()(x), self.simplex)


def _encoder(settings: ModelSettings) -> Mlp:
    return Mlp(1, settings.hidden, settings.latent, settings.simplex)


def _dynamics(settings: ModelSettings) -> Mlp:
    return Mlp(_HIDDEN_LAYERS, settings.hidden, settings.latent, settings.simplex)


def _scalar(settings: ModelSettings) -> Mlp:
    return Mlp(_HIDDEN_LAYERS, settings.hidden, settings.bins, zero=True)


def _policy(settings: ModelSettings) -> Mlp:
    return Mlp(_HIDDEN_LAYERS, settings.hidden, 2 * settings.action)


@partial(jax.jit, static_argnums=0)
def initial_parameters(settings: ModelSettings, key: Key[Array, ""]) -> Parameters:
    """Random weights, float32."""
    encoder, dynamics, reward, values, policy = jax.random.split(key, 5)
    observation = jnp.zeros((1, settings.observation), jnp.float32)
    latent = jnp.zeros((1, settings.latent), jnp.float32)
    both = jnp.zeros((1, settings.latent + settings.action), jnp.float32)
    return Parameters(
        _encoder(settings).init(encoder, observation),
        _dynamics(settings).init(dynamics, both),
        _scalar(settings).init(reward, both),
        jax.vmap(lambda head: _scalar(settings).init(head, both))(jax.random.split(values, settings.heads)),
        _policy(settings).init(policy, latent),
    )


def encode(
    settings: ModelSettings, parameters: Parameters, observation: Float[Array, "*batch observation"]
) -> Float[Array, "*batch latent"]:
    """Latent of an observation."""
    return _encoder(settings).apply(parameters.encoder, observation)


def advance(
    settings: ModelSettings, parameters: Parameters, latent: Float[Array, "*batch latent"], action: Float[Array, "*batch action"]
) -> Float[Array, "*batch latent"]:
    """Latent one decision later."""
    return _dynamics(settings).apply(parameters.dynamics, jnp.concatenate([latent, action], axis=-1))


def reward_logits(
    settings: ModelSettings, parameters: Parameters, latent: Float[Array, "*batch latent"], action: Float[Array, "*batch action"]
) -> Float[Array, "*batch bin"]:
    """Reward of a decision, coded."""
    return _scalar(settings).apply(parameters.reward, jnp.concatenate([latent, action], axis=-1))


def value_logits(
    settings: ModelSettings, values: Weights, latent: Float[Array, "*batch latent"], action: Float[Array, "*batch action"]
) -> Float[Array, "head *batch bin"]:
    """Value of latent and action by each head, coded."""
    both = jnp.concatenate([latent, action], axis=-1)
    return jax.vmap(lambda head: _scalar(settings).apply(head, both))(values)


def reward_of(
    settings: ModelSettings, parameters: Parameters, latent: Float[Array, "*batch latent"], action: Float[Array, "*batch action"]
) -> Float[Array, "*batch"]:
    """Predicted reward of a decision."""
    return decode(settings, reward_logits(settings, parameters, latent, action))


def values_of(
    settings: ModelSettings, values: Weights, latent: Float[Array, "*batch latent"], action: Float[Array, "*batch action"]
) -> Float[Array, "head *batch"]:
    """Predicted discounted return of each head."""
    return decode(settings, value_logits(settings, values, latent, action))


def policy_of(settings: ModelSettings, parameters: Parameters, latent: Float[Array, "*batch latent"]) -> Gaussian:
    """Distribution of the policy's action before its tanh."""
    mean, raw = jnp.split(_policy(settings).apply(parameters.policy, latent), 2, axis=-1)
    low, high = settings.log_std_low, settings.log_std_high
    return Gaussian(mean, low + 0.5 * (high - low) * (jnp.tanh(raw) + 1.0))


def sample(gaussian: Gaussian, noise: Float[Array, "*batch action"]) -> tuple[Float[Array, "*batch action"], Float[Array, "*batch"]]:
    """Action tanh(mean + std * noise) and its log probability density, with noise drawn from a standard normal."""
    raw = gaussian.mean + jnp.exp(gaussian.log_std) * noise
    normal = -0.5 * noise**2 - gaussian.log_std - 0.5 * jnp.log(2.0 * jnp.pi)
    # log(1 - tanh^2) without cancellation.
    squash = 2.0 * (jnp.log(2.0) - raw - jax.nn.softplus(-2.0 * raw))
    return jnp.tanh(raw), jnp.sum(normal - squash, axis=-1)
