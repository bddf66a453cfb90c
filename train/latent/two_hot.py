"""Scalars as weights on bins: reward and value are learned as classification over a symmetric-logarithmic scale.

Two-hot coding with symlog as in TD-MPC2 (arXiv:2310.16828, section 3.1) and DreamerV3 (arXiv:2301.04104).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .settings import ModelSettings


def symlog(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """sign(x) * log(1 + abs(x))."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Inverse of `symlog`."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def encode(settings: ModelSettings, x: Float[Array, "*batch"]) -> Float[Array, "*batch bin"]:
    """Weights on the two bins beside symlog(x), which sum to one and whose mean is symlog(x); beyond the range, the outer bin."""
    place = (symlog(x) / settings.bin_range + 1.0) * (0.5 * (settings.bins - 1))
    place = jnp.clip(place, 0.0, settings.bins - 1.0)
    return jnp.maximum(0.0, 1.0 - jnp.abs(place[..., None] - jnp.arange(settings.bins, dtype=place.dtype)))


def decode(settings: ModelSettings, logits: Float[Array, "*batch bin"]) -> Float[Array, "*batch"]:
    """The scalar that logits stand for: symexp of the mean bin."""
    centres = jnp.linspace(-settings.bin_range, settings.bin_range, settings.bins, dtype=logits.dtype)
    return symexp(jnp.sum(jax.nn.softmax(logits) * centres, axis=-1))


def cross_entropy(
    settings: ModelSettings, logits: Float[Array, "*batch bin"], target: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Cross entropy of logits against the coded scalar; the logits may have further leading axes."""
    return -jnp.sum(encode(settings, target) * jax.nn.log_softmax(logits), axis=-1)
