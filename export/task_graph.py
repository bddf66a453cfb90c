"""Observation, networks, stage cost and return of `train.task` and `train.planner` in the graph builder.

The observation is never formed: its entries are linear in the pieces of `BatchState` (but for the clipped position
error), so its divisors fold into the first layer of the network that reads it. The stage cost is a sum of squares of
residuals that are linear in the same pieces, evaluated for all steps of all candidates at once.
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

from .graph import Tensor
from .model_graph import GATHER, LAGGED, BatchState, ModelGraph, selection, split_steps, time_major

Matrix = npt.NDArray[np.float64]
COST_SIZE = 20
POSITION_ERROR = selection(6, [0, 1, 2])


class ObservingNetwork:
    """A network whose first layer reads states instead of observations."""

    def __init__(self, network: Network, scale: ObservationScale) -> None:
        """Fold the divisors of the observation into the first layer."""
        self.layers = Network(*(np.asarray(a, np.float64) for a in network))
        divisor = np.asarray(scale.divisor, np.float64)
        self.clip_m = float(scale.position_clip_m)
        first = self.layers.w1 / divisor[:, None]
        width = first.shape[1]
        self.from_position = first[0:3]
        self.from_motion = np.vstack([np.zeros((3, width)), first[3:6]])
        self.from_rotation = GATHER[:, [2, 5, 8, 3]] @ first[6:10]
        self.from_lagged = np.vstack([first[10:14], np.zeros((LAGGED - 4, width))])
        self.from_reference = np.vstack([np.zeros((3, width)), -first[3:6], first[14:17]])
        self.from_disturbance = first[17:20]
        self.bias = self.layers.b1 - GRAVITY_M_S2 * first[13]

    def given(self, reference: Tensor, disturbance: Tensor) -> tuple[Tensor, Tensor]:
        """What does not depend on the state, for all rows of the reference (n, 9).

        Returns:
            Minus the reference position (n, 3), and the first layer's share of reference and disturbance (n, width).
        """
        shared = disturbance @ self.from_disturbance + self.bias[None]
        return reference @ -selection(9, [0, 1, 2]), reference @ self.from_reference + shared

    def __call__(self, state: BatchState, minus_position: Tensor, given: Tensor) -> Tensor:
        """Output of the network (rows, outputs) at the states, one row of `given` for all."""
        graph = state.motion.graph
        error = state.motion @ POSITION_ERROR + minus_position
        error = graph.tensor("Clip", error, low=-self.clip_m, high=self.clip_m)
        hidden = state.motion @ self.from_motion + given
        hidden = state.rotation @ self.from_rotation + hidden
        hidden = state.lagged @ self.from_lagged + hidden
        hidden = graph.tensor("Tanh", error @ self.from_position + hidden)
        hidden = graph.tensor("Tanh", hidden @ self.layers.w2 + self.layers.b2[None])
        return hidden @ self.layers.w3 + self.layers.b3[None]


@dataclass(frozen=True, slots=True)
class Scores:
    """Return J (N, 1) and disagreement averaged over the horizon (N, 1) of every candidate."""

    returns: Tensor
    disagreement: Tensor


class ReturnGraph:
    """The return J of plans: rollout of the model, stage costs, disagreement and terminal value."""

    def __init__(self, model: PlannerModel, settings: PlannerSettings) -> None:
        """Fold weights and scales.

        Raises:
            CheckpointError: a weight of the cost is negative.
        """
        self.settings = settings
        model = weighted(model, settings)
        self.dynamics = ModelGraph(model.world, model.action_scale, settings.dt_plan_s)
        self.value = ObservingNetwork(model.value, model.observation_scale)
        cost = type(model.cost)(*(np.asarray(a, np.float64) for a in model.cost))
        for name, weight in cost._asdict().items():
            if not np.all(np.isfinite(weight)) or np.any(weight < 0):
                raise CheckpointError(f"cost weight {name} is {weight}, must be finite and >= 0: train again")
        self.disagreement = float(cost.disagreement) if settings.disagreement is None else settings.disagreement
        centre, half = (np.asarray(a, np.float64) for a in model.action_scale)

        def place(rows: int, entries: dict[int, tuple[int, float]]) -> Matrix:
            """Matrix (rows, 20) from row -> (residual, weight); the weight is under a root."""
            result = np.zeros((rows, COST_SIZE))
            for row, (column, weight) in entries.items():
                result[row, column] = np.sqrt(weight)
            return result

        motion = np.concatenate([cost.position, cost.velocity])
        self.from_motion = place(6, {i: (i, motion[i]) for i in range(6)})
        heading = float(cost.heading)
        entries = place(9, {2: (6, float(cost.tilt)), 5: (7, float(cost.tilt)), 3: (8, heading)})
        self.from_rotation = GATHER @ entries
        self.from_lagged = place(LAGGED, {i: (9 + i, cost.rates[i]) for i in range(3)})
        self.from_action = place(4, {i: (12 + i, cost.action[i]) for i in range(4)})
        self.from_change = place(4, {i: (16 + i, cost.smooth[i]) for i in range(4)})
        self.from_reference = -np.vstack([self.from_motion, np.zeros((3, COST_SIZE))])
        self.from_direction = -np.vstack([entries[[2, 5]], np.zeros((1, COST_SIZE))])
        self.from_magnitude = -self.from_action[3:4] / half[3]
        self.bias = (centre / half) @ self.from_action

    def given(self, reference: Tensor, disturbance: Tensor, previous_action: Tensor) -> Tensor:
        """Share of reference, disturbance and previous action in the residuals, shape (H * N, 20)."""
        graph = reference.graph
        horizon, candidates = self.settings.horizon, self.settings.candidates
        support = disturbance * np.float64(-1.0) + np.array([[0.0, 0.0, GRAVITY_M_S2]])
        thrust = reference @ selection(9, [6, 7, 8]) + support
        magnitude = graph.tensor("ReduceL2", thrust)
        rows = reference @ self.from_reference + self.bias[None]
        rows = (thrust / magnitude) @ self.from_direction + rows
        rows = magnitude @ self.from_magnitude + rows
        repeat = np.kron(np.eye(horizon, horizon + 1, 1), np.ones((candidates, 1)))
        first = np.kron(np.eye(horizon, 1), np.ones((candidates, 1)))
        return first @ (previous_action @ -self.from_change) + repeat @ rows

    def __call__(
        self, state: Tensor, reference: Tensor, disturbance: Tensor, previous_action: Tensor, plans: Tensor
    ) -> Scores:
        """Nodes of J for plans (N, H, 4)."""
        graph = plans.graph
        horizon, candidates = self.settings.horizon, self.settings.candidates
        actions = time_major(graph, plans)
        hidden_in, lagged_in = (split_steps(graph, rows, horizon) for rows in self.dynamics.driven(actions, disturbance))
        drift = self.dynamics.drift(disturbance)
        now = self.dynamics.start(state, candidates)
        states, activations = [], []
        for step in range(horizon):
            now, activation = self.dynamics.step(now, hidden_in[step], lagged_in[step], drift)
            states.append(now)
            activations.append(activation)

        change = np.eye(horizon * candidates) - np.eye(horizon * candidates, k=-candidates)
        residual = self.given(reference, disturbance, previous_action)
        residual = actions @ self.from_action + residual
        residual = change @ (actions @ self.from_change) + residual
        stacked = graph.tensor("Concat", *(s.motion for s in states), axis=0)
        residual = stacked @ self.from_motion + residual
        stacked = graph.tensor("Concat", *(s.rotation for s in states), axis=0)
        residual = stacked @ self.from_rotation + residual
        stacked = graph.tensor("Concat", *(s.lagged for s in states), axis=0)
        residual = stacked @ self.from_lagged + residual
        hidden = graph.tensor("Concat", *activations, axis=0)
        spread = hidden @ self.dynamics.spread + self.dynamics.spread_bias[None]

        gather = np.tile(np.eye(candidates), (1, horizon))
        variance = gather @ ((spread * spread) @ np.full((spread.shape[1], 1), 1.0 / spread.shape[1]))
        cost = gather @ ((residual * residual) @ np.full((COST_SIZE, 1), -self.settings.dt_plan_s))
        last = np.eye(horizon + 1)[horizon:] @ reference
        value = self.value(states[-1], *self.value.given(last, disturbance))
        returns = cost - value
        if self.disagreement > 0 and self.dynamics.members > 1:
            returns = variance * np.float64(-self.settings.dt_plan_s * self.disagreement) + returns
        return Scores(returns, variance * np.float64(1.0 / horizon))
