"""What a plan may do at once by the certificate: bounds on combinations of velocity, acceleration and jerk.

The certified set is one of position, velocity, acceleration and jerk (docs/certificate.md, section 2). The position drops out, as the
anchor may be chosen; what is left bounds speed, tilt, and how fast rates and thrust change the motion. Acceleration means the one
without drag, disturbance estimate included, as in the certificate. Of a plan all three come from the velocities that it leads to, by
central differences, so that nothing else of the model has to be known.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float


class Envelope(NamedTuple):
    """Bounds that hold together; a pytree. With v, a, j the velocity [m/s], acceleration [m/s^2] and jerk [m/s^3], a row (x, y, z)
    says that x v + y a + z j is at most 1.

    Attributes:
        level: Of the horizontal vectors, whose combination is at most 1 in length, shape (k, 3) [s/m, s^2/m, s^3/m].
        upright: Of the vertical components, in magnitude, shape (m, 3), likewise.
        drag_1_s: Linear drag, horizontal and vertical, shape (2,) [1/s].
    """

    level: Float[Array, "rows 3"]
    upright: Float[Array, "rows 3"]
    drag_1_s: Float[Array, "2"]


class Differences(NamedTuple):
    """Matrices (H - 1, H + 1) from the velocities at the ends of the steps, the present one first, to what they say of the instants
    between the steps: velocity, its mean around, its slope [1/s], and the change of the slope [1/s^2]."""

    velocity: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    slope: npt.NDArray[np.float64]
    bend: npt.NDArray[np.float64]


def differences(horizon: int, dt_s: float) -> Differences:
    """Central differences for steps of `dt_s` [s]; no rows for a horizon of 1."""
    before, here, after = (np.eye(max(horizon - 1, 0), horizon + 1, k) for k in (0, 1, 2))
    return Differences(
        here, (before + 2.0 * here + after) / 4.0, (after - before) / (2.0 * dt_s), (before - 2.0 * here + after) / dt_s**2
    )


def excess(envelope: Envelope, velocities: Float[Array, "knots 3"], dt_s: float) -> Float[Array, "steps"]:
    """How far a plan is beyond the envelope: sum of max(0, |combination|^2 - 1)^2 over its rows, at each instant between two steps.

    Args:
        envelope: In the frame of the velocities, or in any that is turned about z against it.
        velocities: World, at the ends of the steps, the present one first, shape (H + 1, 3) [m/s].
        dt_s: Length of a step [s].

    Returns:
        Shape (H - 1,), dimensionless; 0 exactly where the plan is within.
    """
    d = differences(len(velocities) - 1, dt_s)
    here, mean, slope, bend = (jnp.asarray(matrix, velocities.dtype) @ velocities for matrix in d)
    drag = envelope.drag_1_s[jnp.array([0, 0, 1])]
    motion = jnp.stack([here, slope + drag * mean, bend + drag * slope])  # (3, H - 1, 3)
    level = jnp.einsum("kc,chi->khi", envelope.level, motion[:, :, 0:2])
    upright = jnp.einsum("kc,ch->kh", envelope.upright, motion[:, :, 2])
    beyond = jnp.concatenate([jnp.sum(level**2, axis=2), upright**2]) - 1.0
    return jnp.sum(jnp.maximum(beyond, 0.0) ** 2, axis=0)
