"""Logarithm and arc tangent from + - * / alone, with derived error bounds; what counts as an error is said in `elementary_values`."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .elementary_values import LN2, SLACK, Values, horner, polynomial
from .error_model import TINY, U

LOG_HIGHEST = 1e300
_LN_3_2, _ATAN_1_2 = float.fromhex("0x1.9f323ecbf984cp-2"), float.fromhex("0x1.dac670561bb4fp-2")

# ln m = 2 atanh f, f = (m - 1) / (m + 1): |f| <= 0.17158 for m in [sqrt(1/2), sqrt 2], and below 1/7 for log1p.
_S_LOG = 0.02945
_LOG = [2 / (2 * n + 1) for n in range(11)]
_L, _L_ERROR = horner(_LOG, _S_LOG, 14.0)  # f has 6 U (difference, sum, quotient), s = f^2 has 14 U
_LOG_REL = (6 + _L_ERROR / 2 + 2 + _S_LOG**11 / 23 * 1.04 / U) * SLACK  # 2 <= the series


@jax.custom_jvp
def logarithm(x: Values) -> tuple[Values, Values]:
    """(ln x, error) for TINY <= x <= LOG_HIGHEST: x = 2^e m, ln x = e L1 + (e L2 + ln m), three terms."""
    bits = lax.bitcast_convert_type(x, jnp.int64)
    e = (bits - np.int64(np.float64(math.sqrt(0.5)).view(np.int64))) >> 52
    m = x * lax.bitcast_convert_type((1023 - e) << 52, jnp.float64)
    f = (m - 1) / (m + 1)
    near = f * polynomial(_LOG, f * f)
    k = e.astype(jnp.float64)
    error = jnp.abs(near) * (U * (_LOG_REL + 6)) + jnp.abs(k) * (U * 6.01 * math.log(2)) + TINY
    return k * LN2[0] + (k * LN2[1] + near), error


@logarithm.defjvp
def _logarithm_jvp(primals: tuple[Values], tangents: tuple[Values]) -> tuple[tuple[Values, Values], tuple[Values, Values]]:
    slope = 1 / primals[0]
    return logarithm(*primals), (slope * tangents[0], jnp.zeros_like(slope))


@jax.custom_jvp
def log1p_of(e: Values) -> tuple[Values, Values]:
    """(ln(1 + e), error) for 0 <= e <= 1, e taken as exact: about 1 below e = 1/4, about 3/2 above, so that |f| <= 1/7.

    Error: the series, one rounding of ln(3/2) <= 1.9 ln(1 + e), one of the sum; |ln m| <= ln(1 + e) in both cases.
    """
    far = e > 0.25
    f = jnp.where(far, e - 0.5, e) / jnp.where(far, 2.5 + e, 2 + e)
    value = jnp.where(far, _LN_3_2, 0.0) + f * polynomial(_LOG, f * f)
    return value, value * (U * SLACK * (_LOG_REL + 4)) + TINY


@log1p_of.defjvp
def _log1p_of_jvp(primals: tuple[Values], tangents: tuple[Values]) -> tuple[tuple[Values, Values], tuple[Values, Values]]:
    slope = 1 / (1 + primals[0])
    return log1p_of(*primals), (slope * tangents[0], jnp.zeros_like(slope))


# atan y = atan b + atan f, f = (y - b) / (1 + b y), b = 0, 1/2, 1: |f| <= 0.2361.
_S_ATAN = 0.05575
_ATAN = [(-1.0) ** n / (2 * n + 1) for n in range(13)]
_A, _A_ERROR = horner(_ATAN, _S_ATAN, 18.0)  # f has 8 U, s = f^2 has 18 U
_ATAN_REL = (8 + _A_ERROR / 0.98 + 2 + _S_ATAN**13 / 27 / U) * SLACK  # 0.98 <= the series


@jax.custom_jvp
def arctangent(x: Values) -> tuple[Values, Values]:
    """(atan x, error) for finite x: atan x = pi/2 - atan(1 / x) above 1.

    Error: that of y = 1 / x (2 U y), of the series, of the constant atan b (U) and of the sum with it (2 U); above 1 the
    constant pi/2 (U) and one more sum.
    """
    z = jnp.minimum(jnp.abs(x), 1e300)  # beyond, atan changes by less than the error
    large = z > 1
    y = jnp.where(large, 1 / jnp.where(large, z, 1.0), z)
    b = jnp.where(y < 0.236, 0.0, jnp.where(y < 0.75, 0.5, 1.0))
    base = jnp.where(y < 0.236, 0.0, jnp.where(y < 0.75, _ATAN_1_2, math.pi / 4))
    f = (y - b) / (1 + b * y)
    near = f * polynomial(_ATAN, f * f)
    value = base + near
    error = U * SLACK * (_ATAN_REL * jnp.abs(near) + 2 * y + base + 2 * value) + TINY
    value, error = jnp.where(large, math.pi / 2 - value, value), jnp.where(large, error + 5 * U, error)
    return jnp.where(x < 0, -value, value), error


@arctangent.defjvp
def _arctangent_jvp(primals: tuple[Values], tangents: tuple[Values]) -> tuple[tuple[Values, Values], tuple[Values, Values]]:
    slope = 1 / (1 + primals[0] * primals[0])
    return arctangent(*primals), (slope * tangents[0], jnp.zeros_like(slope))
