"""Crazyflie over cflib (extra `crazyflie`): body rates and thrust as generic set-points, state from one log block at 100 Hz.

Address: `crazyflie:///usb/0` or `crazyflie:///radio/0/80/2M/E7E7E7E7E7`. OFFBOARD means that our set-points rule; LAND is the
high-level commander's own. When we fall silent the firmware levels after 0.5 s with the thrust kept and stops the motors after 2 s.
cflib calls back on its own thread; what it brings is queued and taken in by `poll`.
"""

from __future__ import annotations

import importlib
import math
import time
from collections import deque
from types import ModuleType
from typing import Any, Final

import numpy as np

from . import crazyflie_codec as codec
from .errors import InputError, LinkError, MissingExtraError
from .timesync import TimesyncStatistics
from .types import FlightMode, Setpoint, VehicleState
from .uri import VehicleUri
from .vehicle import Check, LinkStatistics, Vehicle, VehicleStatus

INFO_ARMED, INFO_FLYING, INFO_TUMBLED, INFO_LOCKED, INFO_CRASHED = (1 << bit for bit in (1, 4, 5, 6, 7))
STATUS_FIELDS: Final = (("supervisor.info", "uint16_t"), ("pm.vbat", "float"))
STATUS_PERIOD_MS = 100
QUEUE = 256
LAND_S = 2.0
STATUS_TIMEOUT_S = 1.0
PID_CONTROLLER = 1


def clock_ns() -> int:
    """CLOCK_MONOTONIC [ns]."""
    return time.monotonic_ns()


def _cflib(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f'a Crazyflie needs the Python package {error.name!r}; install it with: pip install "tubepilot[crazyflie]"'
        ) from error


def cflib_uri(path: str) -> str:
    """cflib's address of a path: `/usb/0` is `usb://0`.

    Raises:
        InputError: it is neither USB nor radio.
    """
    kind, _, rest = path.lstrip("/").partition("/")
    if kind not in ("usb", "radio") or not rest:
        raise InputError(f"{path!r} is no Crazyflie; write crazyflie:///usb/0 or crazyflie:///radio/0/80/2M/E7E7E7E7E7")
    return f"{kind}://{rest}"


