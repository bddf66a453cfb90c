"""The graphs of the planner: `rollout`, `refine` and `rank`, as in `train.planner`, shapes fixed, batched.

`rollout` blends policy rollouts with the shifted plans of the tick before, `refine` takes plans one gradient step further,
`rank` scores plans and picks the best. The first two hand on the trajectories of the plans that they give, and `rollout`
what all of a tick shares, so that no state is predicted twice and a plan is ranked for a few nodes after any step.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import numpy.typing as npt

from tubepilot.train.planner import PlannerModel
from tubepilot.train.planner_settings import PlannerSettings, StepRule

from .adjoint_graph import plan_gradient
from .constraint_graph import ConstraintSize, constraint_inputs
from .emit import Port
from .graph import Graph, Tensor
from .model_graph import candidate_major
from .rollout_graph import rollout_graph as rollout_graph
from .task_graph import Prepared, ReturnGraph, Scores, Trajectory, by_candidate, task_inputs

WORLD = "ENU turned to reference yaw 0, position relative to reference row 0"
PRODUCT = "velocity and world axes seen from the body, tiled, then rates and thrust; row h * N + n"
PORTS = (
    Port("state", "m, m/s, 1, rad/s, m/s^2", WORLD, "position 3, velocity 3, quaternion wxyz 4, rates FLU 3, thrust 1"),
    Port("reference", "m, m/s, m/s^2", WORLD, "position, velocity, acceleration at h * dt_plan from now"),
    Port("disturbance", "m/s^2", "ENU turned to reference yaw 0", "estimated constant acceleration"),
    Port("previous_action", "1", "FLU", "action applied in the last tick, in [-1, 1]"),
    Port("obstacles", "m, 1/m^2", WORLD, "centre 3 and inverse squared semi-axes 3 of ellipsoids, shell included"),
    Port("fence", "1, m", WORLD, "outward normal 3 and offset of the faces, shell taken off"),
    Port("speed_limit", "m/s", "none", "greatest speed"),
    Port("previous_plans", "1", "FLU", "candidates of the last tick, the best first"),
    Port("noise", "1", "FLU", "added to the policy's actions"),
    Port("reuse", "1", "none", "share of the shifted previous plan; 0 in the first tick"),
    Port("plans", "1", "FLU", "candidates: rates 3 and thrust 1, in [-1, 1]; row h * N + n is step h of candidate n"),
    Port("refined", "1", "FLU", "candidates after one refinement step, rows likewise"),
    Port("hidden", "1", "none", "hidden layer of the residual in each step; row h * N + n"),
    Port("square", "1", "body FLU", "squares of the entries of each step's turn"),
    Port("product", "m/s, 1, rad/s, m/s^2", "body FLU", f"rotation times what it turns: {PRODUCT}"),
    Port("start", "m/s, 1, rad/s, m/s^2", "body FLU", "velocity, world axes, rates and thrust before the first step"),
    Port("turning", "1", "body FLU", "matrix from these to the linear part of a step, gravity and disturbance included"),
    Port("turning_back", "1", "body FLU", "matrix from the adjoint of a step's products to that of what it carries"),
    Port("held", "1", "none", "share of the disturbance in the residual's hidden layer"),
    Port("place", "m", WORLD, "position and half a step at the first velocity"),
    Port("path", "1", "none", "share of reference and disturbance in the residuals of the stage cost"),
    Port("effort", "1", "none", "share of reference and previous action in the residuals of a plan"),
    Port("goal", "m", WORLD, "place minus the position of the last reference row"),
    Port("ahead", "1", "none", "share of the last reference row in the first layer of the value network"),
    Port("pull_row", "1", "none", "share of reference and disturbance in the gradient of the return by the rows"),
    Port("pull_velocity", "s/m", WORLD, "the same by the velocities"),
    Port("pull_position", "1/m", WORLD, "the same by the positions"),
    Port("lean", "1", "none", "share of reference and previous action in the gradient of the return by a plan's actions"),
    Port("hidden_after", "1", "none", "hidden, of the refined plans"),
    Port("square_after", "1", "body FLU", "square, of the refined plans"),
    Port("product_after", "m/s, 1, rad/s, m/s^2", "body FLU", "product, of the refined plans"),
    Port("returns", "1", "none", "return J of all candidates"),
    Port("best", "index", "none", "candidate with the greatest return"),
    Port("plan", "1", "FLU", "that candidate"),
    Port("disagreement", "1", "none", "its ensemble disagreement, mean over the horizon"),
)
TRAJECTORY = tuple(field.name for field in fields(Trajectory))
PREPARED = tuple(field.name for field in fields(Prepared))
"""Names of the inputs and outputs that carry a trajectory, and what all graphs of a tick share."""
NO_CONSTRAINTS = ConstraintSize()


def _put_out(graph: Graph, scores: Scores, plans: Tensor) -> None:
    """Returns, index of the best, its plan and its disagreement; plans (N, H, 4)."""
    candidates, horizon, _ = plans.shape
    returns = graph.tensor("Reshape", scores.returns, shape=[candidates])
    best = graph.tensor("ArgMax", returns, axis=0, keepdims=1)
    spread = graph.tensor("Reshape", scores.disagreement, shape=[candidates])
    graph.output("returns", returns)
    graph.output("best", best)
    graph.output("plan", graph.tensor("Reshape", graph.tensor("Gather", plans, best, axis=0), shape=[horizon, 4]))
    graph.output("disagreement", graph.tensor("Gather", spread, best, axis=0))


def _plans(graph: Graph, settings: PlannerSettings) -> Tensor:
    """Declare the plans, shape (H * N, 4)."""
    return graph.input("plans", (settings.horizon * settings.candidates, 4))


def _by_candidate(actions: Tensor, settings: PlannerSettings) -> tuple[Tensor, Tensor]:
    """Plans (H * N, 4) as (N, H, 4) and as (N, H * 4)."""
    plans = candidate_major(actions.graph, actions, settings.candidates)
    return plans, actions.graph.tensor("Reshape", plans, shape=[settings.candidates, settings.horizon * 4])


def _shared(graph: Graph, returned: ReturnGraph) -> Prepared:
    """Inputs that `rollout` made."""
    shapes = returned.prepared_shapes(returned.settings.candidates)
    return Prepared(**{name: graph.input(name, shapes[name]) for name in PREPARED})


def _known(graph: Graph, returned: ReturnGraph) -> Trajectory:
    """Inputs that carry the trajectories of the plans."""
    shapes = returned.trajectory_shapes(returned.settings.candidates)
    return Trajectory(
        **{name: graph.input(name, shapes[name], differentiable=name == "product") for name in TRAJECTORY}
    )


def score_graph(
    model: PlannerModel, settings: PlannerSettings, constraints: ConstraintSize = NO_CONSTRAINTS
) -> Graph:
    """Trajectories and returns of any plans, and the best one: `rank` with a rollout of the model before."""
    graph = Graph()
    task = task_inputs(graph, settings)
    limits = constraint_inputs(graph, constraints)
    actions = _plans(graph, settings)
    returned = ReturnGraph(model, settings)
    prepared = returned.prepare(task, settings.candidates)
    trajectory = returned.roll(prepared, actions)
    plans, flat = _by_candidate(actions, settings)
    _put_out(graph, returned.score(prepared, flat, trajectory, limits), plans)
    for carried in (prepared, trajectory):
        for field in fields(carried):
            graph.output(field.name, getattr(carried, field.name))
    return graph


def rank_graph(model: PlannerModel, settings: PlannerSettings, constraints: ConstraintSize = NO_CONSTRAINTS) -> Graph:
    """Returns of plans along their trajectories, and the best one; see `train.planner.rank`."""
    graph = Graph()
    limits = constraint_inputs(graph, constraints)
    plans, flat = _by_candidate(_plans(graph, settings), settings)
    returned = ReturnGraph(model, settings)
    scores = returned.score(_shared(graph, returned), flat, _known(graph, returned), limits)
    _put_out(graph, scores, plans)
    graph.drop_unused_inputs()
    return graph


def refine_graph(
    model: PlannerModel,
    settings: PlannerSettings,
    metric: npt.NDArray[np.float64],
    constraints: ConstraintSize = NO_CONSTRAINTS,
) -> Graph:
    """One gradient-ascent step on the return; see `train.planner.refine`.

    Args:
        model: World model, task and networks.
        settings: Step rule and shapes.
        metric: From `curvature.inverse_curvature`, shape (H, 4).
        constraints: Rows of the tables of obstacles and faces.
    """
    graph = Graph()
    limits = constraint_inputs(graph, constraints)
    actions = _plans(graph, settings)
    returned = ReturnGraph(model, settings)
    prepared, known = _shared(graph, returned), _known(graph, returned)
    change = _ascent(plan_gradient(returned, prepared, actions, known, limits), settings, metric)
    refined = graph.tensor("Clip", actions + change, low=-1.0, high=1.0)
    graph.output("refined", refined)
    trajectory = returned.roll(prepared, refined)
    for name in TRAJECTORY:
        graph.output(f"{name}_after", getattr(trajectory, name))
    graph.drop_unused_inputs()
    return graph


def _ascent(gradient: Tensor, settings: PlannerSettings, metric: npt.NDArray[np.float64]) -> Tensor:
    """Change of the plans (H * N, 4) along the gradient; see `train.planner.ascent`."""
    if settings.step_rule is StepRule.GRADIENT:
        return gradient * np.float64(settings.step_size)
    gain, radius = settings.step_gain_radius
    horizon = settings.horizon
    direction = gradient if np.all(metric == 1.0) else gradient * np.repeat(metric, settings.candidates, axis=0)
    mean = by_candidate(np.full((horizon, horizon), 1.0 / (4 * horizon)), settings.candidates)  # in every entry of a candidate
    squares = (direction * direction) @ np.full((4, 4), 1.0 / gain**2)
    return direction / gradient.graph.tensor("Sqrt", mean @ squares + np.full((1, 4), (radius / gain) ** 2))
