"""Attacks a certificate: rollouts of the nonlinear vehicle under the backup law, with the worst disturbances found.

The plant (`falsify_plant`) is the full one of docs/certificate.md, section 2: attitude, lagging rates and thrust, drag, wind;
set-points are sampled, held, late by a delay that changes from tick to tick, missed as often as the certificate allows, and
computed from a wrong estimate. Three adversaries share the rollouts: random, bang-bang, and gradient ascent through the
rollout, over disturbances, delays and starts. A proven certificate must survive all of it; this finds mistakes in the
derivation, which arithmetic cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from tubepilot.firmware_bridge.errors import InputError

from .certificate import Certificate
from .falsify_plant import Attack, Start, rollout, ticks_of
from .interval import Numbers

STEPS = 38
"""Length of a rollout, in steps of the proof: nearly as many as there are stages."""
BATCH = 4000
CLIMBERS = 20
"""One rollout in so many climbs the gradient."""
ASCENTS = 3
STRIDE = 0.3
"""How far a climber's start moves along its gradient, as a share of the set's box."""
CORNERED = 12
"""Stages whose corners are among the starts."""
SHARPNESS = 40.0
"""Of the smooth maximum over facets and ticks that the gradient climbs [1]."""
INSIDE = 1.0 - 1e-6
"""Largest facet at the start; the margin covers rounding of the start's construction."""


@dataclass(frozen=True, slots=True)
class Falsification:
    """What the attacks reached.

    Attributes:
        rollouts: How many were flown.
        escapes: Of them, how many left the set, or the tube between.
        largest_facet: Largest facet after any step of the certificate, as a share of its offset; 1 is the edge of the stage.
        tube_share: Largest share of the proven tube, horizontal and vertical, for position, velocity, acceleration, jerk,
            feedback and slope, shape (2, 6).
        worst: Start and disturbances of the rollout with the largest facet.
    """

    rollouts: int
    escapes: int
    largest_facet: float
    tube_share: Numbers
    worst: tuple[Start, Attack]


def falsify(
    certificate: Certificate, rollouts: int, seed: int, progress: Callable[[int], None] = lambda count: None, steps: int = STEPS,
    ascents: int = ASCENTS,
) -> Falsification:
    """Attack a certificate.

    Args:
        certificate: What was proven.
        rollouts: At least this many, in batches of up to `BATCH`; one in twenty climbs a gradient.
        seed: Of starts and disturbances.
        progress: Called with the number of rollouts of each batch.
        steps: Length of a rollout, in steps of the proof.
        ascents: Steps of those that climb.

    Returns:
        What was reached.

    Raises:
        InputError: no rollouts asked for.
    """
    fly, ticks = rollout(certificate), ticks_of(certificate, steps)
    corners = _corners(certificate)
    random = np.random.default_rng(seed)
    largest, shares, escapes, flown = 0.0, np.zeros((2, 6)), 0, 0
    worst: tuple[Start, Attack] | None = None
    batch = max(CLIMBERS, min(BATCH, rollouts))
    few = batch // CLIMBERS
    with jax.enable_x64(True):
        judge = jax.jit(jax.vmap(fly, in_axes=-1, out_axes=-1))
        slope = jax.grad(lambda start, attack: _worst(*fly(start, attack)), argnums=(0, 1))
        climb = jax.jit(jax.vmap(slope, in_axes=-1, out_axes=-1))
        while flown < rollouts:
            start, attack = _starts(certificate, random, batch, corners), _attacks(random, batch, ticks)
            some_start, some = (jax.tree.map(lambda x: x[..., :few], value) for value in (start, attack))
            for _ in range(ascents):
                up_start, up = climb(some_start, some)
                some_start = _moved(certificate, some_start, up_start)
                # The plant is nearly linear in the disturbances: the best is at the bound, along the gradient.
                some = _project(jax.tree.map(lambda g: 1e9 * g, up)._replace(miss=some.miss))
            start, attack = (
                jax.tree.map(lambda x, y: jnp.concatenate([x, y[..., few:]], axis=-1), climbed, plain)
                for climbed, plain in ((some_start, start), (some, attack))
            )
            facets, outputs, own = (np.asarray(x) for x in judge(start, attack))
            escaped = ~(facets <= 1.0).all(axis=0) | ~(own <= 1.0).all(axis=(0, 1))
            highest = np.where(np.isfinite(facets), facets, np.inf).max(axis=0)
            if worst is None or highest.max() > largest:
                place = int(highest.argmax())
                worst = Start(*(np.asarray(x[..., place]) for x in start)), Attack(*(np.asarray(x[..., place]) for x in attack))
                largest = float(highest.max())
            shares = np.maximum(shares, np.nanmax(outputs, axis=2))
            escapes += int(escaped.sum())
            flown += batch
            progress(batch)
    if worst is None:
        raise InputError(f"{rollouts} rollouts: the falsifier needs at least one")
    return Falsification(flown, escapes, largest, shares, worst)


