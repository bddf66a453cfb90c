"""The open-loop protocol and the rotor-level model on real flights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tubepilot.train.dynamics import Physics, WorldModel
from tubepilot.train.flight import Flight
from tubepilot.train.logs import read_log
from tubepilot.train.model_prediction import model_predictor
from tubepilot.train.prediction import (
    HORIZON,
    errors,
    predict_constant_velocity,
    predict_naive,
    window_starts,
)
from tubepilot.train.residual import zero_residual
from tubepilot.train.rotor_learn import load_rotor_model, rotor_model_bytes
from tubepilot.train.rotor_model import RotorSettings, fit_rotor_model, predict_rotor_model


@pytest.fixture(scope="module")
def flights(nanodrone: Path) -> list[Flight]:
    return [read_log(nanodrone / f"random1_20251017_run{k}.csv") for k in (1, 3, 2)]


def test_naive_row_by_an_independent_loop(flights: list[Flight]) -> None:
    flight = flights[0]
    starts = window_starts(flight)
    row = errors(flight, starts, predict_naive(flight, starts))
    assert row.windows == len(flight) - HORIZON
    attitude = Rotation.from_quat(flight.quaternion_wxyz, scalar_first=True)
    for h in (1, 10, 50):
        a, b = slice(0, len(flight) - HORIZON), slice(h, len(flight) - HORIZON + h)
        moved = np.linalg.norm(flight.position_m[b] - flight.position_m[a], axis=1).mean()
        assert row.position[h - 1] == pytest.approx(moved)
        changed = np.linalg.norm(flight.rates_rad_s[b] - flight.rates_rad_s[a], axis=1).mean()
        assert row.rates[h - 1] == pytest.approx(changed)
        angle = (attitude[a].inv() * attitude[b]).magnitude().mean()
        assert row.attitude[h - 1] == pytest.approx(angle, rel=1e-6)


def test_naive_position_error_after_one_step_is_the_speed_times_the_step(flights: list[Flight]) -> None:
    # The published naive row has .0143 m after one step of 10 ms, the mean speed there: position is held.
    flight = flights[0]
    starts = window_starts(flight)
    held = errors(flight, starts, predict_naive(flight, starts))
    moved = errors(flight, starts, predict_constant_velocity(flight, starts))
    speed = np.linalg.norm(flight.velocity_m_s, axis=1).mean()
    assert held.position[0] == pytest.approx(speed * flight.dt_s, rel=0.1)
    assert moved.position[0] < 0.5 * held.position[0]


def test_the_true_model_predicts_its_own_flight(synthetic_flight, known_physics: Physics) -> None:
    flight = synthetic_flight(0, 600, np.zeros(3))
    starts = window_starts(flight, 20, first=100)
    row = errors(flight, starts, model_predictor(WorldModel(known_physics, zero_residual()), 19.0)(flight, starts))
    assert row.position[-1] < 0.01
    assert row.attitude[-1] < 1e-3


def test_rotor_model_beats_the_plain_ridge_and_never_looks_ahead(flights: list[Flight], tmp_path: Path) -> None:
    fit, test = flights[:2], flights[2]
    starts = window_starts(test, 7)
    plain = fit_rotor_model(fit, RotorSettings(history=10, rich=False, members=1, ridge=1e-3, every=3), 0)
    settings = RotorSettings(history=6, members=2, ridge=1e-3, ridge_correction=1e-2, every=3)
    model = fit_rotor_model(fit, settings, 0)
    ours = predict_rotor_model(model, test, starts)
    row, base = errors(test, starts, ours), errors(test, starts, predict_rotor_model(plain, test, starts))
    assert row.position.sum() < base.position.sum()
    assert row.velocity.sum() < base.velocity.sum()

    # Whatever the rotors do after a step, the prediction of that step stays the same.
    action = test.action.copy()
    action[starts[3] + 20 :] *= 0.5
    cut = replace(test, action=action)
    other = predict_rotor_model(model, cut, starts[3:4])
    for early, late in zip(ours, other, strict=True):
        np.testing.assert_allclose(late[0, :20], early[3, :20], atol=1e-5)
        assert not np.allclose(late[0, 30:], early[3, 30:], atol=1e-3)

    (tmp_path / "rotor_model.npz").write_bytes(rotor_model_bytes(model))
    again = predict_rotor_model(load_rotor_model(tmp_path), test, starts)
    np.testing.assert_allclose(again.position_m, ours.position_m, atol=1e-4)
