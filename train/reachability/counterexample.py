"""A trajectory that breaks a property, and its replay in ball arithmetic: after it the violation is proven, not only simulated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from flint import arb

from tubepilot.firmware_bridge.errors import CertificateError, InputError

from .arb_program import program, working_precision
from .arb_step import ball
from .reference import Enclosure, Reference, integrate, reference
from .simulation import Choices, checked_choices
from .specification import Property, Specification

Numbers = npt.NDArray[np.float64]
_HALVINGS = 14


@dataclass(frozen=True, slots=True, eq=False)
class Counterexample:
    """What leads to a violation, and the violation.

    Attributes:
        specification: Name.
        number: Index of the property in the specification.
        kind: Of the property.
        condition: Text of the decisive condition: the one broken most (stay), the last one to be met (avoid), the one broken
            most where the trajectory comes closest (reach).
        margin: Its value where it is decisive; the sign is such that a positive number is a violation. Simulated.
        time_s: When that is [s].
        instant: The same in control periods, exactly, as text of a fraction.
        x0: Initial state, shape (n,).
        parameters: Shape (k,).
        disturbances: Held over equal pieces of each period, shape (steps, pieces, q).
        delays_s: Of each update, shape (steps,) [s].
        received: Whether each update arrives, shape (steps,).
        times_s: Shape (K,) [s].
        states: Simulated, shape (K, n).
        confirmed: Whether the replay in ball arithmetic proves the violation.
        proven_margin: The replay's lower bound of the margin; 0 if not confirmed.
    """

    specification: str
    number: int
    kind: str
    condition: str
    margin: float
    time_s: float
    instant: str
    x0: Numbers
    parameters: Numbers
    disturbances: Numbers
    delays_s: Numbers
    received: npt.NDArray[np.bool_]
    times_s: Numbers
    states: Numbers
    confirmed: bool = False
    proven_margin: float = 0.0

    def save(self, path: Path) -> None:
        """Write JSON; numbers are written so that they read back equal."""
        table = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in table.items()}
        path.write_text(json.dumps(plain, indent=1) + "\n", "utf-8")


def load_counterexample(path: Path) -> Counterexample:
    """Read what `Counterexample.save` wrote.

    Raises:
        InputError: The file is missing, no JSON, or has other entries.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
        wanted = {f.name for f in fields(Counterexample)}
        if set(table) != wanted:
            raise InputError(f"{path}: entries {sorted(set(table) ^ wanted)} are unknown or missing; save the counterexample again")
        Fraction(table["instant"])
        types = {"received": np.bool_}
        return Counterexample(**{k: np.asarray(v, types.get(k, np.float64)) if isinstance(v, list) else v for k, v in table.items()})
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise error if isinstance(error, InputError) else InputError(f"{path}: no counterexample: {error}") from error


def inner(box: Numbers) -> Numbers:
    """The box without its end points, which may have been rounded outward from decimals; shape (n, 2).

    A side that has no number strictly inside keeps its ends: it stands for one decimal between them.
    """
    lo, hi = np.nextafter(box[:, 0], np.inf), np.nextafter(box[:, 1], -np.inf)
    thin = lo > hi
    return np.stack([np.where(thin, box[:, 0], lo), np.where(thin, box[:, 1], hi)], axis=-1)


def balls(values: Numbers, box: Numbers) -> list[arb]:
    """The numbers as balls; on a side without inner number, the ball of the whole side.

    Raises:
        InputError: A number lies outside the box.
    """
    if not ((values >= box[:, 0]) & (values <= box[:, 1])).all():
        raise InputError(f"counterexample: {values.tolist()} lies outside the box {box.tolist()}; it belongs to another specification")
    thin = np.nextafter(box[:, 0], np.inf) > np.nextafter(box[:, 1], -np.inf)
    sides = zip(values.tolist(), box.tolist(), thin, strict=True)
    return [arb(lo).union(arb(hi)) if whole and lo < hi else arb(v) for v, (lo, hi), whole in sides]


def replay(of: Reference | Specification, found: Counterexample) -> Counterexample:
    """Enclose the trajectory and try to prove the violation.

    Returns:
        The same counterexample, with `confirmed` and `proven_margin` set anew.

    Raises:
        InputError: It belongs to another specification.
    """
    ready = of if isinstance(of, Reference) else reference(of)
    spec = ready.spec
    if spec.name != found.specification or not 0 <= found.number < len(spec.properties):
        raise InputError(f"counterexample of {found.specification!r}, property {found.number}: {spec.name!r} is another specification")
    given = (found.x0, found.parameters, found.disturbances, found.delays_s, found.received)
    pieces = found.disturbances.shape[1] if found.disturbances.ndim == 3 else 1
    checked_choices(spec, Choices(*(a[None] for a in given)), max(1, pieces))
    prop, instant = spec.properties[found.number], Fraction(found.instant)
    first, last = prop.window_periods[0], min(prop.window_periods[1], Fraction(spec.steps))
    needed = last if prop.kind == "reach" else instant
    margin = float("-inf")
    if first <= instant <= last:
        with working_precision(128):
            x0, p = balls(found.x0, spec.initial_box), balls(found.parameters, spec.parameter_box)
            w = np.empty(found.disturbances.shape, object)
            for place in np.ndindex(w.shape[:2]):
                w[place] = balls(found.disturbances[place], spec.disturbance_box)
        try:
            path = integrate(ready, x0, p, w, delays_s=found.delays_s, received=found.received, steps=ceil(needed))
            margin = _proven(prop, len(spec.states), path, instant, first, last)
        except CertificateError:
            pass
    met = margin >= 0 if prop.kind == "avoid" else margin > 0
    return replace(found, confirmed=met, proven_margin=margin if met else 0.0)


def _proven(prop: Property, n: int, path: Enclosure, instant: Fraction, first: Fraction, last: Fraction) -> float:
    """A lower bound of the margin."""
    conditions = program(prop.conditions, n)

    def worst(box: list[arb]) -> float:
        """Lower bound of the largest condition."""
        return max((_lower(v) for v in conditions.run(box)), default=float("-inf"))

    with working_precision(path.bits):
        if prop.kind == "stay":
            return worst(path.at(instant))
        if prop.kind == "avoid":
            return min((_lower(-v) for v in conditions.run(path.at(instant))), default=0.0)
        boxes = [path.at(Fraction(k)) for k in range(ceil(first), int(last) + 1)]
        if first == last or not path.discrete:
            boxes += [path.at(first), path.at(last)]
        margin = min((worst(box) for box in boxes), default=float("-inf"))
        for _, segment, lo, hi in path.pieces(first, last):
            if margin <= 0:
                break
            margin = min(margin, _least(lambda t, s=segment: worst(s.at(t)), lo, hi, _HALVINGS))
        return margin


def _least(bound: Callable[[arb], float], lo: Fraction, hi: Fraction, halvings: int) -> float:
    """A lower bound over an interval of time, bisected until it is positive."""
    value = bound(ball(lo).union(ball(hi)))
    if value > 0 or halvings == 0 or lo == hi:
        return value
    middle = (lo + hi) / 2
    left = _least(bound, lo, middle, halvings - 1)
    return left if left <= 0 else min(left, _least(bound, middle, hi, halvings - 1))


def _lower(value: arb) -> float:
    """A float64 below every number of the ball; -inf if it is not finite."""
    return float(np.nextafter(float(value.lower()), -np.inf)) if value.is_finite() else float("-inf")
