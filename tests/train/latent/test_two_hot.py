"""Two-hot coding: its inverse, its sum, its ends, and the loss on it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.train.latent.settings import ModelSettings
from tubepilot.train.latent.two_hot import cross_entropy, decode, encode, symexp, symlog


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    return np.concatenate([np.linspace(-15, 15, 301), [0.0, 1e-6, -1e-6]]).astype(np.float32)


def test_symexp_undoes_symlog(numbers: np.ndarray) -> None:
    np.testing.assert_allclose(symexp(symlog(numbers)), numbers, rtol=3e-6, atol=1e-7)


def test_decoding_undoes_coding(small: ModelSettings, numbers: np.ndarray) -> None:
    coded = encode(small, jnp.asarray(numbers))
    np.testing.assert_allclose(jnp.sum(coded, -1), 1.0, rtol=1e-6)
    assert np.all(np.sum(np.asarray(coded) > 0, -1) <= 2)
    assert float(coded.min()) >= 0.0
    # A softmax of logarithms is the coded weight itself; 1e-30 stands for zero.
    np.testing.assert_allclose(decode(small, jnp.log(coded + 1e-30)), numbers, rtol=2e-5, atol=2e-6)


def test_beyond_the_range_the_outer_bin_is_taken(small: ModelSettings) -> None:
    coded = np.asarray(encode(small, jnp.array([1e6, -1e6])))
    assert coded[0, -1] == coded[1, 0] == 1.0


def test_equal_logits_say_zero(small: ModelSettings) -> None:
    assert abs(float(decode(small, jnp.zeros(small.bins)))) < 1e-6


def test_cross_entropy_is_least_at_the_coded_target(small: ModelSettings) -> None:
    target = jnp.asarray(1.7)
    best = jnp.log(encode(small, target) + 1e-9)
    np.testing.assert_allclose(jax.grad(lambda logits: cross_entropy(small, logits, target))(best), 0.0, atol=1e-6)
    assert float(cross_entropy(small, best, target)) < float(cross_entropy(small, jnp.zeros(small.bins), target))
