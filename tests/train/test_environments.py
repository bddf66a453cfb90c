"""Gymnasium's own checker on every task, determinism, and that the environment is the flight it says it is."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import Vector
from tubepilot.train.dynamics import Physics, WorldModel
from tubepilot.train.environments import FAR_M, LOOK_AHEAD_S, OBSERVATION, TaskEnvironment, environment_id, register
from tubepilot.train.residual import zero_residual
from tubepilot.train.task_definition import TASKS, Estimator, load_task
from tubepilot.train.task_flight import TaskFlight
from tubepilot.train.task_vehicle import LearnedVehicle, RotorpyVehicle

HOVER_ACTION = np.zeros(4, dtype=np.float32)


def entries() -> dict[str, slice]:
    """First word of an entry's meaning to where it lies."""
    ends = np.cumsum([count for _, count, _ in OBSERVATION])
    return {text: slice(int(end) - count, int(end)) for (text, count, _), end in zip(OBSERVATION, ends, strict=True)}


@pytest.mark.parametrize("task", TASKS)
def test_gymnasiums_checker_has_nothing_to_say(task: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(environment_id(task)).unwrapped)


def test_ids() -> None:
    assert environment_id("figure_eight_2") == "tubepilot/FigureEight2-v0"
    assert environment_id("hover_in_wind") == "tubepilot/HoverInWind-v0"
    register()
    assert sum(name.startswith("tubepilot/") for name in gymnasium.registry) == len(TASKS)


def test_equal_seeds_repeat_and_later_resets_differ() -> None:
    def observed(seed: int) -> list[Vector]:
        environment = TaskEnvironment("obstacle_forest")
        seen = [environment.reset(seed=seed)[0]]
        generator = np.random.default_rng(1)
        for _ in range(10):
            seen.append(environment.step(generator.uniform(-0.2, 0.2, 4).astype(np.float32))[0])
        return [*seen, environment.reset()[0]]

    first, again, other = observed(4), observed(4), observed(5)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], first[-1])


def test_the_environment_is_the_flight_of_its_seed() -> None:
    environment = TaskEnvironment("figure_eight_2")
    observation, info = environment.reset(seed=8)
    flight = TaskFlight(load_task("figure_eight_2"), info["flight_seed"], RotorpyVehicle())
    generator = np.random.default_rng(0)
    for _ in range(20):
        x, now = flight.state(), flight.reference(np.array([flight.time_s]))[0]
        part = {text.split(",")[0].split(" [")[0]: observation[where] for text, where in entries().items()}
        assert np.allclose(part["position error"], x[0:3] - now[0:3], atol=1e-6)
        assert np.allclose(part["velocity error"], x[3:6] - now[3:6], atol=1e-6)
        assert np.allclose(part["velocity"], x[3:6], atol=1e-6)
        assert np.allclose(part["body rates"], x[10:13], atol=1e-6)
        rotation = part["rotation matrix body to world"].reshape(3, 3)
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
        assert rotation[2, 2] == pytest.approx(1.0 - 2.0 * (x[7] ** 2 + x[8] ** 2), abs=1e-6)
        ahead = flight.reference(flight.time_s + np.array(LOOK_AHEAD_S))[:, 0:3] - x[0:3]
        assert np.allclose(part["reference points ahead minus position"].reshape(-1, 3), ahead, atol=1e-6)
        action = generator.uniform(-0.3, 0.3, 4).astype(np.float32)
        observation, reward, terminated, truncated, _ = environment.step(action)
        setpoint = flight.action_low + (action.astype(float) + 1.0) / 2.0 * (flight.action_high - flight.action_low)
        assert flight.step(setpoint).reward == pytest.approx(reward, abs=1e-9)
        assert not terminated
        assert not truncated


def test_obstacles_are_shown_nearest_first() -> None:
    exact = replace(load_task("obstacle_forest"), estimator=Estimator(0.0, 0.0, 0.0, 0.0, 0.0))
    environment = TaskEnvironment(exact)
    observation, info = environment.reset(seed=2)
    flight = TaskFlight(exact, info["flight_seed"], RotorpyVehicle())
    (where,) = [where for text, where in entries().items() if text.startswith("nearest")]
    shown = observation[where].reshape(-1, 3)
    kept = flight.obstacles[:, 2] + exact.vehicle_radius_m + exact.obstacle_margin_m
    gaps = np.linalg.norm(flight.obstacles[:, 0:2] - flight.true_state()[0:2], axis=1) - kept
    assert np.allclose(np.linalg.norm(shown[:, 0:2], axis=1) - shown[:, 2], np.sort(gaps)[:3], atol=1e-5)
    empty = TaskEnvironment("sprint")
    assert np.allclose(empty.reset(seed=0)[0][where].reshape(-1, 3), [FAR_M, FAR_M, 0.0])


def test_an_episode_is_truncated_at_the_duration_and_terminated_by_a_crash(known_physics: Physics) -> None:
    model = WorldModel(known_physics, zero_residual())
    short = replace(load_task("hover_in_wind"), duration_s=0.1)
    environment = TaskEnvironment(short, lambda: LearnedVehicle(model, 19.0))
    environment.reset(seed=0)
    ends = [environment.step(HOVER_ACTION)[2:] for _ in range(10)]
    assert [end[0:2] for end in ends] == [(False, False)] * 9 + [(False, True)]
    assert ends[-1][2]["reason"] == "duration"
    assert 0.0 < ends[-1][2]["score"] <= 1.0
    with pytest.raises(InputError, match="ended"):
        environment.step(HOVER_ACTION)
    environment = TaskEnvironment("hover_in_wind", lambda: LearnedVehicle(model, 19.0))
    environment.reset(seed=0)
    end = (False, False, {})
    while not (end[0] or end[1]):
        end = environment.step(np.array([1.0, 0.0, 0.0, 0.0], dtype=np.float32))[2:]
    assert end[0:2] == (True, False)
    assert end[2]["reason"] == "tilt"


def test_the_picture_is_drawn() -> None:
    environment = gymnasium.make(environment_id("gate_slalom"), render_mode="rgb_array").unwrapped
    environment.reset(seed=1)
    environment.step(HOVER_ACTION)
    picture = environment.render()
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert min(picture.shape[0:2]) > 400
    # Gates are drawn in matplotlib's orange (255, 127, 14).
    assert np.sum(np.all(np.abs(picture.astype(int) - [255, 127, 14]) < 10, axis=2)) > 100


def test_misuse_is_refused() -> None:
    with pytest.raises(InputError, match="reset"):
        TaskEnvironment("sprint").step(HOVER_ACTION)
    with pytest.raises(InputError, match="render mode"):
        TaskEnvironment("sprint", render_mode="human")
    with pytest.raises(InputError, match="no task"):
        TaskEnvironment("jump")


def test_without_gymnasium_its_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "from tubepilot.firmware_bridge.errors import MissingExtraError\n"
        "try:\n    import tubepilot.train.environments\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "tubepilot[sim]" in done.stdout
