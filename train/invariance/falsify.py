"""Attacks a certificate: rollouts of the nonlinear vehicle under the backup law, with the worst disturbances found.

The plant is the full one of docs/certificate.md, section 2 (attitude on SO(3), lagging rates and thrust, drag, wind);
set-points are sampled, held, late by a delay that changes from tick to tick, and computed from a wrong estimate. Three
adversaries share the rollouts: random, bang-bang, and gradient ascent through the rollout. A proven certificate must
survive all of it; this finds mistakes in the derivation, which arithmetic cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .certificate import Certificate
from .interval import Numbers

SUBSTEPS = 5
"""Integration steps per tick: 2 ms at 100 Hz, a twentieth of the fastest lag; lags are integrated exactly."""
TICKS = 150
BATCH = 1000
CLIMBERS = 20
"""One rollout in so many climbs the gradient."""
ASCENTS = 3
CLOSE = 0.99
"""Part of the estimate error that an attack may use; the rest is for the prediction of the next sample."""
SHARPNESS = 40.0
"""Of the smooth maximum over facets and ticks that the gradient climbs [1]."""
INSIDE = 1.0 - 1e-6
"""Largest facet at the start; the margin covers rounding of the start's construction."""


class Attack(NamedTuple):
    """Disturbances of one rollout, each in the unit ball of its block (1: at its bound); N ticks.

    Attributes:
        wind: Shape (N, 3): horizontal 2 (Euclidean), vertical 1.
        rates: Rate residual, shape (N, 2), Euclidean.
        yaw: Yaw rate, shape (N,).
        position, velocity: Estimate errors, shape (N, 3): horizontal 2, vertical 1.
        attitude: Rotation vector of the attitude error, shape (N, 3), Euclidean.
        early: How early in its window a set-point begins to act, shape (N,); -1 late, 1 early.
        thrust: Thrust scale error, shape (N,).
    """

    wind: jax.Array
    rates: jax.Array
    yaw: jax.Array
    position: jax.Array
    velocity: jax.Array
    attitude: jax.Array
    early: jax.Array
    thrust: jax.Array


class Start(NamedTuple):
    """State of the plant at the first tick: `z` of the axes, shape (4, 3) (rows position, velocity, acceleration, jerk),
    heading, and the disturbance estimate that the backup holds, shape (3,)."""

    z: jax.Array
    heading: jax.Array
    held: jax.Array


class Plant(NamedTuple):
    """Position, velocity, rotation, roll-pitch rates, thrust, its modelled slope, and the held disturbance estimate."""

    p: jax.Array
    v: jax.Array
    rotation: jax.Array
    w: jax.Array
    c: jax.Array
    slope: jax.Array
    held: jax.Array


class Sent(NamedTuple):
    """A set-point (roll-pitch rates, thrust before the thrust gain) and the feedback along the thrust that it came from."""

    rates: jax.Array
    thrust: jax.Array
    along: jax.Array


@dataclass(frozen=True, slots=True)
class Falsification:
    """What the attacks reached.

    Attributes:
        rollouts: How many were flown.
        escapes: Of them, how many left the set, or the tube between.
        largest_facet: Largest facet value after any step of the certificate; 1 is the edge of the set.
        tube_share: Largest share of the proven tube, horizontal and vertical, for position, velocity, acceleration, jerk,
            feedback and slope, shape (2, 6).
    """

    rollouts: int
    escapes: int
    largest_facet: float
    tube_share: Numbers


