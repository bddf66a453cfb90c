"""The first graph of a tick: policy rollouts, blended with the shifted plans of the tick before, and their trajectories.

The candidates are blended step by step while the policy flies, and follow their own trajectory in the same batch: rows
0..N-1 are the policy's own rollouts, on which alone it acts, rows N..2N-1 the candidates. So both cost the nodes of one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tubepilot.train.planner import PlannerModel
from tubepilot.train.planner_settings import PlannerSettings

from .graph import Graph, Tensor
from .model_graph import COLUMNS, SPIN, SUM_SQUARES, ModelGraph, selection
from .observing_network import ObservingNetwork
from .task_graph import Prepared, ReturnGraph, TaskInputs, Trajectory, task_inputs


def rollout_graph(model: PlannerModel, settings: PlannerSettings) -> Graph:
    """Candidates of a tick with their trajectories, and what all graphs of the tick share; see
    `train.planner.rollout`."""
    candidates, horizon = settings.candidates, settings.horizon
    graph = Graph()
    task = task_inputs(graph, settings)
    previous = graph.input("previous_plans", (candidates, horizon, 4))
    noise = graph.input("noise", (candidates, horizon, 4))
    reuse = graph.input("reuse", (1,))
    returned = ReturnGraph(model, settings)
    prepared = returned.prepare(task, candidates)
    mix, kept = _blend(settings, previous, reuse)
    trajectory, actions = _fly(Pilot(model, task, settings), returned.dynamics, prepared, noise, mix, kept)
    graph.output("plans", actions)
    for carried in (prepared, trajectory):
        for field in fields(carried):
            graph.output(field.name, getattr(carried, field.name))
    return graph


def _blend(settings: PlannerSettings, previous: Tensor, reuse: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Actions of all rows from the policy's of rows 0..N-1: a matrix (2N, N), and what is kept of the plans, per step."""
    graph, candidates, horizon = previous.graph, settings.candidates, settings.horizon
    later = np.eye(horizon, k=1)
    later[-1, -1] = 1.0
    shift = (1.0 - settings.shift_knots) * np.eye(horizon) + settings.shift_knots * later
    amount = graph.tensor("Reshape", reuse, shape=[1, 1])
    whole = np.eye(candidates, 1)  # candidate 0 keeps all of the shifted plan, whatever the share
    share = whole @ graph.tensor("Ceil", amount) + (1.0 - whole) @ amount
    kept = share * (graph.tensor("Reshape", previous, shape=[candidates, horizon * 4]) @ np.kron(shift.T, np.eye(4)))
    kept = graph.tensor("Concat", np.zeros((candidates, horizon * 4)), kept, axis=0)
    fresh = graph.tensor("Concat", np.ones((candidates, 1)), 1.0 - share, axis=0)
    mix = fresh * np.tile(np.eye(candidates), (2, 1))
    return mix, list(graph.apply("Split", kept, axis=1, sizes=[4] * horizon))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Carried:
    """Position error before a step, shape (rows, 3) [m], and what leads to the next one; None before the first."""

    error: Tensor
    ahead: Tensor | None


