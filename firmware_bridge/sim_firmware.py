"""The simulated firmware without its process: modes, arming, failsafe, parameters and streams, PX4-like.

It behaves as PX4 v1.17 was measured to: DO_SET_MODE is acknowledged twice and the first acknowledgement always says
ACCEPTED; OFFBOARD is accepted on the ground without set-points but arming is then denied; in the air it needs a
stream. When set-points stop in OFFBOARD for `COM_OF_LOSS_T`, it lands by itself and disarms, and takes OFFBOARD
again when set-points are back. Time here is simulated time; the process around it makes it real.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

import numpy as np

from . import mavlink_messages as m
from .autopilot import Autopilot, Goal
from .errors import InputError
from .frames import swap_attitude, swap_body, swap_world, turned
from .mavlink import Frame, encode
from .px4 import AUTO, AUTO_LAND, AUTO_LOITER, AUTO_RTL, AUTO_TAKEOFF, OFFBOARD, POSITION, custom_mode
from .simulator import SimulatedQuadrotor
from .types import Vector

SYSTEM = 1
COMPONENT = 1
STREAM_LIMIT_HZ = 250.0
AUTOPILOT_STEPS = 3
"""Physics steps per pass of the autopilot: 100 Hz at 300 Hz."""

DISARM_LANDED_S = 1.0
DISARM_PREFLIGHT_S = 10.0
LANDED_S = 0.3
TEXT_SIZE = 50
GROUND_TIMEOUT_S = 2.5
"""Texts go out only for so long after a ground station's heartbeat (PX4 v1.17 streams/STATUSTEXT.hpp, TelemetryStatus.msg) [s]."""
POSITION_BOUND_M = 0.01
VELOCITY_BOUND_M_S = 0.02
ATTITUDE_BOUND_RAD = 0.002
RATES_BOUND_RAD_S = 0.02
SIGMAS = 3.0
"""Estimator noise is normal with a standard deviation of bound / SIGMAS, redrawn beyond the bound."""

DEFAULT_HZ = {
    m.Heartbeat: 1.0,
    m.SysStatus: 1.0,
    m.ExtendedSysState: 5.0,
    m.AttitudeQuaternion: 50.0,
    m.LocalPositionNed: 50.0,
    m.AttitudeTarget: 10.0,
}

GOALS = {AUTO_LOITER: Goal.HOLD, AUTO_TAKEOFF: Goal.TAKEOFF, AUTO_RTL: Goal.RETURN, AUTO_LAND: Goal.LAND}
NAMES = {AUTO_LOITER: "hold", AUTO_TAKEOFF: "takeoff", AUTO_RTL: "return", AUTO_LAND: "land"}


@dataclass(slots=True)
class Parameter:
    """One parameter of the firmware: value, and whether it is an integer."""

    value: float
    integer: bool

    def bits(self) -> int:
        """Raw 32 bits as PX4 puts them on the wire."""
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


@dataclass(slots=True)
class OffboardInput:
    """Newest set-point from the companion: body rates FLU [rad/s], throttle 0..1, time of arrival [s]."""

    rates_rad_s: Vector = field(default_factory=lambda: np.zeros(3))
    throttle: float = 0.0
    time_s: float = -math.inf


