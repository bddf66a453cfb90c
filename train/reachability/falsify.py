"""Look for a trajectory that breaks a property: corners and random points, then projected gradient ascent through the simulation.

What is found is replayed in ball arithmetic, so that a counterexample marked as confirmed is a proof. Finding none proves nothing.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from math import lcm
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .counterexample import Counterexample, Numbers, inner, replay
from .network import Network
from .reference import Reference, reference
from .simulation import Choices, Loop, accurate_substeps, loop_of, trajectories, trajectory
from .specification import Property, Specification

ACCURACY = 1e-9
_STEP = 0.25  # first step of the ascent, in widths of the boxes
_DECAY = 0.88
_REPLAYS = 3


class Ranges(NamedTuple):
    """Bounds of every choice; the ascent moves in the unit cube between them.

    Attributes:
        x0, p, w: lo and hi, shapes (n, 2), (k, 2), (q, 2).
        delay_s: Shape (2,) [s].
    """

    x0: Numbers
    p: Numbers
    w: Numbers
    delay_s: Numbers


def _place(ranges: Ranges, unit: Choices) -> Choices:
    """From the unit cube into the boxes."""

    def between(z: Array, lo: Array, hi: Array) -> Array:
        return jnp.clip(lo + z * (hi - lo), lo, hi)

    sides = [(box[:, 0], box[:, 1]) for box in (ranges.x0, ranges.p, ranges.w)]
    x0, p, w = (between(z, lo, hi) for z, (lo, hi) in zip((unit.x0, unit.p, unit.w), sides, strict=True))
    return Choices(x0, p, w, between(unit.delays_s, *ranges.delay_s), unit.received)


def scores(prop: Property, states: Float[Array, "K n"], inside: Float[Array, "K"]) -> Float[Array, "targets"]:
    """What is to be made positive: for stay one number per condition, for reach and avoid one; -inf where it is not a number.

    Args:
        prop: The property.
        states: Of one trajectory.
        inside: Whether each instant lies in the window.
    """
    values = jax.vmap(prop.conditions)(states)
    if prop.kind == "stay":
        result = jnp.max(jnp.where(inside[:, None], values, -jnp.inf), axis=0)
    elif prop.kind == "avoid":
        result = jnp.max(jnp.where(inside, -jnp.max(values, axis=1), -jnp.inf))[None]
    else:
        result = jnp.min(jnp.where(inside, jnp.max(values, axis=1), jnp.inf))[None]
    return jnp.where(jnp.isnan(result), -jnp.inf, result)


@partial(jax.jit, static_argnames=("loop", "prop", "substeps", "iterations"))
def _ascend(
    loop: Loop, prop: Property, substeps: int, iterations: int, network: Network | None, period_s: Array, ranges: Ranges, inside: Array,
    target: Array, starts: Choices,
) -> tuple[Array, Choices]:  # fmt: skip
    """Best score of `target` and the choices, in the unit cube, that give it, per start."""

    def one(start: Choices, wanted: Array) -> tuple[Array, Choices]:
        def objective(moving: Choices) -> Array:
            given = _place(ranges, moving._replace(received=start.received))
            return scores(prop, trajectory(loop, network, period_s, given, substeps), inside)[wanted]

        def better(i: Array, carry: tuple[Choices, Array, Choices]) -> tuple[Choices, Array, Choices]:
            z, best, where = carry
            value, slope = jax.value_and_grad(objective)(z._replace(received=None))
            where = jax.tree.map(lambda new, old: jnp.where(value > best, new, old), z, where)
            size = _STEP * _DECAY**i

            def move(a: Array, g: Array) -> Array:
                return jnp.clip(a + size * jnp.sign(jnp.nan_to_num(g)), 0.0, 1.0)

            moved = [move(a, g) for a, g in zip(z[:4], slope[:4], strict=True)]
            return Choices(*moved, z.received), jnp.maximum(value, best), where

        _, best, where = jax.lax.fori_loop(0, iterations, better, (start, jnp.asarray(-jnp.inf, start.x0.dtype), start))
        return best, where

    return jax.vmap(one)(starts, target)


@partial(jax.jit, static_argnames=("prop",))
def _all_scores(prop: Property, states: Array, inside: Array) -> Array:
    return jax.vmap(lambda one: scores(prop, one, inside))(states)


def falsify(
    spec: Specification,
    seed: int = 0,
    samples: int = 256,
    ascents: int = 16,
    *,
    iterations: int = 40,
    pieces: int = 1,
    samples_per_period: int = 4,
    substeps: int | None = None,
) -> Counterexample | None:
    """Search for a violation of any property.

    Args:
        spec: The closed loop.
        seed: Of the random choices.
        samples: Random and corner trajectories per property; a violation among them that can be proven ends the search.
        ascents: Gradient ascents per property, shared among its conditions (at least one for each); 0 for none.
        iterations: Gradient steps per ascent.
        pieces: Pieces of a control period over which a disturbance is constant.
        samples_per_period: Instants per period at which conditions are judged, raised as the windows need it.
        substeps: Runge-Kutta steps between them; None: enough for 1e-9.

    Returns:
        A confirmed counterexample if one was found, else one that is only simulated, else None.

    Raises:
        InputError: The dynamics, law or a condition uses an operation that ball arithmetic does not know.
    """
    per_period = _recorded(spec, samples_per_period, pieces)
    count = substeps or accurate_substeps(spec, per_period, ACCURACY, seed)
    ready = reference(spec)
    unproven: list[Counterexample] = []
    for number in range(len(spec.properties)):
        search = _Search(ready, number, per_period, count)
        generator = np.random.default_rng([seed, number])
        units = _draw(spec, generator, samples, 1 if spec.discrete else pieces)
        found = search.judge(units, tries=1)
        if (found is None or not found.confirmed) and ascents:
            found = search.judge(search.ascend(units, ascents, iterations), tries=_REPLAYS) or found
        if found is not None and found.confirmed:
            return found
        unproven += [] if found is None else [found]
    return unproven[0] if unproven else None


class _Search:
    """One property under attack."""

    def __init__(self, ready: Reference, number: int, per_period: int, substeps: int) -> None:
        spec = ready.spec
        self.ready, self.number, self.substeps = ready, number, substeps
        self.prop, self.loop = spec.properties[number], loop_of(spec, per_period)
        self.period = np.float64(spec.period_s)
        self.ranges = Ranges(inner(spec.initial_box), inner(spec.parameter_box), inner(spec.disturbance_box), np.array(spec.delay_s))
        first, last = (float(v) * self.loop.samples for v in self.prop.window_periods)
        steps = np.arange(spec.steps * self.loop.samples + 1)
        self.inside = (steps >= first) & (steps <= last)
        if not self.inside.any():
            self.inside[min(round(first), len(steps) - 1)] = True

    def judge(self, units: Choices, tries: int) -> Counterexample | None:
        """Simulate; replay the worst. None if nothing is violated."""
        given = self._placed(units)
        with jax.enable_x64(True):
            states = np.asarray(trajectories(self.loop, self.ready.spec.network, self.period, given, jnp.asarray(self.substeps)))
            table = np.asarray(_all_scores(self.prop, states, self.inside))
        worst = table.max(axis=1)
        order = np.argsort(-worst)[:tries]
        found = [self._describe(Choices(*(a[i] for a in given)), states[i]) for i in order
                 if worst[i] > 0 or (worst[i] == 0 and self.prop.kind == "avoid")]  # fmt: skip
        for candidate in found:
            replayed = replay(self.ready, candidate)
            if replayed.confirmed:
                return replayed
        return found[0] if found else None

    def ascend(self, units: Choices, ascents: int, iterations: int) -> Choices:
        """Improve the best starts of every condition."""
        spec, given = self.ready.spec, self._placed(units)
        with jax.enable_x64(True):
            states = trajectories(self.loop, spec.network, self.period, given, jnp.asarray(self.substeps))
            table = np.asarray(_all_scores(self.prop, states, self.inside))
            targets = table.shape[1]
            each = min(max(1, ascents // targets), len(table))
            target = np.repeat(np.arange(targets), each)
            start = np.argsort(-table, axis=0)[:each].T.ravel()
            starts = Choices(*(jnp.asarray(a[start]) for a in units))
            _, best = _ascend(self.loop, self.prop, self.substeps, iterations, spec.network, self.period, self.ranges, self.inside,
                              target, starts)  # fmt: skip
        return Choices(*(np.asarray(a) for a in best))

    def _placed(self, units: Choices) -> Choices:
        with jax.enable_x64(True):
            return Choices(*(np.asarray(a) for a in _place(self.ranges, Choices(*(jnp.asarray(a) for a in units)))))

    def _describe(self, given: Choices, states: Numbers) -> Counterexample:
        prop, spec, samples = self.prop, self.ready.spec, self.loop.samples
        with jax.enable_x64(True):
            values = np.asarray(jax.vmap(prop.conditions)(jnp.asarray(states)))
        worst = np.where(np.isnan(values), -np.inf, values).max(axis=1)
        if prop.kind == "stay":
            at = int(np.argmax(np.where(self.inside, worst, -np.inf)))
        else:
            at = int(np.argmin(np.where(self.inside, worst, np.inf)))
        condition = int(np.argmax(values[at]))
        instant = min(max(Fraction(at, samples), prop.window_periods[0]), prop.window_periods[1])
        margin = float(-worst[at] if prop.kind == "avoid" else worst[at])
        times = np.arange(len(states)) / samples * spec.period_s
        return Counterexample(spec.name, self.number, prop.kind, prop.text[condition], margin, float(instant) * spec.period_s,
                              str(instant), given.x0, given.p, given.w, given.delays_s, given.received, times, states)  # fmt: skip


def _recorded(spec: Specification, wished: int, pieces: int) -> int:
    """Instants per period: a multiple of the pieces, and such that windows begin and end on one if few are enough for that."""
    if spec.discrete:
        return 1
    base = lcm(pieces, *(end.denominator for prop in spec.properties for end in prop.window_periods))
    base = base if base <= 16 * pieces else pieces
    return -(-wished // base) * base


def _draw(spec: Specification, generator: np.random.Generator, count: int, pieces: int) -> Choices:
    """Choices in the unit cube: a quarter of them uniform, the others with every coordinate at an end, held over time in a half."""

    def ends(shape: tuple[int, ...]) -> Numbers:
        values = generator.random((count, *shape))
        corner = (np.arange(count) % 4 > 0).reshape(-1, *(1,) * len(shape))
        return np.where(corner, np.round(values), values)

    w, delays = ends((spec.steps, pieces, len(spec.disturbances))), ends((spec.steps,))
    steady = np.arange(count) % 4 > 1
    w[steady], delays[steady] = w[steady][:, :1, :1], delays[steady][:, :1]
    received = np.ones((count, spec.steps), bool)
    run = np.zeros(count, int)
    for k in range(1, spec.steps if spec.missed else 0):
        received[:, k] = (run >= spec.missed) | (generator.random(count) < 0.5)
        run = np.where(received[:, k], 0, run + 1)
    return Choices(ends((len(spec.states),)), ends((len(spec.parameters),)), w, delays, received)
