"""The certificate's bounds on plans, in the graph builder: `train.envelope.excess` of all candidates, and its gradient.

All is linear in the velocities until the squares, so one product with a matrix over time gives every combination of every row at
every instant. Velocities stand as (H, 3 N), a column per candidate and axis.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tubepilot.train.envelope import Envelope, differences

from .graph import Tensor

Matrix = npt.NDArray[np.float64]
NEVER = -1e30
"""Takes the place of -1 where a row does not bound the axis."""


class EnvelopeGraph:
    """Matrices of one envelope for one horizon, and the nodes of its cost.

    Args:
        envelope: Its rows; not empty.
        horizon: Steps of a plan, at least 2.
        dt_s: Length of a step [s].
        weight: Cost per second and unit of excess.
    """

    def __init__(self, envelope: Envelope, horizon: int, dt_s: float, weight: float) -> None:
        level, upright, drag = (np.asarray(part, np.float64) for part in envelope)
        d = differences(horizon, dt_s)

        def over_time(rows: Matrix, drag_1_s: float) -> list[Matrix]:
            motion = (d.velocity, d.slope + drag_1_s * d.mean, d.bend + drag_1_s * d.slope)
            return [sum(x * part for x, part in zip(row, motion, strict=True)) for row in rows]

        stacked = np.concatenate([*over_time(level, drag[0]), *over_time(upright, drag[1])])
        self.from_first, self.from_velocity = stacked[:, :1], stacked[:, 1:]
        self.rows = len(stacked)
        self._level_rows = len(level) * (horizon - 1)
        self._horizon = horizon
        self._weight = weight * dt_s

    def shape(self, candidates: int) -> tuple[int, int]:
        """Shape of `given`."""
        return self.rows, 3 * candidates

    def given(self, state: Tensor, candidates: int) -> Tensor:
        """Share of the present velocity in the combinations, from the state (1, 14)."""
        pick = np.zeros((14, 3))
        pick[3:6] = np.eye(3)
        return self.from_first @ (state @ np.tile(pick, (1, candidates)))

    def _hinges(self, velocity: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Combinations (rows, 3 N), and max(0, square - 1), horizontal and vertical (rows, 2 N)."""
        graph, candidates = velocity.graph, given.shape[1] // 3
        by_time = graph.tensor("Reshape", velocity, shape=[self._horizon, 3 * candidates])
        combined = self.from_velocity @ by_time + given
        bound = np.full((self.rows, 2), NEVER)
        bound[: self._level_rows, 0] = bound[self._level_rows :, 1] = -1.0
        square = (combined * combined) @ _by_candidate(AXES, candidates)
        return combined, graph.tensor("Relu", square + np.tile(bound, (1, candidates)))

    def returned(self, velocity: Tensor, given: Tensor) -> Tensor:
        """Minus the cost of all candidates, shape (1, N), from velocities (H * N, 3), row h * N + n."""
        _, hinge = self._hinges(velocity, given)
        total = np.full((1, self.rows), -self._weight) @ (hinge * hinge)
        return total @ _by_candidate(np.ones((2, 1)), given.shape[1] // 3)

    def slope(self, velocity: Tensor, given: Tensor) -> Tensor:
        """Gradient of `returned` by the velocities, shape (H * N, 3)."""
        graph, candidates = velocity.graph, given.shape[1] // 3
        combined, hinge = self._hinges(velocity, given)
        by_combined = (hinge @ _by_candidate(-4.0 * self._weight * AXES.T, candidates)) * combined
        by_time = self.from_velocity.T @ by_combined
        return graph.tensor("Reshape", by_time, shape=[self._horizon * candidates, 3])


AXES = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
"""Squares of x, y, z to those of the horizontal vector and the vertical component."""


def _by_candidate(matrix: Matrix, candidates: int) -> Matrix:
    """A matrix over the axes as one over columns, each candidate by itself."""
    return np.kron(np.eye(candidates), matrix)
