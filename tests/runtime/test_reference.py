"""References: closed forms, derivatives by finite differences, rest at both ends, limits, and the take-off frame."""

from __future__ import annotations

import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.types import VehicleState
from tubepilot.runtime.local_frame import LocalFrame, yaw_of
from tubepilot.runtime.reference import FigureEight, Hover, Move, Reference, brake, check_limits, peaks, rows, straight

EIGHT = FigureEight.at_speed(np.array([0.0, 0.0, 1.0]), size_m=3.0, speed_m_s=2.0, laps=2)
PATHS: dict[str, Reference] = {
    "hover": Hover(np.array([1.0, 2.0, 3.0]), 4.0),
    "climb": straight(np.zeros(3), np.array([0.0, 0.0, 1.2]), 0.6),
    "brake": brake(np.array([1.0, 0.0, 1.0]), np.array([2.0, -1.0, 0.1]), 2.0),
    "curved": Move.to_rest(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 2.0, 0]), np.array([1.0, 1.0, 0]), 2.0),
    "figure-eight": EIGHT,
    "one slow lap": FigureEight.at_speed(np.zeros(3), size_m=1.0, speed_m_s=3.0, laps=1, ramp_s=10.0),
}


@pytest.mark.parametrize("name", PATHS)
def test_each_derivative_is_the_slope_of_the_one_before(name: str) -> None:
    path, h = PATHS[name], 1e-5
    t = np.linspace(0.01, path.duration_s - 0.01, 101) + 1e-4
    slope = (path.derivatives(t + h) - path.derivatives(t - h)) / (2 * h)
    scale = 1.0 + np.abs(path.derivatives(t)).max(axis=(0, 2))
    error = np.abs(slope[:, :4] - path.derivatives(t)[:, 1:]).max(axis=(0, 2))
    # central differences: h^2 times the third derivative, and rounding 1e-16 / h
    assert np.all(error <= 1e-5 * scale[1:] * scale.max())


@pytest.mark.parametrize("name", PATHS)
def test_stands_still_outside_and_at_its_end(name: str) -> None:
    path = PATHS[name]
    after = path.derivatives(np.array([path.duration_s, path.duration_s + 5.0]))
    np.testing.assert_allclose(after[1, 0], after[0, 0], atol=1e-12)
    np.testing.assert_allclose(after[:, 1:3], 0.0, atol=1e-9)
    np.testing.assert_array_equal(path.derivatives(np.array([-1.0]))[0, 1:], 0.0)


def test_figure_eight_closed_form() -> None:
    speed, _ = peaks(EIGHT)
    assert speed == pytest.approx((2.0, 0.0), rel=1e-4)
    samples = EIGHT.derivatives(np.linspace(0.0, EIGHT.duration_s, 5001))[:, 0]
    np.testing.assert_allclose(samples.max(axis=0), [1.5, 0.75, 1.0], atol=1e-4)
    np.testing.assert_allclose(samples.min(axis=0), [-1.5, -0.75, 1.0], atol=1e-4)
    np.testing.assert_allclose(samples[[0, -1]], [[0, 0, 1.0], [0, 0, 1.0]], atol=1e-12)
    # y = x sqrt(1 - (x/a)^2) up to sign: the lemniscate of Gerono
    x, y = samples[:, 0], samples[:, 1]
    np.testing.assert_allclose(y**2, x**2 * np.maximum(0.0, 1.0 - (x / 1.5) ** 2), atol=1e-9)


def test_figure_eight_runs_its_laps() -> None:
    crossings = EIGHT.derivatives(np.linspace(0.0, EIGHT.duration_s, 20001))[1:-1, 0, 0]
    assert np.count_nonzero(np.diff(np.sign(crossings)) != 0) == 2 * EIGHT.laps - 1


