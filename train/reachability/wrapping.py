"""Fold new remainders into error symbols without letting them wrap.

The error part of a set is E z, z in [-1, 1]. The small errors of integration are merged, period by period, into one parallelotope whose
axes are those of a QR factorisation (Lohner, Computation and visualization of solutions, 1988; columns sorted by length). The larger
ones, of the control law, stay symbols of their own for a window of periods before they are merged, so that the feedback that undoes
them is seen ("symbolic remainders": Chen and Sankaranarayanan, RTSS 2016).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from .error_model import TINY, U, raised

Matrix = Float[Array, "state column"]


def merge(main: Matrix, others: Matrix) -> tuple[Matrix, Float[Array, "state"]]:
    """Parallelotope that contains {main z + others z'}, z and z' in unit boxes.

    Args:
        main: the columns that give the axes, shape (n, n).
        others: further columns, shape (n, k).

    Returns:
        axes (n, n), and a small box (n,) that covers the rounding.
    """
    n = main.shape[0]
    lengths = jnp.sum(main * main, axis=0)
    order = jnp.argsort(-lengths)
    longest = jnp.max(lengths)
    scale = jnp.where(longest > 0, jnp.sqrt(jnp.where(longest > 0, longest, 1.0)), 1.0)  # differentiable at zero
    # a little of the identity keeps the factorisation defined when columns vanish
    q, _ = jnp.linalg.qr(main[:, order] / scale + 1e-9 * jnp.eye(n))
    columns = jnp.concatenate([main, others], axis=1)
    turned = q.T @ columns
    count = columns.shape[1]
    sizes = jnp.sum(jnp.abs(columns), axis=1)
    reach = raised(jnp.sum(jnp.abs(turned), axis=1), count + n)
    # rounding of q.T @ columns, seen in q's coordinates
    reach = reach + raised(2.0 * n * U * (jnp.abs(q).T @ sizes), 4 * n + count) + n * TINY
    # v = q (q.T v) + (I - q q.T) v: q is orthogonal only to rounding
    defect = jnp.abs(jnp.eye(n) - q @ q.T) + 2.0 * (n + 1) * U * (jnp.abs(q) @ jnp.abs(q).T + jnp.eye(n))
    axes = q * reach[None, :]
    box = raised(defect @ sizes + 2.0 * U * jnp.sum(jnp.abs(axes), axis=1), 8 * n + count) + n * TINY
    return axes, box


def fold(axes: Matrix, symbols: Matrix, radius: Float[Array, "row"], retired: int) -> tuple[Matrix, Matrix, Float[Array, "row"]]:
    """Merge the remainder box and the oldest symbols into the axes, and make room for new symbols.

    Args:
        axes: parallelotope of merged errors, shape (n, n).
        symbols: columns of error symbols that are kept as they are, oldest first, shape (n, c).
        radius: remainder, shape (n,).
        retired: how many of the oldest columns are merged.

    Returns:
        axes (n, n), symbols (n, c) whose last `retired` columns are zero, and the left-over rounding box (n,).
    """
    axes, box = merge(axes, jnp.concatenate([symbols[:, :retired], jnp.diag(radius)], axis=1))
    return axes, jnp.concatenate([symbols[:, retired:], jnp.zeros((axes.shape[0], retired))], axis=1), box
