"""Gradient of the return along known trajectories, by hand: by the row after each step, by the plan itself, by the hidden layer.

Position, velocity and row share no residual of the stage cost, so that each residual's square has the gradient
`x @ (F F^T) + share of the tick`, one product per kind, and the residuals themselves are never formed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .constraint_graph import ConstraintInputs, violation_cost
from .graph import Tensor
from .model_graph import SPIN, SUM_SQUARES
from .task_graph import Prepared, ReturnGraph, Seen, Trajectory, by_candidate


@dataclass(frozen=True, slots=True)
class Slopes:
    """Gradient of J, all else held.

    Attributes:
        rows: By the row after each step, value network left out, shape (H * N, 16).
        last: By the row after the last step through the value network, shape (N, 16).
        plans: By the actions through effort and smoothness, shape (H * N, 4).
        hidden: By the hidden layer through the disagreement, shape (H * N, members * width); None if it does not count.
    """

    rows: Tensor
    last: Tensor
    plans: Tensor
    hidden: Tensor | None


def slopes(
    returned: ReturnGraph, prepared: Prepared, actions: Tensor, trajectory: Trajectory, constraints: ConstraintInputs | None
) -> Slopes:
    """Nodes of the gradient.

    Args:
        returned: Folded weights.
        prepared: Of the tick.
        actions: Plans, shape (H * N, 4).
        trajectory: Of these plans; `product` differentiable, as an input of the graph.
        constraints: What to keep clear of.
    """
    seen = returned.see(prepared, trajectory)
    twice = -2.0 * returned.settings.dt_plan_s
    pull_position, pull_velocity = prepared.pull_position, prepared.pull_velocity
    if constraints is not None:
        cost = violation_cost(constraints, returned.settings, seen.position, seen.velocity)
        of_position, of_velocity = cost.graph.gradients(cost, [seen.position, seen.velocity], np.ones(cost.shape))
        pull_position, pull_velocity = pull_position + of_position, pull_velocity + of_velocity
    position = seen.position @ (twice * returned.from_position @ returned.from_position.T) + pull_position
    velocity = seen.velocity @ (twice * returned.from_velocity @ returned.from_velocity.T) + pull_velocity
    row = seen.rows @ (twice * returned.from_row @ returned.from_row.T) + prepared.pull_row

    last, last_velocity, last_position = returned.value.slopes(returned.terminal(prepared, seen), -1.0)
    candidates, horizon = last.shape[0], returned.settings.horizon
    trapezoid = returned.trapezoid
    velocity = by_candidate(trapezoid.T, candidates) @ position + velocity
    velocity = by_candidate(trapezoid[-1:].T, candidates) @ last_position + velocity
    velocity = by_candidate(np.eye(horizon)[:, -1:], candidates) @ last_velocity + velocity
    hidden = _of_disagreement(returned, trajectory) if returned.penalised else None
    return Slopes(_through_rotation(seen, velocity, row), last, _of_actions(returned, prepared, actions), hidden)


def _through_rotation(seen: Seen, velocity: Tensor, row: Tensor) -> Tensor:
    """Gradient by the rows from those by the velocity in the world and by the rows directly."""
    return ((velocity @ (2.0 * SUM_SQUARES.T)) * seen.spun) @ SPIN.T + row


def _of_actions(returned: ReturnGraph, prepared: Prepared, actions: Tensor) -> Tensor:
    """Through effort and smoothness, whose Gram matrix over a whole plan is `I x effort + change x smoothness` (Kronecker)."""
    candidates = actions.shape[0] // returned.settings.horizon
    twice = -2.0 * returned.settings.dt_plan_s
    neighbours = by_candidate(returned.change @ returned.change.T, candidates)
    bent = neighbours @ (actions @ np.diag(twice * returned.smooth**2)) + prepared.lean
    return actions @ np.diag(twice * returned.effort**2) + bent


def _of_disagreement(returned: ReturnGraph, trajectory: Trajectory) -> Tensor:
    members = returned.dynamics.disagreement(trajectory.hidden)
    weight = -2.0 * returned.settings.dt_plan_s * returned.disagreement / returned.dynamics.outputs
    return members @ (weight * returned.dynamics.spread.T)
