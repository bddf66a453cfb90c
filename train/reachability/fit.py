"""Polynomials of low degree that stay close to a function of one argument over a whole interval, with the bound of the distance.

Used where intervals are wide (activations of networks) or the function has a kink, and a Taylor expansion is a poor choice.
Smooth functions: interpolation at Chebyshev nodes. The distance is bounded twice, and the smaller bound is taken: by the derivative of
next order (Lagrange), and by the largest distance on a grid plus what can happen between grid points, d^2 / 8 sup |f''|, where d is
their spacing. Narrow intervals: the Taylor polynomial at the middle.
"""

from __future__ import annotations

from math import cos, factorial, pi

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import elementary
from .error_model import TINY, U, raised

GRID = 24
NARROW = 1e-3
LEAK = 0.01
KINKED = ("relu", "abs", "leaky_relu")
Row = Float[Array, "count"]


def candidates(name: str, centre: Row, lo: Row, hi: Row, degree: int) -> list[tuple[list[Row], Row]]:
    """Several polynomials in (x - centre) of degree up to `degree`, each with a bound of its distance over [lo, hi].

    Args:
        name: a function of `elementary`.
        centre: expansion points inside [lo, hi], shape (count,).
        lo, hi: the intervals.
        degree: 1, 2 or 3; functions with a kink get at most parabolas.

    Returns:
        per polynomial degree + 1 arrays of coefficients, and the bound (count,).
    """
    if name not in KINKED:
        return [_padded(found, degree) for found in _smooth(name, centre, lo, hi, degree)]
    found = [_padded(_relu(centre, lo, hi, weight), degree) for weight in ((0.0,) if degree == 1 else (0.0, 0.25, 0.5, 0.75, 1.0))]
    if name == "relu":
        return found
    # |x| = 2 relu(x) - x, and leaky relu = (1 - s) relu(x) + s x, s its slope below zero
    outer, inner = (2.0, -1.0) if name == "abs" else (1.0 - LEAK, LEAK)
    slack = 16 * U * (jnp.abs(lo) + jnp.abs(hi)) + TINY
    return [
        ([outer * c[0] + inner * centre, outer * c[1] + inner, *(outer * k for k in c[2:])], raised(outer * e, 2) + slack)
        for c, e in found
    ]


def fit(name: str, centre: Row, lo: Row, hi: Row, degree: int) -> tuple[list[Row], Row]:
    """The closest of `candidates`, per row."""
    found = candidates(name, centre, lo, hi, degree)
    return choose(found, [error for _, error in found])


def choose(found: list[tuple[list[Row], Row]], costs: list[Row]) -> tuple[list[Row], Row]:
    """Per row the candidate of least cost."""
    (best, error), cost = found[0], costs[0]
    for (new, new_error), new_cost in zip(found[1:], costs[1:], strict=True):
        closer = new_cost < cost
        best = [jnp.where(closer, n, o) for n, o in zip(new, best, strict=True)]
        error, cost = jnp.where(closer, new_error, error), jnp.where(closer, new_cost, cost)
    return best, error


def _padded(found: tuple[list[Row], Row], degree: int) -> tuple[list[Row], Row]:
    coefficients, error = found
    return [*coefficients, *[jnp.zeros_like(error)] * (degree + 1 - len(coefficients))], error


def _relu(centre: Row, lo: Row, hi: Row, weight: float) -> tuple[list[Row], Row]:
    """Between the chord (weight 0) and the parabola through (lo, 0), (0, 0), (hi, hi) (weight 1), moved to err equally on both sides.

    p(x) = c x^2 + b x + a with c = weight / (hi - lo); relu - p is a parabola on each side of the kink, so its extremes are at the
    ends, at the kink or at a vertex.
    """
    low, high = jnp.minimum(lo, 0.0), jnp.maximum(hi, 0.0)
    crosses, active = (lo < 0.0) & (hi > 0.0), lo >= 0.0
    width = jnp.where(crosses, high - low, 1.0)
    c = weight / width
    b = -c * low + (1.0 - weight) * high / width
    ends = [-c * low * low - b * low, jnp.zeros_like(low), -c * high * high + (1.0 - b) * high]
    if weight > 0.0:
        left, right = jnp.clip(-b / (2.0 * c), low, 0.0), jnp.clip((1.0 - b) / (2.0 * c), 0.0, high)
        ends += [-c * left**2 - b * left, -c * right**2 + (1.0 - b) * right]
    top, bottom = jnp.max(jnp.stack(ends), axis=0), jnp.min(jnp.stack(ends), axis=0)
    a, error = 0.5 * (top + bottom), 0.5 * (top - bottom)
    a, c = jnp.where(crosses, a, 0.0), jnp.where(crosses, c, 0.0)
    b = jnp.where(crosses, b, jnp.where(active, 1.0, 0.0))
    slack = jnp.where(crosses | active, 64 * U * (jnp.abs(lo) + jnp.abs(hi)) + TINY, 0.0)
    coefficients = [a + b * centre + c * centre * centre, b + 2.0 * c * centre]
    return [*coefficients, c] if weight > 0.0 else coefficients, raised(jnp.where(crosses, error, 0.0), 8) + slack


