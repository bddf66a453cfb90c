"""Closed loops of many states, as specifications: quadrotors alone and in a swarm, and a planar arm of ten joints.

They restate the systems of Tables II and III of arXiv:2605.25346, whose code and full parameters are not public; what is our own choice
is marked (*). All are continuous with a zero-order hold.
"""

from __future__ import annotations

from fractions import Fraction

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .specification import Property, Specification

GRAVITY_M_S2 = 9.81
MASS_KG = 1.4
INERTIA_KG_M2 = (0.054, 0.054, 0.104)
KP_VELOCITY_1_S, KP_ATTITUDE_1_S, KP_RATE_N_M_S = np.array([3.0, 3.0, 10.0]), 10.0, 1.0
SPRING_N_M = 0.5  # (*) to the centre of the swarm
STATES = ("x", "y", "z", "vx", "vy", "vz", "phi", "theta", "psi", "p", "q", "r")
JOINTS = 10
LINK_M = 0.1  # (*) one metre in all
LIMIT = 1e3  # of the property that only makes the tube a specification


def quadrotor_derivative(x: Float[Array, "12"], u: Float[Array, "3"], force_n: Float[Array, "3"]) -> Float[Array, "12"]:
    """Rigid body, world frame with z up, ZYX Euler angles; thrust [N] along body z, torques about body x and y [N m], none about z.

    Args:
        x: position [m], velocity [m/s], roll, pitch, yaw [rad], body rates [rad/s].
        u: thrust, two torques.
        force_n: further force in the world frame [N].
    """
    (phi, theta, psi), (p, q, r) = x[6:9], x[9:12]
    sp, cp, st, ct, ss, cs = (f(a) for a in (phi, theta, psi) for f in (jnp.sin, jnp.cos))
    pull = u[0] / MASS_KG
    turn = q * sp + r * cp
    jx, jy, jz = INERTIA_KG_M2
    return jnp.stack([
        x[3], x[4], x[5],
        (cs * st * cp + ss * sp) * pull + force_n[0] / MASS_KG,
        (ss * st * cp - cs * sp) * pull + force_n[1] / MASS_KG,
        ct * cp * pull - GRAVITY_M_S2 + force_n[2] / MASS_KG,
        p + jnp.tan(theta) * turn, q * cp - r * sp, turn / ct,
        ((jy - jz) * q * r + u[1]) / jx, ((jz - jx) * p * r + u[2]) / jy, (jx - jy) / jz * p * q,
    ])  # fmt: skip


def cascade(x: Float[Array, "12"], command_m_s: Float[Array, "3"]) -> Float[Array, "3"]:
    """Proportional cascade from velocity over attitude to rate, linear at yaw 0 (*): thrust and two torques."""
    acceleration = KP_VELOCITY_1_S * (command_m_s - x[3:6])
    roll, pitch = -acceleration[1] / GRAVITY_M_S2, acceleration[0] / GRAVITY_M_S2
    torque_x = KP_RATE_N_M_S * (KP_ATTITUDE_1_S * (roll - x[6]) - x[9])
    torque_y = KP_RATE_N_M_S * (KP_ATTITUDE_1_S * (pitch - x[7]) - x[10])
    return jnp.stack([MASS_KG * (GRAVITY_M_S2 + acceleration[2]), torque_x, torque_y])


