"""Controllers of one interface: gradient planner, MPPI, CEM, policy, and the simulator's own geometric controller.

Those that rest on the world model share one observer of thrust and disturbance, one tick, and
float32; they see the vehicle relative to the reference, turned so that the heading to hold is zero. Frames: world ENU,
body FLU.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from rotorpy.controllers.quadrotor_control import SE3Control
from rotorpy.vehicles.crazyflie_params import quad_params

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .checkpoint import Checkpoint
from .constraints import Constraints, relative
from .dynamics import step
from .planner import PlannerModel, Problem, inverse_curvature, perturbations, plan, policy_action
from .planner_settings import PlannerSettings
from .policy import single_precision
from .sampling_planners import SamplingSettings, plan_by_sampling
from .task import ActionScale, setpoint

OBSERVER_S = 0.25
"""Time constant of the disturbance estimate [s]."""

Reference = Callable[[Vector], Vector]
"""Times [s], shape (n,), to position [m], velocity [m/s] and acceleration [m/s^2] in world ENU, shape (n, 9)."""


class Controller(Protocol):
    """What flies a vehicle along a reference.

    Attributes:
        name: For tables.
        evaluations: Evaluations of the model per decision, a backward pass counted as one more.
        disagreement: Mean disagreement of the ensemble along the last plan, dimensionless; nan without a plan.
    """

    name: str
    evaluations: int
    disagreement: float

    def reset(self, seed: int) -> None:
        """Forget everything; random numbers start from the seed."""

    def setpoint(self, x13: Vector, t_s: float, reference: Reference, constraints: Constraints | None) -> Vector:
        """Set-point of this tick.

        Args:
            x13: Position [m], velocity [m/s], quaternion wxyz, body rates [rad/s], shape (13,).
            t_s: Time now; one tick later than in the call before [s].
            reference: What to follow.
            constraints: What to keep clear of, in world ENU; None for nothing. Only planners heed them.

        Returns:
            Body rates [rad/s] and collective thrust [m/s^2], shape (4,).
        """


def planner_model(checkpoint: Checkpoint) -> PlannerModel:
    """What a checkpoint gives a planner, as float32."""
    model: PlannerModel = single_precision(
        PlannerModel(
            checkpoint.model,
            checkpoint.action_scale,
            checkpoint.observation_scale,
            checkpoint.cost,
            checkpoint.policy,
            checkpoint.value,
        )
    )
    return model


def turn(yaw_rad: float, x: Vector, reference: Vector, disturbance: Vector) -> tuple[Vector, Vector, Vector]:
    """State (14,), reference rows (n, 9) and disturbance (3,) seen from a frame turned by `yaw_rad` about world z.

    Positions become relative to the first row of the reference. Body rates and thrust stay as they are.
    """
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    half_c, half_s = math.cos(0.5 * yaw_rad), math.sin(0.5 * yaw_rad)
    turned = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    w, qx, qy, qz = x[6:10]
    attitude = (
        half_c * w + half_s * qz,
        half_c * qx + half_s * qy,
        half_c * qy - half_s * qx,
        half_c * qz - half_s * w,
    )
    origin = reference[0, 0:3]
    state = np.concatenate([(x[0:3] - origin) @ turned, x[3:6] @ turned, attitude, x[10:14]])
    rows = reference - np.concatenate([origin, np.zeros(6)])
    return state, (rows.reshape(-1, 3) @ turned).reshape(-1, 9), disturbance @ turned


def _plan(
    settings: PlannerSettings, model: PlannerModel, metric: Any, problem: Problem, plans: Any, key: Any, again: Any
) -> tuple[Any, Any]:
    """One tick of the gradient planner: candidates for the next, and action with disagreement, shape (5,)."""
    kept, ranking = plan(model, settings, metric, problem, plans, perturbations(settings, key), settings.reuse * again)
    return kept, jnp.concatenate([ranking.plan[0], ranking.disagreement[None]])


def _sample(
    settings: SamplingSettings, model: PlannerModel, problem: Problem, mean: Any, key: Any
) -> tuple[Any, Any]:
    """One tick of a sampling planner: mean for the next, and action with disagreement, shape (5,)."""
    result = plan_by_sampling(model, settings, problem, mean, key)
    return result.mean, jnp.concatenate([result.plan[0], result.disagreement[None]])


# Compiled once per settings, whatever the number of controllers.
_plan_jit = jax.jit(_plan, static_argnums=0)
_sample_jit = jax.jit(_sample, static_argnums=0)
_policy_jit = jax.jit(policy_action)
_predict_jit = jax.jit(lambda world, x, s, dt: step(world, x, s, jnp.zeros(3), dt)[0])


class ModelController(ABC):
    """A controller that rests on the world model: observer, frame and hold; `_decide` is the rest.

    Args:
        checkpoint: World model, task, networks.
        horizon, dt_plan_s: Rows of the reference that a decision sees, one more than `horizon`, and their distance.
        decimation: Ticks from decision to decision, the action held between, at least 1.
        yaw_rad: Heading to hold, anticlockwise from east [rad].

    Raises:
        InputError: the decimation is below 1.
    """

    name = ""
    evaluations = 0

    def __init__(
        self, checkpoint: Checkpoint, horizon: int, dt_plan_s: float, decimation: int = 1, yaw_rad: float = 0.0
    ) -> None:
        if decimation < 1:
            raise InputError(f"decimation is {decimation}, must be at least 1 tick")
        self.tick_s = 1.0 / checkpoint.settings.tick_hz
        self.decimation = decimation
        self.yaw_rad = yaw_rad
        self.model = planner_model(checkpoint)
        self._scale = ActionScale(*(np.asarray(v, np.float64) for v in checkpoint.action_scale))
        self._times: Vector = np.arange(horizon + 1) * dt_plan_s
        self._share = 1.0 - math.exp(-self.tick_s / OBSERVER_S)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget everything; random numbers start from the seed."""
        self.disagreement = math.nan
        self._key = jax.random.key(seed)
        self._tick = 0
        self._thrust_m_s2 = GRAVITY_M_S2
        self._disturbance: Vector = np.zeros(3)
        self._predicted: Vector | None = None
        hover = np.array([0.0, 0.0, 0.0, GRAVITY_M_S2])
        self._action: Vector = np.clip((hover - self._scale.centre) / self._scale.half, -1.0, 1.0)

    @property
    def disturbance_m_s2(self) -> Vector:
        """Estimated acceleration that the model lacks, world ENU, shape (3,) [m/s^2]."""
        return self._disturbance

    def setpoint(self, x13: Vector, t_s: float, reference: Reference, constraints: Constraints | None) -> Vector:
        """Set-point of this tick; see `Controller`.

        Raises:
            InputError: the state has another shape or is not finite; the constraints cannot be turned.
        """
        x13 = np.asarray(x13, dtype=np.float64)
        if x13.shape != (13,) or not np.isfinite(x13).all():
            raise InputError(f"the state must be 13 finite numbers, got {x13!r}; stop the flight or mend the estimator")
        if self._predicted is not None:
            lacking = (x13[3:6] - self._predicted[3:6]) / self.tick_s
            self._disturbance = self._disturbance + self._share * (lacking - self._disturbance)
            self._thrust_m_s2 = float(self._predicted[13])
        x = np.append(x13, self._thrust_m_s2)
        if self._tick % self.decimation == 0:
            self._act(x, t_s, reference, constraints)
        self._tick += 1
        command: Vector = np.asarray(setpoint(self._scale, self._action))
        # float32 rounds the velocity to 1e-7 of the speed, so the disturbance to 1e-5 of it per tick of 10 ms.
        self._predicted = np.asarray(_predict_jit(self.model.world, _single(x), _single(command), self.tick_s), float)
        return command

    def _act(self, x: Vector, t_s: float, reference: Reference, constraints: Constraints | None) -> None:
        rows = np.asarray(reference(t_s + self._times), dtype=np.float64)
        state, turned, disturbance = turn(self.yaw_rad, x, rows, self._disturbance)
        seen = None if constraints is None else relative(constraints, rows[0, 0:3], self.yaw_rad)
        problem = Problem(state, turned, disturbance, self._action, seen)  # type: ignore[arg-type]
        key = jax.random.fold_in(self._key, self._tick)
        decided = np.asarray(self._decide(jax.tree.map(_single, problem), key), dtype=np.float64)
        self._action, self.disagreement = decided[0:4], float(decided[4])

    @abstractmethod
    def _decide(self, problem: Problem, key: Any) -> Any:
        """Action in [-1, 1] and the disagreement of its plan, shape (5,)."""


