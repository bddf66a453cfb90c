"""The replay buffer: whole episodes of one length, oldest out first, and sequences drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from tubepilot.firmware_bridge.errors import InputError, ShapeError

from .losses import Batch


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode of T decisions.

    Attributes:
        observations: Shape (T + 1, O).
        actions: In [-1, 1], shape (T, A).
        rewards: Summed over the action repeat, shape (T,).
    """

    observations: Float32[np.ndarray, "knots observation"]
    actions: Float32[np.ndarray, "decision action"]
    rewards: Float32[np.ndarray, "decision"]

    @property
    def total(self) -> float:
        """Return of the episode, undiscounted."""
        return float(np.sum(self.rewards, dtype=np.float64))


class Replay:
    """Episodes in arrays with a leading axis over episodes; `count` is the number ever added."""

    def __init__(self, capacity: int, decisions: int, observation: int, action: int) -> None:
        """Make an empty buffer for `capacity` episodes of `decisions` decisions."""
        self.observations = np.zeros((capacity, decisions + 1, observation), np.float32)
        self.actions = np.zeros((capacity, decisions, action), np.float32)
        self.rewards = np.zeros((capacity, decisions), np.float32)
        self.count = 0

    @property
    def stored(self) -> int:
        """Episodes held now."""
        return min(self.count, len(self.rewards))

    def add(self, episode: Episode) -> None:
        """Put an episode in, over the oldest one if there is no room.

        Raises:
            ShapeError: it has another length or other sizes than the buffer.
        """
        place = self.count % len(self.rewards)
        for name in ("observations", "actions", "rewards"):
            given, wanted = getattr(episode, name), getattr(self, name)[place]
            if given.shape != wanted.shape:
                raise ShapeError(f"{name} of an episode have shape {given.shape}, the replay buffer holds {wanted.shape}")
            wanted[...] = given
        self.count += 1

    def sample(self, generator: np.random.Generator, number: int, batch: int, horizon: int) -> Batch:
        """Draw sequences, each equally likely.

        Args:
            generator: Source of the draw.
            number: Batches.
            batch: Sequences in each.
            horizon: Decisions in a sequence.

        Returns:
            Batches with a leading axis over `number`, then time, then batch.

        Raises:
            InputError: there is no episode, or an episode is shorter than the horizon.
        """
        decisions = self.rewards.shape[1]
        if self.stored == 0 or decisions < horizon:
            held = f"{self.stored} episodes of {decisions} decisions"
            raise InputError(f"the replay buffer has {held}, no sequence of {horizon}; collect first, or shorten the horizon")
        episode = generator.integers(self.stored, size=(number, 1, batch))
        start = generator.integers(decisions - horizon + 1, size=(number, 1, batch))
        knots: npt.NDArray[np.int64] = start + np.arange(horizon + 1)[None, :, None]
        return Batch(self.observations[episode, knots], self.actions[episode, knots[:, :-1]], self.rewards[episode, knots[:, :-1]])
