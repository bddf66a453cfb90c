"""What the simulated PX4 and ArduPilot have in common: streams, parameters, texts, commands and time sync over MAVLink."""

from __future__ import annotations

import math
import struct
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from . import mavlink_messages as m
from .frames import swap_attitude, swap_body, swap_world
from .mavlink import Frame, Parser, crc, encode
from .mavlink_crc_extra import CRC_EXTRA
from .sim_firmware import FirmwareSettings, SimulatedFirmware
from .simulator import SimulatedQuadrotor

SYSTEM = 1
COMPONENT = 1
TEXT_SIZE = 50

DEFAULT_HZ = {
    m.Heartbeat: 1.0,
    m.SysStatus: 1.0,
    m.ExtendedSysState: 5.0,
    m.AttitudeQuaternion: 50.0,
    m.LocalPositionNed: 50.0,
    m.AttitudeTarget: 10.0,
}
"""What can be streamed, and at which rate where the firmware streams it unasked [Hz]."""


@dataclass(slots=True)
class Parameter:
    """One parameter of the firmware: value, and whether it is an integer that goes bytewise onto the wire, as PX4 does it."""

    value: float
    integer: bool

    def bits(self) -> int:
        """Raw 32 bits on the wire."""
        raw = struct.pack("<i", int(self.value)) if self.integer else struct.pack("<f", self.value)
        bits: int = struct.unpack("<I", raw)[0]
        return bits

    def set_bits(self, bits: int) -> None:
        """Take a value from the wire."""
        self.value = float(struct.unpack("<i" if self.integer else "<f", struct.pack("<I", bits))[0])


@dataclass(slots=True)
class Stream:
    """One periodic message: period and next time, both in simulated time [s]."""

    period_s: float
    next_s: float = 0.0


