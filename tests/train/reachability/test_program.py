"""JAX functions as programs of affine maps, products and functions: same values, named refusals, honest tallies of rounding."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb
from helpers.containment import within

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.arb_program import program, working_precision
from tubepilot.train.reachability.basis import basis
from tubepilot.train.reachability.evaluation import polynomials, remainders
from tubepilot.train.reachability.polynomials import bounds
from tubepilot.train.reachability.program import LinearMap, Program, trace

PLAIN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "atan": np.arctan,
    "abs": np.abs,
    "relu": lambda v: np.maximum(v, 0),
    "reciprocal": lambda v: 1 / v,
}
INSTANT = basis(1, 2, 1, 0)


def affine(rows: LinearMap, values: np.ndarray) -> np.ndarray:
    return (rows.coefficient * values[rows.index]).sum(axis=1) + rows.constant


def run(made: Program, x: np.ndarray) -> np.ndarray:
    """Plain evaluation in numpy."""
    values = np.asarray(x)
    for level in made.levels:
        a, count = affine(level.arguments, values), level.products
        values, start = np.concatenate([values, a[:count] * a[count : 2 * count]]), 2 * count
        for name, many in level.functions:
            values, start = np.concatenate([values, PLAIN[name](a[start : start + many])]), start + many
    return affine(made.results, values)


def enclosed(f: Callable[[jax.Array], jax.Array], x: list[float], halves: tuple[float, ...] = (0.0,)) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of f over points (or segments of these half widths in all coordinates at once), by the engine; shape (halves, results)."""
    made = trace(f, len(x))

    def both(x: jax.Array, half: jax.Array) -> tuple[jax.Array, jax.Array]:
        coefs = jnp.zeros((len(x), 1, INSTANT.monomials)).at[:, 0, 0].set(x).at[:, 0, 1].set(half)
        results, trails, error = polynomials(made, INSTANT, coefs)
        radius = remainders(made, trails, error, jnp.zeros(len(x)))
        lo, hi = bounds(INSTANT, results)
        return lo - radius, hi + radius

    lo, hi = jax.jit(jax.vmap(both))(jnp.asarray(x) + jnp.zeros((len(halves), 1)), jnp.asarray(halves))
    return np.asarray(lo), np.asarray(hi)


def random_function(rng: np.random.Generator, sizes: int) -> Callable[[jax.Array], jax.Array]:
    """A function of `sizes` numbers: a random expression of every operation the engine knows, defined everywhere."""
    unary = [
        jnp.sin,
        jnp.cos,
        jnp.tanh,
        jax.nn.sigmoid,
        jnp.arctan,
        jnp.abs,
        jax.nn.relu,
        lambda v: jnp.exp(jnp.tanh(v)),
        lambda v: -v,
        lambda v: jnp.log(2 + v * v),
        lambda v: jnp.sqrt(1 + v**2),
        lambda v: 1 / (1.5 + jnp.sin(v)),
        lambda v: jnp.tan(jnp.sin(v)),
        lambda v: v**3,
        lambda v: (2 + v**2) ** -2,
        lambda v: 0.37 * v - 1.1,
        lambda v: jnp.square(v) / 3,
        jax.lax.rsqrt,
    ]
    binary = [jnp.add, jnp.subtract, jnp.multiply, jnp.maximum, jnp.minimum, lambda a, b: a / (2.5 + jnp.cos(b))]
    matrix, order = rng.normal(size=(sizes, sizes)), rng.permutation(sizes)
    plan = [(int(rng.integers(len(unary) - 1)), int(rng.integers(len(binary))), int(rng.integers(sizes))) for _ in range(4)]

    def f(x: jax.Array) -> jax.Array:
        values = jnp.concatenate([matrix @ jnp.stack([x[int(i)] for i in order]), x])[:sizes] + jnp.sum(x) / 8
        for one, two, place in plan:
            values = binary[two](jnp.tanh(values[::-1]), unary[one](values[place]))
        return jnp.stack([values, 2 * values - x]).reshape(-1)[:-1]

    return f


@pytest.mark.parametrize("seed", range(5))
def test_programs_compute_what_the_function_computes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = int(rng.integers(1, 4))
    f = random_function(rng, sizes)
    made = trace(f, sizes)
    for x in rng.normal(size=(5, sizes)):
        np.testing.assert_allclose(run(made, x), f(jnp.asarray(x)), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("seed", [-1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4))])
def test_bounds_contain_the_function_in_ball_arithmetic(seed: int) -> None:
    """A short function, and random ones, which take long to compile."""
    rng = np.random.default_rng(100 + seed)
    f = random_function(rng, 2) if seed >= 0 else lambda x: jnp.stack([jnp.maximum(x[0], x[1]) * x[1] / 3, 1 / (3 + x[0] * x[0])])
    exactly = program(f, 2)
    halves, x = (0.0, 1e-7, 0.2), rng.normal(size=2)
    lo, hi = enclosed(f, list(x), halves)
    for row, half in enumerate(halves):
        for y in (-1.0, 1.0, *rng.uniform(-1, 1, 4)):
            with working_precision(128):
                truth = exactly.run([arb(float(v)) + arb(half) * arb(float(y)) for v in x])
                assert all(within(a, b, v) for a, b, v in zip(lo[row], hi[row], truth, strict=True))


