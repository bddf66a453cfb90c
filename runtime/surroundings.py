"""What stands around a flight, seen from the take-off frame: for the shield as it is, for the planner as ellipsoids and faces.

The flight log holds it to the last bit, so that a replay judges and plans alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.firmware_bridge.types import Vector

from .keep_clear import FENCE_M, KeepClear, Obstacle, Wall
from .local_frame import LocalFrame
from .shield_assumed import Triple

META = "keep_clear"
"""Entry of the flight log."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the vehicle's centre stays away from, in one frame with z up.

    Attributes:
        walls, obstacles: The vehicle's radius is in them.
        fence_m: Horizontal distance from where the shield is engaged [m]; the planner does not know it.
        margin_m: What plans keep from obstacles besides [m].
        speed_m_s: Greatest speed of plans [m/s].
        at_take_off: Whether the frame is that of the take-off; else it is the flight controller's world.
    """

    walls: tuple[Wall, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    fence_m: float = FENCE_M
    margin_m: float = 0.0
    speed_m_s: float = 50.0
    at_take_off: bool = True

    def seen_from(self, frame: LocalFrame) -> Surroundings:
        """The same in the take-off frame; a box that is turned against it becomes the upright box around it."""
        if self.at_take_off:
            return self
        walls = tuple(_turned_wall(wall, frame) for wall in self.walls)
        obstacles = tuple(_turned_obstacle(obstacle, frame) for obstacle in self.obstacles)
        return Surroundings(walls, obstacles, self.fence_m, self.margin_m, self.speed_m_s, at_take_off=True)

    def for_shield(self) -> KeepClear:
        """What the shield judges against."""
        return KeepClear(self.fence_m, walls=self.walls, obstacles=self.obstacles)

    def for_planner(self) -> tuple[Vector, Vector]:
        """What `Planner.keep_clear` takes.

        Returns:
            Centre (3) [m] and inverse squared semi-axes (3) [1/m^2] of an ellipsoid around each obstacle, round about z, its margin
            included, shape (n, 6); outward unit normal (3) and offset [m] of each wall, shape (f, 4).
        """
        obstacles = np.array([_ellipsoid(obstacle, self.margin_m) for obstacle in self.obstacles]).reshape(-1, 6)
        faces = np.array([[*wall.normal, wall.offset_m] for wall in self.walls]).reshape(-1, 4)
        return obstacles, faces

    def depth(self, points_m: Vector) -> tuple[Vector, Vector]:
        """How far points are inside of what the planner avoids, shape (k, 3) [m].

        Returns:
            1 - sum(inverse * (p - centre)^2) of the nearest obstacle, and metres beyond the nearest wall, each of shape (k,);
            negative is clear, -inf where there are none.
        """
        obstacles, faces = self.for_planner()
        none = np.full(len(points_m), -np.inf)
        away = points_m[:, None, :] - obstacles[None, :, 0:3]
        inside = 1.0 - np.sum(obstacles[None, :, 3:6] * away**2, axis=2)
        beyond = points_m @ faces[:, 0:3].T - faces[:, 3]
        return (inside.max(axis=1) if len(obstacles) else none, beyond.max(axis=1) if len(faces) else none)

    def meta(self) -> dict[str, str | float | int]:
        """Entry of the flight log, which `from_meta` reads again."""
        return {META: json.dumps(asdict(self))}


def from_meta(meta: Mapping[str, str | float | int]) -> Surroundings | None:
    """What a recorded flight kept clear of, None if it was told nothing.

    Raises:
        LogFormatError: the entry is damaged.
    """
    if META not in meta:
        return None
    try:
        content = json.loads(str(meta[META]))
        walls = tuple(Wall(_triple(wall["normal"]), float(wall["offset_m"])) for wall in content.pop("walls"))
        obstacles = tuple(
            Obstacle(_triple(each["centre_m"]), _triple(each["half_m"]), float(each["radius_m"])) for each in content.pop("obstacles")
        )
        return Surroundings(walls=walls, obstacles=obstacles, **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LogFormatError(f"the flight log's entry {META} is damaged: {error}") from error


def _triple(values: list[float]) -> Triple:
    x, y, z = values
    return float(x), float(y), float(z)


def _turned_wall(wall: Wall, frame: LocalFrame) -> Wall:
    normal = np.array(wall.normal)
    return Wall(_triple((normal @ frame.rotation()).tolist()), wall.offset_m - float(normal @ frame.origin_m))


def _turned_obstacle(obstacle: Obstacle, frame: LocalFrame) -> Obstacle:
    centre = (np.array(obstacle.centre_m) - frame.origin_m) @ frame.rotation()
    c, s = abs(math.cos(frame.yaw_rad)), abs(math.sin(frame.yaw_rad))
    half_x, half_y, half_z = obstacle.half_m
    return Obstacle(_triple(centre.tolist()), (c * half_x + s * half_y, s * half_x + c * half_y, half_z), obstacle.radius_m)


def _ellipsoid(obstacle: Obstacle, margin_m: float) -> list[float]:
    """Centre and inverse squared semi-axes of an ellipsoid, round about z, that holds a box with rounded edges."""
    half_x, half_y, half_z = obstacle.half_m
    radius_m = obstacle.radius_m + margin_m
    across_m, high_m = math.hypot(half_x, half_y) + radius_m, half_z + radius_m
    if math.isinf(half_z):
        across, high = across_m**-2, 0.0
    elif half_x == half_y == half_z == 0.0:
        across = high = radius_m**-2
    else:  # the least ellipsoid around an upright cylinder, up to a third of its volume
        across, high = 0.5 * across_m**-2, 0.5 * high_m**-2
    return [*obstacle.centre_m, across, across, high]
