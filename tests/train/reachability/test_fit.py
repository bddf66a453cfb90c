"""Polynomials close to a function: the stated distance against ball arithmetic, without tolerance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb

from tubepilot.train.reachability.arb_network import ACTIVATIONS
from tubepilot.train.reachability.arb_program import working_precision
from tubepilot.train.reachability.fit import candidates, fit

BALLS = {**ACTIVATIONS, "leaky_relu": lambda v: v if v >= 0 else arb(0.01) * v}
NAMES = ("relu", "abs", "leaky_relu", "tanh", "sigmoid", "softplus", "elu", "silu", "atan", "sin")
QUICK = ("relu", "abs", "tanh", "elu")


def intervals(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """lo, hi and a centre between them: wide, narrow, zero-width, one-sided, with an end at 0, far away."""
    middle = rng.normal(size=count) * 10.0 ** rng.integers(-6, 3, count)
    half = np.abs(rng.normal(size=count)) * rng.choice([0.0, 1e-16, 1e-9, 9.9e-4, 1.01e-3, 0.3, 3.0, 40.0], count)
    lo, hi = middle - half, middle + half
    lo[::7], hi[3::7] = np.minimum(0.0, hi[::7]), np.maximum(0.0, lo[3::7])
    return lo, hi, np.clip(lo + rng.random(count) * (hi - lo), lo, hi)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n not in QUICK)])
def test_the_distance_is_never_exceeded(name: str) -> None:
    """At ends, centre, kink and random points of 80 intervals, every candidate of degree 2 and 3."""
    rng = np.random.default_rng(NAMES.index(name))
    lo, hi, centre = intervals(rng, 80)
    degree = 3 if name not in ("relu", "abs", "leaky_relu") else 2
    with jax.disable_jit():  # operation by operation: quicker than compiling
        found = candidates(name, *(jnp.asarray(v) for v in (centre, lo, hi)), degree)
    found = [([np.asarray(c) for c in a], np.asarray(error)) for a, error in found]
    with working_precision(200):
        for row in range(len(lo)):
            points = {lo[row], hi[row], centre[row], *np.clip(rng.uniform(lo[row], hi[row], 4), lo[row], hi[row])}
            points |= {0.0} if lo[row] <= 0 <= hi[row] else set()
            for x in points:
                truth, t = BALLS[name](arb(float(x))), arb(float(x)) - arb(float(centre[row]))
                for coefficients, error in found:
                    value = sum((arb(float(c[row])) * t**k for k, c in enumerate(coefficients)), start=arb(0))
                    assert abs(truth - value) <= arb(float(error[row])), (name, lo[row], hi[row], x)


@pytest.mark.parametrize("name", ["tanh", "silu", "elu", "softplus"])
def test_narrow_and_wide_intervals_meet(name: str) -> None:
    """Around the half width where the method changes, the distance stays of the order of the remainder."""
    half = jnp.asarray([0.999e-3, 1.001e-3])
    middle = jnp.asarray([0.7, 0.7])
    for degree in (1, 2, 3):
        _, error = fit(name, middle, middle - half, middle + half, degree)
        assert (error <= 2 * half ** (degree + 1) + 1e-12).all()


def test_a_wide_relu_is_fitted_as_well_as_a_chord_allows() -> None:
    """Over [-1, 1] a line has a distance of 1/4 at best, a parabola of less than 1/8."""
    one = jnp.ones(1)
    assert 0.25 <= fit("relu", 0 * one, -one, one, 1)[1][0] <= 0.25 + 1e-12
    assert fit("relu", 0 * one, -one, one, 2)[1][0] < 0.125


@pytest.mark.parametrize("name", ["relu", "tanh", "elu"])
@pytest.mark.parametrize("ends", [(-np.inf, np.inf), (np.nan, 1.0), (-1.0, np.nan), (0.0, np.inf)])
def test_unbounded_intervals_are_not_given_a_finite_distance(name: str, ends: tuple[float, float]) -> None:
    """Unless the bound is true: relu over [0, inf] is x, and an end that is NaN must leave a NaN or an infinity somewhere."""
    lo, hi = (jnp.full(1, e) for e in ends)
    coefficients, error = fit(name, 0.5 * (lo + hi), lo, hi, 2)
    known = np.isfinite(error[0]) and all(np.isfinite(c[0]) for c in coefficients)
    assert not known or (name == "relu" and np.isnan(ends).any()), (coefficients, error)
