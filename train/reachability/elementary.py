"""Elementary functions of Taylor models and networks: values, Taylor coefficients, ranges of values and of derivatives, all with
rigorous error bounds, built from + - * / and sqrt alone.

Arrays are float64 of any shape (lo and hi of the same); everything is element by element, and can be jitted, mapped and
differentiated (error bounds count as constants). Names: see `NAMES`; "leaky_relu:0.2" states another slope than 0.01.

- Outside the domain (lo > hi, a pole of tan, 0 of reciprocal, <= 0 of log and of the derivatives of sqrt) and for NaN or infinite
  input, every bound is infinite; numbers below TINY in magnitude count as 0 there, as the processor may flush them.
- Inside the domain but beyond what the argument reduction covers (|z| > 1e8 for sin and cos, z > 690 for exp, z > 1e300 for log)
  the answer is the function's global range: [-1, 1], [0, inf), everything. tan is not defined beyond 1e8.
- At a kink (relu, abs, leaky_relu, elu at 0) the derivative of the order that jumps counts as the set of its one-sided values,
  which is what a mean-value or Lagrange remainder needs; derivatives of higher order over an interval with the kink inside are
  unbounded. Hence relu, abs: order 1 finite, 2 and above infinite; elu: order 2 finite, 3 and above infinite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from tubepilot.firmware_bridge.errors import InputError

from . import elementary_derivatives as families
from .elementary_bounds import (
    AT_ZERO,
    ATAN,
    SIGMOID,
    SILU,
    SOFTPLUS,
    TAN,
    TANH,
    Table,
    recurs_in,
    sine_table,
    with_turning_points,
)
from .elementary_inverses import LOG_HIGHEST
from .elementary_values import ANGLE_LIMIT, EXP_HIGHEST
from .error_model import TINY, U

Values = Float[Array, "..."]
Flags = Bool[Array, "..."]
Pair = tuple[float, float]

HIGHEST_ORDER = 5
LEAKY_SLOPE = 0.01
_INF = math.inf
_LINE: Pair = (-_INF, _INF)
_HALF_LINE: Pair = (0.0, _INF)
_UNIT: Pair = (0.0, 1.0)
_NO_TABLE: Table = ((),) * 6


@dataclass(frozen=True, slots=True)
class Elementary:
    """One function: its derivatives, where they turn, their global ranges, its domain and what of it is supported."""

    derivatives: families.Family
    table: Table = _NO_TABLE
    ranges: tuple[Pair, ...] = (_LINE,) * 6  # by order; of the kinked ones infinite where a jump counts
    supported: Pair = (-1e100, 1e100)
    safe: float = 1.0  # an argument where nothing goes wrong
    kink: int | None = None  # order of the derivative that jumps at 0
    positive: bool = False  # domain z > 0
    closed: bool = False  # the value (not the derivatives) exists at 0 as well
    poles: str = ""  # "zero", or "tan"


def _decaying(table: Table, *first: Pair) -> tuple[Pair, ...]:
    """Global ranges: given for the first orders, then between the turning points' values and the limit 0."""
    rest = [tuple(v for t in row for v in t.value) for row in table[len(first) :]]
    return (*first, *((min(0.0, *values), max(0.0, *values)) for values in rest))


def _linear(slope: float) -> Elementary:
    return Elementary(
        families.piecewise_linear(slope),
        table=(((AT_ZERO,) if slope < 0 else ()), *((),) * 5),
        ranges=(_HALF_LINE if slope <= 0 else _LINE, (min(slope, 1.0), max(slope, 1.0)), *(_LINE,) * 4),
        kink=1,
    )


