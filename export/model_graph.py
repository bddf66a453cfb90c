"""The learned dynamics in the graph builder: `train.dynamics.step` of all candidates at once, in body coordinates.

What a step carries is one row of 16 numbers per candidate, `COLUMNS`: velocity and the three world axes, all seen from the
body, then body rates and thrust. Seen from the body the residual's features are columns of the row, and a step turns all
four vectors by the same small rotation. Everything else of a step is linear; gravity and disturbance are the axes times
numbers that a tick fixes, so the matrix `turning` of the row depends on the disturbance and is formed once per tick:

    hidden = tanh(row @ . + action @ .)                  residual ensemble, all members side by side
    linear = row @ turning + action @ . + (hidden @ .) @ .     = [turn (12) | vectors, tiled (36), and rest (16)]
    turn   = linear[turn] over its norm                  = sums and differences of the rotation's quaternion
    factor = turn^2 @ .                                  = [R(turn), once per vector | ones]
    next   = (factor * [vectors | rest]) @ .             = R(turn)^T vector, four times, and the rest

which is ten nodes. Sixteen columns fill one register of the widest processors. Position and velocity in the world do not feed
back and are formed for all steps at once (`task_graph`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.dynamics import RESIDUAL_SIZE, WorldModel
from tubepilot.train.task import ActionScale

from .graph import Graph, Tensor

Matrix = npt.NDArray[np.float64]
VELOCITY, AXES = slice(0, 3), slice(3, 12)
RATES, THRUST, COLUMNS = slice(12, 15), 15, 16
VECTORS = 4
TURN, TILED = 12, 9 * VECTORS
PRODUCTS = TILED + COLUMNS
"""Columns of a step's products: tiled vectors, and the rest of the row."""
LINEAR = TURN + PRODUCTS
ACTIONS = 4
DIRECT_WIDTH = 96
"""Hidden layers up to this width go to the linear part in one product: a node saved is worth more than its arithmetic."""


def selection(rows: int, columns: Sequence[int]) -> Matrix:
    """Matrix that picks `columns` out of `rows` entries by `x @ matrix`."""
    result = np.zeros((rows, len(columns)))
    result[list(columns), np.arange(len(columns))] = 1.0
    return result


PAIRS = tuple(combinations(range(4), 2))
FRAME = np.stack([np.eye(4)[i] + sign * np.eye(4)[j] for i, j in PAIRS for sign in (1.0, -1.0)], axis=1) / np.sqrt(6.0)
"""Quaternion (4) to `TURN` sums and differences of its entries: a tight frame, so the norm stays what it was."""


def _squares() -> dict[tuple[int, int], Matrix]:
    """Products q_i q_j of a quaternion as weights of the squares of `q @ FRAME`, whose sum is its squared norm."""
    products: dict[tuple[int, int], Matrix] = {}
    for number, (i, j) in enumerate(PAIRS):
        weights = np.zeros(TURN)
        weights[[2 * number, 2 * number + 1]] = 1.5, -1.5
        products[i, j] = products[j, i] = weights
    for i in range(4):
        with_i = np.repeat([i in pair for pair in PAIRS], 2)
        products[i, i] = 1.5 * with_i - 0.5
    return products


SQUARES = _squares()


def _rotation() -> Matrix:
    """Squares (12) to R(q) (9), row by row, in the homogeneous form."""
    qq = SQUARES
    w, x, y, z = range(4)
    rows = [
        qq[w, w] + qq[x, x] - qq[y, y] - qq[z, z], 2 * (qq[x, y] - qq[w, z]), 2 * (qq[x, z] + qq[w, y]),
        2 * (qq[x, y] + qq[w, z]), qq[w, w] - qq[x, x] + qq[y, y] - qq[z, z], 2 * (qq[y, z] - qq[w, x]),
        2 * (qq[x, z] - qq[w, y]), 2 * (qq[y, z] + qq[w, x]), qq[w, w] - qq[x, x] - qq[y, y] + qq[z, z],
    ]  # fmt: skip
    return np.stack(rows, axis=1)


