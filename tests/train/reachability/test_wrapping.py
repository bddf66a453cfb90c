"""Merging of error symbols, in exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.train.reachability.wrapping import carried, fold, parallelotope

Vector = list[Fraction]
MERGE = jax.jit(parallelotope)


def solve(matrix: np.ndarray, right: Vector) -> Vector:
    """Exact solution by Gauss elimination."""
    rows = [[Fraction(float(v)) for v in row] + [b] for row, b in zip(matrix, right, strict=True)]
    n = len(rows)
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(n):
            if r != i and rows[r][i]:
                factor = rows[r][i] / rows[i][i]
                rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i], strict=True)]
    return [row[n] / row[i] for i, row in enumerate(rows)]


def times(matrix: np.ndarray, z: np.ndarray) -> Vector:
    return [sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(row, z, strict=True)), start=Fraction(0)) for row in matrix]


def product(matrix: np.ndarray, y: Vector) -> Vector:
    return [sum((Fraction(float(a)) * b for a, b in zip(row, y, strict=True)), start=Fraction(0)) for row in matrix]


def inside(axes: np.ndarray, box: np.ndarray, v: Vector) -> bool:
    """v is axes a + b with |a| <= 1 and |b| <= box: what the clipped exact solution leaves over must fit into the box."""
    left = [a - max(Fraction(-1), min(Fraction(1), a)) for a in solve(axes, v)]
    rest = [sum((Fraction(float(e)) * c for e, c in zip(row, left, strict=True)), start=Fraction(0)) for row in axes]
    return all(abs(r) <= Fraction(float(b)) for r, b in zip(rest, box, strict=True))


def examples(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    main, others = rng.normal(size=(n, n)), rng.normal(size=(n, 3))
    flat = np.outer(rng.normal(size=n), rng.normal(size=n))
    units = 10.0 ** rng.uniform(-8, 8, (n, 1))
    return [
        np.concatenate(parts, axis=1)
        for parts in (
            (main, others),
            (units * main, units * others),
            (flat, 1e-12 * others),
            (np.zeros((n, n)), others),
            (np.diag(10.0 ** -np.arange(0, 9 * n, 9)), 1e-9 * others),
            (1e-150 * main, 1e-155 * others),
            (np.zeros((n, n)), np.zeros((n, 3))),
        )
    ]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_every_corner_is_axes_times_coordinates_and_a_bit(n: int) -> None:
    rng = np.random.default_rng(n)
    for columns in examples(rng, n):
        axes, coordinates, box = (np.asarray(v) for v in MERGE(jnp.asarray(columns)))
        for row in coordinates:
            assert sum(abs(Fraction(float(c))) for c in row) <= 1
        for _ in range(6):
            z = rng.choice([-1.0, 1.0, 0.5], columns.shape[1])
            y = times(coordinates, z)
            left = [a - b for a, b in zip(times(columns, z), product(axes, y), strict=True)]
            assert all(abs(d) <= Fraction(float(b)) for d, b in zip(left, box, strict=True))


def test_the_box_is_rounding_only_and_axes_along_columns_stay_tight() -> None:
    columns = jnp.array([[1.0, 0.0, 0.1], [0.0, 2.0, 0.2]])
    axes, _, box = parallelotope(columns)
    assert (box < 1e-14).all()
    np.testing.assert_allclose(np.sort(np.abs(np.asarray(axes)).max(axis=0)), [1.1, 2.2], rtol=1e-8)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_any_number_of_columns(count: int) -> None:
    axes, coordinates, _ = parallelotope(jnp.ones((3, count)))
    assert axes.shape == (3, 3)
    assert coordinates.shape == (3, count)
    np.testing.assert_allclose(np.asarray(axes @ coordinates), 1.0, rtol=1e-8)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_number_is_no_bound(bad: float) -> None:
    _, _, box = parallelotope(jnp.diag(jnp.array([1.0, bad])))
    assert not np.isfinite(np.asarray(box)).all()


def test_what_axes_carry_over_time() -> None:
    """A(s) Z for polynomials A over time, against fractions."""
    rng = np.random.default_rng(3)
    axes, columns = rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 7))
    coordinates = columns / np.abs(columns).sum(axis=1, keepdims=True) * 0.99
    made, rounding = (np.asarray(v) for v in carried(jnp.asarray(axes), jnp.asarray(coordinates)))
    for row in range(2):
        worst = Fraction(0)
        for time in range(3):
            for column in range(7):
                exact = product(axes[row, time][None], [Fraction(float(z)) for z in coordinates[:, column]])[0]
                worst += abs(exact - Fraction(float(made[row, time, column])))
        assert 0 < worst <= Fraction(float(rounding[row]))


def test_folding_retires_the_oldest_group_in_every_row() -> None:
    """Every point of the set before is a point of the set after, with the remaining symbols unchanged."""
    rng = np.random.default_rng(5)
    axes, symbols, radius = rng.normal(size=(3, 3)), rng.normal(size=(3, 12)), np.abs(rng.normal(size=3))
    merged, left, box = (np.asarray(v) for v in fold(*(jnp.asarray(v) for v in (axes, symbols, radius)), 1))
    np.testing.assert_array_equal(left[:, :8], symbols[:, 4:])
    np.testing.assert_array_equal(left[:, 8:9], 0.0)
    np.testing.assert_array_equal(left[:, 9:], np.diag(radius))
    for _ in range(6):
        z = rng.choice([-1.0, 1.0, 0.25], 3 + 12)
        before = times(np.concatenate([axes, symbols], axis=1), z)
        kept = times(left[:, :8], z[7:])
        assert inside(merged, box, [b - k for b, k in zip(before, kept, strict=True)])


def test_without_axes_nothing_is_merged() -> None:
    symbols = np.concatenate([np.zeros((2, 3)), np.ones((2, 3))], axis=1)
    merged, left, box = (np.asarray(v) for v in fold(jnp.zeros((2, 0)), jnp.asarray(symbols), jnp.array([0.5, 0.25]), 1))
    assert merged.shape == (2, 0)
    assert (box == 0.0).all()
    np.testing.assert_array_equal(left, [[1, 1, 1, 0, 0.5, 0], [1, 1, 1, 0, 0, 0.25]])