_HALF_PI_UP = math.nextafter(math.pi / 2, 2)
_REGISTRY = {
    "sin": Elementary(families.sine(0), sine_table(0), ((-1.0, 1.0),) * 6, (-ANGLE_LIMIT, ANGLE_LIMIT)),
    "cos": Elementary(families.sine(1), sine_table(1), ((-1.0, 1.0),) * 6, (-ANGLE_LIMIT, ANGLE_LIMIT)),
    "tan": Elementary(families.tan, TAN, supported=(-ANGLE_LIMIT, ANGLE_LIMIT), poles="tan"),
    "exp": Elementary(families.exp, ranges=(_HALF_LINE,) * 6, supported=(-1e100, EXP_HIGHEST)),
    "log": Elementary(families.log, supported=(TINY, LOG_HIGHEST), positive=True),
    "sqrt": Elementary(
        families.sqrt, ranges=(_HALF_LINE, _HALF_LINE, *(_LINE,) * 4), supported=(0.0, 1e300), positive=True, closed=True
    ),
    "reciprocal": Elementary(families.reciprocal, poles="zero"),
    "tanh": Elementary(families.tanh, TANH, _decaying(TANH, (-1.0, 1.0))),
    "sigmoid": Elementary(families.sigmoid, SIGMOID, _decaying(SIGMOID, _UNIT)),
    "softplus": Elementary(families.softplus, SOFTPLUS, _decaying(SOFTPLUS, _HALF_LINE, _UNIT)),
    "silu": Elementary(families.silu, SILU, _decaying(SILU, (SILU[0][0].value[0], _INF), (SILU[1][0].value[0], SILU[1][1].value[1]))),
    "elu": Elementary(families.elu, ranges=((-1.0, _INF), _UNIT, _UNIT, *(_LINE,) * 3), kink=2),
    "atan": Elementary(families.atan, ATAN, _decaying(ATAN, (-_HALF_PI_UP, _HALF_PI_UP))),
    "square": Elementary(families.square, ((AT_ZERO,), *((),) * 5), (_HALF_LINE, _LINE, (2.0, 2.0), *((0.0, 0.0),) * 3)),
    "relu": _linear(0.0),
    "abs": _linear(-1.0),
    "leaky_relu": _linear(LEAKY_SLOPE),
}
NAMES = tuple(_REGISTRY)


def elementary(name: str) -> Elementary:
    """The function `name`.

    Raises:
        InputError: no such function, or a slope of leaky_relu that is no number in (0, 1).
    """
    if name in _REGISTRY:
        return _REGISTRY[name]
    if name.startswith("leaky_relu:"):
        try:
            slope = float(name.removeprefix("leaky_relu:"))
        except ValueError:
            slope = math.nan
        if not 0 < slope < 1:
            raise InputError(f"slope of {name!r} is not a number between 0 and 1; write for instance leaky_relu:0.2")
        _REGISTRY[name] = _linear(slope)
        return _REGISTRY[name]
    raise InputError(f"elementary function {name!r} is unknown; known are {', '.join(NAMES)}")


def _checked(name: str, order: int, highest: int, *arguments: Values) -> tuple[Elementary, list[Values]]:
    if not 0 <= order <= highest:
        raise InputError(f"order {order} of {name} is outside 0 to {highest}; ask for a lower one")
    arrays = [jnp.asarray(a) for a in arguments]
    for a in arrays:
        if a.dtype != jnp.float64:
            raise InputError(f"argument of {name} is {a.dtype}, not float64; compute inside jax.enable_x64(True)")
    return elementary(name), arrays


def _domain(function: Elementary, lo: Values, hi: Values, order: int) -> Flags:
    """[lo, hi] is finite and inside the domain of the derivative `order`; False for NaN."""
    ok = (lo <= hi) & jnp.isfinite(lo) & jnp.isfinite(hi)
    if function.positive:
        ok &= (lo >= 0) if function.closed and order == 0 else (lo >= TINY)
    if function.poles == "zero":
        ok &= (lo >= TINY) | (hi <= -TINY)
    if function.poles == "tan":
        ok &= (lo >= -ANGLE_LIMIT) & (hi <= ANGLE_LIMIT)
        x_lo, x_hi = jnp.where(ok, lo, 0.0), jnp.where(ok, hi, 0.0)
        ok &= ~recurs_in(x_lo, x_hi, math.pi / 2, math.pi)
    return ok


def _supported(function: Elementary, lo: Values, hi: Values) -> Flags:
    return (lo >= function.supported[0]) & (hi <= function.supported[1])