class Pilot:
    """The policy along rollouts: it reads rows of the model and carries the position error along.

    World velocity and minus the way w of the reference in a step are weights of the same squares, 24 columns, with
    2 w = (w + 1/2)^2 - (w - 1/2)^2, so that the trapezoid of both is two nodes: with `ahead` = error + half a step of velocity - way
    of the reference, error' = half a step of velocity' + ahead, ahead' = a step of velocity' + ahead - way of the reference'.
    """

    def __init__(self, model: PlannerModel, task: TaskInputs, settings: PlannerSettings) -> None:
        graph, horizon, dt_s = task.state.graph, settings.horizon, settings.dt_plan_s
        self.graph = graph
        self.policy = policy = ObservingNetwork(model.policy, model.observation_scale)
        self.given = self._rows(policy.given(task.reference, task.disturbance))
        nothing, both = np.zeros((3, SPIN.shape[1])), np.hstack([np.eye(3), np.eye(3)])
        way = np.hstack([nothing, both])
        sign = np.concatenate([nothing[0], np.full(3, 0.5), np.full(3, -0.5)])[None]
        steps = np.eye(horizon + 1) - np.eye(horizon + 1, k=1)
        steps[-1] = 0.0
        self.minus_way = self._rows(steps @ (task.reference @ np.vstack([way, np.zeros((6, way.shape[1]))])) + sign)
        self.spin = np.hstack([SPIN, np.zeros((COLUMNS, 6))])
        self.half = np.vstack([0.5 * dt_s * SUM_SQUARES, np.zeros((6, 3))])
        self.full = np.vstack([dt_s * SUM_SQUARES, 0.5 * np.eye(3), -0.5 * np.eye(3)])
        self.first_layer = np.vstack([policy.from_row, policy.from_squares, np.zeros((6, policy.bias.size)), policy.from_position])
        place = task.state @ selection(14, [0, 1, 2])
        self.first_error = place + np.eye(1, horizon + 1) @ (task.reference @ -selection(9, [0, 1, 2]))

    @staticmethod
    def _rows(rows: Tensor) -> list[Tensor]:
        return list(rows.graph.apply("Split", rows, axis=0, sizes=[1] * rows.shape[0]))  # type: ignore[arg-type]

    def start(self, rows: int) -> Carried:
        """What `fly` carries, before the first step."""
        return Carried(np.ones((rows, 1)) @ self.first_error, None)

    def fly(self, row: Tensor, carried: Carried, noise: Tensor, h: int) -> tuple[Tensor, Carried]:
        """The policy's actions with noise, clipped to [-1, 1], shape (rows, 4).

        Args:
            row: Of the model before step h, shape (rows, 16).
            carried: From the step before, or from `start`.
            noise: Added to the actions, shape (rows, 4).
            h: Number of the step.
        """
        spun = row @ self.spin + self.minus_way[h]
        squares = spun * spun
        if carried.ahead is None:
            error = carried.error
            ahead = squares @ (self.full - self.half) + error
        else:
            error = squares @ self.half + carried.ahead
            ahead = squares @ self.full + carried.ahead
        action = self._action(row, squares, error, h) + noise
        return self.graph.tensor("Clip", action, low=-1.0, high=1.0), Carried(error, ahead)

    def _action(self, row: Tensor, squares: Tensor, error: Tensor, h: int) -> Tensor:
        """The policy's actions before noise, in [-1, 1], shape (rows, 4)."""
        graph, policy = self.graph, self.policy
        clipped = graph.tensor("Clip", error, low=-policy.clip_m, high=policy.clip_m)
        seen = graph.tensor("Concat", row, squares, clipped, axis=1)
        return graph.tensor("Tanh", policy.after_first(seen @ self.first_layer + self.given[h]))


def _fly(
    pilot: Pilot, dynamics: ModelGraph, prepared: Prepared, noise: Tensor, mix: Tensor, kept: list[Tensor]
) -> tuple[Trajectory, Tensor]:
    """Trajectories of the candidates, and their actions (H * N, 4)."""
    graph = pilot.graph
    candidates, horizon, _ = noise.shape
    flat = graph.tensor("Reshape", noise, shape=[candidates, horizon * 4])
    perturbations = graph.apply("Split", flat, axis=1, sizes=[4] * horizon)
    row = graph.tensor("Concat", prepared.start, prepared.start, axis=0)
    turning = dynamics.turning_with_action(prepared.turning)
    carried = pilot.start(candidates)
    steps, actions, its_own = [], [], prepared.start
    for h in range(horizon):
        fresh, carried = pilot.fly(its_own, carried, perturbations[h], h)  # type: ignore[arg-type]
        actions.append(mix @ fresh + kept[h])
        steps.append(dynamics.step_with(row, actions[-1], prepared.held, turning))
        row = steps[-1].row
        its_own = graph.tensor("Gather", row, axis=0, rows=range(candidates))

    ours = [2 * candidates * h + candidates + n for h in range(horizon) for n in range(candidates)]

    def of_candidates(parts: list[Tensor]) -> Tensor:
        """The candidates' half of all steps, shape (H * N, k)."""
        return graph.tensor("Gather", graph.tensor("Concat", *parts, axis=0), axis=0, rows=ours)

    names = ("hidden", "square", "product")
    return Trajectory(*(of_candidates([getattr(s, name) for s in steps]) for name in names)), of_candidates(actions)