class MavlinkFirmware(SimulatedFirmware):
    """A simulated firmware that speaks MAVLink 2.

    Args:
        vehicle: The quadrotor, standing or flying.
        settings: Failsafe, clock, noise, mishaps.
    """

    autopilot_number: int
    """MAV_AUTOPILOT of its heartbeat."""

    stream_limit_hz: float
    """Greatest rate of a stream [Hz]."""

    unasked = frozenset(DEFAULT_HZ)
    """What it streams without being asked."""

    def __init__(self, vehicle: SimulatedQuadrotor, settings: FirmwareSettings | None = None) -> None:
        super().__init__(vehicle, settings)
        self.parameters: dict[str, Parameter] = {}
        self._streams = self._first_streams(0.0)
        self._sequence = 0
        self._texts = 0
        self._rejected_setpoints = 0

    def _first_streams(self, start_s: float) -> dict[type, Stream]:
        return {kind: Stream(1.0 / hz, start_s if kind in self.unasked else math.inf) for kind, hz in DEFAULT_HZ.items()}

    def parser(self) -> Parser:
        return Parser()

    def _restart(self) -> None:
        self._streams = self._first_streams(self._silent_until_s)
        self._sequence = 0

    # --- what differs -----------------------------------------------------------------------------------

    @abstractmethod
    def _on_setpoint(self, message: m.SetAttitudeTarget) -> None:
        """Take or refuse a set-point."""

    @abstractmethod
    def _do(self, message: m.CommandLong, frame: Frame) -> int:
        """Carry out a command that is not common to both; its MAV_RESULT."""

    def _on_heartbeat(self, message: m.Heartbeat) -> None:
        """Somebody lives on the other side."""

    def _hears_texts(self) -> bool:
        """Whether texts go out on this link."""
        return True

    # --- receiving --------------------------------------------------------------------------------------

    def receive(self, frame: Frame, time_s: float) -> None:
        message = frame.message
        if self.is_silent:
            return
        if isinstance(message, m.SetAttitudeTarget):
            self._on_setpoint(message)
        elif isinstance(message, m.Heartbeat):
            self._on_heartbeat(message)
        elif isinstance(message, m.Timesync) and message.tc1 == 0:
            self._on_timesync(message, time_s)
        elif isinstance(message, m.CommandLong) and message.target_system in (0, SYSTEM):
            self._on_command(message, frame)
        elif isinstance(message, m.ParamRequestRead):
            self._send_parameter(message.param_id.split(b"\x00")[0].decode("ascii", "replace"))
        elif isinstance(message, m.ParamSet):
            name = message.param_id.split(b"\x00")[0].decode("ascii", "replace")
            if name in self.parameters:
                self.parameters[name].set_bits(message.value_bits)
            self._send_parameter(name)

    def _on_timesync(self, message: m.Timesync, time_s: float) -> None:
        self._send(m.Timesync(self.clock_ns(time_s), message.ts1))

    def _on_command(self, message: m.CommandLong, frame: Frame) -> None:
        if message.command == m.CMD_SET_MESSAGE_INTERVAL:
            self._ack(message, self._set_interval(int(message.param1), message.param2))
        else:
            self._ack(message, self._do(message, frame))

    def _refuse_setpoint(self, why: str) -> None:
        """Leave a set-point out; said once."""
        self._rejected_setpoints += 1
        if self._rejected_setpoints == 1:
            self._text(4, why)

    def _set_interval(self, message_id: int, interval_us: float) -> int:
        spec = m.SPEC_BY_ID.get(message_id)
        if spec is None or spec.kind not in DEFAULT_HZ:
            return m.RESULT_UNSUPPORTED
        if interval_us < 0.0:
            period_s = math.inf
        elif interval_us == 0.0:
            period_s = 1.0 / DEFAULT_HZ[spec.kind]
        else:
            period_s = max(interval_us * 1e-6, 1.0 / self.stream_limit_hz)
        if period_s != self._streams[spec.kind].period_s or math.isinf(self._streams[spec.kind].next_s):
            # Streams of one rate share their instants, so that attitude and position hold at the same time.
            off = math.isinf(period_s)
            start_s = math.inf if off else math.ceil(self.vehicle.time_s / period_s) * period_s
            self._streams[spec.kind] = Stream(period_s, start_s)
        return m.RESULT_ACCEPTED

    # --- sending ----------------------------------------------------------------------------------------

    def _send(self, message: m.Message) -> None:
        self.outgoing.append(encode(message, self._sequence, SYSTEM, COMPONENT))
        self._sequence = (self._sequence + 1) & 0xFF

    def _text(self, severity: int, text: str) -> None:
        self.events.append(text)
        if not self._hears_texts():
            return
        data = text.encode()
        if len(data) <= TEXT_SIZE:
            self._send(m.Statustext(severity, data))
            return
        self._texts = self._texts % 0xFFFF + 1
        for number, start in enumerate(range(0, len(data) + 1, TEXT_SIZE)):
            self._send(m.Statustext(severity, data[start : start + TEXT_SIZE], self._texts, number))

    def _ack(self, message: m.CommandLong, result: int) -> None:
        self._send(m.CommandAck(message.command, result))

    def _send_parameter(self, name: str) -> None:
        parameter = self.parameters.get(name)
        if parameter is not None:
            kind = m.PARAM_INT32 if parameter.integer else m.PARAM_REAL32
            index = list(self.parameters).index(name)
            self._send(m.ParamValue(parameter.bits(), len(self.parameters), index, name.encode(), kind))

    def _talk(self) -> None:
        time_s = self.vehicle.time_s + 1e-9
        for kind, stream in self._streams.items():
            if time_s >= stream.next_s:
                stream.next_s = max(stream.next_s + stream.period_s, time_s - stream.period_s)
                self._send_estimate(self._stream_message(kind))

    def _send_estimate(self, message: m.Message) -> None:
        """Send a message of a stream; a broken estimate as what it is."""
        if self.estimator.is_broken and isinstance(message, m.AttitudeQuaternion | m.LocalPositionNed):
            self.outgoing.append(not_a_number(message, self._sequence))
            self._sequence = (self._sequence + 1) & 0xFF
            return
        self._send(message)

    def _stream_message(self, kind: type) -> m.Message:
        time_ms = self.clock_ns(self.vehicle.time_s) // 1_000_000 & 0xFFFFFFFF
        if kind is m.AttitudeQuaternion:
            attitude = self.estimator.attitude()
            return m.AttitudeQuaternion(time_ms, *swap_attitude(*attitude.quaternion_wxyz), *swap_body(*attitude.rates_rad_s))
        if kind is m.LocalPositionNed:
            place = self.estimator.place()
            return m.LocalPositionNed(time_ms, *swap_world(*place.position_m), *swap_world(*place.velocity_m_s))
        if kind is m.AttitudeTarget:
            return self._echo(time_ms)
        if kind is m.ExtendedSysState:
            return m.ExtendedSysState(0, m.LANDED_ON_GROUND if self.landed else m.LANDED_IN_AIR)
        if kind is m.SysStatus:
            millivolt = max(3000, 4150 - round(self._armed_s))
            return m.SysStatus(0, 0, self._health(), 0, millivolt, -1, 0, 0, 0, 0, 0, 0, -1)
        base = m.MODE_FLAG_CUSTOM | (m.MODE_FLAG_ARMED if self.armed else 0)
        state = m.MAV_STATE_ACTIVE if self.armed else m.MAV_STATE_STANDBY
        return m.Heartbeat(self.mode_number, m.MAV_TYPE_QUADROTOR, self.autopilot_number, base, state, 3)

    def _health(self) -> int:
        """SYS_STATUS health bits."""
        return 0

    def _echo(self, time_ms: int) -> m.AttitudeTarget:
        """What it says that it follows."""
        rates = swap_body(*self._command[0].tolist())
        return m.AttitudeTarget(time_ms, 1.0, 0.0, 0.0, 0.0, *rates, self._command[1], m.MASK_RATES_AND_THRUST)


def rates_of(message: m.SetAttitudeTarget) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Body rates of a set-point, FLU, shape (3,) [rad/s]."""
    return np.array(swap_body(message.body_roll_rate, message.body_pitch_rate, message.body_yaw_rate))


def is_finite(message: m.SetAttitudeTarget) -> bool:
    """Whether rates and thrust of a set-point are numbers."""
    return all(map(math.isfinite, (message.body_roll_rate, message.body_pitch_rate, message.body_yaw_rate, message.thrust)))


def not_a_number(message: m.AttitudeQuaternion | m.LocalPositionNed, sequence: int) -> bytes:
    """A frame of a state whose numbers are NaN, with a right CRC; our own encoder refuses to make one."""
    spec = m.SPEC_BY_KIND[type(message)]
    payload = spec.wire.pack(message.time_boot_ms, *([math.nan] * (len(message) - 1)))
    body = bytes((len(payload), 0, 0, sequence, SYSTEM, COMPONENT, spec.message_id, 0, 0)) + payload
    extra = bytes((int(f"{CRC_EXTRA[spec.message_id]:08b}"[::-1], 2),))
    return b"\xfd" + body + crc(body, extra).to_bytes(2, "little")
