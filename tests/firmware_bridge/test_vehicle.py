"""The vehicle over a real pseudo-terminal: against the simulated flight controller's process, and against pymavlink."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ["MAVLINK20"] = "1"
from pymavlink.dialects.v20 import ardupilotmega as ap

from tubepilot.firmware_bridge.errors import InputError, LinkError
from tubepilot.firmware_bridge.types import FlightMode, Setpoint, VehicleState
from tubepilot.firmware_bridge.vehicle import Vehicle, open_vehicle
from tubepilot.runtime.cli import main

SCALE_M_S2 = 19.16666667
GRAVITY_M_S2 = 9.81


class SimFc:
    """The `tubepilot sim-fc` process."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.link, self.truth = folder / "fc", folder / "truth.npz"
        command = [sys.executable, "-m", "tubepilot.runtime.cli", "sim-fc"]
        command += ["--link", str(self.link), "--truth", str(self.truth), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        until(self.link.exists, 30.0)

    def stop(self, number: int = signal.SIGTERM) -> str:
        self.process.send_signal(number)
        return self.process.communicate(timeout=30)[0]

    def __enter__(self) -> SimFc:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; a generous limit that only a failure reaches."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def idle(_: VehicleState) -> Setpoint:
    return Setpoint(np.zeros(3), 0.0)


def hover_at(target: np.ndarray) -> Callable[[VehicleState], Setpoint]:
    """Position control good enough to hover: PD on position, P on the direction of thrust and on heading."""

    def control(state: VehicleState) -> Setpoint:
        w, x, y, z = state.quaternion_wxyz
        r = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        wanted = -3.0 * (state.position_m - target) - 3.0 * state.velocity_m_s + [0.0, 0.0, GRAVITY_M_S2]
        error = r.T @ np.cross(r[:, 2], wanted / np.linalg.norm(wanted))
        rates = np.array([6.0 * error[0], 6.0 * error[1], -2.0 * np.arctan2(r[1, 0], r[0, 0])])
        return Setpoint(np.clip(rates, -4.0, 4.0), float(np.clip(wanted @ r[:, 2], 3.0, 18.0)))

    return control


def stream(
    vehicle: Vehicle,
    control: Callable[[VehicleState], Setpoint] | None,
    done: Callable[[], bool],
    timeout_s: float,
    ask: Callable[[], None] | None = None,
) -> bool:
    """Poll and send at about 100 Hz until `done`, asking again every second."""
    end, next_ask = time.monotonic() + timeout_s, 0.0
    while not done():
        if time.monotonic() > end:
            return False
        vehicle.poll()
        state = vehicle.state()
        if control is not None and state is not None:
            vehicle.send(control(state))
        if ask is not None and time.monotonic() > next_ask:
            ask()
            next_ask = time.monotonic() + 1.0
        vehicle.wait_until(time.monotonic_ns() + 10_000_000)
    return True


def in_mode(vehicle: Vehicle, mode: FlightMode) -> Callable[[], bool]:
    return lambda: vehicle.status().mode is mode


def take_off(vehicle: Vehicle, target: np.ndarray) -> None:
    """Into OFFBOARD, arm, and climb to a target; every step confirmed by what the vehicle says.

    On a machine that stalls for longer than the failsafe time the failsafe acts, rightly: then it is asked again.
    """
    stream(vehicle, idle, lambda: vehicle.state() is not None, 5.0)
    offboard = in_mode(vehicle, FlightMode.OFFBOARD)
    assert stream(vehicle, idle, offboard, 60.0, lambda: vehicle.request_mode(FlightMode.OFFBOARD))
    assert stream(vehicle, idle, lambda: vehicle.status().armed, 60.0, lambda: vehicle.request_arm(True))

    def there() -> bool:
        state = vehicle.state()
        return offboard() and state is not None and abs(state.position_m[2] - target[2]) < 0.1

    def again() -> None:
        if not offboard():
            vehicle.request_mode(FlightMode.OFFBOARD)
        elif not vehicle.status().armed:
            vehicle.request_arm(True)

    assert stream(vehicle, hover_at(target), there, 90.0, again)


def test_flight_failsafe_landing_and_return_to_offboard(tmp_path: Path) -> None:
    with SimFc(tmp_path, "--wind-m-s", "2", "--failsafe-s", "0.5", "--seed", "3") as sim:
        vehicle = open_vehicle(f"px4://{sim.link}", SCALE_M_S2)
        vehicle.connect(60.0)
        assert vehicle.status().mode is FlightMode.HOLD
        assert all(check.ok for check in vehicle.preflight(6.0))
        vehicle.request_streams(100.0)
        target = np.array([0.0, 0.0, 0.8])
        take_off(vehicle, target)
        assert vehicle.status().landed is False
        state = vehicle.state()
        assert state is not None
        assert abs(np.linalg.norm(state.quaternion_wxyz) - 1.0) < 1e-9

        # Set-points stop: the flight controller lands by itself; they come back in the air: it takes them again.
        assert stream(vehicle, None, in_mode(vehicle, FlightMode.LAND), 60.0)
        offboard = in_mode(vehicle, FlightMode.OFFBOARD)
        ask = lambda: vehicle.request_mode(FlightMode.OFFBOARD)  # noqa: E731
        assert stream(vehicle, hover_at(target), offboard, 60.0, ask)
        assert stream(vehicle, None, in_mode(vehicle, FlightMode.LAND), 60.0)
        assert stream(vehicle, None, lambda: not vehicle.status().armed, 60.0)
        status = vehicle.status()
        assert "Failsafe: no offboard set-points, landing" in status.texts
        assert status.link.lost == status.link.crc_errors == 0
        assert status.link.setpoints > 100
        vehicle.close()
        said = sim.stop()
    assert sim.process.returncode == 0
    assert not sim.link.is_symlink()

    # By the flight controller's own clock, from the truth: LAND follows the last set-point within the failsafe time.
    truth = np.load(sim.truth)
    landing = truth["mode"] == (4 << 16 | 6 << 24)
    starts = np.flatnonzero(landing[1:] & ~landing[:-1]) + 1
    assert len(starts) >= 2
    assert f"failsafes {len(starts)}" in said
    silence_s = truth["t_sim_s"][starts] - truth["setpoint_t_sim_s"][starts]
    assert np.all(silence_s >= 0.5)
    assert np.all(silence_s < 0.5 + 0.025)
    assert np.all(np.diff(truth["t_mono_ns"]) > 0)
    assert truth["position"][-1, 2] == 0.0
    assert not truth["armed"][-1]


CLIENT = """
import sys, time
import numpy as np
from tubepilot.firmware_bridge.types import FlightMode, Setpoint
from tubepilot.firmware_bridge.vehicle import open_vehicle
vehicle = open_vehicle("px4://" + sys.argv[1], 19.16666667)
vehicle.connect(60.0)
vehicle.request_streams(100.0)
print("connected", flush=True)
while True:
    vehicle.poll()
    vehicle.send(Setpoint(np.zeros(3), 5.0))
    time.sleep(0.01)
"""


def test_a_killed_companion_leaves_a_port_that_the_next_one_can_open(tmp_path: Path) -> None:
    with SimFc(tmp_path) as sim:
        command = [sys.executable, "-c", CLIENT, str(sim.link)]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert client.stdout is not None
        assert client.stdout.readline() == "connected\n"
        second = open_vehicle(f"px4://{sim.link}", SCALE_M_S2)
        with pytest.raises(LinkError, match="another program has it open"):
            second.connect(1.0)
        client.kill()
        client.communicate()
        second.connect(60.0)
        assert stream(second, None, lambda: second.state() is not None, 60.0)
        second.close()
        sim.stop(signal.SIGINT)
        assert sim.truth.is_file()


def test_a_restarted_flight_controller_is_found_again_and_faults_are_counted(tmp_path: Path) -> None:
    with SimFc(tmp_path) as sim:
        vehicle = open_vehicle(f"px4://{sim.link}", SCALE_M_S2)
        vehicle.connect(60.0)
        vehicle.request_streams(100.0)
        assert stream(vehicle, None, lambda: vehicle.state() is not None, 60.0)
        sim.stop()
        assert stream(vehicle, None, lambda: vehicle.fileno() < 0, 60.0)
        assert vehicle.state() is None
        assert not vehicle.status().link.connected
    with SimFc(tmp_path, "--drop", "0.1", "--corrupt", "0.1", "--delay-ms", "0.5", "--seed", "9") as sim:
        assert stream(vehicle, None, lambda: vehicle.status().link.reconnects == 1, 60.0)

        def recovered() -> bool:
            link = vehicle.status().link
            return vehicle.state() is not None and link.lost > 20 and link.crc_errors > 10

        assert stream(vehicle, None, recovered, 60.0)
        link = vehicle.status().link
        # A tenth is dropped, a tenth of the rest corrupted: 19 % never arrive.
        assert 0.08 < link.lost / (link.frames + link.lost) < 0.35
        vehicle.close()


class ArduPilotPeer:
    """A flight controller made of pymavlink, the independent codec, on its own thread."""

    def __init__(self, folder: Path, autopilot: int = 3, udp_port: int | None = None) -> None:
        if udp_port is None:
            self.master, self.slave = os.openpty()
            tty.setraw(self.slave)
            self.uri = f"ardupilot://{os.ttyname(self.slave)}"
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.connect(("127.0.0.1", udp_port))
                self.master, self.slave = os.dup(made.fileno()), os.dup(made.fileno())
            self.uri = f"ardupilot+udp://127.0.0.1:{udp_port}"
        self.autopilot, self.mode, self.armed = autopilot, 0, False
        self.parameters = {b"GUID_OPTIONS": 0.0, b"ATC_ANGLE_BOOST": 1.0, b"GUID_TIMEOUT": 3.0}
        self.healthy = False
        self.link = ap.MAVLink(None, srcSystem=1, srcComponent=1)
        self.link.robust_parsing = True
        self.received: list[ap.MAVLink_message] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        link = self.link
        os.set_blocking(self.master, False)
        next_s, count = 0.0, 0
        while not self._stop.is_set():
            now_s = time.monotonic()
            if now_s >= next_s:
                next_s, base = now_s + 0.05, 1 | (128 if self.armed else 0)
                count += 1
                boot_ms = int(now_s * 1000) & 0xFFFFFFFF
                self._send(ap.MAVLink_heartbeat_message(2, self.autopilot, base, self.mode, 4, 3).pack(link))
                # nose north, level, 1 m north, 2 m east, 3 m up
                rates = (0.1, 0.2, 0.3)
                attitude = ap.MAVLink_attitude_quaternion_message(boot_ms, 1.0, 0.0, 0.0, 0.0, *rates)
                self._send(attitude.pack(link))
                self._send(ap.MAVLink_local_position_ned_message(boot_ms, 1.0, 2.0, -3.0, 0.0, 0.0, 0.0).pack(link))
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                for message in link.parse_buffer(os.read(self.master, 4096)) or []:
                    self._answer(link, message)
            time.sleep(0.0005)

    def _answer(self, link: ap.MAVLink, message: ap.MAVLink_message) -> None:
        self.received.append(message)
        kind = message.get_type()
        if kind == "TIMESYNC":
            self._send(ap.MAVLink_timesync_message(time.monotonic_ns(), message.ts1).pack(link))
        elif kind == "PARAM_REQUEST_READ":
            name = message.param_id.encode()
            self._send(ap.MAVLink_param_value_message(name, self.parameters[name], 9, 3, 0).pack(link))
        elif kind == "COMMAND_LONG" and message.command == 176:
            self.mode = int(message.param2)
        elif kind == "COMMAND_LONG" and message.command == 400:
            self.armed = message.param1 == 1.0
        elif kind == "COMMAND_LONG" and message.command == 401:
            health = 0x10000000 if self.healthy else 0
            self._send(ap.MAVLink_sys_status_message(0, 0, health, 0, 12_600, -1, -1, 0, 0, 0, 0, 0, 0).pack(link))
            if not self.healthy:
                self._send(ap.MAVLink_statustext_message(2, b"PreArm: Compass not calibrated").pack(link))
        elif kind == "SETUP_SIGNING":
            link.signing.secret_key, link.signing.sign_outgoing = bytes(message.secret_key), True
            link.signing.timestamp = message.initial_timestamp

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):  # nobody listens yet
            os.write(self.master, data)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[ArduPilotPeer]:
    ardupilot = ArduPilotPeer(tmp_path)
    yield ardupilot
    ardupilot.stop()


