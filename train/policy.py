"""The policy: first-order gradients of the task's cost through short rollouts of the learned model.

Every rollout has its own reference, initial error, constant disturbance (visible in the observation, as on board) and
physics, so that the policy does not rest on one set of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from .devices import layout
from .dynamics import WorldModel, disagreement, step
from .episodes import Episode, Variation, draw_episodes
from .monitor import Monitor
from .references import reference_at
from .stages import Stage, descend
from .task import (
    ACTION_SIZE,
    OBSERVATION_SIZE,
    ActionScale,
    CostWeights,
    Network,
    ObservationScale,
    feedforward,
    network,
    observe,
    setpoint,
    stage_cost,
)

Tree = TypeVar("Tree")


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How policy and value are trained.

    Attributes:
        width: Hidden units per layer.
        steps: Steps of a rollout.
        batch: Rollouts per iteration.
        iterations: Gradient steps of the policy.
        learning_rate: Peak of its cosine schedule.
        value_iterations: Gradient steps of the value.
        value_rollouts: Rollouts per iteration of the value.
        value_learning_rate: Peak of its cosine schedule.
        variation: How much episodes differ.
    """

    width: int = 64
    steps: int = 36
    batch: int = 128
    iterations: int = 1200
    learning_rate: float = 4e-3
    value_iterations: int = 2000
    value_rollouts: int = 256
    value_learning_rate: float = 3e-3
    variation: Variation = field(default_factory=Variation)


class Task(NamedTuple):
    """What is being learnt for: a pytree of scales and weights."""

    action_scale: ActionScale
    observation_scale: ObservationScale
    cost: CostWeights


def default_task(rate_rad_s: tuple[float, float, float], thrust_min_m_s2: float, thrust_max_m_s2: float) -> Task:
    """Scales and weights for a small quadrotor.

    Args:
        rate_rad_s: Greatest commanded body rates [rad/s].
        thrust_min_m_s2, thrust_max_m_s2: Range of the commanded collective acceleration [m/s^2].
    """
    low = np.array([-r for r in rate_rad_s] + [thrust_min_m_s2])
    high = np.array([*rate_rad_s, thrust_max_m_s2])
    divisor = [1.0] * 3 + [2.0] * 3 + [0.5, 0.5, 1.0] + [0.5] + [4.0, 4.0, 2.0] + [4.0] + [4.0] * 3 + [1.5] * 3
    return Task(
        ActionScale(jnp.asarray((low + high) / 2), jnp.asarray((high - low) / 2)),
        ObservationScale(jnp.asarray(divisor), jnp.asarray(1.5)),
        CostWeights(
            position=jnp.array([14.0, 14.0, 18.0]),
            velocity=jnp.array([1.2, 1.2, 1.6]),
            tilt=jnp.asarray(1.0),
            heading=jnp.asarray(3.0),
            rates=jnp.array([0.25, 0.25, 0.25]),
            action=jnp.array([0.05, 0.05, 0.10, 0.10]),
            smooth=jnp.array([1.0, 1.0, 0.3, 1.0]),
            disagreement=jnp.asarray(0.05),
        ),
    )


def make_network(
    generator: np.random.Generator, inputs: int, width: int, outputs: int, output_gain: float
) -> Network:
    """Random weights: variance 1 / inputs, the last layer times `output_gain`."""

    def weights(rows: int, columns: int, gain: float) -> Array:
        return jnp.asarray(gain * generator.normal(size=(rows, columns)) / np.sqrt(rows), jnp.float32)

    def zeros(size: int) -> Array:
        return jnp.zeros(size, jnp.float32)

    return Network(
        weights(inputs, width, 1.0),
        zeros(width),
        weights(width, width, 1.0),
        zeros(width),
        weights(width, outputs, output_gain),
        zeros(outputs),
    )


def run_episode(
    model: WorldModel, task: Task, policy: Network, episode: Episode, steps: int, dt_s: float
) -> tuple[Float[Array, "steps"], Float[Array, "steps 20"]]:
    """Roll the policy out.

    Args:
        model: World model; its physics is replaced by the episode's.
        task: Scales and weights.
        policy: Network.
        episode: Start.
        steps: Number of steps.
        dt_s: Step of model and policy [s].

    Returns:
        Cost of each step (per second of flight, disagreement included) and the observation before it.
    """
    world = WorldModel(episode.physics, model.residual)
    start = reference_at(episode.tones, jnp.asarray(0.0))
    held = jnp.sqrt(jnp.sum(feedforward(start, episode.observed) ** 2))
    centre, half = task.action_scale
    hover = jnp.concatenate([jnp.zeros(3), ((held - centre[3]) / half[3])[None]])

    def body(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        x, previous = carry
        reference = reference_at(episode.tones, k * dt_s)
        observation = observe(task.observation_scale, x, reference, episode.observed)
        action = jnp.tanh(network(policy, observation))
        x, members = step(world, x, setpoint(task.action_scale, action), episode.disturbance, dt_s)
        following = reference_at(episode.tones, (k + 1) * dt_s)
        cost = stage_cost(task.cost, task.action_scale, x, following, episode.observed, action, previous)
        cost = cost + task.cost.disagreement * disagreement(model.residual, members)
        return (x, action), (cost, observation)

    _, (costs, observations) = jax.lax.scan(body, (episode.x, hover), jnp.arange(steps))
    return costs, observations



def single_precision(tree: Tree) -> Tree:
    """All leaves as float32."""
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), tree)


def train_policy(
    model: WorldModel,
    task: Task,
    dt_s: float,
    settings: PolicySettings,
    seed: int,
    monitor: Monitor | None = None,
    start: Network | None = None,
    stage: Stage | None = None,
) -> Network:
    """Train the policy.

    Args:
        model: World model.
        task: Scales and weights.
        dt_s: Step of model and policy [s]; the planner's.
        settings: How to train.
        seed: Seed of weights and episodes.
        monitor: Told the iteration and the loss now and then; returns False to stop early.
        start: Weights to begin with; random ones if None.
        stage: Keeps the state, from which a run that was killed goes on; None keeps none.

    Returns:
        The policy.
    """
    model, task = single_precision(model), single_precision(task)
    generator = np.random.default_rng(seed)
    policy = start
    if policy is None:
        policy = make_network(generator, OBSERVATION_SIZE, settings.width, ACTION_SIZE, 0.1)
    policy = single_precision(policy)
    schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.iterations, 0.02)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def loss(parameters: Network, episodes: Episode) -> Array:
        def one(episode: Episode) -> Array:
            costs, _ = run_episode(model, task, parameters, episode, settings.steps, dt_s)
            return jnp.mean(costs)

        costs = jax.vmap(one)(episodes)
        # The square root of large episodes keeps a few wild starts from ruling the batch.
        return jnp.mean(10.0 * (jnp.sqrt(1.0 + costs / 5.0) - 1.0))

    def draw(source: np.random.Generator) -> Episode:
        return draw_episodes(source, model.physics, settings.variation, settings.batch)

    where = layout(settings.batch)
    return descend(loss, draw, policy, optimiser, generator, settings.iterations, monitor, stage, where)
