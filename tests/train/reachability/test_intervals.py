"""Interval arithmetic against exact rationals, without any tolerance; sharpness within 24 roundings and TINY."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability import intervals
from tubepilot.train.reachability.error_model import TINY, U

SEED = 5
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.1, -0.1, 1 / 3, 5e-324, -5e-324, 2.3e-308, 1e-200, -1e-200, 1e150, -1e150, 1e308, -1e308, 1 + 2**-52]
BINARY: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
}


def pairs(random: np.random.Generator, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """(lo, hi) of random magnitudes and signs, many across zero, some points, some 1e-7 wide, and all special ends."""
    values = random.normal(size=(count, 2)) * 10.0 ** random.uniform(-20, 20, (count, 2))
    centre = random.normal(size=count)
    narrow = np.stack([centre, centre + random.choice([0.0, 1e-7], count)], axis=1)
    ends = np.sort(np.concatenate([values, narrow, random.choice(SPECIAL, size=(count, 2))]), axis=1)
    return ends[:, 0], ends[:, 1]


def members(lo: float, hi: float) -> list[Fraction]:
    a, b = Fraction(lo), Fraction(hi)
    return [a, b, (a + b) / 2, a + (b - a) / 3] + ([Fraction(0)] if a <= 0 <= b else [])


def holds(lo: float, hi: float, exact: Fraction) -> bool:
    return (lo == -math.inf or Fraction(lo) <= exact) and (hi == math.inf or exact <= Fraction(hi)) and lo < math.inf and hi > -math.inf


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("jitted", [True, False])
def test_binary_operations_enclose_exact_results(name: str, jitted: bool) -> None:
    random = np.random.default_rng(SEED)
    a, b = pairs(random), pairs(random)
    operation = getattr(intervals, name)
    order = random.permutation(len(a[0]))
    a = a[0][order], a[1][order]
    lo, hi = (jax.jit(operation) if jitted else operation)(tuple(map(jnp.asarray, a)), tuple(map(jnp.asarray, b)))
    lo, hi = np.asarray(lo), np.asarray(hi)
    for i in range(len(lo)):
        rights = members(b[0][i], b[1][i])
        if name == "div" and min(rights) <= 0 <= max(rights):
            assert (lo[i], hi[i]) == (-math.inf, math.inf)
            continue
        results = [BINARY[name](x, y) for x, y in itertools.product(members(a[0][i], a[1][i]), rights)]
        assert all(holds(lo[i], hi[i], r) for r in results), (a[0][i], a[1][i], b[0][i], b[1][i], lo[i], hi[i])
        ends = [abs(Fraction(x)) for x in (a[0][i], a[1][i], b[0][i], b[1][i])]
        size = max(map(abs, results)) if name in ("mul", "div") else 2 * max(ends)
        if size < 1e290 and max(ends) < 1e17 and (name != "div" or min(map(abs, rights)) > 1e-17):
            slack = Fraction(24 * U) * size + Fraction(3 * TINY)
            assert Fraction(hi[i]) - max(results) <= slack
            assert min(results) - Fraction(lo[i]) <= slack


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7, -1, -2, -3])
def test_powers_enclose_exact_results(n: int) -> None:
    a = pairs(np.random.default_rng(SEED))
    lo, hi = (np.asarray(x) for x in jax.jit(lambda x: intervals.power(x, n))(tuple(map(jnp.asarray, a))))
    for i in range(len(lo)):
        points = members(a[0][i], a[1][i])
        if n < 0 and min(points) <= 0 <= max(points):
            assert (lo[i], hi[i]) == (-math.inf, math.inf)
            continue
        results = [x**n for x in points]
        assert all(holds(lo[i], hi[i], r) for r in results), (n, a[0][i], a[1][i], lo[i], hi[i])
        if n > 0 and n % 2 == 0:
            assert lo[i] >= 0
        if n > 0 and max(map(abs, points)) < 1e20:
            slack = Fraction(60 * U) * max(map(abs, results)) + Fraction(2 * TINY)
            assert Fraction(hi[i]) - max(results) <= slack
            assert min(results) - Fraction(lo[i]) <= slack


def test_square_is_the_second_power() -> None:
    a = (jnp.asarray([-2.0, 1.0]), jnp.asarray([1.0, 3.0]))
    lo, hi = intervals.square(a)
    assert lo[0] == 0.0
    assert bool(jnp.all((hi >= jnp.asarray([4.0, 9.0])) & (hi <= jnp.asarray([4.0, 9.0]) * (1 + 40 * U))))
    assert 1.0 - 40 * U <= float(lo[1]) <= 1.0


def number(lo: float, hi: float) -> intervals.Interval:
    return jnp.asarray(lo), jnp.asarray(hi)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_nan_gives_everything(name: str) -> None:
    for a, b in (((math.nan, 1.0), (1.0, 2.0)), ((0.0, 1.0), (1.0, math.nan)), ((math.nan, math.nan), (0.0, math.inf))):
        lo, hi = getattr(intervals, name)(number(*a), number(*b))
        assert (float(lo), float(hi)) == (-math.inf, math.inf)
    lo, hi = intervals.power(number(math.nan, 1.0), 2)
    assert (float(lo), float(hi)) == (-math.inf, math.inf)


def test_infinite_ends() -> None:
    line, ray, one = (-math.inf, math.inf), (1.0, math.inf), (1.0, 1.0)
    assert tuple(map(float, intervals.add(number(*line), number(*one)))) == line
    assert tuple(map(float, intervals.sub(number(*ray), number(*ray)))) == line
    lo, hi = map(float, intervals.mul(number(*ray), number(*ray)))
    assert 1 - 20 * U <= lo <= 1
    assert hi == math.inf
    for end in (0.0, 5e-324):
        assert float(intervals.mul(number(end, end), number(*ray))[1]) == math.inf
    lo, hi = map(float, intervals.div(number(*ray), number(2.0, 4.0)))
    assert 0.25 - 10 * U <= lo <= 0.25
    assert hi == math.inf
    lo, hi = map(float, intervals.power(number(-math.inf, -2.0), 3))
    assert lo == -math.inf
    assert -8.0 <= hi <= -8 + 1e-13


@pytest.mark.parametrize("divisor", [(0.0, 0.0), (-1.0, 1.0), (0.0, 1.0), (-1.0, -0.0), (5e-324, 1.0), (-1.0, -1e-310), (1.0, 1e300)])
def test_division_by_what_may_vanish_gives_everything(divisor: tuple[float, float]) -> None:
    lo, hi = intervals.div(number(1.0, 2.0), number(*divisor))
    assert (float(lo), float(hi)) == (-math.inf, math.inf)


def test_overflow_keeps_a_finite_lower_end() -> None:
    lo, hi = map(float, intervals.mul(number(1e200, 1e200), number(1e200, 1e201)))
    assert math.isfinite(lo)
    assert hi == math.inf
    lo, hi = map(float, intervals.add(number(-1e308, -1e308), number(-1e308, -1e308)))
    assert lo == -math.inf
    assert math.isfinite(hi)


def test_gradients_are_finite_also_where_division_is_undefined() -> None:
    def total(x: jax.Array) -> jax.Array:
        lo, hi = intervals.div((x, x + 1), (x - 0.5, x + 0.5))
        low, high = intervals.mul((x, x + 1), (x - 0.5, x + 0.5))
        good = jnp.isfinite(lo)
        return jnp.sum(jnp.where(good, hi - lo, 0.0) + high - low + intervals.power((x, x + 1), 4)[1])

    assert bool(jnp.all(jnp.isfinite(jax.grad(total)(jnp.asarray([0.0, 0.2, 1.0, -3.0])))))


def test_a_broken_power_is_an_error() -> None:
    with pytest.raises(InputError, match="not an integer"):
        intervals.power(number(0.0, 1.0), 1.5)  # type: ignore[arg-type]
