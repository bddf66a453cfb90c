"""Arithmetic expressions as text: a small grammar, its syntax tree, and functions of JAX made from it. Nothing is ever executed.

    condition  = sum ("<=" | ">=") sum [("<=" | ">=") sum]
    sum        = ["+" | "-"] product {("+" | "-") product}
    product    = factor {("*" | "/") factor}
    factor     = ("+" | "-") factor | primary [("^" | "**") integer]
    primary    = number | name | "pi" | function "(" sum ")" | "(" sum ")"

Numbers are the decimals that are written: what consists of numbers only is computed in exact rational arithmetic and rounded once,
to the float64 next to it, when a function is made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

import jax
import numpy as np
from jax import lax

from tubepilot.firmware_bridge.errors import InputError

MAX_LENGTH, MAX_NESTING, MAX_EXPONENT, MAX_BITS = 50_000, 60, 64, 8192

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
RESERVED = frozenset({*FUNCTIONS, "pi"})
_TOKEN = re.compile(
    r"[ \t\r\n]*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>\*\*|<=|>=|[-+*/^()<>=]))",
    re.ASCII,
)


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
    shown = source[max(0, column - 100) : column + 60]
    gap = "".join("\t" if c == "\t" else " " for c in source[max(0, column - 100) : column - 1])
    return f"{name + ', ' if name else ''}line {line}, column {column}: {reason}\n  {shown}\n  {gap}^"


# --- syntax tree -------------------------------------------------------------------------------------------


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
    constant, rest = Fraction(0), []
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


# --- parser ------------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str, constants: Mapping[str, Fraction]) -> None:
        self.text, self.constants = text, constants
        if len(text) > MAX_LENGTH:
            raise ExpressionError(f"{len(text)} characters; at most {MAX_LENGTH} are allowed, use definitions", text, MAX_LENGTH)
        self.tokens: list[tuple[str, str, int]] = []
        offset = 0
        while offset < len(text):
            match = _TOKEN.match(text, offset)
            if match is None:
                rest = text[offset:]
                if not rest.strip(" \t\r\n"):
                    break
                offset += len(rest) - len(rest.lstrip(" \t\r\n"))
                raise ExpressionError(f"unexpected character {text[offset]!r}", text, offset)
            kind = match.lastgroup or ""
            self.tokens.append((kind, match.group(kind), match.start(kind)))
            offset = match.end()
        self.tokens.append(("end", "", len(text)))
        self.at = 0
        self.depth = 0

    def fail(self, expected: str) -> ExpressionError:
        kind, word, offset = self.tokens[self.at]
        found = "the end" if kind == "end" else repr(word)
        return ExpressionError(f"{expected} expected, found {found}", self.text, offset)

    def accept(self, *words: str) -> str | None:
        kind, word, _ = self.tokens[self.at]
        if kind == "sign" and word in words:
            self.at += 1
            return word
        return None

    def bounded(self, node: Node, offset: int) -> Node:
        """Refuse exact numbers that grow without limit."""
        numbers = [node.value] if isinstance(node, Number) else []
        if isinstance(node, Sum):
            numbers = [node.constant, *(coefficient for coefficient, _ in node.terms)]
        if any(n.numerator.bit_length() + n.denominator.bit_length() > MAX_BITS for n in numbers):
            raise ExpressionError("this number has too many digits", self.text, offset)
        return node

    def sum(self) -> Node:
        offset = self.tokens[self.at][2]
        terms = [(Fraction(1), self.product())]
        while sign := self.accept("+", "-"):
            terms.append((Fraction(1 if sign == "+" else -1), self.product()))
        return self.bounded(total(terms), offset)

    def product(self) -> Node:
        coefficient, above, below = Fraction(1), [], []
        operator: str | None = "*"
        start = self.tokens[self.at][2]
        while operator:
            offset = self.tokens[self.at][2]
            factor, node = _coefficient(self.factor())
            if operator == "/" and factor == 0:
                raise ExpressionError("division by zero", self.text, offset)
            coefficient *= factor if operator == "*" else 1 / factor
            self.bounded(Number(coefficient), offset)
            if node is not None:
                (above if operator == "*" else below).append(node)
            operator = self.accept("*", "/")
        if not above and not below:
            return self.bounded(Number(coefficient), start)
        node = above[0] if len(above) == 1 and not below else Product(tuple(above), tuple(below))
        return total([(coefficient, node)])

    def factor(self) -> Node:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.fail(f"nesting of at most {MAX_NESTING} parentheses and signs")
        if sign := self.accept("+", "-"):
            node = total([(Fraction(1 if sign == "+" else -1), self.factor())])
        else:
            node = self.power()
        self.depth -= 1
        return node

    def power(self) -> Node:
        offset = self.tokens[self.at][2]
        base = self.primary()
        if not self.accept("^", "**"):
            return base
        place_of = self.tokens[self.at][2]
        exponent = self.exponent()
        if self.tokens[self.at][1] in ("^", "**"):
            raise self.fail("parentheses around one of two powers")
        if exponent < 0 and base == Number(Fraction(0)):
            raise ExpressionError("division by zero", self.text, place_of)
        return self.bounded(power(base, exponent, self.text, place_of), offset)

    def exponent(self) -> int:
        bracket = self.accept("(")
        sign = -1 if self.accept("-") else 1
        kind, word, offset = self.tokens[self.at]
        if kind != "number":
            raise self.fail("an integer number as power")
        value = self.number(word, offset)
        if value.denominator != 1 or value > MAX_EXPONENT:
            raise ExpressionError(f"the power {word} is not an integer of at most {MAX_EXPONENT}", self.text, offset)
        self.at += 1
        if bracket and not self.accept(")"):
            raise self.fail("')' behind the power")
        return sign * int(value)

    def number(self, word: str, offset: int) -> Fraction:
        mantissa, _, exponent = word.lower().partition("e")
        if len(mantissa) > 400 or len(exponent) > 5 or abs(int(exponent or 0)) > 300:
            raise ExpressionError("this number is outside what float64 can hold", self.text, offset)
        return Fraction(word)

    def primary(self) -> Node:
        kind, word, offset = self.tokens[self.at]
        if kind == "number":
            self.at += 1
            return Number(self.number(word, offset))
        if kind == "name":
            self.at += 1
            opened = self.accept("(")
            if word in FUNCTIONS:
                if not opened:
                    raise self.fail(f"'(' behind the function {word}")
                argument = self.sum()
                self.close()
                return Call(word, argument)
            if opened:
                raise ExpressionError(f"{word!r} is no function; known are {', '.join(FUNCTIONS)}", self.text, offset)
            if word in self.constants:
                return Number(self.constants[word])
            return Pi() if word == "pi" else Name(word, offset)
        if self.accept("("):
            inner = self.sum()
            self.close()
            return inner
        raise self.fail("a number, a name or '('")

    def close(self) -> None:
        if not self.accept(")"):
            raise self.fail("an operator or ')'")

    def end(self, *results: Node) -> None:
        if self.tokens[self.at][0] != "end":
            raise self.fail("an operator or the end")
        for result in results:
            for number in _numbers(result):
                nearest(number, self.text)


def _coefficient(node: Node) -> tuple[Fraction, Node | None]:
    """A node as number * rest; rest is None for a number."""
    if isinstance(node, Number):
        return node.value, None
    if isinstance(node, Sum) and len(node.terms) == 1 and not node.constant:
        return node.terms[0]
    return Fraction(1), node


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


def _numbers(node: Node) -> Iterator[Fraction]:
    if isinstance(node, Number):
        yield node.value
    if isinstance(node, Sum):
        yield node.constant
        yield from (coefficient for coefficient, _ in node.terms)
    for child in children(node):
        yield from _numbers(child)


def parse(text: str, constants: Mapping[str, Fraction] = MappingProxyType({})) -> Node:
    """The syntax tree of an expression.

    Args:
        text: The expression.
        constants: Names that stand for exact numbers.

    Raises:
        ExpressionError: The text is not of the grammar; line and column say where.
    """
    parser = _Parser(text, constants)
    node = parser.sum()
    parser.end(node)
    return node


def parse_condition(text: str, constants: Mapping[str, Fraction] = MappingProxyType({})) -> tuple[tuple[Node, str], ...]:
    """The expressions of which a condition says that they are <= 0, each with its text; a chain a <= b <= c gives two.

    Args:
        text: The condition.
        constants: Names that stand for exact numbers.

    Raises:
        ExpressionError: The text is no condition; strict comparisons are refused, since regions are closed.
    """
    parser = _Parser(text, constants)
    sides, operators = [(parser.sum(), 0, parser.tokens[parser.at][2])], []
    while len(operators) < 2:
        operator = parser.accept("<=", ">=")
        if operator is None:
            break
        operators.append(operator)
        start = parser.tokens[parser.at][2]
        sides.append((parser.sum(), start, parser.tokens[parser.at][2]))
    if not operators or parser.tokens[parser.at][1] in ("<", ">", "="):
        raise parser.fail("'<=' or '>=' (regions are closed: write <= for <, and two conditions for =)")
    result = []
    for operator, (left, start, stop), (right, start_right, stop_right) in zip(operators, sides, sides[1:], strict=False):
        sign = Fraction(1 if operator == "<=" else -1)
        shown = f"{text[start:stop].strip()} {operator} {text[start_right:stop_right].strip()}"
        result.append((total([(sign, left), (-sign, right)]), " ".join(shown.split())))
    parser.end(*(node for node, _ in result))
    return tuple(result)


# --- evaluation --------------------------------------------------------------------------------------------


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
            factor = -coefficient if negative else coefficient
            if factor == -1:
                part = lax.neg(part)
            elif factor != 1:
                part = lax.mul(number(factor), part)
            value = part if value is None else lax.sub(value, part) if negative else lax.add(value, part)
        if node.constant < 0:
            return lax.sub(value, number(-node.constant))
        return lax.add(value, number(node.constant)) if node.constant else value

    return visit(node)
