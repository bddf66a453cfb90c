"""A network on a Taylor model, without a box in between.

Every activation is replaced by a polynomial that is close to it over the range its argument can take, plus an error symbol of its own.
The polynomial part is carried in the symbols of the input set, up to the degree of the basis; the error symbols are carried linearly
through all later layers, one column each, so that errors cancel or shrink as the weights say (the zonotope form of linear bound
propagation with shared slopes: Zhang et al., CROWN, arXiv:1811.00866; Singh et al., DeepZ, NeurIPS 2018; here with quadratic and
cubic terms). Ranges of the arguments come from both parts, so no layer starts from a box.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .basis import Basis
from .error_model import TINY, U, raised
from .fit import KINKED, candidates, choose
from .network import Layer, Network
from .polynomials import bounds_of, multiply

PADDED = 128  # widest layer that is padded

Coefs = Float[Array, "rows monomial"]
Errors = Float[Array, "rows symbol"]


def network_model(basis: Basis, network: Network, coefs: Coefs, radius: Float[Array, "rows"]) -> tuple[Coefs, Float[Array, "outputs"]]:
    """Enclosure of the outputs of a network.

    Args:
        basis: monomials without time (`time_order` 0).
        network: layers with float64 weights, taken as exact.
        coefs: polynomials of the inputs, shape (inputs, monomials).
        radius: remainders of the inputs, shape (inputs,).

    Returns:
        polynomials (outputs, monomials) and remainders (outputs,).
    """
    outputs: list[tuple[Coefs, Errors]] = [(coefs, jnp.diag(radius))]
    start = 0
    for stop in _runs(network):
        if stop - start > 1:
            outputs += [outputs[-1]] * (stop - start - 1)  # no skip connection reads these
            outputs.append(_alike(basis, network.layers[start:stop], *outputs[-1]))
        else:
            outputs.append(_layer(basis, network.layers[start], outputs))
        start = stop
    coefs, errors = outputs[-1]
    return coefs, raised(jnp.sum(jnp.abs(errors), axis=1), errors.shape[1])


def _runs(network: Network) -> list[int]:
    """Ends of groups of layers that are computed as one loop: equal activation, no skip connection into them, not wide."""
    layers = network.layers
    read = {layer.residual for layer in layers if layer.residual is not None}
    ends = [1]
    for i in range(1, len(layers)):
        here, before = layers[i], layers[i - 1]
        alike = here.activation == before.activation != "linear"
        plain = here.residual is None and before.residual is None and i not in read
        if alike and plain and max(*np.shape(here.weight), *np.shape(before.weight)) <= PADDED:
            ends[-1] = i + 1
        else:
            ends.append(i + 1)
    return ends


def _alike(basis: Basis, layers: tuple[Layer, ...], coefs: Coefs, errors: Errors) -> tuple[Coefs, Errors]:
    """Several layers as one loop over matrices padded to equal size, so that the bounds of an activation are compiled once.

    Rows of zero weights and bias carry nothing on, since the columns that read them are zero.
    """
    size = max(max(np.shape(layer.weight)) for layer in layers)
    known, count = errors.shape[1], len(layers)
    weights = jnp.stack([jnp.pad(layer.weight, [(0, size - d) for d in np.shape(layer.weight)]) for layer in layers])
    biases = jnp.stack([jnp.pad(layer.bias, (0, size - np.shape(layer.bias)[0])) for layer in layers])
    coefs = jnp.pad(coefs, [(0, size - coefs.shape[0]), (0, 0)])
    errors = jnp.pad(errors, [(0, size - errors.shape[0]), (0, count * size)])

    def one(carry: tuple[Coefs, Errors], item: tuple[Array, Array, Array]) -> tuple[tuple[Coefs, Errors], None]:
        weight, bias, number = item
        new, sent, rounding = _affine(weight, bias, *carry)
        new, sent, gap = _activate(basis, layers[0].activation, new, sent, rounding)
        return (new, jax.lax.dynamic_update_slice(sent, jnp.diag(gap), (0, known + number * size))), None

    (coefs, errors), _ = jax.lax.scan(one, (coefs, errors), (weights, biases, jnp.arange(count)))
    rows = np.shape(layers[-1].weight)[0]
    return coefs[:rows], errors[:rows]


def _layer(basis: Basis, layer: Layer, outputs: list[tuple[Coefs, Errors]]) -> tuple[Coefs, Errors]:
    """One layer, with its skip connection."""
    coefs, errors, rounding = _affine(layer.weight, layer.bias, *outputs[-1])
    if layer.activation != "linear":
        coefs, errors, rounding = _activate(basis, layer.activation, coefs, errors, rounding)
    errors = jnp.concatenate([errors, jnp.diag(rounding)], axis=1)
    if layer.residual is not None:
        coefs, errors = _sum(coefs, errors, *outputs[layer.residual])
    return coefs, errors


def _affine(
    weight: Float[Array, "out in"], bias: Float[Array, "out"], coefs: Coefs, errors: Errors
) -> tuple[Coefs, Errors, Float[Array, "out"]]:
    """W v + b, and the bound of the rounding per row."""
    inputs = weight.shape[1]
    total = jnp.abs(weight) @ (jnp.sum(jnp.abs(coefs), axis=1) + jnp.sum(jnp.abs(errors), axis=1)) + jnp.abs(bias)
    rounding = raised(2.0 * (inputs + 2) * U * total, 4 * (inputs + coefs.shape[1] + errors.shape[1])) + inputs * TINY
    new = (weight @ coefs).at[:, 0].add(bias)
    return new, weight @ errors, rounding


def _activate(
    basis: Basis, name: str, coefs: Coefs, errors: Errors, rounding: Float[Array, "rows"]
) -> tuple[Coefs, Errors, Float[Array, "rows"]]:
    """phi(p + e) = a0 + a1 (s + e) + a2 (s + e)^2 + ..., s = p - p0: powers of s in the basis, a1 e, and the size of the rest."""
    lo, hi = bounds_of(basis, coefs)
    spread = raised(jnp.sum(jnp.abs(errors), axis=1) + rounding, errors.shape[1] + 1)
    centre = coefs[:, 0]
    degree = min(basis.degree, 3 if name not in KINKED else 2)
    shifted = coefs.at[:, 0].set(0.0)
    size = raised(jnp.maximum(hi - centre, centre - lo), 2) + 2 * U * jnp.abs(centre)
    whole = raised(jnp.sum(jnp.abs(shifted), axis=1), shifted.shape[1])
    # what the powers of (s + e) leave outside the basis and the linear error symbols, per power
    left_out = [jnp.zeros_like(spread), rounding]
    powers = [shifted]
    if degree >= 2:
        square, cut = multiply(basis, shifted[:, None, :], shifted[:, None, :])
        powers.append(square[:, 0])
        left_out.append(cut + (2.0 * size + spread) * spread)
    if degree >= 3:
        cube, cube_cut = multiply(basis, square, shifted[:, None, :])
        powers.append(cube[:, 0])
        left_out.append(cube_cut + cut * whole + ((3.0 * size + 3.0 * spread) * size + spread * spread) * spread)
    centre, lo, hi, spread, size, left_out = jax.lax.optimization_barrier((centre, lo, hi, spread, size, left_out))
    found = candidates(name, centre, lo - spread - 4 * U * (jnp.abs(lo) + spread), hi + spread + 4 * U * (jnp.abs(hi) + spread), degree)
    costs = [error + sum((jnp.abs(c) * o for c, o in zip(a[1:], left_out[1:], strict=True)), start=left_out[0]) for a, error in found]
    a, gap = apart(choose(found, costs))
    gap = gap + sum((jnp.abs(c) * o for c, o in zip(a[1:], left_out[1:], strict=True)), start=left_out[0])
    result = sum((c[:, None] * p for c, p in zip(a[1:], powers, strict=True)), start=jnp.zeros_like(coefs))
    total = sum((jnp.abs(c) * (whole + spread) ** k for k, c in enumerate(a)), start=jnp.zeros_like(spread))
    result = result.at[:, 0].add(a[0])
    gap = raised(gap + 16 * U * total, 32) + TINY
    return result, a[1][:, None] * errors, apart(gap)


def apart(values: Any) -> Any:
    """The same values, computed once: the compiler would copy the formulas of a vector into every element of a matrix that uses it.

    A branch is never copied. The condition always holds, which the compiler cannot know: no value is less than a NaN.
    """
    flat, tree = jax.tree.flatten(values)
    first = flat[0].ravel()[0]
    never = first < jnp.nan * first
    return jax.tree.unflatten(tree, jax.lax.cond(never, lambda v: [-x for x in v], lambda v: v, flat))


def _sum(coefs: Coefs, errors: Errors, other: Coefs, other_errors: Errors) -> tuple[Coefs, Errors]:
    """Residual connection: columns that were there before are the same symbols."""
    shared = other_errors.shape[1]
    total = (
        jnp.sum(jnp.abs(coefs), axis=1)
        + jnp.sum(jnp.abs(other), axis=1)
        + jnp.sum(jnp.abs(other_errors), axis=1)
        + jnp.sum(jnp.abs(errors), axis=1)
    )
    rounding = raised(4 * U * total, coefs.shape[1] + errors.shape[1] + 4) + TINY
    merged = errors.at[:, :shared].add(other_errors)
    return coefs + other, jnp.concatenate([merged, jnp.diag(rounding)], axis=1)
