"""Reads the file of `tubepilot fly --keep-clear`: fence, floor, ceiling, walls and obstacles, as TOML.

The vehicle's own size is taken off the fence and put around every obstacle here, so that the shield judges its centre alone.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

from tubepilot.firmware_bridge.errors import InputError

from .keep_clear import FENCE_M, KeepClear, Obstacle, Wall

SHAPES = {"sphere": {"centre_m", "radius_m"}, "cylinder": {"centre_m", "radius_m", "low_m", "high_m"}, "box": {"low_m", "high_m"}}
KEYS = {"fence_m", "floor_m", "ceiling_m", "vehicle_radius_m", "walls", "obstacles"}
VEHICLE_RADIUS_M = 0.1
FAR_M = 1e5
"""Numbers beyond this are refused: metres from the take-off point."""


def read_keep_clear(path: Path) -> tuple[KeepClear, str]:
    """Read a file that says what to keep clear of; also its text, for the flight log.

    Raises:
        InputError: it cannot be read, or see `parse_keep_clear`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}; --keep-clear names a TOML file") from error
    return parse_keep_clear(text, str(path)), text


def parse_keep_clear(text: str, path: str) -> KeepClear:
    """What a text says to keep clear of; nothing but a fence of `FENCE_M` if it is empty.

    Args:
        text: TOML. `fence_m`, `floor_m`, `ceiling_m`, `vehicle_radius_m` (added to every obstacle and taken off the fence); tables
            [[walls]] with `normal` and `offset_m`; tables [[obstacles]] with `shape` "sphere" (`centre_m` of 3, `radius_m`),
            "cylinder" (`centre_m` of 2, `radius_m`, and if it ends `low_m`, `high_m`) or "box" (`low_m`, `high_m` of 3).
        path: Name for messages.

    Raises:
        InputError: something in it is missing, unknown or out of range; the message names it.
    """
    if not text.strip():
        return KeepClear()
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not readable TOML: {error}") from error
    _only(path, "the file", table, KEYS)
    size = _number(path, "vehicle_radius_m", table.get("vehicle_radius_m", VEHICLE_RADIUS_M), 0.0)
    walls, obstacles = _tables(path, table, "walls"), _tables(path, table, "obstacles")
    return KeepClear(
        fence_m=_number(path, "fence_m", table.get("fence_m", FENCE_M), 0.0) - size,
        floor_m=_number(path, "floor_m", table["floor_m"]) + size if "floor_m" in table else -math.inf,
        ceiling_m=_number(path, "ceiling_m", table["ceiling_m"]) - size if "ceiling_m" in table else math.inf,
        walls=tuple(_wall(path, f"walls[{n}]", entry, size) for n, entry in enumerate(walls)),
        obstacles=tuple(_obstacle(path, f"obstacles[{n}]", entry, size) for n, entry in enumerate(obstacles)),
    )


def _wall(path: str, name: str, table: dict[str, Any], size: float) -> Wall:
    _only(path, name, table, {"normal", "offset_m"})
    normal = _numbers(path, f"{name}.normal", table.get("normal"), 3)
    length = math.sqrt(sum(value * value for value in normal))
    if not length > 1e-6:
        raise InputError(f"{path}: {name}.normal is {list(normal)}: it must have a length")
    x, y, z = (value / length for value in normal)
    return Wall((x, y, z), _number(path, f"{name}.offset_m", table.get("offset_m")) - size)


def _obstacle(path: str, name: str, table: dict[str, Any], size: float) -> Obstacle:
    shape = table.get("shape")
    if shape not in SHAPES:
        raise InputError(f"{path}: {name}.shape is {shape!r}: it must be one of {', '.join(SHAPES)}")
    _only(path, name, table, {"shape", *SHAPES[shape]})
    if shape == "sphere":
        x, y, z = _numbers(path, f"{name}.centre_m", table.get("centre_m"), 3)
        return Obstacle((x, y, z), (0.0, 0.0, 0.0), _number(path, f"{name}.radius_m", table.get("radius_m"), 0.0) + size)
    if shape == "box":
        low, high = (_numbers(path, f"{name}.{key}", table.get(key), 3) for key in ("low_m", "high_m"))
        if not all(a < b for a, b in zip(low, high, strict=True)):
            raise InputError(f"{path}: {name}.low_m is {list(low)}: every number must be below that of high_m, {list(high)}")
        centre, half = ([s * (b + t * a) for a, b in zip(low, high, strict=True)] for s, t in ((0.5, 1.0), (0.5, -1.0)))
        return Obstacle((centre[0], centre[1], centre[2]), (half[0], half[1], half[2]), size)
    x, y = _numbers(path, f"{name}.centre_m", table.get("centre_m"), 2)
    radius = _number(path, f"{name}.radius_m", table.get("radius_m"), 0.0) + size
    if not ("low_m" in table or "high_m" in table):
        return Obstacle((x, y, 0.0), (0.0, 0.0, math.inf), radius)
    low_m, high_m = (_number(path, f"{name}.{key}", table.get(key)) for key in ("low_m", "high_m"))
    if not low_m < high_m:
        raise InputError(f"{path}: {name}.low_m is {low_m:g}: it must be below high_m, {high_m:g}")
    return Obstacle((x, y, 0.5 * (low_m + high_m)), (0.0, 0.0, 0.5 * (high_m - low_m)), radius)


def _only(path: str, name: str, table: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise InputError(f"{path}: {name} has the unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _tables(path: str, table: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = table.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: {key} must be tables, written [[{key}]]")
    return entries


def _number(path: str, name: str, value: Any, least: float = -FAR_M) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= FAR_M:
        raise InputError(f"{path}: {name} is {value!r}: it must be a number from {least:g} to {FAR_M:g} [m]")
    return float(value)


def _numbers(path: str, name: str, value: Any, count: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise InputError(f"{path}: {name} is {value!r}: it must be {count} numbers [m]")
    return tuple(_number(path, name, entry) for entry in value)
