"""What a task must offer, and episodes of it under a controller."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array

from .networks import Parameters
from .planning import Controller, Decision, Memory
from .replay import Episode

Floats = npt.NDArray[np.float32]
Act = Callable[[Floats], Floats]
Decide = Callable[..., Decision]


class Task(Protocol):
    """Episodes of fixed length that end by time only.

    Attributes:
        name: Name in tables and files.
        observation, action: Entries of an observation and of an action in [-1, 1].
        decisions: T, decisions of an episode.
        repeat: Simulation steps per decision.
    """

    name: str
    observation: int
    action: int
    decisions: int
    repeat: int

    def reset(self, seed: int) -> Floats:
        """Start the episode of a seed; observation of shape (O,)."""

    def step(self, action: Floats) -> tuple[Floats, float]:
        """Hold an action of shape (A,) for one decision; the observation after it, and the reward summed over the repeat."""


def episodes(tasks: Sequence[Task], seeds: Sequence[int], act: Act, shown: Iterable[int] | None = None) -> list[Episode]:
    """Play one episode on each of several copies of a task, in lockstep.

    Args:
        tasks: The copies.
        seeds: Of their starts.
        act: Observations, one row per copy, to actions.
        shown: Numbers of the decisions, if they are to be counted by a progress bar.

    Returns:
        Observations, actions and rewards of each, float32.
    """
    count, task = len(tasks), tasks[0]
    observations = np.zeros((count, task.decisions + 1, task.observation), np.float32)
    actions = np.zeros((count, task.decisions, task.action), np.float32)
    rewards = np.zeros((count, task.decisions), np.float32)
    for n, (copy, seed) in enumerate(zip(tasks, seeds, strict=True)):
        observations[n, 0] = copy.reset(seed)
    for t in shown or range(task.decisions):
        actions[:, t] = act(observations[:, t])
        for n, copy in enumerate(tasks):
            observations[n, t + 1], rewards[n, t] = copy.step(actions[n, t])
    return [Episode(*parts) for parts in zip(observations, actions, rewards, strict=True)]


@functools.cache
def compiled(controller: Controller) -> Decide:
    """The controller's `decide` as one compiled function for several episodes at once."""

    def decide(parameters: Parameters, memory: Memory, observations: Array, random: Array, count: Array) -> Decision:
        keys = jax.vmap(lambda raw: jax.random.fold_in(jax.random.wrap_key_data(raw), count))(random)
        return jax.vmap(controller.decide, in_axes=(None, 0, 0, 0))(parameters, memory, observations, keys)

    return jax.jit(decide)


def acting(controller: Controller, decide: Decide, parameters: Parameters, seeds: Sequence[int]) -> Act:
    """A controller as a function from observations to actions, for one episode on each of several copies.

    Args:
        controller: Whose memory is started.
        decide: It, compiled.
        parameters: Weights of the model.
        seeds: Of its noise, one per copy.
    """
    start = controller.start()
    memory = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(seeds), *leaf.shape)), start)
    random = jnp.stack([jax.random.key_data(jax.random.key(seed)) for seed in seeds])
    count = 0

    def act(observations: Floats) -> Floats:
        nonlocal memory, count
        decision = decide(parameters, memory, observations, random, np.int32(count))
        memory, count = decision.memory, count + 1
        return np.asarray(decision.action)

    return act


def held_random(size: int, seeds: Sequence[int], longest: int) -> Act:
    """Uniform random actions of `size` entries, each held for 1 to `longest` decisions, one sequence per seed."""
    generators = [np.random.default_rng(seed) for seed in seeds]
    left = [0] * len(seeds)
    actions = np.zeros((len(seeds), size), np.float32)

    def act(_: Floats) -> Floats:
        for n, generator in enumerate(generators):
            if left[n] == 0:
                left[n] = int(generator.integers(1, longest + 1))
                actions[n] = generator.uniform(-1.0, 1.0, size)
            left[n] -= 1
        return actions

    return act
