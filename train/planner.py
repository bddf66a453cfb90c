"""The planner of tubepilot in JAX: the reference that the exported graphs must reproduce.

It is the gradient planner of Dream-MPC (arXiv:2605.04568, Algorithm 1) with two defects of its released code mended:
the penalty on the ensemble's disagreement takes part in the gradient, and candidates are ranked after their last
refinement step instead of before. Three functions, one per exported graph: `rollout`, `refine` and `rank`.
World frame: ENU, turned so that the reference yaw is zero; positions relative to the first row of the reference.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .dynamics import WorldModel, disagreement, step
from .planner_settings import PlannerSettings, StepRule
from .task import (
    ActionScale,
    CostWeights,
    Network,
    ObservationScale,
    network,
    observe,
    setpoint,
    stage_cost,
)


class PlannerModel(NamedTuple):
    """Everything learned or weighed that a plan depends on; a pytree.

    Attributes:
        world: Physics and residual ensemble.
        action_scale, observation_scale, cost: See `task`.
        policy: Network from the observation to the action before its tanh.
        value: Network from the observation to the predicted cost to go, dimensionless, positive is bad.
    """

    world: WorldModel
    action_scale: ActionScale
    observation_scale: ObservationScale
    cost: CostWeights
    policy: Network
    value: Network


class Problem(NamedTuple):
    """What one tick asks.

    Attributes:
        state: State now, shape (14,); see `dynamics`.
        reference: Position [m], velocity [m/s], acceleration [m/s^2] at the instants h * dt_plan, shape (H + 1, 9).
        disturbance: Estimated constant acceleration in the world [m/s^2], shape (3,).
        previous_action: Action applied in the last tick, in [-1, 1], shape (4,).
    """

    state: Float[Array, "14"]
    reference: Float[Array, "knots 9"]
    disturbance: Float[Array, "3"]
    previous_action: Float[Array, "4"]


class Ranking(NamedTuple):
    """Returns of all candidates (N,), index of the best (), its plan (H, 4) and its mean disagreement ()."""

    returns: Float[Array, "candidate"]
    best: Int[Array, ""]
    plan: Float[Array, "horizon 4"]
    disagreement: Float[Array, ""]


def policy_action(
    model: PlannerModel, state: Float[Array, "14"], reference: Float[Array, "9"], disturbance: Float[Array, "3"]
) -> Float[Array, "4"]:
    """Action of the policy in [-1, 1]."""
    return jnp.tanh(network(model.policy, observe(model.observation_scale, state, reference, disturbance)))


def policy_plan(
    model: PlannerModel, settings: PlannerSettings, problem: Problem, noise: Float[Array, "horizon 4"]
) -> Float[Array, "horizon 4"]:
    """Roll the policy through the model, `noise` added to its actions, clipped to [-1, 1]."""

    def body(state: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        reference, perturbation = inputs
        action = policy_action(model, state, reference, problem.disturbance) + perturbation
        action = jnp.clip(action, -1.0, 1.0)
        held = setpoint(model.action_scale, action)
        state, _ = step(model.world, state, held, problem.disturbance, settings.dt_plan_s)
        return state, action

    _, actions = jax.lax.scan(body, problem.state, (problem.reference[:-1], noise))
    return actions


def shift(settings: PlannerSettings, plan: Float[Array, "horizon 4"]) -> Float[Array, "horizon 4"]:
    """The plan seen one tick later: linear between knots, the last row repeated."""
    later = jnp.concatenate([plan[1:], plan[-1:]])
    return (1.0 - settings.shift_knots) * plan + settings.shift_knots * later


def rollout(
    model: PlannerModel,
    settings: PlannerSettings,
    problem: Problem,
    previous_plans: Float[Array, "candidate horizon 4"],
    noise: Float[Array, "candidate horizon 4"],
    reuse: Float[Array, ""],
) -> Float[Array, "candidate horizon 4"]:
    """Candidates of a tick: policy rollouts blended with the shifted plans of the tick before.

    Args:
        model: World model, task and networks.
        settings: Horizon, shift per tick and time step.
        problem: State, reference and disturbance.
        previous_plans: Candidates of the tick before, the best one first.
        noise: Added to the policy's actions; the same table gives the same plans.
        reuse: Share rho of the shifted plan in candidates 1..N-1, in [0, 1]; 0 in the first tick.

    Returns:
        Candidates in [-1, 1]. If reuse > 0, candidate 0 is the shifted previous best, whole: a tick never starts worse
        than it ended. The others blend index-wise (arXiv:2605.04568, eq. 3).
    """
    fresh = jax.vmap(lambda perturbation: policy_plan(model, settings, problem, perturbation))(noise)
    shifted = jax.vmap(lambda plan: shift(settings, plan))(previous_plans)
    share = jnp.full(settings.candidates, reuse).at[0].set(jnp.ceil(reuse))[:, None, None]
    return share * shifted + (1.0 - share) * fresh


def plan_return(
    model: PlannerModel, settings: PlannerSettings, problem: Problem, plan: Float[Array, "horizon 4"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return J of one plan, and its disagreement averaged over the horizon.

    J = -( sum_h dt_plan * (stage cost_h + lambda * disagreement_h) + V(observation_H) ).
    """
    weight = model.cost.disagreement if settings.disagreement is None else settings.disagreement
    before = jnp.concatenate([problem.previous_action[None], plan[:-1]])

    def body(state: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        reference, action, previous = inputs
        held = setpoint(model.action_scale, action)
        state, members = step(model.world, state, held, problem.disturbance, settings.dt_plan_s)
        cost = stage_cost(
            model.cost, model.action_scale, state, reference, problem.disturbance, action, previous
        )
        return state, (cost, disagreement(model.world.residual, members))

    last, (costs, spread) = jax.lax.scan(body, problem.state, (problem.reference[1:], plan, before))
    observation = observe(model.observation_scale, last, problem.reference[-1], problem.disturbance)
    value = network(model.value, observation)[0]
    return -(settings.dt_plan_s * jnp.sum(costs + weight * spread) + value), jnp.mean(spread)


def ascent(
    settings: PlannerSettings, metric: Float[Array, "horizon 4"], gradient: Float[Array, "horizon 4"]
) -> Float[Array, "horizon 4"]:
    """Change of a plan along the gradient of J, by the step rule of the settings."""
    if settings.step_rule is StepRule.GRADIENT:
        return settings.step_size * gradient
    direction = metric * gradient
    gain, radius = settings.step_gain_radius
    return direction * (gain / jnp.sqrt(radius**2 + jnp.mean(direction**2)))


def refine(
    model: PlannerModel,
    settings: PlannerSettings,
    metric: Float[Array, "horizon 4"],
    problem: Problem,
    plans: Float[Array, "candidate horizon 4"],
) -> tuple[Float[Array, "candidate horizon 4"], Float[Array, "candidate"]]:
    """One gradient-ascent step of every candidate on J, disagreement included.

    Args:
        model: World model, task and networks.
        settings: Step rule and size.
        metric: Positive factor of each entry of the gradient, shape (H, 4); ones but for the preconditioned rule.
        problem: State, reference, disturbance and previous action.
        plans: Candidates in [-1, 1].

    Returns:
        The new candidates, clipped to [-1, 1], and J of the plans passed in.
    """

    def one(plan: Array) -> tuple[Array, Array]:
        returned, gradient = jax.value_and_grad(lambda p: plan_return(model, settings, problem, p)[0])(plan)
        return jnp.clip(plan + ascent(settings, metric, gradient), -1.0, 1.0), returned

    return jax.vmap(one)(plans)


def rank(
    model: PlannerModel,
    settings: PlannerSettings,
    problem: Problem,
    plans: Float[Array, "candidate horizon 4"],
) -> Ranking:
    """Score the refined candidates and pick the best."""
    returns, spread = jax.vmap(lambda plan: plan_return(model, settings, problem, plan))(plans)
    best = jnp.argmax(returns)
    return Ranking(returns, best, plans[best], spread[best])