def _worst(facets: jax.Array, outputs: jax.Array, own: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(SHARPNESS * jnp.concatenate([facets, outputs.ravel(), own.ravel()])) / SHARPNESS


def _ball(x: jax.Array) -> jax.Array:
    """The axis before the last into the unit ball."""
    return x / jnp.maximum(1.0, jnp.sqrt(jnp.sum(x * x, axis=-2, keepdims=True) + 1e-300))


def _split(x: jax.Array) -> jax.Array:
    """Horizontal pair into the unit disc, vertical into [-1, 1]."""
    return jnp.concatenate([_ball(x[..., :2, :]), jnp.clip(x[..., 2:, :], -1.0, 1.0)], axis=-2)


def _project(attack: Attack) -> Attack:
    """Every block into its unit ball; the last axis counts rollouts."""
    bounded = {name: jnp.clip(getattr(attack, name), -1.0, 1.0) for name in ("yaw", "early", "thrust", "miss")}
    split = {name: _split(getattr(attack, name)) for name in ("wind", "position", "velocity")}
    return Attack(**bounded, **split, rates=_ball(attack.rates), attitude=_ball(attack.attitude))


def _attacks(random: np.random.Generator, count: int, ticks: int) -> Attack:
    """Half random in every tick, half bang-bang with random switching; all at the edge of their bounds or near."""
    shapes = {"wind": 3, "rates": 2, "yaw": 1, "position": 3, "velocity": 3, "attitude": 3, "early": 1, "thrust": 1, "miss": 1}
    values = {}
    half = count // 2
    for name, width in shapes.items():
        noise = random.standard_normal((ticks, width, half), dtype=np.float32) * np.float32(2.0)
        fixed = random.standard_normal((1, width, count - half), dtype=np.float32)
        # a float32 normal number is exactly 0 about once in ten million: no direction, and no division by it
        fixed = 1e3 * fixed / np.maximum(np.linalg.norm(fixed, axis=1, keepdims=True), np.float32(1e-30))
        period = random.integers(2, 2 * ticks, count - half)
        sign = (np.arange(ticks)[:, None] + random.integers(0, ticks, count - half)) // period % 2 * 2.0 - 1.0
        value = np.concatenate([fixed * sign[:, None, :].astype(np.float32), noise], axis=2)
        value = value[:, :, random.permutation(count)]
        values[name] = jnp.asarray(value[:, 0] if width == 1 else value, dtype=jnp.float64)
    return _project(Attack(**values))


def _edge(certificate: Certificate, z: Numbers, columns: slice, stage: npt.NDArray[np.int64]) -> Numbers:
    """Largest facet of the starts (4, 3, count) along the horizontal or vertical columns, as a share of its offset at their
    stages, shape (count,)."""
    axis = certificate.axes[0 if columns.start == 0 else 1]
    values = np.einsum("fk,kan->fan", axis.facets, z[:, columns])
    result: Numbers = (np.sqrt((values**2).sum(axis=1)) / axis.offsets[stage].T).max(axis=0)
    return result


def _corners(certificate: Certificate) -> tuple[npt.NDArray[np.int64], Numbers]:
    """Numbers of some stages, and the state of each that is largest in each limited output, shape (2 axes, stages, 6, 4)."""
    stages = certificate.axes[0].offsets.shape[0]
    some = np.unique(np.linspace(0, stages - 1, CORNERED).round().astype(np.int64))
    states = np.zeros((2, some.size, 6, 4))
    for n, axis in enumerate(certificate.axes):
        both = np.concatenate([axis.facets, -axis.facets])
        for k, stage in enumerate(some):
            edge = np.tile(axis.offsets[stage], 2)
            for row in range(6):
                found = linprog(-axis.facets[row], A_ub=both, b_ub=edge, bounds=(None, None), method="highs")
                states[n, k, row] = found.x if found.status == 0 else 0.0
    return some, states


def _starts(
    certificate: Certificate, random: np.random.Generator, count: int, corners: tuple[npt.NDArray[np.int64], Numbers]
) -> Start:
    """States on facets and inside: a random direction of both axes, scaled to the edge of a stage, three in four all the way; half
    of them in the first stage. One in eight is a corner of both axes."""
    z = np.empty((4, 3, count))
    stages = certificate.axes[0].offsets.shape[0]
    stage = np.where(random.random(count) < 0.5, 0, random.integers(0, stages, count))
    for columns, axis in ((slice(0, 2), 0), (slice(2, 3), 1)):
        facets = certificate.axes[axis].facets
        box = (1.0 / np.diagonal(facets[:4]))[:, None, None]
        part = random.normal(size=z[:, columns].shape) * box
        aimed = random.random(count) < 0.5  # along one facet's own direction, in the metric of the box
        row = np.where(random.random(count) < 0.3, random.integers(0, 6, count), random.integers(0, facets.shape[0], count))
        normal = facets[row].T[:, None] * box**2  # the first six are the limited outputs themselves
        turn = random.normal(size=(1, *part.shape[1:]))
        z[:, columns] = np.where(aimed, normal * turn + 0.2 * part, part)
        share = np.where(random.random(count) < 0.75, 1.0, random.random(count)) * INSIDE
        z[:, columns] *= share / _edge(certificate, z, columns, stage)
    some, states = corners
    cornered = np.flatnonzero(random.random(count) < 0.125)
    place = np.where(random.random(cornered.size) < 0.5, 0, random.integers(0, some.size, cornered.size))
    stage[cornered] = some[place]
    angle = random.uniform(-np.pi, np.pi, cornered.size)
    level, rise = (states[n][place, random.integers(0, 6, cornered.size)].T * INSIDE for n in (0, 1))
    z[:, :, cornered] = np.stack([level * np.cos(angle), level * np.sin(angle), rise * np.where(angle > 0.0, 1.0, -1.0)], axis=1)
    held = np.asarray(_split(jnp.asarray(random.normal(size=(3, count)))))
    h, v = certificate.assumptions.disturbance_estimate_m_s2
    heading = jnp.asarray(random.uniform(-np.pi, np.pi, count))
    return Start(jnp.asarray(z), heading, jnp.asarray(held * np.array([[h], [h], [v]])), jnp.asarray(stage, dtype=jnp.float64))


def _moved(certificate: Certificate, start: Start, gradient: Start) -> Start:
    """Starts moved along their gradient and put on the edge of the set again."""
    z, up, stage = np.array(start.z), np.asarray(gradient.z), np.asarray(start.stage).astype(np.int64)
    for columns, axis in ((slice(0, 2), 0), (slice(2, 3), 1)):
        box = (1.0 / np.diagonal(certificate.axes[axis].facets[:4]))[:, None, None]
        scaled = up[:, columns] * box
        size = np.sqrt((scaled**2).sum(axis=(0, 1))) + 1e-300
        z[:, columns] += STRIDE * box * scaled / size
        z[:, columns] *= INSIDE / _edge(certificate, z, columns, stage)
    return start._replace(z=jnp.asarray(z))
