"""Polynomials: products, ranges and sums against exact rational arithmetic, without tolerance."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.containment import exact, symbols
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepilot.train.reachability import polynomials
from tubepilot.train.reachability.basis import Basis, basis

SHAPES = [(0, 1, 2, 0), (2, 2, 1, 0), (2, 3, 2, 1), (3, 2, 2, 2)]
SLOW = settings(deadline=None, max_examples=25)
COMPILED = {name: jax.jit(getattr(polynomials, name), static_argnums=0) for name in ("multiply", "bounds")}


def drawn(basis: Basis, rng: np.random.Generator, spread: int) -> np.ndarray:
    """Coefficients of very different size, with zeros, small integers that cancel, and exact ties."""
    shape = (basis.time_order + 1, basis.monomials)
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-spread, spread + 1, shape)
    return np.where(rng.random(shape) < 0.3, rng.integers(-2, 3, shape).astype(float), values)


def test_the_tables_of_products_hold_every_pair_once() -> None:
    for sizes in SHAPES:
        made = basis(*sizes)
        left, right = made.pairs
        index = {e: i for i, e in enumerate(made.exponents)}
        found = [
            (m, int(a), int(b)) for m in range(made.polynomial) for a, b in zip(left[m], right[m], strict=True) if a < made.polynomial
        ]
        wanted = [(index[tuple(sorted(p + q))], index[p], index[q]) for p in made.exponents for q in made.exponents
                  if len(p) + len(q) <= made.degree]  # fmt: skip
        assert sorted(found) == sorted(wanted)


@SLOW
@given(st.sampled_from(SHAPES), st.integers(0, 2**32 - 1), st.sampled_from([0, 3, 8]))
def test_products_contain_the_exact_product(sizes: tuple[int, int, int, int], seed: int, spread: int) -> None:
    made, rng = basis(*sizes), np.random.default_rng(seed)
    a, b = drawn(made, rng, spread), drawn(made, rng, spread)
    product, radius = (np.asarray(v) for v in COMPILED["multiply"](made, jnp.asarray(a), jnp.asarray(b)))
    for _ in range(4):
        at = symbols(made, rng)
        assert abs(exact(made, a, at) * exact(made, b, at) - exact(made, product, at)) <= Fraction(float(radius))


@SLOW
@given(st.sampled_from(SHAPES), st.integers(0, 2**32 - 1), st.sampled_from([0, 3, 8]))
def test_ranges_and_magnitudes_contain_exact_values(sizes: tuple[int, int, int, int], seed: int, spread: int) -> None:
    made, rng = basis(*sizes), np.random.default_rng(seed)
    a = drawn(made, rng, spread)
    lo, hi = (Fraction(float(v)) for v in COMPILED["bounds"](made, jnp.asarray(a)))
    size = Fraction(float(polynomials.magnitude(jnp.asarray(a))))
    assert size >= sum(abs(Fraction(float(c))) for c in a.ravel())
    ended, rounding = polynomials.at_end(jnp.asarray(a))
    scaled, scale_error = polynomials.scaled(jnp.asarray(a), 0.1)
    for _ in range(6):
        at = symbols(made, rng)
        value = exact(made, a, at)
        assert lo <= value <= hi
        assert abs(value) <= size
        last = (Fraction(1), *at[1:])
        assert abs(exact(made, a, last) - exact(made, np.asarray(ended)[None], last)) <= Fraction(float(rounding))
        assert abs(Fraction(0.1) * value - exact(made, np.asarray(scaled), at)) <= Fraction(float(scale_error))


def test_ranges_of_even_powers_are_sharp_and_attained() -> None:
    """1 + 2 y^2 - 3 z over y, z in [-1, 1] is [-2, 6]; 4 s (1 - s) through Bernstein coefficients is at most [0, 2]."""
    made = basis(1, 2, 1, 0)
    lo, hi = polynomials.bounds(made, jnp.array([[1.0, 0.0, 2.0, -3.0]]))
    assert -2.0 - 1e-13 <= lo <= -2.0
    assert 6.0 <= hi <= 6.0 + 1e-13
    timed = basis(0, 1, 0, 2)
    lo, hi = polynomials.bounds(timed, jnp.array([[0.0], [4.0], [-4.0]]))
    assert -1e-13 <= lo <= 0.0
    assert 1.0 <= hi <= 2.0 + 1e-13


@pytest.mark.parametrize("seed", range(4))
def test_ranges_are_exact_where_symbols_are_monotone(seed: int) -> None:
    """Linear terms outweigh the others: the ends are values at corners, which random signs of the other terms lie between."""
    made, rng = basis(3, 3, 1, 0), np.random.default_rng(seed)
    coefs = 0.02 * rng.normal(size=made.monomials)
    coefs[1:4] = rng.choice([-1.0, 1.0], 3)
    lo, hi = COMPILED["bounds"](made, jnp.asarray(coefs)[None])
    corners = [exact(made, coefs[None], (Fraction(0), list(y), [z])) for *y, z in product((Fraction(-1), Fraction(1)), repeat=4)]
    assert float(lo) == pytest.approx(float(min(corners)), abs=1e-12)
    assert float(hi) == pytest.approx(float(max(corners)), abs=1e-12)
    assert float(hi - lo) < 2 * float(np.abs(coefs[1:]).sum()) - 1e-3


def test_a_symbol_that_is_left_is_bounded_with_the_others_at_their_ends() -> None:
    """a + b a over [-1, 1]^2: a is at an end, where b only adds 1 to each side; c b a with c fixed cancels against b."""
    made = basis(3, 2, 0, 0)
    index = {e: i for i, e in enumerate(made.exponents)}
    coefs = np.zeros(made.monomials)
    coefs[index[(0,)]], coefs[index[(1,)]], coefs[index[(0, 1)]] = 4.0, 1.0, -2.0  # upper end: y0 = 1, then y1 - 2 y1
    lo, hi = COMPILED["bounds"](made, jnp.asarray(coefs)[None])
    np.testing.assert_allclose([float(lo), float(hi)], [-4.0 - 3.0, 4.0 + 1.0], rtol=1e-12)


def test_numbers_that_the_processor_flushes_are_covered() -> None:
    """Denormal coefficients count as zero in XLA; the radius covers them, also times a large factor."""
    made = basis(1, 2, 0, 0)
    a, b = np.array([[3e-309, 5e-324, 0.0]]), np.array([[1e15, -1e15, 7.0]])
    product, radius = polynomials.multiply(made, jnp.asarray(a), jnp.asarray(b))
    at = (Fraction(0), [Fraction(-1)], [])
    assert abs(exact(made, a, at) * exact(made, b, at) - exact(made, np.asarray(product), at)) <= Fraction(float(radius))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_gives_no_bound(bad: float) -> None:
    made = basis(1, 2, 1, 1)
    a = np.zeros((2, made.monomials))
    a[0, 1] = bad
    _, radius = polynomials.multiply(made, jnp.asarray(a), jnp.asarray(a))
    lo, hi = polynomials.bounds(made, jnp.asarray(a))
    assert not np.isfinite(radius)
    assert not (np.isfinite(lo) and np.isfinite(hi))
