"""The metric of the preconditioned refinement step: a bound of the cost's curvature over each action, at hover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.planner import PlannerModel
from tubepilot.train.planner_settings import PlannerSettings, StepRule

from .graph import Graph
from .model_graph import time_major
from .task_graph import ReturnGraph, task_inputs

Array = npt.NDArray[np.float64]
DIFFERENCE = 1e-4
"""Step of the central differences of the gradient, in action units: error about 1e-8 of the curvature."""


def hover_action(model: PlannerModel) -> Array:
    """Action that holds the vehicle against gravity, level and without rates, shape (4,)."""
    centre, half = (np.asarray(a, np.float64) for a in model.action_scale)
    held = np.array([0.0, 0.0, 0.0, GRAVITY_M_S2 / float(model.world.physics.thrust_gain)])
    return (held - centre) / half


def hessian(model: PlannerModel, settings: PlannerSettings) -> Array:
    """Second derivative of -J over the actions at hover, from central differences of the graph's gradient in float64.

    Returns:
        Shape (H * 4, H * 4), ordered step-major as `plan.reshape(-1)`, symmetric.
    """
    size = settings.horizon * 4
    columns = replace(settings, candidates=size)
    graph = Graph()
    task = task_inputs(graph, settings)
    plans = graph.input("plans", (size, settings.horizon, 4), differentiable=True)
    returned = ReturnGraph(model, columns)
    prepared = returned.prepare(task, size)
    flat = graph.tensor("Reshape", plans, shape=[size, size])
    returns = returned.score(prepared, flat, returned.roll(prepared, time_major(graph, plans))).returns
    graph.output("gradient", graph.gradient(returns, plans, -np.ones((1, size))))
    hover = np.zeros((1, 14))
    hover[0, [6, 13]] = 1.0, GRAVITY_M_S2
    action = hover_action(model)
    feeds = {
        "state": hover,
        "reference": np.zeros((settings.horizon + 1, 9)),
        "disturbance": np.zeros((1, 3)),
        "previous_action": action[None],
    }
    centre = np.tile(action, (size, settings.horizon, 1))
    moves = DIFFERENCE * np.eye(size).reshape(centre.shape)
    above, below = (graph.evaluate({**feeds, "plans": centre + sign * moves})["gradient"] for sign in (1.0, -1.0))
    result = (above - below).astype(np.float64).reshape(size, size) / (2.0 * DIFFERENCE)
    return 0.5 * (result + result.T)


def inverse_curvature(model: PlannerModel, settings: PlannerSettings) -> Array:
    """One over the row sums of the Hessian's moduli, each row sum at least `curvature_floor` of the greatest.

    The diagonal matrix of these row sums is no less than the Hessian (Gershgorin), so a full step cannot overshoot in a
    quadratic; and being diagonal it still ascends after the clip to [-1, 1], which a full inverse Hessian does not.

    Returns:
        Shape (H, 4); ones for step rules that use no metric.
    """
    if settings.step_rule is not StepRule.PRECONDITIONED:
        return np.ones((settings.horizon, 4))
    rows = np.abs(hessian(model, settings)).sum(axis=1)
    floor = max(settings.curvature_floor * float(rows.max()), float(np.finfo(np.float32).tiny))
    return 1.0 / np.maximum(rows, floor).reshape(settings.horizon, 4)
