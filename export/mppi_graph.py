"""MPPI with TD-MPC2's settings as one ONNX graph on the same model and return: the peer of `tubepilot bench planner`.

`train.sampling_planners.plan_by_sampling` with its random numbers as inputs, built from the same nodes as our planner, so
that the two differ in the search alone. A return that is not finite is not replaced here; that would cost MPPI time.
"""

from __future__ import annotations

import numpy as np

from tubepilot.train.planner import PlannerModel
from tubepilot.train.sampling_planners import SamplingSettings

from .emit import Port
from .graph import Graph, Tensor
from .model_graph import time_major
from .rollout_graph import Pilot
from .task_graph import ReturnGraph, TaskInputs, task_inputs

PORTS = (
    Port("mean", "1", "FLU", "mean of the tick before, H rows of 4"),
    Port("policy_noise", "1", "none", "standard normal, for the policy's rollouts"),
    Port("sample_noise", "1", "none", "standard normal, for the samples of every iteration"),
    Port("draw", "1", "none", "standard Gumbel noise, by which an elite is drawn"),
    Port("mean_after", "1", "FLU", "mean after the last iteration"),
    Port("std_after", "1", "FLU", "standard deviation after the last iteration"),
)


def _policy_plans(
    model: PlannerModel, settings: SamplingSettings, returned: ReturnGraph, task: TaskInputs, noise: Tensor
) -> Tensor:
    """Plans of the policy with noise, shape (plans, H * 4)."""
    graph, problem = noise.graph, settings.problem
    count, horizon, _ = noise.shape
    pilot = Pilot(model, task, problem)
    flat = graph.tensor("Reshape", noise, shape=[count, horizon * 4]) * np.float64(problem.noise)
    parts = graph.apply("Split", flat, axis=1, sizes=[4] * horizon)
    dynamics = returned.dynamics
    row, held, turning = dynamics.start(task.state, count), dynamics.held(task.disturbance), dynamics.turning(task.disturbance)
    turning = dynamics.turning_with_action(turning)
    carried = pilot.start(count)
    actions = []
    for h in range(horizon):
        action, carried = pilot.fly(row, carried, parts[h], h)  # type: ignore[arg-type]
        actions.append(action)
        row = dynamics.step_with(row, action, held, turning).row
    return graph.tensor("Concat", *actions, axis=1)


def mppi_graph(model: PlannerModel, settings: SamplingSettings) -> Graph:
    """One tick of MPPI; outputs `plan` (H, 4), `mean_after` and `std_after` (1, H * 4)."""
    problem = settings.problem
    horizon, size = problem.horizon, problem.horizon * 4
    drawn_count = settings.samples - settings.policy_plans
    graph = Graph()
    task = task_inputs(graph, problem)
    mean = graph.input("mean", (1, size))
    policy_noise = graph.input("policy_noise", (settings.policy_plans, horizon, 4))
    noise = graph.input("sample_noise", (settings.iterations, drawn_count, size))
    draw = graph.input("draw", (1, settings.elites))
    returned = ReturnGraph(model, problem)
    prepared = returned.prepare(task, settings.samples)
    of_policy = _policy_plans(model, settings, returned, task, policy_noise)
    later = np.eye(horizon, k=1)
    later[-1, -1] = 1.0
    shift = (1.0 - problem.shift_knots) * np.eye(horizon) + problem.shift_knots * later
    mean = mean @ np.kron(shift.T, np.eye(4))
    std: Tensor | np.ndarray = np.full((1, size), settings.std_max)
    greatest = elites = None
    for part in graph.apply("Split", noise, axis=0, sizes=[1] * settings.iterations):
        sampled = graph.tensor("Reshape", part, shape=[drawn_count, size]) * std + mean
        sampled = graph.tensor("Clip", sampled, low=-1.0, high=1.0)
        flat = graph.tensor("Concat", of_policy, sampled, axis=0)
        plans = graph.tensor("Reshape", flat, shape=[settings.samples, horizon, 4])
        returns = returned.score(prepared, flat, returned.roll(prepared, time_major(graph, plans))).returns
        greatest, index = graph.apply("TopK", returns, axis=-1, count=settings.elites)
        weights = graph.tensor("Softmax", greatest * np.float64(settings.temperature), axis=-1)
        elites = graph.tensor("Gather", flat, graph.tensor("Reshape", index, shape=[settings.elites]), axis=0)
        mean = weights @ elites
        away = elites - mean
        std = graph.tensor("Sqrt", weights @ (away * away))
        std = graph.tensor("Clip", std, low=settings.std_min, high=settings.std_max)
    chosen = graph.tensor("ArgMax", greatest * np.float64(settings.temperature) + draw, axis=1, keepdims=0)
    graph.output("plan", graph.tensor("Reshape", graph.tensor("Gather", elites, chosen, axis=0), shape=[horizon, 4]))
    graph.output("mean_after", mean)
    graph.output("std_after", std)
    return graph
