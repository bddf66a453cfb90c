"""Proven enclosures of single trajectories of a sampled closed loop, in ball arithmetic; what every other result is judged by.

Plant, controller and switching instants are those of the specification with exactly the float64 numbers in it; times are rational.
No code is shared with the engine. Conventions on delays and lost updates are those of `simulation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from flint import arb

from tubepilot.firmware_bridge.errors import CertificateError, InputError, ShapeError

from .arb_network import BallNetwork
from .arb_program import Program, program, working_precision
from .arb_step import WIDEST, Segment, TooWideError, ball, flow
from .specification import Specification

Balls = list[arb]
MAX_BITS = 1024
RADIUS = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Enclosure:
    """A trajectory, enclosed at all times.

    Attributes:
        period: Exact length of a control period [s].
        discrete: Whether states exist at sampling instants only.
        instants: Enclosures at k * period, for k = 0 .. steps.
        segments: Per control period; empty lists if discrete.
        inputs: Inputs computed from the state at k * period (held where lost), k = 0 .. steps - 1.
        bits: Precision that was used.
    """

    period: Fraction
    discrete: bool
    instants: list[Balls]
    segments: list[list[Segment]]
    inputs: list[Balls]
    bits: int

    @property
    def radius(self) -> float:
        """Largest radius of any enclosure at a sampling instant."""
        return max(float(v.rad()) for box in self.instants for v in box)

    def at(self, periods: Fraction) -> Balls:
        """Enclose the state at an instant given in control periods.

        Raises:
            InputError: It lies outside the horizon, or between the instants of a discrete system.
        """
        k = int(periods)
        if not 0 <= periods <= len(self.instants) - 1 or (self.discrete and k != periods):
            raise InputError(f"instant {periods} periods: the trajectory has states in 0 .. {len(self.instants) - 1}"
                             + (", at whole numbers" if self.discrete else ""))  # fmt: skip
        if k == periods:
            return self.instants[k]
        with working_precision(self.bits):
            offset = (periods - k) * self.period
            segment = next(s for s in self.segments[k] if offset <= s.start + s.length)
            return segment.at(ball(offset - segment.start))

    def pieces(self, first: Fraction, last: Fraction) -> list[tuple[int, Segment, Fraction, Fraction]]:
        """Period, segment, and first and last time within it [s], of every segment that meets [first, last] (in periods)."""
        found = []
        for k, segments in enumerate(self.segments):
            for s in segments:
                lo, hi = max((first - k) * self.period, s.start) - s.start, min((last - k) * self.period, s.start + s.length) - s.start
                if lo <= hi:
                    found.append((k, s, lo, hi))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A specification made ready for ball arithmetic; make it once and use it for many trajectories."""

    spec: Specification
    dynamics: Program
    network_input: Program
    law: Program
    network: BallNetwork | None

    def control(self, x: Balls) -> Balls:
        """Enclose the controller's output for a sampled state."""
        read = self.network_input.run(x)
        return self.law.run(read if self.network is None else self.network(read), x)


def reference(spec: Specification) -> Reference:
    """Trace the functions of a specification.

    Raises:
        InputError: An operation has no counterpart in ball arithmetic.
    """
    n, m, q, k = len(spec.states), len(spec.inputs), len(spec.disturbances), len(spec.parameters)
    reading = program(spec.network_input, n)
    outputs = len(reading.outputs) if spec.network is None else spec.network.outputs
    network = None if spec.network is None else BallNetwork(spec.network)
    return Reference(spec, program(spec.dynamics, n, m, q, k), reading, program(spec.law, outputs, n), network)


