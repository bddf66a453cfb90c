"""tubepilot's own flight logs become training flights: written by the recorder's own writer, read back in SI, losses told."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import known_motion as motion
from scipy.spatial.transform import Rotation

from tubepilot.firmware_bridge.errors import InputError, LogFormatError
from tubepilot.firmware_bridge.types import FlightMode
from tubepilot.runtime import cli_fly
from tubepilot.runtime.flight_log import TICK_DTYPE, read_flight
from tubepilot.runtime.phases import Phase
from tubepilot.runtime.recorder_writer import LogFile, pack
from tubepilot.runtime.tick_types import TickSettings
from tubepilot.train.cli_collect import import_logs
from tubepilot.train.cli_train import read_flights
from tubepilot.train.flight import RATES, Flight
from tubepilot.train.logs import read_log
from tubepilot.train.logs.flight_log import FLOWN_PHASES

SCALE_M_S2 = 19.5
META = {"format": 1, "tick_hz": 100.0, "airframe": "test-quadrotor", "thrust_scale_m_s2": SCALE_M_S2}
GROUND, COUNT, LANDED = 50, 400, 20
T0_NS = 86_400_000_000_000 * 30 + 123  # a month after boot: nanoseconds no longer fit into float64
AGE_S, LATE_S, TICK_S = 0.004, 0.0005, 0.0055
SEND_S = LATE_S + TICK_S


def ticks() -> np.ndarray:
    """A flight: on the ground, climb, task, brake, landing, disarmed; the motion is known at every instant."""
    result = np.zeros(GROUND + COUNT + LANDED, TICK_DTYPE)
    index = np.arange(len(result))
    result["t_ns"] = T0_NS + 10_000_000 * index
    nominal_s = 0.01 * (index - GROUND)
    result["late_us"], result["tick_us"], result["state_age_ms"] = 1e6 * LATE_S, 1e6 * TICK_S, 1e3 * AGE_S
    at_s = nominal_s + LATE_S - AGE_S
    quaternion = motion.attitude(at_s).as_quat(scalar_first=True)
    quaternion[::3] *= -1.0  # either sign is the same attitude
    columns = (motion.position_m(at_s), motion.velocity_m_s(at_s), quaternion, motion.rates_rad_s(at_s))
    result["measured"] = np.hstack(columns)
    result["sent"][:, 0:3] = motion.rate_setpoint_rad_s(nominal_s + SEND_S)
    result["sent"][:, 3] = SCALE_M_S2 * motion.throttle(nominal_s + SEND_S)
    result["vehicle_mode"], result["armed"] = list(FlightMode).index(FlightMode.OFFBOARD), 1
    result["phase"] = Phase.TRACK
    result["phase"][:GROUND], result["phase"][GROUND : GROUND + 30] = Phase.ARMED, Phase.CLIMB
    result["phase"][GROUND + COUNT - 60 :] = Phase.BRAKE
    result["phase"][GROUND + COUNT - 30 :] = Phase.LAND
    result["sent"][GROUND + COUNT :] = [0.0, 0.0, 0.0, 0.0]  # idle while the flight controller lands
    result["armed"][GROUND + COUNT + 10 :] = 0
    return result


def write(path: Path, flown: np.ndarray, meta: dict[str, object] | None = None, dropped: int | None = 0) -> Path:
    """The file as the recorder's process leaves it; `dropped` None: it was killed before the end."""
    log = LogFile(path, META if meta is None else meta, 1_700_000_000_000_000_000)
    for record in flown:
        log.add_tick(record)
    log.add_event(int(flown["t_ns"][-1]), "end")
    if dropped is None:
        log.flush()
        log.close()
    else:
        log.finish(dropped, 0)
    return path


def check_motion(flight: Flight, first: int = GROUND) -> None:
    """Against the closed form; row 0 is the instant at which tick `first` was sent."""
    t_s = flight.t_s + 0.01 * (first - GROUND) + SEND_S
    inside = slice(1, -1)  # the newest state is older than the first and the last set-point
    np.testing.assert_allclose(flight.position_m[inside], motion.position_m(t_s)[inside], atol=1e-4)
    np.testing.assert_allclose(flight.velocity_m_s[inside], motion.velocity_m_s(t_s)[inside], atol=1e-3)
    np.testing.assert_allclose(flight.rates_rad_s[inside], motion.rates_rad_s(t_s)[inside], atol=2e-3)
    attitude = Rotation.from_quat(flight.quaternion_wxyz, scalar_first=True)
    assert (motion.attitude(t_s).inv() * attitude).magnitude()[inside].max() < 1e-3
    np.testing.assert_allclose(flight.action[:, 0:3], motion.rate_setpoint_rad_s(t_s), atol=1e-5)
    np.testing.assert_allclose(flight.action[:, 3], motion.throttle(t_s), atol=1e-6)


