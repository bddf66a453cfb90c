"""Keep errors apart for as long as it pays, so that they do not wrap.

The error part of a set is E z, z in [-1, 1]: one column of E per error. The errors of a control period (of the control law, and the
remainders of integration) stay columns of their own for a window of periods, so that the feedback that undoes them is seen ("symbolic
remainders": Chen and Sankaranarayanan, RTSS 2016). The oldest are merged into one parallelotope whose axes are those of a QR
factorisation (Lohner, Computation and visualization of solutions, 1988; columns sorted by length). The same parallelotope serves within
a period: only its axes go through the flow, and E is what they become times the coordinates of E in them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .error_model import TINY, U, raised

Matrix = Float[Array, "row column"]
SMALL = 1e-100  # rows that are smaller are not scaled; derivatives divide by squares
SHORTEST = 1e-12  # squared lengths below this share of the greatest count as none
CANDIDATES = 4  # times n columns, the longest, of which the axes are chosen; all of them cost ten times as much at n = 72
EXPONENT = 0x7FF0000000000000  # of a float64; sign and mantissa cut off


def parallelotope(columns: Matrix) -> tuple[Matrix, Matrix, Float[Array, "row"]]:
    """Axes A and coordinates Z with {E z} in {A y + b : y = Z z}, where every y stays in [-1, 1] and b in a box.

    Nothing is assumed of the factorisation: whatever A and Z are, E z = A (Z z) + (E - A Z) z, and the last term is bounded.

    Args:
        columns: E, shape (n, k).

    Returns:
        axes (n, n), coordinates (n, k) whose rows have absolute sums of at most 1, and the box (n,), of the size of rounding.
    """
    n, count = columns.shape
    scale = _power_of_two(jnp.sum(jnp.abs(columns), axis=1))  # rows may have unlike units
    scaled = columns / scale[:, None]
    chosen, counts = _pivots(scaled)
    main = jnp.where(counts[None, :], scaled[:, chosen], 0.0)
    main = jnp.pad(main, [(0, 0), (0, n - main.shape[1])])
    longest = jnp.max(jnp.sum(main * main, axis=0), initial=0.0)
    size = jnp.where(longest > 0, jnp.sqrt(jnp.where(longest > 0, longest, 1.0)), 1.0)  # differentiable at zero
    # a little of the identity keeps the factorisation and its derivative well conditioned when columns vanish or depend on each other
    q, _ = jnp.linalg.qr(main / size + 1e-6 * jnp.eye(n))
    turned = q.T @ scaled
    reach = raised(jnp.sum(jnp.abs(turned), axis=1), count)
    axes, coordinates = q * reach[None, :], turned / jnp.where(reach > SMALL, reach, 1.0)[:, None]
    left = jnp.sum(jnp.abs(scaled - axes @ coordinates), axis=1)
    sizes = jnp.sum(jnp.abs(scaled), axis=1) + jnp.sum(jnp.abs(axes), axis=1)
    box = raised(left + 2.0 * (n + 3) * U * sizes, 8 * (n + count)) + (n + 2) * count * TINY
    return axes * scale[:, None], coordinates, raised(box * scale, 1)


def _pivots(columns: Matrix) -> tuple[Int[Array, "pivot"], Bool[Array, "pivot"]]:
    """At most n of the longest columns, each the one that is longest across those before it: what they have in common counts once.

    Returns:
        Their numbers, and whether they count: what is left of the others is of the size of rounding, and which of those is longest
        would change with every small change of the columns.
    """
    n = len(columns)
    rest = jax.lax.stop_gradient(columns)
    lengths = jnp.sum(rest * rest, axis=0)
    longest = jnp.argsort(-lengths)[: CANDIDATES * n].astype(jnp.int32)
    rest, least = rest[:, longest], SHORTEST * jnp.max(lengths, initial=0.0)

    def choose(k: Int[Array, ""], state: tuple[Matrix, Array, Array]) -> tuple[Matrix, Array, Array]:
        rest, chosen, counts = state
        squares = jnp.sum(rest * rest, axis=0)
        pivot = jnp.argmax(squares).astype(jnp.int32)
        along = rest[:, pivot] / jnp.sqrt(jnp.maximum(squares[pivot], SMALL))
        rest = rest - along[:, None] * (along @ rest)[None, :]
        return rest, chosen.at[k].set(pivot), counts.at[k].set(squares[pivot] > least)

    size = min(n, len(longest))
    _, chosen, counts = jax.lax.fori_loop(0, size, choose, (rest, jnp.zeros(size, jnp.int32), jnp.zeros(size, bool)))
    return longest[chosen], counts


def carried(axes: Float[Array, "*time row axis"], coordinates: Matrix) -> tuple[Float[Array, "*time row column"], Float[Array, "row"]]:
    """Columns A Z of axes that went through a step, and the rounding of their sum (over time as well).

    Args:
        axes: shape (row, ..., n); its rows are the first axis.
        coordinates: Z, shape (n, k), rows with absolute sums of at most 1.
    """
    others = tuple(range(1, axes.ndim))
    n = coordinates.shape[0]
    return axes @ coordinates, raised(2.0 * n * U * jnp.sum(jnp.abs(axes), axis=others), 8 * axes.size) + axes.size * TINY


def fold(axes: Matrix, symbols: Matrix, radius: Float[Array, "row"], inputs: int) -> tuple[Matrix, Matrix, Float[Array, "row"]]:
    """End of a period: remainders become columns, the oldest group of columns is merged, and room is made for new ones.

    Args:
        axes: parallelotope of merged errors, shape (n, n); of shape (n, 0), nothing is merged: the oldest group must then be zero.
        symbols: groups of inputs + n columns, oldest first, shape (n, c).
        radius: remainders, shape (n,).
        inputs: columns per period for errors of the control law.

    Returns:
        axes, symbols whose last group is zero but for its last n columns, the remainders, and the left-over rounding box (n,).
    """
    n = symbols.shape[0]
    group = inputs + n
    new = jnp.concatenate([symbols[:, group:], jnp.zeros((n, inputs)), jnp.diag(radius)], axis=1)
    if not axes.shape[1]:
        return axes, new, jnp.zeros(n)
    axes, _, box = parallelotope(jnp.concatenate([axes, symbols[:, :group]], axis=1))
    return axes, new, box


def _power_of_two(size: Float[Array, "row"]) -> Float[Array, "row"]:
    """The power of two below a positive number; 1 where it is too small or not finite. Exact, and constant for differentiation."""
    size = jax.lax.stop_gradient(size)
    bits = jax.lax.bitcast_convert_type(size, jnp.uint64) & jnp.uint64(EXPONENT)
    return jnp.where((size > SMALL) & jnp.isfinite(size), jax.lax.bitcast_convert_type(bits, jnp.float64), 1.0)