def test_ardupilot_by_an_independent_codec(peer: ArduPilotPeer) -> None:
    vehicle = open_vehicle(peer.uri, SCALE_M_S2)
    vehicle.connect(60.0)
    assert vehicle.status().mode is FlightMode.MANUAL
    checks = {check.name: check for check in vehicle.preflight()}
    assert not any(check.ok for check in checks.values())
    assert "param set GUID_OPTIONS 8" in checks["GUID_OPTIONS"].text
    assert "param set ATC_ANGLE_BOOST 0" in checks["ATC_ANGLE_BOOST"].text
    assert "PreArm: Compass not calibrated" in checks["pre-arm checks"].text
    peer.healthy = True
    peer.parameters = {b"GUID_OPTIONS": 9.0, b"ATC_ANGLE_BOOST": 0.0, b"GUID_TIMEOUT": 0.5}
    assert all(check.ok for check in vehicle.preflight())

    vehicle.request_mode(FlightMode.OFFBOARD)
    assert stream(vehicle, None, in_mode(vehicle, FlightMode.OFFBOARD), 60.0)
    assert peer.mode == 20
    vehicle.request_arm(True)
    assert stream(vehicle, None, lambda: vehicle.status().armed, 60.0)
    vehicle.request_mode(FlightMode.LAND)
    assert stream(vehicle, None, in_mode(vehicle, FlightMode.LAND), 60.0)
    assert peer.mode == 9
    with pytest.raises(InputError, match="no mode for 'terminate'"):
        vehicle.request_mode(FlightMode.TERMINATE)

    assert stream(vehicle, None, lambda: vehicle.state() is not None, 60.0)
    state = vehicle.state()
    assert state is not None
    assert np.allclose(state.position_m, [2.0, 1.0, 3.0])
    assert np.allclose(state.rates_rad_s, [0.1, -0.2, -0.3], atol=1e-7)
    assert np.allclose(state.quaternion_wxyz, [np.sqrt(0.5), 0, 0, np.sqrt(0.5)], atol=1e-7)
    assert abs(time.monotonic_ns() - state.t_ns) < 2e9

    peer.received.clear()
    vehicle.send(Setpoint(np.array([1.0, 2.0, 3.0]), 0.25 * SCALE_M_S2))
    assert until(lambda: any(x.get_type() == "SET_ATTITUDE_TARGET" for x in list(peer.received)), 5.0)
    target = next(x for x in peer.received if x.get_type() == "SET_ATTITUDE_TARGET")
    assert target.type_mask == 128
    assert (target.body_roll_rate, target.body_pitch_rate, target.body_yaw_rate) == (1.0, -2.0, -3.0)
    assert target.thrust == pytest.approx(0.25)
    assert (target.target_system, target.target_component) == (1, 1)
    sent = vehicle.status().link.setpoints
    for thrust in (-0.001, SCALE_M_S2 * 1.0001, float("nan")):
        with pytest.raises(InputError, match="throttle"):
            vehicle.send(Setpoint(np.zeros(3), thrust))
    with pytest.raises(InputError, match="pitch rate"):
        vehicle.send(Setpoint(np.array([0.0, float("nan"), 0.0]), 5.0))
    assert vehicle.status().link.setpoints == sent
    vehicle.close()


