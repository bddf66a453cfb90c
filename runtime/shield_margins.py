"""Membership in the certified set S: margins by the shield graph, the anchors that are tried, and the geofence.

Docs: docs/certificate.md, section 6. The graph (float64) holds the facets and takes 1e-9 off for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tubepilot.firmware_bridge.errors import BundleError

from .session import bind, buffers, open_session
from .shield_assumed import Assumed, Triple
from .shield_states import Flat, Radii, dot

ANCHORS = (0.7, 1.0, 1.3)
"""Multiples of the best position from the anchor that are tried; the fourth candidate is the anchor held last."""
INPUTS = {"horizontal", "vertical", "radius_horizontal", "radius_vertical"}


@dataclass(frozen=True, slots=True)
class Held:
    """What the backup holds: anchor [m] and disturbance estimate [m/s^2], world."""

    anchor: Triple
    disturbance: Triple


class CertifiedSet:
    """S, as the shield graph of the bundle states it.

    Args:
        graph: Bytes of shield.onnx, hash checked.
        assumed: Numbers of the certificate.
        fence_m: Horizontal distance from home that the tube around an anchor may reach [m].

    Raises:
        BundleError: the graph does not load or has other inputs.
    """

    def __init__(self, graph: bytes, assumed: Assumed, fence_m: float) -> None:
        self._session = open_session(graph, "shield.onnx")
        self._in, self._out = buffers(self._session, "shield.onnx")
        if set(self._in) != INPUTS or set(self._out) != {"margin"}:
            raise BundleError("shield.onnx has other inputs or outputs than this version; export the bundle again")
        self._binding = bind(self._session, self._in, self._out)
        self._horizontal = self._in["horizontal"].reshape(-1)
        self._vertical = self._in["vertical"].reshape(-1)
        self._radius_horizontal = self._in["radius_horizontal"].reshape(-1)
        self._radius_vertical = self._in["radius_vertical"].reshape(-1)
        self._margin = self._out["margin"]
        self._map = assumed.anchor
        self._limit = assumed.estimate_limit_m_s2
        self._tube_m, self._fence_m = assumed.tube_m[0], fence_m
        self._home: tuple[float, float] = (0.0, 0.0)

    def engage(self, position_m: Sequence[float]) -> None:
        """Measure the geofence from here."""
        self._home = (float(position_m[0]), float(position_m[1]))

    def limited(self, disturbance: Triple) -> Triple:
        """The disturbance estimate, cut to its limits per axis [m/s^2]."""
        (x, y, z), (most_x, most_y, most_z) = disturbance, self._limit
        return min(max(x, -most_x), most_x), min(max(y, -most_y), most_y), min(max(z, -most_z), most_z)

    def anchors(self, flat: Flat, disturbance: Triple, held: Held | None) -> list[Held]:
        """Anchors to try from a state, each with the disturbance estimate to hold; the one held last comes along."""
        d = self.limited(disturbance)
        (px, py, pz), (vx, vy, vz), (ax, ay, az), (jx, jy, jz) = flat.position, flat.velocity, flat.acceleration, flat.jerk
        horizontal, vertical = self._map
        best_x = dot(horizontal, (vx, ax + d[0], jx))
        best_y = dot(horizontal, (vy, ay + d[1], jy))
        best_z = dot(vertical, (vz, az + d[2], jz))
        result = [Held((px - share * best_x, py - share * best_y, pz - share * best_z), d) for share in ANCHORS]
        return [*result, held if held is not None else result[1]]

    def margins(self, groups: Sequence[Sequence[tuple[Flat, Radii]]], options: Sequence[Held]) -> list[float]:
        """For each option, the least margin of its states to the edge of S, all errors within their radii: to that stage of S for
        which it is largest.

        Args:
            groups: For each option its states with their radii, as many for each.
            options: So many that options times states are no more than the points of the graph.

        Returns:
            Positive: every state lies in S. Minus infinity: a margin was not a finite number.
        """
        horizontal: list[float] = []
        vertical: list[float] = []
        off_horizontal: list[float] = []
        off_vertical: list[float] = []
        for held, group in zip(options, groups, strict=True):
            (qx, qy, qz), (dx, dy, dz) = held.anchor, held.disturbance
            for flat, radii in group:
                (px, py, pz), (vx, vy, vz), (ax, ay, az) = flat.position, flat.velocity, flat.acceleration
                jx, jy, jz = flat.jerk
                horizontal += (px - qx, py - qy, vx, vy, ax + dx, ay + dy, jx, jy)
                vertical += (pz - qz, vz, az + dz, jz)
                off_horizontal += radii.horizontal
                off_vertical += radii.vertical
        size = len(vertical)
        self._horizontal[: 2 * size] = horizontal
        self._vertical[:size] = vertical
        self._radius_horizontal[:size] = off_horizontal
        self._radius_vertical[:size] = off_vertical
        self._session.run_with_iobinding(self._binding)
        # All states of an option must lie in one and the same stage; numpy's least and largest of a nan is nan.
        found = self._margin[: size // 4].reshape(len(options), len(groups[0]), -1).min(axis=1).max(axis=1)
        return [margin if math.isfinite(margin) else -math.inf for margin in found.tolist()]

    def fenced(self, held: Held) -> bool:
        """Whether the tube around an anchor stays within the geofence."""
        x, y = held.anchor[0] - self._home[0], held.anchor[1] - self._home[1]
        return math.sqrt(x * x + y * y) + self._tube_m <= self._fence_m