def falsify(certificate: Certificate, rollouts: int, seed: int) -> Falsification:
    """Attack a certificate.

    Args:
        certificate: What was proven.
        rollouts: At least this many, in batches of up to 1000; one in twenty climbs a gradient.
        seed: Of starts and disturbances.

    Returns:
        What was reached.
    """
    fly = rollout(certificate)
    stride = max(1, round(certificate.step_s / certificate.assumptions.tick_s))  # ticks after which S must hold again
    random = np.random.default_rng(seed)
    with jax.enable_x64(True):
        judge = jax.jit(jax.vmap(fly))
        climb = jax.jit(jax.vmap(jax.grad(lambda start, attack: _worst(*fly(start, attack)), argnums=1)))
        largest, shares, escapes, flown = 0.0, np.zeros((2, 6)), 0, 0
        batch = max(CLIMBERS, min(BATCH, rollouts))
        few = batch // CLIMBERS
        while flown < rollouts:
            start, attack = _starts(certificate, random, batch), _attacks(random, batch)
            few_start, climbed = Start(*(x[:few] for x in start)), Attack(*(x[:few] for x in attack))
            for _ in range(ASCENTS):
                # The plant is nearly linear in the disturbances: the best is at the bound, along the gradient.
                climbed = _project(Attack(*(1e9 * g for g in climb(few_start, climbed))))
            attack = Attack(*(jnp.concatenate([x, y[few:]]) for x, y in zip(climbed, attack, strict=True)))
            facets, outputs = (np.asarray(x) for x in judge(start, attack))
            facets = facets[:, stride - 1 :: stride]
            escaped = ~(facets <= 1.0).all(axis=1) | ~(outputs <= 1.0).all(axis=(1, 2))
            largest = max(largest, float(np.nanmax(facets)))
            shares = np.maximum(shares, np.nanmax(outputs, axis=0))
            escapes += int(escaped.sum())
            flown += batch
    return Falsification(flown, escapes, largest, shares)


def _worst(facets: jax.Array, outputs: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(SHARPNESS * jnp.concatenate([facets, outputs.ravel()])) / SHARPNESS


def _ball(x: jax.Array) -> jax.Array:
    """Last axis into the unit ball."""
    return x / jnp.maximum(1.0, jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-300))


def _split(x: jax.Array) -> jax.Array:
    """Horizontal pair into the unit disc, vertical into [-1, 1]."""
    return jnp.concatenate([_ball(x[..., :2]), jnp.clip(x[..., 2:], -1.0, 1.0)], axis=-1)


def _project(attack: Attack) -> Attack:
    bounded = {name: jnp.clip(getattr(attack, name), -1.0, 1.0) for name in ("yaw", "early", "thrust")}
    split = {name: _split(getattr(attack, name)) for name in ("wind", "position", "velocity")}
    return Attack(**bounded, **split, rates=_ball(attack.rates), attitude=_ball(attack.attitude))