class SimulatedFirmware:
    """The flight controller's program around one simulated quadrotor.

    Args:
        vehicle: The quadrotor, standing or flying.
        failsafe_s: Silence in OFFBOARD after which it lands (`COM_OF_LOSS_T`) [s].
        seed: Seed of the estimator noise.
        boot_offset_ns: Its clock at simulated time 0 [ns].
        skew: Rate of its clock over simulated time, minus 1.
        noise: Whether the streamed state carries estimator noise.
    """

    def __init__(
        self,
        vehicle: SimulatedQuadrotor,
        failsafe_s: float = 0.5,
        seed: int = 0,
        boot_offset_ns: int = 0,
        skew: float = 0.0,
        noise: bool = True,
    ) -> None:
        if not 0.05 <= failsafe_s <= 60.0:
            raise InputError(f"failsafe time is {failsafe_s!r} s; it must be 0.05..60 s (COM_OF_LOSS_T)")
        if not -0.1 <= skew <= 0.1:
            raise InputError(f"clock skew is {skew!r}; it must be within +-0.1")
        self.vehicle = vehicle
        self.autopilot = Autopilot(vehicle)
        self.parameters = {
            "COM_OF_LOSS_T": Parameter(failsafe_s, False),
            "COM_OBL_RC_ACT": Parameter(4, True),
            "COM_RC_OVERRIDE": Parameter(3, True),
        }
        self.main, self.sub = AUTO, AUTO_LOITER
        self.armed = False
        self.landed = vehicle.on_ground
        self.failsafes = 0
        self.setpoints = 0
        self.outgoing: list[bytes] = []
        self.events: list[str] = []
        self._noise = np.random.default_rng(seed) if noise else None
        self._boot_offset_ns = boot_offset_ns
        self.paused_ns = 0
        self._rate = 1.0 + skew
        self._offboard = OffboardInput()
        self._streams = {kind: Stream(1.0 / hz) for kind, hz in DEFAULT_HZ.items()}
        self._sequence = 0
        self._steps = 0
        self._grounded_s = 0.0
        self._armed_s = 0.0
        self._flown = False
        self._ground_heard_s = -math.inf
        self._command = (np.zeros(3), 0.0)
        self._rejected_masks = 0
        self._texts = 0

    @property
    def command(self) -> tuple[Vector, float]:
        """What the rate loop follows now: body rates FLU, shape (3,) [rad/s], and throttle 0..1."""
        return self._command if self.armed else (np.zeros(3), 0.0)

    @property
    def setpoint_time_s(self) -> float:
        """Simulated time of the newest set-point from outside; minus infinity before the first [s]."""
        return self._offboard.time_s

    # --- time -----------------------------------------------------------------------------------------

    def clock_ns(self, time_s: float) -> int:
        """This flight controller's clock at a simulated time [ns]; it runs on while the physics pause."""
        return self._boot_offset_ns + round((time_s * 1e9 + self.paused_ns) * self._rate)

    # --- physics and control --------------------------------------------------------------------------

    def step(self, dt_s: float) -> None:
        """Advance control, physics, failsafe and streams by one physics step."""
        vehicle = self.vehicle
        self._check_failsafe()
        if not self.armed:
            vehicle.step_motors(np.zeros(4), dt_s)
        else:
            if (self.main, self.sub) == (OFFBOARD, 0):
                self._command = (self._offboard.rates_rad_s, self._offboard.throttle)
            elif self._steps % AUTOPILOT_STEPS == 0:
                self._command = self.autopilot.update(dt_s * AUTOPILOT_STEPS)
            vehicle.step(self._command[0], self._command[1], dt_s)
            self._armed_s += dt_s
        self._steps += 1
        self._check_ground(dt_s)
        self._send_streams()

    def _offboard_age_s(self) -> float:
        return self.vehicle.time_s - self._offboard.time_s

    def _offboard_fresh(self) -> bool:
        return self._offboard_age_s() <= self.parameters["COM_OF_LOSS_T"].value

    def _check_failsafe(self) -> None:
        if self.armed and self.main == OFFBOARD and not self._offboard_fresh():
            self.failsafes += 1
            self._text(3, "Failsafe: no offboard set-points, landing")
            self._enter(AUTO, AUTO_LAND)

    def _check_ground(self, dt_s: float) -> None:
        self._grounded_s = self._grounded_s + dt_s if self.vehicle.on_ground else 0.0
        if not self.vehicle.on_ground:
            self._flown = self._flown or self.armed
        was, self.landed = self.landed, self._grounded_s >= LANDED_S or (self.landed and self.vehicle.on_ground)
        if self.landed and not was:
            self._text(6, "Landing detected")
        if not self.armed or not self.landed:
            return
        if self._flown and self._grounded_s >= DISARM_LANDED_S and self._command[1] < 0.1:
            self._disarm("Disarmed by landing")
        elif not self._flown and self._armed_s >= DISARM_PREFLIGHT_S:
            self._disarm("Disarmed by auto preflight disarming")

    def _disarm(self, why: str) -> None:
        self.armed = False
        self._text(6, why)

    def _enter(self, main: int, sub: int) -> None:
        if (main, sub) == (self.main, self.sub):
            return
        self.main, self.sub = main, sub
        name = "offboard" if main == OFFBOARD else NAMES.get(sub, "position")
        self.events.append(f"mode {name}")
        if main != OFFBOARD:
            self.autopilot.start(GOALS.get(sub, Goal.HOLD))

    # --- receiving ------------------------------------------------------------------------------------

    def receive(self, frame: Frame, time_s: float) -> None:
        """Act on one frame.

        Args:
            frame: What the companion sent.
            time_s: Simulated time of its arrival [s].
        """
        message = frame.message
        if isinstance(message, m.SetAttitudeTarget):
            self._on_setpoint(message)
        elif isinstance(message, m.Heartbeat) and message.type == m.MAV_TYPE_GCS:
            self._ground_heard_s = self.vehicle.time_s
        elif isinstance(message, m.Timesync) and message.tc1 == 0:
            self._send(m.Timesync(self.clock_ns(time_s), message.ts1))
        elif isinstance(message, m.CommandLong) and message.target_system in (0, SYSTEM):
            self._on_command(message, frame)
        elif isinstance(message, m.ParamRequestRead):
            self._send_parameter(message.param_id.split(b"\x00")[0].decode("ascii", "replace"))
        elif isinstance(message, m.ParamSet):
            name = message.param_id.split(b"\x00")[0].decode("ascii", "replace")
            if name in self.parameters:
                self.parameters[name].set_bits(message.value_bits)
            self._send_parameter(name)

    def _on_setpoint(self, message: m.SetAttitudeTarget) -> None:
        values = (message.body_roll_rate, message.body_pitch_rate, message.body_yaw_rate, message.thrust)
        if message.type_mask != m.MASK_RATES_AND_THRUST or not all(map(math.isfinite, values)):
            self._rejected_masks += 1
            if self._rejected_masks == 1:
                self._text(4, "Set-point ignored: only body rates + thrust")
            return
        roll, pitch, yaw, throttle = values
        self._offboard.rates_rad_s = np.array(swap_body(roll, pitch, yaw))
        self._offboard.throttle = min(max(throttle, 0.0), 1.0)
        self._offboard.time_s = self.vehicle.time_s
        self.setpoints += 1

    def _on_command(self, message: m.CommandLong, frame: Frame) -> None:
        result = m.RESULT_UNSUPPORTED
        if message.command == m.CMD_DO_SET_MODE:
            self._ack(message, m.RESULT_ACCEPTED)
            result = self._set_mode(int(message.param2), int(message.param3), frame.component)
        elif message.command == m.CMD_ARM_DISARM:
            force = message.param2 == m.FORCE_MAGIC
            result = self._arm(force) if message.param1 == 1.0 else self._ask_disarm(force)
        elif message.command == m.CMD_SET_MESSAGE_INTERVAL:
            result = self._set_interval(int(message.param1), message.param2)
        elif message.command == m.CMD_NAV_TAKEOFF:
            result = self._take_off(message.param7)
        self._ack(message, result)

    def _set_mode(self, main: int, sub: int, asker: int) -> int:
        if main == OFFBOARD:
            if self.armed and not self.landed and not self._offboard_fresh():
                if asker == 190:
                    self._text(4, "Switching to mode 'Offboard' is currently not possible")
                return m.RESULT_TEMPORARILY_REJECTED
            self._enter(OFFBOARD, 0)
        elif main == AUTO and sub in GOALS:
            self._enter(AUTO, sub)
        elif main == POSITION:
            self._enter(POSITION, 0)
        else:
            return m.RESULT_UNSUPPORTED
        return m.RESULT_ACCEPTED

    def _arm(self, force: bool) -> int:
        if self.armed:
            return m.RESULT_ACCEPTED
        if self.main == OFFBOARD and not self._offboard_fresh() and not force:
            self._text(2, "Preflight Fail: no offboard set-points")
            self._text(2, "Arming denied: Resolve system health failures first")
            return m.RESULT_TEMPORARILY_REJECTED
        self.armed, self._flown, self._armed_s = True, False, 0.0
        self.autopilot.set_home()
        self.autopilot.start(GOALS.get(self.sub, Goal.HOLD))
        self._text(6, "Armed by external command")
        return m.RESULT_ACCEPTED

    def _ask_disarm(self, force: bool) -> int:
        if self.armed and not self.landed and not force:
            self._text(2, "Disarming denied: not landed")
            return m.RESULT_DENIED
        if self.armed:
            self._disarm("Disarmed by external command" + (" (forced)" if force else ""))
        return m.RESULT_ACCEPTED

    def _take_off(self, height_m: float) -> int:
        if not self.armed or not 0.2 <= height_m <= 100.0:
            return m.RESULT_TEMPORARILY_REJECTED
        self._enter(AUTO, AUTO_TAKEOFF)
        self.autopilot.start(Goal.TAKEOFF, height_m)
        return m.RESULT_ACCEPTED

    def _set_interval(self, message_id: int, interval_us: float) -> int:
        spec = m.SPEC_BY_ID.get(message_id)
        if spec is None or spec.kind not in DEFAULT_HZ:
            return m.RESULT_UNSUPPORTED
        if interval_us < 0.0:
            period_s = math.inf
        elif interval_us == 0.0:
            period_s = 1.0 / DEFAULT_HZ[spec.kind]
        else:
            period_s = max(interval_us * 1e-6, 1.0 / STREAM_LIMIT_HZ)
        if period_s != self._streams[spec.kind].period_s:
            # Streams of one rate share their instants, so that attitude and position hold at the same time.
            off = math.isinf(period_s)
            start_s = math.inf if off else math.ceil(self.vehicle.time_s / period_s) * period_s
            self._streams[spec.kind] = Stream(period_s, start_s)
        return m.RESULT_ACCEPTED

    # --- sending --------------------------------------------------------------------------------------

    def _send(self, message: m.Message) -> None:
        self.outgoing.append(encode(message, self._sequence, SYSTEM, COMPONENT))
        self._sequence = (self._sequence + 1) & 0xFF

    def _text(self, severity: int, text: str) -> None:
        self.events.append(text)
        if self.vehicle.time_s - self._ground_heard_s > GROUND_TIMEOUT_S:
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

    def _bounded(self, bound: float) -> Vector:
        if self._noise is None:
            return np.zeros(3)
        draw: Vector = self._noise.normal(scale=bound / SIGMAS, size=3)
        while np.abs(draw).max() > bound:
            draw = self._noise.normal(scale=bound / SIGMAS, size=3)
        return draw

    def _send_streams(self) -> None:
        time_s = self.vehicle.time_s + 1e-9
        for kind, stream in self._streams.items():
            if time_s >= stream.next_s:
                stream.next_s = max(stream.next_s + stream.period_s, time_s - stream.period_s)
                self._send(self._stream_message(kind))

    def _stream_message(self, kind: type) -> m.Message:
        vehicle = self.vehicle
        time_ms = self.clock_ns(vehicle.time_s) // 1_000_000 & 0xFFFFFFFF
        if kind is m.AttitudeQuaternion:
            w, x, y, z = vehicle.quaternion_wxyz.tolist()
            tilt = self._bounded(ATTITUDE_BOUND_RAD).tolist()
            quaternion = swap_attitude(*turned((w, x, y, z), (tilt[0], tilt[1], tilt[2]), 1.0))
            rates = (vehicle.rates_rad_s + self._bounded(RATES_BOUND_RAD_S)).tolist()
            return m.AttitudeQuaternion(time_ms, *quaternion, *swap_body(*rates))
        if kind is m.LocalPositionNed:
            position = (vehicle.position_m + self._bounded(POSITION_BOUND_M)).tolist()
            velocity = (vehicle.velocity_m_s + self._bounded(VELOCITY_BOUND_M_S)).tolist()
            return m.LocalPositionNed(time_ms, *swap_world(*position), *swap_world(*velocity))
        if kind is m.AttitudeTarget:
            rates = swap_body(*self._command[0].tolist())
            return m.AttitudeTarget(time_ms, 1.0, 0.0, 0.0, 0.0, *rates, self._command[1], 128)
        if kind is m.ExtendedSysState:
            return m.ExtendedSysState(0, m.LANDED_ON_GROUND if self.landed else m.LANDED_IN_AIR)
        if kind is m.SysStatus:
            millivolt = max(3000, 4150 - round(self._armed_s))
            return m.SysStatus(0, 0, 0, 0, millivolt, -1, 0, 0, 0, 0, 0, 0, -1)
        base = m.MODE_FLAG_CUSTOM | (m.MODE_FLAG_ARMED if self.armed else 0)
        state = m.MAV_STATE_ACTIVE if self.armed else m.MAV_STATE_STANDBY
        mode = custom_mode(self.main, self.sub)
        return m.Heartbeat(mode, m.MAV_TYPE_QUADROTOR, m.MAV_AUTOPILOT_PX4, base, state, 3)
