"""The reachable tube of a sampled closed loop: control law, hold, flow, period after period, as one JAX function.

A set at an instant is a Taylor model without time: polynomials in the initial set and in the unknown parameters, and error symbols.
The rows of the set are the states, then the inputs of earlier periods where a delay or missed samples make them act on. The columns of
the error symbols are the axes of merged errors (see `wrapping`), then a group per period of the window, newest last: one symbol per
input for what the control law's enclosure added (within one period that error is one unknown constant), and one per row for the
remainder with which the period began. The control law sees all columns; the flow carries one axis per row and input, and the columns
are recovered from these after every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Float

from tubepilot.firmware_bridge.errors import InputError

from .basis import Basis, basis
from .error_model import TINY, U, raised
from .evaluation import polynomials, remainders
from .flow import LARGEST, flow_step
from .network import Network
from .network_bounds import network_model
from .polynomials import at_end, bounds, magnitude
from .program import Program, trace
from .specification import Specification
from .wrapping import carried, fold, parallelotope

MANY = 100_000  # products of axes and columns beyond which the bounds during a step are those of the axes
NEGLIGIBLE = 1e-12  # a side narrower than this is no symbol, only a remainder


@dataclass(frozen=True, slots=True)
class Settings:
    """How a tube is computed; none of it affects soundness.

    Attributes:
        order: highest power of time in one step.
        substeps: steps per control period.
        degree: degree of the polynomials in the initial set: 1 affine, 2 quadratic, 3 cubic.
        window: for how many periods errors stay symbols of their own.
    """

    order: int = 3
    substeps: int = 4
    degree: int = 2
    window: int = 50


Pairs = tuple[tuple[Array, Array], ...]


class Tube(NamedTuple):
    """Enclosures per control period and step; K steps per period.

    Attributes:
        lo, hi: states at all times of a step, shapes (periods, K, n).
        end_lo, end_hi: states at the end of a step, shapes (periods, K, n).
        conditions: per property, bounds (lo, hi) of its conditions over the step, each (periods, K, c).
        end_conditions: the same at the end of the step.
        contracted: whether the step was validated, per state, shape (periods, K, n); after a step that was not, nothing is known.
    """

    lo: Float[Array, "period step state"]
    hi: Float[Array, "period step state"]
    end_lo: Float[Array, "period step state"]
    end_hi: Float[Array, "period step state"]
    conditions: tuple[tuple[Array, Array], ...]
    end_conditions: tuple[tuple[Array, Array], ...]
    contracted: Bool[Array, "period step state"]


class _Set(NamedTuple):
    coefs: Float[Array, "row polynomial"]
    errors: Float[Array, "row column"]
    radius: Float[Array, "row"]

    def rows(self, start: int, stop: int) -> _Set:
        """Some rows."""
        return _Set(self.coefs[start:stop], self.errors[start:stop], self.radius[start:stop])

    @property
    def whole(self) -> Array:
        """Polynomials and columns side by side: coefficients, shape (row, 1, polynomial + column)."""
        return jnp.concatenate([self.coefs, self.errors], axis=1)[:, None, :]


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """A specification prepared for analysis.

    Attributes:
        settings: numerical settings.
        basis: monomials over one step.
        spans: start and end of each step within a period, in periods.
        tube: (network, centre (n,), half widths (n,), parameter centre (k,), parameter half widths (k,)) -> Tube; pure JAX, to be
            jitted, batched and differentiated. Boxes must lie within the widths for which symbols were declared.
    """

    settings: Settings
    basis: Basis
    spans: tuple[tuple[Fraction, Fraction], ...]
    tube: Callable[..., Tube]


def prepare(spec: Specification, settings: Settings) -> Analysis:
    """Trace the functions of a specification and build the tube function.

    Raises:
        InputError: a function uses a primitive without enclosure.
    """
    _check(spec)
    n, m, q, k = len(spec.states), len(spec.inputs), len(spec.disturbances), len(spec.parameters)
    dynamics = trace(spec.dynamics, n, m, q, k)
    read = trace(spec.network_input, n)
    outputs = spec.network.outputs if spec.network is not None else read.results.rows
    law = trace(spec.law, outputs, n)
    conditions = tuple(trace(p.conditions, n) for p in spec.properties)
    late = spec.delay_s[1] > 0 or spec.missed > 0
    history = spec.missed + 1 if late else 0
    rows = n + history * m
    widths = spec.initial_box[:, 1] - spec.initial_box[:, 0]
    moving = tuple(int(i) for i in np.flatnonzero(widths > NEGLIGIBLE))
    parameter_widths = spec.parameter_box[:, 1] - spec.parameter_box[:, 0] if k else np.zeros(0)
    unknown = tuple(int(i) for i in np.flatnonzero(parameter_widths > NEGLIGIBLE))
    merged = rows if settings.window < spec.steps else 0  # columns of merged errors
    columns = merged + (max(1, min(settings.window, spec.steps)) + 1) * (m + rows)
    fresh = slice(columns - rows - m, columns - rows)
    known = basis(len(moving) + len(unknown), settings.degree, columns, 0)  # as the control law and the reports see a set
    known_over = basis(known.symbols, settings.degree, columns, settings.order)
    count = known.polynomial
    instant = basis(known.symbols, settings.degree, rows + m, 0)  # as the flow sees it
    timed = basis(known.symbols, settings.degree, rows + m, settings.order)
    phases = _phases(spec, settings.substeps)

    def program_at(program: Program, monomials: Basis, coefs: Array, radius: Array) -> tuple[Array, Array]:
        results, trails, error = polynomials(program, monomials, coefs, radius)
        return results, remainders(program, trails, error, radius)

    def starting(centre: Array, half: Array) -> _Set:
        coefs = jnp.zeros((rows, count)).at[:n, 0].set(centre)
        radius = half
        for symbol, state in enumerate(moving):
            coefs = coefs.at[state, 1 + symbol].set(half[state])
            radius = radius.at[state].set(0.0)
        return _Set(
            coefs, jnp.zeros((rows, columns)).at[:n, columns - rows : columns - rows + n].set(jnp.diag(radius)), jnp.zeros(rows)
        )

    def unknowns(centre: Array, half: Array) -> tuple[Array, Array]:
        coefs = jnp.zeros((k, instant.monomials)).at[:, 0].set(centre)
        radius = half
        for symbol, index in enumerate(unknown):
            coefs = coefs.at[index, 1 + len(moving) + symbol].set(half[index])
            radius = radius.at[index].set(0.0)
        return coefs, radius

    def controlled(network: Network | None, state: _Set) -> _Set:
        """The input computed from a sampled state; its remainder becomes the fresh symbols."""
        x = state.rows(0, n)
        inputs, input_radius = program_at(read, known, x.whole, x.radius)
        if network is None:
            y, y_radius = inputs, input_radius
        else:
            y, y_radius = network_model(known, network, inputs[:, 0], input_radius)
            y = y[:, None, :]
        u, u_radius = program_at(law, known, jnp.concatenate([y, x.whole]), jnp.concatenate([y_radius, x.radius]))
        return _Set(u[:, 0, :count], u[:, 0, count:].at[:, fresh].set(jnp.diag(u_radius)), jnp.zeros(m))

    def reported(
        coefs: Array, radius: Array, coordinates: Array, over_time: bool
    ) -> tuple[Array, Array, tuple[tuple[Array, Array], ...]]:
        """Bounds of the states and of the conditions, from all columns; during a step of a large system from the axes."""
        if over_time and columns * (rows + m) > MANY:
            monomials = timed
        else:
            errors, rounding = carried(coefs[..., count:], coordinates)
            monomials = known_over if over_time else known
            coefs, radius = jnp.concatenate([coefs[..., :count], errors], axis=-1), raised(radius + rounding, 2)
        lo, hi = bounds(monomials, coefs)
        return (*_widened(lo, hi, radius), tuple(_condition_bounds(c, monomials, coefs, radius) for c in conditions))

    def advanced(
        state: tuple[Array, Array], held: Array, held_radius: Array, duration: Array, coordinates: Array
    ) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        """One step of the states (coefs, radius), and what is reported of it."""
        x, x_radius = state
        if spec.discrete:
            everything = jnp.concatenate([x, held])[:, None, :]
            over, radius = program_at(dynamics, instant, everything, jnp.concatenate([x_radius, held_radius]))
            end, end_radius = over[:, 0], radius
            contracted = jnp.isfinite(radius) & (magnitude(over) < LARGEST)
        else:
            step = flow_step(dynamics, timed, x, x_radius, held, held_radius, duration)
            over, radius, contracted = step.coefs, step.radius, step.contracted
            end, rounding = at_end(over)
            end_radius = raised(radius + rounding, 2)
        end_lo, end_hi, end_to = reported(end[:, None, :], end_radius, coordinates, False)
        if spec.discrete:  # a step lasts from one instant to the next, so the set before it belongs to it
            before_lo, before_hi, before = reported(x[:, None, :], x_radius, coordinates, False)
            lo, hi = jnp.minimum(end_lo, before_lo), jnp.maximum(end_hi, before_hi)
            held_to = tuple((jnp.minimum(a[0], b[0]), jnp.maximum(a[1], b[1])) for a, b in zip(end_to, before, strict=True))
        else:
            lo, hi, held_to = reported(over, radius, coordinates, True)
        good = jnp.all(contracted) & jnp.all(jnp.isfinite(end)) & jnp.all(jnp.isfinite(end_radius))
        following = jax.tree.map(lambda new, old: jnp.where(good, new, old), (end, end_radius), state)
        return following, (lo, hi, end_lo, end_hi, held_to, end_to, contracted & good)

    def tube(
        network: Network | None,
        centre: Float[Array, "state"],
        half: Float[Array, "state"],
        parameter_centre: Float[Array, "parameter"],
        parameter_half: Float[Array, "parameter"],
    ) -> Tube:
        w_centre, w_half = (jnp.asarray(v) for v in middle_and_radius(spec.disturbance_box))
        w = jnp.zeros((q, instant.monomials)).at[:, 0].set(w_centre)
        p, p_radius = unknowns(parameter_centre, parameter_half)

        def run(
            state: tuple[Array, Array], acting: _Set, coordinates: Array, length_s: float, steps: int, alive: Array
        ) -> tuple[tuple[Array, Array], Array, object]:
            held = jnp.concatenate([jnp.concatenate([acting.coefs, acting.errors], axis=1), w, p])
            held_radius = jnp.concatenate([acting.radius, w_half, p_radius])

            def substep(carry: tuple[tuple[Array, Array], Array], _: None) -> tuple[tuple[tuple[Array, Array], Array], object]:
                state, alive = carry
                state, report = advanced(state, held, held_radius, jnp.asarray(length_s / steps), coordinates)
                report = (*report[:-1], report[-1] & alive)
                return (state, alive & jnp.all(report[-1])), report

            (state, alive), reports = jax.lax.scan(substep, (state, alive), None, length=steps)
            return state, alive, reports

        def period(carry: tuple[_Set, Array], _: None) -> tuple[tuple[_Set, Array], object]:
            """All sets of one period are polynomials in the same symbols; only at its end are errors folded into new ones."""
            state, alive = carry
            u = controlled(network, state)
            axes, coordinates, box = parallelotope(jnp.concatenate([state.errors, u.errors]))
            seen = _Set(jnp.concatenate([state.coefs, u.coefs]), axes, raised(jnp.concatenate([state.radius, u.radius]) + box, 1))
            parts = [seen.rows(start, start + m) for start in (rows, *(n + i * m for i in range(history)))]  # newest first
            moved = (jnp.concatenate([seen.coefs[:n], seen.errors[:n]], axis=1), seen.radius[:n])
            acting = {"earlier": parts[1:], "either": parts, "new": parts if spec.missed else parts[:1]}
            reports = []
            for name, length, steps in phases:
                moved, alive, report = run(moved, _hull(acting[name]), coordinates, float(length) * spec.period_s, steps, alive)
                reports.append(report)
            errors, rounding = carried(moved[0][:, count:], coordinates)
            latest = [u, *(state.rows(n + i * m, n + (i + 1) * m) for i in range(history))][:history]
            coefs = jnp.concatenate([moved[0][:, :count], *[part.coefs for part in latest]])
            errors = jnp.concatenate([errors, *[part.errors for part in latest]])
            radius = jnp.concatenate([raised(moved[1] + rounding, 1), *[part.radius for part in latest]])
            old, symbols, box = fold(errors[:, :merged], errors[:, merged:], radius, m)
            state = _Set(coefs, jnp.concatenate([old, symbols], axis=1), box)
            return (state, alive), jax.tree.map(lambda *r: jnp.concatenate(r), *reports)

        initial = starting(centre, half)
        if late:  # before the first sample takes effect, the input of the first sample's state is held
            u = controlled(network, initial)
            wide = jnp.tile(raised(jnp.sum(jnp.abs(u.errors[:, fresh]), axis=1), m), history)
            errors = initial.errors.at[n:].set(jnp.tile(u.errors.at[:, fresh].set(0.0), (history, 1)))
            errors = errors.at[n:, columns - rows + n :].add(jnp.diag(wide))
            initial = _Set(initial.coefs.at[n:].set(jnp.tile(u.coefs, (history, 1))), errors, initial.radius)
        _, reports = jax.lax.scan(period, (initial, jnp.asarray(True)), None, length=spec.steps)
        return Tube(*reports)

    return Analysis(settings, timed, _spans(phases), tube)


def _phases(spec: Specification, substeps: int) -> tuple[tuple[str, Fraction, int], ...]:
    """What acts on the plant in the parts of a period: (which inputs, length in periods, number of steps)."""
    if spec.discrete:
        late = "earlier" if spec.delay_s[0] > 0 else "either" if spec.delay_s[1] > 0 else "new"
        return ((late, Fraction(1), 1),)
    period = Fraction(spec.period_s)
    early, last = (Fraction(d) / period for d in spec.delay_s)
    parts = (("earlier", early), ("either", last - early), ("new", 1 - last))
    return tuple((name, length, max(1, round(substeps * length))) for name, length in parts if length > 0)


def _spans(phases: tuple[tuple[str, Fraction, int], ...]) -> tuple[tuple[Fraction, Fraction], ...]:
    """Start and end of every step within a period."""
    spans, start = [], Fraction(0)
    for _, length, steps in phases:
        spans += [(start + length * i / steps, start + length * (i + 1) / steps) for i in range(steps)]
        start += length
    return tuple(spans)


def _check(spec: Specification) -> None:
    """Refuse what would make a verdict meaningless."""
    for prop in spec.properties:
        begin, end = prop.window_periods
        if not 0 <= begin <= end <= spec.steps:
            window = f"{float(begin):g} to {float(end):g} periods"
            raise InputError(f"{spec.name}: the window of '{prop.kind}' is {window}; it must lie within 0 to {spec.steps}")
    if not 0 <= spec.delay_s[0] <= spec.delay_s[1] <= spec.period_s:
        raise InputError(f"{spec.name}: the delay is {spec.delay_s} s; it must lie within 0 to the period of {spec.period_s} s")
    if spec.missed < 0 or spec.steps < 1:
        raise InputError(f"{spec.name}: missed is {spec.missed} and steps is {spec.steps}; at least 0 and 1 are needed")
    for name, box in (("initial", spec.initial_box), ("disturbance", spec.disturbance_box), ("parameter", spec.parameter_box)):
        if box.size and not (np.all(np.isfinite(box)) and np.all(box[:, 0] <= box[:, 1])):
            raise InputError(f"{spec.name}: the {name} box {box.tolist()} is empty or not finite; lo must not exceed hi")


def middle_and_radius(box: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Centre and half width of boxes, shape (..., n, 2), such that centre +- half width contains the box."""
    box = np.asarray(box, np.float64).reshape(*np.shape(box)[:-1], 2)
    centre = 0.5 * box[..., 0] + 0.5 * box[..., 1]
    half = np.maximum(box[..., 1] - centre, centre - box[..., 0])
    return centre, np.where(half > 0, np.nextafter(half, np.inf), half)


def _widened(lo: Array, hi: Array, radius: Array) -> tuple[Array, Array]:
    return lo - radius * (1 + 4 * U) - 4 * U * jnp.abs(lo), hi + radius * (1 + 4 * U) + 4 * U * jnp.abs(hi)


def _condition_bounds(program: Program, monomials: Basis, coefs: Array, radius: Array) -> tuple[Array, Array]:
    results, trails, error = polynomials(program, monomials, coefs, radius)
    slack = remainders(program, trails, error, radius)
    return _widened(*bounds(monomials, results), slack)


def _hull(candidates: list[_Set]) -> _Set:
    """Middle of several inputs, and the radius that reaches all of them at any time."""
    if len(candidates) == 1:
        return candidates[0]
    all_of = [c.whole for c in candidates]
    middle = sum(all_of[1:], start=all_of[0]) / len(candidates)
    radii = [raised(magnitude(c - middle) + r.radius + 8 * U * magnitude(middle), 8) for c, r in zip(all_of, candidates, strict=True)]
    polynomial = candidates[0].coefs.shape[1]
    return _Set(middle[:, 0, :polynomial], middle[:, 0, polynomial:], jnp.max(jnp.stack(radii), axis=0) + TINY)
