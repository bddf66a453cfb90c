"""Gradient-free peers of the planner on the same model, problem and return: MPPI as in TD-MPC2, and CEM.

Both draw action sequences from a Gaussian around the plan of the tick before, keep those of greatest return (policy
rollouts compete with them), and fit the Gaussian to these elites again. MPPI weighs the elites by exp(temperature *
return), CEM weighs them alike: it is the limit of temperature 0.

Source: TD-MPC2 (arXiv:2310.16828, section 3.3 and table of hyper-parameters; `TDMPC2._plan` of
github.com/nicklashansen/tdmpc2 for what the paper leaves open). Two differences: a tick is shorter than a plan step, so
the mean moves on by a part of a step, its last row repeated instead of zeroed; and a return that is not finite ranks
last, where TD-MPC2 counts it as 0, which here would be the best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tubepilot.firmware_bridge.errors import InputError

from .planner import PlannerModel, Problem, plan_return, policy_plan, shift
from .planner_settings import PlannerSettings, preset

WORST_RETURN = -1e9
"""What a return that is not finite counts as; finite, so that exp(return - greatest) is 0 and not undefined."""


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """Tuning of a sampling planner.

    Attributes:
        problem: Horizon, time steps, shift, weights of the return and noise on the policy's actions; its candidates,
            steps, step rule and reuse are not used.
        samples: Action sequences per iteration, policy rollouts included.
        elites: How many of them the Gaussian is fitted to.
        policy_plans: Rollouts of the policy among the samples.
        iterations: Rounds of sampling and fitting.
        temperature: Weight of an elite is exp(temperature * (return - greatest return)); 0 weighs them alike.
        std_min, std_max: Limits of the standard deviation, in action units; the first iteration uses the greatest.
        draw_elite: Whether an elite drawn by its weight is flown, as in TD-MPC2; False flies the mean.
    """

    problem: PlannerSettings
    samples: int = 512
    elites: int = 64
    policy_plans: int = 24
    iterations: int = 6
    temperature: float = 0.5
    std_min: float = 0.05
    std_max: float = 2.0
    draw_elite: bool = True

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a field is outside its range.
        """
        limits: dict[str, tuple[float, float]] = {
            "samples": (1, 65536),
            "elites": (1, self.samples),
            "policy_plans": (0, self.samples),
            "iterations": (1, 64),
            "temperature": (0.0, 1e6),
            "std_min": (1e-6, 10.0),
            "std_max": (self.std_min, 10.0),
        }
        for name, (low, high) in limits.items():
            value = float(getattr(self, name))
            if not low <= value <= high:
                raise InputError(f"sampling setting {name} is {value:g}, must be within [{low:g}, {high:g}]")

    @property
    def model_evaluations(self) -> int:
        """Calls of the model's step in one decision: policy rollouts, and every sample in every iteration."""
        return (self.policy_plans + self.samples * self.iterations) * self.problem.horizon


def mppi_settings(*, dt_plan_s: float, tick_hz: float) -> SamplingSettings:
    """MPPI with the settings of TD-MPC2: 512 samples, 64 elites, 24 policy rollouts, 6 iterations, H = 3.

    Args:
        dt_plan_s: Length of a plan step [s].
        tick_hz: Control rate [Hz].
    """
    base = preset("paper", dt_plan_s=dt_plan_s, tick_hz=tick_hz, horizon=3)
    firm = preset("long", dt_plan_s=dt_plan_s, tick_hz=tick_hz).position  # the same stage cost as the gradient planner's
    return SamplingSettings(replace(base, preset="mppi", disagreement=None, position=firm))


def cem_settings(*, dt_plan_s: float, tick_hz: float) -> SamplingSettings:
    """CEM with the same budget: elites weighed alike, the mean flown. Arguments as in `mppi_settings`."""
    base = mppi_settings(dt_plan_s=dt_plan_s, tick_hz=tick_hz)
    return replace(base, problem=replace(base.problem, preset="cem"), temperature=0.0, draw_elite=False)


