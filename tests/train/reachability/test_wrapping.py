"""Merging of error symbols, in exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.train.reachability.wrapping import fold, merge

Vector = list[Fraction]
MERGE = jax.jit(merge)


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


def inside(axes: np.ndarray, box: np.ndarray, v: Vector) -> bool:
    """v is axes a + b with |a| <= 1 and |b| <= box: what the clipped exact solution leaves over must fit into the box."""
    left = [a - max(Fraction(-1), min(Fraction(1), a)) for a in solve(axes, v)]
    rest = [sum((Fraction(float(e)) * c for e, c in zip(row, left, strict=True)), start=Fraction(0)) for row in axes]
    return all(abs(r) <= Fraction(float(b)) for r, b in zip(rest, box, strict=True))


def examples(rng: np.random.Generator, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    main, others = rng.normal(size=(n, n)), rng.normal(size=(n, 3))
    flat = np.outer(rng.normal(size=n), rng.normal(size=n))
    return [
        (main, others),
        (flat, 1e-12 * others),
        (np.zeros((n, n)), others),
        (np.diag(10.0 ** -np.arange(0, 9 * n, 9)), 1e-9 * others),
        (1e-150 * main, 1e-155 * others),
        (np.zeros((n, n)), np.zeros((n, 3))),
    ]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_parallelotope_contains_every_corner(n: int) -> None:
    rng = np.random.default_rng(n)
    for main, others in examples(rng, n):
        axes, box = (np.asarray(v) for v in MERGE(jnp.asarray(main), jnp.asarray(others)))
        for _ in range(6):
            z = rng.choice([-1.0, 1.0, 0.5], main.shape[1] + others.shape[1])
            assert inside(axes, box, times(np.concatenate([main, others], axis=1), z))


def test_the_box_is_rounding_only() -> None:
    axes, box = merge(jnp.diag(jnp.array([1.0, 2.0])), jnp.array([[0.1], [0.2]]))
    assert (box < 1e-14).all()
    np.testing.assert_allclose(np.sort(np.abs(np.asarray(axes)).max(axis=0)), [1.1, 2.2], rtol=1e-8)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_number_is_no_bound(bad: float) -> None:
    axes, box = merge(jnp.diag(jnp.array([1.0, bad])), jnp.zeros((2, 1)))
    assert not (np.isfinite(np.asarray(axes)).all() and np.isfinite(np.asarray(box)).all())


def test_folding_retires_the_oldest_symbols_in_every_row() -> None:
    """Every point of the set before is a point of the set after, with the remaining symbols unchanged."""
    rng = np.random.default_rng(5)
    axes, symbols, radius = rng.normal(size=(3, 3)), rng.normal(size=(3, 6)), np.abs(rng.normal(size=3))
    merged, left, box = (np.asarray(v) for v in fold(*(jnp.asarray(v) for v in (axes, symbols, radius)), 2))
    np.testing.assert_array_equal(left[:, :4], symbols[:, 2:])
    np.testing.assert_array_equal(left[:, 4:], 0.0)
    for _ in range(6):
        z = rng.choice([-1.0, 1.0, 0.25], 3 + 6 + 3)
        before = times(np.concatenate([axes, symbols, np.diag(radius)], axis=1), z)
        kept = times(left[:, :4], z[5:9])
        assert inside(merged, box, [b - k for b, k in zip(before, kept, strict=True)])
