"""The tasks as Gymnasium environments: `gymnasium.make("tubepilot/FigureEight2-v0")` after importing this module.

Action: Box(-1, 1, (4,)), linear in the set-point limits of `TaskFlight` (body rates, collective thrust). Observation: one Box of
finite bounds, clipped; its entries in order are those of `OBSERVATION`. An episode ends with a crash (terminated) or at the
task's duration (truncated).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import InputError, MissingExtraError
from tubepilot.firmware_bridge.types import Vector

from .task_definition import TASKS, TaskDefinition, load_task
from .task_flight import TaskFlight
from .task_vehicle import RotorpyVehicle, Vehicle

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise MissingExtraError('the environments need gymnasium; install it: pip install "tubepilot[sim]"') from error

LOOK_AHEAD_S = (0.1, 0.2, 0.4, 0.8)
"""Times ahead of the reference points that are shown [s]: from one to a few times the lag of a small quadrotor's attitude."""

NEAREST = 3
"""Number of obstacles that are shown, nearest first: two make a gap, the third is what stands behind it."""

FAR_M = 10.0
"""Bound of distances in the observation [m]; an obstacle that is not there is this far off on both axes, with radius 0."""

OBSERVATION: tuple[tuple[str, int, float], ...] = (
    ("position error, world [m]", 3, FAR_M),
    ("velocity error, world [m/s]", 3, 20.0),
    ("velocity, world [m/s]", 3, 20.0),
    ("rotation matrix body to world, row by row", 9, 1.0),
    ("body rates [rad/s]", 3, 30.0),
    ("reference acceleration, world [m/s^2]", 3, 30.0),
    ("reference points ahead minus position, world [m]", 3 * len(LOOK_AHEAD_S), FAR_M),
    ("nearest obstacles: east and north of the vehicle, radius to keep clear of [m]", 3 * NEAREST, FAR_M),
)
"""Meaning, number and bound of the observation's entries."""

FRAME_RATE_HZ = 20


def environment_id(task: str) -> str:
    """Gymnasium's id of a task: `figure_eight_2` is `tubepilot/FigureEight2-v0`."""
    return f"tubepilot/{''.join(part.capitalize() for part in task.split('_'))}-v0"


class TaskEnvironment(gymnasium.Env[npt.NDArray[np.float32], npt.NDArray[np.float32]]):
    """One task; every reset flies it under newly drawn conditions.

    Args:
        task: Name, TOML file or definition.
        make_vehicle: Makes what flies; rotorpy's Crazyflie by default.
        render_mode: None or "rgb_array": the task's picture with the flight so far.

    Raises:
        InputError: no such task or render mode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": FRAME_RATE_HZ}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(
        self,
        task: str | TaskDefinition,
        make_vehicle: Callable[[], Vehicle] = RotorpyVehicle,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise InputError(f"the render mode must be None or one of {self.metadata['render_modes']}, got {render_mode!r}")
        self.task = task if isinstance(task, TaskDefinition) else load_task(task)
        self.render_mode = render_mode
        self._vehicle = make_vehicle()
        self._flight: TaskFlight | None = None
        self._seed, self._flown = 0, [np.zeros(7)]
        bound = np.concatenate([np.full(count, limit) for _, count, limit in OBSERVATION]).astype(np.float32)
        self._bound = bound
        self.observation_space = spaces.Box(-bound, bound, dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (4,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Begin a flight whose conditions `np_random` draws.

        Args:
            seed: Seeds `np_random` if given.
            options: Not used.

        Returns:
            The observation, and the flight's seed for `TaskFlight` (key "flight_seed").
        """
        super().reset(seed=seed)
        self._seed = int(self.np_random.integers(2**31))
        self._flight = TaskFlight(self.task, self._seed, self._vehicle)
        self._flown = [self._row(self._flight)]
        return self._observe(self._flight), {"flight_seed": self._seed}

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Hold an action for one tick of 10 ms.

        Args:
            action: In [-1, 1], shape (4,): body rates and collective thrust over their limits.

        Returns:
            Observation, reward in [0, 1], terminated, truncated and info: that of `StepResult` and, at the end, "reason" and
            "score".

        Raises:
            InputError: `reset` was not called, or the flight is over.
        """
        if self._flight is None:
            raise InputError("the environment must be reset before its first step")
        flight = self._flight
        half, centre = 0.5 * (flight.action_high - flight.action_low), 0.5 * (flight.action_high + flight.action_low)
        result = flight.step(centre + half * np.asarray(action, dtype=np.float64))
        self._flown.append(self._row(flight))
        info = dict(result.info)
        if flight.finished:
            info |= {"reason": result.reason or "duration", "score": flight.score}
        truncated = flight.finished and not result.terminated
        return self._observe(flight), result.reward, result.terminated, truncated, info

    def render(self) -> npt.NDArray[np.uint8] | None:  # type: ignore[override]
        """The picture of the flight so far, shape (height, width, 3), or None without a render mode.

        Raises:
            InputError: `reset` was not called.
        """
        if self.render_mode is None:
            return None
        if self._flight is None:
            raise InputError("the environment must be reset before it can be rendered")
        from matplotlib import image

        from .task_picture import draw

        picture = image.imread(io.BytesIO(draw(self.task, self._seed, {"flown": np.array(self._flown)})))
        return np.ascontiguousarray(np.round(picture[:, :, 0:3] * 255.0).astype(np.uint8))

    @staticmethod
    def _row(flight: TaskFlight) -> Vector:
        return np.concatenate([[flight.time_s], flight.true_state()[0:6]])

    def _observe(self, flight: TaskFlight) -> npt.NDArray[np.float32]:
        """The entries of `OBSERVATION`, from the estimate."""
        x = flight.state()
        now, *ahead = flight.reference(flight.time_s + np.array([0.0, *LOOK_AHEAD_S]))
        w, i, j, k = x[6:10]
        rotation = [1 - 2 * (j * j + k * k), 2 * (i * j - w * k), 2 * (i * k + w * j)]
        rotation += [2 * (i * j + w * k), 1 - 2 * (i * i + k * k), 2 * (j * k - w * i)]
        rotation += [2 * (i * k - w * j), 2 * (j * k + w * i), 1 - 2 * (i * i + j * j)]
        points = np.array(ahead)[:, 0:3] - x[0:3]
        entries = [x[0:3] - now[0:3], x[3:6] - now[3:6], x[3:6], rotation, x[10:13], now[6:9], points.ravel()]
        observation = np.concatenate([*entries, self._nearest(flight, x).ravel()])
        return np.clip(np.nan_to_num(observation), -self._bound, self._bound).astype(np.float32)

    def _nearest(self, flight: TaskFlight, x: Vector) -> Vector:
        """Offset and kept-clear radius of the nearest obstacles, shape (NEAREST, 3) [m]."""
        shown = np.tile([FAR_M, FAR_M, 0.0], (NEAREST, 1))
        if len(flight.obstacles):
            kept = flight.obstacles[:, 2] + self.task.vehicle_radius_m + self.task.obstacle_margin_m
            offset = flight.obstacles[:, 0:2] - x[0:2]
            order = np.argsort(np.linalg.norm(offset, axis=1) - kept)[:NEAREST]
            shown[: len(order)] = np.column_stack([offset[order], kept[order]])
        return shown


def register() -> None:
    """Make every task known to Gymnasium; harmless when done before."""
    for task in TASKS:
        if environment_id(task) not in gymnasium.registry:
            gymnasium.register(environment_id(task), entry_point=TaskEnvironment, kwargs={"task": task})


register()
