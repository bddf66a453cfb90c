"""Certified training: a narrower tube at the same closed-loop cost."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers.closed_loops import closed_loop, proper

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.certified_training import Course, train, volume
from tubepilot.train.reachability.closed_loop import Settings, Tube, prepare
from tubepilot.train.reachability.compiling import compiled
from tubepilot.train.reachability.network import Layer, Network
from tubepilot.train.reachability.specification import Specification

PERIOD_S = 0.1
A = np.array([[1.0, PERIOD_S], [0.0, 1.0]])
B = np.array([[0.5 * PERIOD_S**2], [PERIOD_S]])
Q, R = np.diag([1.0, 0.1]), np.array([[0.1]])
HALF = np.array([0.2, 0.2])


def teacher() -> np.ndarray:
    """Gain of the linear-quadratic regulator, shape (1, 2)."""
    p = scipy.linalg.solve_discrete_are(A, B, Q, R)
    return np.linalg.solve(R + B.T @ p @ B, B.T @ p @ A)


def double_integrator(gain: float) -> Specification:
    """Exactly sampled, 3 s, under a 2-16-1 network of random weights; a large gain makes it rough."""

    def dynamics(x: jax.Array, u: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
        return jnp.stack([x[0] + PERIOD_S * x[1] + 0.5 * PERIOD_S**2 * u[0], x[1] + PERIOD_S * u[0]])

    generator = np.random.default_rng(1)
    shapes = (((16, 2), "relu"), ((1, 16), "linear"))
    layers = tuple(
        Layer(gain * generator.normal(size=s) / np.sqrt(s[1]), 0.1 * generator.normal(size=s[0]), name) for s, name in shapes
    )
    limits = proper("stay", (0, 30), PERIOD_S, lambda x: x - 10.0, 2)
    box = [(-h, h) for h in HALF]
    return closed_loop(
        dynamics, box, inputs=1, network=Network(layers), period_s=PERIOD_S, steps=30, discrete=True, properties=(limits,)
    )


def cost(network: Network) -> float:
    """Mean quadratic cost of 256 closed-loop trajectories of 6 s."""
    starts = np.random.default_rng(9).uniform(-0.6, 0.6, (256, 2))

    def step(x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        u = jax.vmap(network)(x)
        return x @ A.T + u @ B.T, jnp.sum(x @ Q * x, axis=1) + jnp.sum(u @ R * u, axis=1)

    return float(jnp.mean(jnp.sum(jax.lax.scan(step, jnp.asarray(starts), None, length=60)[1], axis=0)))


def imitation(network: Network, states: jax.Array) -> jax.Array:
    return jnp.mean((jax.vmap(network)(states) + states @ teacher().T) ** 2)


@pytest.mark.slow
def test_certified_training_narrows_the_tube_at_equal_cost() -> None:
    spec = double_integrator(3.0)
    plain, _ = train(spec, imitation, Course(iterations=200, weight=0.0))
    certified, history = train(spec, imitation, Course(iterations=200, weight=0.1))
    assert np.isfinite(history).all()
    tube = compiled(prepare(spec, Settings(degree=1, window=1)).tube)
    centres = np.random.default_rng(4).uniform(-0.4, 0.4, (8, 2))
    sizes = [
        np.median([volume(tube(n, jnp.asarray(c), jnp.asarray(HALF), jnp.zeros(0), jnp.zeros(0)), jnp.asarray(HALF)) for c in centres])
        for n in (plain, certified)
    ]
    assert sizes[1] < 0.5 * sizes[0], sizes
    assert cost(certified) < 1.03 * cost(plain)


def test_volume_is_the_mean_sum_of_widths_over_initial_widths() -> None:
    lo, hi = np.zeros((2, 1, 2)), np.array([[[0.4, 0.8]], [[0.2, 0.2]]])
    empty = np.zeros((2, 1, 2))
    tube = Tube(empty, empty, lo, hi, (), (), np.ones((2, 1, 2), bool))
    assert volume(tube, np.array([0.1, 0.2])) == pytest.approx((2.0 + 2.0 + 1.0 + 0.5) / 2)


def test_a_loop_without_network_is_refused() -> None:
    spec = closed_loop(lambda x, u, w, p: -x, [(0.0, 1.0)])
    with pytest.raises(InputError, match="needs a network"):
        train(spec, imitation, Course())