def _attacks(random: np.random.Generator, count: int) -> Attack:
    """Half random in every tick, half bang-bang with random switching; all at the edge of their bounds or near."""
    shapes = {"wind": 3, "rates": 2, "yaw": 1, "position": 3, "velocity": 3, "attitude": 3, "early": 1, "thrust": 1}
    values = {}
    for name, width in shapes.items():
        noise = random.normal(size=(count, TICKS, width)) * 2.0
        fixed = random.normal(size=(count, 1, width))
        fixed = 1e3 * fixed / np.linalg.norm(fixed, axis=-1, keepdims=True)
        period = random.integers(2, 2 * TICKS, (count, 1))
        sign = np.where((np.arange(TICKS) + random.integers(0, TICKS, (count, 1))) // period % 2, 1.0, -1.0)
        bang = fixed * sign[:, :, None]
        value = np.where(random.random((count, 1, 1)) < 0.5, bang, noise)
        values[name] = jnp.asarray(value[..., 0] if width == 1 else value)
    return _project(Attack(**values))


def _starts(certificate: Certificate, random: np.random.Generator, count: int) -> Start:
    """States on facets and inside: a random direction of both axes, scaled to the edge, three in four all the way."""
    horizontal, vertical = (axis.facets for axis in certificate.axes)
    z = np.empty((count, 4, 3))
    for columns, facets in ((slice(0, 2), horizontal), (slice(2, 3), vertical)):
        box = 1.0 / np.diagonal(facets[:4])
        part = random.normal(size=(count, 4, z[:, :, columns].shape[2])) * box[:, None]
        aimed = random.random(count) < 0.5  # along one facet's own direction, in the metric of the box
        normal = facets[random.integers(0, facets.shape[0], count)] * box**2
        turn = random.normal(size=(count, 1, part.shape[2]))
        part = np.where(aimed[:, None, None], normal[:, :, None] * turn + 0.2 * part, part)
        largest = np.linalg.norm(facets @ part, axis=2).max(axis=1)
        share = np.where(random.random(count) < 0.75, 1.0, random.random(count)) * INSIDE
        z[:, :, columns] = part * (share / largest)[:, None, None]
    held = np.asarray(_split(jnp.asarray(random.normal(size=(count, 3)))))
    h, v = certificate.assumptions.disturbance_estimate_m_s2
    heading = jnp.asarray(random.uniform(-np.pi, np.pi, count))
    return Start(jnp.asarray(z), heading, jnp.asarray(held * np.array([h, h, v])))


def _turn(rotation: jax.Array, angle: jax.Array) -> jax.Array:
    """rotation exp([angle]x) to second order, which is enough: the result is made orthonormal."""
    x, y, z = angle
    cross = jnp.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    squared = angle @ angle
    sine, cosine = 1.0 - squared / 6.0 + squared**2 / 120.0, 0.5 - squared / 24.0
    return rotation @ (jnp.eye(3) + sine * cross + cosine * cross @ cross)


def rollout(certificate: Certificate) -> Callable[[Start, Attack], tuple[jax.Array, jax.Array]]:
    """Build the rollout of one start and one attack.

    Args:
        certificate: Assumptions, law and sets; captured as constants.

    Returns:
        Function to the largest facet at each tick, shape (N,), and the largest share of the tube of each output at any time,
        shape (2, 6).
    """
    a, law = certificate.assumptions, certificate.law
    gains = jnp.asarray(law.gain[[0, 0, 1]])
    weight = jnp.array([0.0, 0.0, a.gravity_m_s2])
    drag = jnp.array([a.drag_1_s[0], a.drag_1_s[0], a.drag_1_s[1]])
    wind_most = jnp.array([a.acceleration_m_s2[0], a.acceleration_m_s2[0], a.acceleration_m_s2[1]])
    _, from_nu, from_slope, response = law.constants()
    facets = [jnp.asarray(axis.facets) for axis in certificate.axes]
    tubes = jnp.asarray(np.stack([axis.tube_bound for axis in certificate.axes]))
    dt = a.tick_s / SUBSTEPS

    def coordinates(x: Plant) -> jax.Array:
        up = x.rotation[:, 2]
        h = x.c * (x.w[1] * x.rotation[:, 0] - x.w[0] * x.rotation[:, 1])
        return jnp.stack([x.p, x.v, x.c * up - weight + x.held, x.slope * up + h])

    def largest_facet(z: jax.Array) -> jax.Array:
        across = jnp.sqrt(jnp.sum((facets[0] @ z[:, :2]) ** 2, axis=1) + 1e-300)
        return jnp.maximum(across.max(), jnp.abs(facets[1] @ z[:, 2]).max())

    def tube_share(z: jax.Array) -> jax.Array:
        nu = gains[:, 0] * z[0] + gains[:, 1] * z[1] + gains[:, 2] * z[2]
        slope = (gains[:, 0] - gains[:, 1] * drag) * z[1] + gains[:, 1] * z[2] + gains[:, 2] * z[3]
        rows = jnp.concatenate([z, nu[None], slope[None]])
        across = jnp.sqrt(jnp.sum(rows[:, :2] ** 2, axis=1) + 1e-300)
        return jnp.stack([across, jnp.abs(rows[:, 2])]) / tubes

    def policy(state: Plant, x: Attack) -> Sent:
        """`BackupLaw.evaluate` on a wrong estimate, without rate gain and offset, which the vehicle undoes."""
        seen = _turn(state.rotation, CLOSE * a.attitude_error_rad * x.attitude)
        up = seen[:, 2]
        nu = (
            gains[:, 0] * (state.p + CLOSE * a.position_error_m * x.position)
            + gains[:, 1] * (state.v + CLOSE * a.velocity_error_m_s * x.velocity)
            + gains[:, 2] * (state.c * up - weight + state.held)
        )
        along = up @ nu
        across = nu - along * up
        rates = jnp.array([-seen[:, 1] @ across, seen[:, 0] @ across]) / state.c
        return Sent(rates, state.c + response * (from_nu * along + from_slope * state.slope), along)

    def advance(state: Plant, sent: Sent, later: jax.Array, switch_s: jax.Array, x: Attack) -> tuple[Plant, jax.Array]:
        """One tick: rates `sent` act until `switch_s`, then `later`; also the largest share of the tube."""
        e_rate, e_thrust = jnp.exp(-dt / a.rate_lag_s), jnp.exp(-dt / a.thrust_lag_s)

        def substep(carry, k):  # type: ignore[no-untyped-def]
            now, smooth, slope, share = carry
            new = jnp.clip(((k + 1) * dt - switch_s) / dt, 0.0, 1.0)  # part of the sub-step after the switch
            wanted = sent.rates + new * (later - sent.rates) + a.rate_residual_rad_s * x.rates
            w = wanted + (now.w - wanted) * e_rate
            mean = wanted + (now.w - wanted) * (1 - e_rate) * a.rate_lag_s / dt
            rotation = _turn(now.rotation, dt * jnp.append(mean, a.yaw_rate_rad_s * x.yaw))
            c = sent.thrust + (now.c - sent.thrust) * e_thrust
            push = 0.25 * (now.c + c) * (now.rotation[:, 2] + rotation[:, 2]) * (1 + a.thrust_scale_error * x.thrust)
            force = push - weight + now.held + wind_most * x.wind
            v = now.v + dt * (force - drag * (now.v + 0.5 * dt * (force - drag * now.v)))
            p = now.p + 0.5 * dt * (now.v + v)
            smooth = smooth + sent.along * dt + (slope - sent.along) * a.rate_lag_s * (1 - e_rate)
            slope = sent.along + (slope - sent.along) * e_rate
            now = Plant(p, v, rotation, w, c, slope, now.held)
            share = jnp.maximum(share, tube_share(coordinates(now._replace(c=smooth))))
            return (now, smooth, slope, share), None

        first = (state, state.c, state.slope, jnp.zeros((2, 6)))
        (end, _, _, share), _ = jax.lax.scan(substep, first, jnp.arange(SUBSTEPS))
        straight = end.rotation @ (1.5 * jnp.eye(3) - 0.5 * end.rotation.T @ end.rotation)  # columns stay orthonormal
        return end._replace(rotation=straight), share

    def tick(carry: tuple[Plant, Sent], inputs: tuple[Attack, Attack]):  # type: ignore[no-untyped-def]
        state, sent = carry
        x, following = inputs
        # The next set-point is computed for the end of this tick; its rates act from `window` before that at the earliest.
        switch_s = a.tick_s - a.window_s + 0.5 * (1.0 - following.early) * a.delay_max_s
        predicted, _ = advance(state, sent, sent.rates, jnp.asarray(a.tick_s), x)
        coming = policy(predicted, following)
        end, share = advance(state, sent, coming.rates, switch_s, x)
        return (end, coming), (largest_facet(coordinates(end)), share)

    def run(start: Start, attack: Attack) -> tuple[jax.Array, jax.Array]:
        z = start.z
        force = z[2] + weight - start.held
        c = jnp.sqrt(force @ force)
        up = force / c
        ahead = jnp.array([jnp.cos(start.heading), jnp.sin(start.heading), 0.0])
        left = jnp.cross(up, ahead)
        left = left / jnp.sqrt(left @ left)
        rotation = jnp.stack([jnp.cross(left, up), left, up], axis=1)
        slope = up @ z[3]
        w = jnp.array([-rotation[:, 1] @ z[3], rotation[:, 0] @ z[3]]) / c
        state = Plant(z[0], z[1], rotation, w, c, slope, start.held)
        sent = policy(state, jax.tree.map(lambda x: x[0], attack))
        following = jax.tree.map(lambda x: jnp.concatenate([x[1:], x[-1:]]), attack)
        _, (values, shares) = jax.lax.scan(tick, (state, sent), (attack, following))
        return values, shares.max(axis=0)

    return run
