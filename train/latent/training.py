"""Training on a task: collect, learn from the replay buffer, evaluate, save; and go on where a killed run was.

All randomness of an episode comes from the seed and the episode's number, so that a run is the same whether it was cut or not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import jax
import numpy as np

from .controllers import Mppi, PolicyAlone
from .learner import Learner, Metrics, initial_learner, updates
from .replay import Replay
from .settings import CollectSettings, LearnSettings, ModelSettings
from .task import Decide, Task, acting, compiled, episodes, held_random


class Draw(IntEnum):
    """What a seed is for."""

    START = 0
    CONTROLLER = 1
    BATCHES = 2
    EVALUATION = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One round of episodes on the learning curve.

    Attributes:
        episodes: Episodes so far.
        steps: Simulation steps taken so far, random episodes included, evaluation excluded.
        updates: Updates so far.
        seconds: Wall time so far, of all runs that led here [s].
        collected: Mean return of the episodes collected.
        policy: Mean return of the policy alone after the updates; NaN where it was not evaluated.
        consistency, reward, value: Losses before weighting, averaged over the updates; NaN before the first.
        mean_value: Mean value at the states of the batches.
    """

    episodes: int
    steps: int
    updates: int
    seconds: float
    collected: float
    policy: float
    consistency: float
    reward: float
    value: float
    mean_value: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What fixes a training run besides its task: settings and seed."""

    model: ModelSettings
    learn: LearnSettings
    collect: CollectSettings
    seed: int


@dataclass(slots=True)
class Training:
    """A run between two rounds: everything that the next round depends on.

    Attributes:
        plan: Settings and seed.
        task: Name of the task.
        repeat: Its action repeat.
        learner: Weights, optimisers and random key.
        replay: Episodes.
        rows: The learning curve; one row per round done.
    """

    plan: Plan
    task: str
    repeat: int
    learner: Learner
    replay: Replay
    rows: list[Row]


def seed_of(seed: int, number: int, draw: Draw) -> int:
    """Seed of one purpose in one episode, below 2^31."""
    return int(np.random.SeedSequence([seed, number, int(draw)]).generate_state(1)[0] >> 1)


def begin(task: Task, plan: Plan) -> Training:
    """A run before its first round."""
    replay = Replay(plan.collect.capacity, task.decisions, task.observation, task.action)
    return Training(plan, task.name, task.repeat, initial_learner(plan.model, plan.learn, plan.seed), replay, [])


def evaluate_policy(tasks: Sequence[Task], policy: PolicyAlone, decide: Decide, training: Training) -> float:
    """Mean return of the policy alone over episodes that start the same each time."""
    seeds = [seed_of(training.plan.seed, number, Draw.EVALUATION) for number in range(len(tasks))]
    played = episodes(tasks, seeds, acting(policy, decide, training.learner.parameters, seeds))
    return float(np.mean([one.total for one in played]))


def learn(training: Training) -> Metrics:
    """The updates after a round of episodes; metrics averaged over them."""
    plan, collect = training.plan, training.plan.collect
    generator = np.random.default_rng(seed_of(plan.seed, len(training.rows), Draw.BATCHES))
    metrics: list[Metrics] = []
    for _ in range(collect.together * collect.updates // collect.scan):
        batches = training.replay.sample(generator, collect.scan, plan.learn.batch, plan.learn.horizon)
        training.learner, seen = updates(plan.model, plan.learn, training.learner, batches)
        metrics.append(seen)
    return jax.tree.map(lambda *values: np.mean(values), *metrics)


def train(
    tasks: Sequence[Task],
    training: Training,
    last: int,
    seconds: float,
    save: Callable[[Training], None],
    report: Callable[[Row], None],
) -> None:
    """Go on, a round of episodes at a time, until so many episodes are done or the time is up.

    Args:
        tasks: `together` copies of the task of the run.
        training: Run to go on with; changed in place.
        last: Episodes after which to stop, those of earlier calls included.
        seconds: Time after which no round starts [s]; it does not change what a round does.
        save: Called every `save_every` rounds and at the end.
        report: Told each row.
    """
    plan, collect, task = training.plan, training.plan.collect, tasks[0]
    collector = Mppi(
        plan.model, collect.samples, collect.elites, collect.policy_plans, collect.iterations, collect.horizon, explore=True
    )
    policy = PolicyAlone(plan.model)
    decide, decide_policy = compiled(collector), compiled(policy)
    began, before = time.monotonic(), training.rows[-1].seconds if training.rows else 0.0
    done = training.rows[-1].updates if training.rows else 0
    while (rounds := len(training.rows)) * collect.together < last and time.monotonic() - began < seconds:
        numbers = range(rounds * collect.together, (rounds + 1) * collect.together)
        seeds = [seed_of(plan.seed, number, Draw.CONTROLLER) for number in numbers]
        if numbers.start < collect.random_episodes:
            act = held_random(task.action, seeds, collect.longest_hold)
        else:
            act = acting(collector, decide, training.learner.parameters, seeds)
        played = episodes(tasks, [seed_of(plan.seed, number, Draw.START) for number in numbers], act)
        for one in played:
            training.replay.add(one)
        returned, losses = math.nan, (math.nan,) * 4
        if numbers.stop >= collect.random_episodes:
            metrics = learn(training)
            done += collect.together * collect.updates
            losses = (float(metrics.consistency), float(metrics.reward), float(metrics.value), float(metrics.mean_value))
            if (rounds + 1) % collect.evaluate_every == 0:
                returned = evaluate_policy(tasks, policy, decide_policy, training)
        steps = numbers.stop * task.decisions * task.repeat
        collected = float(np.mean([one.total for one in played]))
        row = Row(numbers.stop, steps, done, before + time.monotonic() - began, collected, returned, *losses)
        training.rows.append(row)
        report(row)
        if (rounds + 1) % collect.save_every == 0:
            save(training)
    save(training)


def folder_of(root: Path, task: str, seed: int) -> Path:
    """Checkpoint directory of a run."""
    return root / f"{task}-seed{seed}"
