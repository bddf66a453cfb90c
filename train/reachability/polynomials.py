"""Arithmetic on the polynomial part of Taylor models, with a bound on what is cut off and rounded away.

Every function takes coefficient arrays (..., time_order + 1, monomials) and returns, where it computes, a radius of the same
leading shape that bounds |exact - returned| for all s in [0, 1], y and z in [-1, 1]. Rounding is tallied through the sum of absolute
coefficients, which bounds every value of the polynomial (Revol, Makino and Berz, J. Logic Algebr. Program. 64, 2005).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from .basis import Basis
from .error_model import TINY, U, lifted, lowered, raised

Coefs = Float[Array, "*batch time monomial"]
Radius = Float[Array, "*batch"]


def magnitude(coefs: Coefs) -> Radius:
    """Upper bound of |p| over the whole domain: the sum of absolute coefficients, raised by its rounding."""
    return raised(jnp.sum(jnp.abs(coefs), axis=(-2, -1)), coefs.shape[-1] * coefs.shape[-2])


def multiply(basis: Basis, a: Coefs, b: Coefs) -> tuple[Coefs, Radius]:
    """Product cut to the basis, and the bound of what was cut and rounded."""
    left, right = basis.pairs
    count, steps = basis.polynomial, basis.time_order + 1
    left_terms = jnp.pad(a[..., :count], [(0, 0)] * (a.ndim - 1) + [(0, 1)])[..., left]
    right_terms = jnp.pad(b[..., :count], [(0, 0)] * (b.ndim - 1) + [(0, 1)])[..., right]
    a_linear, b_linear, a_constant, b_constant = a[..., count:], b[..., count:], a[..., :1], b[..., :1]
    rows = []
    for t in range(steps):  # written out: much faster than one gather over time and monomials, or a matrix product
        at = [(i, t - i) for i in range(t + 1)]
        row = sum(jnp.sum(left_terms[..., i, :, :] * right_terms[..., j, :, :], axis=-1) for i, j in at)
        if basis.generators:
            linear = sum(a_constant[..., i, :] * b_linear[..., j, :] + a_linear[..., i, :] * b_constant[..., j, :] for i, j in at)
            row = jnp.concatenate([row, linear], axis=-1)
        rows.append(row)
    product = jnp.stack(rows, axis=-2)
    member = jnp.asarray(basis.classes)
    a_norms, b_norms = jnp.abs(a) @ member, jnp.abs(b) @ member
    cut = jnp.einsum("...ic,icjd,...jd->...", a_norms, jnp.asarray(basis.dropped), b_norms)
    whole = jnp.sum(a_norms, axis=(-2, -1)) * jnp.sum(b_norms, axis=(-2, -1))
    terms = steps * max(left.shape[-1], 2)
    sums = 2 * (basis.monomials + member.shape[-1] * steps) + 8
    return product, raised(cut, 2 * sums) + raised(2.0 * terms * U * whole, 2 * sums) + terms * TINY


def bounds_of(basis: Basis, coefs: Float[Array, "*batch monomial"]) -> tuple[Radius, Radius]:
    """Range (lo, hi) of a polynomial at one instant.

    Where the linear coefficient of a symbol outweighs all others that the symbol takes part in, the polynomial is monotone in it,
    whatever the other symbols are: it is largest where the symbol is at one end, and least at the other. With these symbols fixed,
    monomials with one symbol left are added up per symbol. Of the rest even powers count as [0, 1], all others as [-1, 1].
    """
    count, size, powers = basis.polynomial, jnp.abs(coefs), jnp.asarray(basis.powers)
    known, linear = coefs[..., :count], coefs[..., 1 : 1 + basis.symbols]
    slope = raised(size[..., :count] @ jnp.where(jnp.sum(powers, axis=1, keepdims=True) > 1, powers, 0.0), count + 2)
    sign = jnp.where(jnp.abs(linear) >= slope, jnp.where(linear < 0, -1.0, 1.0), 0.0)
    free = (sign == 0).astype(coefs.dtype)
    left = free @ powers.T  # per monomial the symbols that are not fixed
    fixed = jnp.concatenate([jnp.where(sign == 0, 1.0, sign), jnp.ones_like(coefs[..., :1])], axis=-1)
    turned = jnp.prod(fixed[..., jnp.asarray(basis.factors)], axis=-1) * known
    opposite = jnp.where((jnp.sum(powers, axis=1) - left) % 2 == 1, -turned, turned)
    one, many = left == 1, left > 1
    even = jnp.asarray(basis.even[:count])
    rest = jnp.sum(size[..., count:], axis=-1)
    bounds = []
    for way, face in ((-1.0, opposite), (1.0, turned)):
        alone = jnp.abs(jnp.where(one, face, 0.0) @ powers * free)
        wide = jnp.where(even, jnp.maximum(way * known, 0.0), jnp.abs(known))
        spread = jnp.sum(alone, axis=-1) + jnp.sum(jnp.where(many, wide, 0.0), axis=-1) + rest
        bounds.append(jnp.sum(jnp.where(left == 0, face, 0.0), axis=-1) + way * spread)
    total = jnp.sum(size, axis=-1)
    operations = 3 * basis.monomials + 4
    return lowered(bounds[0], total, operations), lifted(bounds[1], total, operations)


def bounds(basis: Basis, coefs: Coefs) -> tuple[Radius, Radius]:
    """Range (lo, hi) for all s in [0, 1], through Bernstein coefficients in time."""
    if basis.time_order == 0:
        return bounds_of(basis, coefs[..., 0, :])
    rows = jnp.einsum("ij,...jm->...im", jnp.asarray(basis.bernstein), coefs)
    lo, hi = bounds_of(basis, rows)
    slack = 4.0 * (basis.time_order + 3) * U * magnitude(coefs) + TINY
    return jnp.min(lo, axis=-1) - slack, jnp.max(hi, axis=-1) + slack


def at_end(coefs: Coefs) -> tuple[Float[Array, "*batch monomial"], Radius]:
    """The polynomial at s = 1, and the rounding of that sum."""
    return jnp.sum(coefs, axis=-2), 2.0 * coefs.shape[-2] * U * magnitude(coefs) + coefs.shape[-2] * TINY


def scaled(coefs: Coefs, factor: Float[Array, "*batch"] | float) -> tuple[Coefs, Radius]:
    """Product with a number, and its rounding."""
    product = jnp.asarray(factor)[..., None, None] * coefs
    return product, 2.0 * U * magnitude(product) + TINY
