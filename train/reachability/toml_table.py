"""Typed access to the tables of a TOML document; every complaint points at its place, and what is not read is an error."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tubepilot.firmware_bridge.errors import InputError

from .expression import parse
from .syntax_tree import ExpressionError, Number
from .toml_places import Document, Keys

_LARGEST = Fraction(10**280)


def suggestion(word: str, known: list[str]) -> str:
    """What was probably meant, as an addition to a message."""
    close = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}" if known else ""


class Table:
    """One table of a document. `finish` must be called when all that is known has been read.

    Attributes:
        constants: Names that may stand in numbers written as strings.
    """

    def __init__(self, document: Document, keys: Keys, data: Mapping[str, Any], constants: Mapping[str, Fraction]) -> None:
        self.document, self.keys, self.data, self.constants = document, keys, data, constants
        self._known: list[str] = []

    def given(self, key: str) -> bool:
        """Whether an optional key is there; it counts as known from now on."""
        self._known.append(key)
        return key in self.data

    def error(self, key: str | int | Keys, reason: str, at_key: bool = False, offset: int | None = None) -> InputError:
        """An error at a value of this table, its key, or a place in its string."""
        path = key if isinstance(key, tuple) else (key,)
        return self.document.error((*self.keys, *path), reason, at_key, offset)

    def _get(self, key: str, expected: str) -> Any:
        self._known.append(key)
        if key not in self.data:
            where = ".".join(str(k) for k in self.keys) or "the document"
            raise self.document.error(self.keys, f"{key!r} is missing in {where}; {expected} is expected", at_key=True)
        return self.data[key]

    def text(self, key: str) -> str:
        """A string that is not empty."""
        value = self._get(key, "a string")
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"a string that is not empty is expected, found {value!r}")
        return value

    def texts(self, key: str, least: int = 0) -> tuple[str, ...]:
        """An array of strings."""
        value = self._get(key, "an array of strings")
        if not isinstance(value, list) or len(value) < least:
            raise self.error(key, f"an array of at least {least} strings is expected, found {value!r}")
        for i, item in enumerate(value):
            if not isinstance(item, str):
                raise self.error((key, i), f"a string is expected, found {item!r}")
        return tuple(value)

    def choice(self, key: str, options: tuple[str, ...]) -> str:
        """One of several words."""
        value = self._get(key, " or ".join(options))
        if value not in options:
            raise self.error(key, f"{value!r} where one of {', '.join(options)} is expected")
        return str(value)

    def integer(self, key: str, least: int, greatest: int) -> int:
        """An integer within limits."""
        value = self._get(key, f"an integer from {least} to {greatest}")
        return self._integer((key,), value, least, greatest)

    def integers(self, key: str, least: int, greatest: int) -> tuple[int, ...]:
        """An array of integers within limits."""
        value = self._get(key, "an array of integers")
        if not isinstance(value, list):
            raise self.error(key, f"an array of integers is expected, found {value!r}")
        return tuple(self._integer((key, i), item, least, greatest) for i, item in enumerate(value))

    def _integer(self, keys: Keys, value: Any, least: int, greatest: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= greatest:
            raise self.error(keys, f"an integer from {least} to {greatest} is expected, found {value!r}")
        return value

    def number(self, key: str) -> Fraction:
        """An exact number: a decimal, or a string with an expression of constants."""
        return self._number((key,), self._get(key, "a number"))

    def interval(self, key: str) -> tuple[Fraction, Fraction]:
        """A closed interval [lo, hi] of exact numbers with lo <= hi."""
        value = self._get(key, "an interval [lo, hi]")
        if not isinstance(value, list) or len(value) != 2:
            raise self.error(key, f"an interval [lo, hi] is expected, found {_shown(value)}")
        lo, hi = (self._number((key, i), item) for i, item in enumerate(value))
        if lo > hi:
            raise self.error(key, f"the interval is empty: its lower end {float(lo)} is above its upper end {float(hi)}; swap them")
        return lo, hi

    def _number(self, keys: Keys, value: Any) -> Fraction:
        if isinstance(value, str):
            try:
                node = parse(value, self.constants)
            except ExpressionError as error:
                raise self.error(keys, error.reason, offset=error.offset) from error
            if not isinstance(node, Number):
                raise self.error(keys, f"{value!r} is no rational number; write decimals that enclose it")
            value = node.value
        if isinstance(value, bool) or not isinstance(value, int | Decimal | Fraction):
            raise self.error(keys, f"a number is expected, found {_shown(value)}")
        if isinstance(value, Decimal) and (not value.is_finite() or (value and abs(value.adjusted()) > 280)):
            raise self.error(keys, f"{value} is outside +-1e280, or nearer to 0 than 1e-280")
        exact = Fraction(value)
        if abs(exact) > _LARGEST:
            raise self.error(keys, "the number is outside +-1e280")
        return exact

    def table(self, key: str) -> Table:
        """A table within this one."""
        value = self._get(key, f"a table [{key}]")
        if not isinstance(value, dict):
            raise self.error(key, f"a table is expected, found {_shown(value)}")
        return Table(self.document, (*self.keys, key), value, self.constants)

    def optional_table(self, key: str) -> Table:
        """A table within this one, empty if it is absent."""
        return self.table(key) if self.given(key) else Table(self.document, (*self.keys, key), {}, self.constants)

    def tables(self, key: str) -> tuple[Table, ...]:
        """An array of at least one table."""
        value = self._get(key, f"[[{key}]]")
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.error(key, f"[[{key}]] is expected, found {_shown(value)}")
        return tuple(Table(self.document, (*self.keys, key, i), item, self.constants) for i, item in enumerate(value))

    def finish(self) -> None:
        """Refuse keys that nobody has asked for."""
        for key in self.data:
            if key not in self._known:
                raise self.error(key, f"{key!r} is not known here{suggestion(key, self._known)}", at_key=True)


def _shown(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value[:6]) + (", ...]" if len(value) > 6 else "]")
    return repr(value)[:80]
