"""Membership in the certified set S by the shield graph, the anchors that are tried, and whether there is room to stop.

Docs: docs/certificate.md, section 6. The graph (float64) holds the tables of the certificate: the one-tick admission box, the
facets, and the tubes in which the vehicle stops. It takes 1e-9 off for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tubepilot.firmware_bridge.errors import BundleError

from .keep_clear import KeepClear
from .session import bind, buffers, open_session
from .shield_ahead import Ahead
from .shield_assumed import Assumed, Triple
from .shield_decision import Reason
from .shield_states import Flat, dot

ANCHORS = ((1, 0.7), (1, 1.0), (0, 1.0))
"""Which best position from the anchor is tried, for fast flight (0) or for calm (1), and what multiple of it; the fourth candidate is
the anchor held last."""
OPTIONS = 4
INPUTS = {"states", "held", "wanted", "doubts", "instants"}
OUTPUTS = {"margin", "radii", "room"}
PRESENT, TAKE_OVER = (0, 0), (1, 2)
"""Rows of the admission box: the present state; the first and last instant at which the backup can have taken over."""
LARGEST = 1e9
"""Sum of all that goes into the graph; nothing in flight comes near."""
STILL: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
NO_DOUBTS = (0.0,) * 10


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
        clear: What the vehicle must stay clear of.

    Raises:
        BundleError: the graph does not load or has other inputs.
    """

    def __init__(self, graph: bytes, assumed: Assumed, clear: KeepClear) -> None:
        self._session = open_session(graph, "shield.onnx")
        self._in, self._out = buffers(self._session, "shield.onnx")
        if set(self._in) != INPUTS or set(self._out) != OUTPUTS:
            raise BundleError("shield.onnx has other inputs or outputs than this version; export the bundle again")
        self._binding = bind(self._session, self._in, self._out)
        self._states, self._held = self._in["states"].reshape(-1), self._in["held"].reshape(-1)
        self._wanted, self._doubts = self._in["wanted"].reshape(-1), self._in["doubts"].reshape(-1)
        self._instants, self._margin, self._room = self._in["instants"], self._out["margin"], self._out["room"]
        self._maps = assumed.anchors
        self._limit = assumed.estimate_limit_m_s2
        self.clear = clear
        self._rooms: list[list[float]] = [[math.inf] * OPTIONS] * 2

    def engage(self, position_m: Sequence[float]) -> None:
        """Measure the geofence from here."""
        self.clear.engage(position_m)

    def limited(self, disturbance: Triple) -> Triple:
        """The disturbance estimate, cut to its limits per axis [m/s^2]."""
        (x, y, z), (most_x, most_y, most_z) = disturbance, self._limit
        return min(max(x, -most_x), most_x), min(max(y, -most_y), most_y), min(max(z, -most_z), most_z)

    def anchors(self, flat: Flat, disturbance: Triple, held: Held | None) -> list[Held]:
        """Anchors to try from a state, with the present disturbance estimate to hold; the one held last comes along."""
        d = self.limited(disturbance)
        (px, py, pz), (vx, vy, vz), (ax, ay, az), (jx, jy, jz) = flat.position, flat.velocity, flat.acceleration, flat.jerk
        x, y, z = (vx, ax + d[0], jx), (vy, ay + d[1], jy), (vz, az + d[2], jz)
        best = [(dot(horizontal, x), dot(horizontal, y), dot(vertical, z)) for horizontal, vertical in self._maps]
        result = [
            Held((px - share * best[which][0], py - share * best[which][1], pz - share * best[which][2]), d) for which, share in ANCHORS
        ]
        return [*result, Held(held.anchor, d) if held is not None else result[1]]

    def admitted(self, ahead: Ahead, options: Sequence[Held]) -> list[float]:
        """For each anchor, the margin of the states in which the backup policy can take over from a set-point, to one and the same
        stage of S: that for which it is largest.

        Args:
            ahead: Where it leads.
            options: `OPTIONS` anchors.

        Returns:
            Positive: every state lies in S. Minus infinity: a margin was not a finite number.
        """
        return self._margins(ahead, TAKE_OVER, options)

    def present(self, flat: Flat, options: Sequence[Held]) -> list[float]:
        """For each of up to `OPTIONS` anchors, the margin of the present state, its estimate's errors taken off."""
        filled = [*options, *[options[0]] * (OPTIONS - len(options))]
        return self._margins(Ahead((flat, flat), STILL, NO_DOUBTS), PRESENT, filled)[: len(options)]

    def _margins(self, ahead: Ahead, instants: tuple[int, int], options: Sequence[Held]) -> list[float]:
        columns: list[float] = []
        wanted: list[float] = []
        taken: list[float] = []
        for axis in (0, 1, 2):
            for flat in ahead.states:
                columns += (flat.position[axis], flat.velocity[axis], flat.acceleration[axis], flat.jerk[axis])
            wanted += [asked[axis] for asked in ahead.wanted]
            for held in options:
                taken += (held.anchor[axis], 0.0, -held.disturbance[axis], 0.0)
        if not sum(map(abs, (*columns, *taken, *wanted, *ahead.doubts))) < LARGEST:
            return [-math.inf] * OPTIONS  # the largest of several numbers may hide one that is none, or has no square
        self._states[:], self._held[:] = columns, taken
        self._wanted[:], self._doubts[:], self._instants[:] = wanted, ahead.doubts, instants
        self._session.run_with_iobinding(self._binding)
        self._rooms = self._room.tolist()
        found: list[float] = self._margin.tolist()
        return [margin if math.isfinite(margin) else -math.inf for margin in found]

    def blocked(self, number: int, held: Held) -> Reason:
        """Whether the vehicle, stopping at an anchor, could leave the fence or touch an obstacle; OK if not.

        Args:
            number: Which of the anchors of the last margins it is; its margin is positive.
            held: That anchor.
        """
        return self.clear.blocked(held.anchor, self._rooms[0][number], self._rooms[1][number])
