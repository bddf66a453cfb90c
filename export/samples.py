"""Random planning problems on which graphs are compared: near the reference, and far outside any training data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train.planner_settings import PlannerSettings

from .constraint_graph import ConstraintSize

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spread:
    """Half-widths (uniform) of the drawn quantities, in SI units.

    Attributes:
        error_m, error_m_s: Position and velocity away from the reference.
        reference_m, reference_m_s, reference_m_s2: Change of the reference over the horizon, its speed, acceleration.
        tilt: Size of the vector part of the quaternion before normalisation (0.3 is about 35 degrees).
        rate_rad_s, thrust_m_s2, disturbance_m_s2: Body rates, thrust away from gravity, disturbance.
        action: Plans away from zero, in action units.
    """

    error_m: float
    error_m_s: float
    reference_m: float
    reference_m_s: float
    reference_m_s2: float
    tilt: float
    rate_rad_s: float
    thrust_m_s2: float
    disturbance_m_s2: float
    action: float


INSIDE = Spread(0.3, 0.5, 1.0, 3.0, 3.0, 0.3, 2.0, 3.0, 1.5, 0.3)
OUTSIDE = Spread(10.0, 10.0, 5.0, 10.0, 8.0, 5.0, 10.0, 9.0, 5.0, 1.0)


NO_CONSTRAINTS = ConstraintSize()


def draw(
    settings: PlannerSettings, count: int, seed: int, constraints: ConstraintSize = NO_CONSTRAINTS
) -> dict[str, Array]:
    """Inputs of all planner graphs, first axis the sample: the first half from `INSIDE`, the rest from `OUTSIDE`.

    Args:
        settings: Number of candidates and horizon.
        count: Number of samples.
        seed: Of the generator; the same seed gives the same samples.
        constraints: Rows of the tables of obstacles and faces; without any, the samples have none.
    """
    rng = np.random.default_rng(seed)
    half = count // 2
    parts = [_draw(settings, INSIDE, half, rng), _draw(settings, OUTSIDE, count - half, rng)]
    result = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {**result, **_draw_constraints(constraints, count, rng)}


def _draw_constraints(size: ConstraintSize, count: int, rng: np.random.Generator) -> dict[str, Array]:
    """Ellipsoids of 0.2 to 2 m within 3 m, faces within 2 m, and a speed limit of 0.5 to 4 m/s: most are broken."""
    if not size:
        return {}
    axes = rng.uniform(0.2, 2.0, size=(count, size.obstacles, 3))
    centre = rng.uniform(-3.0, 3.0, size=(count, size.obstacles, 3))
    normal = rng.normal(size=(count, size.faces, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    samples = {
        "obstacles": np.concatenate([centre, axes**-2], axis=-1),
        "fence": np.concatenate([normal, rng.uniform(0.0, 2.0, size=(count, size.faces, 1))], axis=-1),
        "speed_limit": rng.uniform(0.5, 4.0, size=(count, 1)),
    }
    return {name: array.astype(np.float32).astype(np.float64) for name, array in samples.items()}


def _draw(settings: PlannerSettings, spread: Spread, count: int, rng: np.random.Generator) -> dict[str, Array]:
    def uniform(width: float, *shape: int) -> Array:
        return rng.uniform(-width, width, size=(count, *shape))

    knots = settings.horizon + 1
    plan_shape = (settings.candidates, settings.horizon, 4)
    path = np.linspace(0.0, 1.0, knots)[None, :, None] * uniform(spread.reference_m, 1, 3)
    acceleration = uniform(spread.reference_m_s2, knots, 3)
    acceleration[..., 2] = np.maximum(acceleration[..., 2], 2.0 - GRAVITY_M_S2)  # a reference the vehicle can hold
    reference = np.concatenate([path, uniform(spread.reference_m_s, knots, 3), acceleration], axis=-1)
    quaternion = np.concatenate([np.ones((count, 1)), uniform(spread.tilt, 3)], axis=1)
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    state = np.concatenate(
        [
            uniform(spread.error_m, 3),
            reference[:, 0, 3:6] + uniform(spread.error_m_s, 3),
            quaternion,
            uniform(spread.rate_rad_s, 3),
            GRAVITY_M_S2 + uniform(spread.thrust_m_s2, 1),
        ],
        axis=1,
    )
    reuse = rng.uniform(0.0, 1.0, size=(count, 1)) * (rng.uniform(size=(count, 1)) > 0.1)
    samples = {
        "state": state[:, None],
        "reference": reference,
        "disturbance": uniform(spread.disturbance_m_s2, 1, 3),
        "previous_action": uniform(spread.action, 1, 4),
        "previous_plans": uniform(spread.action, *plan_shape),
        "plans": uniform(spread.action, settings.horizon * settings.candidates, 4),
        "noise": 0.5 * uniform(spread.action, *plan_shape),
        "reuse": reuse,
    }
    return {name: array.astype(np.float32).astype(np.float64) for name, array in samples.items()}
