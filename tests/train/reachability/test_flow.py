"""One step of a flow: proven trajectories inside at all times, order of accuracy, and honest failure."""

from __future__ import annotations

import functools
from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb
from helpers.closed_loops import closed_loop
from helpers.containment import ball, exact, symbols

from tubepilot.train.reachability.arb_program import working_precision
from tubepilot.train.reachability.basis import basis
from tubepilot.train.reachability.flow import FlowStep, flow_step
from tubepilot.train.reachability.program import trace
from tubepilot.train.reachability.reference import integrate

Slope = Callable[..., jax.Array]


def pendulum(x: jax.Array, u: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
    return jnp.stack([x[1], -jnp.sin(x[0]) - x[1] * jnp.abs(x[1]) / 4 + u[0] + w[0]])


def swing(x: jax.Array, u: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
    return jnp.stack([x[1], -jnp.sin(x[0])])


def rational(x: jax.Array, u: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
    return jnp.stack([x[0] * x[1] / (2 + x[0] ** 2) + u[0], jnp.sqrt(2 + x[1]) - jnp.exp(-x[0]) * x[1] + w[0] * x[0]])


def step(
    f: Slope, coefs: np.ndarray, radius: np.ndarray, order: int, degree: int, duration: float, held: list[float], w: float
) -> FlowStep:
    constants = np.zeros((2, coefs.shape[1]))
    constants[:, 0] = held
    arrays = (coefs, radius, constants, np.array([0.0, w]), duration)
    return compiled(f, *coefs.shape, order, degree)(*(jnp.asarray(a, jnp.float64) for a in arrays))


@functools.cache
def compiled(f: Slope, states: int, monomials: int, order: int, degree: int) -> Callable[..., FlowStep]:
    made = basis(0 if monomials == 1 else 2, degree, 0, order)
    return jax.jit(functools.partial(flow_step, trace(f, states, 1, 1, 0), made))


@pytest.mark.parametrize("f", [pendulum, pytest.param(rational, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("degree", "half", "error"), [(2, 0.2, 0.0), (2, 1e-7, 1e-9), (2, 0.0, 0.0)])
def test_proven_trajectories_stay_inside_at_all_times(f: Slope, degree: int, half: float, error: float) -> None:
    """Start sets with an affine part and a remainder; a disturbance that switches within the step."""
    rng = np.random.default_rng(3)
    made, w, duration = basis(2, degree, 0, 3), 0.05, 0.125
    coefs = np.zeros((2, made.monomials))
    coefs[:, 0], coefs[:, 1:3] = (0.4, 0.7), half * np.array([[1.0, 0.25], [-0.5, 1.0]])
    result = step(f, coefs, np.full(2, error), 3, degree, duration, [0.3, 0.0], w)
    assert bool(result.contracted.all())
    spec = closed_loop(
        f, [(-9, 9)] * 2, inputs=1, control=lambda y, x: 0 * x[:1] + 0.3, period_s=duration, steps=1, disturbances=[(-w, w)]
    )
    for _ in range(4):
        _, y, z = symbols(made, rng)
        signs = rng.choice([-1.0, 1.0], 2)
        with working_precision(128):
            x0 = [
                ball(exact(made.at_instant(), c[None], (Fraction(0), y, z))) + arb(error) * arb(s)
                for c, s in zip(coefs, signs, strict=True)
            ]
        path = integrate(spec, x0, w=rng.choice([-w, w], (1, 4, 1)))
        for s in (Fraction(0), *(Fraction(float(v)) for v in rng.random(5)), Fraction(1)):
            with working_precision(128):
                for i, truth in enumerate(path.at(s)):
                    value = exact(made, np.asarray(result.coefs)[i], (s, y, z))
                    assert abs(truth - ball(value)) <= arb(float(result.radius[i])), (s, i)


@pytest.mark.parametrize("order", [2, *(pytest.param(order, marks=pytest.mark.slow) for order in (1, 3))])
def test_order_of_accuracy(order: int) -> None:
    """The polynomial misses the end of a step by a multiple of h^(order + 1), and the remainder is no larger than that order allows."""
    lengths, missed, remainders = [0.2, 0.1, 0.05], [], []
    for length in lengths:
        result = step(swing, np.array([[1.0], [0.5]]), np.zeros(2), order, 1, length, [0, 0], 0)
        path = integrate(closed_loop(swing, [(0, 2)] * 2, period_s=length, steps=1), [1.0, 0.5])
        ended = np.asarray(result.coefs).sum(axis=(1, 2))
        missed.append(max(abs(float(v.mid()) - e) for v, e in zip(path.at(Fraction(1)), ended, strict=True)))
        remainders.append(float(result.radius.max()))
    for values in (missed, remainders):
        slope = np.polyfit(np.log(lengths), np.log(values), 1)[0]
        assert order + 0.6 < slope < order + 2.0
    assert all(m <= r for m, r in zip(missed, remainders, strict=True))


@pytest.mark.parametrize(
    ("f", "start", "length"),
    [
        (lambda x, u, w, p: x * x, 1.0, 2.0),  # escapes at t = 1
        (lambda x, u, w, p: -1 / x, 0.1, 1.0),  # reaches the pole
        (lambda x, u, w, p: jnp.sqrt(x) - 1, 1e-3, 1.0),  # leaves the domain
        (lambda x, u, w, p: 50 * jnp.sin(40 * x), 0.3, 1.0),  # far too long a step
        (lambda x, u, w, p: x, np.nan, 0.1),
        (lambda x, u, w, p: x, np.inf, 0.1),
        (lambda x, u, w, p: x, 1e16, 0.1),  # beyond the error model
    ],
)
def test_a_step_without_enclosure_says_so(f: Slope, start: float, length: float) -> None:
    result = step(f, np.array([[start]]), np.zeros(1), 3, 1, length, [0, 0], 0)
    assert not bool(result.contracted.all())
