"""Tasks of the DeepMind control suite (arXiv:1801.00690) by name, with their observations flattened."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import InputError, MissingExtraError

_STEPS = 1000  # of the simulation in an episode of the suite
TASKS = {"cartpole-swingup-sparse": ("cartpole", "swingup_sparse"), "acrobot-swingup": ("acrobot", "swingup")}


def installed() -> bool:
    """Whether dm_control can be imported."""
    return find_spec("dm_control") is not None


class DmControlTask:
    """A task of the suite; see `task.Task`. Nothing is rendered."""

    def __init__(self, name: str, repeat: int = 2) -> None:
        """Load a task.

        Args:
            name: One of `TASKS`.
            repeat: Simulation steps that an action is held for; divides 1000.

        Raises:
            InputError: the name is unknown or the repeat does not divide the episode.
            MissingExtraError: dm_control is not installed.
        """
        if name not in TASKS:
            raise InputError(f"task {name!r} is unknown; the tasks are: {', '.join(TASKS)}")
        if repeat < 1 or _STEPS % repeat:
            raise InputError(f"action repeat is {repeat}, must be at least 1 and divide {_STEPS}")
        if not installed():
            raise MissingExtraError(
                "tasks of the control suite need the Python package dm_control, which is not installed here; "
                'install it with: pip install "tubepilot[dm_control]"'
            )
        os.environ.setdefault("MUJOCO_GL", "disable")
        from dm_control import suite

        self._environment = suite.load(*TASKS[name], task_kwargs={"random": 0})
        specification = self._environment.action_spec()
        if (specification.minimum != -1).any() or (specification.maximum != 1).any():
            raise InputError(f"actions of {name} are not within [-1, 1]")
        self.name = name
        self.repeat = repeat
        self.decisions = _STEPS // repeat
        self.action = int(specification.shape[0])
        self.observation = sum(int(np.prod(part.shape)) for part in self._environment.observation_spec().values())

    def reset(self, seed: int) -> npt.NDArray[np.float32]:
        """Start the episode of a seed."""
        self._environment.task.random.seed(seed)
        return _flat(self._environment.reset().observation)

    def step(self, action: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], float]:
        """Hold an action for one decision."""
        reward = 0.0
        for _ in range(self.repeat):
            now = self._environment.step(action)
            reward += float(now.reward)
        return _flat(now.observation), reward


def _flat(observation: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float32]:
    return np.concatenate([np.ravel(part) for part in observation.values()]).astype(np.float32)
