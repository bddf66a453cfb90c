"""Interval arithmetic against exact rationals; the matrix exponential against ball arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from tubepilot.train.invariance import interval as interval_module
from tubepilot.train.invariance.interval import Interval, expm, interval, matmul, total

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.1, -0.1, 1 / 3, 5e-324, -5e-324, 2.3e-308, 1e-200, -1e-200, 1e150, -1e150, 1 + 2**-52]
SEED = 7


def pairs(count: int = 400) -> list[tuple[Interval, Interval]]:
    """Intervals of random magnitudes and signs, many across zero, and all special end points."""
    random = np.random.default_rng(SEED)
    values = random.normal(size=(count, 4)) * 10.0 ** random.uniform(-20, 20, (count, 4))
    values = np.concatenate([values, random.choice(SPECIAL, size=(count, 4))])
    ends = [np.sort(values[:, k : k + 2], axis=1) for k in (0, 2)]
    return [(Interval(*map(np.array, a)), Interval(*map(np.array, b))) for a, b in zip(*ends, strict=True)]


def rationals(x: Interval) -> list[Fraction]:
    lo, hi = Fraction(float(x.lo)), Fraction(float(x.hi))
    return [lo, hi, (lo + hi) / 2, lo + (hi - lo) / 3]


def holds(x: Interval, exact: Fraction) -> bool:
    low = x.lo == -np.inf or Fraction(float(x.lo)) <= exact
    return bool(low and (x.hi == np.inf or exact <= Fraction(float(x.hi))))


@pytest.mark.parametrize(
    "operation",
    [lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / y],
    ids=["add", "subtract", "multiply", "divide"],
)
def test_operations_enclose_exact_results(operation: Callable[..., Interval]) -> None:
    checked = 0
    for a, b in pairs():
        with np.errstate(all="ignore"):
            try:
                result = operation(a, b)
            except ZeroDivisionError:
                assert b.lo <= 0 <= b.hi
                continue
        for p in rationals(a):
            for q in rationals(b):
                assert holds(result, operation(p, q)), (a, b, result)
                checked += 1
    assert checked > 3000


def test_square_and_root_enclose() -> None:
    for a, _ in pairs():
        with np.errstate(all="ignore"):
            square = a.square()
            root = square.sqrt()
        assert square.lo >= 0
        for p in rationals(a):
            assert holds(square, p * p)
            if np.isfinite(root.hi):
                assert Fraction(float(root.hi)) >= abs(p)
                assert Fraction(float(root.lo)) ** 2 <= Fraction(float(square.lo)) or root.lo == 0


def test_sums_and_products_of_matrices_enclose() -> None:
    random = np.random.default_rng(SEED)
    for _ in range(30):
        a, b = random.normal(size=(3, 5)) * 10.0 ** random.uniform(-8, 8, (3, 5)), random.normal(size=(5, 2))
        product, summed = matmul(a, b), total(interval(a))
        for i in range(3):
            assert holds(summed[i], sum((Fraction(x) for x in a[i].tolist()), Fraction(0)))
            for k in range(2):
                exact = sum((Fraction(a[i, m]) * Fraction(b[m, k]) for m in range(5)), Fraction(0))
                assert holds(product[i, k], exact)


def test_exponential_encloses_ball_arithmetic() -> None:
    flint = pytest.importorskip("flint", reason="python-flint is not installed: no second implementation")
    flint.ctx.prec = 200
    random = np.random.default_rng(SEED)
    for size in (1e-9, 0.01, 0.5, 1.0):
        for _ in range(10):
            matrix = random.uniform(-1, 1, (4, 4))
            matrix *= size / (np.abs(matrix).sum(axis=1).max() * (1 + 1e-12))
            found = expm(interval(matrix))
            exact = flint.arb_mat(matrix.tolist()).exp()
            for i in range(4):
                for k in range(4):
                    assert flint.arb(float(found.lo[i, k])) <= exact[i, k] <= flint.arb(float(found.hi[i, k]))
                    assert found.hi[i, k] - found.lo[i, k] < 1e-12


def test_exponential_needs_its_remainder() -> None:
    """With few terms the enclosure rests on the remainder alone; it still holds."""
    one = np.array([[1.0]])
    for terms in (1, 2, 3, 6):
        found = expm(interval(one), terms=terms)
        assert found.lo[0, 0] <= np.e <= found.hi[0, 0]
        assert found.hi[0, 0] - found.lo[0, 0] < 4.0 / terms


def test_exponential_refuses_large_matrices() -> None:
    with pytest.raises(ValueError, match="smaller step"):
        expm(interval(np.array([[1.5]])))


def test_rounding_is_outward_and_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the outward step the sum of 0.1 and 0.2 is not enclosed: this test bench can fail."""
    exact = Fraction(0.1) + Fraction(0.2)
    assert holds(interval(0.1) + 0.2, exact)
    monkeypatch.setattr(interval_module, "up", lambda x: x)
    monkeypatch.setattr(interval_module, "down", lambda x: x)
    assert not holds(interval(0.1) + 0.2, exact)
