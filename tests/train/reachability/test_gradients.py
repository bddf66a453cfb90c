"""Derivatives of tubes with respect to weights, initial box and centre, against central differences; forward and reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.closed_loops import closed_loop, proper

from tubepilot.train.reachability.closed_loop import Settings, prepare
from tubepilot.train.reachability.compiling import compiled
from tubepilot.train.reachability.network import Layer, Network
from tubepilot.train.reachability.specification import Specification

Given = tuple[Network, jax.Array, jax.Array]
PARTS = ("weights", "centre", "half widths")
TOLERANCE = 1e-4


def network(activation: str, seed: int, hidden: int = 6) -> Network:
    generator = np.random.default_rng(seed)
    sizes = (2, hidden, 1)
    weights = [(generator.normal(size=(b, a)) / np.sqrt(a), 0.1 * generator.normal(size=b)) for a, b in pairwise(sizes)]
    return Network(tuple(Layer(w, b, name) for (w, b), name in zip(weights, (activation, "linear"), strict=True)))


def pendulum(activation: str) -> Specification:
    def dynamics(x: jax.Array, u: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
        return jnp.stack([x[1], jnp.sin(x[0]) - 0.3 * x[1] + u[0]])

    return loop(activation, dynamics, discrete=False)


def oscillator(activation: str) -> Specification:
    def dynamics(x: jax.Array, u: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
        return jnp.stack([x[1], x[0] * x[1] ** 2 - x[0] + u[0]])

    return loop(activation, dynamics, discrete=False)


def sampled_oscillator(activation: str) -> Specification:
    def dynamics(x: jax.Array, u: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
        return jnp.stack([x[0] + 0.1 * x[1], x[1] + 0.1 * (x[0] * x[1] ** 2 - x[0] + u[0])])

    return loop(activation, dynamics, discrete=True)


def loop(activation: str, dynamics: Callable[..., jax.Array], *, discrete: bool) -> Specification:
    limits = proper("stay", (0, 4), 0.1, lambda x: jnp.stack([x[0] - 1.0, -x[0] * x[1] - 1.0]), 2)
    return closed_loop(
        dynamics, [(0.4, 0.5), (-0.1, 0.05)], inputs=1, network=network(activation, 1), steps=4, discrete=discrete, properties=(limits,)
    )


def outcomes(spec: Specification, settings: Settings) -> tuple[Callable[[Given], jax.Array], Given]:
    """(sum of the widths at the ends of the steps, largest bound of a condition) as a function of what may be differentiated."""
    tube = prepare(spec, settings).tube
    centre, half = spec.initial_box.mean(axis=1), 0.5 * np.ptp(spec.initial_box, axis=1)

    def function(given: Given) -> jax.Array:
        found = tube(*given, jnp.zeros(0), jnp.zeros(0))
        return jnp.stack([jnp.sum(found.end_hi - found.end_lo), jnp.max(found.conditions[0][1])])

    return function, (jax.tree.map(jnp.asarray, spec.network), jnp.asarray(centre), jnp.asarray(half))


def directions(given: Given, seed: int) -> list[Given]:
    """A random direction in each of the parts, zero in the others; half widths stay positive."""
    generator = np.random.default_rng(seed)
    return [
        tuple(
            jax.tree.map(lambda v, scale=scale * (i == part): scale * generator.normal(size=v.shape), piece)
            for i, (piece, scale) in enumerate(zip(given, (1.0, 1.0, 0.05), strict=True))
        )
        for part in range(len(PARTS))
    ]


CASES = [
    pytest.param(pendulum, "tanh", Settings(order=3, substeps=2, degree=1), False, marks=pytest.mark.slow),
    (oscillator, "sigmoid", Settings(order=3, substeps=1, degree=2), False),
    (sampled_oscillator, "relu", Settings(degree=1, window=1), True),
    pytest.param(sampled_oscillator, "tanh", Settings(degree=2, window=2), False, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("build", "activation", "settings", "reverse"), CASES, ids=lambda v: getattr(v, "__name__", None))
def test_derivatives_agree_with_differences(
    build: Callable[[str], Specification], activation: str, settings: Settings, reverse: bool
) -> None:
    """Central differences err by step^2 and by rounding / step: 1e-5 leaves less than 1e-7 of either."""
    function, given = outcomes(build(activation), settings)
    along = compiled(lambda at, way: jax.jvp(function, (at,), (way,)))
    pull = compiled(jax.grad(lambda at: jnp.dot(jnp.array([1.0, 3.0]), function(at)))) if reverse else None
    gradient = pull(given) if pull is not None else None
    for way, part in zip(directions(given, 3), PARTS, strict=True):
        values, slope = along(given, way)
        assert np.isfinite(values).all(), part
        assert np.isfinite(slope).all(), part
        step = 1e-5
        ahead, behind = (along(jax.tree.map(lambda v, d, s=s: v + s * d, given, way), way)[0] for s in (step, -step))
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=TOLERANCE, atol=1e-8, err_msg=part)
        if gradient is not None:
            pulled = sum(float(jnp.sum(g * d)) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True))
            np.testing.assert_allclose(pulled, slope[0] + 3.0 * slope[1], rtol=1e-9, atol=1e-12, err_msg=part)
