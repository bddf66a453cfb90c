"""Gradient of the return with respect to the plans: the adjoint of the recursion of `model_graph`, written by hand.

The automatic adjoint of a step has three times as many nodes as the step. Here everything that does not depend on the
adjoint itself is formed for all steps at once. With `A` the adjoint of the row after a step, and `factors` the partial
derivatives of a step's products,

    products = (A @ .) * factors         by vectors (45), by half the turn (45), by the rest (19)
    residual = products @ .              adjoint of the residual's output
    hidden   = (residual @ . + penalty) * (1 - tanh^2)
    A before = hidden @ . + (products @ . + gradient of the stage cost)

which is seven nodes a step.
"""

from __future__ import annotations

import numpy as np

from .graph import Graph, Tensor
from .model_graph import (
    ACTIONS,
    COLUMNS,
    PRODUCTS,
    SUM_TURNED,
    TILE_ROTATION,
    TILED,
    TURN,
    VECTORS,
    ModelGraph,
    candidate_major,
    split_steps,
)
from .task_graph import ReturnGraph, Trajectory

BY_TURN = 3 * 3 * VECTORS
"""Derivatives of the turned vectors by half the turn: column 9 i + 3 a + k is entry a of vector i by h_k."""
SPREAD_ADJOINT = np.hstack([SUM_TURNED.T, np.kron(np.eye(COLUMNS)[:, : 3 * VECTORS], np.ones((1, 3))), np.eye(COLUMNS)])
"""Adjoint of a row (19) to that of each product that formed it, once per factor."""


def _cross_product() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices of `BY_TURN`: turned products (45) and squares of the turn (12) to factors (90), and their sum (45).

    A change dh of half the turn h turns the result R^T u by dw = 2 (q_0^2 dh - q_0 (q_1..3) x dh), seen from the body after
    the step, where q = (1, h) / |(1, h)|; the result changes by R^T u x dw. The entries q_0 q_j are weights of squares.
    """
    epsilon = np.zeros((3, 3, 3))
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        epsilon[a, b, c], epsilon[a, c, b] = 1.0, -1.0
    turned_by = np.zeros((TURN, 3, 3))  # dw_c = turned_by[:, c, k] dh_k
    for c, k in np.ndindex(3, 3):
        turned_by[:, c, k] = 2.0 * PRODUCTS[0, 0] * (c == k)
        for j in range(3):
            turned_by[:, c, k] -= 2.0 * PRODUCTS[0, 1 + j] * epsilon[c, j, k]
    vectors, rates, total = np.zeros((TILED, 2 * BY_TURN)), np.zeros((TURN, 2 * BY_TURN)), np.zeros((2 * BY_TURN, BY_TURN))
    for column, (i, a, k) in enumerate(np.ndindex(VECTORS, 3, 3)):
        for term, (b, c) in enumerate((((a + 1) % 3, (a + 2) % 3), ((a + 2) % 3, (a + 1) % 3))):
            place = 2 * column + term
            vectors[:, place] = SUM_TURNED[:, 3 * i + b] * epsilon[a, b, c]
            rates[:, place] = turned_by[:, c, k]
            total[place, column] = 1.0
    return vectors, rates, total


FROM_TURNED, FROM_SQUARES, SUM_BY_TURN = _cross_product()


def factors(graph: Graph, trajectory: Trajectory) -> Tensor:
    """Derivatives of a row (19) by vectors, half turn and rest, one column each, shape (H * N, 109)."""
    squares = trajectory.turn * trajectory.turn
    rotation = squares @ TILE_ROTATION
    by_turn = (((rotation * trajectory.vectors) @ FROM_TURNED) * (squares @ FROM_SQUARES)) @ SUM_BY_TURN
    return graph.tensor("Concat", rotation, by_turn, np.ones((squares.shape[0], COLUMNS)), axis=1)


def _gather(dynamics: ModelGraph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adjoint of the products (109) to that of row, action and residual output."""
    linear = np.vstack([dynamics.linear_from_row, dynamics.linear_from_action, dynamics.linear_from_residual])
    by_vectors, by_rest = linear[:, TURN : TURN + TILED].T, linear[:, TURN + TILED :].T
    by_turn = np.tile(dynamics.half_turn().T, (3 * VECTORS, 1))
    row, action, residual = np.split(np.vstack([by_vectors, by_turn, by_rest]), [COLUMNS, COLUMNS + ACTIONS], axis=1)
    return row, action, residual


def plan_gradient(returned: ReturnGraph, returns: Tensor, plans: Tensor, trajectory: Trajectory) -> Tensor:
    """Gradient of J with respect to plans (N, H, 4), one row per candidate, shape (N, H * 4).

    Args:
        returned: Folded weights.
        returns: J of the plans, from `returned.score`.
        plans: Differentiable tensor.
        trajectory: Of these plans; `rows` and `hidden` differentiable, as inputs of the graph.
    """
    graph, dynamics = plans.graph, returned.dynamics
    candidates, horizon, _ = plans.shape
    penalised = returned.disagreement > 0 and dynamics.members > 1
    wanted = [plans, trajectory.rows, *([trajectory.hidden] if penalised else [])]
    of_plans, of_rows, *of_hidden = graph.gradients(returns, wanted, np.ones((1, candidates)))

    from_row, from_action, from_residual = _gather(dynamics)
    slope = graph.tensor("Sub", np.ones((1, 1)), trajectory.hidden * trajectory.hidden)
    steps = [split_steps(graph, part, horizon) for part in (factors(graph, trajectory), slope, of_rows)]
    penalty = split_steps(graph, of_hidden[0], horizon) if penalised else None
    adjoint = steps[2][-1]
    products: list[Tensor] = []
    hidden: list[Tensor] = []
    for h in reversed(range(horizon)):
        products.append((adjoint @ SPREAD_ADJOINT) * steps[0][h])
        before = (products[-1] @ from_residual) @ dynamics.residual_from_hidden.T
        hidden.append((before if penalty is None else before + penalty[h]) * steps[1][h])
        if h > 0:
            adjoint = hidden[-1] @ dynamics.hidden_from_row.T + (products[-1] @ from_row + steps[2][h - 1])
    by_steps = graph.tensor("Concat", *reversed(products), axis=0) @ from_action
    by_steps = graph.tensor("Concat", *reversed(hidden), axis=0) @ dynamics.hidden_from_action.T + by_steps
    flat = graph.tensor("Reshape", of_plans, shape=[candidates, horizon * ACTIONS])
    return candidate_major(graph, by_steps, candidates) + flat
