"""The picture of a task: path, gates, obstacles and flown paths from above, and height and speed over time."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np

from tubepilot.firmware_bridge.errors import ShapeError
from tubepilot.firmware_bridge.types import Vector

from .task_conditions import draw_conditions
from .task_definition import Gate, TaskDefinition

matplotlib.use("Agg")

SAMPLES = 600


def draw(task: TaskDefinition, seed: int, paths: Mapping[str, Vector]) -> bytes:
    """Draw a task with the obstacles of a seed, and flights of it.

    Args:
        task: The task.
        seed: Draws obstacles and wind.
        paths: Name of a flight to its rows of time [s], position (3) [m] and velocity (3) [m/s], shape (T, 7); may be empty.

    Returns:
        A PNG image.

    Raises:
        ShapeError: a flight has another shape.
        InputError: the seed is negative.
    """
    from matplotlib import pyplot

    for name, path in paths.items():
        if path.ndim != 2 or path.shape[1] != 7:
            raise ShapeError(f"flight {name!r} must have rows of time, position and velocity, shape (T, 7); got {path.shape}")
    conditions = draw_conditions(task, seed)
    time_s = np.linspace(0.0, task.duration_s, SAMPLES)
    reference = task.path.at(time_s)
    figure, axes = pyplot.subplot_mosaic(
        [["above", "above"], ["height", "speed"]], figsize=(10, 8), height_ratios=[3, 2], constrained_layout=True
    )
    above, height, speed = axes["above"], axes["height"], axes["speed"]
    _draw_from_above(above, task, conditions.obstacles)
    above.plot(reference[:, 0], reference[:, 1], color="0.4", linestyle="--", label="reference")
    if not np.ptp(reference[:, 0:2], axis=0).any():
        above.plot(*reference[0, 0:2], marker="x", color="0.4", markersize=9)
    above.plot(*conditions.start_m[0:2], marker="o", color="0.4", linestyle="none", label="start")
    height.plot(time_s, reference[:, 2], color="0.4", linestyle="--")
    speed.plot(time_s, np.linalg.norm(reference[:, 3:6], axis=1), color="0.4", linestyle="--")
    for name, path in paths.items():
        (line,) = above.plot(path[:, 1], path[:, 2], label=name)
        height.plot(path[:, 0], path[:, 3], color=line.get_color())
        speed.plot(path[:, 0], np.linalg.norm(path[:, 4:7], axis=1), color=line.get_color())
    wind = conditions.wind.mean_m_s
    blown = f"wind ({wind[0]:.1f}, {wind[1]:.1f}) m/s, gusts up to {task.wind.gust_m_s:g} m/s"
    above.set_title(f"{task.title}, seed {seed}: from above; {blown}")
    above.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    for level in (task.geofence.low_m[2], task.geofence.high_m[2]):
        height.axhline(level, color="tab:red", linewidth=0.8)
    speed.axhline(task.speed_limit_m_s, color="tab:red", linewidth=0.8)
    for axis, text in ((height, "height [m]"), (speed, "speed [m/s]")):
        axis.set_xlabel("time [s]")
        axis.set_ylabel(text)
        axis.set_xlim(0.0, task.duration_s)
        axis.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    pyplot.close(figure)
    return buffer.getvalue()


def _draw_from_above(axis: Any, task: TaskDefinition, obstacles: Vector) -> None:
    """Geofence, obstacles with what planners keep clear of, and gates."""
    from matplotlib.patches import Circle, Rectangle

    low, size = task.geofence.low_m, task.geofence.high_m - task.geofence.low_m
    axis.add_patch(Rectangle(low[0:2], size[0], size[1], fill=False, edgecolor="tab:red", linewidth=0.8, label="geofence"))
    for k, (x, y, radius) in enumerate(obstacles):
        kept = radius + task.vehicle_radius_m + task.obstacle_margin_m
        axis.add_patch(Circle((x, y), radius, color="tab:green", alpha=0.6, label="obstacle" if k == 0 else None))
        axis.add_patch(Circle((x, y), kept, fill=False, edgecolor="tab:green", linestyle=":", label="kept clear" if k == 0 else None))
    for k, gate in enumerate(task.gates):
        ends = gate_ends(gate)
        axis.plot(ends[:, 0], ends[:, 1], color="tab:orange", linewidth=3, label="gate" if k == 0 else None)
        axis.annotate(str(k + 1), ends[0], textcoords="offset points", xytext=(4, 2))
    axis.set_aspect("equal")
    axis.set_xlabel("east [m]")
    axis.set_ylabel("north [m]")
    axis.grid(alpha=0.3)
    axis.set_xlim(low[0] - 0.3, low[0] + size[0] + 0.3)
    axis.set_ylim(low[1] - 0.3, low[1] + size[1] + 0.3)


def gate_ends(gate: Gate) -> Vector:
    """Left and right end of a gate's opening from above, shape (2, 2) [m]."""
    left = np.array([-np.sin(gate.heading_rad), np.cos(gate.heading_rad)])
    return np.array([gate.centre_m[0:2] + side * 0.5 * gate.width_m * left for side in (1.0, -1.0)])
