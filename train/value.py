"""The value network: the cost that the policy still runs up over the next steps, fitted to its rollouts in the
model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from .devices import layout, place_batch
from .dynamics import WorldModel
from .episodes import Episode, draw_episodes
from .monitor import Monitor
from .policy import PolicySettings, Task, make_network, run_episode, single_precision
from .stages import Stage, descend
from .task import OBSERVATION_SIZE, Network, network

_BATCH = 512


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
    """Fit the value to sums of dt * stage cost over the `settings.steps` steps that follow a state.

    Relative errors count for costly states and absolute ones for cheap states, since costs span several orders of
    magnitude.

    Args:
        model: World model.
        task: Scales and weights.
        policy: The policy whose cost is learnt.
        dt_s: Step of model and policy [s].
        settings: How to train.
        seed: Seed of weights and episodes.
        monitor: Told the iteration and the loss now and then; returns False to stop early.
        stage: Keeps the state, from which a run that was killed goes on; None keeps none.

    Returns:
        The value network: observation to predicted cost to go, dimensionless.
    """
    model, task, policy = single_precision(model), single_precision(task), single_precision(policy)
    generator = np.random.default_rng(seed + 1)
    ahead = settings.steps

    def one(episode: Episode) -> tuple[Array, Array]:
        return run_episode(model, task, policy, episode, ahead + ahead // 2, dt_s)

    episodes = draw_episodes(generator, model.physics, settings.variation, settings.value_rollouts)
    rolled = jax.jit(jax.vmap(one))(place_batch(episodes, layout(settings.value_rollouts)))
    costs, observations = (np.asarray(v, dtype=np.float64) for v in rolled)
    total = np.concatenate([np.zeros((len(costs), 1)), np.cumsum(costs * dt_s, axis=1)], axis=1)
    to_go = total[:, ahead:] - total[:, :-ahead]
    inputs = jnp.asarray(observations[:, : to_go.shape[1]].reshape(-1, OBSERVATION_SIZE), jnp.float32)
    targets = jnp.asarray(to_go.reshape(-1), jnp.float32)
    scale = float(np.median(to_go))
    value = single_precision(make_network(generator, OBSERVATION_SIZE, settings.width, 1, scale))
    schedule = optax.cosine_decay_schedule(5e-3, settings.value_iterations, 0.02)
    optimiser = optax.adam(schedule)

    def loss(parameters: Network, pick: Array) -> Array:
        predicted = jax.vmap(lambda o: network(parameters, o)[0])(inputs[pick])
        return jnp.mean(((predicted - targets[pick]) / (scale + targets[pick])) ** 2)

    def draw(source: np.random.Generator) -> Array:
        return jnp.asarray(source.integers(0, len(targets), _BATCH))

    iterations = settings.value_iterations
    return descend(loss, draw, value, optimiser, generator, iterations, monitor, stage, layout(_BATCH))
