"""What policy, value and planner share: observation, action scaling, stage cost and the small networks.

Everything is written for one state and mapped with `jax.vmap`. All positions are relative to the reference, so float32
loses nothing far from the origin. World frame: ENU, turned so that the reference yaw is zero.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.types import GRAVITY_M_S2

from .dynamics import rotation_matrix

OBSERVATION_SIZE = 20
ACTION_SIZE = 4
REFERENCE_SIZE = 9


class ActionScale(NamedTuple):
    """Maps an action in [-1, 1] to a setpoint: setpoint = centre + half * action.

    Attributes:
        centre: [rad/s, rad/s, rad/s, m/s^2], shape (4,).
        half: Half ranges, same units, shape (4,).
    """

    centre: Float[Array, "4"]
    half: Float[Array, "4"]


class ObservationScale(NamedTuple):
    """Divisors of the observation entries (shape (20,)) and the clip of the position error [m] (shape ())."""

    divisor: Float[Array, "20"]
    position_clip_m: Float[Array, ""]


class CostWeights(NamedTuple):
    """Weights of the stage cost, each per second of flight; the cost is the negative reward.

    Attributes:
        position: Weight of the squared position error [1/m^2], shape (3,).
        velocity: Weight of the squared velocity error [s^2/m^2], shape (3,).
        tilt: Weight of the squared horizontal difference of the thrust direction from the reference's, shape ().
        heading: Weight of the squared sine of the heading error, shape ().
        rates: Weight of the squared body rates [s^2/rad^2], shape (3,).
        action: Weight of the squared action beyond the reference's feed-forward, shape (4,).
        smooth: Weight of the squared change of action between steps, shape (4,).
        disagreement: Weight lambda of the ensemble's disagreement, shape ().
    """

    position: Float[Array, "3"]
    velocity: Float[Array, "3"]
    tilt: Float[Array, ""]
    heading: Float[Array, ""]
    rates: Float[Array, "3"]
    action: Float[Array, "4"]
    smooth: Float[Array, "4"]
    disagreement: Float[Array, ""]


class Network(NamedTuple):
    """Two hidden tanh layers and a linear output; weights (inputs, outputs)."""

    w1: Float[Array, "inputs width"]
    b1: Float[Array, "width"]
    w2: Float[Array, "width width"]
    b2: Float[Array, "width"]
    w3: Float[Array, "width outputs"]
    b3: Float[Array, "outputs"]


def network(parameters: Network, inputs: Float[Array, "inputs"]) -> Float[Array, "outputs"]:
    """Evaluate the network on one input."""
    hidden = jnp.tanh(inputs @ parameters.w1 + parameters.b1)
    hidden = jnp.tanh(hidden @ parameters.w2 + parameters.b2)
    return hidden @ parameters.w3 + parameters.b3


def setpoint(scale: ActionScale, action: Float[Array, "4"]) -> Float[Array, "4"]:
    """Set-point [rad/s, m/s^2] of an action in [-1, 1]."""
    return scale.centre + scale.half * action


def observe(
    scale: ObservationScale,
    x: Float[Array, "14"],
    reference: Float[Array, "9"],
    disturbance: Float[Array, "3"],
) -> Float[Array, "20"]:
    """Observation of policy and value.

    Args:
        scale: Divisors and clip.
        x: State, shape (14,); see `dynamics`.
        reference: Position [m], velocity [m/s] and acceleration [m/s^2] at this instant, shape (9,).
        disturbance: Estimated constant acceleration in the world [m/s^2], shape (3,).

    Returns:
        Position error (3, clipped), velocity error (3), up direction of the body in the world (3), sine of heading
        (1), rates (3), thrust minus gravity (1), reference acceleration (3), disturbance (3), each divided by its
        scale.
    """
    rotation = rotation_matrix(x[6:10])
    clip = scale.position_clip_m
    entries = jnp.concatenate(
        [
            jnp.clip(x[0:3] - reference[0:3], -clip, clip),
            x[3:6] - reference[3:6],
            rotation[:, 2],
            rotation[1, 0:1],
            x[10:13],
            x[13:14] - GRAVITY_M_S2,
            reference[6:9],
            disturbance,
        ]
    )
    return entries / scale.divisor


def feedforward(reference: Float[Array, "9"], disturbance: Float[Array, "3"]) -> Float[Array, "3"]:
    """Thrust vector in the world that would hold the reference [m/s^2]: acceleration + gravity - disturbance."""
    return reference[6:9] + jnp.array([0.0, 0.0, GRAVITY_M_S2]) - disturbance


def stage_cost(
    weights: CostWeights,
    scale: ActionScale,
    x: Float[Array, "14"],
    reference: Float[Array, "9"],
    disturbance: Float[Array, "3"],
    action: Float[Array, "4"],
    previous_action: Float[Array, "4"],
) -> Float[Array, ""]:
    """Cost per second at one step, without the disagreement term.

    `x` is the state *after* the action acted, `reference` the one of that instant.
    """
    thrust = feedforward(reference, disturbance)
    magnitude = jnp.sqrt(jnp.sum(thrust**2))
    rotation = rotation_matrix(x[6:10])
    tilt = rotation[0:2, 2] - thrust[0:2] / magnitude
    hover = jnp.concatenate([jnp.zeros(3), magnitude[None]])
    effort = action - (hover - scale.centre) / scale.half
    return (
        jnp.sum(weights.position * (x[0:3] - reference[0:3]) ** 2)
        + jnp.sum(weights.velocity * (x[3:6] - reference[3:6]) ** 2)
        + weights.tilt * jnp.sum(tilt**2)
        + weights.heading * rotation[1, 0] ** 2
        + jnp.sum(weights.rates * x[10:13] ** 2)
        + jnp.sum(weights.action * effort**2)
        + jnp.sum(weights.smooth * (action - previous_action) ** 2)
    )