def test_moves_select_what_jax_selects() -> None:
    def f(x: jax.Array) -> jax.Array:
        grid = jnp.stack([x, x[::-1]]).T
        parts = [
            grid[1],
            grid[:, 0][jnp.array([2, 0])],
            jnp.split(x, 3)[2],
            jnp.pad(x, (1, 0)),
            jnp.where(jnp.array([True, False, True]), x, 0.0),
            jnp.broadcast_to(x[0], (2,)),
            jnp.roll(x, 1),
            jnp.einsum("i,j->ij", x, x)[1],
            jnp.ones(3) @ grid,
            jnp.dot(x, x)[None],
        ]
        return jnp.concatenate([p.reshape(-1) for p in parts])

    x = np.array([0.3, -1.2, 2.5])
    np.testing.assert_allclose(run(trace(f, 3), x), f(jnp.asarray(x)), rtol=1e-15)


def test_equal_operations_are_shared_and_unused_ones_dropped() -> None:
    made = trace(lambda x: jnp.stack([jnp.sin(x[0]) + x[1] * x[2], -jnp.sin(x[0]) * 3 + x[2] * x[1]]) + 0 * jnp.cos(x[1]) * 0, 3)
    names = [name for level in made.levels for name, count in level.functions for _ in range(count)]
    assert names.count("sin") == 1
    assert sum(level.products for level in made.levels) == 1


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (jnp.floor, "floor"),
        (jnp.sign, "sign"),
        (lambda x: jnp.where(x > 0, x, 0.0), "gt"),
        (jnp.cumprod, "cumprod"),
        (jnp.sort, "sort"),
        (lambda x: x.at[0].set(1.0), "scatter"),
        (lambda x: jnp.arctan2(x, x), "atan2"),
        (jnp.sinh, "sinh"),
        (lambda x: x**1.5, "pow"),
        (lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y * y, x), "scan"),
        (lambda x: x.astype(jnp.int32).astype(x.dtype), "int32"),
        (lambda x: x.astype(jnp.float32).astype(x.dtype), "float32"),
        (lambda x: jnp.take(x, jnp.array([9])), "fill"),
    ],
)
def test_operations_without_enclosure_are_named(f: Callable[[jax.Array], jax.Array], name: str) -> None:
    with pytest.raises(InputError, match=name):
        trace(f, 2)


def test_closures_over_traced_values_are_refused() -> None:
    def outer(a: jax.Array) -> jax.Array:
        trace(lambda x: a * x, 2)
        return a

    with pytest.raises((InputError, jax.errors.JAXTypeError)):
        jax.jit(outer)(jnp.ones(2))


@pytest.mark.parametrize(
    ("f", "truth"),
    [
        (lambda x: x * (jnp.asarray(0.1) + jnp.asarray(0.2) - jnp.asarray(0.3)), Fraction(0.1) + Fraction(0.2) - Fraction(0.3)),
        (lambda x: (x + 0.1) - x - 0.1, Fraction(0)),
        (lambda x: (x * 1e16 + 3.3 * x) - 1e16 * x, Fraction(3.3)),
        (lambda x: 4 * x + ((x * 1e16 + 3.3 * x) - 1e16 * x), 4 + Fraction(3.3)),
        (lambda x: x * (jnp.asarray(0.1) * 5.0), Fraction(0.1) * 5),
        (lambda x: x / 3 / 3 / 3 / 3 / 3, Fraction(1, 243)),
        (lambda x: ((x + 1e8) ** 2 - x * x - 2e8 * x) - 1e16, Fraction(0)),
    ],
)
def test_cancellation_of_constants_is_bounded(f: Callable[[jax.Array], jax.Array], truth: Fraction) -> None:
    """At x = 1, in exact arithmetic on the float64 numbers that are written."""
    lo, hi = enclosed(f, [1.0])
    assert Fraction(float(lo[0, 0])) <= truth <= Fraction(float(hi[0, 0]))


def test_arguments_that_look_alike_after_cancellation_are_not_shared() -> None:
    lo, hi = enclosed(lambda x: jnp.sin(4 * x) - jnp.sin((x * 1e16 + 3.3 * x) - 1e16 * x), [1.0])
    with working_precision(100):
        assert within(float(lo[0, 0]), float(hi[0, 0]), arb(4).sin() - arb(3.3).sin())


def test_reciprocals_of_numbers_from_cancellation_are_bounded_or_given_up() -> None:
    lo, hi = enclosed(lambda x: x / (jnp.asarray(0.1) + jnp.asarray(0.2) - jnp.asarray(0.3)), [1.0])
    truth = 1 / (Fraction(0.1) + Fraction(0.2) - Fraction(0.3))
    assert not lo[0, 0] > truth
    assert not hi[0, 0] < truth
    lo, hi = enclosed(lambda x: x / (jnp.asarray(0.5) - 0.5), [1.0])
    assert not (np.isfinite(lo[0, 0]) and np.isfinite(hi[0, 0]))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_cumulative_sums(axis: int, reverse: bool) -> None:
    """The engine and the independent reference read them alike."""

    def f(x: jax.Array) -> jax.Array:
        return jax.lax.cumsum(x.reshape(2, 3) ** 2, axis=axis, reverse=reverse).reshape(-1)

    x = np.arange(1.0, 7.0)
    np.testing.assert_array_equal(run(trace(f, 6), x), np.asarray(f(jnp.asarray(x))))
    assert [float(v.mid()) for v in program(f, 6).run([arb(v) for v in x])] == list(np.asarray(f(jnp.asarray(x))))
