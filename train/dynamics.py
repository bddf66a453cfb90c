"""The learned dynamics that planner and prover share: rigid-body physics with identified parameters plus a residual
ensemble.

State `x`, shape (14,): position (3) [m], velocity (3) [m/s], quaternion wxyz (4), body rates (3) [rad/s], collective
thrust acceleration c (1) [m/s^2]. Setpoint `s`, shape (4,): body rates (3) [rad/s], collective thrust (1) [m/s^2].
Frames: world ENU, body FLU.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.types import GRAVITY_M_S2

STATE_SIZE = 14
SETPOINT_SIZE = 4
FEATURE_SIZE = 16
RESIDUAL_SIZE = 6


class Physics(NamedTuple):
    """Identified parameters of the rate-and-thrust quadrotor.

    Attributes:
        thrust_gain: Actual over commanded collective acceleration in steady state, dimensionless, shape ().
        thrust_lag_s: Time constant of the collective thrust [s], shape ().
        rate_gain: Actual over commanded body rate in steady state, shape (3,).
        rate_offset_rad_s: Body rate at zero command [rad/s], shape (3,).
        rate_lag_s: Time constant of the body rates [s], shape (3,).
        drag_1_s: Linear body drag over mass [1/s], shape (3,).
    """

    thrust_gain: Float[Array, ""]
    thrust_lag_s: Float[Array, ""]
    rate_gain: Float[Array, "3"]
    rate_offset_rad_s: Float[Array, "3"]
    rate_lag_s: Float[Array, "3"]
    drag_1_s: Float[Array, "3"]


class Residual(NamedTuple):
    """M single-hidden-layer tanh members that share one wide Gemm: mean and disagreement cost two matrix products.

    Attributes:
        feature_mean, feature_scale: Normalisation of the features, shape (16,).
        w1, b1: Hidden layer of all members side by side, shapes (16, M*width) and (M*width,).
        w2, b2: Output layer of each member, shapes (M, width, 6) and (M, 6).
        output_scale: Unit of the outputs: 3 body accelerations [m/s^2], 3 body angular accelerations [rad/s^2], shape
            (6,).
    """

    feature_mean: Float[Array, "16"]
    feature_scale: Float[Array, "16"]
    w1: Float[Array, "16 hidden"]
    b1: Float[Array, "hidden"]
    w2: Float[Array, "member width 6"]
    b2: Float[Array, "member 6"]
    output_scale: Float[Array, "6"]


class WorldModel(NamedTuple):
    """Physics and residual; a pytree."""

    physics: Physics
    residual: Residual


def _quaternion_table() -> npt.NDArray[np.float64]:
    """Structure constants of the Hamilton product: product[k] = sum table[k, i, j] p[i] q[j], shape (4, 4, 4)."""
    table = np.zeros((4, 4, 4))
    for k, i, j, sign in (
        *((0, 0, 0, 1), (0, 1, 1, -1), (0, 2, 2, -1), (0, 3, 3, -1)),
        *((1, 0, 1, 1), (1, 1, 0, 1), (1, 2, 3, 1), (1, 3, 2, -1)),
        *((2, 0, 2, 1), (2, 1, 3, -1), (2, 2, 0, 1), (2, 3, 1, 1)),
        *((3, 0, 3, 1), (3, 1, 2, 1), (3, 2, 1, -1), (3, 3, 0, 1)),
    ):
        table[k, i, j] = sign
    return table


def _rotation_table() -> npt.NDArray[np.float64]:
    """Rotation matrix minus identity as a quadratic form: sum table[i, j, row, column] q[i] q[j], shape (4, 4, 3,
    3)."""
    table = np.zeros((4, 4, 3, 3))
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        for other in (b, c):
            table[1 + other, 1 + other, a, a] = -2
        table[1 + a, 1 + b, a, b] = table[1 + a, 1 + b, b, a] = 2
        table[0, 1 + c, b, a] = 2
        table[0, 1 + c, a, b] = -2
    return table


# Contractions with constants instead of stacked components: XLA compiles the gradient of a rollout several times
# faster.
_PRODUCT = _quaternion_table()
_ROTATION = _rotation_table()


def quaternion_product(p: Float[Array, "4"], q: Float[Array, "4"]) -> Float[Array, "4"]:
    """Hamilton product, scalar first."""
    return jnp.einsum("kij,i,j->k", jnp.asarray(_PRODUCT, p.dtype), p, q)


def rotation_matrix(q: Float[Array, "4"]) -> Float[Array, "3 3"]:
    """Rotation body to world of a unit quaternion, scalar first: 1 - 2 (y^2 + z^2), 2 (x y - w z), ..."""
    return jnp.eye(3, dtype=q.dtype) + jnp.einsum("ijrc,i,j->rc", jnp.asarray(_ROTATION, q.dtype), q, q)


def features(x: Float[Array, "14"], s: Float[Array, "4"], disturbance: Float[Array, "3"]) -> Float[Array, "16"]:
    """Inputs of the residual: body velocity (3), up direction in the body (3), rates (3), thrust c (1), setpoint (4), and of
    the disturbance its vertical part [m/s^2] and the square of its horizontal part [m^2/s^4].

    Without the last two no member could notice wind or a payload, and their disagreement would say nothing of either. Both
    are constant along a plan and the same whatever the heading.
    """
    rotation = rotation_matrix(x[6:10])
    lacking = jnp.stack([disturbance[2], jnp.sum(disturbance[0:2] ** 2)])
    return jnp.concatenate([rotation.T @ x[3:6], rotation[2], x[10:13], x[13:14], s, lacking])


def residual_members(residual: Residual, feature: Float[Array, "16"]) -> Float[Array, "member 6"]:
    """Body acceleration and angular acceleration of each member [m/s^2, rad/s^2], shape (M, 6)."""
    hidden = jnp.tanh(((feature - residual.feature_mean) / residual.feature_scale) @ residual.w1 + residual.b1)
    hidden = hidden.reshape(residual.w2.shape[0], -1)
    return (jnp.einsum("mw,mwo->mo", hidden, residual.w2) + residual.b2) * residual.output_scale


def disagreement(residual: Residual, members: Float[Array, "member 6"]) -> Float[Array, ""]:
    """Variance between members in output units, averaged over outputs, dimensionless; differentiable everywhere."""
    scaled = members / residual.output_scale
    return jnp.mean(jnp.var(scaled, axis=0))


def step(
    model: WorldModel,
    x: Float[Array, "14"],
    s: Float[Array, "4"],
    disturbance: Float[Array, "3"],
    dt_s: float,
) -> tuple[Float[Array, "14"], Float[Array, "member 6"]]:
    """Advance the state by one step with the setpoint held.

    Lags are integrated exactly; attitude by the normalised quaternion of the mean rate; thrust along the mean of the
    directions before and after; velocity by explicit drag and residual; position by the trapezoid.

    Args:
        model: Physics and residual.
        x: State, shape (14,).
        s: Setpoint held over the step, shape (4,) [rad/s, m/s^2].
        disturbance: Constant acceleration in the world [m/s^2], shape (3,): the on-board estimate of wind and mismatch, that
            is what a step without it leaves over.
        dt_s: Step [s].

    Returns:
        The next state, and the residual of each member at (x, s), shape (M, 6).
    """
    physics = model.physics
    position, velocity, attitude, rates, thrust = x[0:3], x[3:6], x[6:10], x[10:13], x[13]
    members = residual_members(model.residual, features(x, s, disturbance))
    residual = jnp.mean(members, axis=0)

    rate_target = physics.rate_gain * s[0:3] + physics.rate_offset_rad_s + physics.rate_lag_s * residual[3:6]
    rate_decay = jnp.exp(-dt_s / physics.rate_lag_s)
    rate_mean_share = physics.rate_lag_s / dt_s * (1 - rate_decay)
    rates_next = rate_target + (rates - rate_target) * rate_decay
    rates_mean = rate_target + (rates - rate_target) * rate_mean_share

    thrust_target = physics.thrust_gain * s[3]
    thrust_decay = jnp.exp(-dt_s / physics.thrust_lag_s)
    thrust_mean_share = physics.thrust_lag_s / dt_s * (1 - thrust_decay)
    thrust_next = thrust_target + (thrust - thrust_target) * thrust_decay
    thrust_mean = thrust_target + (thrust - thrust_target) * thrust_mean_share

    turned = quaternion_product(attitude, jnp.concatenate([jnp.ones(1), 0.5 * dt_s * rates_mean]))
    attitude_next = turned / jnp.sqrt(jnp.sum(turned**2))

    rotation = rotation_matrix(attitude)
    direction = 0.5 * (rotation[:, 2] + rotation_matrix(attitude_next)[:, 2])
    body_force = residual[0:3] - physics.drag_1_s * (rotation.T @ velocity)
    gravity = jnp.array([0.0, 0.0, GRAVITY_M_S2])
    acceleration = thrust_mean * direction - gravity + rotation @ body_force + disturbance
    velocity_next = velocity + dt_s * acceleration
    position_next = position + 0.5 * dt_s * (velocity + velocity_next)
    state = jnp.concatenate([position_next, velocity_next, attitude_next, rates_next, thrust_next[None]])
    return state, members


def rollout(
    model: WorldModel,
    x: Float[Array, "14"],
    setpoints: Float[Array, "horizon 4"],
    disturbance: Float[Array, "3"],
    dt_s: float,
) -> tuple[Float[Array, "horizon 14"], Float[Array, "horizon member 6"]]:
    """States after each of `horizon` steps, and the residual members at each."""

    def body(state: Float[Array, "14"], s: Float[Array, "4"]) -> tuple[Array, tuple[Array, Array]]:
        state, members = step(model, state, s, disturbance, dt_s)
        return state, (state, members)

    _, (states, members) = jax.lax.scan(body, x, setpoints)
    return states, members
