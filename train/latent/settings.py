"""Sizes of the latent model and settings of its training; the defaults fit one core and an hour.

Where no other reason is given a value is that of TD-MPC2 (arXiv:2310.16828, table of hyperparameters). Widths, batch, heads and bins
are smaller because one core trains them; the learning rate is larger because the networks are smaller and the updates fewer. Two heads
are what the variant of Dream-MPC on BMPC has.
"""

from __future__ import annotations

from dataclasses import dataclass

from tubepilot.firmware_bridge.errors import InputError


def discount_of(decisions: int) -> float:
    """Discount per decision of an episode of that many: 1 - 5 / decisions, within [0.95, 0.995] (heuristic of TD-MPC2)."""
    return min(max(1.0 - 5.0 / decisions, 0.95), 0.995)


def check(values: object, limits: dict[str, tuple[float, float]], what: str) -> None:
    """Check that fields are within limits.

    Raises:
        InputError: one is not.
    """
    for name, (low, high) in limits.items():
        value = float(getattr(values, name))
        if not low <= value <= high:
            raise InputError(f"{what} {name} is {value:g}, must be within [{low:g}, {high:g}]")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What fixes the shapes of the networks and the meaning of their outputs.

    Attributes:
        observation, action: Entries of an observation and of an action.
        discount: Discount gamma per decision.
        latent, simplex: Entries of a latent, and of each of its simplices (SimNorm); the first a multiple of the second.
        hidden: Width of the hidden layers.
        heads: M, members of the value ensemble; at least 2, or there is no disagreement.
        bins: Bins of reward and value.
        bin_range: Outermost bins after symlog, symmetric, so that untrained networks say zero; rewards of the tasks are in [0, 2], so
            values are below 2 / (1 - gamma).
        log_std_low, log_std_high: Range of the policy's log standard deviation before tanh.
    """

    observation: int
    action: int
    discount: float
    latent: int = 64
    simplex: int = 8
    hidden: int = 128
    heads: int = 2
    bins: int = 41
    bin_range: float = 6.0
    log_std_low: float = -10.0
    log_std_high: float = 2.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a field is outside its range.
        """
        limits = {
            "observation": (1, 4096), "action": (1, 256), "discount": (0, 0.9999), "latent": (2, 4096), "simplex": (2, 256),
            "hidden": (1, 4096), "heads": (2, 32), "bins": (2, 1024), "bin_range": (1e-3, 20),
            "log_std_low": (-20, 0), "log_std_high": (self.log_std_low, 5),
        }  # fmt: skip
        check(self, limits, "latent model setting")
        if self.latent % self.simplex:
            raise InputError(f"latent model setting latent is {self.latent}, must be a multiple of simplex {self.simplex}")


@dataclass(frozen=True, slots=True)
class LearnSettings:
    """Losses and optimisers.

    Attributes:
        batch: Sequences in a batch.
        horizon: H, latent steps of a training sequence.
        learning_rate, encoder_rate: Of Adam, and the share of it that the encoder gets.
        clip: Largest global norm of a gradient.
        fade: rho, weight of a step of a sequence over that of the one before.
        consistency, reward, value: Weights of the losses.
        entropy: Weight of the policy's entropy beside its scaled value.
        target_rate: tau, share of the value heads in their slow copies per update, and of the value range in its average.
    """

    batch: int = 64
    horizon: int = 3
    learning_rate: float = 1e-3
    encoder_rate: float = 0.3
    clip: float = 20.0
    fade: float = 0.5
    consistency: float = 20.0
    reward: float = 0.1
    value: float = 0.1
    entropy: float = 1e-4
    target_rate: float = 0.01

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a field is outside its range.
        """
        limits = {
            "batch": (1, 4096), "horizon": (1, 64), "learning_rate": (1e-7, 1), "encoder_rate": (0, 1), "clip": (1e-3, 1e6),
            "fade": (0, 1), "consistency": (0, 1e3), "reward": (0, 1e3), "value": (0, 1e3), "entropy": (0, 10), "target_rate": (0, 1),
        }  # fmt: skip
        check(self, limits, "latent training setting")


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """How experience is gathered.

    Attributes:
        capacity: Episodes kept; the oldest makes room.
        random_episodes: First episodes, of random actions.
        longest_hold: A random action is held for 1 to this many decisions: actions drawn anew at each do not swing a pendulum up.
        together: Episodes collected at once, in lockstep; divides `random_episodes`.
        updates: Updates for each later episode.
        scan: Updates per call of the compiled function; divides `updates`.
        samples, elites, policy_plans, iterations, horizon: Of the MPPI that collects; small, to leave the time to learning.
        evaluate_every: Rounds of collection between evaluations of the policy alone, which take `together` episodes.
        save_every: Rounds between checkpoints.
    """

    capacity: int = 1000
    random_episodes: int = 20
    longest_hold: int = 20
    together: int = 4
    updates: int = 250
    scan: int = 25
    samples: int = 32
    elites: int = 8
    policy_plans: int = 8
    iterations: int = 2
    horizon: int = 3
    evaluate_every: int = 2
    save_every: int = 1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a field is outside its range, or not a multiple of what must divide it.
        """
        limits: dict[str, tuple[float, float]] = {
            "capacity": (1, 1e5), "random_episodes": (1, 1e5), "longest_hold": (1, 1e4), "together": (1, 256), "updates": (1, 1e6),
            "scan": (1, 1e4), "evaluate_every": (1, 1e6), "save_every": (1, 1e6),
        }  # fmt: skip
        check(self, limits, "latent collection setting")
        for name, divisor in (("updates", "scan"), ("random_episodes", "together")):
            if getattr(self, name) % getattr(self, divisor):
                what = f"latent collection setting {name} is {getattr(self, name)}"
                raise InputError(f"{what}, must be a multiple of {divisor} {getattr(self, divisor)}")
