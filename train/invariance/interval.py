"""Interval arithmetic on numpy arrays, every operation rounded outward.

IEEE 754 binary64 round-to-nearest is wrong by at most half an ulp for + - * / and sqrt, so one `nextafter` outward
encloses the exact result. Sums are folded one operation at a time: no library reduction whose order or fused
operations are unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def down(x: Numbers) -> Numbers:
    """Next float64 below."""
    return np.nextafter(x, -np.inf)


def up(x: Numbers) -> Numbers:
    """Next float64 above."""
    return np.nextafter(x, np.inf)


@dataclass(frozen=True, slots=True)
class Interval:
    """Elementwise closed intervals [lo, hi] of one common shape; endpoints are exact float64."""

    lo: Numbers
    hi: Numbers

    # numpy must hand `array * Interval` to this class instead of looping over elements
    __array_ufunc__ = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of both endpoint arrays."""
        return self.lo.shape

    def __getitem__(self, key: object) -> Interval:
        return Interval(np.asarray(self.lo[key]), np.asarray(self.hi[key]))  # type: ignore[index]

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __add__(self, other: Interval | Numbers | float) -> Interval:
        o = interval(other)
        return Interval(down(self.lo + o.lo), up(self.hi + o.hi))

    __radd__ = __add__

    def __sub__(self, other: Interval | Numbers | float) -> Interval:
        return self + (-interval(other))

    def __rsub__(self, other: Interval | Numbers | float) -> Interval:
        return interval(other) - self

    def __mul__(self, other: Interval | Numbers | float) -> Interval:
        o = interval(other)
        products = np.stack(np.broadcast_arrays(self.lo * o.lo, self.lo * o.hi, self.hi * o.lo, self.hi * o.hi))
        return Interval(down(products.min(axis=0)), up(products.max(axis=0)))

    __rmul__ = __mul__

    def __truediv__(self, other: Interval | Numbers | float) -> Interval:
        o = interval(other)
        if np.any((o.lo <= 0) & (o.hi >= 0)):
            raise ZeroDivisionError("division by an interval that contains zero")
        quotients = np.stack(np.broadcast_arrays(self.lo / o.lo, self.lo / o.hi, self.hi / o.lo, self.hi / o.hi))
        return Interval(down(quotients.min(axis=0)), up(quotients.max(axis=0)))

    def __rtruediv__(self, other: Interval | Numbers | float) -> Interval:
        return interval(other) / self

    def square(self) -> Interval:
        """Square, tighter than x * x when x contains zero."""
        top = np.maximum(np.abs(self.lo), np.abs(self.hi))
        bottom = np.where((self.lo <= 0) & (self.hi >= 0), 0.0, np.minimum(np.abs(self.lo), np.abs(self.hi)))
        return Interval(np.maximum(down(bottom * bottom), 0.0), up(top * top))

    def sqrt(self) -> Interval:
        """Square root; negative parts of the lower end are cut at zero, which is right for sums of squares."""
        return Interval(np.maximum(down(np.sqrt(np.maximum(self.lo, 0.0))), 0.0), up(np.sqrt(self.hi)))

    def magnitude(self) -> Numbers:
        """Largest absolute value."""
        return np.maximum(np.abs(self.lo), np.abs(self.hi))

    def hull(self, other: Interval) -> Interval:
        """Smallest interval that contains both."""
        return Interval(np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi))

    def contains(self, x: Numbers | float) -> bool:
        """Whether every element of `x` lies inside."""
        return bool(np.all((self.lo <= x) & (x <= self.hi)))


def interval(x: Interval | Numbers | float) -> Interval:
    """Point interval of an exact float64, or the interval itself."""
    if isinstance(x, Interval):
        return x
    point = np.asarray(x, dtype=np.float64)
    return Interval(point, point)


def symmetric(radius: Numbers | float) -> Interval:
    """[-radius, radius]."""
    r = np.asarray(radius, dtype=np.float64)
    return Interval(-r, r)


def total(x: Interval, axis: int = -1) -> Interval:
    """Sum along an axis, folded left to right."""
    lo, hi = np.moveaxis(x.lo, axis, 0), np.moveaxis(x.hi, axis, 0)
    result = Interval(lo[0], hi[0])
    for k in range(1, lo.shape[0]):
        result = result + Interval(lo[k], hi[k])
    return result


def matmul(a: Interval | Numbers, b: Interval | Numbers) -> Interval:
    """Matrix product of an (n, k) and a (k, m) matrix, or of an (n, k) matrix and a (k,) vector."""
    a, b = interval(a), interval(b)
    if len(b.shape) == 1:
        return total(a * b)
    left = Interval(a.lo[:, :, None], a.hi[:, :, None])
    return total(left * Interval(b.lo[None], b.hi[None]), axis=1)


def stack(items: list[Interval]) -> Interval:
    """Stack scalars or equal shapes along a new first axis."""
    return Interval(np.stack([i.lo for i in items]), np.stack([i.hi for i in items]))


def expm(matrix: Interval, terms: int = 18) -> Interval:
    """Enclosure of the matrix exponential by its Taylor series with the remainder bounded in the infinity norm.

    Args:
        matrix: Interval matrix M, shape (n, n), with infinity norm at most 1.
        terms: Last power of the polynomial.

    Returns:
        Enclosure of exp(M). Remainder: |sum_{k > terms} M^k / k!| <= N^(terms+1) / (terms+1)! * 1 / (1 - N / (terms+2)).

    Raises:
        ValueError: the norm is above 1; halve the step.
    """
    n = matrix.shape[0]
    norm = float(np.max(total(interval(matrix.magnitude())).hi))
    if norm > 1.0:
        raise ValueError(f"matrix exponential: infinity norm {norm:.3g} is above 1; use a smaller step")
    power = interval(np.eye(n))
    result = power
    size = interval(1.0)
    for k in range(1, terms + 1):
        power = matmul(power, matrix) / float(k)
        result = result + power
        size = size * norm / float(k)
    tail = size * norm / float(terms + 1) / (1.0 - interval(norm) / float(terms + 2))
    return result + symmetric(np.full((n, n), float(tail.hi)))
