"""Membership in the certified set S by the shield graph, the anchors that are tried, and whether there is room to stop.

Docs: docs/certificate.md, section 6. The graph (float64) holds the tables of the certificate: the one-tick admission box, the
facets, and the tubes in which the vehicle stops. It takes 1e-9 off for rounding. It judges many options at once, each for itself;
all questions of a tick that are known at the same time are put to it in one run, as a run costs more than an option does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnxruntime

from tubepilot.firmware_bridge.errors import BundleError

from .keep_clear import KeepClear
from .session import Buffer, bind, open_session
from .shield_ahead import Ahead
from .shield_assumed import Assumed, Triple
from .shield_decision import Reason
from .shield_states import Flat, dot

ANCHORS = ((1, 0.7), (1, 1.0), (0, 1.0))
"""Which best position from the anchor is tried, for fast flight (0) or for calm (1), and what multiple of it; the fourth candidate is
the anchor held last."""
RUNS = (4, 5, 13, 17, 21)
"""Options of the runs that are kept ready: a set-point with each anchor; the present state with the anchor held, and with others; three
blends of a set-point, or four, or three with itself, and the present state with the anchor held, or with others too."""
Shape = tuple[int | str, ...]
ANY = "options"
"""Size of the graph's ports that each run has for itself."""
INPUTS: dict[str, Shape] = {
    "states": (3, 2, ANY, 4), "held": (3, 1, ANY, 4), "wanted": (3, 2, ANY), "doubts": (5, 2, ANY), "instants": (2, ANY),
}  # fmt: skip
OUTPUTS: dict[str, Shape] = {"margin": (ANY,), "radii": (2, ANY, 8), "room": (2, ANY)}
PRESENT, TAKE_OVER = (0, 0), (1, 2)
"""Rows of the admission box: the present state; the first and last instant at which the backup can have taken over."""
LARGEST = 1e9
"""Sum of all that goes into an option; nothing in flight comes near."""
STILL: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
NO_DOUBTS = (0.0,) * 10


class Held(NamedTuple):
    """What the backup holds: anchor [m] and disturbance estimate [m/s^2], world."""

    anchor: Triple
    disturbance: Triple


class Question(NamedTuple):
    """For which of some anchors, four at most, do states lie in S?

    Attributes:
        ahead: Where a set-point leads, or the present state.
        instants: `TAKE_OVER` or `PRESENT`.
        options: The anchors.
    """

    ahead: Ahead
    instants: tuple[int, int]
    options: Sequence[Held]


class Answer(NamedTuple):
    """For each anchor of a question the margin of its states, errors taken off, to one and the same stage of S: that for which it is
    largest (positive: every state lies in S; minus infinity: it was not a finite number), and the horizontal and vertical room to stop
    [m]."""

    margins: list[float]
    across_m: list[float]
    high_m: list[float]


def taking_over(ahead: Ahead, options: Sequence[Held]) -> Question:
    """Do all states lie in S in which the backup policy can take over from a set-point?"""
    return Question(ahead, TAKE_OVER, options)


def present(flat: Flat, options: Sequence[Held]) -> Question:
    """Does the present state lie in S?"""
    return Question(Ahead((flat, flat), STILL, NO_DOUBTS), PRESENT, options)


def _sized(shape: Shape, n: int) -> list[int]:
    """A shape for so many options."""
    return [size if isinstance(size, int) else n for size in shape]


