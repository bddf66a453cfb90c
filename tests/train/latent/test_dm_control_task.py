"""Tasks of the control suite: same seed same episode, shapes, a few updates, and what is said where the suite is absent."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError, MissingExtraError
from tubepilot.train.latent import dm_control_task
from tubepilot.train.latent.dm_control_task import TASKS, DmControlTask, installed
from tubepilot.train.latent.settings import ModelSettings, discount_of
from tubepilot.train.latent.task import episodes, held_random
from tubepilot.train.latent.training import Plan, begin, train

pytestmark = pytest.mark.slow

needs_suite = pytest.mark.skipif(not installed(), reason='dm_control is not installed: pip install "tubepilot[dm_control]"')


def test_a_missing_suite_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dm_control_task, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install \"tubepilot\[dm_control\]\""):
        DmControlTask("acrobot-swingup")


def test_unknown_tasks_and_repeats_are_refused() -> None:
    with pytest.raises(InputError, match="'walker-run' is unknown"):
        DmControlTask("walker-run")
    with pytest.raises(InputError, match="action repeat is 3"):
        DmControlTask("acrobot-swingup", 3)


@needs_suite
@pytest.mark.parametrize("name", TASKS)
def test_a_seed_fixes_an_episode(name: str) -> None:
    one, other = DmControlTask(name), DmControlTask(name)
    assert (one.decisions, one.repeat, one.action) == (500, 2, 1)
    first = one.reset(3)
    assert first.shape == (one.observation,)
    assert first.dtype == np.float32
    # One copy has a past, the other has none.
    for _ in range(7):
        one.step(np.ones(1, np.float32))
    one.decisions = other.decisions = 50
    runs = [episodes([task], [3], held_random(1, [5], 10))[0] for task in (one, other)]
    np.testing.assert_array_equal(runs[0].observations, runs[1].observations)
    np.testing.assert_array_equal(runs[0].rewards, runs[1].rewards)
    np.testing.assert_array_equal(runs[0].observations[0], first)
    assert not np.array_equal(one.reset(4), first)


@needs_suite
def test_reward_is_summed_over_the_action_repeat() -> None:
    """The hanging acrobot earns little in each step; two steps of one make one of two."""
    once, twice = DmControlTask("acrobot-swingup", 1), DmControlTask("acrobot-swingup", 2)
    for seed in range(5):
        once.reset(seed)
        twice.reset(seed)
        action = np.array([0.7], np.float32)
        single = [once.step(action) for _ in range(2)]
        observation, reward = twice.step(action)
        assert reward == pytest.approx(sum(part for _, part in single), rel=1e-12)
        np.testing.assert_array_equal(observation, single[1][0])


@needs_suite
def test_a_few_updates_on_the_suite(plan: Plan) -> None:
    tasks = [DmControlTask("acrobot-swingup") for _ in range(plan.collect.together)]
    for task in tasks:
        task.decisions = 30
    model = ModelSettings(tasks[0].observation, 1, discount_of(500), latent=8, simplex=4, hidden=16, bins=21)
    training = begin(tasks[0], replace(plan, model=model))
    train(tasks, training, 6, math.inf, lambda _: None, lambda _: None)
    assert training.rows[-1].updates == 3 * 2 * plan.collect.updates
    assert all(math.isfinite(row.value) and math.isfinite(row.consistency) for row in training.rows)
    assert np.isfinite(training.replay.observations[:5]).all()
    assert np.abs(training.replay.actions).max() <= 1.0
