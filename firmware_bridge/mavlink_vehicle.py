"""What PX4 and ArduPilot have in common: the MAVLink conversation of one companion with one flight controller."""

from __future__ import annotations

import math
import struct
import time
from abc import abstractmethod
from collections import deque
from pathlib import Path

from . import mavlink_messages as m
from .codec_exercise import CodecExercise
from .echo import EchoOf, EchoWatch
from .errors import InputError, LinkError
from .frames import swap_body
from .mavlink import Frame, Parser, encode, rates_and_thrust
from .mavlink_intake import SequenceCounts, Texts
from .mavlink_silence import why_silent
from .signing import Signer, read_key
from .state import Refusal, StateMerger
from .thrust import ThrustMap
from .timesync import ClockFit
from .transport import make_transport
from .types import FlightMode, Setpoint, VehicleState
from .uri import VehicleUri
from .vehicle import Check, LinkStatistics, Vehicle, VehicleStatus

OUR_SYSTEM = 245
"""Our MAVLink system id; not 255, which ArduPilot's ground-station failsafe listens to."""

OUR_COMPONENT = 191
"""MAV_COMP_ID_ONBOARD_COMPUTER."""

HEARTBEAT_PERIOD_NS = 1_000_000_000
TIMESYNC_PERIOD_NS = 100_000_000
TIMESYNC_HURRY_NS = 20_000_000
"""Period of time sync while states arrive with impossible ages: the clock of the other side jumped or paused [ns]."""
CREDIBLE_AGE_NS = (-5_000_000, 25_000_000)
"""Age of a state on arrival by the present fit; outside, the fit is doubted rather than the line [ns]."""
HEARTBEAT_TIMEOUT_S = 3.0
ECHO_HZ = 10.0
"""How often we ask what the flight controller follows now [Hz]."""


def clock_ns() -> int:
    """CLOCK_MONOTONIC [ns]."""
    return time.monotonic_ns()


