"""The replay buffer: sequences of one episode, oldest out first, every start equally likely."""

from __future__ import annotations

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError, ShapeError
from tubepilot.train.latent.replay import Episode, Replay

T = 6


def marked(number: int) -> Episode:
    """An episode whose entries say where they come from: 100 * number + time."""
    time = np.arange(T + 1, dtype=np.float32)
    return Episode((100 * number + time)[:, None], (100 * number + time[:-1])[:, None], 100 * number + time[:-1])


def test_sequences_are_contiguous_and_of_one_episode() -> None:
    replay = Replay(4, T, 1, 1)
    for number in range(3):
        replay.add(marked(number))
    drawn = replay.sample(np.random.default_rng(0), 5, 200, 2)
    assert drawn.observations.shape == (5, 3, 200, 1)
    assert drawn.actions.shape == (5, 2, 200, 1)
    assert drawn.rewards.shape == (5, 2, 200)
    np.testing.assert_array_equal(np.diff(drawn.observations, axis=1), 1.0)
    np.testing.assert_array_equal(drawn.observations[:, :-1], drawn.actions)
    np.testing.assert_array_equal(drawn.actions[..., 0], drawn.rewards)
    starts, counts = np.unique(drawn.observations[:, 0], return_counts=True)
    assert starts.tolist() == [100 * n + t for n in range(3) for t in range(T - 1)]
    assert counts.min() > 30  # 67 expected


def test_the_oldest_episode_makes_room() -> None:
    replay = Replay(2, T, 1, 1)
    for number in range(5):
        replay.add(marked(number))
    assert (replay.count, replay.stored) == (5, 2)
    assert sorted(set(replay.rewards[:, 0].tolist())) == [300.0, 400.0]


def test_only_what_was_added_is_drawn() -> None:
    replay = Replay(50, T, 1, 1)
    replay.add(marked(7))
    assert replay.sample(np.random.default_rng(0), 1, 100, T).rewards.min() == 700.0


def test_what_does_not_fit_is_refused() -> None:
    replay = Replay(2, T, 1, 1)
    with pytest.raises(InputError, match="0 episodes of 6 decisions, no sequence of 2; collect first"):
        replay.sample(np.random.default_rng(0), 1, 1, 2)
    with pytest.raises(ShapeError, match=r"shape \(7, 1\), the replay buffer holds \(6, 1\)"):
        Replay(2, T - 1, 1, 1).add(marked(0))
    replay.add(marked(0))
    with pytest.raises(InputError, match="no sequence of 7"):
        replay.sample(np.random.default_rng(0), 1, 1, 7)
