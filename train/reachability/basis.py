"""The monomials of a Taylor model, and the tables by which two polynomials are multiplied.

A Taylor model is a polynomial in a scaled time s in [0, 1], in `symbols` polynomial symbols y in [-1, 1] up to a total degree, and
in `generators` symbols z in [-1, 1] that enter linearly only (errors that were made symbols again). A coefficient array has
shape (..., time_order + 1, monomials): monomial 0 is the constant, then the y monomials by degree, then the z.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Basis:
    """Which monomials are kept; everything else goes to the remainder.

    Attributes:
        symbols: number of polynomial symbols y.
        degree: highest total degree in y, at least 1.
        generators: number of linear symbols z.
        time_order: highest power of the scaled time; 0 for sets at one instant.
    """

    symbols: int
    degree: int
    generators: int
    time_order: int

    def at_instant(self) -> Basis:
        """The same monomials without time."""
        return Basis(self.symbols, self.degree, self.generators, 0)

    @cached_property
    def exponents(self) -> tuple[tuple[int, ...], ...]:
        """Per y monomial the sorted indices of its factors: () constant, (0,) y0, (0, 1) y0 y1, ..."""
        return tuple(c for d in range(self.degree + 1) for c in combinations_with_replacement(range(self.symbols), d))

    @property
    def polynomial(self) -> int:
        """Number of y monomials with the constant."""
        return len(self.exponents)

    @property
    def monomials(self) -> int:
        """Number of spatial monomials."""
        return self.polynomial + self.generators

    @cached_property
    def powers(self) -> npt.NDArray[np.float64]:
        """Exponent of every y in every y monomial, shape (polynomial, symbols)."""
        table = np.zeros((self.polynomial, self.symbols))
        for m, e in enumerate(self.exponents):
            for v in e:
                table[m, v] += 1.0
        return table

    @cached_property
    def factors(self) -> npt.NDArray[np.int32]:
        """Indices of the factors of every y monomial, shape (polynomial, degree); unused places point behind the last symbol."""
        return np.array([[*e, *[self.symbols] * (self.degree - len(e))] for e in self.exponents], dtype=np.int32)

    @cached_property
    def pairs(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Indices (left, right), shape (polynomial, K): y monomial m of a product is the sum over k of a[left[m, k]] b[right[m, k]].

        Unused places point at index `polynomial`, a column of zeros that `multiply` appends.
        """
        index = {e: i for i, e in enumerate(self.exponents)}
        found: list[list[tuple[int, int]]] = []
        for product in self.exponents:
            masks = range(2 ** len(product))
            parts = {tuple(tuple(v for k, v in enumerate(product) if (mask >> k & 1) == side) for side in (1, 0)) for mask in masks}
            found.append(sorted((index[left], index[right]) for left, right in parts))
        table = np.full((2, self.polynomial, max(len(f) for f in found)), self.polynomial, dtype=np.int32)
        for m, pairs in enumerate(found):
            table[:, m, : len(pairs)] = np.array(pairs).T
        return table[0], table[1]

    @cached_property
    def classes(self) -> npt.NDArray[np.float64]:
        """Class membership, shape (monomials, degree + 2): total degree in y, the last class holds the z."""
        member = np.zeros((self.monomials, self.degree + 2))
        for i, e in enumerate(self.exponents):
            member[i, len(e)] = 1.0
        member[self.polynomial :, -1] = 1.0
        return member

    @cached_property
    def dropped(self) -> npt.NDArray[np.float64]:
        """1 where a product of (time power, class) pairs leaves the basis; shape (time_order + 1, C, time_order + 1, C)."""
        steps, last = self.time_order + 1, self.degree + 1
        mask = np.ones((steps, last + 1, steps, last + 1))
        for i in range(steps):
            for j in range(steps - i):
                for a in range(last + 1):
                    for b in range(last + 1):
                        both = (a == last) + (b == last)
                        kept = a + b <= self.degree if both == 0 else both == 1 and min(a, b) == 0
                        if kept:
                            mask[i, a, j, b] = 0.0
        return mask

    @cached_property
    def even(self) -> npt.NDArray[np.bool_]:
        """True for the non-constant monomials whose every exponent is even: they lie in [0, 1]."""
        flags = np.zeros(self.monomials, dtype=bool)
        for i, e in enumerate(self.exponents):
            flags[i] = bool(e) and all(e.count(v) % 2 == 0 for v in e)
        return flags

    @cached_property
    def bernstein(self) -> npt.NDArray[np.float64]:
        """Matrix from powers of s to Bernstein coefficients on [0, 1]: entry (i, j) = C(i, j) / C(n, j), exact to 1 U relative."""
        from math import comb

        n = self.time_order
        return np.array([[comb(i, j) / comb(n, j) for j in range(n + 1)] for i in range(n + 1)])


@lru_cache(maxsize=64)
def basis(symbols: int, degree: int, generators: int, time_order: int) -> Basis:
    """A shared instance, so that the tables are built once."""
    return Basis(symbols, degree, generators, time_order)
