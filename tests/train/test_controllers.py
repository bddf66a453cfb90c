"""Controllers in the closed loop: interface, evaluations counted by the model itself, determinism, hold, obstacle."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from helpers.flyable import flyable_checkpoint
from helpers.proven import ASSUMED

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.simulator import SimulatedQuadrotor
from tubepilot.train import dynamics, planner
from tubepilot.train.constraints import Constraints
from tubepilot.train.controllers import (
    Controller,
    GeometricController,
    GradientController,
    PolicyController,
    SamplingController,
    planner_model,
)
from tubepilot.train.planner import Problem
from tubepilot.train.planner_settings import PlannerSettings, preset
from tubepilot.train.sampling_planners import SamplingSettings, mppi_settings, plan_by_sampling

SETTINGS = replace(preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=12, candidates=3), steps=3)
SAMPLING = replace(mppi_settings(dt_plan_s=0.04, tick_hz=100.0), samples=32, elites=8, policy_plans=4, iterations=2)
SPEED_M_S = 1.0


def line(t: Any) -> Any:
    """Straight along x at constant speed, 1 m high; shape (n, 9)."""
    rows = np.zeros((len(t), 9))
    rows[:, 0], rows[:, 2], rows[:, 3] = SPEED_M_S * np.asarray(t), 1.0, SPEED_M_S
    return rows


def fly(controller: Controller, duration_s: float, constraints: Constraints | None = None) -> tuple[Any, Any]:
    """Positions and set-points of a flight of the independent simulator along the line."""
    vehicle = SimulatedQuadrotor()
    vehicle.reset(np.array([0.0, 0.0, 1.0]), 0.0, np.array([SPEED_M_S, 0.0, 0.0]))
    path, commands = [], []
    for k in range(round(duration_s * 100)):
        x = np.concatenate([vehicle.position_m, vehicle.velocity_m_s, vehicle.quaternion_wxyz, vehicle.rates_rad_s])
        commands.append(controller.setpoint(x, 0.01 * k, line, constraints))
        path.append(x[0:3])
        vehicle.step(commands[-1][0:3], float(np.clip(commands[-1][3] / ASSUMED.thrust_scale_m_s2, 0.0, 1.0)), 0.01)
    return np.array(path), np.array(commands)


def cylinder(x_m: float, radius_m: float) -> Constraints:
    """A vertical cylinder whose axis the line goes through exactly."""
    inverse = 1.0 / radius_m**2
    return Constraints(  # type: ignore[arg-type]
        np.array([[x_m, 0.0, 0.0, inverse, inverse, 0.0]]), np.array([[0.0, 0.0, 0.0, 1.0]]), np.array(np.inf)
    )


def test_the_planner_passes_a_cylinder_on_its_path() -> None:
    controller = GradientController(flyable_checkpoint(), SETTINGS)
    controller.reset(0)
    path, _ = fly(controller, 3.5, cylinder(1.5, 0.3))
    distance = np.hypot(path[:, 0] - 1.5, path[:, 1])
    assert distance.min() > 0.3
    assert path[-1, 0] > 2.5, "it is past the obstacle"
    controller.reset(0)
    free, _ = fly(controller, 1.7, cylinder(100.0, 0.3))
    assert np.hypot(free[:, 0] - 1.5, free[:, 1]).min() < 0.1, "without the obstacle it flies through"


@pytest.mark.parametrize("kind", ["gradient", "mppi"])
def test_the_same_seed_gives_the_same_flight_bit_for_bit(kind: str) -> None:
    checkpoint = flyable_checkpoint()
    controller: Any = SamplingController(checkpoint, SAMPLING) if kind == "mppi" else GradientController(checkpoint, SETTINGS)
    runs, kept = [], []
    for seed in (5, 5, 6):
        controller.reset(seed)
        runs.append(fly(controller, 0.06, cylinder(100.0, 0.3))[1])
        kept.append(np.asarray(controller._mean if kind == "mppi" else controller._plans))
        assert math.isfinite(controller.disagreement)
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(kept[0], kept[1])
    assert not np.array_equal(kept[0], kept[2])


def count_steps(monkeypatch: pytest.MonkeyPatch, run: Any) -> int:
    """Rows of the batched model step that `run` executes, forward, seen by a callback inside the model."""
    seen = []
    real = dynamics.residual_members

    def counted(residual: Any, feature: Any) -> Any:
        jax.debug.callback(lambda _: seen.append(1), feature[0])
        return real(residual, feature)

    monkeypatch.setattr(dynamics, "residual_members", counted)
    jax.block_until_ready(run())
    jax.effects_barrier()
    return len(seen)


def small_problem(horizon: int) -> Problem:
    state = np.zeros(14, np.float32)
    state[6], state[13] = 1.0, 9.81
    return Problem(state, np.zeros((horizon + 1, 9), np.float32), np.zeros(3, np.float32), np.zeros(4, np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize(("steps", "early"), [(2, False), (2, True), (0, False), (0, True)])
def test_evaluations_of_the_gradient_planner_are_what_its_model_sees(
    monkeypatch: pytest.MonkeyPatch, steps: int, early: bool
) -> None:
    settings: PlannerSettings = replace(SETTINGS, horizon=2, candidates=2, steps=steps, rank_before_last_step=early)
    model, plans = planner_model(flyable_checkpoint()), np.zeros((2, 2, 4), np.float32)
    inputs = (np.ones((2, 4), np.float32), small_problem(2), plans, plans, np.float32(0.5))
    forward = count_steps(monkeypatch, lambda: jax.jit(lambda *a: planner.plan(model, settings, *a))(*inputs))
    backward = settings.candidates * settings.horizon * steps  # one for each forward call of a gradient pass
    assert settings.model_evaluations == forward + backward


def test_evaluations_of_a_sampling_planner_are_what_its_model_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: SamplingSettings = replace(SAMPLING, samples=6, elites=3, policy_plans=2)
    model, mean = planner_model(flyable_checkpoint()), np.zeros((3, 4), np.float32)
    run = jax.jit(lambda *a: plan_by_sampling(model, settings, *a))
    seen = count_steps(monkeypatch, lambda: run(small_problem(3), mean, jax.random.key(0)))
    assert settings.model_evaluations == seen == (2 + 6 * 2) * 3


def test_a_decision_is_held_between_decisions() -> None:
    controller = PolicyController(flyable_checkpoint(), decimation=3)
    _, commands = fly(controller, 0.07)
    changed = np.any(np.diff(commands, axis=0) != 0, axis=1)
    np.testing.assert_array_equal(changed, [False, False, True, False, False, True])
    planning = GradientController(flyable_checkpoint(), SETTINGS, decimation=4)
    assert planning.settings.shift_knots == pytest.approx(1.0)
    with pytest.raises(InputError, match="decimation is 0"):
        PolicyController(flyable_checkpoint(), decimation=0)


def test_policy_and_geometric_controller_follow_the_line() -> None:
    for controller in (PolicyController(flyable_checkpoint()), GeometricController()):
        path, _ = fly(controller, 1.5)
        wanted = line(0.01 * np.arange(len(path)))[:, 0:3]
        assert np.linalg.norm(path - wanted, axis=1)[-20:].max() < 0.15
        assert math.isnan(controller.disagreement)
        assert controller.evaluations == 0


def test_the_observer_finds_a_constant_disturbance() -> None:
    controller = PolicyController(flyable_checkpoint())
    x = np.concatenate([[0, 0, 1.0], np.zeros(3), [1.0], np.zeros(6)])
    held = np.array([0.5, -0.3, 0.2])
    for k in range(150):
        controller.setpoint(x, 0.01 * k, line, None)
        predicted = controller._predicted
        assert predicted is not None
        x = np.concatenate([predicted[0:3], predicted[3:6] + 0.01 * held, predicted[6:13]])
    np.testing.assert_allclose(controller.disturbance_m_s2, held, atol=0.01)


def test_a_state_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="13 finite numbers"):
        PolicyController(flyable_checkpoint()).setpoint(np.full(13, np.nan), 0.0, line, None)
