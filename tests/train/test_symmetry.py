"""Turning everything about world z changes nothing that is asked of the vehicle: frame, return, plan and set-point."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.flyable import flyable_checkpoint

from tubepilot.train.constraints import Constraints, relative
from tubepilot.train.controllers import GeometricController, GradientController, PolicyController, SamplingController, turn
from tubepilot.train.dynamics import quaternion_product
from tubepilot.train.planner import PlannerModel, Problem, plan_return
from tubepilot.train.planner_settings import preset
from tubepilot.train.sampling_planners import SamplingSettings, mppi_settings

SETTINGS = preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=3, candidates=2)
SAMPLING = replace(mppi_settings(dt_plan_s=0.04, tick_hz=100.0), samples=32, elites=8, policy_plans=4)
ORIGIN = np.array([3.0, -7.0, 2.0])
X13 = np.concatenate([ORIGIN + np.array([0.2, -0.1, 0.1]), [0.5, 0.3, -0.2], [0.98, 0.1, -0.15, 0.05], [0.2, -0.1, 0.3]])
X13[6:10] /= np.linalg.norm(X13[6:10])
CONSTRAINTS = Constraints(  # type: ignore[arg-type]
    np.array([[3.4, -7.2, 0.0, 4.0, 4.0, 0.0], [1e3, 1e3, 1e3, 1.0, 1.0, 1.0]]),
    np.array([[0.6, 0.8, 0.0, -3.9], [0.0, 0.0, 0.0, 1.0]]),
    np.array(0.4),
)


def matrix(yaw: float) -> Any:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def turned(yaw: float, x: Any) -> Any:
    """State (13,) or (14,) turned about the origin of the world."""
    half = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
    with jax.enable_x64(True):
        attitude = np.asarray(quaternion_product(jnp.asarray(half), jnp.asarray(x[6:10])))
    return np.concatenate([matrix(yaw) @ x[0:3], matrix(yaw) @ x[3:6], attitude, x[10:]])


def turned_constraints(yaw: float) -> Constraints:
    obstacles, fence = CONSTRAINTS.obstacles.copy(), CONSTRAINTS.fence.copy()
    obstacles[:, 0:3] = obstacles[:, 0:3] @ matrix(yaw).T
    fence[:, 0:3] = fence[:, 0:3] @ matrix(yaw).T
    return Constraints(obstacles, fence, CONSTRAINTS.speed_m_s)


def reference(t: Any) -> Any:
    """A circle arc about the origin of the test; shape (n, 9)."""
    t = np.asarray(t)
    place = np.stack([np.sin(t), 1 - np.cos(t), 0 * t], axis=1)
    speed = np.stack([np.cos(t), np.sin(t), 0 * t], axis=1)
    return np.concatenate([ORIGIN + place, speed, np.stack([-np.sin(t), np.cos(t), 0 * t], axis=1)], axis=1)


def turned_reference(yaw: float) -> Any:
    return lambda t: (reference(t).reshape(-1, 3) @ matrix(yaw).T).reshape(-1, 9)


@pytest.mark.parametrize("yaw", [0.3, 1.7, -2.9, np.pi])
def test_the_local_problem_is_the_same(yaw: float) -> None:
    x, rows, disturbance = np.append(X13, 9.5), reference(0.04 * np.arange(4)), np.array([0.4, -0.2, 0.1])
    here = turn(0.0, x, rows, disturbance)
    there = turn(yaw, turned(yaw, x), turned_reference(yaw)(0.04 * np.arange(4)), matrix(yaw) @ disturbance)
    for mine, theirs in zip(here, there, strict=True):
        np.testing.assert_allclose(theirs, mine, atol=1e-12)
    seen = relative(CONSTRAINTS, ORIGIN, 0.0), relative(turned_constraints(yaw), matrix(yaw) @ ORIGIN, yaw)
    np.testing.assert_allclose(seen[1].obstacles[0], seen[0].obstacles[0], atol=1e-12)
    np.testing.assert_allclose(seen[1].fence, seen[0].fence, atol=1e-12)


def test_the_physics_itself_is_symmetric() -> None:
    """Without the turn to yaw zero: terms that ask for no heading and no axis give one return in any frame."""
    with jax.enable_x64(True):
        checkpoint = flyable_checkpoint()
        cost = checkpoint.cost._replace(heading=np.array(0.0))
        model = jax.tree.map(
            lambda v: jnp.asarray(np.asarray(v, np.float64)),
            PlannerModel(
                checkpoint.model, checkpoint.action_scale, checkpoint.observation_scale, cost, checkpoint.policy, checkpoint.value
            ),
        )
        plan = jnp.asarray(np.random.default_rng(0).uniform(-0.4, 0.4, (3, 4)))
        score = jax.jit(lambda m, asked: plan_return(m, SETTINGS, asked, plan)[0])
        disturbance, returns = np.array([0.4, -0.2, 0.1]), []
        for yaw in (0.0, 0.9, -2.2):
            state = turned(yaw, np.append(X13, 9.5))
            asked = Problem(
                state, turned_reference(yaw)(0.04 * np.arange(4)), matrix(yaw) @ disturbance, np.zeros(4), turned_constraints(yaw)
            )
            returns.append(float(score(model, jax.tree.map(jnp.asarray, asked))))
    np.testing.assert_allclose(returns, returns[0], rtol=1e-12)


def build(kind: str, yaw: float) -> Any:
    checkpoint = flyable_checkpoint()
    if kind == "geometric":
        return GeometricController(yaw_rad=yaw)
    if kind == "policy":
        return PolicyController(checkpoint, yaw_rad=yaw)
    if kind == "mppi":
        sampling: SamplingSettings = SAMPLING
        return SamplingController(checkpoint, sampling, yaw_rad=yaw)
    return GradientController(checkpoint, SETTINGS, yaw_rad=yaw)


@pytest.mark.parametrize("kind", ["gradient", "mppi", "policy", "geometric"])
def test_set_points_are_the_same_in_any_frame(kind: str) -> None:
    commands = []
    for yaw in (0.0, 0.9, -2.2):
        controller = build(kind, yaw)
        controller.reset(3)
        x = turned(yaw, X13)
        drift = matrix(yaw) @ np.array([0.01, 0.02, -0.005])  # seen by the observer as a disturbance
        run = []
        for k in range(3):
            run.append(controller.setpoint(x, 0.01 * k, turned_reference(yaw), turned_constraints(yaw)))
            x = x + np.concatenate([np.zeros(3), drift, np.zeros(7)])
        commands.append(run)
    # float32 plans: rounding of the inputs, through a few refinement steps.
    np.testing.assert_allclose(commands[1], commands[0], atol=2e-3)
    np.testing.assert_allclose(commands[2], commands[0], atol=2e-3)
    assert np.abs(np.diff(commands[0], axis=0)).max() > 1e-3
