"""A program on Taylor models: first the polynomials, then, cheaply and as often as wanted, the remainders.

For fixed polynomials, the remainder of every result is a monotone function of the remainders of the inputs. `polynomials` computes the
polynomials once and leaves a trail of what that function needs; `remainders` evaluates it. The Picard test of `flow.py` calls
`remainders` repeatedly on one trail.
"""

from __future__ import annotations

from math import factorial
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from . import elementary
from .basis import Basis
from .error_model import TINY, U, raised
from .fit import KINKED, fit
from .polynomials import Coefs, bounds, magnitude, multiply
from .program import Level, LinearMap, Program


class Trail(NamedTuple):
    """What the remainders of one level need; fields per argument or per operation.

    Attributes:
        argument_error: rounding of the affine map, shape (rows,).
        left, right: bounds of |factor|, shape (products,).
        product_error: cut and rounded, shape (products,).
        slope, curvature: sup of |phi'| over the range of the argument, and of |phi''| over that range widened by `room`.
        room: largest remainder of an argument for which `curvature` holds.
        function_error: error of the expansion, shape (functions,).
    """

    argument_error: Float[Array, "rows"]
    left: Float[Array, "products"]
    right: Float[Array, "products"]
    product_error: Float[Array, "products"]
    slope: Float[Array, "functions"]
    curvature: Float[Array, "functions"]
    room: Float[Array, "functions"]
    function_error: Float[Array, "functions"]


def apply_map(linear: LinearMap, values: Coefs, sizes: Float[Array, "values"]) -> tuple[Coefs, Float[Array, "rows"]]:
    """Rows of an affine map, and the bound of their rounding (of the coefficients as well)."""
    index, coefficient = jnp.asarray(linear.index), jnp.asarray(linear.coefficient)
    if linear.index.shape[1] == 1:
        rows = coefficient[:, 0, None, None] * values[index[:, 0]]
    else:
        rows = jnp.sum(coefficient[:, :, None, None] * values[index], axis=1)
    rows = rows.at[:, 0, 0].add(jnp.asarray(linear.constant))
    total = jnp.sum(jnp.asarray(linear.size) * sizes[index], axis=1) + jnp.asarray(linear.constant_size)
    terms = linear.index.shape[1] + linear.roundings + 4
    return rows, raised(2.0 * terms * U * total, 8 * terms) + 4 * terms * TINY


def map_remainders(linear: LinearMap, error: Float[Array, "rows"], radii: Float[Array, "values"]) -> Float[Array, "rows"]:
    """Remainders of the rows of an affine map."""
    return raised(
        jnp.sum(jnp.asarray(linear.size) * radii[jnp.asarray(linear.index)], axis=1) + error,
        2 * linear.index.shape[1] + linear.roundings + 4,
    )


def polynomials(
    program: Program, basis: Basis, inputs: Coefs, known: Float[Array, "inputs"] | None = None
) -> tuple[Coefs, tuple[Trail, ...], Float[Array, "results"]]:
    """Polynomials of the results.

    Args:
        program: what to compute.
        basis: the monomials.
        inputs: coefficients, shape (inputs, time_order + 1, monomials).
        known: remainders of the inputs as far as they are known (None: 0), shape (inputs,); the trail is made for about
            that size.

    Returns:
        coefficients of the results, one trail per level, and the error of the last affine map, shape (results,).
    """
    values, sizes = inputs, magnitude(inputs)
    radii = jnp.zeros(program.inputs) if known is None else known
    trails = []
    for level in program.levels:
        arguments, argument_error = apply_map(level.arguments, values, sizes)
        count = level.products
        left, right, rest = arguments[:count], arguments[count : 2 * count], arguments[2 * count :]
        lo, hi = bounds(basis, arguments)
        reach = jnp.maximum(jnp.abs(lo), jnp.abs(hi))
        new = []
        left_size, right_size, product_error = (jnp.zeros(0),) * 3
        if count:
            product, product_error = multiply(basis, left, right)
            left_size, right_size = reach[:count], reach[count : 2 * count]
            new.append(product)
        slope, curvature, room, function_error = (jnp.zeros(0),) * 4
        if level.functions:
            expected = map_remainders(level.arguments, argument_error, radii)[2 * count :]
            result, slope, curvature, room, function_error = _functions(
                basis, level.functions, rest, (lo[2 * count :], hi[2 * count :]), expected
            )
            new.append(result)
        added = jnp.concatenate(new)
        values, sizes = jnp.concatenate([values, added]), jnp.concatenate([sizes, magnitude(added)])
        trails.append(Trail(argument_error, left_size, right_size, product_error, slope, curvature, room, function_error))
        radii = _grown(level, trails[-1], radii)
    results, error = apply_map(program.results, values, sizes)
    return results, tuple(trails), error


