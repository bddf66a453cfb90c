"""Fit recurrent rotor dynamics over whole windows: first the plain dynamics, then an ensemble whose members add a network.

The loss is what the figures of a prediction are: error norms, summed over the steps, each quantity over the sum that the physics
alone leaves, so that position, velocity, attitude and rates count alike. Members are fitted on flights drawn with replacement, each
with its own network; all of them start from the plain dynamics and are fitted in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.types import Vector

from .dynamics import quaternion_product
from .flight import Flight
from .monitor import Monitor
from .prediction import HORIZON, windows
from .rotor_dynamics import RotorDynamics, plain_dynamics, roll, with_network
from .rotor_features import THRUST_TAPS, squared_speeds
from .rotor_windows import FIRST, RotorWindows, rotor_windows
from .stages import descend

CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])


class Truth(NamedTuple):
    """What was flown in each window: as `rotor_dynamics.roll` returns it, shapes (W, HORIZON, 3 or 4)."""

    position: Array
    velocity: Array
    attitude: Array
    rates: Array


class Batch(NamedTuple):
    """Windows and what was flown in them."""

    windows: RotorWindows
    truth: Truth


def batch_of(flight: Flight, starts: np.ndarray, usual: float) -> Batch:
    """Windows of a flight with what was flown, float32."""
    position = windows(flight.position_m, starts) - flight.position_m[starts][:, None]
    parts = (position, *(windows(v, starts) for v in (flight.velocity_m_s, flight.quaternion_wxyz, flight.rates_rad_s)))
    return Batch(rotor_windows(flight, starts, usual), Truth(*(np.asarray(v, np.float32) for v in parts)))


def error_sums(of: RotorDynamics, batch: Batch, dt_s: float) -> Float[Array, "4"]:
    """Error norms of position [m], velocity [m/s], attitude [rad] and rates [rad/s] of one window, summed over its steps."""
    position, velocity, attitude, rates = roll(of, batch.windows, dt_s)
    truth = batch.truth
    away = jax.vmap(quaternion_product)(truth.attitude * jnp.asarray(CONJUGATE, jnp.float32)[None], attitude)

    def norms(error: Array) -> Array:
        # Smooth at zero; far below any error that counts.
        return jnp.sum(jnp.sqrt(jnp.sum(error * error, axis=-1) + 1e-8))

    sums = [norms(position - truth.position), norms(velocity - truth.velocity), 2 * norms(away[:, 1:]), norms(rates - truth.rates)]
    return jnp.stack(sums)


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How the dynamics are fitted.

    Attributes:
        plain_iterations, member_iterations: Gradient steps of the plain dynamics and of the members.
        batch: Windows per step of the plain dynamics; the members' share of it is half.
        every: Fit on one window in this many.
        width: Hidden units of a member's network.
        members: How many.
        member_share: Of the members in the mean prediction; the rest is that of the plain dynamics, which know less and so err less on
            flights unlike those fitted on.
    """

    plain_iterations: int = 1500
    member_iterations: int = 1500
    batch: int = 512
    every: int = 2
    width: int = 32
    members: int = 5
    member_share: float = 0.5

    @property
    def weights(self) -> Vector:
        """Of the plain dynamics and the members in the mean, shape (members + 1,)."""
        return np.array([1.0 - self.member_share, *[self.member_share / self.members] * self.members])


class _Flights(NamedTuple):
    """All windows of all flights after each other, and the first of each flight, shape (flights + 1,)."""

    batch: Batch
    bounds: np.ndarray

    def draw(self, generator: np.random.Generator, count: int, flights: np.ndarray | None = None) -> Batch:
        """Windows drawn alike over all, or over some flights (which may be named more than once)."""
        if flights is None:
            index = generator.integers(0, self.bounds[-1], count)
        else:
            sizes = (self.bounds[1:] - self.bounds[:-1])[flights]
            place = generator.integers(0, sizes.sum(), count)
            ends = np.cumsum(sizes)
            which = np.searchsorted(ends, place, side="right")
            index = self.bounds[flights[which]] + place - (ends - sizes)[which]
        return jax.tree.map(lambda v: v[index], self.batch)


def _gather(flights: Sequence[Flight], every: int, usual: float) -> _Flights:
    parts = [batch_of(f, np.arange(min(FIRST, len(f) - HORIZON - 1), len(f) - HORIZON, every), usual) for f in flights]
    sizes = [len(part.truth.rates) for part in parts]
    return _Flights(jax.tree.map(lambda *v: np.concatenate(v), *parts), np.concatenate([[0], np.cumsum(sizes)]))


def _optimiser(peak: float, iterations: int) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(peak, iterations, 0.01)))


def usual_speed(flights: Sequence[Flight]) -> float:
    """Mean squared rotor speed of all flights [(1000 rad/s)^2]."""
    return float(np.mean([squared_speeds(flight).mean() for flight in flights]))


def fit_dynamics(
    flights: Sequence[Flight],
    physics: Vector,
    scale: Vector,
    settings: FitSettings,
    seed: int,
    monitor: Monitor | None = None,
) -> RotorDynamics:
    """Fit the plain dynamics and the members.

    Args:
        flights: Of action level "rotors", of one vehicle and rate.
        physics: Thrust taps, offset and drag, see `rotor_model.fit_physics`.
        scale: Error sums that the physics alone leaves, by quantity, shape (4,).
        settings: How to fit.
        seed: Of batches, flights drawn and networks.
        monitor: Told the iteration of both fits together, and the loss.

    Returns:
        The plain dynamics and the members along a leading axis of members + 1; the network of the plain ones adds nothing.
    """
    usual, dt_s = usual_speed(flights), flights[0].dt_s
    data = _gather(flights, settings.every, usual)
    unit = jnp.asarray(scale, jnp.float32)
    generator = np.random.default_rng(seed)

    def loss(parameters: RotorDynamics, batch: Batch) -> Array:
        sums = jax.vmap(lambda one: error_sums(parameters, one, dt_s))(batch)
        return jnp.mean(sums / unit[None])

    force = np.array(physics, np.float64)
    force[THRUST_TAPS] += 4 * usual * force[:THRUST_TAPS].sum()  # the windows' rotor speeds are less the usual one
    steps = settings.plain_iterations
    plain: RotorDynamics = descend(
        loss, lambda g: data.draw(g, settings.batch), plain_dynamics(force), _optimiser(1e-2, steps), generator, steps, monitor
    )
    drawn = [generator.integers(0, len(flights), len(flights)) for _ in range(settings.members)]
    members = [with_network(plain, settings.width, generator) for _ in drawn]

    def draw(source: np.random.Generator) -> Batch:
        batches = [data.draw(source, settings.batch // 2, which) for which in drawn]
        return jax.tree.map(lambda *v: np.stack(v), *batches)

    def joint(parameters: RotorDynamics, batches: Batch) -> Array:
        # A sum: every member has the gradient that it would have alone.
        return jnp.sum(jax.vmap(loss)(parameters, batches))

    def later(iteration: int, value: float) -> bool:
        return monitor is None or monitor(settings.plain_iterations + iteration, value / settings.members)

    steps = settings.member_iterations
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *members)
    fitted = descend(joint, draw, stacked, _optimiser(5e-3, steps), generator, steps, later)
    silent = with_network(plain, settings.width, np.random.default_rng(0))
    return jax.tree.map(lambda one, others: jnp.concatenate([one[None], others]), silent, fitted)