def _at(function: Elementary, c: Values, order: int) -> families.Derivatives:
    """Derivatives of order 0 to `order` at c with their errors; (0, bound) where there is no more to say."""
    supported = _supported(function, c, c)
    domains = [_domain(function, c, c, min(k, 1)) for k in range(min(order, 1) + 1)]
    z = jnp.where(domains[0] & supported, c, function.safe)
    out = []
    for k, (v, e) in enumerate(function.derivatives(z, order)):
        defined = domains[min(k, 1)]
        fallback = jnp.where(defined, max(abs(b) for b in function.ranges[k]), _INF)
        good = defined & supported & (jnp.abs(v) + e <= 1e300)
        out.append((jnp.where(good, v, 0.0), lax.stop_gradient(jnp.where(good, e, fallback))))
    return out


def value(name: str, c: Values) -> tuple[Values, Values]:
    """(v, err) with |phi(c) - v| <= err."""
    function, (c,) = _checked(name, 0, 0, c)
    return _at(function, c, 0)[0]


def taylor(name: str, c: Values, order: int) -> tuple[list[Values], list[Values]]:
    """Taylor coefficients phi^(i)(c) / i! for i = 0 ... order (at most 4), and bounds of their absolute errors.

    Raises:
        InputError: unknown name, order outside 0 to 4, argument not float64.
    """
    function, (c,) = _checked(name, order, 4, c)
    coefficients, errors = [], []
    for i, (v, e) in enumerate(_at(function, c, order)):
        scale = 1 / math.factorial(i)
        coefficients.append(v * scale)
        # i <= 2 divides exactly; else scale and product add 3 U |v|, and the bound's own roundings 8 U of itself.
        errors.append(e * scale if i <= 2 else (e + 4 * U * jnp.abs(v)) * (scale * (1 + 16 * U)) + TINY)
    return coefficients, errors


def _range(name: str, lo: Values, hi: Values, order: int) -> tuple[Values, Values]:
    """Encloses phi^(order)([lo, hi])."""
    function, (lo, hi) = _checked(name, order, HIGHEST_ORDER, lo, hi)
    defined = _domain(function, lo, hi, order)
    good = defined & _supported(function, lo, hi)
    lo, hi = jnp.where(good, lo, function.safe), jnp.where(good, hi, function.safe)
    v, e = function.derivatives(jnp.stack([lo, hi]), order)[order]
    # v - e and v + e round by 2 U (|v| + e); an exact v (e = 0) stays as it is.
    e = lax.stop_gradient(jnp.where(e > 0, e * (1 + 16 * U) + 4 * U * jnp.abs(v), 0.0))
    low, high = jnp.minimum(v[0] - e[0], v[1] - e[1]), jnp.maximum(v[0] + e[0], v[1] + e[1])
    if function.kink is not None:
        inside = (lo < 0) & (hi > 0)
        if order == function.kink:  # the lower one-sided value is at one of the ends already, the upper one is 1
            high = jnp.where(inside, jnp.maximum(high, 1.0), high)
        elif order > function.kink:
            low, high = jnp.where(inside, -_INF, low), jnp.where(inside, _INF, high)
    low, high = with_turning_points(function.table[order], lo, hi, low, high)
    least, most = function.ranges[order]
    low, high = jnp.maximum(low, least), jnp.minimum(high, most)
    fits = (low >= -1e300) & (high <= 1e300)
    low = jnp.where(good & fits, low, jnp.where(defined, least, -_INF))
    return low, jnp.where(good & fits, high, jnp.where(defined, most, _INF))


def derivative_bound(name: str, lo: Values, hi: Values, order: int) -> Values:
    """b >= sup over [lo, hi] of |phi^(order)|, order 0 to 5; +inf where there is none.

    Raises:
        InputError: unknown name, order outside 0 to 5, argument not float64.
    """
    low, high = _range(name, lo, hi, order)
    return jnp.maximum(-low, high)


def derivative_range(name: str, lo: Values, hi: Values) -> tuple[Values, Values]:
    """(dlo, dhi) that encloses phi'([lo, hi]); at a kink inside, both one-sided slopes."""
    return _range(name, lo, hi, 1)


def value_range(name: str, lo: Values, hi: Values) -> tuple[Values, Values]:
    """(vlo, vhi) that encloses phi([lo, hi])."""
    return _range(name, lo, hi, 0)


def defined(name: str, lo: Values, hi: Values) -> Flags:
    """Whether [lo, hi] is finite, ordered and inside the open domain."""
    function, (lo, hi) = _checked(name, 0, 0, lo, hi)
    return _domain(function, lo, hi, 1)
