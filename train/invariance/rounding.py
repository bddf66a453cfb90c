"""A bound of what float32 does to the backup policy: running error analysis over boxes of inputs.

Each operation of the exported graph is bounded by |result| u with u = 2^-24 plus the smallest subnormal; sums of products are
bounded for any order and with or without fused operations. Source: Higham, Accuracy and Stability of Numerical Algorithms,
2nd ed., sections 2.2 and 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

UNIT = 2.0**-24
TINY = 2.0**-149
SLACK = 1.0 + 1e-9
"""Covers the float64 rounding of this analysis itself (fewer than 100 operations of relative error 2^-53)."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """A float32 quantity: bound of the exact magnitude and of the absolute error."""

    size: float
    error: float = 0.0

    def _done(self, size: float, error: float) -> Rounded:
        return Rounded(size * SLACK, (error + (size + error) * UNIT + TINY) * SLACK)

    def __add__(self, other: Rounded) -> Rounded:
        return self._done(self.size + other.size, self.error + other.error)

    __sub__ = __add__

    def __mul__(self, other: Rounded) -> Rounded:
        error = self.size * other.error + other.size * self.error + self.error * other.error
        return self._done(self.size * other.size, error)

    def over(self, other: Rounded, smallest: float) -> Rounded:
        """Quotient by a quantity of magnitude at least `smallest`."""
        least = smallest - other.error
        size = self.size / smallest
        return self._done(size, (self.error + size * other.error) / least)


def given(size: float) -> Rounded:
    """An input that is rounded to float32 when it enters the graph."""
    return Rounded(size, size * UNIT + TINY)


def dot(x: list[Rounded], y: list[Rounded]) -> Rounded:
    """Sum of products in any order."""
    products = [a * b for a, b in zip(x, y, strict=True)]
    size = sum(p.size for p in products)
    error = sum(p.error for p in products)
    gamma = len(products) * UNIT / (1 - len(products) * UNIT)
    return Rounded(size * SLACK, (error + gamma * (size + error) + TINY) * SLACK)
