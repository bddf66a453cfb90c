"""The planner of tubepilot in JAX: the reference that the exported graphs must reproduce.

It is the gradient planner of Dream-MPC (arXiv:2605.04568, Algorithm 1) with two defects of its released code mended:
the penalty on the ensemble's disagreement takes part in the gradient, and candidates are ranked after their last
refinement step instead of before. Three functions, one per exported graph: `rollout`, `refine` and `rank`; `plan` puts
them together as a tick on board does.
World frame: ENU, turned so that the reference yaw is zero; positions relative to the first row of the reference.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from tubepilot.firmware_bridge.types import GRAVITY_M_S2

from .constraints import Constraints, violations, widened
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
        constraints: What the plan keeps clear of, in the frame of the state (`constraints.relative`); None for nothing.
    """

    state: Float[Array, "14"]
    reference: Float[Array, "knots 9"]
    disturbance: Float[Array, "3"]
    previous_action: Float[Array, "4"]
    constraints: Constraints | None = None


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


def weighted(model: PlannerModel, settings: PlannerSettings) -> PlannerModel:
    """The model with its position weights and its value times the factors of the settings."""
    cost = model.cost._replace(position=settings.position * model.cost.position)
    value = model.value._replace(w3=settings.value * model.value.w3, b3=settings.value * model.value.b3)
    return model._replace(cost=cost, value=value)