def test_brake_ends_half_the_braking_path_ahead() -> None:
    path = brake(np.zeros(3), np.array([2.0, 0.0, 0.0]), 2.0)
    assert path.duration_s == pytest.approx(1.0)
    end = path.derivatives(np.array([1.0]))[0]
    np.testing.assert_allclose(end[0], [1.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(path.derivatives(np.array([0.0]))[0, 1], [2.0, 0.0, 0.0], atol=1e-12)


def test_straight_reaches_the_asked_peak_speed() -> None:
    assert peaks(PATHS["climb"])[0] == pytest.approx((0.0, 0.6), rel=1e-4)


def test_rows_are_position_velocity_acceleration() -> None:
    t = np.array([1.0, 2.0])
    for path in PATHS.values():
        np.testing.assert_array_equal(rows(path, t), path.derivatives(t)[:, :3].reshape(2, 9))


def test_limits_are_refused_with_what_to_do() -> None:
    check_limits(EIGHT, (2.0, 0.0), (20.0, 0.0))
    with pytest.raises(InputError, match=r"2\.00 m/s horizontal speed; the bundle allows 1\.50 m/s.*--speed-m-s"):
        check_limits(EIGHT, (1.5, 9.0), (20.0, 9.0))
    with pytest.raises(InputError, match=r"m/s\^2 horizontal acceleration; the bundle allows 1\.00 m/s\^2"):
        check_limits(EIGHT, (2.5, 9.0), (1.0, 9.0))
    with pytest.raises(InputError, match=r"0\.60 m/s vertical speed; the bundle allows 0\.50 m/s"):
        check_limits(PATHS["climb"], (9.0, 0.5), (9.0, 9.0))
    with pytest.raises(InputError, match="vertical acceleration"):
        check_limits(PATHS["climb"], (9.0, 9.0), (9.0, 0.1))


@pytest.mark.parametrize(
    ("size", "speed", "laps"), [(0.0, 1.0, 1), (1.0, 0.0, 1), (1.0, 1.0, 0), (float("nan"), 1.0, 1), (1.0, -2.0, 1)]
)
def test_impossible_figures_are_refused(size: float, speed: float, laps: int) -> None:
    with pytest.raises(InputError, match="cannot be flown"):
        FigureEight.at_speed(np.zeros(3), size, speed, laps)
    with pytest.raises(InputError, match="longer than 0 s"):
        Move.to_rest(np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3), 0.0)


def _state(seed: int) -> VehicleState:
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=4)
    quaternion /= np.linalg.norm(quaternion)
    return VehicleState(7, rng.normal(size=3), rng.normal(size=3), quaternion, rng.normal(size=3))


def _matrix(q: np.ndarray) -> np.ndarray:
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@pytest.mark.parametrize("seed", range(5))
def test_local_frame_is_the_inverse_of_its_world_maps(seed: int) -> None:
    state, frame = _state(seed), LocalFrame.at(_state(seed + 100))
    local = frame.to_local(state)
    np.testing.assert_allclose(frame.positions_to_world(local.position_m), state.position_m, atol=1e-12)
    np.testing.assert_allclose(frame.vectors_to_world(local.velocity_m_s), state.velocity_m_s, atol=1e-12)
    turned_back = frame.rotation() @ _matrix(local.quaternion_wxyz)
    np.testing.assert_allclose(turned_back, _matrix(state.quaternion_wxyz), atol=1e-12)
    np.testing.assert_array_equal(local.rates_rad_s, state.rates_rad_s)
    numbers = [*local.position_m, *local.velocity_m_s, *local.quaternion_wxyz, *local.rates_rad_s, 9.0]
    back = frame.state_to_world(numbers)
    wanted = [*state.position_m, *state.velocity_m_s, *state.quaternion_wxyz, *state.rates_rad_s, 9.0]
    np.testing.assert_allclose(back, wanted, atol=1e-12)
    assert yaw_of(LocalFrame.at(state).to_local(state).quaternion_wxyz) == pytest.approx(0.0, abs=1e-12)
