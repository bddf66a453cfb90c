"""The residual ensemble: what the identified physics leaves over, learnt on multi-step rollouts.

Wind is no property of the vehicle: each rollout starts with the disturbance that an observer would have by then, the
mean of what physics and network together left unexplained over the last half second, so the network gains nothing
from learning a flight's wind. It is told that disturbance too, so that its members differ where it is greater than in any
flight; what the observer itself subtracts is the network without it.
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

from .devices import layout
from .dynamics import (
    FEATURE_SIZE,
    RESIDUAL_SIZE,
    Physics,
    Residual,
    WorldModel,
    features,
    residual_members,
    rollout,
    rotation_matrix,
    step,
)
from .flight import Flight
from .identify import rotation_matrices, thrust_response
from .monitor import Monitor
from .stages import Stage, descend

STATE_WEIGHTS = np.array([*[0.0] * 3, *[1 / 0.01**2] * 3, *[4 / 0.005**2] * 4, *[1 / 0.05**2] * 3, 0.0])
"""Inverse squares of what counts as one unit of error: 0.01 m/s, 0.005 rad, 0.05 rad/s; thrust is not measured."""

OBSERVER_SAMPLES = 10
OBSERVER_STRIDE = 5
"""The disturbance of a rollout is the mean over this many past samples, this many ticks apart: half a second at 100
Hz."""


@dataclass(frozen=True, slots=True)
class ResidualSettings:
    """How the ensemble is trained.

    Attributes:
        members: Ensemble members M.
        width: Hidden units of each.
        window: Steps of the rollouts in the loss.
        batch: Rollouts per member and iteration.
        iterations: Gradient steps.
        learning_rate: Peak of the cosine schedule.
        weight_decay: Decoupled weight decay.
    """

    members: int = 5
    width: int = 32
    window: int = 20
    batch: int = 48
    iterations: int = 500
    learning_rate: float = 5e-3
    weight_decay: float = 1.0


class _Member(NamedTuple):
    """Trained parameters of one member."""

    w1: Float[Array, "16 width"]
    b1: Float[Array, "width"]
    w2: Float[Array, "width 6"]
    b2: Float[Array, "6"]


def states(flight: Flight, physics: Physics, scale_m_s2: float) -> tuple[Vector, Vector]:
    """States of `dynamics`, shape (T, 14), and setpoints, shape (T, 4), of a flight.

    The thrust state, which no log measures, is what the identified thrust response gives for the commands so far.
    """
    setpoints = flight.action * np.array([1.0, 1.0, 1.0, scale_m_s2])
    thrust = thrust_response(setpoints[:, 3], physics, flight.dt_s)
    parts = [flight.position_m, flight.velocity_m_s, flight.quaternion_wxyz, flight.rates_rad_s, thrust[:, None]]
    return np.concatenate(parts, axis=1), setpoints


def zero_residual(members: int = 1, width: int = 1) -> Residual:
    """A residual that is zero everywhere: the physics-only model."""
    return Residual(
        jnp.zeros(FEATURE_SIZE),
        jnp.ones(FEATURE_SIZE),
        jnp.zeros((FEATURE_SIZE, members * width)),
        jnp.zeros(members * width),
        jnp.zeros((members, width, RESIDUAL_SIZE)),
        jnp.zeros((members, RESIDUAL_SIZE)),
        jnp.ones(RESIDUAL_SIZE),
    )


def feature_rows(x: Vector, setpoints: Vector, disturbance: Vector) -> Vector:
    """Features of the residual for many states at once, shape (T, 16); the same as `dynamics.features`."""
    rotation = rotation_matrices(x[:, 6:10])
    body = np.einsum("tji,tj->ti", rotation, x[:, 3:6])
    lacking = np.stack([disturbance[:, 2], np.sum(disturbance[:, 0:2] ** 2, axis=1)], axis=1)
    return np.concatenate([body, rotation[:, 2], x[:, 10:14], setpoints, lacking], axis=1)


def train_residual(
    flights: Sequence[Flight],
    scale_m_s2: Sequence[float],
    physics: Physics,
    settings: ResidualSettings,
    seed: int,
    monitor: Monitor | None = None,
    stage: Stage | None = None,
) -> Residual:
    """Fit the ensemble.

    Args:
        flights: Flights of action level "rates".
        scale_m_s2: Commanded collective acceleration at throttle 1, one per flight [m/s^2].
        physics: Identified physics.
        settings: How to train.
        seed: Seed of initial weights, bootstrap and batches.
        monitor: Told the iteration and the loss now and then; returns False to stop early.
        stage: Keeps the state, from which a run that was killed goes on; None keeps none.

    Returns:
        The ensemble.
    """
    generator = np.random.default_rng(seed)
    pairs = [states(flight, physics, scale) for flight, scale in zip(flights, scale_m_s2, strict=True)]
    x_all, s_all = (np.concatenate([pair[k] for pair in pairs]).astype(np.float32) for k in (0, 1))
    offset = np.cumsum([0, *(len(flight) for flight in flights)])
    past = OBSERVER_SAMPLES * OBSERVER_STRIDE
    starts = np.concatenate(
        [np.arange(offset[k] + past, offset[k + 1] - settings.window) for k in range(len(flights))]
    )
    output_scale = np.array([0.5] * 3 + [5.0] * 3, dtype=np.float32)
    shape = (settings.members, FEATURE_SIZE, settings.width)
    member = _Member(
        jnp.asarray(generator.normal(size=shape) / np.sqrt(FEATURE_SIZE), jnp.float32),
        jnp.asarray(generator.normal(size=(settings.members, settings.width)) * 0.5, jnp.float32),
        jnp.asarray(generator.normal(size=(settings.members, settings.width, RESIDUAL_SIZE)) * 1e-2, jnp.float32),
        jnp.zeros((settings.members, RESIDUAL_SIZE), jnp.float32),
    )
    physics32 = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), physics)
    weights = jnp.asarray(STATE_WEIGHTS, jnp.float32)
    dt_s = flights[0].dt_s
    x_device, s_device = jnp.asarray(x_all), jnp.asarray(s_all)
    still = WorldModel(physics32, jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), zero_residual()))
    following = jax.jit(jax.vmap(lambda a, b: step(still, a, b, jnp.zeros(3, jnp.float32), dt_s)[0]))
    unexplained = (x_device[1:, 3:6] - following(x_device[:-1], s_device[:-1])[:, 3:6]) / dt_s
    back = jnp.arange(1, past + 1, OBSERVER_STRIDE)
    seen = np.asarray(unexplained)[starts[:, None] - np.asarray(back)].mean(axis=1)
    rows = feature_rows(x_all[starts], s_all[starts], seen)
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 0.05)
    mean_j, scale_j, out_j = (jnp.asarray(v, jnp.float32) for v in (mean, scale, output_scale))

    def member_loss(m: _Member, start: Array) -> Array:
        net = Residual(mean_j, scale_j, m.w1, m.b1, m.w2[None], m.b2[None], out_j)
        model = WorldModel(physics32, net)

        def observe(k: Array) -> Array:
            body = residual_members(net, features(x_device[k], s_device[k], jnp.zeros(3)))[0, 0:3]
            return unexplained[k] - rotation_matrix(x_device[k, 6:10]) @ body

        def one(first: Array) -> Array:
            disturbance = jnp.mean(jax.vmap(observe)(first - back), axis=0)
            steps = first + jnp.arange(settings.window)
            predicted, _ = rollout(model, x_device[first], s_device[steps], disturbance, dt_s)
            return jnp.mean(jnp.sum(weights * (predicted - x_device[steps + 1]) ** 2, axis=1))

        return jnp.mean(jax.vmap(one)(start))

    def loss(m: _Member, start: Array) -> Array:
        return jnp.sum(jax.vmap(member_loss)(m, start))

    schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.iterations, 0.02)
    optimiser = optax.chain(optax.clip_by_global_norm(20.0), optax.adamw(schedule, weight_decay=settings.weight_decay))

    bootstrap = bootstrap_blocks(generator, len(starts), settings.members)

    def draw(source: np.random.Generator) -> Array:
        pick = source.integers(0, bootstrap.shape[1], (settings.members, settings.batch))
        return jnp.asarray(starts[np.take_along_axis(bootstrap, pick, axis=1)])

    def of_a_member(iteration: int, total: float) -> bool:
        return monitor is None or monitor(iteration, total / settings.members)

    where = layout(settings.batch, axis=1)
    member = descend(loss, draw, member, optimiser, generator, settings.iterations, of_a_member, stage, where)
    return Residual(
        mean_j,
        scale_j,
        jnp.concatenate(list(member.w1), axis=1),
        member.b1.reshape(-1),
        member.w2,
        member.b2,
        out_j,
    )


def bootstrap_blocks(generator: np.random.Generator, count: int, members: int, block: int = 100) -> np.ndarray:
    """Bootstrap of autocorrelated windows: blocks of neighbours are drawn with replacement, shape (members, about
    count)."""
    blocks = max(1, count // block)
    first = generator.integers(0, max(1, count - block), (members, blocks))
    result: np.ndarray = np.minimum(first[:, :, None] + np.arange(block), count - 1).reshape(members, -1)
    return result
