"""What a seed draws for one flight of a task: the vehicle's deviations, the wind, the start and the obstacles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.simulator import Factors
from tubepilot.firmware_bridge.simulator_wind import GustyWind, wind_vector
from tubepilot.firmware_bridge.types import Vector

from .constraints import Constraints
from .task_definition import OBSTACLES_MAX, Forest, TaskDefinition

CELL_M = 0.05
"""Side of the cells in which a passage is looked for [m]; a passage may so be narrower than asked by their diagonal, which is
added to the width that is looked for."""

DRAWS_MAX = 2000
"""Forests drawn before a definition counts as one that cannot be fulfilled."""


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """One draw.

    Attributes:
        factors: The vehicle's deviations at the start; payload and battery multiply them.
        wind: Mean and gust.
        start_m: Start, world ENU, shape (3,) [m].
        obstacles: Vertical cylinders, rows of x, y and true radius, shape (n, 3) [m].
        noise: Source of the estimator's noise.
    """

    factors: Factors
    wind: GustyWind
    start_m: Vector
    obstacles: Vector
    noise: np.random.Generator


def draw_conditions(task: TaskDefinition, seed: int) -> Conditions:
    """Draw the conditions of one flight; each part has its own stream, so that a task's wind does not depend on its forest.

    Args:
        task: The task.
        seed: Any whole number >= 0; equal seeds give equal conditions.

    Raises:
        InputError: the seed is negative, or no forest fulfils the definition.
    """
    if seed < 0:
        raise InputError(f"the seed of a flight must be a whole number >= 0, got {seed!r}")
    streams = np.random.SeedSequence(seed).spawn(4)
    generator, trees, gust, noise = (np.random.default_rng(stream) for stream in streams)
    ranges = task.randomisation
    factors = Factors(*(float(generator.uniform(*r)) for r in (ranges.mass, ranges.thrust, ranges.motor_lag, ranges.drag)))
    mean = wind_vector(task.wind.speed_m_s, float(generator.uniform(*ranges.wind_from_deg)))
    direction = generator.normal(size=3)
    # The cube root makes the point uniform over the ball.
    offset = direction / np.linalg.norm(direction) * ranges.start_offset_m * np.cbrt(generator.uniform())
    fixed = np.array([[c.x_m, c.y_m, c.radius_m] for c in task.obstacles]).reshape(-1, 3)
    obstacles = fixed if task.forest is None else np.concatenate([fixed, _draw_forest(task, task.forest, fixed, trees)])
    wind = GustyWind(mean, task.wind.gust_m_s, int(gust.integers(2**31)))
    return Conditions(factors, wind, task.path.start_m + offset, obstacles, noise)


def _draw_forest(task: TaskDefinition, forest: Forest, fixed: Vector, generator: np.random.Generator) -> Vector:
    """Trees that leave start and end clear, stand in the way, and leave a passage; shape (n, 3)."""
    reference = task.path.at(np.linspace(0.0, task.duration_s, 400))[:, 0:2]
    ends = reference[[0, -1]]
    for _ in range(DRAWS_MAX):
        trees = np.column_stack(
            [generator.uniform(forest.low_m, forest.high_m, (forest.count, 2)), generator.uniform(*forest.radius_m, forest.count)]
        )
        if np.any(clearance(ends, trees) < forest.clear_m):
            continue
        nearest = np.linalg.norm(reference[:, None] - trees[None, :, 0:2], axis=2).min(axis=0)
        if np.count_nonzero(nearest < trees[:, 2] + task.vehicle_radius_m) < forest.blocking:
            continue
        if has_passage(task, np.concatenate([fixed, trees]), forest.gap_m):
            return trees
    raise InputError(
        f"task {task.name}: none of {DRAWS_MAX} drawn forests keeps {forest.clear_m:g} m around start and end clear, has "
        f"{forest.blocking} trees in the way and a passage of {forest.gap_m:g} m; lower the density or these numbers"
    )


def clearance(points_m: Vector, obstacles: Vector) -> Vector:
    """Horizontal distance from points (n, 2+) to the nearest surface of cylinders (m, 3), shape (n,) [m]; infinite without."""
    if not len(obstacles):
        return np.full(len(points_m), np.inf)
    distance = np.linalg.norm(points_m[:, None, 0:2] - obstacles[None, :, 0:2], axis=2) - obstacles[None, :, 2]
    return np.asarray(distance.min(axis=1))


def has_passage(task: TaskDefinition, obstacles: Vector, width_m: float) -> bool:
    """Whether a passage of a width leads from the path's start to its end, between obstacles and within the geofence."""
    half = 0.5 * width_m + CELL_M / np.sqrt(2.0)
    low, high = task.geofence.low_m[0:2] + half, task.geofence.high_m[0:2] - half
    axes = [np.arange(a, b, CELL_M) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    free = (clearance(grid.reshape(-1, 2), obstacles) > half).reshape(grid.shape[:2])
    regions, _ = label(free)
    ends = task.path.at(np.array([0.0, task.duration_s]))[:, 0:2]
    ends[0] = task.path.start_m[0:2]
    cells = np.clip(np.round((ends - low) / CELL_M).astype(int), 0, np.array(free.shape) - 1)
    first, last = (regions[tuple(cell)] for cell in cells)
    return bool(first == last != 0)


def constraints_of(task: TaskDefinition, obstacles: Vector) -> Constraints:
    """What a planner must keep the vehicle's centre clear of.

    Obstacles are inflated by the vehicle's radius plus the task's margin, because the planner's state is an estimate and its
    model an approximation; a crash is judged by true radii alone.

    Args:
        task: The task.
        obstacles: Cylinders, shape (n, 3), n <= 16 [m].
    """
    rows = np.tile([1e3, 1e3, 1e3, 1.0, 1.0, 1.0], (OBSTACLES_MAX, 1))
    for row, (x, y, radius) in zip(rows, obstacles, strict=False):
        inverse = (radius + task.vehicle_radius_m + task.obstacle_margin_m) ** -2
        row[:] = x, y, 0.0, inverse, inverse, 0.0
    normals = np.concatenate([np.eye(3), -np.eye(3)])
    offsets = np.concatenate([task.geofence.high_m, -task.geofence.low_m])
    return Constraints(rows, np.column_stack([normals, offsets]), np.array(task.speed_limit_m_s))  # type: ignore[arg-type]
