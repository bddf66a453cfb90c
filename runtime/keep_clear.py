"""What the shield keeps the vehicle clear of: a fence around home, a floor and a ceiling, flat walls, obstacles.

The vehicle stops inside a cylinder around an anchor (docs/certificate.md, section 6): its radius and half its height come from the
shield graph. So each thing costs a few comparisons. All positions are in the frame of the states that the shield is given: in
`tubepilot fly` the take-off frame, z up from where the vehicle stood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .shield_assumed import Triple
from .shield_decision import Reason

BESIDE_M = 0.01
"""What the path within the period before a take-over can be off the tubes of its two ends [m]: a fifth of it is used at most."""
FENCE_M = 30.0
"""Radius of the fence unless told otherwise [m]."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A box with rounded edges: sphere, upright cylinder (half of it 0, 0, infinite) and box are all such.

    Attributes:
        centre_m: World, z up [m].
        half_m: Half the sides of the box [m]; infinite: without end.
        radius_m: Put around it on all sides [m].
    """

    centre_m: Triple
    half_m: Triple
    radius_m: float

    def touches(self, anchor: Triple, across_m: float, high_m: float) -> bool:
        """Whether a cylinder around a point, of that radius and half height, touches it."""
        gaps = [max(abs(p - c) - h, 0.0) for p, c, h in zip(anchor, self.centre_m, self.half_m, strict=True)]
        beside = max(math.sqrt(gaps[0] * gaps[0] + gaps[1] * gaps[1]) - across_m, 0.0)
        above = max(gaps[2] - high_m, 0.0)
        return not math.sqrt(beside * beside + above * above) > self.radius_m


@dataclass(frozen=True, slots=True)
class Wall:
    """A flat face: the vehicle stays where normal . p <= offset; the normal is of length 1."""

    normal: Triple
    offset_m: float


@dataclass(slots=True)
class KeepClear:
    """Everything together.

    Attributes:
        fence_m: Horizontal distance from home that the vehicle may reach [m].
        floor_m, ceiling_m: Lowest and highest position [m].
        walls, obstacles: See there; the vehicle's own size has to be in them, see `keep_clear_file`.
        home: Where the shield was engaged [m].
    """

    fence_m: float = FENCE_M
    floor_m: float = -math.inf
    ceiling_m: float = math.inf
    walls: tuple[Wall, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    home: tuple[float, float] = field(default=(0.0, 0.0))

    def engage(self, position_m: Sequence[float]) -> None:
        """Measure the fence from here."""
        self.home = (float(position_m[0]), float(position_m[1]))

    def blocked(self, anchor: Triple, across_m: float, high_m: float) -> Reason:
        """What the cylinder in which the vehicle stops runs into.

        Args:
            anchor: Its middle [m].
            across_m, high_m: Its radius, and half its height [m]; not a number or infinite is blocked.

        Returns:
            OK, GEOFENCE (fence, floor, ceiling, wall) or OBSTACLE.
        """
        across, high = across_m + BESIDE_M, high_m + BESIDE_M
        x, y = anchor[0] - self.home[0], anchor[1] - self.home[1]
        if not math.sqrt(x * x + y * y) + across <= self.fence_m:
            return Reason.GEOFENCE
        if not (anchor[2] - high >= self.floor_m and anchor[2] + high <= self.ceiling_m):
            return Reason.GEOFENCE
        for wall in self.walls:
            (nx, ny, nz), (px, py, pz) = wall.normal, anchor
            if not nx * px + ny * py + nz * pz + math.sqrt(nx * nx + ny * ny) * across + abs(nz) * high <= wall.offset_m:
                return Reason.GEOFENCE
        for obstacle in self.obstacles:
            if obstacle.touches(anchor, across, high):
                return Reason.OBSTACLE
        return Reason.OK
