"""What a flight keeps clear of: obstacles, geofence and greatest speed, read from a TOML file and seen from the take-off frame.

The keys are those of the task files of `train/tasks`, so that such a file can be given as it is; what else stands in a task
file says nothing about obstacles and is passed over. Planner (`Planner.keep_clear`) and flight log take the same arrays.

    vehicle_radius_m = 0.07      # of the airframe, centre to propeller tip [m]
    obstacle_margin_m = 0.15     # beyond that radius [m]
    speed_limit_m_s = 3.0        # [m/s]
    frame = "world"              # the default: ENU of the flight controller; or "take-off": origin and yaw of the vehicle there

    [geofence]                   # box that the vehicle's centre stays in [m]
    low_m = [-6.0, -2.5, 0.2]
    high_m = [6.0, 2.5, 3.0]

    [[obstacles]]                # vertical cylinders without end [m]
    centre_m = [1.0, 0.5]
    radius_m = 0.2
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.errors import InputError, LogFormatError
from tubepilot.firmware_bridge.toml_table import TomlTable
from tubepilot.firmware_bridge.types import Vector

from .local_frame import LocalFrame

SPAN_M = 1000.0
"""Largest coordinate of an obstacle or of the fence [m]."""
FRAMES = ("world", "take-off")
PASSED_OVER = (
    "title", "duration_s", "reward_margin_m", "delay_ticks", "path", "wind", "gates", "estimator", "randomisation", "payload",
    "battery",
)  # fmt: skip
"""Keys of a task file that say nothing about what to keep clear of."""
META = "keep_clear"
"""Entry of the flight log."""


@dataclass(frozen=True, slots=True, eq=False)
class KeepClear:
    """What the vehicle's centre stays away from, in one frame with z up.

    Attributes:
        obstacles: Centre (3) [m] and inverse squared semi-axes (3) [1/m^2] of each, vehicle and margin included, shape (n, 6); an
            inverse of 0 extends it without end.
        faces: Outward unit normal (3) and offset [m] of each face of the fence, inside is n . p <= d, shape (f, 4).
        speed_m_s: Greatest speed [m/s].
    """

    obstacles: Vector
    faces: Vector
    speed_m_s: float

    def seen_from(self, frame: LocalFrame) -> KeepClear:
        """The same in the take-off frame; obstacles must be round about z, as all of a file are."""
        obstacles, faces, turn = self.obstacles.copy(), self.faces.copy(), frame.rotation()
        obstacles[:, 0:3] = (obstacles[:, 0:3] - frame.origin_m) @ turn
        faces[:, 3] -= faces[:, 0:3] @ frame.origin_m
        faces[:, 0:3] = faces[:, 0:3] @ turn
        return KeepClear(obstacles, faces, self.speed_m_s)

    def depth(self, points_m: Vector) -> tuple[Vector, Vector]:
        """How far points are inside of something they must not be, shape (k, 3) [m].

        Returns:
            1 - sum(inverse * (p - centre)^2) of the nearest obstacle, and metres beyond the nearest face, each of shape (k,);
            negative is clear, -inf where there are none.
        """
        none = np.full(len(points_m), -np.inf)
        away = points_m[:, None, :] - self.obstacles[None, :, 0:3]
        inside = 1.0 - np.sum(self.obstacles[None, :, 3:6] * away**2, axis=2)
        beyond = points_m @ self.faces[:, 0:3].T - self.faces[:, 3]
        return (inside.max(axis=1) if len(self.obstacles) else none, beyond.max(axis=1) if len(self.faces) else none)

    def meta(self) -> dict[str, str | float | int]:
        """Entry of the flight log from which `from_meta` reads this again, to the last bit."""
        content = {"obstacles": self.obstacles.tolist(), "faces": self.faces.tolist(), "speed_m_s": self.speed_m_s}
        return {META: json.dumps(content)}


@dataclass(frozen=True, slots=True, eq=False)
class ObstacleFile:
    """A file: what it says, and whether it says so in the take-off frame."""

    keep_clear: KeepClear
    at_take_off: bool

    def in_frame(self, frame: LocalFrame) -> KeepClear:
        """Seen from the take-off frame."""
        return self.keep_clear if self.at_take_off else self.keep_clear.seen_from(frame)


def read(path: Path) -> ObstacleFile:
    """Read a file.

    Raises:
        InputError: it cannot be read, a key is unknown, missing or out of its range, or its obstacles are drawn at random.
    """
    top = TomlTable.from_file(path)
    if top.has("forest"):
        raise InputError(f"{path}: `forest` draws its obstacles at random; give each as [[obstacles]] with centre_m and radius_m")
    top.pass_over(PASSED_OVER)
    wider_m = top.number("vehicle_radius_m", 0.01, 2.0) + top.number("obstacle_margin_m", 0.0, 5.0)
    at_take_off = top.text("frame", FRAMES) == "take-off" if top.has("frame") else False
    speed_m_s = top.number("speed_limit_m_s", 0.1, 50.0)
    obstacles = [_cylinder(table, wider_m) for table in top.tables("obstacles")]
    faces = _box(top.table("geofence")) if top.has("geofence") else np.zeros((0, 4))
    top.finish()
    if not obstacles and not len(faces):
        raise InputError(f"{path}: neither [[obstacles]] nor [geofence] stands in it; add one of them")
    return ObstacleFile(KeepClear(np.array(obstacles).reshape(-1, 6), faces, speed_m_s), at_take_off)


def _cylinder(table: TomlTable, wider_m: float) -> list[float]:
    x, y = table.numbers("centre_m", 2, -SPAN_M, SPAN_M).tolist()
    inverse = (table.number("radius_m", 0.01, SPAN_M) + wider_m) ** -2
    table.finish()
    return [x, y, 0.0, inverse, inverse, 0.0]


def _box(table: TomlTable) -> Vector:
    low, high = (table.numbers(key, 3, -SPAN_M, SPAN_M) for key in ("low_m", "high_m"))
    table.finish()
    if not np.all(low < high):
        raise table.error("low_m", low.tolist(), f"below high_m {high.tolist()}")
    return np.column_stack([np.concatenate([np.eye(3), -np.eye(3)]), np.concatenate([high, -low])])


def from_meta(meta: Mapping[str, str | float | int]) -> KeepClear | None:
    """What a recorded flight kept clear of; None if nothing.

    Raises:
        LogFormatError: the entry is damaged.
    """
    if META not in meta:
        return None
    try:
        content = json.loads(str(meta[META]))
        obstacles = np.array(content["obstacles"], dtype=np.float64).reshape(-1, 6)
        return KeepClear(obstacles, np.array(content["faces"], dtype=np.float64).reshape(-1, 4), float(content["speed_m_s"]))
    except (ValueError, KeyError, TypeError) as error:
        raise LogFormatError(f"the flight log's entry {META} is damaged: {error}") from error
