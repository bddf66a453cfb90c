"""Recurrent dynamics of a rotor-level model: few parameters, one step repeated, fitted over whole windows.

A regression at each horizon has tens of thousands of weights and learns how a kind of flight is flown; on another kind it fails.
Here one step with some hundred weights is repeated: torque and thrust from the last rotor speeds, damping, gyroscopic and aerodynamic
terms, and what the past shows to be missing, which fades. A small network adds what these terms lack; its output weights are zero in
the plain model. All arrays float32; body frame FLU, world ENU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .dynamics import quaternion_product, rotation_matrix
from .prediction import HORIZON, Prediction
from .rotor_features import THRUST_TAPS
from .rotor_windows import (
    POSITION_SPANS,
    RATE_PAST,
    RATE_SPANS,
    ROTOR_PAST,
    TERMS,
    VELOCITY_PAST,
    VELOCITY_SPANS,
    RotorWindows,
    torque_terms,
)

TORQUE_TAPS = 12
"""Samples of the rotor speeds that torque depends on, the present one included: motor, air and the filters of the log."""
TORQUE_UNIT = 10.0
NETWORK_TAPS = 6
"""The network sees the mean of so many samples of the rotor speeds."""
NETWORK_INPUTS = 10


class RotorDynamics(NamedTuple):
    """Parameters; a pytree of float32 arrays.

    Attributes:
        torque_taps: Angular acceleration per squared rotor speed, over TORQUE_UNIT, shape (TORQUE_TAPS, 4, 3).
        torque_offset: Angular acceleration, over TORQUE_UNIT, shape (3,).
        torque_terms: Weights of `rotor_windows.torque_terms`, shape (TERMS, 3).
        torque_missing: Weights of what the past shows to be missing, shape (spans, 3, 3).
        rate_smoothing: Weights of earlier rates less the one at the start, shape (RATE_PAST - 1, 3).
        force: Thrust taps, offset, drag and quadratic drag of `rotor_windows.force_terms`, shape (THRUST_TAPS + 7,).
        force_world, force_body: Weights of the acceleration that is missing, in world and body frame, shape (spans, 3, 3).
        slope: Weights of the difference of position slope and velocity, shape (spans, 3, 3).
        velocity_smoothing: As of the rates, shape (VELOCITY_PAST - 1, 3).
        gyro_offset, gyro_matrix: Rates less those that turn the attitude, shapes (3,) and (3, 3).
        fades: Logarithms of the rates [1/s] at which missing torque and missing force in world and body frame fade, shape (3,).
        w1, b1, w2: Network from rates, body velocity and rotors to angular acceleration over TORQUE_UNIT and acceleration in the body.
    """

    torque_taps: Array
    torque_offset: Array
    torque_terms: Array
    torque_missing: Array
    rate_smoothing: Array
    force: Array
    force_world: Array
    force_body: Array
    slope: Array
    velocity_smoothing: Array
    gyro_offset: Array
    gyro_matrix: Array
    fades: Array
    w1: Array
    b1: Array
    w2: Array


def plain_dynamics(force: Vector) -> RotorDynamics:
    """Dynamics that know thrust and linear drag only; the network has no hidden unit.

    Args:
        force: Thrust taps, offset at the usual rotor speed, and drag, shape (THRUST_TAPS + 4,).
    """
    zeros = np.zeros
    parts = (
        zeros((TORQUE_TAPS, 4, 3)), zeros(3), zeros((TERMS, 3)), zeros((len(RATE_SPANS), 3, 3)), zeros((RATE_PAST - 1, 3)),
        np.concatenate([force, zeros(3)]), zeros((len(VELOCITY_SPANS), 3, 3)), zeros((len(VELOCITY_SPANS), 3, 3)),
        zeros((len(POSITION_SPANS), 3, 3)), zeros((VELOCITY_PAST - 1, 3)), zeros(3), zeros((3, 3)), zeros(3),
        zeros((NETWORK_INPUTS, 0)), zeros(0), zeros((0, 6)),
    )  # fmt: skip
    return RotorDynamics(*(jnp.asarray(part, jnp.float32) for part in parts))


def with_network(dynamics: RotorDynamics, width: int, generator: np.random.Generator) -> RotorDynamics:
    """The same dynamics with a network that adds nothing yet."""
    w1 = generator.normal(size=(NETWORK_INPUTS, width)) / np.sqrt(NETWORK_INPUTS)
    return dynamics._replace(
        w1=jnp.asarray(w1, jnp.float32), b1=jnp.zeros(width, jnp.float32), w2=jnp.zeros((width, 6), jnp.float32)
    )


def _turn(vector_rad: Float[Array, "3"]) -> Float[Array, "4"]:
    """Quaternion of a rotation vector, differentiable at zero."""
    angle = jnp.sqrt(jnp.sum(vector_rad * vector_rad) + 1e-12)
    return jnp.concatenate([jnp.cos(angle / 2)[None], 0.5 * jnp.sinc(angle / (2 * jnp.pi)) * vector_rad])


def _lagged(rotors: Float[Array, "past_and_horizon n"], taps: int) -> Float[Array, "horizon taps n"]:
    """Rotor speeds of each step of the window and before it, newest first."""
    return jnp.stack([rotors[ROTOR_PAST - k : ROTOR_PAST - k + HORIZON] for k in range(taps)], axis=1)


class _Missing(NamedTuple):
    """What the past of a window shows that the model lacks, each of shape (3,)."""

    torque: Array
    world: Array
    body: Array
    slope: Array


def _missing(of: RotorDynamics, window: RotorWindows, rotation: Float[Array, "3 3"]) -> _Missing:
    modelled = TORQUE_UNIT * (window.rotor_mean @ of.torque_taps.sum(0) + of.torque_offset[None])
    torque = window.rate_slope - modelled - window.term_mean @ of.torque_terms
    force = window.velocity_slope - window.force_mean @ of.force + jnp.array([[0.0, 0.0, GRAVITY_M_S2]])

    def weighed(values: Array, weights: Array) -> Array:
        return jnp.einsum("si,sij->j", values, weights)

    return _Missing(
        weighed(torque, of.torque_missing),
        weighed(force, of.force_world),
        weighed(force @ rotation, of.force_body),
        weighed(window.position_slope, of.slope),
    )


def _smoothed(values: Float[Array, "past 3"], weights: Float[Array, "past_1 3"]) -> Float[Array, "3"]:
    return values[0] + jnp.sum((values[1:] - values[:1]) * weights, axis=0)


def roll(of: RotorDynamics, window: RotorWindows, dt_s: float) -> tuple[Array, Array, Array, Array]:
    """Predict one window.

    Args:
        of: Parameters.
        window: One window: the arrays of `RotorWindows` without their leading axis.
        dt_s: Step [s].

    Returns:
        Position less that at the start [m], velocity [m/s], attitude wxyz and body rates [rad/s] at steps 1..HORIZON, shapes
        (HORIZON, 3 or 4). Step h depends on no rotor speed after that of step h - 1.
    """
    rotation = rotation_matrix(window.quaternion)
    missing = _missing(of, window, rotation)
    torque = jnp.einsum("hku,kui->hi", _lagged(window.rotors, TORQUE_TAPS), of.torque_taps) + of.torque_offset[None]
    total = window.rotors.sum(-1, keepdims=True)
    thrust = _lagged(total, THRUST_TAPS)[..., 0] @ of.force[:THRUST_TAPS] + of.force[THRUST_TAPS]
    drag, drag2 = of.force[THRUST_TAPS + 1 : THRUST_TAPS + 4], of.force[THRUST_TAPS + 4 :]
    seen = _lagged(window.rotors, NETWORK_TAPS).mean(1)
    fade = jnp.exp(-dt_s * jnp.exp(of.fades))
    align = jnp.eye(3) + of.gyro_matrix
    gravity = jnp.array([0.0, 0.0, GRAVITY_M_S2])

    def body(carry: tuple[Array, ...], inputs: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        position, velocity, attitude, rates, rotation, share = carry
        torque, thrust, rotors, seen = inputs
        along = velocity @ rotation
        added = jnp.tanh(jnp.concatenate([rates / 2, along / 2, seen]) @ of.w1 + of.b1) @ of.w2
        slope = TORQUE_UNIT * (torque + added[:3]) + missing.torque * share[0] + torque_terms(rates, along, rotors) @ of.torque_terms
        later = rates + dt_s * slope
        attitude = quaternion_product(attitude, _turn(dt_s * (align @ (0.5 * (rates + later)) + of.gyro_offset)))
        attitude = attitude / jnp.linalg.norm(attitude)
        turned = rotation_matrix(attitude)
        force = missing.body * share[2] - along * drag - along * jnp.abs(along) * drag2 + added[3:]
        up = 0.5 * (rotation[:, 2] + turned[:, 2])
        faster = velocity + dt_s * (thrust * up - gravity + rotation @ force + missing.world * share[1])
        position = position + dt_s * (0.5 * (velocity + faster) + missing.slope)
        return (position, faster, attitude, later, turned, share * fade), (position, faster, attitude, later)

    velocity, rates = _smoothed(window.velocity, of.velocity_smoothing), _smoothed(window.rates, of.rate_smoothing)
    start = (jnp.zeros_like(velocity), velocity, window.quaternion, rates, rotation, jnp.ones_like(of.fades))
    _, path = jax.lax.scan(body, start, (torque, thrust, window.rotors[ROTOR_PAST:], seen))
    return path


_roll_members = jax.jit(jax.vmap(jax.vmap(roll, (None, 0, None)), (0, None, None)))


def predict(members: RotorDynamics, windows: RotorWindows, position_m: Vector, dt_s: float) -> list[Prediction]:
    """Prediction of each member.

    Args:
        members: Parameters with a leading axis of members.
        windows: W windows.
        position_m: Positions at their starts, shape (W, 3).
        dt_s: Step [s].
    """
    position, velocity, attitude, rates = (np.asarray(v, np.float64) for v in _roll_members(members, windows, dt_s))
    return [Prediction(position_m[:, None] + p, v, q, w) for p, v, q, w in zip(position, velocity, attitude, rates, strict=True)]


def mean_prediction(members: Sequence[Prediction], weights: Vector) -> Prediction:
    """Weighted mean; quaternions with equal signs, normalised.

    Args:
        members: Predictions of the same windows.
        weights: Of each, with sum 1, shape (members,).
    """
    first = members[0].quaternion_wxyz

    def mean(values: Sequence[Vector]) -> Vector:
        result: Vector = np.tensordot(weights, np.stack(values), axes=1)
        return result

    sign = [np.where(np.sum(m.quaternion_wxyz * first, axis=-1, keepdims=True) < 0, -1.0, 1.0) for m in members]
    attitude = mean([s * m.quaternion_wxyz for s, m in zip(sign, members, strict=True)])
    return Prediction(
        mean([m.position_m for m in members]),
        mean([m.velocity_m_s for m in members]),
        attitude / np.linalg.norm(attitude, axis=-1, keepdims=True),
        mean([m.rates_rad_s for m in members]),
    )
