"""Arithmetic expressions as text: a small grammar, read into a syntax tree. Nothing is ever executed.

    condition  = sum ("<=" | ">=") sum [("<=" | ">=") sum]
    sum        = ["+" | "-"] product {("+" | "-") product}
    product    = factor {("*" | "/") factor}
    factor     = ("+" | "-") factor | primary [("^" | "**") integer]
    primary    = number | name | "pi" | function "(" sum ")" | "(" sum ")"

Numbers are the decimals that are written: what consists of numbers only is computed in exact rational arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

from .expression_value import FUNCTIONS
from .syntax_tree import MAX_BITS, Call, ExpressionError, Name, Node, Number, Pi, Product, Sum, nearest, numbers, power, total

MAX_LENGTH, MAX_NESTING, MAX_EXPONENT = 50_000, 60, 64
RESERVED = frozenset({*FUNCTIONS, "pi"})
_TOKEN = re.compile(
    r"[ \t\r\n]*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>\*\*|<=|>=|[-+*/^()<>=]))",
    re.ASCII,
)


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
        coefficient = Fraction(1)
        above: list[Node] = []
        below: list[Node] = []
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
            for number in numbers(result):
                nearest(number, self.text)


def _coefficient(node: Node) -> tuple[Fraction, Node | None]:
    """A node as number * rest; rest is None for a number."""
    if isinstance(node, Number):
        return node.value, None
    if isinstance(node, Sum) and len(node.terms) == 1 and not node.constant:
        return node.terms[0]
    return Fraction(1), node


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
    sides = [(parser.sum(), 0, parser.tokens[parser.at][2])]
    operators: list[str] = []
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
