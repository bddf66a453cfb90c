"""Elementary functions from + - * / alone: argument reduction, polynomial, and a derived bound of the error.

Every error is the sum of three parts: that of the reduced argument (Cody and Waite: the constant in two parts), the truncated
terms of the series (a geometric bound of the tail), and the roundings by `error_model` (`horner` carries them through a Horner
scheme at import). An operation counts 2 U of its exact result. `SLACK` covers the products of two such errors, which are below
1e-9 of the errors themselves, and the roundings of the constants computed at import. Errors are in units of U unless they say
otherwise.

Source: Muller, Elementary Functions, 3rd ed., chapters 10 and 11; Higham, Accuracy and Stability, section 5.1 (running error).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .error_model import TINY, U

Values = Float[Array, "..."]

SLACK = 1.01
EXP_LOWEST, EXP_HIGHEST = -668.0, 690.0  # e^-668 < TINY; e^690 < 1e300, above which there is no bound
ANGLE_LIMIT = 1e8  # sin, cos, tan: above this the rounding of the reduction is no longer small

# Constants in two parts, the first with so few bits that its product with the integer is exact; what is missing is below 2^-85.
_HALF_PI = (float.fromhex("0x1.921fb54000000p+0"), float.fromhex("0x1.10b4611a62633p-30"))
LN2 = (float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33"))


def horner(coefficients: Sequence[float], x: float, x_error: float) -> tuple[float, float]:
    """Bounds of |p| and of the error [U] of Horner's scheme, for |argument| <= x with relative error x_error [U].

    Coefficients count as rounded to float64. Each step multiplies the error so far by x, so a decreasing series stays near 3 U.
    """
    magnitude, error = abs(coefficients[-1]), abs(coefficients[-1])
    for a in reversed(coefficients[:-1]):
        product = magnitude * x
        error = error * x + (x_error + 2) * product
        magnitude = product + abs(a)
        error += abs(a) + 2 * magnitude
    return magnitude, error * SLACK


def polynomial(coefficients: Sequence[float], x: Values) -> Values:
    value = jnp.full_like(x, coefficients[-1])
    for a in reversed(coefficients[:-1]):
        value = value * x + a
    return value


def _power_of_two(k: Values) -> Values:
    """2^k exactly, for integers -1022 <= k <= 1023 held as float64."""
    return lax.bitcast_convert_type((k.astype(jnp.int64) + 1023) << 52, jnp.float64)


# e^x = 2^k e^r with |r| <= ln 2 / 2 (+ 1e-11 for the rounding of x / ln 2), e^r = 1 + r g(r).
_R_EXP = 0.3466
_EXP = [1 / math.factorial(n) for n in range(1, 14)]
_G, _G_ERROR = horner(_EXP, _R_EXP, 0.0)
# p = r g: error <= |r| _P: Horner, the product, and the tail r^13 / 14! (1 + r / 15 + ...).
_P = (_G_ERROR + 2 * _G + _R_EXP**13 / math.factorial(14) * 1.03 / U) * SLACK
# r = x - k L1 - k L2: three terms, hence 6 U (|x| + |k| ln 2) <= 6 * 2.5 ln 2 |k| U = 10.4 |k| U, exact for k = 0.
_R_STEP = 10.5
_E_REL = (_P * _R_EXP / math.sqrt(0.5) + 2) * SLACK  # of 1 + p >= sqrt(1/2); scaling by 2^k is exact


class Exponential(NamedTuple):
    """e^x, and e^x - 1 (for x <= 0 only); `error` is the relative one of `power`, `minus_one` has M_REL [U]."""

    power: Values
    minus_one: Values
    error: Values


@jax.custom_jvp
def exponential(x: Values) -> Exponential:
    """e^x; arguments below EXP_LOWEST count as that (wrong by less than TINY); the caller keeps x below EXP_HIGHEST."""
    x = jnp.maximum(x, EXP_LOWEST)
    k = jnp.round(x * (1 / math.log(2)))
    r = (x - k * LN2[0]) - k * LN2[1]
    p = r * polynomial(_EXP, r)
    scale = _power_of_two(k)
    return Exponential(scale * (1 + p), (scale - 1) + scale * p, _E_REL + _R_STEP * jnp.abs(k))


@exponential.defjvp
def _exponential_jvp(primals: tuple[Values], tangents: tuple[Values]) -> tuple[Exponential, Exponential]:
    out = exponential(*primals)
    slope = out.power * tangents[0]
    return out, Exponential(slope, slope, jnp.zeros_like(slope))


def _minus_one_errors() -> tuple[float, float, float, float]:
    """For x <= 0, m = e^x - 1 and d = 2 + m: relative error of m, of d, relative and absolute error of t = -m / d [U].

    k = 0: m = p, two roundings more, |r| <= 1.19 |m|. k < 0: the error of p and r scaled by 2^k, and the rounding of both
    terms. t' = 2 / d^2; d and the quotient add one rounding each.
    """
    m_rel, d_rel, t_rel, t_abs = [], [], [], []
    for k in range(0, -80, -1):
        s = 2.0**k
        least, d = (0.0, 1.7) if k == 0 else (1 - s * 1.4143, 1 + s * 0.7071)
        highest_t = 0.1733 if k == 0 else (1 - s * 0.7071) / d
        if k == 0:
            relative = _P * 1.19 + 4
            error = relative * 0.2929
        else:
            error = s * (_P * _R_EXP + 1.4143 * _R_STEP * -k) + 2 * (1 - s) + 4 * s * 0.4143
            relative = error / least
        m_rel.append(relative)
        d_rel.append(error / d + 2)
        t_rel.append(2 * relative / d + 4)
        t_abs.append(min(2 * error / d**2 + 4 * highest_t, t_rel[-1] * highest_t))
    return tuple(max(e) * SLACK for e in (m_rel, d_rel, t_rel, t_abs))  # type: ignore[return-value]


M_REL, D_REL, T_REL, T_ABS = _minus_one_errors()


class Tanh(NamedTuple):
    """t = tanh z and q = 1 - t^2 with errors, and e^{-2|z|}, 1 + e^{-2|z|} for the sigmoid family; `error` in U."""

    t: Values
    t_error: Values
    q: Values
    q_error: Values
    exponential: Exponential
    denominator: Values


def tanh_parts(z: Values) -> Tanh:
    """tanh by -m / (2 + m), m = e^{-2|z|} - 1, and 1 - tanh^2 by 4 e^{-2|z|} / (2 + m)^2: both with a small relative error."""
    e = exponential(-2 * jnp.abs(z))
    d = 2 + e.minus_one
    t = jnp.where(z < 0, e.minus_one, -e.minus_one) / d
    q = 4 * e.power / (d * d)
    q_error = q * (U * SLACK) * (e.error + (2 * D_REL + 4)) + 4 * TINY
    return Tanh(t, U * jnp.minimum(T_REL * jnp.abs(t), T_ABS) + TINY, q, q_error, e, d)


# sin and cos of |r| <= pi / 4 (+ 1e-6 for the reduction): odd and even series in s = r^2.
_R_SIN = 0.7855
_SIN = [(-1.0) ** n / math.factorial(2 * n + 1) for n in range(1, 9)]
_COS = [(-1.0) ** n / math.factorial(2 * n) for n in range(1, 9)]
_SIN_P, _SIN_P_ERROR = horner(_SIN, _R_SIN**2, 2.0)
_COS_P, _COS_P_ERROR = horner(_COS, _R_SIN**2, 2.0)
# sin r = r + r (s P): s has 2 U, two products, one sum, tail r^19 / 19!; all proportional to |r|.
_SIN_REL = (_R_SIN**2 * (_SIN_P_ERROR + 6 * _SIN_P) + 2 + _R_SIN**18 / math.factorial(19) / U) * SLACK
# cos r = 1 + s P: s 2 U, one product, one sum, tail r^18 / 18!.
_COS_ABS = (_R_SIN**2 * (_COS_P_ERROR + 4 * _COS_P) + 2 + _R_SIN**18 / math.factorial(18) / U) * SLACK
# r = x - k P1 - k P2: 6 U (|x| + |k| pi / 2) <= 6 * 2.5 pi / 2 |k| U = 23.6 |k| U, and |k| 2^-85; exact for k = 0.
_ANGLE_STEP = 24.0


_SinCos = tuple[tuple[Values, Values], tuple[Values, Values]]


@jax.custom_jvp
def sin_cos(x: Values) -> _SinCos:
    """((sin x, error), (cos x, error)) for |x| <= ANGLE_LIMIT."""
    k = jnp.round(x * (2 / math.pi))
    r = (x - k * _HALF_PI[0]) - k * _HALF_PI[1]
    s = r * r
    sine = r + r * (s * polynomial(_SIN, s))
    cosine = 1 + s * polynomial(_COS, s)
    reduction = (_ANGLE_STEP * U) * jnp.abs(k) + TINY
    sine_error = (_SIN_REL * U) * jnp.abs(r) + reduction
    cosine_error = _COS_ABS * U + reduction
    quadrant = k.astype(jnp.int32) & 3
    swap = (quadrant & 1) == 1
    sine, cosine = jnp.where(swap, cosine, sine), jnp.where(swap, sine, cosine)
    sine_error, cosine_error = jnp.where(swap, cosine_error, sine_error), jnp.where(swap, sine_error, cosine_error)
    sine = jnp.where(quadrant >= 2, -sine, sine)
    return (sine, sine_error), (jnp.where((quadrant == 1) | (quadrant == 2), -cosine, cosine), cosine_error)


@sin_cos.defjvp
def _sin_cos_jvp(primals: tuple[Values], tangents: tuple[Values]) -> tuple[_SinCos, _SinCos]:
    out = sin_cos(*primals)
    (sine, _), (cosine, _) = out
    zero = jnp.zeros_like(sine)
    return out, ((cosine * tangents[0], zero), (-sine * tangents[0], zero))
