"""Interval arithmetic on (lo, hi) pairs of float64 arrays, each end moved outward by the error model.

Ends may be infinite. NaN in, or an undefined result (a divisor that may be 0, an end 0 times an infinite end: the 0 may be a
flushed denormal number), gives (-inf, inf). Everything is element by element and can be jitted, mapped and
differentiated. Results that the processor flushes to zero (below 2^-1022) are covered by TINY; operands that it takes as zero, by
2^-1022 times the other factor, which TINY would not cover above 1e18.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.errors import InputError

from .error_model import TINY, lifted, lowered

Values = Float[Array, "..."]
Interval = tuple[Values, Values]

_LARGEST = float(np.finfo(np.float64).max)
_FLUSHED = 2.3e-308  # above 2^-1022
_DIVISOR = (TINY, 1 / TINY)  # beyond, the reciprocal of a constant divisor may be flushed to zero


def _outward(lo: Values, hi: Values, lo_size: Values, hi_size: Values, operations: int) -> Interval:
    """Both ends moved outward; an overflowing lower end is the largest number, an unknown one is infinite."""
    low = lowered(jnp.minimum(lo, _LARGEST), jnp.minimum(lo_size, _LARGEST), operations)
    high = lifted(jnp.maximum(hi, -_LARGEST), jnp.minimum(hi_size, _LARGEST), operations)
    unknown = jnp.isnan(low) | jnp.isnan(high)
    return jnp.where(unknown, -jnp.inf, low), jnp.where(unknown, jnp.inf, high)


def add(a: Interval, b: Interval) -> Interval:
    """{x + y}. The widening is by |x| + |y|, so that sums may be folded in any order."""
    sizes = [jnp.abs(x) + jnp.abs(y) for x, y in zip(a, b, strict=True)]
    return _outward(a[0] + b[0], a[1] + b[1], sizes[0], sizes[1], 1)


def neg(a: Interval) -> Interval:
    """{-x}, exactly."""
    return -a[1], -a[0]


def sub(a: Interval, b: Interval) -> Interval:
    """{x - y}."""
    return add(a, neg(b))


def _size(a: Interval) -> Values:
    """Largest magnitude of a finite end."""
    sizes = [jnp.where(jnp.isfinite(end), jnp.abs(end), 0.0) for end in a]
    return jnp.maximum(*sizes)


def _hull(products: list[Values], flushed: Values, undefined: Values) -> Interval:
    """Hull of computed products, outward, also by `flushed`."""
    lo, hi = products[0], products[0]
    for p in products[1:]:
        lo, hi = jnp.minimum(lo, p), jnp.maximum(hi, p)
    lo, hi = _outward(lo - flushed, hi + flushed, jnp.abs(lo) + flushed, jnp.abs(hi) + flushed, 2)
    return jnp.where(undefined, -jnp.inf, lo), jnp.where(undefined, jnp.inf, hi)


def mul(a: Interval, b: Interval) -> Interval:
    """{x y}: hull of the four products of the ends; a NaN among them reaches both ends of the hull."""
    return _hull([x * y for x in a for y in b], _FLUSHED * _size(a) + _FLUSHED * _size(b), jnp.zeros_like(a[0], dtype=bool))


def div(a: Interval, b: Interval) -> Interval:
    """{x / y}: hull of the four quotients of the ends; everything when y may be below TINY or beyond 1 / TINY in magnitude."""
    least, most = _DIVISOR
    safe = ((b[0] >= least) & (b[1] <= most)) | ((b[1] <= -least) & (b[0] >= -most))
    y = [jnp.where(safe, end, 1.0) for end in b]
    inverse = 1 / jnp.minimum(jnp.abs(y[0]), jnp.abs(y[1]))
    return _hull([x / end for x in a for end in y], _FLUSHED * inverse, ~safe | jnp.isnan(a[0]) | jnp.isnan(a[1]))


def square(a: Interval) -> Interval:
    """{x^2}, never below 0."""
    return power(a, 2)


def power(a: Interval, n: int) -> Interval:
    """{x^n} for an integer n: sharp for even powers across 0; negative powers by division.

    Raises:
        InputError: n is no integer.
    """
    if int(n) != n:
        raise InputError(f"power {n} of an interval is not an integer; use exp and log for real powers")
    n = int(n)
    if n < 0:
        return div((jnp.ones_like(a[0]), jnp.ones_like(a[1])), power(a, -n))
    if n == 0:
        return jnp.ones_like(a[0]), jnp.ones_like(a[1])
    if n == 1:
        return a
    unknown = jnp.isnan(a[0]) | jnp.isnan(a[1])
    ends = a[0] ** n, a[1] ** n
    lo, hi = ends
    if n % 2 == 0:
        crosses = (a[0] <= 0) & (a[1] >= 0)
        lo, hi = jnp.where(crosses, 0.0, jnp.minimum(*ends)), jnp.maximum(*ends)
    lo, hi = _outward(lo, hi, jnp.abs(lo), jnp.abs(hi), n)
    if n % 2 == 0:
        lo = jnp.maximum(lo, 0.0)
    return jnp.where(unknown, -jnp.inf, lo), jnp.where(unknown, jnp.inf, hi)
