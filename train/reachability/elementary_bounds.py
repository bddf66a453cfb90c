"""Where the derivatives of the elementary functions turn: between turning points they are monotone, so that the range over an
interval is that of its end points and of the turning points inside.

Decimals are the exact extrema rounded to 17 digits or more (zeros of the next derivative), widened outward by 4 ulp; the tests
find them again by ball arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .error_model import U

Values = Float[Array, "..."]
_ULPS = 8 * U


@dataclass(frozen=True, slots=True)
class Turning:
    """A derivative's extremum: argument (an enclosure), value (an enclosure), and the period by which it recurs (0: never)."""

    z: tuple[float, float]
    value: tuple[float, float]
    period: float = 0.0


Table = tuple[tuple[Turning, ...], ...]  # by order


def _widened(x: float, exact: bool) -> tuple[float, float]:
    return (x, x) if exact else (x - _ULPS * abs(x), x + _ULPS * abs(x))


def _exact(z: float, value: float, period: float = 0.0) -> Turning:
    return Turning((z, z), (value, value), period)


def _pair(z: float, value: float, parity: int) -> tuple[Turning, Turning]:
    """At z and at -z, where the value is `parity` times that."""
    at, of = _widened(z, z == round(z)), _widened(value, False)
    mirrored = of if parity > 0 else (-of[1], -of[0])
    return Turning(at, of), Turning((-at[1], -at[0]), mirrored)


TANH: Table = (
    (),
    (_exact(0.0, 1.0),),
    _pair(0.65847894846240835, -0.76980035891950102, -1),
    (_exact(0.0, -2.0), *_pair(1.1462158347805888, 0.66666666666666667, 1)),
    (*_pair(0.42131647406468832, 4.0858855029696562, -1), *_pair(1.5721592030774652, -0.61008714401228496, -1)),
    (
        _exact(0.0, 16.0),
        *_pair(0.75667592364616750, -7.6867377915101336, 1),
        *_pair(1.9680491853369077, 0.57562668039902246, 1),
    ),
)


def _halved(t: Turning, order: int) -> Turning:
    """From tanh to sigmoid(z) = (1 + tanh(z / 2)) / 2; exact."""
    scale = 0.5 ** (order + 1)
    return Turning((2 * t.z[0], 2 * t.z[1]), (t.value[0] * scale, t.value[1] * scale))


SIGMOID: Table = tuple(tuple(_halved(t, k) for t in row) for k, row in enumerate(TANH))
SOFTPLUS: Table = ((), *SIGMOID[:5])
_SILU_LEAST = -0.27846454276107380
SILU: Table = (
    (Turning(_widened(-1.2784645427610738, False), _widened(_SILU_LEAST, False)),),
    (
        Turning(_widened(-2.3993572805154677, False), _widened(-0.099839320128866917, False)),
        Turning(_widened(2.3993572805154677, False), _widened(1.0998393201288669, False)),
    ),
    (_exact(0.0, 0.5), *_pair(3.4358409935351107, -0.036914373199893186, 1)),
    (*_pair(1.0319582417807491, -0.30818151579647912, -1), *_pair(4.4292351005572280, 0.013862297655470339, -1)),
    (_exact(0.0, -0.5), *_pair(1.8197756117250127, 0.20369232506688512, 1), *_pair(5.4008187394952159, -0.0052433684294599301, 1)),
    (
        *_pair(0.71774192314656656, 0.65802826241431042, -1),
        *_pair(2.5062894864027524, -0.13718387645149030, -1),
        *_pair(6.3619922836816901, 0.0019883826487534710, -1),
    ),
)
ATAN: Table = (
    (),
    (_exact(0.0, 1.0),),
    _pair(0.57735026918962576, -0.64951905283832899, -1),
    (_exact(0.0, -2.0), *_pair(1.0, 0.5, 1)),
    (*_pair(0.32491969623290633, 4.6685592841552130, -1), *_pair(1.3763819204711735, -0.42096372804336129, -1)),
    (_exact(0.0, 24.0), *_pair(0.57735026918962576, -10.125, 1), *_pair(1.7320508075688773, 0.375, 1)),
)
TAN: Table = ((), (_exact(0.0, 1.0, math.pi),), (), (_exact(0.0, 2.0, math.pi),), (), (_exact(0.0, 16.0, math.pi),))
AT_ZERO: Turning = _exact(0.0, 0.0)


def sine_table(phase: int) -> Table:
    """sin^(k + phase) is 1 at pi/2 (1 - k - phase) and -1 half a turn on, modulo 2 pi."""
    rows = []
    for order in range(6):
        top = (1 - order - phase) % 4
        rows.append(tuple(_exact(math.pi / 2 * ((top + shift) % 4), value, 2 * math.pi) for shift, value in ((0, 1.0), (2, -1.0))))
    return tuple(rows)


def recurs_in(lo: Values, hi: Values, z: float, period: float) -> Bool[Array, "..."]:
    """Whether some z + n * period may lie in [lo, hi]: an integer in (x - z) / period, rounded outward.

    z / period is a multiple of 1/4 here, hence exact. Error of x * (1 / period): 1 / period and pi itself one rounding each, the
    product and the difference 2 U each; 16 U covers them.
    """
    phase = round(4 * z / period) / 4
    a, b = lo * (1 / period), hi * (1 / period)
    a, b = a - phase - 16 * U * (jnp.abs(a) + 1), b - phase + 16 * U * (jnp.abs(b) + 1)
    return jnp.floor(b) >= a


@cache
def _columns(row: tuple[Turning, ...]) -> np.ndarray:
    return np.array([[*t.z, *t.value] for t in row], dtype=np.float64).T


def with_turning_points(row: tuple[Turning, ...], lo: Values, hi: Values, low: Values, high: Values) -> tuple[Values, Values]:
    """[low, high] hulled with the values at the turning points that may lie in [lo, hi]."""
    if not row:
        return low, high
    if row[0].period:
        for t in row:
            inside = recurs_in(lo, hi, t.z[0], t.period)
            low = jnp.where(inside, jnp.minimum(low, t.value[0]), low)
            high = jnp.where(inside, jnp.maximum(high, t.value[1]), high)
        return low, high
    z_lo, z_hi, v_lo, v_hi = (jnp.asarray(c.reshape((-1,) + (1,) * lo.ndim)) for c in _columns(row))
    inside = (lo[None] <= z_hi) & (hi[None] >= z_lo)
    low = jnp.minimum(low, jnp.min(jnp.where(inside, v_lo, jnp.inf), axis=0))
    high = jnp.maximum(high, jnp.max(jnp.where(inside, v_hi, -jnp.inf), axis=0))
    return low, high