def _smooth(name: str, centre: Row, lo: Row, hi: Row, degree: int) -> list[tuple[list[Row], Row]]:
    """One polynomial per degree 1 to `degree`: the Chebyshev series through degree + 1 nodes, cut; in narrow intervals Taylor's."""
    half, middle = 0.5 * (hi - lo), 0.5 * lo + 0.5 * hi
    narrow = half < NARROW
    safe = jnp.where(narrow, 1.0, half)
    angles = [(2 * j + 1) * pi / (2 * (degree + 1)) for j in range(degree + 1)]
    places = jnp.concatenate([jnp.asarray([cos(a) for a in angles]), jnp.linspace(-1.0, 1.0, GRID + 1)])[:, None]
    seen, seen_error = elementary.value(name, middle + safe * places)
    taylor, wrong = elementary.taylor(name, middle, degree)
    top = [elementary.derivative_bound(name, lo, hi, order) for order in range(1, degree + 2)]
    # the compiler would copy these long expressions into everything that uses them
    seen, seen_error, taylor, wrong, top = jax.lax.optimization_barrier((seen, seen_error, taylor, wrong, top))
    at, grid, t = seen[: degree + 1], seen[degree + 1 :], places[degree + 1 :]
    error_there = jnp.max(seen_error, axis=0)
    cheb = [
        sum(at[j] * cos(k * a) for j, a in enumerate(angles)) * ((1.0 if k == 0 else 2.0) / (degree + 1)) for k in range(degree + 1)
    ]
    noise = 64 * (degree + 1) * (U * jnp.max(jnp.abs(seen), axis=0) + error_there) + TINY
    noise = noise + 16 * (degree + 1) * U * top[0] * (jnp.abs(middle) + half)  # nodes and grid points are rounded
    found = []
    for d in range(1, degree + 1):
        powers = [cheb[0], cheb[1]]
        if d >= 2:
            powers = [cheb[0] - cheb[2], cheb[1], 2.0 * cheb[2]]
        if d == 3:
            powers = [powers[0], cheb[1] - 3.0 * cheb[3], powers[2], 4.0 * cheb[3]]
        polynomial = powers[-1] * jnp.ones_like(t)
        for p in powers[-2::-1]:
            polynomial = polynomial * t + p
        distance = grid - polynomial
        bend = sum((k * (k - 1) * jnp.abs(p) for k, p in enumerate(powers) if k >= 2), start=jnp.zeros_like(half))
        between = (2.0 / GRID) ** 2 / 8.0 * (top[1] * half * half + bend)
        high, low = jnp.max(distance, axis=0), jnp.min(distance, axis=0)
        # interpolation error of the whole series, plus the terms that were cut off it
        lagrange = raised(top[degree] * half ** (degree + 1) / (factorial(degree + 1) * 2.0**degree), 12)
        lagrange = lagrange + sum((jnp.abs(cheb[k]) for k in range(d + 1, degree + 1)), start=jnp.zeros_like(half))
        shift = jnp.where(0.5 * (high - low) + between < lagrange, 0.5 * (high + low), 0.0)
        on_grid = jnp.maximum(high - shift, shift - low) + between + error_there
        wide_error = raised(jnp.minimum(on_grid, lagrange + jnp.abs(shift)), 16) + noise
        wide = [powers[0] + shift, *powers[1:]]
        narrow_error = raised(top[d] * half ** (d + 1) / factorial(d + 1), 12)
        narrow_error = narrow_error + sum((raised(w * half**k, 8) for k, w in enumerate(wrong[: d + 1])), start=jnp.zeros_like(half))
        # in powers of x - middle, then of x - centre
        in_middle = [jnp.where(narrow, tk, w / safe**k) for k, (tk, w) in enumerate(zip(taylor, wide, strict=False))]
        offset = centre - middle
        far = half + jnp.abs(offset)
        total = sum((jnp.abs(c) * far**k for k, c in enumerate(in_middle)), start=jnp.zeros_like(half))
        slope = sum((k * jnp.abs(c) * far ** (k - 1) for k, c in enumerate(in_middle) if k), start=jnp.zeros_like(half))
        error = raised(jnp.where(narrow, narrow_error, wide_error), 4)
        in_middle, total, slope, error = jax.lax.optimization_barrier((in_middle, total, slope, error))
        found.append((_shifted(in_middle, offset), error + 64 * (d + 2) * U * (total + slope * (jnp.abs(middle) + half)) + TINY))
    return found


def _shifted(coefficients: list[Row], offset: Row) -> list[Row]:
    """Coefficients in x - middle to coefficients in x - centre, centre = middle + offset."""
    out = list(coefficients)
    for i in range(len(out) - 1):
        for k in range(len(out) - 2, i - 1, -1):
            out[k] = out[k] + offset * out[k + 1]
    return out