class CrazyflieVehicle(Vehicle):
    """One Crazyflie.

    Args:
        uri: Its address.
        thrust_scale_m_s2: Collective acceleration at full thrust [m/s^2].
    """

    stream_remedy = "it logs at 100 Hz at the most: fly a bundle that ticks at 100 Hz"

    def __init__(self, uri: VehicleUri, thrust_scale_m_s2: float) -> None:
        self._address, self._thrust_scale_m_s2 = cflib_uri(uri.device), thrust_scale_m_s2
        self._cf: Any = None
        self._incoming: deque[tuple[str, int, int, dict[str, Any]]] = deque(maxlen=QUEUE)
        self._words: deque[str] = deque(maxlen=20)
        self._clock = codec.OneWayClock()
        self._state: VehicleState | None = None
        self._info, self._info_ns = 0, 0
        self._battery_v: float | None = None
        self._connected, self._claimed = False, False
        self._landing_ns: int | None = None
        self._arrivals: deque[int] = deque(maxlen=512)
        self._frames = self._refused = self._setpoints = self._losses = 0
        self._last_ms: int | None = None
        self._lost = 0

    # --- link -------------------------------------------------------------------------------------------

    def connect(self, timeout_s: float) -> None:
        _cflib("cflib.crtp").init_drivers()
        self._cf = cf = _cflib("cflib.crazyflie").Crazyflie(rw_cache=None)
        failures: list[str] = []
        cf.fully_connected.add_callback(lambda _: setattr(self, "_connected", True))
        cf.connection_failed.add_callback(lambda _, why: failures.append(str(why)))
        cf.connection_lost.add_callback(lambda _, why: self._on_lost(str(why)))
        cf.console.receivedChar.add_callback(self._words.append)
        cf.open_link(self._address)
        deadline_s = time.monotonic() + timeout_s
        while not self._connected and not failures and time.monotonic() < deadline_s:
            time.sleep(0.02)
        if not self._connected:
            cf.close_link()
            why = failures[0] if failures else f"no answer within {timeout_s:g} s"
            raise LinkError(f"{self._address}: {why}; check power, cable or radio, and the udev rule of `tubepilot install-service`")
        self._log("status", STATUS_FIELDS, STATUS_PERIOD_MS)

    def _log(self, name: str, variables: tuple[tuple[str, str], ...], period_ms: int) -> None:
        block = _cflib("cflib.crazyflie.log").LogConfig(name=name, period_in_ms=period_ms)
        for variable, kind in variables:
            block.add_variable(variable, kind)
        self._cf.log.add_config(block)
        block.data_received_cb.add_callback(
            lambda stamp_ms, data, block: self._incoming.append((block.name, int(stamp_ms), clock_ns(), data))
        )
        block.start()

    def _on_lost(self, why: str) -> None:
        self._connected = False
        self._losses += 1
        self._words.append(f"tubepilot: link lost: {why}")

    def poll(self) -> None:
        while self._incoming:
            name, stamp_ms, arrived_ns, data = self._incoming.popleft()
            self._frames += 1
            if name == "status":
                self._info, self._battery_v = int(data["supervisor.info"]), float(data["pm.vbat"])
                self._info_ns = arrived_ns
            else:
                self._on_state(stamp_ms, arrived_ns, data)
        if self._landing_ns is not None and clock_ns() - self._landing_ns > 1e9 * (LAND_S + 0.5) and self._info & INFO_ARMED:
            self._arming(False)

    def _on_state(self, stamp_ms: int, arrived_ns: int, data: dict[str, Any]) -> None:
        try:
            found = codec.state(tuple(int(data[name]) for name, _ in codec.STATE_FIELDS))
        except (KeyError, ValueError, TypeError, OverflowError):
            self._refused += 1
            return
        if self._last_ms is not None and 10 < stamp_ms - self._last_ms < 1000:
            self._lost += (stamp_ms - self._last_ms) // 10 - 1
        self._last_ms = stamp_ms
        self._arrivals.append(arrived_ns)
        self._state = VehicleState(
            self._clock.local_ns(stamp_ms, arrived_ns),
            np.array(found.position_m),
            np.array(found.velocity_m_s),
            np.array(found.quaternion_wxyz),
            np.array(found.rates_rad_s),
        )

    def wait_until(self, deadline_ns: int) -> None:
        while (left_ns := deadline_ns - clock_ns()) > 0:
            time.sleep(min(left_ns * 1e-9, 0.001))
            self.poll()

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        if self._cf is not None:
            self._cf.close_link()
            self._connected = False

    def heartbeat(self) -> None:
        """cflib keeps the link alive by itself."""

    # --- what the runtime reads -----------------------------------------------------------------------------

    def state(self) -> VehicleState | None:
        return self._state if self._connected else None

    def status(self) -> VehicleStatus:
        fresh = self._connected and clock_ns() - self._info_ns < 1e9 * STATUS_TIMEOUT_S
        landed = not self._info & INFO_FLYING if fresh else None
        armed = bool(self._info & INFO_ARMED)
        return VehicleStatus(self._mode(fresh), armed, landed, self._battery_v, tuple(self._words), self.link_statistics())

    def _mode(self, fresh: bool) -> FlightMode:
        if not fresh:
            return FlightMode.UNKNOWN
        if self._info & (INFO_LOCKED | INFO_CRASHED | INFO_TUMBLED):
            return FlightMode.TERMINATE
        if self._landing_ns is not None:
            return FlightMode.LAND
        return FlightMode.OFFBOARD if self._claimed else FlightMode.HOLD

    def link_statistics(self) -> LinkStatistics:
        """Counts and ages at this moment; cflib does not tell bytes."""
        now_ns = clock_ns()
        while self._arrivals and now_ns - self._arrivals[0] > 1_000_000_000:
            self._arrivals.popleft()
        age_s = math.inf if self._info_ns == 0 else (now_ns - self._info_ns) * 1e-9
        state = self.state()
        return LinkStatistics(
            connected=self._connected and age_s < STATUS_TIMEOUT_S,
            bytes_in=0,
            bytes_out=0,
            frames=self._frames,
            lost=self._lost,
            reordered=0,
            crc_errors=0,
            signed=0,
            refused_writes=0,
            reconnects=self._losses,
            setpoints=self._setpoints,
            heartbeat_age_s=age_s,
            state_age_ms=math.inf if state is None else (now_ns - state.t_ns) * 1e-6,
            state_hz=float(len(self._arrivals)),
            refused_states=(("not a state", self._refused),) if self._refused else (),
            timesync=TimesyncStatistics(self._frames, 0, 0, 0.0, 0.0),
            low_latency=None,
        )

    # --- what the runtime asks --------------------------------------------------------------------------------

    def send(self, setpoint: Setpoint) -> None:
        roll, pitch, yaw = (float(rate) for rate in setpoint.rates_rad_s)
        payload = codec.manual_setpoint((roll, pitch, yaw), setpoint.thrust_m_s2 / self._thrust_scale_m_s2)
        if not self._connected:
            return
        packet = _cflib("cflib.crtp.crtpstack").CRTPPacket()
        packet.port, packet.channel, packet.data = codec.PORT_SETPOINT_GENERIC, 0, bytearray(payload)
        self._cf.send_packet(packet)
        self._setpoints += 1

    def request_streams(self, rate_hz: float) -> None:
        """Start the log block of the state.

        Raises:
            InputError: not 1..100 Hz, which is all that the firmware logs.
        """
        if not 1.0 <= rate_hz <= 100.0:
            raise InputError(f"stream rate is {rate_hz!r} Hz; a Crazyflie logs at 1..100 Hz")
        self._log("state", codec.STATE_FIELDS, 10 * max(round(100.0 / rate_hz), 1))

    def request_mode(self, mode: FlightMode) -> None:
        if mode is FlightMode.OFFBOARD:
            self._claimed, self._landing_ns = True, None
        elif mode is FlightMode.LAND:
            if self._landing_ns is None:
                self._landing_ns = clock_ns()
                self._cf.commander.send_notify_setpoint_stop()
                self._cf.high_level_commander.land(0.0, LAND_S)
        else:
            raise InputError(f"a Crazyflie has no mode for {mode.value!r}; it has offboard and land")

    def _arming(self, arm: bool) -> None:
        target = self._cf.supervisor if hasattr(self._cf, "supervisor") else self._cf.platform
        target.send_arming_request(arm)

    def request_arm(self, arm: bool, force: bool = False) -> None:
        if force and not arm:
            self._cf.loc.send_emergency_stop()
        else:
            self._arming(arm)

    def preflight(self, timeout_s: float = 3.0) -> tuple[Check, ...]:
        value = self._cf.param.get_value("stabilizer.controller")
        locked = bool(self._info & (INFO_LOCKED | INFO_CRASHED | INFO_TUMBLED))
        return (
            Check("stabilizer.controller", int(value) == PID_CONTROLLER, f"{value}: rate set-points need the PID controller, 1"),
            Check("supervisor", not locked, f"state bits {self._info:#06x}: locked, crashed or tumbled needs a restart"),
        )
