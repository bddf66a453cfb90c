"""Affine expressions of atoms (inputs and results of nonlinear operations) with a tally of the rounding of their coefficients."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Affine:
    """constant + sum over atoms of coefficient * atom.

    `terms` maps an atom to (coefficient, size) and `constant` is such a pair, where `size` is the sum of the absolute contributions
    that were added up, so that |exact - coefficient| <= 2 U roundings size, whatever cancelled. Every literal number counts as one
    rounding, so that the bound holds for the decimal that was written as well as for the float64 it became.
    """

    terms: dict[int, tuple[float, float]] = field(default_factory=dict)
    constant: tuple[float, float] = (0.0, 0.0)
    roundings: int = 0

    @staticmethod
    def number(value: float) -> Affine:
        """A literal; only integers up to 2^53 are certainly the number that was written."""
        exact = float(value).is_integer() and abs(value) <= 2.0**53
        return Affine({}, (float(value), abs(float(value))), 0 if exact else 1)

    @staticmethod
    def atom(index: int) -> Affine:
        """One atom."""
        return Affine({index: (1.0, 1.0)}, (0.0, 0.0), 0)

    @property
    def is_number(self) -> bool:
        """No atom takes part."""
        return not self.terms

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for expressions of equal numbers and equal bounds of their rounding."""
        return (self.constant, self.roundings, tuple(sorted(self.terms.items())))

    def __add__(self, other: Affine | float) -> Affine:
        o = other if isinstance(other, Affine) else Affine.number(other)
        terms = dict(self.terms)
        for index, (coefficient, size) in o.terms.items():
            mine, mine_size = terms.get(index, (0.0, 0.0))
            terms[index] = (mine + coefficient, mine_size + size)
        terms = {i: c for i, c in terms.items() if c[0] != 0.0 or c[1] != 0.0}
        constant = (self.constant[0] + o.constant[0], self.constant[1] + o.constant[1])
        return Affine(terms, constant, max(self.roundings, o.roundings) + 1)

    __radd__ = __add__

    def times(self, number: Affine) -> Affine:
        """Product with a number; sizes multiply: |c f - c~ f~| <= 2 U (r_c + r_f + 1) s_c s_f."""
        value, magnitude = number.constant
        terms = {i: (c * value, s * magnitude) for i, (c, s) in self.terms.items()}
        exact = number.roundings == 0 and value in (1.0, -1.0, 2.0, 0.5)
        roundings = self.roundings + (0 if exact else number.roundings + 1)
        return Affine(terms, (self.constant[0] * value, self.constant[1] * magnitude), roundings)

    def __neg__(self) -> Affine:
        return self.times(Affine.number(-1.0))

    def __sub__(self, other: Affine | float) -> Affine:
        return self + (-(other if isinstance(other, Affine) else Affine.number(other)))

    def __rsub__(self, other: Affine | float) -> Affine:
        return -self + other
