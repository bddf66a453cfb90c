"""What all controllers in the latent space share: their interface, plans rolled out of the policy, and the return of a plan.

A controller is a frozen dataclass with two pure functions, `start` and `decide`; what a decision leaves to the next one is in `Memory`.
Gradient planner, MPPI and policy alone can so be exchanged, compiled, and run for several episodes at once.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from .networks import Parameters, advance, policy_of, reward_of, sample, values_of
from .settings import ModelSettings

VARIANCE_FLOOR = 1e-8
"""Added to the variance of the heads: the square root has a derivative where all heads agree."""


class Memory(NamedTuple):
    """What a controller keeps between the decisions of an episode.

    Attributes:
        plan: Best plan or mean of the last decision, in [-1, 1], shape (H, A).
        known: False before the first decision of an episode, shape ().
    """

    plan: Float[Array, "horizon action"]
    known: Bool[Array, ""]


class Decision(NamedTuple):
    """Outcome of one decision.

    Attributes:
        action: In [-1, 1], shape (A,).
        memory: For the next decision.
        returned: Return of the chosen plan in the model; value of the action for the policy alone, shape ().
    """

    action: Float[Array, "action"]
    memory: Memory
    returned: Float[Array, ""]


class Controller(Protocol):
    """Gradient planner, MPPI or policy alone."""

    @property
    def name(self) -> str:
        """Name in tables."""

    @property
    def model_evaluations(self) -> int:
        """Calls of the latent dynamics in one decision, each for one latent; a gradient counts as one more call."""

    def start(self) -> Memory:
        """Memory of an episode's first decision."""

    def decide(self, parameters: Parameters, memory: Memory, observation: Float[Array, "observation"], key: Key[Array, ""]) -> Decision:
        """Choose an action."""


def empty_memory(horizon: int, action: int) -> Memory:
    """Memory before the first decision."""
    return Memory(jnp.zeros((horizon, action), jnp.float32), jnp.zeros((), bool))


def shifted(plan: Float[Array, "horizon action"]) -> Float[Array, "horizon action"]:
    """A plan seen one decision later, its last action repeated."""
    return jnp.concatenate([plan[1:], plan[-1:]])


def policy_plans(
    model: ModelSettings, parameters: Parameters, latent: Float[Array, "latent"], noise: Float[Array, "candidate horizon action"]
) -> Float[Array, "candidate horizon action"]:
    """Roll the policy through the latent dynamics, once per row of noise (standard normal; zero gives the policy's mean)."""
    state = jnp.broadcast_to(latent, (len(noise), *latent.shape))

    def body(state: Array, noise: Array) -> tuple[Array, Array]:
        action, _ = sample(policy_of(model, parameters, state), noise)
        return advance(model, parameters, state, action), action

    _, actions = jax.lax.scan(body, state, jnp.moveaxis(noise, 1, 0))
    return jnp.moveaxis(actions, 0, 1)


def disagreement(values: Float[Array, "head *batch"]) -> Float[Array, "*batch"]:
    """Standard deviation over the heads of the value ensemble.

    The paper multiplies it by the mean value (arXiv:2605.04568, equation 5), which makes it a reward where values are negative and
    pulls the value towards zero elsewhere; the deviation alone does neither.
    """
    return jnp.sqrt(jnp.var(values, axis=0) + VARIANCE_FLOOR)


def plan_return(
    model: ModelSettings, parameters: Parameters, weight: float, latent: Float[Array, "latent"], plan: Float[Array, "horizon action"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return J of a plan in the model, and the sum of its disagreement.

    J = sum_h (gamma^h * reward_h - weight * disagreement_h) + gamma^H * value_H - weight * disagreement_H (arXiv:2605.04568,
    equation 6); the action after the plan is the policy's mean. Differentiable in the plan, the disagreement included. With a weight of
    zero the sum has its last term only.
    """

    def body(state: Array, action: Array) -> tuple[Array, tuple[Array, Array]]:
        spread = disagreement(values_of(model, parameters.values, state, action)) if weight else jnp.zeros(())
        return advance(model, parameters, state, action), (reward_of(model, parameters, state, action), spread)

    last, (rewards, spreads) = jax.lax.scan(body, latent, plan)
    values = values_of(model, parameters.values, last, jnp.tanh(policy_of(model, parameters, last).mean))
    spread = jnp.sum(spreads) + disagreement(values)
    discounts = model.discount ** jnp.arange(len(plan), dtype=rewards.dtype)
    return jnp.sum(discounts * rewards) + model.discount ** len(plan) * jnp.mean(values) - weight * spread, spread


def plan_returns(
    model: ModelSettings,
    parameters: Parameters,
    weight: float,
    latent: Float[Array, "latent"],
    plans: Float[Array, "candidate horizon action"],
) -> Float[Array, "candidate"]:
    """Return J of each plan."""
    return jax.vmap(lambda plan: plan_return(model, parameters, weight, latent, plan)[0])(plans)

