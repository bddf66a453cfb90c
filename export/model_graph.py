"""The learned dynamics in the graph builder: `train.dynamics.step`, all candidates in one batch.

A step keeps few nodes by carrying its quantities in four pieces and reading them through constant matrices:
`motion` = [p, v] (6), `attitude` = q (4), `rotation` (48) = squares of sums of entries of q, whose weighted sums
(`@ GATHER`) are R(q) row by row, and `lagged` (12) = [rates (3), thrust (1), half turn (4) = (1, dt/2 * mean rates),
mean thrust (1), body force (3) without drag]. Bilinear maps are (a @ P) * (b @ Q) @ S with constant matrices. Only
columns 0..3 of `lagged` are state; the rest serves the step that made them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.dynamics import RESIDUAL_SIZE, WorldModel
from tubepilot.train.task import ActionScale

from .graph import Graph, Tensor

Matrix = npt.NDArray[np.float64]
LAGGED = 12
HALF_TURN, MEAN_THRUST, BODY_FORCE = slice(4, 8), 8, slice(9, 12)


def selection(rows: int, columns: list[int]) -> Matrix:
    """Matrix that picks `columns` out of `rows` entries by `x @ matrix`."""
    result = np.zeros((rows, len(columns)))
    result[columns, np.arange(len(columns))] = 1.0
    return result


def _rotation_terms() -> tuple[Matrix, Matrix]:
    """R(q) row by row = square(q @ sums) @ gather: the homogeneous form of R, products as differences of squares."""
    w, x, y, z = np.eye(4)
    terms: list[tuple[Matrix, float, int]] = []
    for entry, signs in {0: (1, 1, -1, -1), 4: (1, -1, 1, -1), 8: (1, -1, -1, 1)}.items():
        terms += [(axis, float(sign), entry) for axis, sign in zip((w, x, y, z), signs, strict=True)]
    for entry, a, b, c, d, sign in (
        (1, x, y, w, z, -1), (2, x, z, w, y, 1), (3, x, y, w, z, 1),
        (5, y, z, w, x, -1), (6, x, z, w, y, -1), (7, y, z, w, x, 1),
    ):  # fmt: skip
        # 2 a b + 2 sign c d, with 2 a b = ((a + b)^2 - (a - b)^2) / 2
        terms += [(a + b, 0.5, entry), (a - b, -0.5, entry), (c + d, 0.5 * sign, entry), (c - d, -0.5 * sign, entry)]
    terms += [term for term in terms if term[2] >= 6]  # the last row once more, for R^T e3
    sums = np.stack([vector for vector, _, _ in terms], axis=1)
    gather = np.zeros((len(terms), 9))
    for row, (_, weight, entry) in enumerate(terms):
        gather[row, entry] = weight
    return sums, gather


SUMS, _ALL = _rotation_terms()
TERMS, ONCE = len(_ALL), 36
GATHER = np.where(np.arange(TERMS)[:, None] < ONCE, _ALL, 0.0)
"""Terms of the rotation to R, row by row."""
# Each term, with its weight, times what entry 3 i + j of R multiplies; then summed over i (to body) or j (to world).
TILE_WORLD = np.kron(np.eye(3), np.ones((1, 3))) @ GATHER.T
TILE_UP = (_ALL - GATHER).sum(axis=1)[None]
TILE_BODY = np.tile(np.eye(3), (1, 3)) @ GATHER.T
SUM_TO_BODY = (GATHER != 0) @ np.tile(np.eye(3), (3, 1))
SUM_UP = (_ALL != GATHER) @ np.tile(np.eye(3), (3, 1))
SUM_TO_WORLD = (GATHER != 0) @ np.kron(np.eye(3), np.ones((3, 1)))
# Hamilton product p * q = ((p @ TURN_LEFT) * (q @ TURN_RIGHT)) @ TURN_SUM
TURN_LEFT, TURN_RIGHT = np.kron(np.eye(4), np.ones((1, 4))), np.tile(np.eye(4), (1, 4))
TURN_SUM = np.array(
    [
        [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1],
        [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1], [0, 0, -1, 0],
        [0, 0, 1, 0], [0, 0, 0, -1], [-1, 0, 0, 0], [0, 1, 0, 0],
        [0, 0, 0, 1], [0, 0, 1, 0], [0, -1, 0, 0], [-1, 0, 0, 0],
    ],
    dtype=np.float64,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BatchState:
    """States of all candidates at one instant; rows are candidates."""

    motion: Tensor
    attitude: Tensor
    rotation: Tensor
    lagged: Tensor


class ModelGraph:
    """Constant matrices of one world model for one time step, and the nodes of a step."""

    def __init__(self, world: WorldModel, scale: ActionScale, dt_s: float) -> None:
        """Fold physics, residual, normalisations and action scale into the matrices of a step of `dt_s` [s]."""
        physics = type(world.physics)(*(np.asarray(a, np.float64) for a in world.physics))
        residual = type(world.residual)(*(np.asarray(a, np.float64) for a in world.residual))
        self.members, width, _ = residual.w2.shape
        self.dt_s = dt_s
        rate_decay = np.exp(-dt_s / physics.rate_lag_s)
        rate_share = physics.rate_lag_s / dt_s * (1 - rate_decay)
        thrust_decay = np.exp(-dt_s / physics.thrust_lag_s)
        thrust_share = physics.thrust_lag_s / dt_s * (1 - thrust_decay)

        def lagged(decay: Matrix, share: Matrix, thrust: float, mean_thrust: float) -> Matrix:
            """Rates and thrust (4) to the twelve columns, by their share in the end value and in the mean."""
            result = np.zeros((4, LAGGED))
            result[:3, :3], result[3, 3] = np.diag(decay), thrust
            result[:3, 5:8] = 0.5 * dt_s * np.diag(share)
            result[3, MEAN_THRUST], result[3, 11] = mean_thrust, 0.5 * mean_thrust
            return result

        held = lagged(rate_decay, rate_share, float(thrust_decay), float(thrust_share))
        target = lagged(1 - rate_decay, 1 - rate_share, float(1 - thrust_decay), float(1 - thrust_share))
        self.lagged_from_lagged = np.vstack([held, np.zeros((LAGGED - 4, LAGGED))])
        gain = np.concatenate([physics.rate_gain, physics.thrust_gain[None]])
        offset = np.concatenate([physics.rate_offset_rad_s, np.zeros(1)])
        one = np.eye(LAGGED)[4]
        half, centre = np.asarray(scale.half, np.float64), np.asarray(scale.centre, np.float64)
        from_residual = np.zeros((RESIDUAL_SIZE, LAGGED))
        from_residual[:3, BODY_FORCE] = np.eye(3)
        from_residual[3:] = np.diag(physics.rate_lag_s) @ target[:3]
        from_residual *= residual.output_scale[:, None]
        self.lagged_from_action = half[:, None] * gain[:, None] * target
        self.lagged_bias = (gain * centre + offset) @ target + one + residual.b2.mean(axis=0) @ from_residual
        self.lagged_from_hidden = residual.w2.reshape(self.members * width, -1) / self.members @ from_residual

        weights = residual.w1 / residual.feature_scale[:, None]
        bias = residual.b1 - residual.feature_mean @ weights
        self.hidden_from_product = SUM_TO_BODY @ weights[0:3] + SUM_UP @ weights[3:6]
        self.hidden_from_lagged = np.vstack([weights[6:10], np.zeros((LAGGED - 4, weights.shape[1]))])
        self.hidden_from_action = half[:, None] * weights[10:14]
        self.hidden_from_disturbance = np.vstack([np.zeros((2, weights.shape[1])), weights[14:15]])
        self.hidden_from_squares = np.vstack([weights[15:16], weights[15:16], np.zeros((1, weights.shape[1]))])
        self.hidden_bias = centre @ weights[10:14] + bias

        self.spread, self.spread_bias = self._centred(residual.w2, residual.b2)
        drag = -SUM_TO_BODY @ np.diag(physics.drag_1_s) @ TILE_BODY
        self.motion = np.block([[np.eye(3), np.zeros((3, 3))], [dt_s * np.eye(3), np.eye(3)]])
        self.motion_from_force = np.hstack([0.5 * dt_s**2 * np.eye(3), dt_s * np.eye(3)])
        # Forces act through the rotations before (body force and half the thrust) and after (the other half).
        after = np.zeros((LAGGED, TERMS))
        after[MEAN_THRUST] = GATHER[:, [2, 5, 8]].sum(axis=1)
        self.force_from_lagged = np.hstack([np.vstack([np.zeros((9, TERMS)), TILE_BODY]), 0.5 * after])
        self.force_from_product = np.hstack([drag, np.zeros((TERMS, TERMS))])
        self.motion_from_product = np.tile(SUM_TO_WORLD @ self.motion_from_force, (2, 1))

    @staticmethod
    def _centred(w2: Matrix, b2: Matrix) -> tuple[Matrix, Matrix]:
        """Each member's output minus the mean of members, from the hidden layer: one matrix and bias."""
        members, width, outputs = w2.shape
        block = np.zeros((members * width, members * outputs))
        for m in range(members):
            block[m * width : (m + 1) * width, m * outputs : (m + 1) * outputs] = w2[m]
        centre = np.kron(np.eye(members) - 1.0 / members, np.eye(outputs))
        return block @ centre, b2.reshape(-1) @ centre

    def start(self, state: Tensor, rows: int) -> BatchState:
        """The initial state (1, 14), repeated for `rows` candidates."""
        motion = state @ selection(14, list(range(6)))
        attitude = state @ selection(14, [6, 7, 8, 9])
        lagged = state @ np.hstack([selection(14, [10, 11, 12, 13]), np.zeros((14, LAGGED - 4))])
        repeat = np.ones((rows, 1))
        attitude = repeat @ attitude
        return BatchState(repeat @ motion, attitude, self.rotation(attitude), repeat @ lagged)

    def rotation(self, attitude: Tensor) -> Tensor:
        """Terms of R(q), shape (rows, 48), of unit quaternions (rows, 4)."""
        sums = attitude @ SUMS
        return sums * sums

    def driven(self, actions: Tensor, disturbance: Tensor) -> tuple[Tensor, Tensor]:
        """What actions (rows, 4) and disturbance (1, 3) add to the hidden layer and to `lagged`, biases included."""
        held = disturbance @ self.hidden_from_disturbance + (disturbance * disturbance) @ self.hidden_from_squares
        return (
            actions @ self.hidden_from_action + (held + self.hidden_bias[None]),
            actions @ self.lagged_from_action + self.lagged_bias[None],
        )

    def drift(self, disturbance: Tensor) -> Tensor:
        """What gravity and the disturbance (1, 3) add to the motion in a step, shape (1, 6)."""
        gravity = np.array([[0.0, 0.0, -GRAVITY_M_S2]]) @ self.motion_from_force
        return disturbance @ self.motion_from_force + gravity

    def step(self, before: BatchState, hidden: Tensor, lagged: Tensor, drift: Tensor) -> tuple[BatchState, Tensor]:
        """One step of all candidates.

        Args:
            before: State at the beginning.
            hidden, lagged: From `driven`, for this step.
            drift: From `drift`.

        Returns:
            The state at the end, and the activated hidden layer of the residual.
        """
        graph = before.motion.graph
        in_body = before.rotation * (before.motion @ np.vstack([np.zeros((3, TERMS)), TILE_WORLD]) + TILE_UP)
        hidden = before.lagged @ self.hidden_from_lagged + hidden
        hidden = graph.tensor("Tanh", in_body @ self.hidden_from_product + hidden)
        lagged = before.lagged @ self.lagged_from_lagged + lagged
        lagged = hidden @ self.lagged_from_hidden + lagged

        quarter = selection(LAGGED, [4, 5, 6, 7]) @ TURN_RIGHT
        turned = ((before.attitude @ TURN_LEFT) * (lagged @ quarter)) @ TURN_SUM
        attitude = graph.tensor("LpNormalization", turned, axis=-1, p=2)
        rotation = self.rotation(attitude)

        force = in_body @ self.force_from_product + lagged @ self.force_from_lagged
        product = graph.tensor("Concat", before.rotation, rotation, axis=1) * force
        motion = product @ self.motion_from_product + (before.motion @ self.motion + drift)
        return BatchState(motion, attitude, rotation, lagged), hidden


def time_major(graph: Graph, plans: Tensor) -> Tensor:
    """Plans (N, H, 4) as rows (H * N, 4), all candidates of a step together."""
    candidates, horizon, inputs = plans.shape
    turned = graph.tensor("Transpose", plans, perm=[1, 0, 2])
    return graph.tensor("Reshape", turned, shape=[horizon * candidates, inputs])


def candidate_major(graph: Graph, rows: Tensor, candidates: int) -> Tensor:
    """Rows (H * N, 4) as one row per candidate (N, H * 4)."""
    horizon, inputs = rows.shape[0] // candidates, rows.shape[1]
    cube = graph.tensor("Reshape", rows, shape=[horizon, candidates, inputs])
    turned = graph.tensor("Transpose", cube, perm=[1, 0, 2])
    return graph.tensor("Reshape", turned, shape=[candidates, horizon * inputs])


def split_steps(graph: Graph, rows: Tensor, steps: int) -> list[Tensor]:
    """Rows (steps * n, k) as `steps` tensors (n, k)."""
    parts = graph.apply("Split", rows, axis=0, sizes=[rows.shape[0] // steps] * steps)
    return [part for part in parts if isinstance(part, Tensor)]