def _single(values: Any) -> Any:
    return np.asarray(values, np.float32)


class PolicyController(ModelController):
    """The policy alone; arguments as in `ModelController`."""

    name = "policy"

    def __init__(self, checkpoint: Checkpoint, decimation: int = 1, yaw_rad: float = 0.0) -> None:
        super().__init__(checkpoint, 0, checkpoint.settings.dt_plan_s, decimation, yaw_rad)

    def _decide(self, problem: Problem, key: Any) -> Any:
        action = _policy_jit(self.model, problem.state, problem.reference[0], problem.disturbance)
        return np.append(action, math.nan)


class GradientController(ModelController):
    """The gradient planner with warm start.

    Args:
        checkpoint, decimation, yaw_rad: As in `ModelController`.
        settings: Of the planner; the shift per decision follows from tick and decimation.
        name: For tables; the preset's name if None.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: PlannerSettings,
        decimation: int = 1,
        yaw_rad: float = 0.0,
        name: str | None = None,
    ) -> None:
        self.name = f"gradient-{settings.preset}" if name is None else name
        self.evaluations = settings.model_evaluations
        super().__init__(checkpoint, settings.horizon, settings.dt_plan_s, decimation, yaw_rad)
        self.settings = _per_decision(settings, self.tick_s * decimation)
        self._metric = _single(inverse_curvature(self.model, settings))

    def reset(self, seed: int) -> None:
        """Forget everything; random numbers start from the seed."""
        super().reset(seed)
        self._plans: Any = None

    def _decide(self, problem: Problem, key: Any) -> Any:
        again = np.float32(0.0 if self._plans is None else 1.0)
        shape = (self.settings.candidates, self.settings.horizon, 4)
        plans = np.zeros(shape, np.float32) if self._plans is None else self._plans
        self._plans, decided = _plan_jit(self.settings, self.model, self._metric, problem, plans, key, again)
        return decided


class SamplingController(ModelController):
    """A sampling planner with warm start; arguments as in `GradientController`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: SamplingSettings,
        decimation: int = 1,
        yaw_rad: float = 0.0,
        name: str | None = None,
    ) -> None:
        self.name = settings.problem.preset if name is None else name
        self.evaluations = settings.model_evaluations
        super().__init__(checkpoint, settings.problem.horizon, settings.problem.dt_plan_s, decimation, yaw_rad)
        self.settings = replace(settings, problem=_per_decision(settings.problem, self.tick_s * decimation))

    def reset(self, seed: int) -> None:
        """Forget everything; random numbers start from the seed."""
        super().reset(seed)
        self._mean: Any = None

    def _decide(self, problem: Problem, key: Any) -> Any:
        mean = np.zeros((self.settings.problem.horizon, 4), np.float32) if self._mean is None else self._mean
        self._mean, decided = _sample_jit(self.settings, self.model, problem, mean, key)
        return decided


