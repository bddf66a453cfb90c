"""The policy in closed loop: in its own model and in the independent simulator, with a simple disturbance observer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .checkpoint import Checkpoint
from .dynamics import step
from .references import Tones, reference_at
from .task import network, observe, setpoint

OBSERVER_S = 0.25
"""Time constant of the disturbance estimate [s]."""


class Vehicle(Protocol):
    """What is flown: the interface of the simulated quadrotor."""

    def step(self, rates_rad_s: Vector, throttle: float, dt_s: float) -> None:
        """Advance under body rates [rad/s] and throttle 0..1 for a time [s]."""

    @property
    def position_m(self) -> Vector:
        """World ENU, shape (3,)."""

    @property
    def velocity_m_s(self) -> Vector:
        """World ENU, shape (3,)."""

    @property
    def quaternion_wxyz(self) -> Vector:
        """Body FLU to world ENU, shape (4,)."""

    @property
    def rates_rad_s(self) -> Vector:
        """Body FLU, shape (3,)."""


class ModelVehicle:
    """The learned model as the vehicle, under a constant disturbance.

    Args:
        checkpoint: World model and thrust scale.
        position_m: Start, world ENU, shape (3,) [m].
        disturbance_m_s2: Constant acceleration, world ENU, shape (3,) [m/s^2].
    """

    def __init__(self, checkpoint: Checkpoint, position_m: Vector, disturbance_m_s2: Vector) -> None:
        self._x = np.concatenate([position_m, np.zeros(3), [1.0], np.zeros(6), [GRAVITY_M_S2]])
        self._scale = checkpoint.settings.thrust_scale_m_s2
        self._advance = jax.jit(
            lambda x, s, dt: step(checkpoint.model, x, s, jnp.asarray(disturbance_m_s2), dt)[0]
        )

    def step(self, rates_rad_s: Vector, throttle: float, dt_s: float) -> None:
        """Advance under body rates [rad/s] and throttle 0..1 for a time [s]."""
        self._x = np.asarray(self._advance(self._x, np.array([*rates_rad_s, throttle * self._scale]), dt_s))

    @property
    def position_m(self) -> Vector:
        """World ENU, shape (3,)."""
        return self._x[0:3]

    @property
    def velocity_m_s(self) -> Vector:
        """World ENU, shape (3,)."""
        return self._x[3:6]

    @property
    def quaternion_wxyz(self) -> Vector:
        """Body FLU to world ENU, shape (4,)."""
        return self._x[6:10]

    @property
    def rates_rad_s(self) -> Vector:
        """Body FLU, shape (3,)."""
        return self._x[10:13]


def make_controller(checkpoint: Checkpoint) -> Callable[[Vector, Vector, Vector], Vector]:
    """Setpoint [rad/s, m/s^2] of the policy for a state (14,), reference (9,) and disturbance (3,)."""

    def control(x: Vector, reference: Vector, disturbance: Vector) -> jax.Array:
        observation = observe(checkpoint.observation_scale, x, reference, disturbance)
        return setpoint(checkpoint.action_scale, jnp.tanh(network(checkpoint.policy, observation)))

    jitted = jax.jit(control)
    return lambda x, reference, disturbance: np.asarray(jitted(x, reference, disturbance), dtype=np.float64)


def track(
    checkpoint: Checkpoint, vehicle: Vehicle, tones: Tones, duration_s: float, settle_s: float
) -> tuple[float, Vector]:
    """Fly a reference with the policy alone.

    Args:
        checkpoint: What was learnt.
        vehicle: Simulator or model, already in the air near the start of the reference.
        tones: The reference.
        duration_s: How long [s].
        settle_s: Beginning that does not count, in which the vehicle joins the reference [s].

    Returns:
        RMS position error [m] after settling, and all positions and references side by side, shape (T, 6).
    """
    dt = 1.0 / checkpoint.settings.tick_hz
    scale = checkpoint.settings.thrust_scale_m_s2
    control = make_controller(checkpoint)
    predict = jax.jit(lambda x, s: step(checkpoint.model, x, s, jnp.zeros(3), dt)[0])
    refer = jax.jit(lambda t: reference_at(tones, t))
    thrust, disturbance = GRAVITY_M_S2, np.zeros(3)
    share = 1 - np.exp(-dt / OBSERVER_S)
    path = []
    for k in range(int(duration_s / dt)):
        x = np.concatenate(
            [vehicle.position_m, vehicle.velocity_m_s, vehicle.quaternion_wxyz, vehicle.rates_rad_s, [thrust]]
        )
        reference = np.asarray(refer(k * dt), dtype=np.float64)
        path.append(np.concatenate([x[0:3], reference[0:3]]))
        command = control(x, reference, disturbance)
        following = np.asarray(predict(x, command), dtype=np.float64)
        vehicle.step(command[0:3], float(np.clip(command[3] / scale, 0.0, 1.0)), dt)
        disturbance = disturbance + share * ((vehicle.velocity_m_s - following[3:6]) / dt - disturbance)
        thrust = float(following[13])
    flown = np.array(path)
    counted = flown[int(settle_s / dt) :]
    rmse = float(np.sqrt(np.mean(np.sum((counted[:, 0:3] - counted[:, 3:6]) ** 2, axis=1))))
    return rmse, flown
