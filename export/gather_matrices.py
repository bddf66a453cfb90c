"""Matrices that gather the adjoints of a step's products: constants but for the share of the disturbance, formed once per tick.

Products of the adjoint recursion are [by vectors, tiled (36) | by the rest (16) | by half the turn (36)]; see `adjoint_graph`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .graph import Tensor
from .model_graph import ACTIONS, COLUMNS, PRODUCTS, TILED, TURN, VECTORS, Matrix, ModelGraph

BY_TURN = 3 * 3 * VECTORS
"""Derivatives of the turned vectors by half the turn: column 9 i + 3 a + k is entry a of vector i by h_k."""
FACTORS = PRODUCTS + BY_TURN


@dataclass(frozen=True, slots=True, eq=False)
class Gather:
    """Adjoint of the products (88) to that of row, action and residual output; `by_disturbance` (3, 88, 16) adds to the row's."""

    row: Matrix
    action: Matrix
    residual: Matrix
    by_disturbance: Matrix

    @classmethod
    def of(cls, dynamics: ModelGraph) -> Gather:
        """Of one model."""
        linear = np.vstack([dynamics.linear_from_row, dynamics.linear_from_action, dynamics.linear_from_residual])
        by_turn = np.tile(dynamics.half_turn().T, (3 * VECTORS, 1))
        gathered = np.vstack([linear[:, TURN:].T, by_turn])
        row, action, residual = np.split(gathered, [COLUMNS, COLUMNS + ACTIONS], axis=1)
        by_disturbance = np.zeros((3, FACTORS, COLUMNS))
        by_disturbance[:, :TILED] = dynamics.linear_by_disturbance[:, :, TURN : TURN + TILED].transpose(0, 2, 1)
        return cls(row, action, residual, by_disturbance)

    def turning_back(self, disturbance: Tensor) -> Tensor:
        """The matrix to the row's adjoint, shape (88, 16), under a disturbance (1, 3)."""
        flat = disturbance @ self.by_disturbance.reshape(3, -1) + self.row.reshape(1, -1)
        return disturbance.graph.tensor("Reshape", flat, shape=[FACTORS, COLUMNS])
