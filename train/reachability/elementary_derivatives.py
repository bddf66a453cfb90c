"""Derivatives of order 0 to 5 of the elementary functions at a float64 argument, each with a derived error bound.

One function per family: `(z, order) -> [(value, error), ...]` for the orders 0 to `order`, shapes of z. A relative error of n
roundings is n * 2 U; first-order sums of such errors carry the slack of `elementary_values`. At a kink the value is the mean of
both sides and the error half the jump, so that both one-sided derivatives are covered. Arguments lie in the supported range
(the registry in `elementary` sees to it); overflow gives inf or NaN here, which the registry turns into "no bound".
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from .elementary_inverses import arctangent, log1p_of, logarithm
from .elementary_values import (
    D_REL,
    M_REL,
    SLACK,
    T_ABS,
    Tanh,
    Values,
    exponential,
    horner,
    polynomial,
    sin_cos,
    tanh_parts,
)
from .error_model import TINY, U

Derivatives = list[tuple[Values, Values]]
Family = Callable[[Values, int], Derivatives]


def _in_t(sign: int) -> list[list[int]]:
    """Coefficients in t of t^(1) ... t^(6), where t' = 1 + sign t^2: tan for +1; tanh for -1, there divided by t'."""
    rows, row = [], [0, 1]
    for _ in range(6):
        slope = [i * a for i, a in enumerate(row)][1:]
        row = [(slope[i] if i < len(slope) else 0) + sign * (slope[i - 2] if i >= 2 else 0) for i in range(len(slope) + 2)]
        rows.append(slope if sign < 0 else row)
    return rows


_TANH, _TAN = _in_t(-1), _in_t(1)


def _odd_or_even(row: list[int], t: Values, s: Values) -> Values:
    """The polynomial `row` in t, which has one parity, with s = t^2."""
    first = 0 if row[0] else 1
    value = polynomial([float(a) for a in row[first::2]], s)
    return value * t if first else value


def _tanh_polynomial_error(row: list[int]) -> float:
    """Error [U] of `_odd_or_even` over |t| <= 1: slope times the error of t, Horner with s = t^2 (2 U), the product by t."""
    magnitude, error = horner([float(a) for a in row[0 if row[0] else 1 :: 2]], 1.0, 2.0)
    return (sum(i * abs(a) for i, a in enumerate(row)) * T_ABS + error + 2 * magnitude) * SLACK


_TANH_ERRORS = [_tanh_polynomial_error(row) for row in _TANH]


def _tanh_slopes(parts: Tanh, order: int) -> Derivatives:
    """tanh^(1) ... tanh^(order) = q P(t), q = 1 - t^2."""
    s = parts.t * parts.t
    out: Derivatives = [(parts.q, parts.q_error)] if order else []
    for k in range(2, order + 1):
        p = _odd_or_even(_TANH[k - 1], parts.t, s)
        error = parts.q * (U * _TANH_ERRORS[k - 1]) + jnp.abs(p) * (parts.q_error + 2 * U * parts.q)
        out.append((p * parts.q, error + 1e3 * TINY))
    return out


def tanh(z: Values, order: int) -> Derivatives:
    parts = tanh_parts(z)
    return [(parts.t, parts.t_error), *_tanh_slopes(parts, order)]


def sigmoid(z: Values, order: int) -> Derivatives:
    """1 / (1 + e^-z), with relative error on both sides; derivatives are those of tanh(z / 2), scaled by 2^-(k + 1)."""
    parts = tanh_parts(0.5 * z)
    value = jnp.where(z < 0, parts.exponential.power, 1.0) / parts.denominator
    error = value * (U * SLACK) * (jnp.where(z < 0, parts.exponential.error, 0.0) + (D_REL + 2)) + TINY
    slopes = [(v * 0.5 ** (k + 2), e * 0.5 ** (k + 2) + TINY) for k, (v, e) in enumerate(_tanh_slopes(parts, order))]
    return [(value, error), *slopes]


def softplus(z: Values, order: int) -> Derivatives:
    """ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|); its slope is the sigmoid."""
    e = exponential(-jnp.abs(z))
    small, small_error = log1p_of(e.power)
    value = jnp.maximum(z, 0.0) + small
    error = small_error + (U * SLACK) * (e.power * e.error + 2 * value) + 2 * TINY
    return [(value, error), *(sigmoid(z, order - 1) if order else [])]


def silu(z: Values, order: int) -> Derivatives:
    """z sigmoid(z); Leibniz: z s^(k) + k s^(k-1), a sum of two products."""
    s = sigmoid(z, order)
    out: Derivatives = []
    for k in range(order + 1):
        before, before_error = s[k - 1] if k else (0.0, 0.0)
        value = z * s[k][0] + k * before
        rounding = 4 * U * (jnp.abs(z * s[k][0]) + k * jnp.abs(before))
        out.append((value, (jnp.abs(z) * s[k][1] + k * before_error + rounding) * SLACK + TINY))
    return out


def exp(z: Values, order: int) -> Derivatives:
    e = exponential(z)
    return [(e.power, e.power * (U * SLACK) * e.error + TINY)] * (order + 1)


def elu(z: Values, order: int) -> Derivatives:
    """z above 0, e^z - 1 below; the second derivative jumps."""
    e = exponential(jnp.minimum(z, 0.0))
    above, kink = z > 0, z == 0
    below_error = e.power * (U * SLACK) * e.error + TINY
    out = [(jnp.where(above, z, e.minus_one), jnp.where(above, 0.0, jnp.abs(e.minus_one) * (U * M_REL) + TINY))]
    out += [(jnp.where(above, 1.0, e.power), jnp.where(above, 0.0, below_error))] * (order >= 1)
    high = jnp.where(above, 0.0, jnp.where(kink, 0.5, e.power)), jnp.where(above, 0.0, jnp.where(kink, 0.5, below_error))
    return out + [high] * (order - 1)


def piecewise_linear(slope: float) -> Family:
    """z above 0, slope * z below (relu 0, abs -1, leaky relu between); exact but for the product with the slope."""
    product = 0.0 if slope in (0.0, 1.0, -1.0) else 2 * U

    def family(z: Values, order: int) -> Derivatives:
        above, zero = z > 0, jnp.zeros_like(z)
        value = jnp.where(above, z, slope * z)
        flushed = jnp.where(jnp.abs(z) <= TINY, TINY, 0.0)
        out = [(value, flushed + jnp.where(above, 0.0, product * jnp.abs(value) + (TINY if product else 0.0)))]
        kink = z == 0
        first = jnp.where(above, 1.0, jnp.where(kink, 0.5 * (1 + slope), slope))
        out += [(first, jnp.where(kink, 0.5 * abs(1 - slope) + 2 * product, 0.0))] * (order >= 1)
        return out + [(zero, zero)] * (order - 1)

    return family


def square(z: Values, order: int) -> Derivatives:
    value, zero = z * z, jnp.zeros_like(z)
    return [(value, 2 * U * SLACK * value + TINY), (2 * z, zero + TINY), (zero + 2, zero), *[(zero, zero)] * 3][: order + 1]


def sine(phase: int) -> Family:
    """sin (phase 0) and cos (phase 1)."""

    def family(z: Values, order: int) -> Derivatives:
        (s, s_error), (c, c_error) = sin_cos(z)
        turns = [(s, s_error), (c, c_error), (-s, s_error), (-c, c_error)]
        return [turns[(k + phase) % 4] for k in range(order + 1)]

    return family


def tan(z: Values, order: int) -> Derivatives:
    """S / C - s / c = (S - s) / C + s (c - C) / (c C); the derivatives are polynomials in t with non-negative coefficients.

    A polynomial of degree d in |t| is off by its slope at |t| + error, and 4 d + 2 roundings (all terms of one sign).
    """
    (s, s_error), (c, c_error) = sin_cos(z)
    valid = jnp.abs(c) > 2 * c_error
    c = jnp.where(valid, c, 1.0)
    t = s / c
    size = jnp.abs(t)
    t_error = (s_error + size * c_error) / (jnp.abs(c) - jnp.where(valid, c_error, 0.0)) * SLACK + 2 * U * size
    out, far = [(t, t_error)], size + t_error
    for row in _TAN[:order]:
        value = _odd_or_even(row, t, t * t)
        slope = [i * a for i, a in enumerate(row)][1:]
        rounding = (4 * len(row) * U * SLACK) * jnp.abs(value)
        out.append((value, _odd_or_even(slope, far, far * far) * t_error * SLACK + rounding + TINY))
    return [(v, jnp.where(valid, e, jnp.inf)) for v, e in out]


def reciprocal(z: Values, order: int) -> Derivatives:
    """(-1)^k k! / z^(k+1) by recurrence: two roundings of 1 / z, six more for each order."""
    w = 1 / z
    out, value = [], w
    for k in range(order + 1):
        out.append((value, jnp.abs(value) * ((2 + 6 * k) * U * SLACK) + 1e3 * TINY))
        value = value * w * -(k + 1.0)
    return out


def log(z: Values, order: int) -> Derivatives:
    return [logarithm(z), *(reciprocal(z, order - 1) if order else [])]


def sqrt(z: Values, order: int) -> Derivatives:
    """z^(1/2): from order 1 on by recurrence, four roundings and six more for each order.

    A number below 2^-1022 may be taken as 0, where its root is up to 2^-511.
    """
    positive = z > 0
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, z, 1.0)), 0.0)
    out = [(root, root * (2 * U * SLACK) + jnp.where(positive, TINY, 2.0**-511))]
    w = 1 / jnp.where(positive, z, 1.0)
    value = 0.5 / jnp.where(positive, root, 1.0)
    for k in range(1, order + 1):
        out.append((value, jnp.abs(value) * ((6 * k - 2) * U * SLACK) + 1e3 * TINY))
        value = value * w * (0.5 - k)
    return out


def atan(z: Values, order: int) -> Derivatives:
    """atan' = w = 1 / (1 + z^2); higher ones as polynomials in w, u = z^2 w = 1 - w and z w, all at most 1.

    Errors [U]: w 6 relative, u 6 absolute, z w 8 relative. Order 3: 6 u - 2 w is off by 72, w^2 by 14 relative, |6 u - 2 w| <= 6.
    Order 4: w - u by 14, the rest by 30 relative. Order 5: 5 u^2 - 10 u w + w^2 by 205, the rest by 28 relative, size <= 5.
    Beyond 1e150 all are below TINY.
    """
    out = [arctangent(z)]
    x = jnp.clip(z, -1e150, 1e150)
    w = 1 / (1 + x * x)
    u, xw, ww = 1 - w, x * w, w * w
    out.append((w, w * (7 * U) + TINY))
    out.append((-2 * xw * w, jnp.abs(xw) * w * (34 * U) + TINY))
    out.append(((6 * u - 2 * w) * ww, ww * (175 * U) + TINY))
    out.append((24 * xw * (w - u) * ww, jnp.abs(xw) * ww * (24 * 48 * U) + TINY))
    out.append((24 * (5 * u * u - 10 * u * w + ww) * (ww * w), ww * w * (24 * 360 * U) + TINY))
    return out[: order + 1]
