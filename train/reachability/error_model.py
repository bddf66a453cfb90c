"""What float64 arithmetic in XLA may be wrong by, and how every bound of the engine is moved outward.

XLA on CPU and GPU computes + - * / and sqrt of float64 with one rounding to nearest, or fuses a product into a sum (FMA), which
rounds less often; it may turn a division by a constant into a product with the rounded reciprocal (two roundings, 1.5 ulp), fold
sums in any order, and take operands and results below 2^-1022 for zero. Hence, for one operation on numbers below 1e15 (a flushed
operand is worth at most 2^-1022 times the other one; `flow` refuses larger numbers),

    |computed - exact| <= 2 U |exact| + TINY,        U = 2^-53,

and for a sum of n products, in any order and with any fusing, |computed - exact| <= 2 n U sum |terms| + n TINY (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1, with a factor 2 of slack). No elementary function of a
library is trusted: `elementary.py` builds them from these operations. Nothing here reads or sets the rounding mode.
"""

from __future__ import annotations

from jaxtyping import Array, Float

U = 2.0**-53
TINY = 1e-290  # far above 2^-1022, so that products of a few flushed terms are covered as well


def raised(radius: Float[Array, "..."], operations: int | float) -> Float[Array, "..."]:
    """An upper bound of an exact non-negative value that was computed by at most `operations` roundings of non-negative terms.

    Multiplies instead of stepping by `nextafter`, so that gradients pass. The factor covers the rounding of this product as well.
    """
    return radius * (1.0 + 4.0 * (operations + 2.0) * U) + TINY


def lowered(value: Float[Array, "..."], magnitude: Float[Array, "..."], operations: int | float) -> Float[Array, "..."]:
    """A lower bound of a sum computed by at most `operations` roundings whose terms add up to `magnitude` in absolute value."""
    return value - (4.0 * (operations + 2.0) * U * magnitude + TINY)


def lifted(value: Float[Array, "..."], magnitude: Float[Array, "..."], operations: int | float) -> Float[Array, "..."]:
    """An upper bound of a sum computed by at most `operations` roundings whose terms add up to `magnitude` in absolute value."""
    return value + (4.0 * (operations + 2.0) * U * magnitude + TINY)