def plan_return(
    model: PlannerModel, settings: PlannerSettings, problem: Problem, plan: Float[Array, "horizon 4"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return J of one plan, and its disagreement averaged over the horizon.

    J = -( sum_h dt_plan * (stage cost_h + weights . violations_h + lambda * disagreement_h) + V(observation_H) ), stage cost and V
    as `weighted`.
    """
    model = weighted(model, settings)
    weight = model.cost.disagreement if settings.disagreement is None else settings.disagreement
    avoided = None if problem.constraints is None else widened(problem.constraints, settings.shell_m)
    before = jnp.concatenate([problem.previous_action[None], plan[:-1]])

    def body(state: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        reference, action, previous = inputs
        held = setpoint(model.action_scale, action)
        state, members = step(model.world, state, held, problem.disturbance, settings.dt_plan_s)
        cost = stage_cost(
            model.cost, model.action_scale, state, reference, problem.disturbance, action, previous
        )
        if avoided is not None:
            cost = cost + jnp.array([settings.obstacle, settings.fence, settings.speed]) @ violations(avoided, state)
        spread = disagreement(model.world.residual, members)
        return state, (cost, spread if settings.disagreement_gradient else jax.lax.stop_gradient(spread))

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


def inverse_curvature(model: PlannerModel, settings: PlannerSettings) -> Float[np.ndarray, "horizon 4"]:
    """Metric of the preconditioned step: one over the row sums of the moduli of the Hessian of -J at hover.

    The diagonal matrix of these row sums is no less than the Hessian (Gershgorin), so a full step cannot overshoot in a
    quadratic. A row sum counts as at least `curvature_floor` of the greatest. The same as the exported planner's.

    Returns:
        Shape (H, 4), float64; ones for step rules that use no metric.
    """
    if settings.step_rule is not StepRule.PRECONDITIONED:
        return np.ones((settings.horizon, 4))
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda v: jnp.asarray(np.asarray(v), jnp.float64), model)
        return np.asarray(_inverse_curvature(exact, settings))


@partial(jax.jit, static_argnames="settings")
def _inverse_curvature(model: PlannerModel, settings: PlannerSettings) -> Array:
    level = jnp.zeros(14).at[6].set(1.0).at[13].set(GRAVITY_M_S2)
    held = jnp.array([0.0, 0.0, 0.0, GRAVITY_M_S2]) / jnp.array([1.0, 1.0, 1.0, model.world.physics.thrust_gain])
    action = (held - model.action_scale.centre) / model.action_scale.half
    problem = Problem(level, jnp.zeros((settings.horizon + 1, 9)), jnp.zeros(3), action)
    hover = jnp.tile(action, settings.horizon)

    def loss(actions: Array) -> Array:
        return -plan_return(model, settings, problem, actions.reshape(-1, 4))[0]

    rows = jnp.sum(jnp.abs(jax.hessian(loss)(hover)), axis=1)
    floor = jnp.maximum(settings.curvature_floor * jnp.max(rows), np.finfo(np.float32).tiny)
    return 1.0 / jnp.maximum(rows, floor).reshape(-1, 4)


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

    refined, returns, _ = _refined(model, settings, metric, problem, plans)
    return refined, returns


def _refined(
    model: PlannerModel, settings: PlannerSettings, metric: Array, problem: Problem, plans: Array, pull: Array | None = None
) -> tuple[Array, Array, Array]:
    """`refine`, and the disagreement of the plans passed in; `pull` (N, H, 4) takes the place of the disagreement's gradient."""
    followed = settings if pull is None else replace(settings, disagreement_gradient=False)

    def one(plan: Array, held: Array) -> tuple[Array, Array, Array]:
        scored = jax.value_and_grad(lambda p: plan_return(model, followed, problem, p), has_aux=True)
        (returned, spread), gradient = scored(plan)
        return jnp.clip(plan + ascent(settings, metric, gradient + held), -1.0, 1.0), returned, spread

    return jax.vmap(one)(plans, jnp.zeros_like(plans) if pull is None else pull)


def disagreement_pull(model: PlannerModel, settings: PlannerSettings, problem: Problem, plans: Array) -> Array:
    """Gradient of J through the disagreement alone, of plans (N, H, 4)."""

    def one(plan: Array) -> Array:
        whole, rest = (
            jax.grad(lambda p, s=s: plan_return(model, s, problem, p)[0])(plan)
            for s in (settings, replace(settings, disagreement_gradient=False))
        )
        return whole - rest

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


def perturbations(settings: PlannerSettings, key: Key[Array, ""]) -> Float[Array, "candidate horizon 4"]:
    """Noise on the policy's actions, nine tenths of its variance held along the horizon; candidates 0 and 1 get none.

    Noise that is held moves the vehicle; noise that changes at every step averages out.
    """
    held_key, changing_key = jax.random.split(key)
    shape = (settings.candidates, settings.horizon, 4)
    held = jax.random.normal(held_key, (shape[0], 1, 4))
    noise = settings.noise * (0.9**0.5 * held + 0.1**0.5 * jax.random.normal(changing_key, shape))
    return jnp.clip(noise, -1.0, 1.0).at[:2].set(0.0)


def plan(
    model: PlannerModel,
    settings: PlannerSettings,
    metric: Float[Array, "horizon 4"],
    problem: Problem,
    previous_plans: Float[Array, "candidate horizon 4"],
    noise: Float[Array, "candidate horizon 4"],
    reuse: Float[Array, ""],
) -> tuple[Float[Array, "candidate horizon 4"], Ranking]:
    """One tick with all its refinement steps; see `rollout`, `refine` and `rank` for the arguments.

    Returns:
        The candidates for the next tick, the best one first and the first one in its place; and their ranking (by the
        returns before the last step if the settings say so).
    """

    def body(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        return _refined(model, settings, metric, problem, carry[0], pull), None

    plans = rollout(model, settings, problem, previous_plans, noise, reuse)
    frozen = settings.disagreement_frozen and settings.disagreement_gradient
    pull = disagreement_pull(model, settings, problem, plans) if frozen else None
    unknown = jnp.zeros(settings.candidates, plans.dtype)
    (plans, returns, spread), _ = jax.lax.scan(body, (plans, unknown, unknown), length=settings.steps)
    if settings.rank_before_last_step and settings.steps > 0:
        best = jnp.argmax(returns)
        ranking = Ranking(returns, best, plans[best], spread[best])
    else:
        ranking = rank(model, settings, problem, plans)
    return plans.at[ranking.best].set(plans[0]).at[0].set(ranking.plan), ranking
