"""What every bound of the engine is held against: exact rational numbers, and proven trajectories; without any tolerance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import jax
import numpy as np
from flint import arb, fmpq

from tubepilot.train.reachability.arb_program import program, working_precision
from tubepilot.train.reachability.basis import Basis
from tubepilot.train.reachability.closed_loop import Analysis, Settings, Tube, middle_and_radius, prepare
from tubepilot.train.reachability.compiling import compiled
from tubepilot.train.reachability.reference import Enclosure
from tubepilot.train.reachability.specification import Specification

Spans = Sequence[tuple[Fraction, Fraction]]


def symbols(basis: Basis, rng: np.random.Generator) -> tuple[Fraction, list[Fraction], list[Fraction]]:
    """Random scaled time in [0, 1] and values of y and z in [-1, 1], often at their ends."""

    def one(lowest: int) -> Fraction:
        return Fraction(int(rng.integers(lowest, 2))) if rng.random() < 0.5 else Fraction(float(rng.uniform(lowest, 1)))

    return one(0), [one(-1) for _ in range(basis.symbols)], [one(-1) for _ in range(basis.generators)]


def exact(basis: Basis, coefs: np.ndarray, at: tuple[Fraction, list[Fraction], list[Fraction]]) -> Fraction:
    """Value of a polynomial, shape (time_order + 1, monomials), in rational arithmetic."""
    s, y, z = at
    monomials = []
    for factors in basis.exponents:
        value = Fraction(1)
        for index in factors:
            value *= y[index]
        monomials.append(value)
    monomials += z
    return sum(
        (
            s**i * sum((Fraction(float(c)) * m for c, m in zip(row, monomials, strict=True) if c), start=Fraction(0))
            for i, row in enumerate(np.asarray(coefs))
        ),
        start=Fraction(0),
    )


def ball(value: Fraction) -> arb:
    """An enclosure of a rational number."""
    return arb(fmpq(value.numerator, value.denominator))


def within(lo: float, hi: float, value: arb) -> bool:
    """Whether every number of the ball certainly lies in [lo, hi]; False for NaN."""
    return bool(arb(float(lo)) <= value and value <= arb(float(hi)))


def tube_of(spec: Specification, settings: Settings, analysis: Analysis | None = None) -> tuple[Tube, Spans]:
    """The tube of the whole initial box, as numpy arrays, and the spans of its steps."""
    with jax.enable_x64(True):
        ready = analysis or prepare(spec, settings)
        boxes = (*middle_and_radius(spec.initial_box), *middle_and_radius(spec.parameter_box))
        return jax.tree.map(np.asarray, compiled(ready.tube)(spec.network, *boxes)), ready.spans


def batch_of_tubes(cases: Sequence[Specification], settings: Settings) -> tuple[Tube, Spans]:
    """Tubes of cases that share functions, sizes and disturbance box, with a leading axis; one compiled program."""
    with jax.enable_x64(True):
        ready = prepare(cases[0], settings)
        networks = None if cases[0].network is None else jax.tree.map(lambda *a: np.stack(a), *(case.network for case in cases))
        boxes = [middle_and_radius(np.stack([getattr(c, name) for c in cases])) for name in ("initial_box", "parameter_box")]
        tubes = compiled(jax.vmap(ready.tube))(networks, *boxes[0], *boxes[1])
        return jax.tree.map(np.asarray, tubes), ready.spans


def escapes(spec: Specification, tube: Tube, spans: Spans, path: Enclosure, inner: Iterable[Fraction] = (Fraction(1, 3),)) -> list[str]:
    """Where a proven trajectory is not certainly inside a tube: states at the ends and inside of every step, and conditions.

    Steps after one that was not validated claim nothing. Returns texts; empty if the tube contains the trajectory.
    """
    found, inner = [], tuple(inner)
    conditions = [program(p.conditions, len(spec.states)) for p in spec.properties]
    good = np.asarray(tube.contracted).all(axis=-1)
    with working_precision(path.bits):
        for k in range(spec.steps):
            for j, (start, end) in enumerate(spans):
                if not good[k, j]:
                    return found
                times = [start, end] if path.discrete else [start, *(start + (end - start) * f for f in inner), end]
                for time in times:
                    state = path.at(k + time)
                    sides = [("", tube.lo[k, j], tube.hi[k, j], tube.conditions)]
                    if time == end:
                        sides.append(("end ", tube.end_lo[k, j], tube.end_hi[k, j], tube.end_conditions))
                    for word, lo, hi, held in sides:
                        pairs = [(f"state {i}", a, b, v) for i, (a, b, v) in enumerate(zip(lo, hi, state, strict=True))]
                        for number, condition in enumerate(conditions):
                            bounds = zip(held[number][0][k, j], held[number][1][k, j], condition.run(state), strict=True)
                            pairs += [(f"condition {number}.{i}", a, b, v) for i, (a, b, v) in enumerate(bounds)]
                        found += [
                            f"{spec.name}: {word}{what} at {float(k + time):.4g} periods: {v} is not in [{a!r}, {b!r}]"
                            for what, a, b, v in pairs
                            if not within(a, b, v)
                        ]
    return found