@pytest.mark.parametrize("packed", [False, True])
def test_what_was_flown_comes_back(tmp_path: Path, packed: bool) -> None:
    path = write(tmp_path / "flight.mcap", ticks())
    if packed:
        pack(path)
    flight = read_log(path)
    check_motion(flight)
    assert len(flight) in (COUNT - 1, COUNT)  # the last set-point leaves after the newest state
    meta = flight.meta
    assert (flight.action_level, meta["airframe"], meta["source"]) == (RATES, "test-quadrotor", "tubepilot:flight.mcap")
    assert meta["thrust_scale_m_s2"] == SCALE_M_S2
    assert meta["lag_s"] == pytest.approx(motion.LAG_S)
    assert float(str(meta["lag_correlation"])) > 0.999
    assert meta["send_s"] == pytest.approx(SEND_S)
    assert (meta["complete"], meta["dropped_samples"], meta["repeated_states"]) == (True, 0, 0)
    assert str(meta["lost"]).startswith("log whole, 0 ticks lost by the recorder, 7")


def test_collect_imports_it_and_train_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "flight.mcap", ticks(), dropped=3)
    written = import_logs([path], tmp_path / "flights")
    assert "3 ticks lost by the recorder" in capsys.readouterr().out
    (back,) = read_flights(tmp_path / "flights")
    np.testing.assert_array_equal(back.action, read_log(path).action)
    assert written == [tmp_path / "flights" / "flight.npz"]


def test_a_log_cut_at_any_byte_is_used_up_to_there(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mcap", ticks(), dropped=None).read_bytes()
    record = whole.index(b'"t_ns":', len(whole) // 2)
    for cut in (*range(record, record + 1500, 250), len(whole) - 1, len(whole)):
        path = tmp_path / "cut.mcap"
        path.write_bytes(whole[:cut])
        flight = read_log(path)
        check_motion(flight)
        assert str(flight.meta["lost"]).startswith("log cut off, an unknown number of ticks lost")
        assert not flight.meta["complete"]
        flown = read_flight(path).ticks  # the on-board reader finds the same ticks
        assert 0 <= np.sum(np.isin(flown["phase"], FLOWN_PHASES) & (flown["sent"][:, 3] > 0)) - len(flight) <= 1
    for cut in (0, 5, 8, 40, 300, whole.index(b'{"t_ns"') + 10):
        (tmp_path / "cut.mcap").write_bytes(whole[:cut])
        with pytest.raises(LogFormatError, match="cut"):
            read_log(tmp_path / "cut.mcap")


def test_repeated_and_unknown_states_are_bridged_and_counted(tmp_path: Path) -> None:
    flown = ticks()
    for k in range(GROUND + 100, GROUND + 140, 4):  # no new state came: the old one, one tick older
        flown["measured"][k] = flown["measured"][k - 1]
        flown["state_age_ms"][k] += 10.0
    flown["measured"][GROUND + 200 : GROUND + 203, 7] = np.nan
    flight = read_log(write(tmp_path / "flight.mcap", flown))
    assert (flight.meta["repeated_states"], flight.meta["dropped_samples"]) == (10, 3)
    assert flight.meta["longest_gap_s"] == pytest.approx(0.04)
    check_motion(flight)


def test_the_longest_stretch_flown_is_used(tmp_path: Path) -> None:
    flown = ticks()
    flown["phase"][GROUND + 80 : GROUND + 100] = Phase.MANUAL  # the pilot took over
    flight = read_log(write(tmp_path / "flight.mcap", flown))
    check_motion(flight, GROUND + 100)
    disarmed = ticks()
    disarmed["armed"][: GROUND + 100] = 0
    check_motion(read_log(write(tmp_path / "disarmed.mcap", disarmed)), GROUND + 100)
    flown["vehicle_mode"] = list(FlightMode).index(FlightMode.HOLD)
    with pytest.raises(LogFormatError, match=r"0 were flown in OFFBOARD .*/tick\.sent"):
        read_log(write(tmp_path / "held.mcap", flown))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    old = {key: value for key, value in META.items() if key != "thrust_scale_m_s2"}
    with pytest.raises(InputError, match="lacks thrust_scale_m_s2"):
        read_log(write(tmp_path / "old.mcap", ticks()[:60], old))
    with pytest.raises(InputError, match="format 2; this version reads 1"):
        read_log(write(tmp_path / "new.mcap", ticks()[:60], {**META, "format": 2}))
    path = write(tmp_path / "other.mcap", ticks()[:60], dropped=None)
    path.write_bytes(path.read_bytes().replace(b'"sent":', b'"tens":'))
    with pytest.raises(InputError, match=r"lacks the channel /tick\.sent"):
        read_log(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path / "absent.mcap")


def test_fly_writes_what_the_importer_needs() -> None:
    on_board = SimpleNamespace(meta={"airframe": "x"}, tick_hz=100.0, delay_s=0.02, thrust_scale_m_s2=SCALE_M_S2)
    meta = cli_fly._meta("px4://x", on_board, TickSettings(0.006, 0.0085))
    assert json.loads(json.dumps(meta))["thrust_scale_m_s2"] == SCALE_M_S2
    assert tuple(Phase(number).name for number in FLOWN_PHASES) == ("CLIMB", "TRACK", "BRAKE", "LAND")
