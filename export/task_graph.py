"""Observation, networks and return of `train.task` and `train.planner` in the graph builder.

The observation is never formed: its entries are linear in the row that a step carries, in `world_velocity` and in the
position error, so its divisors fold into the first layer of the network that reads it. The return is formed from the
rows of all steps of all candidates at once (`Trajectory`), so that it costs the same few nodes for any horizon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import CheckpointError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.planner import PlannerModel, weighted
from tubepilot.train.planner_settings import PlannerSettings
from tubepilot.train.task import Network, ObservationScale

from .constraint_graph import ConstraintInputs, violation_cost
from .gather_matrices import FACTORS, Gather
from .graph import Graph, Tensor
from .model_graph import (
    COLUMNS,
    LINEAR,
    PRODUCTS,
    RATES,
    SUM_PRODUCTS,
    SUM_WORLD,
    THRUST,
    ModelGraph,
    selection,
    split_steps,
    time_major,
    world_velocity,
)

Matrix = npt.NDArray[np.float64]
STATE_COSTS = 12
"""Residuals of the state: position 3, velocity 3, tilt 2, heading 1, rates 3."""
UP, HEADING = (5, 8, 11), 6
"""Columns of a row: third column of R(q), and the first entry of its second row."""


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """What a tick asks, as `train.planner.Problem`: inputs of every graph of the planner."""

    state: Tensor
    reference: Tensor
    disturbance: Tensor
    previous_action: Tensor


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a tick's inputs contribute to every rollout and score, formed once per tick.

    Attributes:
        start: First row of the model for every candidate, shape (N, 16).
        turning: Matrix from a row to the linear part of a step, shape (16, 64).
        turning_back: Matrix from the adjoint of a step's products to that of its row, shape (88, 16).
        held: Share of the disturbance in the residual's hidden layer, shape (1, members * width).
        place: Position, and half a step at the first velocity, once per candidate, shape (1, 3 N) [m].
        path: Share of reference and disturbance in the residuals of the state, shape (H * N, 12).
        effort: Share of reference and previous action in the residuals of a plan, shape (1, 8 H).
        goal: Minus the last position of the reference [m], shape (1, 3).
        ahead: Share of last reference and disturbance in the first layer of the value network, shape (1, width).
    """

    start: Tensor
    turning: Tensor
    turning_back: Tensor
    held: Tensor
    place: Tensor
    path: Tensor
    effort: Tensor
    goal: Tensor
    ahead: Tensor


@dataclass(frozen=True, slots=True)
class Trajectory:
    """All steps of all candidates; row h * N + n is step h of candidate n.

    Attributes:
        hidden: Activated hidden layer in the steps, shape (H * N, members * width).
        factor, product: Of the steps, each of shape (H * N, 52); see `model_graph`.
    """

    hidden: Tensor
    factor: Tensor
    product: Tensor

    @property
    def rows(self) -> Tensor:
        """Rows after the steps, shape (H * N, 16)."""
        return self.product @ SUM_PRODUCTS


