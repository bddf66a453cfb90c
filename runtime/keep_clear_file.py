"""Reads the file of `tubepilot fly --keep-clear`: what planner and shield keep clear of, as TOML.

The keys of task files (`train/tasks`) mean the same here, so such a file can be given as it is; what else stands in a task file
says nothing about obstacles and is passed over. Everything is optional but the vehicle's radius:

    vehicle_radius_m = 0.07      # of the airframe, centre to propeller tip: around every obstacle, off fence_m and walls [m]
    obstacle_margin_m = 0.15     # what plans keep beyond that [m]; the shield has its own, proven room
    speed_limit_m_s = 3.0        # of plans [m/s]
    frame = "world"              # the default: ENU of the flight controller; or "take-off": origin and yaw of the vehicle there
    fence_m = 30.0               # horizontal distance from where the shield is engaged; shield only [m]

    [geofence]                   # box that the vehicle's centre stays in [m]
    low_m = [-6.0, -2.5, 0.2]
    high_m = [6.0, 2.5, 3.0]

    [[walls]]                    # the vehicle stays where p along `normal` (of any length) is at most offset_m [m]
    normal = [1.0, 1.0, 0.0]
    offset_m = 5.0

    [[obstacles]]                # shape "cylinder" if none is named: upright, without end unless low_m and high_m are given
    centre_m = [1.0, 0.5]
    radius_m = 0.2

    [[obstacles]]                # or shape "sphere": centre_m of 3, radius_m
    shape = "box"                # sides along the axes of the frame
    low_m = [2.0, 2.0, 0.0]
    high_m = [3.0, 2.5, 2.0]
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.toml_table import TomlTable

from .keep_clear import FENCE_M, Obstacle, Wall
from .surroundings import Surroundings

SPAN_M = 1000.0
"""Largest coordinate of anything in the file [m]."""
SPEED_M_S = 50.0
"""Greatest speed of plans where the file names none [m/s]."""
SHAPES = ("cylinder", "sphere", "box")
FRAMES = ("world", "take-off")
PASSED_OVER = (
    "title", "duration_s", "reward_margin_m", "delay_ticks", "path", "wind", "gates", "estimator", "randomisation", "payload",
    "battery",
)  # fmt: skip
"""Keys of a task file that say nothing about what to keep clear of."""


def read_keep_clear(path: Path) -> Surroundings:
    """Read a file.

    Returns:
        What it says, in the frame that it names.

    Raises:
        InputError: it cannot be read, a key is unknown, missing or out of its range, its obstacles are drawn at random, or nothing
            stands in it.
    """
    top = TomlTable.from_file(path)
    if top.has("forest"):
        raise InputError(f"{path}: `forest` draws its obstacles at random; give each as [[obstacles]] with centre_m and radius_m")
    top.pass_over(PASSED_OVER)
    size_m = top.number("vehicle_radius_m", 0.01, 2.0)
    fenced = top.has("fence_m")
    fence_m = top.number("fence_m", size_m, SPAN_M, FENCE_M + size_m) - size_m
    obstacles = tuple(_obstacle(table, size_m) for table in top.tables("obstacles"))
    walls = tuple(_wall(table, size_m) for table in top.tables("walls")) + (_box(top.table("geofence")) if top.has("geofence") else ())
    found = Surroundings(
        walls=walls,
        obstacles=obstacles,
        fence_m=fence_m,
        margin_m=top.number("obstacle_margin_m", 0.0, 5.0, 0.0),
        speed_m_s=top.number("speed_limit_m_s", 0.1, SPEED_M_S, SPEED_M_S),
        at_take_off=top.has("frame") and top.text("frame", FRAMES) == "take-off",
    )
    top.finish()
    if not (obstacles or walls or fenced):
        raise InputError(f"{path}: says nothing to keep clear of; add [[obstacles]], [[walls]], [geofence] or fence_m")
    return found


def _wall(table: TomlTable, size_m: float) -> Wall:
    normal = table.numbers("normal", 3, -SPAN_M, SPAN_M)
    length = float(np.linalg.norm(normal))
    if not length > 1e-6:
        raise table.error("normal", normal.tolist(), "longer than 0")
    offset_m = table.number("offset_m", -SPAN_M, SPAN_M)
    table.finish()
    x, y, z = (normal / length).tolist()
    return Wall((x, y, z), offset_m - size_m)


def _low_high(table: TomlTable) -> tuple[list[float], list[float]]:
    low, high = (table.numbers(key, 3, -SPAN_M, SPAN_M) for key in ("low_m", "high_m"))
    if not np.all(low < high):
        raise table.error("low_m", low.tolist(), f"below high_m {high.tolist()}")
    table.finish()
    return low.tolist(), high.tolist()


def _box(table: TomlTable) -> tuple[Wall, ...]:
    """The faces of a box that the vehicle's centre stays in."""
    low, high = _low_high(table)
    axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return tuple(
        wall for axis, a, b in zip(axes, low, high, strict=True) for wall in (Wall(axis, b), Wall((-axis[0], -axis[1], -axis[2]), -a))
    )


def _obstacle(table: TomlTable, size_m: float) -> Obstacle:
    shape = table.text("shape", SHAPES) if table.has("shape") else "cylinder"
    if shape == "box":
        low, high = _low_high(table)
        cx, cy, cz = (0.5 * (a + b) for a, b in zip(low, high, strict=True))
        hx, hy, hz = (0.5 * (b - a) for a, b in zip(low, high, strict=True))
        return Obstacle((cx, cy, cz), (hx, hy, hz), size_m)
    centre = table.numbers("centre_m", 3 if shape == "sphere" else 2, -SPAN_M, SPAN_M).tolist()
    radius_m = table.number("radius_m", 0.01, SPAN_M) + size_m
    z, half_z = (centre[2], 0.0) if shape == "sphere" else (0.0, math.inf)
    if shape == "cylinder" and (table.has("low_m") or table.has("high_m")):
        low_m = table.number("low_m", -SPAN_M, SPAN_M)
        high_m = table.number("high_m", low_m, SPAN_M)
        z, half_z = 0.5 * (low_m + high_m), 0.5 * (high_m - low_m)
    table.finish()
    return Obstacle((centre[0], centre[1], z), (0.0, 0.0, half_z), radius_m)