ROTATION = _rotation()
FACTOR = np.hstack([np.tile(ROTATION, (1, VECTORS)), np.ones((TURN, COLUMNS))])
"""Squares (12), whose sum is 1, to R once per vector (column 9 i + 3 b + a holds R[b, a]) and ones (16)."""
TILE_VECTORS = np.kron(np.eye(3 * VECTORS), np.ones((1, 3)))
"""Vectors (12) to entry b of vector i in column 9 i + 3 b + a."""
SUM_TURNED = np.zeros((TILED, COLUMNS))
"""Products (36) to the turned vectors: entry a of vector i sums columns 9 i + 3 b + a over b."""
for _i, _b, _a in np.ndindex(VECTORS, 3, 3):
    SUM_TURNED[9 * _i + 3 * _b + _a, 3 * _i + _a] = 1.0
SUM_PRODUCTS = np.vstack([SUM_TURNED, np.eye(COLUMNS)])
"""Products (52) to the row after the step."""

def _to_world() -> tuple[Matrix, Matrix]:
    """Velocity in the world as weights of squares: of sums and differences of world axes and velocity, both in the body.

    4 a v = (2 a + v / 2)^2 - (2 a - v / 2)^2: one product and a square instead of two products and their product. The factors make
    both parts alike at 4 m/s.
    """
    axes, tiled = selection(COLUMNS, range(*AXES.indices(COLUMNS))), selection(COLUMNS, [0, 1, 2] * 3)
    total = 0.25 * np.kron(np.eye(3), np.ones((3, 1)))
    return np.hstack([2.0 * axes + 0.5 * tiled, 2.0 * axes - 0.5 * tiled]), np.vstack([total, -total])


SPIN, SUM_SQUARES = _to_world()
"""A row (16) to sums and differences (18), and the squares of these (18) to the velocity in the world (3)."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What the actions of one step add to the hidden layer and to the linear part, biases included."""

    hidden: Tensor
    linear: Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """One step of all candidates.

    Attributes:
        row: After the step, shape (N, 16).
        hidden: Activated hidden layer of the residual, shape (N, members * width).
        square: Of the entries of the turn, shape (N, 12); `@ FACTOR` is the rotation, once per vector, and ones.
        product: That times vectors and rest, shape (N, 52); `@ SUM_PRODUCTS` is the row.
    """

    row: Tensor
    hidden: Tensor
    square: Tensor
    product: Tensor