class ObservingNetwork:
    """A network whose first layer reads rows of the model instead of observations."""

    def __init__(self, network: Network, scale: ObservationScale) -> None:
        """Fold the divisors of the observation into the first layer."""
        self.layers = Network(*(np.asarray(a, np.float64) for a in network))
        divisor = np.asarray(scale.divisor, np.float64)
        self.clip_m = float(scale.position_clip_m)
        first = self.layers.w1 / divisor[:, None]
        width = first.shape[1]
        self.from_position = first[0:3]
        self.from_velocity = SUM_WORLD @ first[3:6]
        self.from_row = np.zeros((COLUMNS, width))
        self.from_row[[*UP, HEADING]] = first[6:10]
        self.from_row[RATES] = first[10:13]
        self.from_row[THRUST] = first[13]
        self.from_reference = np.vstack([np.zeros((3, width)), -first[3:6], first[14:17]])
        self.from_disturbance = first[17:20]
        self.bias = self.layers.b1 - GRAVITY_M_S2 * first[13]

    def given(self, reference: Tensor, disturbance: Tensor) -> Tensor:
        """The first layer's share of the rows of a reference (n, 9) and of the disturbance (1, 3), shape (n, width)."""
        return reference @ self.from_reference + (disturbance @ self.from_disturbance + self.bias[None])

    def __call__(self, rows: Tensor, velocity: Tensor, error: Tensor, given: Tensor) -> Tensor:
        """Output of the network (n, outputs).

        Args:
            rows: Of the model, shape (n, 16).
            velocity: `world_velocity` of them, shape (n, 9).
            error: Position minus the reference's [m], shape (n, 3), not clipped.
            given: From `given`, one row for all or one each.
        """
        graph = rows.graph
        clipped = graph.tensor("Clip", error, low=-self.clip_m, high=self.clip_m)
        hidden = velocity @ self.from_velocity + (rows @ self.from_row + given)
        return self.after_first(clipped @ self.from_position + hidden)

    def after_first(self, hidden: Tensor) -> Tensor:
        """Output of the network (n, outputs) from its first layer before the tanh (n, width)."""
        hidden = hidden.graph.tensor("Tanh", hidden)
        hidden = hidden.graph.tensor("Tanh", hidden @ self.layers.w2 + self.layers.b2[None])
        return hidden @ self.layers.w3 + self.layers.b3[None]


@dataclass(frozen=True, slots=True)
class Scores:
    """Return J and disagreement averaged over the horizon of every candidate, both of shape (1, N)."""

    returns: Tensor
    disagreement: Tensor


def negative_position(reference: Tensor) -> Tensor:
    """Minus the positions of the rows of a reference (n, 9), shape (n, 3)."""
    return reference @ -selection(9, [0, 1, 2])


