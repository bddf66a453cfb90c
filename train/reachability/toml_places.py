"""Where the keys and values of a TOML document stand, so that a message can point at them.

`tomllib` says what a document holds, but not where. This scanner only runs on text that `tomllib` has accepted, and so need not find
errors. Source: TOML 1.0.0, https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tubepilot.firmware_bridge.errors import InputError

from .syntax_tree import located

MAX_BYTES = 4 << 20
Keys = tuple[str | int, ...]
_BLANK = re.compile(r"[ \t]*")
_BETWEEN = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_STRING = re.compile(
    r'"""(?P<mb>(?:[^\\]|\\.)*?"{0,2})"""(?!")'
    r"|'''(?P<ml>.*?'{0,2})'''(?!')"
    r'|"(?P<b>(?:[^"\\\n]|\\.)*)"'
    r"|'(?P<l>[^'\n]*)'",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Offsets in the document: of a key (or header), of its value, and of the text of a string without escapes (else None)."""

    key: int
    value: int
    content: int | None


@dataclass(frozen=True, slots=True)
class Document:
    """A TOML document: its name for messages, its text, what it holds (floats as Decimal), and the place of each value."""

    name: str
    text: str
    data: dict[str, Any]
    places: dict[Keys, Place]

    def error(self, keys: Keys, reason: str, at_key: bool = False, offset: int | None = None) -> InputError:
        """An error that points at a value, at its key, or at a place within its string.

        Args:
            keys: Path of the value; the nearest enclosing one is taken if the document does not hold it.
            reason: What is wrong, the limit, and what to do.
            at_key: Point at the key.
            offset: Place within the string, counted from 0.
        """
        while keys and keys not in self.places:
            keys = keys[:-1]
        place = self.places.get(keys, Place(0, 0, None))
        where = place.key if at_key else place.value
        if offset is not None and place.content is not None:
            where = place.content + offset
        return InputError(located(reason, self.text, where, self.name))


def read_document(path: Path | str) -> Document:
    """Read a TOML file.

    Raises:
        InputError: The file cannot be read, or is no TOML; line and column say where.
    """
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{name}: larger than {MAX_BYTES} bytes; is it a specification?")
    try:
        return parse_document(content.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from error


def parse_document(text: str, name: str) -> Document:
    """A document from its text; see `read_document`."""
    text = text.replace("\r\n", "\n")
    try:
        data = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error), re.DOTALL)
        if match is None:
            raise InputError(f"{name}: no TOML: {error}") from error
        offset = len(text)
        if match[2]:
            offset = sum(len(line) + 1 for line in text.split("\n")[: int(match[2]) - 1]) + int(match[3]) - 1
        raise InputError(located(f"no TOML: {match[1]}", text, offset, name)) from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{name}: no TOML: {error}") from error
    return Document(name, text, data, _Scanner(text).run())


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.places: dict[Keys, Place] = {(): Place(0, 0, None)}
        self.counts: dict[Keys, int] = {}

    def run(self) -> dict[Keys, Place]:
        table: Keys = ()
        self.skip(_BETWEEN)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_BETWEEN)
        return self.places

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise InputError(f"TOML that this reader does not expect, at character {self.at}")
        self.at = match.end()
        return match.group()

    def header(self) -> Keys:
        start = self.at
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        path: Keys = ()
        keys = self.key()
        for i, key in enumerate(keys):
            path = (*path, key)
            if brackets == 2 and i == len(keys) - 1:
                self.places.setdefault(path, Place(start, start, None))
                self.counts[path] = self.counts.get(path, 0) + 1
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
        self.at += brackets
        self.places[path] = Place(start, start, None)
        return path

    def key(self) -> list[str]:
        keys = []
        while True:
            self.skip(_BLANK)
            if self.text[self.at] in "\"'":
                match = _STRING.match(self.text, self.at)
                keys.append(next(iter(tomllib.loads(f"k = {match.group()}").values())) if match else "")
                self.at = match.end() if match else len(self.text)
            else:
                keys.append(self.skip(_BARE_KEY))
            self.skip(_BLANK)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def pair(self, table: Keys) -> None:
        start = self.at
        keys = self.key()
        self.at += 1  # the sign =
        self.skip(_BLANK)
        for i in range(1, len(keys)):
            self.places.setdefault((*table, *keys[:i]), Place(start, start, None))
        self.value((*table, *keys), start)

    def value(self, path: Keys, key: int) -> None:
        start = self.at
        content = None
        match = _STRING.match(self.text, self.at)
        if match is not None:
            kind = match.lastgroup or "l"
            raw = match.group(kind)
            if "\\" not in raw or kind in ("l", "ml"):
                content = match.start(kind) + (1 if kind in ("mb", "ml") and raw.startswith("\n") else 0)
            self.at = match.end()
        elif self.text[self.at] in "[{":
            self.items(path, "]" if self.text[self.at] == "[" else "}")
        else:
            self.skip(_SCALAR)
        self.places[path] = Place(key, start, content)

    def items(self, path: Keys, closing: str) -> None:
        self.at += 1
        count = 0
        while True:
            self.skip(_BETWEEN)
            if self.text[self.at] == closing:
                break
            if closing == "}":
                self.pair(path)
            else:
                self.value((*path, count), self.at)
            count += 1
            self.skip(_BETWEEN)
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1
