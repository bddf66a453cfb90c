"""Syntax trees of arithmetic expressions with exact numbers, and errors that point at a place in their text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from tubepilot.firmware_bridge.errors import InputError

MAX_BITS = 8192


class ExpressionError(InputError):
    """A text is no expression of the grammar, or uses a name it may not.

    Attributes:
        reason: What is wrong, what was expected.
        text: The whole expression.
        offset: Place in it, counted from 0.
    """

    def __init__(self, reason: str, text: str, offset: int) -> None:
        self.reason, self.text, self.offset = reason, text, offset
        super().__init__(located(reason, text, offset))


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both counted from 1, of a place in a text."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def located(reason: str, text: str, offset: int, name: str = "") -> str:
    """A message with line, column, the source line and a caret below it."""
    line, column = place(text, offset)
    lines = text.split("\n")
    source = lines[line - 1].rstrip("\r") if line <= len(lines) else ""
    start, stop = (0, len(source)) if len(source) <= 160 else (max(0, column - 100), column + 60)
    shown = source[start:stop]
    gap = "".join("\t" if c == "\t" else " " for c in source[start : column - 1])
    return f"{name + ', ' if name else ''}line {line}, column {column}: {reason}\n  {shown}\n  {gap}^"


@dataclass(frozen=True, slots=True)
class Number:
    """An exact rational number."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Pi:
    """The number pi."""


@dataclass(frozen=True, slots=True)
class Name:
    """A variable; where it stands does not count in comparisons."""

    name: str
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Sum:
    """constant + sum of coefficient * term; at least one term."""

    constant: Fraction
    terms: tuple[tuple[Fraction, Node], ...]


@dataclass(frozen=True, slots=True)
class Product:
    """Product of the numerators by the product of the denominators; numbers are kept in the coefficients of sums."""

    numerators: tuple[Node, ...]
    denominators: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Power:
    """base to an integer power of at least 2."""

    base: Node
    exponent: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function of `FUNCTIONS`."""

    function: str
    argument: Node


Node = Number | Pi | Name | Sum | Product | Power | Call


def total(terms: list[tuple[Fraction, Node]]) -> Node:
    """The sum of coefficient * node, with numbers and nested sums of one term merged exactly."""
    constant = Fraction(0)
    rest: list[tuple[Fraction, Node]] = []
    for coefficient, node in terms:
        if isinstance(node, Number):
            constant += coefficient * node.value
        elif isinstance(node, Sum) and (len(node.terms) == 1 or coefficient == 1):
            constant += coefficient * node.constant
            rest.extend((coefficient * inner, term) for inner, term in node.terms)
        else:
            rest.append((coefficient, node))
    rest = [(coefficient, node) for coefficient, node in rest if coefficient]
    if not rest:
        return Number(constant)
    return rest[0][1] if len(rest) == 1 and rest[0][0] == 1 and not constant else Sum(constant, tuple(rest))


def children(node: Node) -> Iterator[Node]:
    """The nodes that a node is made of."""
    if isinstance(node, Sum):
        yield from (term for _, term in node.terms)
    elif isinstance(node, Product):
        yield from (*node.numerators, *node.denominators)
    elif isinstance(node, Power):
        yield node.base
    elif isinstance(node, Call):
        yield node.argument


def names(node: Node) -> Iterator[Name]:
    """Every variable in an expression, from left to right."""
    if isinstance(node, Name):
        yield node
    for child in children(node):
        yield from names(child)


def power(base: Node, exponent: int, text: str = "", offset: int = 0) -> Node:
    """base^exponent, exact for numbers."""
    if isinstance(base, Number):
        if max(base.value.numerator.bit_length(), base.value.denominator.bit_length()) * abs(exponent) > MAX_BITS:
            raise ExpressionError("this power is outside what float64 can hold", text, offset)
        return Number(base.value**exponent)
    if exponent == 0:
        return Number(Fraction(1))
    node = base if abs(exponent) == 1 else Power(base, abs(exponent))
    return node if exponent > 0 else Product((), (node,))


def numbers(node: Node) -> Iterator[Fraction]:
    """Every exact number in an expression."""
    if isinstance(node, Number):
        yield node.value
    if isinstance(node, Sum):
        yield node.constant
        yield from (coefficient for coefficient, _ in node.terms)
    for child in children(node):
        yield from numbers(child)


def nearest(value: Fraction, text: str = "", offset: int = 0) -> np.float64:
    """The float64 next to an exact number.

    Raises:
        ExpressionError: It is too large, too small, or so long that the float64 next to it is an integer that it is not.
    """
    magnitude = abs(value)
    if magnitude and not Fraction(1, 10**280) <= magnitude <= 10**280:
        raise ExpressionError("a number of this expression is outside +-1e280, or nearer to 0 than 1e-280", text, offset)
    result = np.float64(float(value))
    if value.denominator != 1 and float(result).is_integer():
        raise ExpressionError(f"the number {float(result)!r} has more digits than float64 can hold", text, offset)
    return result
