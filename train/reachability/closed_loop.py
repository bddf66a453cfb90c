"""The reachable tube of a sampled closed loop: control law, hold, flow, period after period, as one JAX function.

A set at an instant is a Taylor model without time: polynomials in the initial set and in the unknown parameters, and error symbols.
The rows of the set are the states, then the inputs of earlier periods where a delay or missed samples make them act on. The columns of
the error symbols are the axes of merged errors (see `wrapping`), then one symbol per input for what the control law's enclosure added
in each of the last periods, newest last: within one period that error is one unknown constant, so it is one symbol.
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
from .wrapping import fold

NEGLIGIBLE = 1e-12  # a side narrower than this is no symbol, only a remainder


@dataclass(frozen=True, slots=True)
class Settings:
    """How a tube is computed; none of it affects soundness.

    Attributes:
        order: highest power of time in one step.
        substeps: steps per control period.
        degree: degree of the polynomials in the initial set: 1 affine, 2 quadratic, 3 cubic.
        window: for how many periods the errors of the control law stay symbols of their own.
    """

    order: int = 3
    substeps: int = 4
    degree: int = 2
    window: int = 50


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
    coefs: Float[Array, "row monomial"]
    radius: Float[Array, "row"]


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
    window = max(1, min(settings.window, spec.steps))
    columns = rows + window * m
    instant = basis(len(moving) + len(unknown), settings.degree, columns, 0)
    timed = basis(instant.symbols, settings.degree, instant.generators, settings.order)
    first = instant.polynomial
    phases = _phases(spec, settings.substeps)
    axes_at = slice(first, first + rows)
    symbols_at = slice(first + rows, first + columns)
    fresh = slice(first + columns - m, first + columns)

    def program_at(program: Program, monomials: Basis, coefs: Array, radius: Array) -> tuple[Array, Array]:
        results, trails, error = polynomials(program, monomials, coefs, radius)
        return results, remainders(program, trails, error, radius)

    def starting(centre: Array, half: Array) -> _Set:
        coefs = jnp.zeros((rows, instant.monomials)).at[:n, 0].set(centre)
        radius = jnp.zeros(rows).at[:n].set(half)
        for symbol, state in enumerate(moving):
            coefs = coefs.at[state, 1 + symbol].set(half[state])
            radius = radius.at[state].set(0.0)
        return _Set(coefs, radius)

    def unknowns(centre: Array, half: Array) -> tuple[Array, Array]:
        coefs = jnp.zeros((k, instant.monomials)).at[:, 0].set(centre)
        radius = half
        for symbol, index in enumerate(unknown):
            coefs = coefs.at[index, 1 + len(moving) + symbol].set(half[index])
            radius = radius.at[index].set(0.0)
        return coefs, radius

    def controlled(network: Network | None, state: _Set) -> Array:
        """The input computed from a sampled state; its remainder becomes the fresh symbols."""
        x, x_radius = state.coefs[:n, None, :], state.radius[:n]
        inputs, input_radius = program_at(read, instant, x, x_radius)
        if network is None:
            y, y_radius = inputs, input_radius
        else:
            y, y_radius = network_model(instant, network, inputs[:, 0], input_radius)
            y = y[:, None, :]
        u, u_radius = program_at(law, instant, jnp.concatenate([y, x]), jnp.concatenate([y_radius, x_radius]))
        return u[:, 0].at[:, fresh].set(jnp.diag(u_radius))

    def advanced(state: _Set, held: Array, held_radius: Array, duration: Array) -> tuple[_Set, tuple[Array, ...]]:
        """One step, and what is reported of it."""
        x, x_radius = state.coefs[:n], state.radius[:n]
        if spec.discrete:
            everything = jnp.concatenate([x, held])[:, None, :]
            over, radius = program_at(dynamics, instant, everything, jnp.concatenate([x_radius, held_radius]))
            end, end_radius, monomials = over[:, 0], radius, instant
            contracted = jnp.isfinite(radius) & (magnitude(over) < LARGEST)
        else:
            step = flow_step(dynamics, timed, x, x_radius, held, held_radius, duration)
            over, radius, contracted, monomials = step.coefs, step.radius, step.contracted, timed
            end, rounding = at_end(over)
            end_radius = raised(radius + rounding, 2)
        lo, hi = bounds(monomials, over)
        lo, hi = lo - radius * (1 + 4 * U) - 4 * U * jnp.abs(lo), hi + radius * (1 + 4 * U) + 4 * U * jnp.abs(hi)
        end_lo, end_hi = bounds(instant, end[:, None, :])
        end_lo, end_hi = (
            end_lo - end_radius * (1 + 4 * U) - 4 * U * jnp.abs(end_lo),
            end_hi + end_radius * (1 + 4 * U) + 4 * U * jnp.abs(end_hi),
        )
        held_to = tuple(_condition_bounds(c, monomials, over, radius) for c in conditions)
        end_to = tuple(_condition_bounds(c, instant, end[:, None, :], end_radius) for c in conditions)
        if spec.discrete:  # a step lasts from one instant to the next, so the set before it belongs to it
            before_lo, before_hi = bounds(instant, x[:, None, :])
            lo = jnp.minimum(lo, before_lo - x_radius * (1 + 4 * U) - 4 * U * jnp.abs(before_lo))
            hi = jnp.maximum(hi, before_hi + x_radius * (1 + 4 * U) + 4 * U * jnp.abs(before_hi))
            before = [_condition_bounds(c, instant, x[:, None, :], x_radius) for c in conditions]
            held_to = tuple((jnp.minimum(a[0], b[0]), jnp.maximum(a[1], b[1])) for a, b in zip(held_to, before, strict=True))
        following = _Set(state.coefs.at[:n].set(end), state.radius.at[:n].set(end_radius))
        good = jnp.all(contracted) & jnp.all(jnp.isfinite(end)) & jnp.all(jnp.isfinite(end_radius))
        following = jax.tree.map(lambda new, old: jnp.where(good, new, old), following, state)
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

        def run(state: _Set, u: Array, u_radius: Array, length_s: float, steps: int, alive: Array) -> tuple[_Set, Array, object]:
            held = jnp.concatenate([u, w, p])
            held_radius = jnp.concatenate([u_radius, w_half, p_radius])

            def substep(carry: tuple[_Set, Array], _: None) -> tuple[tuple[_Set, Array], object]:
                state, alive = carry
                state, report = advanced(state, held, held_radius, jnp.asarray(length_s / steps))
                report = (*report[:-1], report[-1] & alive)
                return (state, alive & jnp.all(report[-1])), report

            (state, alive), reports = jax.lax.scan(substep, (state, alive), None, length=steps)
            return state, alive, reports

        def period(carry: tuple[_Set, Array], _: None) -> tuple[tuple[_Set, Array], object]:
            """All sets of one period are polynomials in the same symbols; only at its end are errors folded into new ones."""
            state, alive = carry
            u = controlled(network, state)
            new = (u, jnp.zeros(m))
            parts = [(state.coefs[n + i * m : n + (i + 1) * m], state.radius[n + i * m : n + (i + 1) * m]) for i in range(history)]
            reports = []
            acting = {"earlier": parts, "either": [new, *parts], "new": [new, *parts] if spec.missed else [new]}
            for name, length, steps in phases:
                state, alive, report = run(state, *_hull(acting[name]), float(length) * spec.period_s, steps, alive)
                reports.append(report)
            latest = [new, *parts][:history]
            coefs = jnp.concatenate([state.coefs[:n], *[c for c, _ in latest]])
            radius = jnp.concatenate([state.radius[:n], *[r for _, r in latest]])
            axes, symbols, box = fold(coefs[:, axes_at], coefs[:, symbols_at], radius, m)
            state = _Set(coefs.at[:, axes_at].set(axes).at[:, symbols_at].set(symbols), box)
            return (state, alive), jax.tree.map(lambda *r: jnp.concatenate(r), *reports)

        initial = starting(centre, half)
        if late:  # before the first sample takes effect, the input of the first sample's state is held
            u = controlled(network, initial)
            plain = u.at[:, fresh].set(0.0)
            wide = jnp.sum(jnp.abs(u[:, fresh]), axis=1)
            initial = _Set(initial.coefs.at[n:].set(jnp.tile(plain, (history, 1))), initial.radius.at[n:].set(jnp.tile(wide, history)))
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


def _condition_bounds(program: Program, monomials: Basis, coefs: Array, radius: Array) -> tuple[Array, Array]:
    results, trails, error = polynomials(program, monomials, coefs, radius)
    slack = remainders(program, trails, error, radius)
    lo, hi = bounds(monomials, results)
    return lo - slack * (1 + 4 * U) - 4 * U * jnp.abs(lo), hi + slack * (1 + 4 * U) + 4 * U * jnp.abs(hi)


def _hull(candidates: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Middle of several inputs, and the radius that reaches all of them at any time."""
    if len(candidates) == 1:
        return candidates[0]
    middle = sum((c for c, _ in candidates[1:]), start=candidates[0][0]) / len(candidates)
    radii = [raised(magnitude((c - middle)[:, None, :]) + r + 8 * U * magnitude(middle[:, None, :]), 8) for c, r in candidates]
    return middle, jnp.max(jnp.stack(radii), axis=0) + TINY
