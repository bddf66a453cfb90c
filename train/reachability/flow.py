"""One validated step of a continuous flow on Taylor models.

The polynomial is found by Picard iteration in floating point; nothing about it needs to be exact. Then the Picard operator is applied
to "this polynomial plus a remainder" with every cut and rounding bounded, and the remainder is enlarged until the operator maps the
set into itself: by the theorem of Picard and Lindelof (Makino and Berz, Int. J. Pure Appl. Math. 4, 2003) every solution then stays
inside, at every time of the step. If no remainder is found, the step has failed, and says so.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .basis import Basis
from .error_model import TINY, U, raised
from .evaluation import polynomials, remainders
from .polynomials import Coefs, magnitude
from .program import Program

ROUNDS = 10
LARGEST = 1e15  # beyond it, a denormal that was flushed to zero could matter more than TINY


class FlowStep(NamedTuple):
    """States over one step.

    Attributes:
        coefs: polynomials over scaled time, shape (n, time_order + 1, monomials).
        radius: remainders, valid at every time of the step, shape (n,).
        contracted: per state, whether the Picard test closed; all must.
    """

    coefs: Coefs
    radius: Float[Array, "state"]
    contracted: Bool[Array, "state"]


def flow_step(
    program: Program,
    basis: Basis,
    coefs: Float[Array, "state monomial"],
    radius: Float[Array, "state"],
    held: Float[Array, "held monomial"],
    held_radius: Float[Array, "held"],
    duration: Float[Array, ""],
) -> FlowStep:
    """Enclose the flow over one step.

    Args:
        program: derivative of the states as a function of (states, held).
        basis: monomials with time.
        coefs: polynomials of the states at the start, shape (n, monomials).
        radius: their remainders, shape (n,).
        held: everything else the derivative depends on (inputs, disturbances, parameters) as polynomials, shape (k, monomials).
        held_radius: their remainders; what is inside may vary with time in any way.
        duration: length of the step, known to a relative 4 U [s].

    Returns:
        the step.
    """
    n, order = coefs.shape[0], basis.time_order
    constant = jnp.zeros((held.shape[0], order + 1, basis.monomials)).at[:, 0].set(held)
    start = jnp.zeros((n, order + 1, basis.monomials)).at[:, 0].set(coefs)
    powers = jnp.arange(1, order + 1, dtype=coefs.dtype)

    known = jnp.concatenate([radius, held_radius])

    def picard(x: Coefs) -> tuple[Coefs, Coefs, object]:
        derivative, trails, error = polynomials(program, basis, jnp.concatenate([x, constant]), known)
        new = start.at[:, 1:].set(duration * derivative[:, :order] / powers[:, None])
        return new, derivative, (trails, error)

    shapes = jax.eval_shape(picard, start)
    blank = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def iterate(carry: tuple[Coefs, Coefs, object], _: None) -> tuple[tuple[Coefs, object, object], None]:
        _, current, _ = carry
        new, derivative, trail = picard(current)
        return (current, new, (derivative, trail)), None

    (x, image, (derivative, (trails, error))), _ = jax.lax.scan(iterate, (start, start, (blank[1], blank[2])), None, length=order + 1)
    difference = jnp.sum(jnp.abs(image - x), axis=(1, 2))
    size = magnitude(derivative)
    top = jnp.sum(jnp.abs(derivative[:, order]), axis=-1) / (order + 1)
    count = basis.monomials * (order + 1)
    fixed = raised(difference + duration * top + 16.0 * U * (duration * size + magnitude(x)) + radius, count + 16) + TINY

    def operator(guess: Float[Array, "state"]) -> Float[Array, "state"]:
        inside = remainders(program, trails, error, jnp.concatenate([guess, held_radius]))
        return raised(fixed + duration * inside, 8)

    def enlarge(
        carry: tuple[Float[Array, "state"], Bool[Array, "state"]], attempt: Array
    ) -> tuple[tuple[Float[Array, "state"], Bool[Array, "state"]], None]:
        """The first two rounds only find the size; later ones test, enlarge while the test fails, and shrink once it has held."""
        guess, closed = carry
        new = operator(guess)
        held = jnp.all(closed)
        closed = jnp.where(held, closed, (new <= guess) & (attempt >= 2))
        grown = jnp.where(attempt < 2, 1.1 * new, 2.0 * new) + TINY
        return (jnp.where(jnp.all(closed), jnp.minimum(new, guess), grown), closed), None

    (remainder, closed), _ = jax.lax.scan(enlarge, (fixed, jnp.zeros(n, dtype=bool)), jnp.arange(ROUNDS))
    known = jnp.all(jnp.isfinite(x)) & jnp.all(magnitude(x) < LARGEST)
    return FlowStep(x, remainder, closed & jnp.isfinite(remainder) & known)
