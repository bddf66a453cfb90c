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

from .gather_matrices import BY_TURN
from .graph import Graph, Tensor
from .model_graph import (
    ACTIONS,
    COLUMNS,
    PRODUCTS,
    SUM_TURNED,
    TILED,
    VECTORS,
    candidate_major,
    split_steps,
)
from .task_graph import Prepared, ReturnGraph, Trajectory

SPREAD_ADJOINT = np.hstack([SUM_TURNED.T, np.eye(COLUMNS), np.kron(np.eye(COLUMNS)[:, : 3 * VECTORS], np.ones((1, 3)))])
"""Adjoint of a row (16) to that of each product that formed it, once per factor."""


def _quaternion_products() -> np.ndarray:
    """Products q_0 q_j of a step's quaternion from its `factor` (52), shape (52, 4): q_0^2 = (1 + trace R) / 4, the others from the
    antisymmetric part of R."""
    entry = np.arange(9).reshape(3, 3)  # of R[b, a] in the first vector's columns
    result = np.zeros((PRODUCTS, 4))
    result[[*entry.diagonal(), TILED], 0] = 0.25  # the column after the tiles holds 1
    for j, (b, a) in enumerate(((2, 1), (0, 2), (1, 0))):
        result[entry[b, a], 1 + j], result[entry[a, b], 1 + j] = 0.25, -0.25
    return result


def _cross_product() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices of `BY_TURN`: products (52) and factor (52) of a step to factors (72), and their sum (36).

    A change dh of half the turn h turns the result R^T u by dw = 2 (q_0^2 dh - q_0 (q_1..3) x dh), seen from the body after
    the step, where q = (1, h) / |(1, h)|; the result changes by R^T u x dw.
    """
    epsilon = np.zeros((3, 3, 3))
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        epsilon[a, b, c], epsilon[a, c, b] = 1.0, -1.0
    quaternion = _quaternion_products()
    turned_by = np.zeros((PRODUCTS, 3, 3))  # dw_c = turned_by[:, c, k] dh_k
    for c, k in np.ndindex(3, 3):
        turned_by[:, c, k] = 2.0 * quaternion[:, 0] * (c == k)
        for j in range(3):
            turned_by[:, c, k] -= 2.0 * quaternion[:, 1 + j] * epsilon[c, j, k]
    vectors, rates = np.zeros((PRODUCTS, 2 * BY_TURN)), np.zeros((PRODUCTS, 2 * BY_TURN))
    total = np.zeros((2 * BY_TURN, BY_TURN))
    for column, (i, a, k) in enumerate(np.ndindex(VECTORS, 3, 3)):
        for term, (b, c) in enumerate((((a + 1) % 3, (a + 2) % 3), ((a + 2) % 3, (a + 1) % 3))):
            place = 2 * column + term
            vectors[:TILED, place] = SUM_TURNED[:, 3 * i + b] * epsilon[a, b, c]
            rates[:, place] = turned_by[:, c, k]
            total[place, column] = 1.0
    return vectors, rates, total


FROM_PRODUCT, FROM_FACTOR, SUM_BY_TURN = _cross_product()


def factors(graph: Graph, trajectory: Trajectory) -> Tensor:
    """Derivatives of a row (16) by vectors, rest and half turn, one column each, shape (H * N, 88)."""
    by_turn = ((trajectory.product @ FROM_PRODUCT) * (trajectory.factor @ FROM_FACTOR)) @ SUM_BY_TURN
    return graph.tensor("Concat", trajectory.factor, by_turn, axis=1)


def plan_gradient(returned: ReturnGraph, prepared: Prepared, returns: Tensor, plans: Tensor, trajectory: Trajectory) -> Tensor:
    """Gradient of J with respect to plans (N, H, 4), one row per candidate, shape (N, H * 4).

    Args:
        returned: Folded weights.
        prepared: Of the tick.
        returns: J of the plans, from `returned.score`.
        plans: Differentiable tensor.
        trajectory: Of these plans; `product` and `hidden` differentiable, as inputs of the graph.
    """
    graph, dynamics = plans.graph, returned.dynamics
    candidates, horizon, _ = plans.shape
    penalised = returned.disagreement > 0 and dynamics.members > 1
    wanted = [plans, trajectory.rows, *([trajectory.hidden] if penalised else [])]
    of_plans, of_rows, *of_hidden = graph.gradients(returns, wanted, np.ones((1, candidates)))

    gather = returned.gather
    slope = graph.tensor("Sub", np.ones((1, 1)), trajectory.hidden * trajectory.hidden)
    steps = [split_steps(graph, part, horizon) for part in (factors(graph, trajectory), slope, of_rows)]
    penalty = split_steps(graph, of_hidden[0], horizon) if penalised else None
    adjoint = steps[2][-1]
    products: list[Tensor] = []
    hidden: list[Tensor] = []
    for h in reversed(range(horizon)):
        products.append((adjoint @ SPREAD_ADJOINT) * steps[0][h])
        before = (products[-1] @ gather.residual) @ dynamics.residual_from_hidden.T
        hidden.append((before if penalty is None else before + penalty[h]) * steps[1][h])
        if h > 0:
            adjoint = hidden[-1] @ dynamics.hidden_from_row.T + (products[-1] @ prepared.turning_back + steps[2][h - 1])
    by_steps = graph.tensor("Concat", *reversed(products), axis=0) @ gather.action
    by_steps = graph.tensor("Concat", *reversed(hidden), axis=0) @ dynamics.hidden_from_action.T + by_steps
    flat = graph.tensor("Reshape", of_plans, shape=[candidates, horizon * ACTIONS])
    return candidate_major(graph, by_steps, candidates) + flat