def test_over_udp_as_a_simulation_speaks(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    peer = ArduPilotPeer(tmp_path, udp_port=port)
    vehicle = open_vehicle(peer.uri, SCALE_M_S2)
    try:
        vehicle.connect(60.0)
        vehicle.request_mode(FlightMode.OFFBOARD)
        assert stream(vehicle, None, in_mode(vehicle, FlightMode.OFFBOARD), 60.0)
        assert stream(vehicle, None, lambda: vehicle.state() is not None, 60.0)
        assert vehicle.status().link.crc_errors == 0
    finally:
        vehicle.close()
        peer.stop()


def test_signed_with_an_independent_codec(peer: ArduPilotPeer, tmp_path: Path) -> None:
    """The key crosses once in the clear; then who has it talks, and who does not is deaf and dumb."""
    key = tmp_path / "key"
    assert main(["keys", "signing", str(key)]) == 0
    assert main(["link", peer.uri, "--timeout-s", "60", "--setup-signing", str(key)]) == 0
    with pytest.raises(LinkError, match="frames are signed; give the key"):
        open_vehicle(peer.uri, SCALE_M_S2).connect(0.7)
    vehicle = open_vehicle(f"{peer.uri}?signing={key}", SCALE_M_S2)
    vehicle.connect(60.0)
    peer.received.clear()
    vehicle.send(Setpoint(np.array([1.0, 2.0, 3.0]), 0.25 * SCALE_M_S2))
    assert until(lambda: any(x.get_type() == "SET_ATTITUDE_TARGET" and x.get_signed() for x in list(peer.received)), 5.0)
    assert stream(vehicle, None, lambda: vehicle.state() is not None, 60.0)
    vehicle.close()
    other = tmp_path / "other"
    assert main(["keys", "signing", str(other)]) == 0
    with pytest.raises(LinkError, match="signed with another key"):
        open_vehicle(f"{peer.uri}?signing={other}", SCALE_M_S2).connect(0.7)


def test_the_wrong_firmware_and_silence_are_named(tmp_path: Path) -> None:
    peer = ArduPilotPeer(tmp_path, autopilot=12)
    try:
        with pytest.raises(LinkError, match="MAV_AUTOPILOT 12, not ardupilot"):
            open_vehicle(peer.uri, SCALE_M_S2).connect(1.0)
    finally:
        peer.stop()
    master, slave = os.openpty()
    tty.setraw(slave)
    try:
        with pytest.raises(LinkError, match=r"not one byte within 0\.2 s"):
            open_vehicle(f"px4://{os.ttyname(slave)}", SCALE_M_S2).connect(0.2)
    finally:
        os.close(master)
        os.close(slave)
