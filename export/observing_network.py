"""A network of `train.task` that reads rows of the model in place of observations, in the graph builder.

The observation is never formed: its entries are linear in the row that a step carries, in the world velocity and in the
position error, so its divisors fold into the first layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.task import Network, ObservationScale

from .graph import Tensor
from .model_graph import COLUMNS, RATES, SUM_SQUARES, THRUST

UP, HEADING = (5, 8, 11), 6
"""Columns of a row: third column of R(q), and the first entry of its second row."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What a network of one output computes on the way: position error (n, 3), the same clipped, and both hidden layers after
    their tanh (n, width)."""

    error: Tensor
    clipped: Tensor
    first: Tensor
    second: Tensor


class ObservingNetwork:
    """A network whose first layer reads rows of the model instead of observations."""

    def __init__(self, network: Network, scale: ObservationScale) -> None:
        """Fold the divisors of the observation into the first layer."""
        self.weights = Network(*(np.asarray(a, np.float64) for a in network))
        divisor = np.asarray(scale.divisor, np.float64)
        self.clip_m = float(scale.position_clip_m)
        first = self.weights.w1 / divisor[:, None]
        width = first.shape[1]
        self.from_position = first[0:3]
        self.from_velocity = first[3:6]
        self.from_row = np.zeros((COLUMNS, width))
        self.from_row[[*UP, HEADING]] = first[6:10]
        self.from_row[RATES] = first[10:13]
        self.from_row[THRUST] = first[13]
        self.from_reference = np.vstack([np.zeros((3, width)), -first[3:6], first[14:17]])
        self.from_disturbance = first[17:20]
        self.bias = self.weights.b1 - GRAVITY_M_S2 * first[13]

    @property
    def from_squares(self) -> np.ndarray:
        """First layer from the squares of `row @ model_graph.SPIN` (18)."""
        return SUM_SQUARES @ self.from_velocity

    def given(self, reference: Tensor, disturbance: Tensor) -> Tensor:
        """The first layer's share of the rows of a reference (n, 9) and of the disturbance (1, 3), shape (n, width)."""
        return reference @ self.from_reference + (disturbance @ self.from_disturbance + self.bias[None])

    def layers(self, rows: Tensor, velocity: Tensor, error: Tensor, given: Tensor) -> Layers:
        """The hidden layers.

        Args:
            rows: Of the model, shape (n, 16).
            velocity: In the world [m/s], shape (n, 3).
            error: Position minus the reference's [m], shape (n, 3), not clipped.
            given: From `given`, one row for all or one each.
        """
        graph = rows.graph
        clipped = graph.tensor("Clip", error, low=-self.clip_m, high=self.clip_m)
        seen = graph.tensor("Concat", rows, velocity, clipped, axis=1)
        first = graph.tensor("Tanh", seen @ np.vstack([self.from_row, self.from_velocity, self.from_position]) + given)
        return Layers(error, clipped, first, self._second(first))

    def output(self, second: Tensor) -> Tensor:
        """Output (n, outputs) from the second hidden layer."""
        return second @ self.weights.w3 + self.weights.b3[None]

    def after_first(self, hidden: Tensor) -> Tensor:
        """Output of the network (n, outputs) from its first layer before the tanh (n, width)."""
        return self.output(self._second(hidden.graph.tensor("Tanh", hidden)))

    def _second(self, first: Tensor) -> Tensor:
        return first.graph.tensor("Tanh", first @ self.weights.w2 + self.weights.b2[None])

    def slopes(self, layers: Layers, weight: float) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient of `weight` times the single output: by row (n, 16), velocity (n, 3) and position error (n, 3)."""
        graph, last = layers.first.graph, weight * self.weights.w3[:, 0]
        # (last * (1 - second^2)) @ w2^T in one product of the squares
        before = (layers.second * layers.second) @ (-last[:, None] * self.weights.w2.T) + (self.weights.w2 @ last)[None]
        hidden = before * graph.tensor("Sub", np.ones((1, 1)), layers.first * layers.first)
        kept = graph.tensor("Equal", layers.error, layers.clipped)
        error = graph.tensor("Where", kept, hidden @ self.from_position.T, 0.0)
        return hidden @ self.from_row.T, hidden @ self.from_velocity.T, error