class MavlinkVehicle(Vehicle):
    """One MAVLink flight controller on a serial device.

    Args:
        uri: Where it is; thrust curve, battery and signing key.
        thrust_scale_m_s2: Collective acceleration at throttle 1 [m/s^2].
    """

    autopilot: int
    """MAV_AUTOPILOT value of the firmware; heartbeats of others are not ours."""

    echo_of = EchoOf.RATES
    """What of a set-point it gives back unchanged."""

    def __init__(self, uri: VehicleUri, thrust_scale_m_s2: float) -> None:
        self._uri = uri
        self._thrust = ThrustMap(thrust_scale_m_s2, uri.curve, uri.full_v)
        self._transport = make_transport(uri)
        self._signer = Signer(read_key(Path(uri.signing))) if uri.signing else None
        self._parser = Parser(self._signer)
        self._exercise = CodecExercise()
        self._merger = StateMerger()
        self._clock = ClockFit()
        self._sequence = 0
        self._system = 0
        self._component = 0
        self._sequences = SequenceCounts()
        self._setpoints = 0
        self._other_autopilot: int | None = None
        self._heartbeat_ns: int | None = None
        self._custom_mode: int | None = None
        self._armed = False
        self._landed: bool | None = None
        self._battery_v: float | None = None
        self._health: int | None = None
        self._texts = Texts()
        self._acks: deque[m.CommandAck] = deque(maxlen=20)
        self._parameters: dict[str, m.ParamValue] = {}
        self._arrivals: deque[int] = deque(maxlen=512)
        self._next_heartbeat_ns = 0
        self._next_timesync_ns = 0
        self._timesync_sent: deque[int] = deque(maxlen=20)
        self._clock_doubted = False
        self._counts: dict[int, int] = {}
        self._echo = EchoWatch(self.echo_of)
        self._stream_hz = 0.0

    # --- what differs between firmwares ---------------------------------------------------------------

    @abstractmethod
    def _mode_of(self, custom_mode: int) -> FlightMode:
        """Meaning of HEARTBEAT.custom_mode."""

    @abstractmethod
    def _mode_command(self, mode: FlightMode) -> tuple[float, float, float]:
        """Parameters 1 to 3 of DO_SET_MODE.

        Raises:
            InputError: the firmware has no such mode.
        """

    # --- link -----------------------------------------------------------------------------------------

    def connect(self, timeout_s: float) -> None:
        deadline_ns = clock_ns() + round(timeout_s * 1e9)
        self._transport.open()
        while True:
            self.poll()
            if self._heartbeat_ns is not None and self._clock.locked:
                return
            left_s = (deadline_ns - clock_ns()) * 1e-9
            if left_s <= 0.0:
                break
            self._wait(min(left_s, 0.02))
        self._transport.close()
        heard = self._heartbeat_ns is not None
        raise LinkError(why_silent(self._uri, self._parser.counts, heard, self._other_autopilot, self.autopilot, timeout_s))

    def _wait(self, seconds: float) -> None:
        self._transport.wait(seconds)

    def wait_until(self, deadline_ns: int) -> None:
        while (left_ns := deadline_ns - clock_ns()) > 0:
            self._wait(left_ns * 1e-9)
            if clock_ns() < deadline_ns:
                self.poll()

    def pre_warm(self) -> None:
        self._exercise.prepare()
        self._exercise.once()

    def fileno(self) -> int:
        return self._transport.fileno()

    def poll(self) -> None:
        if not self._transport.is_open:
            if not self._transport.reopen():
                return
            self._parser.reset()
            self._merger.reset()
            self._clock.reset()
            self._sequences.begin_anew()
            self._next_heartbeat_ns = 0
        self._take_in()
        now_ns = clock_ns()
        if now_ns >= self._next_heartbeat_ns:
            self._next_heartbeat_ns = now_ns + HEARTBEAT_PERIOD_NS
            self.heartbeat()
            self._keep_streams()
        if now_ns >= self._next_timesync_ns:
            self._next_timesync_ns = now_ns + (TIMESYNC_HURRY_NS if self._clock_doubted else TIMESYNC_PERIOD_NS)
            self._timesync_sent.append(now_ns)
            self._send(m.Timesync(0, now_ns))
        self._transport.flush()

    def _take_in(self) -> None:
        data = self._transport.read()
        if data:
            now_ns = clock_ns()
            for frame in self._parser.feed(data):
                self._receive(frame, now_ns)

    def close(self) -> None:
        self._transport.close()

    def _send(self, message: m.Message, component: int = OUR_COMPONENT) -> bool:
        frame = encode(message, self._sequence, OUR_SYSTEM, component, self._signer)
        if not self._transport.write(frame):
            return False
        self._sequence = (self._sequence + 1) & 0xFF
        return True

    def heartbeat(self) -> None:
        self._send(
            m.Heartbeat(0, m.MAV_TYPE_ONBOARD_CONTROLLER, m.MAV_AUTOPILOT_INVALID, 0, m.MAV_STATE_ACTIVE, 3)
        )

    # --- receiving ------------------------------------------------------------------------------------

    def _receive(self, frame: Frame, now_ns: int) -> None:
        self._sequences.see(frame.system, frame.component, frame.sequence)
        self._counts[frame.message_id] = self._counts.get(frame.message_id, 0) + 1
        message = frame.message
        if isinstance(message, m.Heartbeat):
            self._on_heartbeat(frame, message, now_ns)
            return
        if frame.system != self._system or frame.component != self._component:
            return
        if isinstance(message, m.AttitudeQuaternion):
            if self._note(self._merger.add_attitude(message)):
                self._arrivals.append(now_ns)
                self._doubt_clock(message.time_boot_ms, now_ns)
        elif isinstance(message, m.LocalPositionNed):
            self._note(self._merger.add_position(message))
        elif isinstance(message, m.AttitudeTarget):
            self._echo.heard(message, now_ns)
        elif isinstance(message, m.Timesync):
            self._on_timesync(message, now_ns)
        elif isinstance(message, m.ExtendedSysState):
            self._landed = {m.LANDED_ON_GROUND: True, m.LANDED_IN_AIR: False, 3: False, 4: False}.get(
                message.landed_state
            )
        elif isinstance(message, m.SysStatus):
            self._health = message.onboard_control_sensors_health
            known = message.voltage_battery != 0xFFFF
            self._battery_v = message.voltage_battery * 1e-3 if known else None
            if self._battery_v is not None:
                self._thrust.see_battery(self._battery_v, now_ns)
        elif isinstance(message, m.Statustext):
            self._texts.see(message)
        elif isinstance(message, m.CommandAck):
            self._acks.append(message)
        elif isinstance(message, m.ParamValue):
            self._parameters[_text(message.param_id)] = message

    def _doubt_clock(self, time_boot_ms: int, now_ns: int) -> None:
        """Synchronise more often while states seem to come from long ago or from the future.

        PX4's simulation pauses its clock whenever the machine is late; without hurry a second passes until it is found out.
        """
        local_ns = self._clock.to_local_ns(time_boot_ms * 1_000_000)
        doubted = local_ns is not None and not CREDIBLE_AGE_NS[0] <= now_ns - local_ns <= CREDIBLE_AGE_NS[1]
        if doubted and not self._clock_doubted:
            self._next_timesync_ns = min(self._next_timesync_ns, now_ns + TIMESYNC_HURRY_NS)
        self._clock_doubted = doubted

    def _note(self, refused: Refusal | None) -> bool:
        if refused is Refusal.REBOOT:
            self._clock.reset()
            self._texts.say("tubepilot: the flight controller restarted (its clock went back)")
        return refused is None

    def _on_heartbeat(self, frame: Frame, message: m.Heartbeat, now_ns: int) -> None:
        if message.autopilot != self.autopilot:
            if message.autopilot != m.MAV_AUTOPILOT_INVALID:
                self._other_autopilot = message.autopilot
            return
        if self._heartbeat_ns is None:
            self._system, self._component = frame.system, frame.component
        elif (frame.system, frame.component) != (self._system, self._component):
            return
        self._heartbeat_ns = now_ns
        self._custom_mode = message.custom_mode
        self._armed = bool(message.base_mode & m.MODE_FLAG_ARMED)

    def _on_timesync(self, message: m.Timesync, now_ns: int) -> None:
        if message.tc1 == 0:
            self._send(m.Timesync(now_ns, message.ts1))
        elif message.ts1 in self._timesync_sent:
            self._timesync_sent.remove(message.ts1)
            self._clock.add(message.ts1, message.tc1, now_ns)

    # --- what the runtime reads -------------------------------------------------------------------------

    def state(self) -> VehicleState | None:
        if not self._transport.is_open or not self._clock.fresh(clock_ns()):
            return None
        return self._merger.state(self._clock)

    def status(self) -> VehicleStatus:
        mode = FlightMode.UNKNOWN if self._custom_mode is None else self._mode_of(self._custom_mode)
        link = self.link_statistics()
        return VehicleStatus(mode, self._armed, self._landed, self._battery_v, tuple(self._texts.kept), link)

    def message_counts(self) -> dict[str, int]:
        names = {number: spec.kind.__name__ for number, spec in m.SPEC_BY_ID.items()}
        return {names.get(number, f"#{number}"): count for number, count in sorted(self._counts.items())}

    def echo_ms(self) -> tuple[float, ...]:
        return tuple(self._echo.ages_ms)

    def link_statistics(self) -> LinkStatistics:
        """Counts and ages at this moment."""
        now_ns, counts, transport = clock_ns(), self._parser.counts, self._transport
        age_s = math.inf if self._heartbeat_ns is None else (now_ns - self._heartbeat_ns) * 1e-9
        state = self.state()
        return LinkStatistics(
            connected=transport.is_open and age_s < HEARTBEAT_TIMEOUT_S,
            bytes_in=counts.bytes_in,
            bytes_out=transport.bytes_out,
            frames=counts.frames,
            lost=self._sequences.lost,
            reordered=self._sequences.reordered,
            crc_errors=counts.crc_errors,
            signed=counts.signed,
            refused_writes=transport.refused_writes,
            reconnects=transport.losses,
            setpoints=self._setpoints,
            heartbeat_age_s=age_s,
            state_age_ms=math.inf if state is None else (now_ns - state.t_ns) * 1e-6,
            state_hz=self._state_hz(now_ns),
            refused_states=tuple((r.value, n) for r, n in self._merger.refusals.items() if n),
            timesync=self._clock.statistics(),
            low_latency=transport.low_latency,
        )

    # --- what the runtime asks --------------------------------------------------------------------------

    def send(self, setpoint: Setpoint) -> None:
        roll, pitch, yaw = (float(rate) for rate in setpoint.rates_rad_s)
        throttle = self._thrust.throttle(setpoint.thrust_m_s2)
        message = rates_and_thrust(
            clock_ns() // 1_000_000, swap_body(roll, pitch, yaw), throttle, self._system, self._component
        )
        if self._send(message):
            self._setpoints += 1
            self._echo.sent(message, clock_ns())
        # Read once more: an answer to time sync that came while the set-point was computed need not wait a tick.
        self._take_in()

    def _command(self, command: int, *parameters: float) -> None:
        p1, p2, p3 = (*parameters, 0.0, 0.0, 0.0)[:3]
        self._send(m.CommandLong(p1, p2, p3, 0.0, 0.0, 0.0, 0.0, command, self._system, self._component, 0))

    def request_streams(self, rate_hz: float) -> None:
        if not 1.0 <= rate_hz <= 400.0:
            raise InputError(f"stream rate is {rate_hz!r} Hz; it must be 1..400 Hz")
        self._stream_hz = rate_hz
        for kind in (m.AttitudeQuaternion, m.LocalPositionNed):
            self._interval(kind, self._asked_hz(rate_hz))
        self._interval(m.AttitudeTarget, ECHO_HZ)
        self._interval(m.ExtendedSysState, 5.0)
        self._interval(m.SysStatus, 1.0)

    def _asked_hz(self, rate_hz: float) -> float:
        """Rate to ask of a state message so that it comes at least at `rate_hz` [Hz]."""
        return rate_hz

    def _interval(self, kind: type, rate_hz: float) -> None:
        message_id = m.SPEC_BY_KIND[kind].message_id
        self._command(m.CMD_SET_MESSAGE_INTERVAL, float(message_id), round(1e6 / rate_hz))

    def _keep_streams(self) -> None:
        """Ask again when the rate fell: the flight controller restarted, or another station changed it."""
        slow = self._state_hz(clock_ns()) < 0.8 * self._stream_hz
        if slow and self._heartbeat_ns is not None:
            self.request_streams(self._stream_hz)

    def _state_hz(self, now_ns: int) -> float:
        """Attitude messages over the last second [Hz]."""
        arrivals = self._arrivals
        while arrivals and now_ns - arrivals[0] > 1_000_000_000:
            arrivals.popleft()
        return float(len(arrivals))

    def request_mode(self, mode: FlightMode) -> None:
        self._command(m.CMD_DO_SET_MODE, *self._mode_command(mode))

    def request_arm(self, arm: bool, force: bool = False) -> None:
        self._command(m.CMD_ARM_DISARM, float(arm), m.FORCE_MAGIC if force else 0.0)

    def setup_signing(self, key: bytes) -> None:
        """Give the flight controller the key with which it signs and wants frames signed from now on.

        The key crosses the line in the clear: use a cable. It is not acknowledged; connect anew with the key to see that it holds.

        Args:
            key: 32 bytes, as `signing.read_key` gives them.
        """
        self._send(m.SetupSigning(Signer(key).now(), self._system, self._component, key))

    # --- parameters -------------------------------------------------------------------------------------

    def read_parameter(self, name: str, timeout_s: float = 1.0) -> float | None:
        """Read one parameter back, asking again every 0.2 s; None if nobody answers. Blocks: not for the tick loop."""
        self._parameters.pop(name, None)
        deadline_s = time.monotonic() + timeout_s
        next_ask_s = 0.0
        while time.monotonic() < deadline_s:
            if time.monotonic() >= next_ask_s:
                next_ask_s = time.monotonic() + 0.2
                self._send(m.ParamRequestRead(-1, self._system, self._component, name.encode()))
            self._wait(0.02)
            self.poll()
            answer = self._parameters.get(name)
            if answer is not None:
                return self._parameter_value(answer)
        return None

    def _parameter_value(self, answer: m.ParamValue) -> float:
        """Value of a parameter; ArduPilot sends every type as a float."""
        value: float = struct.unpack("<f", struct.pack("<I", answer.value_bits))[0]
        return value

    @abstractmethod
    def preflight(self, timeout_s: float = 3.0) -> tuple[Check, ...]: ...


def _text(raw: bytes) -> str:
    return raw.split(b"\x00")[0].decode("ascii", "replace")
