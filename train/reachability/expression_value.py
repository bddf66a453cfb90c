"""Syntax trees as functions of JAX, made of elementary operations only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

import jax
import numpy as np
from jax import lax

from .syntax_tree import Call, Name, Node, Number, Pi, Power, Product, nearest

FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sin": lax.sin,
    "cos": lax.cos,
    "tan": lax.tan,
    "exp": lax.exp,
    "log": lax.log,
    "sqrt": lax.sqrt,
    "tanh": lax.tanh,
    "sigmoid": lax.logistic,
    "atan": lax.atan,
    "abs": lax.abs,
}


def evaluate(node: Node, scope: Mapping[str, jax.Array], dtype: np.dtype | type = np.float64) -> jax.Array:
    """The value of an expression; every operation becomes one elementary operation of JAX, in tracing as well as at once.

    Args:
        node: Its syntax tree.
        scope: Value, a scalar of `dtype`, for each name in it.
        dtype: Floating-point type of the computation.
    """

    def number(value: Fraction) -> np.generic:
        return np.dtype(dtype).type(nearest(value))

    def visit(node: Node) -> jax.Array:
        if isinstance(node, Number):
            return number(node.value)
        if isinstance(node, Pi):
            return np.dtype(dtype).type(math.pi)
        if isinstance(node, Name):
            return scope[node.name]
        if isinstance(node, Call):
            return FUNCTIONS[node.function](visit(node.argument))
        if isinstance(node, Power):
            return lax.integer_pow(visit(node.base), node.exponent)
        if isinstance(node, Product):
            value = None
            for factor in node.numerators:
                value = visit(factor) if value is None else lax.mul(value, visit(factor))
            for factor in node.denominators:
                value = lax.div(number(Fraction(1)) if value is None else value, visit(factor))
            return value
        value = None
        for coefficient, term in node.terms:
            part = visit(term)
            negative = value is not None and coefficient < 0
            size = -coefficient if negative else coefficient
            if size == -1:
                part = lax.neg(part)
            elif size != 1:
                part = lax.mul(number(size), part)
            value = part if value is None else lax.sub(value, part) if negative else lax.add(value, part)
        if node.constant < 0:
            return lax.sub(value, number(-node.constant))
        return lax.add(value, number(node.constant)) if node.constant else value

    return visit(node)