class ModelGraph:
    """Constant matrices of one world model for one time step, and the nodes of a step."""

    def __init__(self, world: WorldModel, scale: ActionScale, dt_s: float) -> None:
        """Fold physics, residual, normalisations and action scale into the matrices of a step of `dt_s` [s]."""
        self._physics = type(world.physics)(*(np.asarray(a, np.float64) for a in world.physics))
        self._residual = residual = type(world.residual)(*(np.asarray(a, np.float64) for a in world.residual))
        self._centre, self._half = (np.asarray(a, np.float64) for a in scale)
        self.members, width, _ = residual.w2.shape
        self.dt_s = dt_s

        weights = residual.w1 / residual.feature_scale[:, None]
        places = [*range(3), *range(9, 12), *range(12, 15), THRUST]  # body velocity, up in the body, rates, thrust
        self.hidden_from_row = np.zeros((COLUMNS, weights.shape[1]))
        self.hidden_from_row[places] = weights[:10]
        self.hidden_from_action = self._half[:, None] * weights[10:14]
        self.hidden_from_disturbance = np.vstack([np.zeros((2, weights.shape[1])), weights[14:15]])
        self.hidden_from_squares = np.vstack([weights[15:16], weights[15:16], np.zeros((1, weights.shape[1]))])
        self.hidden_bias = self._centre @ weights[10:14] + residual.b1 - residual.feature_mean @ weights
        self.residual_from_hidden = residual.w2.reshape(self.members * width, -1) / self.members

        nothing = self._linear(np.zeros((1, COLUMNS + ACTIONS + RESIDUAL_SIZE)))
        matrix = self._linear(np.eye(COLUMNS + ACTIONS + RESIDUAL_SIZE)) - nothing
        self.linear_bias = nothing[0]
        self.linear_from_row, self.linear_from_action, self.linear_from_residual = np.split(
            matrix, [COLUMNS, COLUMNS + ACTIONS]
        )
        self.linear_by_disturbance = np.zeros((3, COLUMNS, LINEAR))
        for axis in range(3):
            falls = np.zeros((COLUMNS, 3 * VECTORS))
            falls[3 * axis + 3 : 3 * axis + 6, VELOCITY] = dt_s * np.eye(3)
            self.linear_by_disturbance[axis, :, TURN : TURN + TILED] = falls @ TILE_VECTORS
        self.spread, self.spread_bias = self._centred(residual.w2, residual.b2)

    def _linear(self, inputs: Matrix) -> Matrix:
        """The affine part of a step without disturbance, on rows [row | action | residual output]: [turn | vectors, tiled | rest].

        The turn here is (1, half the turn) through `FRAME`, not normalised yet. See `train.dynamics.step`.
        """
        physics, dt_s = self._physics, self.dt_s
        row, action, output = np.split(inputs, [COLUMNS, COLUMNS + ACTIONS], axis=1)
        held = self._centre + self._half * action
        residual = (output + self._residual.b2.mean(axis=0)) * self._residual.output_scale

        def lagged(now: Matrix, target: Matrix, lag_s: Matrix) -> tuple[Matrix, Matrix]:
            """Value after the step, and mean over it, of a first-order lag."""
            decay = np.exp(-dt_s / lag_s)
            return target + (now - target) * decay, target + (now - target) * (lag_s / dt_s * (1.0 - decay))

        target = physics.rate_gain * held[:, :3] + physics.rate_offset_rad_s + physics.rate_lag_s * residual[:, 3:]
        rates, mean_rates = lagged(row[:, RATES], target, physics.rate_lag_s)
        thrust, mean_thrust = lagged(row[:, THRUST], physics.thrust_gain * held[:, 3], physics.thrust_lag_s)
        half_thrust = 0.5 * dt_s * mean_thrust

        vectors = row[:, : 3 * VECTORS].copy()
        body_force = residual[:, :3] - physics.drag_1_s * row[:, VELOCITY]
        vectors[:, VELOCITY] += dt_s * (body_force - GRAVITY_M_S2 * row[:, 9:12])
        vectors[:, 2] += half_thrust
        rest = np.zeros((len(row), COLUMNS))
        rest[:, 2], rest[:, RATES], rest[:, THRUST] = half_thrust, rates, thrust
        turn = np.hstack([np.ones((len(row), 1)), 0.5 * dt_s * mean_rates]) @ FRAME
        return np.hstack([turn, vectors @ TILE_VECTORS, rest])

    def half_turn(self) -> Matrix:
        """What half the turn of a step (3) is made of, shape (26, 3), rows as in `_linear`."""
        size = COLUMNS + ACTIONS + RESIDUAL_SIZE
        turn = (self._linear(np.eye(size)) - self._linear(np.zeros((1, size))))[:, :TURN]
        return (turn @ FRAME.T)[:, 1:]

    @staticmethod
    def _centred(w2: Matrix, b2: Matrix) -> tuple[Matrix, Matrix]:
        """How the members' outputs differ, from the hidden layer: one matrix and bias, one column less per output than members.

        The squares of the columns sum up to those of the differences from the mean (an orthonormal basis of these: Helmert's).
        """
        members, width, outputs = w2.shape
        block = np.zeros((members * width, members * outputs))
        for m in range(members):
            block[m * width : (m + 1) * width, m * outputs : (m + 1) * outputs] = w2[m]
        basis = np.zeros((members, members - 1))
        for k in range(1, members):
            basis[:k, k - 1], basis[k, k - 1] = 1.0, -k
        apart = np.kron(basis / np.sqrt(np.sum(basis**2, axis=0)), np.eye(outputs))
        return block @ apart, b2.reshape(-1) @ apart

    def start(self, state: Tensor, rows: int) -> Tensor:
        """The initial state (1, 14) as `rows` equal rows (rows, 16)."""
        turn = state @ np.vstack([np.zeros((6, TURN)), FRAME, np.zeros((4, TURN))])
        vectors = np.zeros((14, 3 * VECTORS))
        vectors[3:6, VELOCITY] = np.eye(3)
        axes = np.zeros((1, 3 * VECTORS))
        axes[0, AXES] = np.eye(3).reshape(-1)
        lagged = np.zeros((14, COLUMNS))
        lagged[10:14, 12:16] = np.eye(4)
        tiled = np.hstack([vectors @ TILE_VECTORS, lagged])
        still = np.hstack([axes @ TILE_VECTORS, np.zeros((1, COLUMNS))])
        products = ((turn * turn) @ FACTOR) * (state @ tiled + still)
        return np.ones((rows, 1)) @ (products @ SUM_PRODUCTS)

    def turning(self, disturbance: Tensor) -> Tensor:
        """The matrix (16, 64) from a row to the linear part of a step, under a disturbance (1, 3)."""
        stacked = self.linear_by_disturbance.reshape(3, -1)
        flat = disturbance @ stacked + self.linear_from_row.reshape(1, -1)
        return disturbance.graph.tensor("Reshape", flat, shape=[COLUMNS, LINEAR])

    def held(self, disturbance: Tensor) -> Tensor:
        """What the disturbance (1, 3) adds to the hidden layer in every step, bias included, shape (1, members * width)."""
        squares = (disturbance * disturbance) @ self.hidden_from_squares
        return disturbance @ self.hidden_from_disturbance + (squares + self.hidden_bias[None])

    def driven(self, actions: Tensor, held: Tensor) -> Driven:
        """What actions (rows, 4) and `held` add to a step."""
        return Driven(
            actions @ self.hidden_from_action + held,
            actions @ self.linear_from_action + self.linear_bias[None],
        )

    def step(self, row: Tensor, driven: Driven, turning: Tensor) -> Step:
        """One step of all candidates.

        Args:
            row: Shape (N, 16).
            driven: What the actions add.
            turning: From `turning`.
        """
        hidden = row.graph.tensor("Tanh", row @ self.hidden_from_row + driven.hidden)
        return self._turned(hidden, row @ turning + driven.linear)

    def turning_with_action(self, turning: Tensor) -> Tensor:
        """The matrix (20, 64) from a row and the action beside it to the linear part of a step."""
        return turning.graph.tensor("Concat", turning, self.linear_from_action, axis=0)

    def step_with(self, row: Tensor, action: Tensor, held: Tensor, turning: Tensor) -> Step:
        """One step, for actions that are known only now: row and action side by side cost fewer nodes.

        Args:
            row: Shape (N, 16).
            action: Shape (N, 4).
            held: From `held`.
            turning: From `turning_with_action`.
        """
        both = row.graph.tensor("Concat", row, action, axis=1)
        hidden = row.graph.tensor("Tanh", both @ np.vstack([self.hidden_from_row, self.hidden_from_action]) + held)
        return self._turned(hidden, both @ turning + self.linear_bias[None])

    def _turned(self, hidden: Tensor, linear: Tensor) -> Step:
        """The end of a step: the residual's share, and the rotation."""
        graph = linear.graph
        if self.hidden_bias.size <= DIRECT_WIDTH:
            linear = hidden @ (self.residual_from_hidden @ self.linear_from_residual) + linear
        else:
            linear = (hidden @ self.residual_from_hidden) @ self.linear_from_residual + linear
        turn, moved = graph.apply("Split", linear, axis=1, sizes=[TURN, PRODUCTS])
        turn = graph.tensor("LpNormalization", turn, axis=-1, p=2)
        square = turn * turn
        product = (square @ FACTOR) * moved
        return Step(product @ SUM_PRODUCTS, hidden, square, product)

    def disagreement(self, hidden: Tensor) -> Tensor:
        """How the outputs of several members differ, shape (rows, (members - 1) * 6), in output units; the sum of squares, over
        `outputs`, is `train.dynamics.disagreement`."""
        return hidden @ self.spread + self.spread_bias[None]

    @property
    def outputs(self) -> int:
        """Outputs of all members."""
        return self.members * RESIDUAL_SIZE


def world_velocity(rows: Tensor) -> Tensor:
    """Velocity in the world (n, 3) of rows (n, 16)."""
    spun = rows @ SPIN
    return (spun * spun) @ SUM_SQUARES


def time_major(graph: Graph, plans: Tensor) -> Tensor:
    """Plans (N, H, 4) as rows (H * N, 4), all candidates of a step together."""
    candidates, horizon, inputs = plans.shape
    turned = graph.tensor("Transpose", plans, perm=[1, 0, 2])
    return graph.tensor("Reshape", turned, shape=[horizon * candidates, inputs])


def candidate_major(graph: Graph, rows: Tensor, candidates: int) -> Tensor:
    """Rows (H * N, 4) as plans (N, H, 4)."""
    cube = graph.tensor("Reshape", rows, shape=[rows.shape[0] // candidates, candidates, rows.shape[1]])
    return graph.tensor("Transpose", cube, perm=[1, 0, 2])


def split_steps(graph: Graph, rows: Tensor, steps: int) -> list[Tensor]:
    """Rows (steps * n, k) as `steps` tensors (n, k)."""
    parts = graph.apply("Split", rows, axis=0, sizes=[rows.shape[0] // steps] * steps)
    return [part for part in parts if isinstance(part, Tensor)]