class _Run:
    """The graph on fixed buffers, for so many options."""

    def __init__(self, session: onnxruntime.InferenceSession, n: int) -> None:
        given: dict[str, Buffer] = {name: np.zeros(_sized(shape, n)) for name, shape in INPUTS.items()}
        given["instants"] = self._instants = np.zeros(_sized(INPUTS["instants"], n), np.int64)
        out: dict[str, Buffer] = {name: np.zeros(_sized(shape, n)) for name, shape in OUTPUTS.items()}
        self._session, self._binding = session, bind(session, given, out)
        self.options, self.radii, self._margin, self._room = n, out["radii"], out["margin"], out["room"]
        # an option's numbers in a row, as they are at hand, and the same seen in the order of the graph's inputs
        self._numbers = np.zeros((n, 46))
        states, wanted, doubts, anchors, disturbances = np.split(self._numbers, (24, 30, 40, 43), axis=1)
        self._copied = [
            (given["states"], states.reshape(n, 2, 4, 3).transpose(3, 1, 0, 2)),
            (given["wanted"], wanted.reshape(n, 2, 3).transpose(2, 1, 0)),
            (given["doubts"], doubts.reshape(n, 5, 2).transpose(1, 2, 0)),
            (given["held"][:, 0, :, 0], anchors.T),
            (given["held"][:, 0, :, 2], disturbances.T),
        ]

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Answers, one for each question; what the buffers hold besides, from before, is judged as well, and dropped."""
        places: list[slice] = []
        end = 0
        for ahead, instants, options in questions:
            place = slice(end, end := end + len(options))
            numbers: list[float] = []
            for flat in ahead.states:
                numbers += (*flat.position, *flat.velocity, *flat.acceleration, *flat.jerk)
            self._numbers[place, :40] = (*numbers, *ahead.wanted[0], *ahead.wanted[1], *ahead.doubts)
            self._numbers[place, 40:] = [(x, y, z, -dx, -dy, -dz) for (x, y, z), (dx, dy, dz) in options]
            self._instants[0, place], self._instants[1, place] = instants
            places.append(place)
        for target, source in self._copied:
            target[...] = source
        self._session.run_with_iobinding(self._binding)
        margins, (across, high) = self._margin.tolist(), self._room.tolist()
        # an input that is no number, or has no square, may be hidden by the largest of several
        sums: list[float] = np.abs(self._numbers).sum(axis=1).tolist()
        margins = [
            margin if math.isfinite(margin) and total < LARGEST else -math.inf for margin, total in zip(margins, sums, strict=True)
        ]
        return [Answer(margins[place], across[place], high[place]) for place in places]


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
        session = open_session(graph, "shield.onnx", None)
        for ports, wanted in ((session.get_inputs(), INPUTS), (session.get_outputs(), OUTPUTS)):
            if {port.name: tuple(port.shape) for port in ports} != wanted:
                raise BundleError("shield.onnx has other inputs or outputs than this version; export the bundle again")
        self._runs = [_Run(session, options) for options in RUNS]
        self._maps = assumed.anchors
        self._limit = assumed.estimate_limit_m_s2
        self.clear = clear

    def engage(self, position_m: Sequence[float]) -> None:
        """Measure the geofence from here."""
        self.clear.engage(position_m)

    def limited(self, disturbance: Triple) -> Triple:
        """The disturbance estimate, cut to its limits per axis [m/s^2]."""
        (x, y, z), (most_x, most_y, most_z) = disturbance, self._limit
        return min(max(x, -most_x), most_x), min(max(y, -most_y), most_y), min(max(z, -most_z), most_z)

    def anchors(self, flat: Flat, disturbance: Triple, held: Held | None) -> list[Held]:
        """Anchors to try from a state, with the present disturbance estimate, within its limits, to hold; the one held last comes
        along."""
        (px, py, pz), (vx, vy, vz), (ax, ay, az), (jx, jy, jz) = flat.position, flat.velocity, flat.acceleration, flat.jerk
        dx, dy, dz = disturbance
        x, y, z = (vx, ax + dx, jx), (vy, ay + dy, jy), (vz, az + dz, jz)
        best = [(dot(horizontal, x), dot(horizontal, y), dot(vertical, z)) for horizontal, vertical in self._maps]
        result = [
            Held((px - share * best[which][0], py - share * best[which][1], pz - share * best[which][2]), disturbance)
            for which, share in ANCHORS
        ]
        return [*result, Held(held.anchor, disturbance) if held is not None else result[1]]

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Put questions, of up to 21 options together, in one run of the graph."""
        options = sum(len(question.options) for question in questions)
        return next(run for run in self._runs if run.options >= options).ask(questions)

    def choose(self, question: Question, answer: Answer) -> tuple[Reason, Held, float]:
        """The anchor with the largest positive margin of those with room to stop clear of fence and obstacles, and that margin.

        Returns:
            If there is none, not OK but why, and the anchor with the largest margin of all.
        """
        options, margins, blocked = question.options, answer.margins, Reason.WOULD_LEAVE_SET
        inside = [number for number, margin in enumerate(margins) if margin > 0.0]
        for number in sorted(inside, key=lambda number: -margins[number]):  # of equal ones the first comes first
            blocked = self.clear.blocked(options[number].anchor, answer.across_m[number], answer.high_m[number])
            if blocked is Reason.OK:
                return blocked, options[number], margins[number]
        best = max(margins)
        return blocked, options[margins.index(best)], best