def swarm(count: int, steps: int = 100, half: float = 0.05, command_m_s: tuple[float, float, float] = (0.5, 0.2, 0.0)) -> Specification:
    """`count` quadrotors on a circle (*) of 2 m, every one pulled to its place about the swarm's centre by a spring; period 0.02 s.

    Args:
        count: quadrotors; 6 is the swarm of the paper, with 72 states and 18 inputs.
        steps: control periods.
        half: half width of every position [m] and velocity [m/s]; angles and rates start at 0 exactly.
        command_m_s: velocity command (*), the same for all.
    """
    angles = 2 * np.pi * np.arange(count) / count
    places = 2.0 * np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], axis=1)

    def dynamics(x: Array, u: Array, w: Array, p: Array) -> Array:
        bodies, inputs = x.reshape(count, 12), u.reshape(count, 3)
        centre = jnp.sum(bodies[:, :3], axis=0) * (1.0 / count)
        forces = [SPRING_N_M * (centre + places[i] - bodies[i, :3]) if count > 1 else jnp.zeros(3) for i in range(count)]
        return jnp.concatenate([quadrotor_derivative(bodies[i], inputs[i], forces[i]) for i in range(count)])

    def law(y: Array, x: Array) -> Array:
        return jnp.concatenate([cascade(b, jnp.asarray(command_m_s)) for b in x.reshape(count, 12)])

    middle = np.concatenate([places, np.zeros((count, 9))], axis=1).ravel()
    radius = np.tile([half] * 6 + [0.0] * 6, count)
    states = tuple(f"{name}{i}" for i in range(count) for name in STATES)
    inputs = tuple(f"{name}{i}" for i in range(count) for name in ("thrust", "torque_x", "torque_y"))
    return _loop(f"swarm of {count}", states, inputs, dynamics, law, middle, radius, 0.02, steps)


def arm(steps: int = 100) -> Specification:
    """Ten joints in a plane, period 0.01 s: joint angles and rates, and the x and y of every link's tip, 40 states (*).

    Joint i turns link i relative to link i - 1. (*) The action is an acceleration per joint, u = -4 q - 2 rate; the plant adds friction
    and weight, rate' = u - 0.2 rate - 0.5 cos(sum of the angles so far). Rates start within +-0.1 rad/s, all else
    exactly at a bent pose.
    """
    start = np.linspace(0.3, -0.1, JOINTS)
    running = np.tril(np.ones((JOINTS, JOINTS)))

    def dynamics(x: Array, u: Array, w: Array, p: Array) -> Array:
        angles, rates = running @ x[:JOINTS], running @ x[JOINTS : 2 * JOINTS]
        return jnp.concatenate([
            x[JOINTS : 2 * JOINTS],
            u - 0.2 * x[JOINTS : 2 * JOINTS] - 0.5 * jnp.cos(angles),
            running @ (-LINK_M * jnp.sin(angles) * rates),
            running @ (LINK_M * jnp.cos(angles) * rates),
        ])  # fmt: skip

    def law(y: Array, x: Array) -> Array:
        return -4.0 * x[:JOINTS] - 2.0 * x[JOINTS : 2 * JOINTS]

    angles = np.cumsum(start)
    middle = np.concatenate([start, np.zeros(JOINTS), np.cumsum(LINK_M * np.cos(angles)), np.cumsum(LINK_M * np.sin(angles))])
    radius = np.repeat([0.0, 0.1, 0.0, 0.0], JOINTS)
    states = tuple(f"{name}{i}" for name in ("angle", "rate", "tip_x", "tip_y") for i in range(JOINTS))
    return _loop("arm", states, tuple(f"u{i}" for i in range(JOINTS)), dynamics, law, middle, radius, 0.01, steps)


def _loop(
    name: str, states: tuple[str, ...], inputs: tuple[str, ...], dynamics: object, law: object, middle: Float[Array, "n"],
    radius: Float[Array, "n"], period_s: float, steps: int,
) -> Specification:  # fmt: skip
    limit = Property(
        "stay", (0.0, steps * period_s), (Fraction(0), Fraction(steps)), lambda x: x[:1] - LIMIT, (f"{states[0]} <= {LIMIT:g}",)
    )
    none = np.zeros((0, 2))
    box = np.stack([middle - radius, middle + radius], axis=1)
    return Specification(
        name, "arXiv:2605.25346", states, inputs, (), (), dynamics, False, none, none, box, period_s, steps, (0.0, 0.0), 0, None,
        lambda x: x[:0], law, (limit,),
    )  # type: ignore[arg-type]  # fmt: skip
