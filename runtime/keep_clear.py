"""What the shield keeps the vehicle clear of: a fence around home, a floor and a ceiling, flat walls, obstacles.

The vehicle stops inside a cylinder around an anchor (docs/certificate.md, section 6): its radius and half its height come from the
shield graph. So each thing costs a few comparisons. All positions are in the frame of the states that the shield is given: in
`tubepilot fly` the take-off frame, z up from where the vehicle stood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomllib

from tubepilot.firmware_bridge.errors import InputError

from .shield_assumed import Triple
from .shield_decision import Reason

BESIDE_M = 0.01
"""What the path within the period before a take-over can be off the tubes of its two ends [m]: a fifth of it is used at most."""
FENCE_M = 30.0
"""Radius of the fence unless told otherwise [m]."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A box with rounded edges: sphere, upright cylinder (half of it 0, 0, infinite) and box are all such.

    Attributes:
        centre_m: World, z up [m].
        half_m: Half the sides of the box [m]; infinite: without end.
        radius_m: Put around it on all sides [m].
    """

    centre_m: Triple
    half_m: Triple
    radius_m: float

    def touches(self, anchor: Triple, across_m: float, high_m: float) -> bool:
        """Whether a cylinder around a point, of that radius and half height, touches it."""
        gaps = [max(abs(p - c) - h, 0.0) for p, c, h in zip(anchor, self.centre_m, self.half_m, strict=True)]
        beside = max(math.sqrt(gaps[0] * gaps[0] + gaps[1] * gaps[1]) - across_m, 0.0)
        above = max(gaps[2] - high_m, 0.0)
        return not math.sqrt(beside * beside + above * above) > self.radius_m


@dataclass(frozen=True, slots=True)
class Wall:
    """A flat face: the vehicle stays where normal . p <= offset; the normal is of length 1."""

    normal: Triple
    offset_m: float


@dataclass(slots=True)
class KeepClear:
    """Everything together.

    Attributes:
        fence_m: Horizontal distance from home that the vehicle may reach [m].
        floor_m, ceiling_m: Lowest and highest position [m].
        walls, obstacles: See there; the vehicle's own size has to be in them, see `read_keep_clear`.
        home: Where the shield was engaged [m].
    """

    fence_m: float = FENCE_M
    floor_m: float = -math.inf
    ceiling_m: float = math.inf
    walls: tuple[Wall, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    home: tuple[float, float] = field(default=(0.0, 0.0))

    def engage(self, position_m: Sequence[float]) -> None:
        """Measure the fence from here."""
        self.home = (float(position_m[0]), float(position_m[1]))

    def blocked(self, anchor: Triple, across_m: float, high_m: float) -> Reason:
        """What the cylinder in which the vehicle stops runs into.

        Args:
            anchor: Its middle [m].
            across_m, high_m: Its radius, and half its height [m]; not a number or infinite is blocked.

        Returns:
            OK, GEOFENCE (fence, floor, ceiling, wall) or OBSTACLE.
        """
        across, high = across_m + BESIDE_M, high_m + BESIDE_M
        x, y = anchor[0] - self.home[0], anchor[1] - self.home[1]
        if not math.sqrt(x * x + y * y) + across <= self.fence_m:
            return Reason.GEOFENCE
        if not (anchor[2] - high >= self.floor_m and anchor[2] + high <= self.ceiling_m):
            return Reason.GEOFENCE
        for wall in self.walls:
            (nx, ny, nz), (px, py, pz) = wall.normal, anchor
            if not nx * px + ny * py + nz * pz + math.sqrt(nx * nx + ny * ny) * across + abs(nz) * high <= wall.offset_m:
                return Reason.GEOFENCE
        for obstacle in self.obstacles:
            if obstacle.touches(anchor, across, high):
                return Reason.OBSTACLE
        return Reason.OK


# --- the file ----------------------------------------------------------------------------------------------------

SHAPES = {"sphere": {"centre_m", "radius_m"}, "cylinder": {"centre_m", "radius_m", "low_m", "high_m"}, "box": {"low_m", "high_m"}}
KEYS = {"fence_m", "floor_m", "ceiling_m", "vehicle_radius_m", "walls", "obstacles"}
VEHICLE_RADIUS_M = 0.1
FAR_M = 1e5
"""Numbers beyond this are refused: metres from the take-off point."""


def read_keep_clear(path: Path) -> KeepClear:
    """Read a file that says what to keep clear of.

    Args:
        path: TOML. `fence_m`, `floor_m`, `ceiling_m`, `vehicle_radius_m` (added to every obstacle and taken off the fence); tables
            [[walls]] with `normal` and `offset_m`; tables [[obstacles]] with `shape` "sphere" (`centre_m` of 3, `radius_m`),
            "cylinder" (`centre_m` of 2, `radius_m`, and if it ends `low_m`, `high_m`) or "box" (`low_m`, `high_m` of 3).

    Raises:
        InputError: it cannot be read, or something in it is missing, unknown or out of range; the text names it.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; --keep-clear names a TOML file") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
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


def _wall(path: Path, name: str, table: dict[str, Any], size: float) -> Wall:
    _only(path, name, table, {"normal", "offset_m"})
    normal = _numbers(path, f"{name}.normal", table.get("normal"), 3)
    length = math.sqrt(sum(value * value for value in normal))
    if not length > 1e-6:
        raise InputError(f"{path}: {name}.normal is {list(normal)}: it must have a length")
    x, y, z = (value / length for value in normal)
    return Wall((x, y, z), _number(path, f"{name}.offset_m", table.get("offset_m")) - size)


def _obstacle(path: Path, name: str, table: dict[str, Any], size: float) -> Obstacle:
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


def _only(path: Path, name: str, table: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise InputError(f"{path}: {name} has the unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _tables(path: Path, table: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = table.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: {key} must be tables, written [[{key}]]")
    return entries


def _number(path: Path, name: str, value: Any, least: float = -FAR_M) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= FAR_M:
        raise InputError(f"{path}: {name} is {value!r}: it must be a number from {least:g} to {FAR_M:g} [m]")
    return float(value)


def _numbers(path: Path, name: str, value: Any, count: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise InputError(f"{path}: {name} is {value!r}: it must be {count} numbers [m]")
    return tuple(_number(path, name, entry) for entry in value)
