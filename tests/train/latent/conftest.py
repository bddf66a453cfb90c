"""Small latent models from fixed seeds, and a task that needs no simulator."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from tubepilot.train.latent.losses import Batch
from tubepilot.train.latent.networks import Parameters, initial_parameters
from tubepilot.train.latent.settings import CollectSettings, LearnSettings, ModelSettings
from tubepilot.train.latent.training import Plan

SMALL = ModelSettings(observation=2, action=1, discount=0.9, latent=8, simplex=4, hidden=16, heads=2, bins=21, bin_range=3.0)


class Pendulum:
    """A damped pendulum that torque can hold up: cosine of the angle as reward, 20 decisions."""

    name = "pendulum"
    observation = 2
    action = 1
    decisions = 20
    repeat = 1

    def reset(self, seed: int) -> np.ndarray:
        """Start at a random angle, at rest."""
        self.angle, self.rate = float(np.random.default_rng(seed).uniform(-math.pi, math.pi)), 0.0
        return self._observe()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float]:
        """Euler, 0.1 s."""
        self.rate += 0.1 * (math.sin(self.angle) - self.rate + 3.0 * float(action[0]))
        self.angle += 0.1 * self.rate
        return self._observe(), math.cos(self.angle)

    def _observe(self) -> np.ndarray:
        return np.array([self.angle, self.rate], np.float32)


@pytest.fixture(scope="session")
def small() -> ModelSettings:
    """Settings of a model that compiles in a second."""
    return SMALL


@pytest.fixture(scope="session")
def weights(small: ModelSettings) -> Parameters:
    """Random weights, none of them zero: reward and value depend on the action."""
    parameters = initial_parameters(small, jax.random.key(0))
    leaves, structure = jax.tree.flatten(parameters)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + 0.4 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)


@pytest.fixture(scope="session")
def batch(small: ModelSettings) -> Batch:
    """Three sequences of two decisions."""
    generator = np.random.default_rng(3)
    observations = generator.normal(size=(3, 3, small.observation))
    actions = generator.uniform(-1, 1, (2, 3, small.action))
    return Batch(*(part.astype(np.float32) for part in (observations, actions, generator.normal(size=(2, 3)))))


@pytest.fixture(scope="session")
def plan() -> Plan:
    """A run of rounds of two episodes, the first of them random."""
    learn = LearnSettings(batch=8, horizon=2)
    collect = CollectSettings(
        capacity=5, random_episodes=2, longest_hold=4, together=2, updates=4, scan=4, samples=8, elites=3, policy_plans=2, iterations=1,
        horizon=2, evaluate_every=2, save_every=1,
    )  # fmt: skip
    return Plan(SMALL, learn, collect, 5)


@pytest.fixture
def pendulums(plan: Plan) -> list[Pendulum]:
    """As many as a round has episodes."""
    return [Pendulum() for _ in range(plan.collect.together)]
