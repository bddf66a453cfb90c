"""The networks: shapes, simplices, Mish, and the density of the squashed Gaussian."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.latent.networks import (
    Gaussian,
    Parameters,
    advance,
    encode,
    initial_parameters,
    mish,
    policy_of,
    reward_of,
    sample,
    value_logits,
    values_of,
)
from tubepilot.train.latent.settings import LearnSettings, ModelSettings, discount_of


def test_shapes(small: ModelSettings, weights: Parameters) -> None:
    observation, action = jnp.ones((4, 3, small.observation)), jnp.ones((4, 3, small.action))
    latent = encode(small, weights, observation)
    assert latent.shape == advance(small, weights, latent, action).shape == (4, 3, small.latent)
    assert reward_of(small, weights, latent, action).shape == (4, 3)
    assert value_logits(small, weights.values, latent, action).shape == (small.heads, 4, 3, small.bins)
    assert values_of(small, weights.values, latent, action).shape == (small.heads, 4, 3)
    gaussian = policy_of(small, weights, latent)
    assert gaussian.mean.shape == gaussian.log_std.shape == action.shape


def test_latents_are_simplices(small: ModelSettings, weights: Parameters) -> None:
    latent = encode(small, weights, 100.0 * jax.random.normal(jax.random.key(0), (50, small.observation)))
    for state in (latent, advance(small, weights, latent, jnp.ones((50, small.action)))):
        groups = np.asarray(state).reshape(50, -1, small.simplex)
        np.testing.assert_allclose(groups.sum(-1), 1.0, rtol=1e-6)
        assert groups.min() >= 0.0


def test_untrained_reward_and_values_are_zero_and_heads_differ_inside(small: ModelSettings) -> None:
    parameters = initial_parameters(small, jax.random.key(4))
    latent, action = jnp.ones((5, small.latent)), jnp.ones((5, small.action))
    np.testing.assert_allclose(reward_of(small, parameters, latent, action), 0.0, atol=1e-6)
    np.testing.assert_allclose(values_of(small, parameters.values, latent, action), 0.0, atol=1e-6)
    first = parameters.values["params"]["Dense_0"]["kernel"]
    assert not np.allclose(first[0], first[1])


def test_mish_is_that_of_jax() -> None:
    x = jnp.concatenate([jnp.linspace(-30, 30, 601), jnp.array([-1e4, 1e4])])
    np.testing.assert_allclose(mish(x), jax.nn.mish(x), rtol=2e-5, atol=1e-6)
    slopes = [jax.vmap(jax.grad(function))(x) for function in (mish, jax.nn.mish)]
    np.testing.assert_allclose(*slopes, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.7, -1.0), (-1.5, 0.5)])
def test_density_of_actions_integrates_to_one(mean: float, log_std: float) -> None:
    with jax.enable_x64(True):
        noise = np.linspace(-7, 7, 2001)
        shape = (len(noise), 1)
        action, log_probability = sample(Gaussian(jnp.full(shape, mean), jnp.full(shape, log_std)), jnp.asarray(noise[:, None]))
        np.testing.assert_allclose(action[:, 0], np.tanh(mean + np.exp(log_std) * noise), atol=1e-12)
        # d action / d noise = (1 - action^2) * std
        density = np.exp(np.asarray(log_probability)) * (1.0 - np.asarray(action[:, 0]) ** 2) * np.exp(log_std)
        assert float(np.trapezoid(density, noise)) == pytest.approx(1.0, abs=1e-8)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="multiple of simplex 8"):
        ModelSettings(2, 1, 0.9, latent=12)
    with pytest.raises(InputError, match=r"heads is 1, must be within \[2, 32\]"):
        ModelSettings(2, 1, 0.9, heads=1)
    with pytest.raises(InputError, match="learning_rate is nan"):
        LearnSettings(learning_rate=float("nan"))


@pytest.mark.parametrize(("decisions", "discount"), [(500, 0.99), (20, 0.95), (10**6, 0.995)])
def test_discount_follows_the_length_of_an_episode(decisions: int, discount: float) -> None:
    assert discount_of(decisions) == discount