class ReturnGraph:
    """The return J of plans: stage costs, disagreement and terminal value along their trajectories."""

    def __init__(self, model: PlannerModel, settings: PlannerSettings) -> None:
        """Fold the weights; the dynamics are `self.dynamics`.

        Raises:
            CheckpointError: a cost weight is negative, so that it has no square root.
        """
        model = weighted(model, settings)
        self.dynamics = ModelGraph(model.world, model.action_scale, settings.dt_plan_s)
        self.gather = Gather.of(self.dynamics)
        self.value = ObservingNetwork(model.value, model.observation_scale)
        self.settings = settings
        cost = type(model.cost)(*(np.asarray(a, np.float64) for a in model.cost))
        for name, weight in cost._asdict().items():
            if not np.all(np.isfinite(weight)) or np.any(weight < 0):
                raise CheckpointError(f"cost weight {name} is {weight}, must be finite and >= 0: train again")
        self.disagreement = float(cost.disagreement) if settings.disagreement is None else settings.disagreement
        self._fold_state_costs(cost)
        self._fold_action_costs(cost, *(np.asarray(a, np.float64) for a in model.action_scale))

    def _fold_state_costs(self, cost: object) -> None:
        weights: dict[str, Matrix] = {name: np.sqrt(w) for name, w in cost._asdict().items()}  # type: ignore[attr-defined]
        position, velocity = np.diag(weights["position"]), np.diag(weights["velocity"])
        tilt = float(weights["tilt"])
        self.from_position = np.hstack([position, np.zeros((3, STATE_COSTS - 3))])
        self.from_velocity = np.hstack([np.zeros((3, 3)), velocity, np.zeros((3, STATE_COSTS - 6))])
        self.from_row = np.zeros((COLUMNS, STATE_COSTS))
        self.from_row[UP[0], 6] = self.from_row[UP[1], 7] = tilt
        self.from_row[HEADING, 8] = float(weights["heading"])
        self.from_row[RATES, 9:12] = np.diag(weights["rates"])
        self.from_reference = -np.vstack([self.from_position, self.from_velocity, np.zeros((3, STATE_COSTS))])
        self.from_direction = np.zeros((3, STATE_COSTS))
        self.from_direction[0, 6] = self.from_direction[1, 7] = -tilt

    def _fold_action_costs(self, cost: object, centre: Matrix, half: Matrix) -> None:
        """Residuals of a whole plan (H * 4): effort beyond hover, and change from step to step."""
        horizon = self.settings.horizon
        effort, smooth = np.sqrt(cost.action), np.sqrt(cost.smooth)  # type: ignore[attr-defined]
        change = np.kron(np.eye(horizon) - np.eye(horizon, k=1), np.diag(smooth))
        self.from_plan = np.hstack([np.kron(np.eye(horizon), np.diag(effort)), change])
        self.from_magnitude = np.hstack(
            [np.kron(np.eye(horizon), np.array([[0.0, 0.0, 0.0, -effort[3] / half[3]]])), np.zeros((horizon, horizon * 4))]
        )
        self.from_previous = np.hstack([np.zeros((4, horizon * 4)), -np.diag(smooth), np.zeros((4, horizon * 4 - 4))])
        self.plan_bias = np.hstack([np.tile(centre / half * effort, horizon), np.zeros(horizon * 4)])

    def prepare(self, task: TaskInputs, candidates: int) -> Prepared:
        """Nodes of what only a tick's inputs decide."""
        horizon, dt_s = self.settings.horizon, self.settings.dt_plan_s
        first = np.zeros((14, 3))
        first[0:3], first[3:6] = np.eye(3), 0.5 * dt_s * np.eye(3)
        path, effort = self._given(task, candidates)
        last = np.eye(horizon + 1)[horizon:] @ task.reference
        return Prepared(
            self.dynamics.start(task.state, candidates),
            self.dynamics.turning(task.disturbance),
            self.gather.turning_back(task.disturbance),
            self.dynamics.held(task.disturbance),
            task.state @ np.tile(first, (1, candidates)),
            path,
            effort,
            negative_position(last),
            self.value.given(last, task.disturbance),
        )

    def prepared_shapes(self, candidates: int) -> dict[str, tuple[int, int]]:
        """Shapes of the fields of `Prepared`."""
        horizon, width = self.settings.horizon, self.value.bias.size
        return {
            "start": (candidates, COLUMNS), "turning": (COLUMNS, LINEAR), "turning_back": (FACTORS, COLUMNS),
            "held": (1, self.dynamics.hidden_bias.size),
            "place": (1, 3 * candidates), "path": (horizon * candidates, STATE_COSTS),
            "effort": (1, 8 * horizon), "goal": (1, 3), "ahead": (1, width),
        }  # fmt: skip

    def trajectory_shapes(self, candidates: int) -> dict[str, tuple[int, int]]:
        """Shapes of the fields of `Trajectory`."""
        rows = self.settings.horizon * candidates
        hidden = self.dynamics.hidden_bias.size
        return {"hidden": (rows, hidden), "factor": (rows, PRODUCTS), "product": (rows, PRODUCTS)}

    def roll(self, prepared: Prepared, plans: Tensor) -> Trajectory:
        """Trajectories of plans (N, H, 4)."""
        graph = plans.graph
        horizon = plans.shape[1]
        driven = self.dynamics.driven(time_major(graph, plans), prepared.held)
        hidden, linear = (split_steps(graph, part, horizon) for part in (driven.hidden, driven.linear))
        row, steps = prepared.start, []
        for h in range(horizon):
            steps.append(self.dynamics.step(row, type(driven)(hidden[h], linear[h]), prepared.turning))
            row = steps[-1].row
        names = ("hidden", "factor", "product")
        return Trajectory(*(graph.tensor("Concat", *(getattr(s, name) for s in steps), axis=0) for name in names))

    def positions(self, place: Tensor, velocity: Tensor) -> Tensor:
        """Positions after the steps (H * N, 3) by the trapezoid of world velocities (H * N, 3)."""
        graph, horizon, dt_s = velocity.graph, self.settings.horizon, self.settings.dt_plan_s
        steps = graph.tensor("Reshape", velocity, shape=[horizon, place.shape[1]])
        sums = dt_s * (np.tril(np.ones((horizon, horizon))) - 0.5 * np.eye(horizon))
        return graph.tensor("Reshape", sums @ steps + place, shape=list(velocity.shape))

    def _given(self, task: TaskInputs, candidates: int) -> tuple[Tensor, Tensor]:
        """Share of reference, disturbance and previous action in the residuals: of the state (H * N, 12), of a plan
        (1, H * 8)."""
        graph, horizon = task.reference.graph, self.settings.horizon
        support = task.disturbance * np.float64(-1.0) + np.array([[0.0, 0.0, GRAVITY_M_S2]])
        thrust = task.reference @ selection(9, [6, 7, 8]) + support
        magnitude = graph.tensor("ReduceL2", thrust)
        rows = (thrust / magnitude) @ self.from_direction + task.reference @ self.from_reference
        repeat = np.kron(np.eye(horizon, horizon + 1, 1), np.ones((candidates, 1)))
        ahead = graph.tensor("Reshape", np.eye(horizon, horizon + 1, 1) @ magnitude, shape=[1, horizon])
        plan = task.previous_action @ self.from_previous + self.plan_bias[None]
        return repeat @ rows, ahead @ self.from_magnitude + plan

    def score(
        self, prepared: Prepared, plans: Tensor, trajectory: Trajectory, constraints: ConstraintInputs | None = None
    ) -> Scores:
        """Nodes of J for plans (N, H, 4) along their trajectories."""
        graph, settings = plans.graph, self.settings
        candidates, horizon, _ = plans.shape
        rows = trajectory.rows
        spinning = world_velocity(rows)
        velocity = spinning @ SUM_WORLD
        position = self.positions(prepared.place, velocity)

        residual = rows @ self.from_row + prepared.path
        residual = velocity @ self.from_velocity + residual
        residual = position @ self.from_position + residual
        cost = (residual * residual) @ np.full((STATE_COSTS, 1), -settings.dt_plan_s)
        if constraints is not None:
            cost = violation_cost(constraints, settings, position, velocity) + cost
        members = self.dynamics.disagreement(trajectory.hidden)
        spread = (members * members) @ np.full((members.shape[1], 1), 1.0 / members.shape[1])
        if self.disagreement > 0 and self.dynamics.members > 1:
            cost = spread * np.float64(-settings.dt_plan_s * self.disagreement) + cost

        effort = graph.tensor("Reshape", plans, shape=[candidates, horizon * 4]) @ self.from_plan + prepared.effort
        effort = (effort * effort) @ np.full((horizon * 8, 1), -settings.dt_plan_s)
        row, spin, place = (last_step(part, horizon) for part in (rows, spinning, position))
        value = self.value(row, spin, place + prepared.goal, prepared.ahead)
        alone = graph.tensor("Reshape", effort - value, shape=[1, candidates])
        return Scores(sum_steps(cost, horizon, 1.0) + alone, sum_steps(spread, horizon, 1.0 / horizon))


def last_step(rows: Tensor, horizon: int) -> Tensor:
    """The last N of rows (H * N, k)."""
    if horizon == 1:
        return rows
    count = rows.shape[0] // horizon
    return rows.graph.apply("Split", rows, axis=0, sizes=[rows.shape[0] - count, count])[1]  # type: ignore[return-value]


def sum_steps(rows: Tensor, horizon: int, weight: float) -> Tensor:
    """Sum over the steps of rows (H * N, 1), times a weight, shape (1, N)."""
    steps = rows.graph.tensor("Reshape", rows, shape=[horizon, rows.shape[0] // horizon])
    return np.full((1, horizon), weight) @ steps


def task_inputs(graph: Graph, settings: PlannerSettings) -> TaskInputs:
    """Declare the inputs that every graph of the planner has."""
    return TaskInputs(
        graph.input("state", (1, 14)),
        graph.input("reference", (settings.horizon + 1, 9)),
        graph.input("disturbance", (1, 3)),
        graph.input("previous_action", (1, 4)),
    )
