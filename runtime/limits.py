"""What plans keep clear of on board: obstacles, geofence and greatest speed, in the buffers that the planner's graphs read.

The tables have a fixed number of rows; rows that are not used never count. The shell that a plan keeps from obstacles and
faces is taken off here, in float64, and everything is moved to the first reference row of the tick before it becomes
float32: a plan far from the origin of the world loses nothing. The same as `train.constraints`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Vector

UNUSED_OBSTACLE = (1e3, 1e3, 1e3, 1.0, 1.0, 1.0)
UNUSED_FACE = (0.0, 0.0, 0.0, 1.0)
NO_LIMIT_M_S = 1e3


class Limits:
    """Tables of obstacles and faces, and the buffers (float32) of the graphs.

    Args:
        obstacles: Rows of the table of obstacles.
        faces: Rows of the table of faces.
        present: Whether the graphs take constraints at all.
    """

    def __init__(self, obstacles: int, faces: int, *, present: bool) -> None:
        self.size = obstacles, faces
        self._obstacles: Vector = np.tile(UNUSED_OBSTACLE, (obstacles, 1))
        self._faces: Vector = np.tile(UNUSED_FACE, (faces, 1))
        self._near_obstacles, self._near_faces = self._obstacles.copy(), self._faces.copy()
        self.buffers: dict[str, npt.NDArray[np.float32]] = {}
        if present:
            self.buffers["speed_limit"] = np.full(1, NO_LIMIT_M_S, np.float32)
        if obstacles:
            self.buffers["obstacles"] = self._obstacles.astype(np.float32)
        if faces:
            self.buffers["fence"] = self._faces.astype(np.float32)

    @classmethod
    def of(cls, inputs: Mapping[str, npt.NDArray[Any]]) -> Limits:
        """For a graph with these inputs."""
        rows = [len(inputs[name]) if name in inputs else 0 for name in ("obstacles", "fence")]
        return cls(rows[0], rows[1], present="speed_limit" in inputs)

    def set(self, obstacles: Vector, faces: Vector, speed_m_s: float, shell_m: float) -> None:
        """Say what to keep clear of; call it on the ground.

        Args:
            obstacles: Centre (3) [m] and inverse squared semi-axes (3) [1/m^2] of each, shape (n, 6).
            faces: Outward unit normal (3) and offset [m] of each face, inside is n . p <= d, shape (n, 4).
            speed_m_s: Greatest speed [m/s].
            shell_m: Distance to keep from all of them [m].

        Raises:
            InputError: more rows than the bundle was exported for, or a number that is not finite or not positive.
        """
        for name, given, most, columns in (
            ("obstacles", obstacles, self.size[0], 6),
            ("faces", faces, self.size[1], 4),
        ):
            if given.ndim != 2 or given.shape[1] != columns or not np.isfinite(given).all():
                raise InputError(f"{name} have shape {given.shape}, must be (n, {columns}) and finite")
            if len(given) > most:
                raise InputError(
                    f"{len(given)} {name} are given, this bundle takes {most}: export it with --{name} {len(given)}"
                )
        if not (speed_m_s > 0.0 and shell_m >= 0.0) or np.any(obstacles[:, 3:6] < 0.0):
            raise InputError(
                f"speed limit {speed_m_s:g} m/s must be above 0, shell {shell_m:g} m and the inverse semi-axes at least 0"
            )
        if not self.buffers:
            return
        self._obstacles[:], self._faces[:] = UNUSED_OBSTACLE, UNUSED_FACE
        inverse = obstacles[:, 3:6]
        self._obstacles[: len(obstacles), 0:3] = obstacles[:, 0:3]
        self._obstacles[: len(obstacles), 3:6] = inverse / (1.0 + shell_m * np.sqrt(inverse)) ** 2
        self._faces[: len(faces)] = faces
        self._faces[: len(faces), 3] -= shell_m * np.sum(faces[:, 0:3] ** 2, axis=1)
        self.buffers["speed_limit"][0] = speed_m_s

    def load(self, origin_m: Vector) -> None:
        """Write the buffers for a tick whose positions count from `origin_m`, shape (3,) [m]."""
        if "obstacles" in self.buffers:
            np.subtract(self._obstacles[:, 0:3], origin_m, out=self._near_obstacles[:, 0:3])
            self._near_obstacles[:, 3:6] = self._obstacles[:, 3:6]
            np.copyto(self.buffers["obstacles"], self._near_obstacles, casting="same_kind")
        if "fence" in self.buffers:
            np.copyto(self._near_faces, self._faces)
            self._near_faces[:, 3] -= self._faces[:, 0:3] @ origin_m
            np.copyto(self.buffers["fence"], self._near_faces, casting="same_kind")