def _per_decision(settings: PlannerSettings, decision_s: float) -> PlannerSettings:
    return replace(settings, shift_knots=min(1.0, decision_s / settings.dt_plan_s))


class GeometricController:
    """rotorpy's SE3 controller (Lee, Leok, McClamroch, CDC 2010) behind a rate loop, with nominal parameters.

    It is given position, velocity and acceleration of the reference; jerk and snap count as zero. It knows no wind and
    no constraints. See `baseline` for how its angular acceleration becomes body rates.

    Args:
        parameters: Vehicle parameters as rotorpy writes them; its Crazyflie if None.
        yaw_rad: Heading to hold, anticlockwise from east [rad].
    """

    name = "geometric"
    evaluations = 0

    def __init__(self, parameters: Mapping[str, Any] | None = None, yaw_rad: float = 0.0) -> None:
        self._control = SE3Control(quad_params if parameters is None else parameters)
        self.yaw_rad = yaw_rad
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Nothing to forget: it has no memory and no random numbers."""
        self.disagreement = math.nan

    def setpoint(self, x13: Vector, t_s: float, reference: Reference, constraints: Constraints | None) -> Vector:
        """Set-point of this tick; see `Controller`."""
        row = np.asarray(reference(np.array([t_s])), dtype=np.float64)[0]
        state = {"x": x13[0:3], "v": x13[3:6], "q": x13[[7, 8, 9, 6]], "w": x13[10:13]}
        flat = {
            "x": row[0:3],
            "x_dot": row[3:6],
            "x_ddot": row[6:9],
            "x_dddot": np.zeros(3),
            "x_ddddot": np.zeros(3),
            "yaw": self.yaw_rad,
            "yaw_dot": 0.0,
            "yaw_ddot": 0.0,
        }
        command = self._control.update(t_s, state, flat)
        rates = x13[10:13] + command["cmd_w"] / self._control.kd_att
        return np.append(rates, float(command["cmd_thrust"]) / self._control.mass)
