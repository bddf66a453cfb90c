"""Networks on Taylor models: random networks with every activation and skip connections contain their outputs, without tolerance."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb
from helpers.containment import ball, exact, symbols

from tubepilot.train.reachability.arb_network import BallNetwork
from tubepilot.train.reachability.arb_program import working_precision
from tubepilot.train.reachability.basis import Basis, basis
from tubepilot.train.reachability.network import ACTIVATIONS, Layer, Network
from tubepilot.train.reachability.network_bounds import network_model

SIZES = 2, 4, 4, 4, 2


def random_network(rng: np.random.Generator, activations: list[str], residual: dict[int, int]) -> Network:
    layers = []
    for i, name in enumerate(activations):
        weight = rng.normal(size=(SIZES[i + 1], SIZES[i])) * rng.choice([0.3, 1.0, 2.0])
        layers.append(Layer(weight, rng.normal(size=SIZES[i + 1]), name, residual.get(i)))
    return Network(tuple(layers))


def excess(made: Basis, network: Network, rng: np.random.Generator, model: object = network_model, points: int = 3) -> list[str]:
    """Points of random input sets, from points to wide boxes, whose outputs are not certainly inside the model.

    Evaluated operation by operation: compiling every network would take longer than all else together.
    """
    halves = np.array([0.0, 1e-7, 0.1, 0.5])
    coefs = rng.normal(size=(4, 2, made.monomials)) * halves[:, None, None] * (rng.random((4, 2, made.monomials)) < 0.6)
    coefs[:, :, 0] = rng.normal(size=(4, 2))
    radius = np.abs(rng.normal(size=(4, 2))) * np.array([0.0, 1e-9, 0.0, 0.05])[:, None]
    with jax.disable_jit():
        outs, out_radii = (np.asarray(v) for v in jax.vmap(partial(model, made, network))(jnp.asarray(coefs), jnp.asarray(radius)))
    balls, found = BallNetwork(network), []
    for row in np.repeat(np.arange(4), points):
        at = symbols(made, rng)
        with working_precision(160):
            shifts = [arb(float(r)) * arb(float(e)) for r, e in zip(radius[row], rng.choice([-1.0, 1.0, 0.3], 2), strict=True)]
            truth = balls([ball(exact(made, c[None], at)) + s for c, s in zip(coefs[row], shifts, strict=True)])
            for i, v in enumerate(truth):
                value, bound = exact(made, outs[row, i][None], at), out_radii[row, i]
                if not abs(v - ball(value)) <= arb(float(bound)):
                    found.append(f"set {row}, output {i}: {v}, model {float(value)} +- {bound}")
    return found


@pytest.mark.parametrize(
    "name", ["relu", "tanh", *(pytest.param(n, marks=pytest.mark.slow) for n in sorted(set(ACTIVATIONS) - {"linear", "relu", "tanh"}))]
)
def test_outputs_lie_inside(name: str) -> None:
    """Three equal hidden layers, which are computed as one loop, or (every other activation) with skip connections between them."""
    number = sorted(ACTIVATIONS).index(name)
    rng = np.random.default_rng(number)
    residual = {1: 1, 2: 1} if number % 2 else {}
    assert not excess(basis(2, 2, 2, 0), random_network(rng, [name, name, name, "linear"], residual), rng)


@pytest.mark.slow
@pytest.mark.parametrize("degree", [1, 3])
def test_mixed_activations_and_a_skip_to_the_output(degree: int) -> None:
    rng = np.random.default_rng(7)
    assert not excess(basis(1, degree, 3, 0), random_network(rng, ["relu", "linear", "tanh", "elu"], {1: 1, 2: 2, 3: 0}), rng)


def test_a_linear_network_keeps_a_box_exactly_as_it_is() -> None:
    """x - x through two layers and a skip connection: the error symbols cancel."""
    network = Network((Layer(np.eye(1), np.zeros(1), "linear"), Layer(-np.eye(1), np.zeros(1), "linear", 1)))
    coefs, radius = network_model(basis(1, 1, 0, 0), network, jnp.array([[1.0, 0.5]]), jnp.array([0.25]))
    assert jnp.max(jnp.abs(coefs)) == 0.0
    assert radius[0] < 1e-14
