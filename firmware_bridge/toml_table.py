"""Reads a TOML table strictly: every key is checked for kind and range, and what nobody asked for is an error."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .types import Vector

_REQUIRED = object()


class TomlTable:
    """One table of a file; `finish` refuses keys that were not read.

    Args:
        source: File name, for messages.
        place: Dotted name of the table, empty for the top.
        content: The parsed table.

    Raises:
        InputError: all methods raise it, with file, key, value and limit.
    """

    def __init__(self, source: str, place: str, content: Mapping[str, Any]) -> None:
        self._source, self._place, self._content = source, place, content
        self._read: set[str] = set()

    @classmethod
    def from_file(cls, path: Path) -> TomlTable:
        """The top table of a file."""
        try:
            return cls(str(path), "", tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path}: not valid TOML: {error}") from error

    def key(self, key: str) -> str:
        """Dotted name of a key."""
        return f"{self._place}.{key}" if self._place else key

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._content

    def is_text(self, key: str) -> bool:
        """Whether the key is there and holds a string."""
        return isinstance(self._content.get(key), str)

    def error(self, key: str, value: object, limit: str) -> InputError:
        """The error for a value outside of a limit."""
        return InputError(f"{self._source}: `{self.key(key)}` must be {limit}, got {value!r}")

    def _take(self, key: str, default: object = _REQUIRED) -> Any:
        self._read.add(key)
        if key in self._content:
            return self._content[key]
        if default is _REQUIRED:
            raise InputError(f"{self._source}: `{self.key(key)}` is missing; add it")
        return default

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number in [low, high]."""
        value = self._take(key, _REQUIRED if default is None else default)
        return self._number(key, value, low, high)

    def _number(self, key: str, value: object, low: float, high: float) -> float:
        real = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not real or not low <= value <= high:  # type: ignore[operator]
            raise self.error(key, value, f"a number from {low:g} to {high:g}")
        return float(value)  # type: ignore[arg-type]

    def integer(self, key: str, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, value, f"a whole number from {low} to {high}")
        return value

    def text(self, key: str, choices: Iterable[str] | None = None) -> str:
        """A non-empty string, one of the choices if given."""
        value = self._take(key)
        allowed = None if choices is None else tuple(choices)
        if not isinstance(value, str) or not value.strip() or (allowed is not None and value not in allowed):
            raise self.error(key, value, "a text" if allowed is None else f"one of {', '.join(allowed)}")
        return value

    def numbers(self, key: str, count: int, low: float, high: float) -> Vector:
        """A list of `count` numbers in [low, high], shape (count,)."""
        value = self._take(key)
        if not isinstance(value, list) or len(value) != count:
            raise self.error(key, value, f"a list of {count} numbers")
        return np.array([self._number(key, entry, low, high) for entry in value])

    def interval(self, key: str, low: float, high: float) -> tuple[float, float]:
        """A list [smallest, greatest] within [low, high]."""
        first, last = self.numbers(key, 2, low, high)
        if first > last:
            raise self.error(key, self._content[key], "a list of the smallest and the greatest value, in this order")
        return float(first), float(last)

    def points(self, key: str, least: int, low: float, high: float) -> Vector:
        """A list of at least `least` points with three coordinates in [low, high], shape (n, 3)."""
        value = self._take(key)
        if not isinstance(value, list) or len(value) < least or not all(isinstance(p, list) and len(p) == 3 for p in value):
            raise self.error(key, value, f"a list of at least {least} points of 3 numbers")
        return np.array([[self._number(key, entry, low, high) for entry in point] for point in value])

    def table(self, key: str) -> TomlTable:
        """A sub-table."""
        value = self._take(key)
        if not isinstance(value, dict):
            raise self.error(key, value, "a table")
        return TomlTable(self._source, self.key(key), value)

    def tables(self, key: str) -> list[TomlTable]:
        """An array of tables; empty if the key is not there."""
        value = self._take(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self.error(key, value, "an array of tables")
        return [TomlTable(self._source, f"{self.key(key)}[{k}]", entry) for k, entry in enumerate(value)]

    def pass_over(self, keys: Iterable[str]) -> None:
        """Let keys stand that say nothing to this reader."""
        self._read.update(key for key in keys if key in self._content)

    def finish(self) -> None:
        """Refuse the keys that were not read."""
        unknown = sorted(set(self._content) - self._read)
        if unknown:
            raise InputError(
                f"{self._source}: unknown key `{self.key(unknown[0])}` = {self._content[unknown[0]]!r}; "
                f"known here: {', '.join(sorted(self._read))}"
            )
