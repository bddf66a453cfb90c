"""The value network: the cost that the policy still runs up over the next steps, wherever a planner may end.

A planner leaves the policy's path on purpose, and looks for states that the value praises. So the value is fitted to states
that noisy actions and gradient steps on its own present estimate lead to, each labelled with what the policy costs from
there in the model, and with the derivatives of that cost (Sobolev training, arXiv:1706.04859): a planner lives on them.
Every iteration draws new states, so there is nothing to overfit to and one loop to resume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy.stats import spearmanr

from .devices import layout
from .dynamics import WorldModel, disagreement, quaternion_product, step
from .episodes import Episode, draw_episodes
from .monitor import Monitor
from .policy import PolicySettings, Task, make_network, single_precision
from .references import reference_at
from .stages import Stage, descend
from .task import ACTION_SIZE, OBSERVATION_SIZE, Network, network, observe, setpoint, stage_cost

PREFIX = 4
"""Steps from the drawn state to the one that is labelled: one more than the shortest plans."""

DERIVATIVE_UNITS = np.array([*[0.1] * 3, *[0.3] * 3, *[0.1] * 3, *[1.0] * 3, 1.0])
"""Changes of a state that are about alike in cost: position [m], velocity [m/s], rotation [rad], rates [rad/s], thrust [m/s^2]."""

DERIVATIVE_WEIGHT = 1.0
"""Share of the derivatives in the loss; values count 1."""

DERIVATIVE_MAX = 3.0
"""Greatest derivative over the cost itself; a rollout that tumbles has some without any meaning."""

EXACT_SHARE = 0.1
"""Share of the states whose costs count by their absolute error: those near the path, where the value must have its minimum."""

WILD_SHARE, EXPLOIT_SHARE = 0.7, 0.5
"""Shares of the states behind noisy actions, and of those behind gradient steps on the present estimate."""


class Start(NamedTuple):
    """What leads to a state that is labelled; batched along the first axis.

    Attributes:
        episode: Physics, reference, disturbance and first state.
        noise: Added to the policy's actions before they are clipped, shape (PREFIX, 4).
        exploit: Root-mean-square change of an action in each of two steps down the estimated cost, shape ().
    """

    episode: Episode
    noise: Float[Array, "prefix 4"]
    exploit: Float[Array, ""]


class Labelled(NamedTuple):
    """A state with its label; batched along the first axis.

    Attributes:
        x: State, shape (14,).
        reference: At that instant, shape (9,).
        observed: Disturbance that the observation has, shape (3,).
        cost: Sum of dt * stage cost over the steps that follow under the policy.
        slope: Derivatives of the cost in `DERIVATIVE_UNITS`, shape (13,).
    """

    x: Float[Array, "14"]
    reference: Float[Array, "9"]
    observed: Float[Array, "3"]
    cost: Float[Array, ""]
    slope: Float[Array, "13"]


@dataclass(frozen=True, slots=True)
class ValueAccuracy:
    """How well a value predicts the policy's cost on new states, off the policy's path and after exploiting it.

    Attributes:
        rank_correlation: Spearman's, dimensionless.
        explained: Share of the variance of log(scale + cost) that is explained; 1 is all.
        slope_cosine: Mean cosine between predicted and true derivatives, in `DERIVATIVE_UNITS`.
    """

    rank_correlation: float
    explained: float
    slope_cosine: float


def draw_starts(generator: np.random.Generator, model: WorldModel, settings: PolicySettings, count: int) -> Start:
    """Draw starts: references as lively as any task's, noise from none to whatever the actions allow.

    Nine tenths of the variance of the noise are held over the prefix: what is held moves the vehicle.
    """
    episodes = draw_episodes(generator, model.physics, settings.variation, count)
    held, changing = generator.normal(size=(count, 1, ACTION_SIZE)), generator.normal(size=(count, PREFIX, ACTION_SIZE))
    share = generator.uniform(size=(count, 1, 1))
    level = generator.exponential(0.5, (count, 1, 1)) * (generator.uniform(size=(count, 1, 1)) < WILD_SHARE)
    noise = level * (np.sqrt(share) * held + np.sqrt(1 - share) * changing)
    exploit = generator.exponential(0.3, count) * (generator.uniform(size=count) < EXPLOIT_SHARE)
    return Start(episodes, jnp.asarray(noise, jnp.float32), jnp.asarray(exploit, jnp.float32))


def moved(x: Float[Array, "14"], change: Float[Array, "13"]) -> Float[Array, "14"]:
    """A state changed by `DERIVATIVE_UNITS` times `change`; the rotation in the body frame."""
    d = jnp.asarray(DERIVATIVE_UNITS, x.dtype) * change
    turned = quaternion_product(x[6:10], jnp.concatenate([jnp.ones(1, x.dtype), 0.5 * d[6:9]]))
    attitude = turned / jnp.sqrt(jnp.sum(turned**2))
    return jnp.concatenate([x[0:3] + d[0:3], x[3:6] + d[3:6], attitude, x[10:14] + d[9:13]])


def estimated(
    task: Task, value: Network, x: Float[Array, "14"], reference: Float[Array, "9"], observed: Float[Array, "3"]
) -> Float[Array, ""]:
    """What the value says of a state."""
    return network(value, observe(task.observation_scale, x, reference, observed))[0]


def policy_cost(
    world: WorldModel, task: Task, policy: Network, episode: Episode, x: Array, first: int, steps: int, dt_s: float
) -> Float[Array, ""]:
    """Sum of dt * (stage cost and disagreement) over `steps` steps under the policy, from a state at step `first` on.

    The first action costs no change: what was done before is no part of the state.
    """

    def body(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], Array]:
        x, previous = carry
        reference, following = (reference_at(episode.tones, (first + k + ahead) * dt_s) for ahead in (0, 1))
        action = jnp.tanh(network(policy, observe(task.observation_scale, x, reference, episode.observed)))
        x, members = step(world, x, setpoint(task.action_scale, action), episode.disturbance, dt_s)
        previous = jnp.where(k == 0, action, previous)
        cost = stage_cost(task.cost, task.action_scale, x, following, episode.observed, action, previous)
        return (x, action), cost + task.cost.disagreement * disagreement(world.residual, members)

    _, costs = jax.lax.scan(body, (x, jnp.zeros(ACTION_SIZE, x.dtype)), jnp.arange(steps))
    return dt_s * jnp.sum(costs)


def prefix_end(
    world: WorldModel, task: Task, policy: Network, value: Network, start: Start, dt_s: float
) -> Float[Array, "14"]:
    """The state that noisy actions of the policy, bettered by two steps on the present estimate, lead to."""
    episode = start.episode

    def act(x: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        k, noise = inputs
        observation = observe(task.observation_scale, x, reference_at(episode.tones, k * dt_s), episode.observed)
        action = jnp.clip(jnp.tanh(network(policy, observation)) + noise, -1.0, 1.0)
        x, _ = step(world, x, setpoint(task.action_scale, action), episode.disturbance, dt_s)
        return x, action

    _, plan = jax.lax.scan(act, episode.x, (jnp.arange(PREFIX), start.noise))

    def fly(plan: Array) -> tuple[Array, Array]:
        def body(x: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            k, action = inputs
            x, _ = step(world, x, setpoint(task.action_scale, action), episode.disturbance, dt_s)
            following = reference_at(episode.tones, (k + 1) * dt_s)
            return x, stage_cost(task.cost, task.action_scale, x, following, episode.observed, action, action)

        x, costs = jax.lax.scan(body, episode.x, (jnp.arange(PREFIX), plan))
        end = reference_at(episode.tones, jnp.asarray(PREFIX * dt_s))
        return dt_s * jnp.sum(costs) + estimated(task, value, x, end, episode.observed), x

    for _ in range(2):
        gradient = jax.grad(lambda p: fly(p)[0])(plan)
        size = jnp.sqrt(1e-12 + jnp.mean(gradient**2))
        plan = jnp.clip(plan - start.exploit * gradient / size, -1.0, 1.0)
    return fly(plan)[1]


def label(
    model: WorldModel, task: Task, policy: Network, value: Network, start: Start, steps: int, dt_s: float
) -> Labelled:
    """Go to the state that a start leads to, and label it."""
    episode = start.episode
    world = WorldModel(episode.physics, model.residual)
    x = prefix_end(world, task, policy, value, start, dt_s)

    def cost_of(change: Array) -> Array:
        return policy_cost(world, task, policy, episode, moved(x, change), PREFIX, steps, dt_s)

    cost, slope = jax.value_and_grad(cost_of)(jnp.zeros(len(DERIVATIVE_UNITS), x.dtype))
    slope = jnp.clip(jnp.nan_to_num(slope), -DERIVATIVE_MAX * cost, DERIVATIVE_MAX * cost)
    return Labelled(x, reference_at(episode.tones, jnp.asarray(PREFIX * dt_s)), episode.observed, cost, slope)


def predicted(task: Task, value: Network, labelled: Labelled) -> tuple[Float[Array, ""], Float[Array, "13"]]:
    """Value and derivatives at a labelled state."""

    def at(change: Array) -> Array:
        return estimated(task, value, moved(labelled.x, change), labelled.reference, labelled.observed)

    value_there, slope = jax.value_and_grad(at)(jnp.zeros(len(DERIVATIVE_UNITS), labelled.x.dtype))
    return value_there, slope


def train_value(
    model: WorldModel,
    task: Task,
    policy: Network,
    dt_s: float,
    settings: PolicySettings,
    seed: int,
    monitor: Monitor | None = None,
    stage: Stage | None = None,
) -> Network:
    """Fit the value to sums of dt * stage cost over the `settings.steps` steps that follow a state under the policy.

    Relative errors count for costly states and absolute ones for cheap states, since costs span several orders of
    magnitude.

    Args:
        model: World model.
        task: Scales and weights.
        policy: The policy whose cost is learnt.
        dt_s: Step of model and policy [s].
        settings: How to train.
        seed: Seed of weights and states.
        monitor: Told the iteration and the loss now and then; returns False to stop early.
        stage: Keeps the state, from which a run that was killed goes on; None keeps none.

    Returns:
        The value network: observation to predicted cost to go, dimensionless.
    """
    model, task, policy = single_precision(model), single_precision(task), single_precision(policy)
    generator = np.random.default_rng(seed + 1)
    count = settings.value_rollouts

    def labels(parameters: Network, starts: Start) -> Labelled:
        found = jax.vmap(lambda s: label(model, task, policy, parameters, s, settings.steps, dt_s))(starts)
        return jax.lax.stop_gradient(found)

    flat = make_network(generator, OBSERVATION_SIZE, settings.width, 1, 0.0)
    costs = jax.jit(labels)(flat, draw_starts(generator, model, settings, count)).cost
    scale = float(np.quantile(costs, EXACT_SHARE))
    value = single_precision(make_network(generator, OBSERVATION_SIZE, settings.width, 1, float(np.median(costs))))
    schedule = optax.cosine_decay_schedule(settings.value_learning_rate, settings.value_iterations, 0.02)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def loss(parameters: Network, starts: Start) -> Array:
        found = labels(parameters, starts)
        there, slope = jax.vmap(lambda f: predicted(task, parameters, f))(found)
        unit = scale + found.cost
        wrong = jnp.mean(((slope - found.slope) / unit[:, None]) ** 2, axis=1)
        # The root of large errors: the few states with costs that no network could know must not rule the batch.
        return jnp.mean(jnp.sqrt(1.0 + 2.0 * ((there - found.cost) / unit) ** 2 + 2.0 * DERIVATIVE_WEIGHT * wrong) - 1.0)

    def draw(source: np.random.Generator) -> Start:
        return draw_starts(source, model, settings, count)

    return descend(loss, draw, value, optimiser, generator, settings.value_iterations, monitor, stage, layout(count))


def value_accuracy(
    model: WorldModel,
    task: Task,
    policy: Network,
    value: Network,
    dt_s: float,
    settings: PolicySettings,
    seed: int,
    count: int = 2048,
) -> ValueAccuracy:
    """Compare a value with the policy's cost on new states that a planner would go to, this value exploited.

    Args:
        model, task, policy, value: As trained.
        dt_s: Step of model and policy [s].
        settings: Those it was trained with.
        seed: Of the states; not that of the training.
        count: States.
    """
    model, task, policy, value = (single_precision(tree) for tree in (model, task, policy, value))
    starts = draw_starts(np.random.default_rng(seed), model, settings, count)

    def one(start: Start) -> tuple[Labelled, tuple[Array, Array]]:
        found = label(model, task, policy, value, start, settings.steps, dt_s)
        return found, predicted(task, value, found)

    found, (there, slope) = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(starts))
    scale = float(np.quantile(found.cost, EXACT_SHARE))
    true, guess = np.log(scale + found.cost), np.log(scale + np.maximum(there, 0.0))
    size = np.linalg.norm(slope, axis=1) * np.linalg.norm(found.slope, axis=1)
    cosine = np.sum(slope * found.slope, axis=1) / np.maximum(size, np.finfo(np.float32).tiny)
    explained = 1.0 - float(np.mean((true - guess) ** 2) / np.var(true))
    return ValueAccuracy(float(spearmanr(found.cost, there)[0]), explained, float(np.mean(cosine)))