class SampledPlan(NamedTuple):
    """What one tick of a sampling planner gave.

    Attributes:
        plan: The plan to fly, in [-1, 1], shape (H, 4).
        mean: Mean of the Gaussian after the last iteration; start of the next tick, shape (H, 4).
        std: Its standard deviation, shape (H, 4).
        best_return: Greatest return seen in the last iteration, shape ().
        disagreement: Mean disagreement along `plan` if it is an elite, else the elites' weighted mean, shape ().
    """

    plan: Float[Array, "horizon 4"]
    mean: Float[Array, "horizon 4"]
    std: Float[Array, "horizon 4"]
    best_return: Float[Array, ""]
    disagreement: Float[Array, ""]


class SamplingNoise(NamedTuple):
    """The random numbers of one tick.

    Attributes:
        policy: Standard normal, for the policy's rollouts, shape (policy_plans, H, 4).
        samples: Standard normal, for the samples of every iteration, shape (iterations, samples - policy_plans, H, 4).
        draw: Standard Gumbel, by which an elite is drawn, shape (elites,).
    """

    policy: Float[Array, "policy_plans horizon 4"]
    samples: Float[Array, "iterations drawn horizon 4"]
    draw: Float[Array, " elites"]


def plan_by_sampling(
    model: PlannerModel,
    settings: SamplingSettings,
    problem: Problem,
    mean: Float[Array, "horizon 4"],
    key: Key[Array, ""],
) -> SampledPlan:
    """One tick of MPPI or CEM.

    Args:
        model: World model, task and networks.
        settings: Which of the two, and its tuning.
        problem: State, reference, disturbance, previous action and constraints.
        mean: Mean of the tick before; zeros in the first.
        key: Source of every random number; the same one gives the same plan.
    """
    policy_key, sample_key, elite_key = jax.random.split(key, 3)
    size = (settings.problem.horizon, 4)
    drawn = (settings.samples - settings.policy_plans, *size)
    noise = SamplingNoise(
        jax.random.normal(policy_key, (settings.policy_plans, *size)),
        jax.vmap(lambda k: jax.random.normal(k, drawn))(jax.random.split(sample_key, settings.iterations)),
        jax.random.gumbel(elite_key, (settings.elites,)),
    )
    return plan_from_noise(model, settings, problem, mean, noise)


def plan_from_noise(
    model: PlannerModel, settings: SamplingSettings, problem: Problem, mean: Float[Array, "horizon 4"], given: SamplingNoise
) -> SampledPlan:
    """One tick of MPPI or CEM with its random numbers given; see `plan_by_sampling`."""
    size = (settings.problem.horizon, 4)
    noise = settings.problem.noise * given.policy
    # A model that explodes under the policy must not put a NaN into the mean by way of the elites.
    of_policy = jnp.nan_to_num(jax.vmap(lambda n: policy_plan(model, settings.problem, problem, n))(noise))
    score = jax.vmap(lambda p: plan_return(model, settings.problem, problem, p))

    def iterate(carry: tuple[Array, ...], samples: Array) -> tuple[tuple[Array, ...], None]:
        mean, std = carry[0:2]
        drawn = mean + std * samples
        plans = jnp.concatenate([of_policy, jnp.clip(drawn, -1.0, 1.0)])
        returns, spreads = score(plans)
        returns = jnp.where(jnp.isfinite(returns), returns, WORST_RETURN)
        greatest, chosen = jax.lax.top_k(returns, settings.elites)
        weights = jax.nn.softmax(settings.temperature * greatest)
        elites, spreads = plans[chosen], spreads[chosen]
        mean = jnp.einsum("e,ehu->hu", weights, elites)
        std = jnp.sqrt(jnp.einsum("e,ehu->hu", weights, (elites - mean) ** 2))
        return (mean, jnp.clip(std, settings.std_min, settings.std_max), elites, spreads, weights, greatest[0]), None

    start = (
        shift(settings.problem, mean),
        jnp.full(size, settings.std_max),
        jnp.zeros((settings.elites, *size)),
        jnp.zeros(settings.elites),
        jnp.full(settings.elites, 1.0 / settings.elites),
        jnp.zeros(()),
    )
    (mean, std, elites, spreads, weights, greatest), _ = jax.lax.scan(iterate, start, given.samples)
    if not settings.draw_elite:
        return SampledPlan(mean, mean, std, greatest, weights @ spreads)
    index = jnp.argmax(given.draw + jnp.log(weights))
    return SampledPlan(elites[index], mean, std, greatest, spreads[index])