def integrate(
    of: Reference | Specification,
    x0: Sequence[float | arb],
    p: Sequence[float | arb] = (),
    w: Sequence[Sequence[Sequence[float | arb]]] | npt.NDArray[np.float64] | None = None,
    *,
    delays_s: Sequence[float] | npt.NDArray[np.float64] | None = None,
    received: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
    steps: int | None = None,
    radius: float = RADIUS,
    bits: int = 128,
) -> Enclosure:
    """Enclose the trajectory from one initial state (or from all states of a small ball).

    Args:
        of: The closed loop.
        x0: Initial state, n numbers or balls.
        p: Parameters, k numbers or balls.
        w: Disturbances, shape (steps, pieces, q), held over equal pieces of each period; None only if there are none.
        delays_s: From sample to effect, per period [s]; None: the least.
        received: Whether each update arrives; None: all.
        steps: Control periods; None: all of the specification.
        radius: Wanted; the precision is doubled up to 1024 bits until it is met or no longer helps.
        bits: Precision to begin with.

    Raises:
        ShapeError, InputError: The arguments do not fit the specification.
        CertificateError: No enclosure exists at any precision tried: the trajectory leaves the domain of the equations.
    """
    ready = of if isinstance(of, Reference) else reference(of)
    spec = ready.spec
    count = spec.steps if steps is None else steps
    table = np.zeros((count, 1, 0)) if w is None else np.asarray(w, dtype=object)
    delays = np.full(count, spec.delay_s[0]) if delays_s is None else np.asarray(delays_s, np.float64)[:count]
    arrives = np.ones(count, bool) if received is None else np.asarray(received, bool)[:count]
    given = (len(x0), len(p), *table[:count].shape[::2], len(delays), len(arrives))
    wanted = (len(spec.states), len(spec.parameters), count, len(spec.disturbances), count, count)
    if given != wanted or table.ndim != 3:
        raise ShapeError(f"sizes of x0, p, w (periods, q), delays, received are {given}; {spec.name} needs {wanted}")
    if spec.delay_s[1] > spec.period_s or delays.min(initial=0.0) < 0:
        raise InputError(f"delays {spec.delay_s} s: must lie within one control period of {spec.period_s} s")
    points = all(arb(v).is_exact() for v in [*x0, *p, *table[:count].ravel()])
    previous: Enclosure | None = None
    while True:
        try:
            with working_precision(bits):
                result = _run(ready, [arb(v) for v in x0], [arb(v) for v in p], table, delays, arrives, count, bits)
            if result.radius <= radius or not points or bits >= MAX_BITS:
                return result
            previous = result
        except TooWideError:
            if bits >= MAX_BITS or not points:
                if previous is None:
                    raise
                return previous
        bits *= 2


def enclose(
    spec: Specification, x0: Sequence[float | arb], p: Sequence[float | arb] = (), steps: int | None = None
) -> list[tuple[arb, Balls]]:
    """Times [s] and enclosures at the sampling instants, disturbances at the centres of their boxes; see `integrate`."""
    count = spec.steps if steps is None else steps
    centre = 0.5 * spec.disturbance_box[:, 0] + 0.5 * spec.disturbance_box[:, 1]
    result = integrate(spec, x0, p, np.broadcast_to(centre, (count, 1, len(centre))), steps=count)
    with working_precision(result.bits):
        return [(ball(k * result.period), box) for k, box in enumerate(result.instants)]


def _run(
    ready: Reference,
    x: Balls,
    p: Balls,
    w: npt.NDArray[np.object_],
    delays: npt.NDArray[np.float64],
    arrives: npt.NDArray[np.bool_],
    steps: int,
    bits: int,
) -> Enclosure:
    spec, period, pieces = ready.spec, Fraction(ready.spec.period_s), w.shape[1]
    order, tolerance = bits // 5, 2.0 ** (-0.65 * bits)
    held = ready.control(x)
    instants, segments, inputs = [x], [], []
    for k in range(steps):
        new = ready.control(x) if arrives[k] else held
        inputs.append(new)
        disturbances = [[arb(v) for v in row] for row in w[k]]
        made: list[Segment] = []
        if spec.discrete:
            x = ready.dynamics.run(x, held if delays[k] > 0 else new, disturbances[0], p)
        else:
            switch = Fraction(float(delays[k]))
            cuts = sorted({period * j / pieces for j in range(pieces + 1)} | ({switch} if 0 < switch < period else set()))
            for start, end in pairwise(cuts):
                u = new if start >= switch else held
                v = disturbances[int(start * pieces / period)]
                made += flow(partial(_slope, ready.dynamics, u, v, p), x, start, end - start, order, tolerance)
                x = made[-1].at(ball(made[-1].length))
        segments.append(made)
        instants.append(x)
        held = new
        if not all(v.is_finite() for v in x):
            raise CertificateError(f"{spec.name}: a trajectory leaves the domain of the equations in period {k} of {steps}")
        if not all(float(v.rad()) < WIDEST for v in x):
            raise TooWideError(f"{spec.name}: the enclosure of a trajectory is wider than {WIDEST} after {k + 1} of {steps} periods "
                               f"at {bits} bits; the loop is too unstable")  # fmt: skip
    return Enclosure(period, spec.discrete, instants, segments, inputs, bits)


def _slope(dynamics: Program, u: Balls, v: Balls, p: Balls, x: Sequence[arb]) -> list[arb]:
    return dynamics.run(x, u, v, p)
