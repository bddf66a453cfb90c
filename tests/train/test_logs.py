"""Importers on real logs, and their errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tubepilot.firmware_bridge.errors import LogFormatError
from tubepilot.train.flight import Flight, load_flight, save_flight
from tubepilot.train.logs import read_log
from tubepilot.train.logs.alignment import lag_samples
from tubepilot.train.logs.nanobench import rotor_speed
from tubepilot.train.logs.ulog import attitude_enu_flu, vector_enu


def turning_error(flight: Flight) -> float:
    """RMS difference between body rates and the change of attitude, over the RMS of the rates."""
    attitude = Rotation.from_quat(flight.quaternion_wxyz, scalar_first=True)
    turned = (attitude[:-1].inv() * attitude[1:]).as_rotvec() / flight.dt_s
    middle = 0.5 * (flight.rates_rad_s[1:] + flight.rates_rad_s[:-1])
    return float(np.sqrt(np.mean((turned - middle) ** 2) / np.mean(middle**2)))


def test_nanodrone_is_consistent(nanodrone: Path) -> None:
    flight = read_log(nanodrone / "square_20251017_run1.csv")
    assert flight.action_level == "rotors"
    assert flight.dt_s == pytest.approx(0.01)
    assert turning_error(flight) < 0.15
    hover = np.median(np.linalg.norm(flight.action, axis=1)) / 2
    assert 1500 < hover < 2500


def test_nanobench_rates_are_in_the_body_frame(nanobench: Path) -> None:
    flight = read_log(nanobench / "B2_circle_slow_rep2.csv")
    assert 0.2 < float(str(flight.meta["rmse_to_target_m"])) < 0.4
    assert 0.3 < float(str(flight.meta["lag_s"])) < 0.8
    assert float(str(flight.meta["gyro_rms_difference_rad_s"])) < 0.4
    assert flight.action.max() < 2300


def test_px4_log_becomes_enu_flu(px4_ulog: Path) -> None:
    flight = read_log(px4_ulog / "sample.ulg")
    assert flight.action_level == "rates"
    assert turning_error(flight) < 0.2
    # Level flight: the body's up axis points up in ENU; in NED/FRD it would point down.
    up = Rotation.from_quat(flight.quaternion_wxyz, scalar_first=True).as_matrix()[:, 2, 2]
    assert up.min() > 0.5
    assert flight.action[:, 3].min() >= 0
    assert flight.action[:, 3].max() <= 1
    for axis in range(3):
        assert np.corrcoef(flight.action[:-22, axis], flight.rates_rad_s[22:, axis])[0, 1] > 0.3


def test_px4_level_facing_north_is_yaw_ninety_degrees() -> None:
    enu = attitude_enu_flu(np.array([[1.0, 0.0, 0.0, 0.0]]))
    rotation = Rotation.from_quat(enu, scalar_first=True)
    np.testing.assert_allclose(rotation.apply([1.0, 0.0, 0.0])[0], [0.0, 1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(rotation.apply([0.0, 0.0, 1.0])[0], [0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(vector_enu(np.array([[1.0, 2.0, 3.0]])), [[2.0, 1.0, -3.0]])


@pytest.mark.parametrize("channel", ["m3_rads", "qw"])
def test_a_missing_channel_is_named(nanodrone: Path, tmp_path: Path, channel: str) -> None:
    text = (nanodrone / "square_20251017_run1.csv").read_text().splitlines()[:50]
    text[0] = text[0].replace(channel, "something_else")
    path = tmp_path / "flight.csv"
    path.write_text("\n".join(text))
    with pytest.raises(LogFormatError, match=channel):
        read_log(path)


def test_garbage_is_refused(tmp_path: Path) -> None:
    for name, content in [("a.ulg", b"not a log"), ("b.npz", b"PK\x03\x04"), ("c.csv", b"t,x\n1,2\n"), ("d.txt", b"")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LogFormatError, match=name):
            read_log(tmp_path / name)


def test_lag_of_a_delayed_signal_is_found() -> None:
    signal = np.cumsum(np.random.default_rng(0).normal(size=(500, 2)), axis=0)
    lag, correlation = lag_samples(signal, np.roll(signal, 7, axis=0), 20)
    assert lag == 7
    assert correlation > 0.95


def test_motor_off_is_zero_speed() -> None:
    assert rotor_speed(np.array([0.0]))[0] == 0.0
    assert rotor_speed(np.array([65535.0]))[0] == pytest.approx(2269, abs=1)


def test_flight_round_trip_and_truncation(synthetic_flight, tmp_path: Path) -> None:
    flight = synthetic_flight(0, 100)
    path = tmp_path / "f.npz"
    save_flight(path, flight)
    back = load_flight(path)
    np.testing.assert_array_equal(back.action, flight.action)
    np.testing.assert_allclose(back.quaternion_wxyz, flight.quaternion_wxyz, atol=1e-15)
    assert back.meta == flight.meta
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(LogFormatError, match="collect or import it again"):
            load_flight(path)


class LandTopics:
    """A log that tells when the vehicle stood."""

    def __init__(self, t_s: list[float], landed: list[int]) -> None:
        self._t_s, self._landed = np.array(t_s), np.array(landed, dtype=float)[:, None]

    def has(self, topic: str, field: str) -> bool:
        return (topic, field) == ("vehicle_land_detected", "landed") and len(self._t_s) > 0

    def read(self, topic: str, fields: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, int]:
        return self._t_s, self._landed, 0


@pytest.mark.parametrize(
    ("t_s", "landed", "expected"),
    [
        ([0.0, 10.0, 40.0], [1, 0, 1], (10.5, 39.5)),
        ([0.0, 5.0, 8.0, 10.0, 30.0], [1, 0, 1, 0, 1], (10.5, 29.5)),
        ([0.0, 20.0], [1, 0], (20.5, 49.5)),
        ([0.0], [1], (1.0, 50.0)),  # never in the air: the log stays whole, for replay
        ([], [], (1.0, 50.0)),
    ],
)
def test_of_a_px4_log_only_the_longest_time_in_the_air_is_kept(
    t_s: list[float], landed: list[int], expected: tuple[float, float]
) -> None:
    from tubepilot.train.logs import ulog

    assert ulog._airborne(LandTopics(t_s, landed), 1.0, 50.0) == pytest.approx(expected)