def remainders(
    program: Program, trails: tuple[Trail, ...], error: Float[Array, "results"], inputs: Float[Array, "inputs"]
) -> Float[Array, "results"]:
    """Remainders of the results for remainders of the inputs; +inf where they leave the range for which the trail was made."""
    radii = inputs
    for level, trail in zip(program.levels, trails, strict=True):
        radii = _grown(level, trail, radii)
    return map_remainders(program.results, error, radii)


def _grown(level: Level, trail: Trail, radii: Float[Array, "values"]) -> Float[Array, "more"]:
    """Remainders with those of a level's results behind them."""
    arguments = map_remainders(level.arguments, trail.argument_error, radii)
    count = level.products
    left, right, rest = arguments[:count], arguments[count : 2 * count], arguments[2 * count :]
    products = raised(trail.left * right + trail.right * left + left * right + trail.product_error, 6)
    functions = raised((trail.slope + trail.curvature * rest) * rest + trail.function_error, 6)
    functions = jnp.where(rest <= trail.room * (1.0 - 1e-6), functions, jnp.inf)
    return jnp.concatenate([radii, products, functions])


def _functions(
    basis: Basis,
    functions: tuple[tuple[str, int], ...],
    arguments: Coefs,
    ranges: tuple[Float[Array, "rows"], Float[Array, "rows"]],
    expected: Float[Array, "rows"],
) -> tuple[Coefs, Float[Array, "rows"], Float[Array, "rows"], Float[Array, "rows"], Float[Array, "rows"]]:
    """Expand functions of one argument about the middle of its range; powers are shared by all of a level."""
    lo, hi = ranges
    smooth_order = 4 if basis.degree > 2 else 3
    centre = 0.5 * lo + 0.5 * hi
    shifted = arguments.at[:, 0, 0].add(-centre)
    reach = raised(jnp.maximum(hi - centre, centre - lo), 4) + 4 * U * jnp.abs(centre)
    moved = 2 * U * (jnp.abs(centre) + jnp.abs(shifted[:, 0, 0]))  # rounding of the shift
    size = magnitude(shifted) + moved
    room = jnp.maximum(0.25 * (hi - lo) + 1e-3 * (1.0 + jnp.abs(centre)), 2.0 * expected)
    room = jnp.where(jnp.isfinite(room), room, 0.0)
    columns: list[list[Float[Array, "count"]]] = [[] for _ in range(smooth_order + 1)]
    errors, slopes, curvatures = [], [], []
    start = 0
    for name, count in functions:
        part = slice(start, start + count)
        start += count
        if name in KINKED:
            coefficients, error = fit(name, centre[part], lo[part], hi[part], 1 if basis.degree == 1 else 2)
            coefficients = [*coefficients, *[jnp.zeros(count)] * (smooth_order + 1 - len(coefficients))]
            slope, curvature = elementary.derivative_bound(name, lo[part] - room[part], hi[part] + room[part], 1), jnp.zeros(count)
        else:
            coefficients, wrong = elementary.taylor(name, centre[part], smooth_order)
            top = elementary.derivative_bound(name, lo[part], hi[part], smooth_order + 1)
            error = raised(top * reach[part] ** (smooth_order + 1) / factorial(smooth_order + 1), 16)
            for power, w in enumerate(wrong):
                error = error + raised(w * reach[part] ** power, 8)
            slope = elementary.derivative_bound(name, lo[part], hi[part], 1)
            curvature = elementary.derivative_bound(name, lo[part] - room[part], hi[part] + room[part], 2)
        for column, coefficient in zip(columns, coefficients, strict=True):
            column.append(coefficient)
        errors.append(error)
        slopes.append(slope)
        curvatures.append(curvature)
    a = [jnp.concatenate(c) for c in columns]
    result = a[1][:, None, None] * shifted
    error = jnp.concatenate(errors)
    total = jnp.abs(a[0]) + jnp.abs(a[1]) * size
    power, power_error = shifted, moved
    error = error + jnp.abs(a[1]) * power_error
    for k in range(2, smooth_order + 1):
        product, cut = multiply(basis, power, shifted)
        # |power * shifted - product| with both factors known up to their own errors
        power_error = raised(cut + power_error * size + magnitude(power) * moved, 8)
        power = product
        result = result + a[k][:, None, None] * power
        error = error + jnp.abs(a[k]) * power_error
        total = total + jnp.abs(a[k]) * magnitude(power)
    result = result.at[:, 0, 0].add(a[0])
    error = raised(error + 16 * U * total, 32)
    known = jnp.isfinite(error)
    return (
        jnp.where(known[:, None, None], result, 0.0),
        jnp.concatenate(slopes),
        jnp.concatenate(curvatures),
        room,
        jnp.where(known, error, jnp.inf),
    )
