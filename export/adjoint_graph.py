"""Gradient of the return with respect to the plans: the adjoint of the recursion of `model_graph`, written by hand.

The automatic adjoint of a step has three times as many nodes as the step. Here everything that does not depend on the
adjoint itself is formed for all steps at once. With `A` the adjoint of the row after a step, and `factors` the partial
derivatives of a step's products,

    products = (A @ .) * factors         by vectors (36), by the rest (16), by half the turn (36)
    residual = products @ .              adjoint of the residual's output
    hidden   = (residual @ . + penalty) * (1 - tanh^2)
    A before = hidden @ . + (products @ turning_back + gradient of the stage cost)

which is seven nodes a step.
"""

from __future__ import annotations

import numpy as np

from .constraint_graph import ConstraintInputs
from .gather_matrices import BY_TURN
from .graph import Tensor
from .model_graph import (
    COLUMNS,
    DIRECT_WIDTH,
    FACTOR,
    PRODUCTS,
    SQUARES,
    SUM_TURNED,
    TILED,
    TURN,
    VECTORS,
    split_steps,
)
from .slope_graph import slopes
from .task_graph import Prepared, ReturnGraph, Trajectory

SPREAD_ADJOINT = np.hstack([SUM_TURNED.T, np.eye(COLUMNS), np.kron(np.eye(COLUMNS)[:, : 3 * VECTORS], np.ones((1, 3)))])
"""Adjoint of a row (16) to that of each product that formed it, once per factor."""


def _quaternion_products() -> np.ndarray:
    """Products q_0 q_j of a step's quaternion from its `square` (12), shape (12, 4)."""
    return np.stack([SQUARES[0, j] for j in range(4)], axis=1)


def _cross_product() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices of `BY_TURN`: product (52) and square (12) of a step to factors (72), and their sum (36).

    A change dh of half the turn h turns the result R^T u by dw = 2 (q_0^2 dh - q_0 (q_1..3) x dh), seen from the body after
    the step, where q = (1, h) / |(1, h)|; the result changes by R^T u x dw.
    """
    epsilon = np.zeros((3, 3, 3))
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        epsilon[a, b, c], epsilon[a, c, b] = 1.0, -1.0
    quaternion = _quaternion_products()
    turned_by = np.zeros((TURN, 3, 3))  # dw_c = turned_by[:, c, k] dh_k
    for c, k in np.ndindex(3, 3):
        turned_by[:, c, k] = 2.0 * quaternion[:, 0] * (c == k)
        for j in range(3):
            turned_by[:, c, k] -= 2.0 * quaternion[:, 1 + j] * epsilon[c, j, k]
    vectors, rates = np.zeros((PRODUCTS, 2 * BY_TURN)), np.zeros((TURN, 2 * BY_TURN))
    total = np.zeros((2 * BY_TURN, BY_TURN))
    for column, (i, a, k) in enumerate(np.ndindex(VECTORS, 3, 3)):
        for term, (b, c) in enumerate((((a + 1) % 3, (a + 2) % 3), ((a + 2) % 3, (a + 1) % 3))):
            place = 2 * column + term
            vectors[:TILED, place] = SUM_TURNED[:, 3 * i + b] * epsilon[a, b, c]
            rates[:, place] = turned_by[:, c, k]
            total[place, column] = 1.0
    return vectors, rates, total


FROM_PRODUCT, FROM_SQUARE, SUM_BY_TURN = _cross_product()


def factors(trajectory: Trajectory) -> Tensor:
    """Derivatives of a row (16) by vectors, rest and half turn, one column each, shape (H * N, 88)."""
    by_turn = ((trajectory.product @ FROM_PRODUCT) * (trajectory.square @ FROM_SQUARE)) @ SUM_BY_TURN
    return by_turn.graph.tensor("Concat", trajectory.square @ FACTOR, by_turn, axis=1)


def plan_gradient(
    returned: ReturnGraph, prepared: Prepared, actions: Tensor, trajectory: Trajectory, constraints: ConstraintInputs | None = None
) -> Tensor:
    """Gradient of J with respect to plans, shape (H * N, 4).

    Args:
        returned: Folded weights.
        prepared: Of the tick.
        actions: The plans, shape (H * N, 4).
        trajectory: Of these plans; `product` differentiable, as an input of the graph.
        constraints: What to keep clear of.
    """
    graph, dynamics, gather, horizon = actions.graph, returned.dynamics, returned.gather, returned.settings.horizon
    given = slopes(returned, prepared, actions, trajectory, constraints)
    slope = graph.tensor("Sub", np.ones((1, 1)), trajectory.hidden * trajectory.hidden)
    steps = [split_steps(graph, part, horizon) for part in (factors(trajectory), slope, given.rows)]
    penalty = None if given.hidden is None else split_steps(graph, given.hidden, horizon)
    adjoint = steps[2][-1] + given.last
    products: list[Tensor] = []
    hidden: list[Tensor] = []
    for h in reversed(range(horizon)):
        products.append((adjoint @ SPREAD_ADJOINT) * steps[0][h])
        before = _to_hidden(returned, products[-1])
        hidden.append((before if penalty is None else before + penalty[h]) * steps[1][h])
        if h > 0:
            adjoint = hidden[-1] @ dynamics.hidden_from_row.T + (products[-1] @ prepared.turning_back + steps[2][h - 1])
    by_steps = graph.tensor("Concat", *reversed(products), axis=0) @ gather.action + given.plans
    return graph.tensor("Concat", *reversed(hidden), axis=0) @ dynamics.hidden_from_action.T + by_steps


def _to_hidden(returned: ReturnGraph, products: Tensor) -> Tensor:
    """Adjoint of the hidden layer (N, members * width) from that of the products (N, 88)."""
    back = returned.dynamics.residual_from_hidden.T
    if back.shape[1] <= DIRECT_WIDTH:
        return products @ (returned.gather.residual @ back)
    return (products @ returned.gather.residual) @ back
