"""What a plan must keep clear of, in the graph builder: `train.constraints.violations` for all steps at once.

Obstacles, faces and the speed limit are inputs, so that a bundle flies any task; the shell is taken off before, on board.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.planner_settings import PlannerSettings

from .graph import Graph, Tensor


@dataclass(frozen=True, slots=True)
class ConstraintSize:
    """Rows of the tables that an exported planner takes: obstacles, faces of the fence. Both 0: no constraints."""

    obstacles: int = 0
    faces: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a number is outside its range.
        """
        for name in ("obstacles", "faces"):
            if not 0 <= getattr(self, name) <= 64:
                raise InputError(f"number of {name} is {getattr(self, name)}, must be within [0, 64]")

    def __bool__(self) -> bool:
        """Whether there is anything to keep clear of."""
        return self.obstacles > 0 or self.faces > 0


@dataclass(frozen=True, slots=True)
class ConstraintInputs:
    """Inputs of a graph: obstacles (M, 6), fence (F, 4), greatest speed (1,) [m/s]; see `train.constraints`."""

    obstacles: Tensor | None
    fence: Tensor | None
    speed: Tensor


def constraint_inputs(graph: Graph, size: ConstraintSize) -> ConstraintInputs | None:
    """Declare the inputs; None if the planner takes no constraints."""
    if not size:
        return None
    obstacles = graph.input("obstacles", (size.obstacles, 6)) if size.obstacles else None
    fence = graph.input("fence", (size.faces, 4)) if size.faces else None
    return ConstraintInputs(obstacles, fence, graph.input("speed_limit", (1,)))


def violation_cost(
    constraints: ConstraintInputs, settings: PlannerSettings, position: Tensor, velocity: Tensor
) -> Tensor:
    """Minus the weighted violations times the length of a step, shape (rows, 1).

    Args:
        constraints: Inputs of the graph.
        settings: Weights and length of a step.
        position: In the frame of the constraints [m], shape (rows, 3).
        velocity: In the same frame [m/s], shape (rows, 3).
    """
    graph = position.graph
    dt_s = settings.dt_plan_s
    limit = graph.tensor("Reshape", constraints.speed, shape=[1, 1])
    share = ((velocity * velocity) @ np.ones((3, 1))) / (limit * limit)
    cost = _squared_hinge(share + np.array([[-1.0]])) * np.float64(-dt_s * settings.speed)
    if constraints.obstacles is not None:
        count = constraints.obstacles.shape[0]
        centre, inverse = graph.apply("Split", constraints.obstacles, axis=1, sizes=[3, 3])
        rows = [graph.tensor("Reshape", part, shape=[1, 3 * count]) for part in (centre, inverse)]
        away = position @ np.tile(np.eye(3), (1, count)) + rows[0] * np.float64(-1.0)
        inside = (away * away * rows[1]) @ -np.kron(np.eye(count), np.ones((3, 1))) + np.ones((1, count))
        cost = _squared_hinge(inside) @ np.full((count, 1), -dt_s * settings.obstacle) + cost
    if constraints.fence is not None:
        count = constraints.fence.shape[0]
        normal, offset = graph.apply("Split", constraints.fence, axis=1, sizes=[3, 1])
        limit = graph.tensor("Reshape", offset, shape=[1, count]) * np.float64(-1.0)
        beyond = position @ graph.tensor("Transpose", normal, perm=[1, 0]) + limit
        cost = _squared_hinge(beyond) @ np.full((count, 1), -dt_s * settings.fence) + cost
    return cost


def _squared_hinge(amount: Tensor) -> Tensor:
    """max(0, amount)^2."""
    hinge = amount.graph.tensor("Relu", amount)
    return hinge * hinge
