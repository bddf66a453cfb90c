"""Return of `train.planner` in the graph builder, from the rows of all steps of all candidates at once (`Trajectory`), so that it
costs the same few nodes for any horizon. `slope_graph` writes its gradient.

Rows are time-major throughout: row h * N + n is step h of candidate n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import CheckpointError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.planner import PlannerModel, weighted
from tubepilot.train.planner_settings import PlannerSettings

from .constraint_graph import ConstraintInputs, violation_cost
from .gather_matrices import FACTORS, Gather
from .graph import Graph, Tensor
from .model_graph import (
    ACTIONS,
    COLUMNS,
    LINEAR,
    PRODUCTS,
    RATES,
    SPIN,
    SUM_PRODUCTS,
    SUM_SQUARES,
    TURN,
    ModelGraph,
    selection,
    split_steps,
)
from .observing_network import HEADING, UP, Layers, ObservingNetwork

Matrix = npt.NDArray[np.float64]
STATE_COSTS = 12
"""Residuals of the state: position 3, velocity 3, tilt 2, heading 1, rates 3."""
ROWS_BY_MATRIX = 128
"""Up to this many rows, sums over time are one product with a square matrix; beyond, a product of reshaped rows costs less."""


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """What a tick asks, as `train.planner.Problem`: inputs of every graph of the planner."""

    state: Tensor
    reference: Tensor
    disturbance: Tensor
    previous_action: Tensor


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a tick's inputs contribute to every rollout, score and gradient, formed once per tick.

    Attributes:
        start: First row of the model for every candidate, shape (N, 16).
        turning: Matrix from a row to the linear part of a step, shape (16, 64).
        turning_back: Matrix from the adjoint of a step's products to that of its row, shape (88, 16).
        held: Share of the disturbance in the residual's hidden layer, shape (1, members * width).
        place: Position, and half a step at the first velocity [m], shape (1, 3).
        path: Share of reference and disturbance in the residuals of the state, shape (H * N, 12).
        effort: Share of reference and previous action in the residuals of a plan, shape (1, 8 H).
        goal: `place` minus the last position of the reference [m], shape (1, 3).
        ahead: Share of last reference and disturbance in the first layer of the value network, shape (1, width).
        pull_row, pull_velocity, pull_position: Share of `path` in the gradient of J, shapes (H * N, 16), (H * N, 3), (H * N, 3).
        lean: Share of `effort` in the gradient of J, shape (H * N, 4).
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
    pull_row: Tensor
    pull_velocity: Tensor
    pull_position: Tensor
    lean: Tensor


@dataclass(frozen=True, slots=True)
class Trajectory:
    """All steps of all candidates; row h * N + n is step h of candidate n.

    Attributes:
        hidden: Activated hidden layer in the steps, shape (H * N, members * width).
        square, product: Of the steps, shapes (H * N, 12) and (H * N, 52); see `model_graph`.
    """

    hidden: Tensor
    square: Tensor
    product: Tensor

    @property
    def rows(self) -> Tensor:
        """Rows after the steps, shape (H * N, 16)."""
        return self.product @ SUM_PRODUCTS


@dataclass(frozen=True, slots=True)
class Seen:
    """Trajectories as the cost sees them; all (H * N, k).

    Attributes:
        rows: After the steps, k = 16.
        spun: Sums and differences whose squares give the velocity in the world, k = 18; see `model_graph.SPIN`.
        velocity, position: In the world, k = 3 [m/s, m].
    """

    rows: Tensor
    spun: Tensor
    velocity: Tensor
    position: Tensor


@dataclass(frozen=True, slots=True)
class Scores:
    """Return J and disagreement averaged over the horizon of every candidate, both of shape (1, N)."""

    returns: Tensor
    disagreement: Tensor


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
        self.effort = effort = np.sqrt(cost.action)  # type: ignore[attr-defined]
        self.smooth = smooth = np.sqrt(cost.smooth)  # type: ignore[attr-defined]
        self.change = np.eye(horizon) - np.eye(horizon, k=1)
        self.from_plan = np.hstack([np.kron(np.eye(horizon), np.diag(effort)), np.kron(self.change, np.diag(smooth))])
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
        place = task.state @ first
        path, effort = self._given(task, candidates)
        last = np.eye(horizon + 1)[horizon:] @ task.reference
        pulls = (path @ (-2.0 * dt_s * part.T) for part in (self.from_row, self.from_velocity, self.from_position))
        lean = effort.graph.tensor("Reshape", effort @ (-2.0 * dt_s * self.from_plan.T), shape=[horizon, ACTIONS])
        return Prepared(
            self.dynamics.start(task.state, candidates),
            self.dynamics.turning(task.disturbance),
            self.gather.turning_back(task.disturbance),
            self.dynamics.held(task.disturbance),
            place,
            path,
            effort,
            last @ -selection(9, [0, 1, 2]) + place,
            self.value.given(last, task.disturbance),
            *pulls,
            np.kron(np.eye(horizon), np.ones((candidates, 1))) @ lean,
        )

    def prepared_shapes(self, candidates: int) -> dict[str, tuple[int, int]]:
        """Shapes of the fields of `Prepared`."""
        horizon, width = self.settings.horizon, self.value.bias.size
        rows = horizon * candidates
        return {
            "start": (candidates, COLUMNS), "turning": (COLUMNS, LINEAR), "turning_back": (FACTORS, COLUMNS),
            "held": (1, self.dynamics.hidden_bias.size), "place": (1, 3), "path": (rows, STATE_COSTS), "effort": (1, 8 * horizon),
            "goal": (1, 3), "ahead": (1, width), "pull_row": (rows, COLUMNS), "pull_velocity": (rows, 3),
            "pull_position": (rows, 3), "lean": (rows, ACTIONS),
        }  # fmt: skip

    def trajectory_shapes(self, candidates: int) -> dict[str, tuple[int, int]]:
        """Shapes of the fields of `Trajectory`."""
        rows = self.settings.horizon * candidates
        hidden = self.dynamics.hidden_bias.size
        return {"hidden": (rows, hidden), "square": (rows, TURN), "product": (rows, PRODUCTS)}

    def roll(self, prepared: Prepared, actions: Tensor) -> Trajectory:
        """Trajectories of plans (H * N, 4)."""
        graph, horizon = actions.graph, self.settings.horizon
        driven = self.dynamics.driven(actions, prepared.held)
        hidden, linear = (split_steps(graph, part, horizon) for part in (driven.hidden, driven.linear))
        row, steps = prepared.start, []
        for h in range(horizon):
            steps.append(self.dynamics.step(row, type(driven)(hidden[h], linear[h]), prepared.turning))
            row = steps[-1].row
        names = ("hidden", "square", "product")
        return Trajectory(*(graph.tensor("Concat", *(getattr(s, name) for s in steps), axis=0) for name in names))

    def see(self, prepared: Prepared, trajectory: Trajectory) -> Seen:
        """Velocities and positions in the world."""
        rows = trajectory.rows
        spun = rows @ SPIN
        velocity = (spun * spun) @ SUM_SQUARES
        return Seen(rows, spun, velocity, self._positions(prepared.place, velocity))

    @property
    def trapezoid(self) -> Matrix:
        """Positions after the steps from the velocities after them, without `place`, shape (H, H) [s]."""
        horizon = self.settings.horizon
        return self.settings.dt_plan_s * (np.tril(np.ones((horizon, horizon))) - 0.5 * np.eye(horizon))

    def _positions(self, place: Tensor, velocity: Tensor) -> Tensor:
        """Positions after the steps (H * N, 3) by the trapezoid of world velocities (H * N, 3)."""
        graph, horizon, rows = velocity.graph, self.settings.horizon, velocity.shape[0]
        candidates = rows // horizon
        if rows <= ROWS_BY_MATRIX:
            return by_candidate(self.trapezoid, candidates) @ velocity + place
        steps = graph.tensor("Reshape", velocity, shape=[horizon, 3 * candidates])
        places = place @ np.tile(np.eye(3), (1, candidates))
        return graph.tensor("Reshape", self.trapezoid @ steps + places, shape=[rows, 3])

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
        """Nodes of J for plans (N, H * 4) along their trajectories."""
        graph, settings = plans.graph, self.settings
        candidates, horizon = plans.shape[0], settings.horizon
        seen = self.see(prepared, trajectory)
        residual = seen.rows @ self.from_row + prepared.path
        residual = seen.velocity @ self.from_velocity + residual
        residual = seen.position @ self.from_position + residual
        cost = (residual * residual) @ np.full((STATE_COSTS, 1), -settings.dt_plan_s)
        if constraints is not None:
            cost = violation_cost(constraints, settings, seen.position, seen.velocity) + cost
        spread = None
        if self.dynamics.members > 1:
            members = self.dynamics.disagreement(trajectory.hidden)
            squares, mean = members * members, np.full((members.shape[1], 1), 1.0 / self.dynamics.outputs)
            spread = sum_steps(squares @ mean, horizon, 1.0 / horizon)
            if self.penalised:
                cost = squares @ (-settings.dt_plan_s * self.disagreement * mean) + cost

        effort = plans @ self.from_plan + prepared.effort
        effort = (effort * effort) @ np.full((horizon * 8, 1), -settings.dt_plan_s)
        value = self.value.output(self.terminal(prepared, seen).second)
        alone = graph.tensor("Reshape", effort - value, shape=[1, candidates])
        returns = sum_steps(cost, horizon, 1.0) + alone
        return Scores(returns, returns * np.float64(0.0) if spread is None else spread)

    @property
    def penalised(self) -> bool:
        """Whether the disagreement takes part in J."""
        return self.disagreement > 0 and self.dynamics.members > 1

    def terminal(self, prepared: Prepared, seen: Seen) -> Layers:
        """The value network after the last step."""
        horizon, rows = self.settings.horizon, seen.rows.shape[0]
        if rows <= ROWS_BY_MATRIX:
            error = by_candidate(self.trapezoid[-1:], rows // horizon) @ seen.velocity + prepared.goal
        else:
            error = last_step(seen.position, horizon) + (prepared.goal - prepared.place)
        return self.value.layers(last_step(seen.rows, horizon), last_step(seen.velocity, horizon), error, prepared.ahead)


def by_candidate(matrix: Matrix, candidates: int) -> Matrix:
    """A matrix over the steps as one over time-major rows, each candidate by itself."""
    return np.kron(matrix, np.eye(candidates))


def last_step(rows: Tensor, horizon: int) -> Tensor:
    """The last N of rows (H * N, k)."""
    count = rows.shape[0] // horizon
    return rows.graph.tensor("Gather", rows, axis=0, rows=range(rows.shape[0] - count, rows.shape[0]))


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
