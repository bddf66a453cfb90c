"""The three graphs of the planner: `rollout`, `refine` and `rank`, as in `train.planner`, shapes fixed, batched."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tubepilot.train.planner import PlannerModel
from tubepilot.train.planner_settings import PlannerSettings, StepRule

from .emit import Port
from .graph import Graph, Tensor
from .model_graph import ModelGraph, candidate_major
from .task_graph import ObservingNetwork, ReturnGraph

WORLD = "ENU turned to reference yaw 0, position relative to reference row 0"
PORTS = (
    Port("state", "m, m/s, 1, rad/s, m/s^2", WORLD, "position 3, velocity 3, quaternion wxyz 4, rates FLU 3, thrust 1"),
    Port("reference", "m, m/s, m/s^2", WORLD, "position, velocity, acceleration at h * dt_plan from now"),
    Port("disturbance", "m/s^2", "ENU turned to reference yaw 0", "estimated constant acceleration"),
    Port("previous_action", "1", "FLU", "action applied in the last tick, in [-1, 1]"),
    Port("previous_plans", "1", "FLU", "candidates of the last tick, the best first"),
    Port("noise", "1", "FLU", "added to the policy's actions"),
    Port("reuse", "1", "none", "share of the shifted previous plan; 0 in the first tick"),
    Port("plans", "1", "FLU", "candidates: rates 3 and thrust 1 per step, in [-1, 1]"),
    Port("refined", "1", "FLU", "candidates after one refinement step"),
    Port("returns", "1", "none", "return J of the plans passed in"),
    Port("best", "index", "none", "candidate with the greatest return"),
    Port("plan", "1", "FLU", "that candidate"),
    Port("disagreement", "1", "none", "its ensemble disagreement, mean over the horizon"),
)


def _task_inputs(graph: Graph, settings: PlannerSettings) -> tuple[Tensor, Tensor, Tensor]:
    return (
        graph.input("state", (1, 14)),
        graph.input("reference", (settings.horizon + 1, 9)),
        graph.input("disturbance", (1, 3)),
    )


def rollout_graph(model: PlannerModel, settings: PlannerSettings) -> Graph:
    """Policy rollouts blended with the shifted previous plans; see `train.planner.rollout`."""
    candidates, horizon = settings.candidates, settings.horizon
    graph = Graph()
    state, reference, disturbance = _task_inputs(graph, settings)
    previous = graph.input("previous_plans", (candidates, horizon, 4))
    noise = graph.input("noise", (candidates, horizon, 4))
    reuse = graph.input("reuse", (1,))

    dynamics = ModelGraph(model.world, model.action_scale, settings.dt_plan_s)
    policy = ObservingNetwork(model.policy, model.observation_scale)
    positions, given = (
        graph.apply("Split", rows, axis=0, sizes=[1] * (horizon + 1)) for rows in policy.given(reference, disturbance)
    )
    turned = graph.tensor("Transpose", noise, perm=[1, 0, 2])
    turned = graph.tensor("Reshape", turned, shape=[horizon * candidates, 4])
    perturbations = graph.apply("Split", turned, axis=0, sizes=[candidates] * horizon)
    drift = dynamics.drift(disturbance)
    now = dynamics.start(state, candidates)
    actions = []
    for step in range(horizon):
        action = graph.tensor("Tanh", policy(now, positions[step], given[step])) + perturbations[step]
        action = graph.tensor("Clip", action, low=-1.0, high=1.0)
        actions.append(action)
        if step + 1 < horizon:
            now, _ = dynamics.step(now, *dynamics.driven(action, disturbance), drift)
    fresh = candidate_major(graph, graph.tensor("Concat", *actions, axis=0), candidates)

    later = np.eye(horizon, k=1)
    later[-1, -1] = 1.0
    shift = (1.0 - settings.shift_knots) * np.eye(horizon) + settings.shift_knots * later
    flat = graph.tensor("Reshape", previous, shape=[candidates, horizon * 4])
    shifted = flat @ np.kron(shift.T, np.eye(4))
    whole = np.eye(candidates, 1)  # candidate 0 keeps all of the shifted plan, whatever the share
    amount = graph.tensor("Reshape", reuse, shape=[1, 1])
    share = whole @ graph.tensor("Ceil", amount) + (1.0 - whole) @ amount
    blend = share * shifted + (1.0 - share) * fresh
    graph.output("plans", graph.tensor("Reshape", blend, shape=[candidates, horizon, 4]))
    return graph


def refine_graph(
    model: PlannerModel, settings: PlannerSettings, metric: npt.NDArray[np.float64]
) -> Graph:
    """One gradient-ascent step on the return; see `train.planner.refine`.

    Args:
        model: World model, task and networks.
        settings: Step rule and shapes.
        metric: From `curvature.inverse_curvature`, shape (H, 4).
    """
    candidates, horizon = settings.candidates, settings.horizon
    graph = Graph()
    inputs = _task_inputs(graph, settings)
    previous_action = graph.input("previous_action", (1, 4))
    plans = graph.input("plans", (candidates, horizon, 4), differentiable=True)
    scores = ReturnGraph(model, settings)(*inputs, previous_action, plans)
    gradient = graph.gradient(scores.returns, plans, np.ones((candidates, 1)))
    gradient = graph.tensor("Reshape", gradient, shape=[candidates, horizon * 4])
    if settings.step_rule is StepRule.GRADIENT:
        change = gradient * np.float64(settings.step_size)
    else:
        gain, radius = settings.step_gain_radius
        direction = gradient if np.all(metric == 1.0) else gradient * metric.reshape(1, -1)
        mean = (direction * direction) @ np.full((horizon * 4, 1), 1.0 / (horizon * 4)) + np.array([[radius**2]])
        change = direction * (gain / graph.tensor("Sqrt", mean))
    moved = graph.tensor("Reshape", plans, shape=[candidates, horizon * 4]) + change
    moved = graph.tensor("Clip", moved, low=-1.0, high=1.0)
    graph.output("refined", graph.tensor("Reshape", moved, shape=[candidates, horizon, 4]))
    graph.output("returns", graph.tensor("Reshape", scores.returns, shape=[candidates]))
    return graph


def rank_graph(model: PlannerModel, settings: PlannerSettings) -> Graph:
    """Returns of all candidates, and the best one; see `train.planner.rank`."""
    candidates, horizon = settings.candidates, settings.horizon
    graph = Graph()
    inputs = _task_inputs(graph, settings)
    previous_action = graph.input("previous_action", (1, 4))
    plans = graph.input("plans", (candidates, horizon, 4))
    scores = ReturnGraph(model, settings)(*inputs, previous_action, plans)
    returns = graph.tensor("Reshape", scores.returns, shape=[candidates])
    best = graph.tensor("ArgMax", returns, axis=0, keepdims=1)
    plan = graph.tensor("Gather", plans, best, axis=0)
    spread = graph.tensor("Gather", scores.disagreement, best, axis=0)
    graph.output("returns", returns)
    graph.output("best", best)
    graph.output("plan", graph.tensor("Reshape", plan, shape=[horizon, 4]))
    graph.output("disagreement", graph.tensor("Reshape", spread, shape=[1]))
    return graph
