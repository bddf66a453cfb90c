"""What seeds draw: repeatable, different between seeds, within the ranges, and forests that can be flown through."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Vector
from tubepilot.train.task_conditions import CELL_M, clearance, constraints_of, draw_conditions, has_passage
from tubepilot.train.task_definition import Cylinder, load_task

SEEDS = range(12)


def test_a_seed_repeats_and_another_differs() -> None:
    task = load_task("obstacle_forest")
    first, again, other = (draw_conditions(task, seed) for seed in (3, 3, 4))
    assert first.factors == again.factors != other.factors
    for a, b, c in (
        (first.start_m, again.start_m, other.start_m),
        (first.obstacles, again.obstacles, other.obstacles),
        (first.wind.mean_m_s, again.wind.mean_m_s, other.wind.mean_m_s),
        *[(f.wind.velocity_m_s(2.0, f.start_m) for f in (first, again, other))],
        *[(f.noise.normal(size=5) for f in (first, again, other))],
    ):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


def test_draws_keep_to_their_ranges_and_use_them() -> None:
    task = load_task("hover_in_wind")
    drawn = [draw_conditions(task, seed) for seed in range(200)]
    for name in ("mass", "thrust", "motor_lag", "drag"):
        low, high = getattr(task.randomisation, name)
        values = [getattr(c.factors, name) for c in drawn]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high >= max(values) > high - 0.1 * (high - low)
    offset = np.array([np.linalg.norm(c.start_m - task.path.start_m) for c in drawn])
    assert offset.max() <= task.randomisation.start_offset_m
    # Uniform over a ball: the median distance is the cube root of one half of the radius.
    assert np.median(offset) == pytest.approx(0.5 ** (1 / 3) * task.randomisation.start_offset_m, rel=0.08)
    wind = np.array([c.wind.mean_m_s for c in drawn])
    assert np.allclose(np.linalg.norm(wind, axis=1), task.wind.speed_m_s)
    assert np.linalg.norm(wind.mean(axis=0)) < 0.25 * task.wind.speed_m_s


def shortest_way(start: Vector, end: Vector, low: Vector, high: Vector, trees: Vector, clear_m: float) -> Vector | None:
    """Shortest way on a grid of 0.1 m whose cells keep a clearance, by Dijkstra's algorithm; corners, shape (n, 2)."""
    x, y = (np.arange(a, b + 1e-9, 0.1) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    free = clearance(grid.reshape(-1, 2), trees) >= clear_m
    index = np.arange(grid[..., 0].size).reshape(grid.shape[:2])
    neighbours = ((index[:-1], index[1:]), (index[:, :-1], index[:, 1:]))
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()]) for a, b in neighbours], axis=1)
    pairs = pairs[:, free[pairs].all(axis=0)]
    graph = coo_array((np.ones(pairs.shape[1]), tuple(pairs)), shape=(index.size, index.size))
    first, last = (int(np.argmin(np.linalg.norm(grid.reshape(-1, 2) - p, axis=1))) for p in (start, end))
    distance, previous = dijkstra(graph.tocsr(), directed=False, indices=first, return_predecessors=True)
    if not np.isfinite(distance[last]):
        return None
    way = [last]
    while way[-1] != first:
        way.append(int(previous[way[-1]]))
    return grid.reshape(-1, 2)[way[::-1]]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_forest_is_in_the_way_and_can_be_flown_through(seed: int) -> None:
    task = load_task("obstacle_forest")
    assert task.forest is not None
    trees = draw_conditions(task, seed).obstacles
    assert trees.shape == (11, 3)
    start, end = task.path.at(np.array([0.0, task.duration_s]))[:, 0:2]
    assert clearance(np.array([start, end]), trees).min() >= task.forest.clear_m
    line = np.linspace(start, end, 500)
    hit = [clearance(line, tree[None]).min() < task.vehicle_radius_m for tree in trees]
    assert sum(hit) >= task.forest.blocking == 2
    needed = task.vehicle_radius_m + task.obstacle_margin_m
    low, high = task.geofence.low_m[0:2] + needed, task.geofence.high_m[0:2] - needed
    way = shortest_way(start, end, low, high, trees, needed + 0.05)
    assert way is not None
    walked = np.concatenate([np.linspace(a, b, 5) for a, b in pairwise(way)])
    assert clearance(walked, trees).min() >= needed


def test_a_wall_has_no_passage_and_a_gap_in_it_must_be_wide_enough() -> None:
    task = load_task("obstacle_forest")
    assert task.forest is not None
    below = np.arange(-2.4, 0.0, 0.2)
    for gap, passes in ((0.6, False), (1.0, True)):
        edge = 0.15 + 0.5 * gap
        y = np.concatenate([below - edge, [-edge, edge], -below + edge])
        wall = np.column_stack([np.zeros_like(y), y, np.full_like(y, 0.15)])
        assert has_passage(task, wall, 0.7) == passes
        assert has_passage(task, wall, gap - 2.0 * CELL_M)


def test_a_forest_that_cannot_be_is_refused() -> None:
    task = load_task("obstacle_forest")
    assert task.forest is not None
    with pytest.raises(InputError, match="lower the density"):
        draw_conditions(replace(task, forest=replace(task.forest, clear_m=5.0)), 0)
    with pytest.raises(InputError, match=">= 0"):
        draw_conditions(task, -1)


def test_constraints_are_the_inflated_obstacles_and_the_faces_of_the_box() -> None:
    task = replace(load_task("sprint"), obstacles=(Cylinder(1.0, -0.5, 0.3),))
    constraints = constraints_of(task, draw_conditions(task, 0).obstacles)
    assert constraints.obstacles.shape == (16, 6)
    assert constraints.fence.shape == (6, 4)
    row, rest = constraints.obstacles[0], constraints.obstacles[1:]
    radius = 0.3 + task.vehicle_radius_m + task.obstacle_margin_m
    for angle, height in ((0.3, -50.0), (2.0, 80.0)):
        for scale, inside in ((0.999, True), (1.001, False)):
            point = np.array([1.0 + scale * radius * np.cos(angle), -0.5 + scale * radius * np.sin(angle), height])
            assert (np.sum(row[3:6] * (point - row[0:3]) ** 2) < 1.0) == inside
    assert np.array_equal(rest, np.tile([1e3, 1e3, 1e3, 1.0, 1.0, 1.0], (15, 1)))
    assert np.allclose(np.linalg.norm(constraints.fence[:, 0:3], axis=1), 1.0)
    for axis in range(3):
        for corner, sign in ((task.geofence.low_m, -1.0), (task.geofence.high_m, 1.0)):
            point = 0.5 * (task.geofence.low_m + task.geofence.high_m)
            point[axis] = corner[axis] + sign * 1e-6
            outside = constraints.fence[:, 0:3] @ point > constraints.fence[:, 3]
            assert outside.sum() == 1
    assert float(constraints.speed_m_s) == task.speed_limit_m_s
