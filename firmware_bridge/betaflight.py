"""Betaflight over MSP: body rates as sticks through the craft's own rate profile, thrust as throttle.

Betaflight knows no position; it comes from outside (`pose.py`). It has no modes of its own for us either: OFFBOARD means
that our channels rule (MSP is the receiver, or the pilot switched MSP override on), in acro. LAND is ours too: level, with
the throttle falling from just below hover, then disarm. One MSP question is answered per serial task, so
`serial_update_rate_hz` must be 1000 for 100 states a second.
"""

from __future__ import annotations

import math
import time
from collections import deque
from pathlib import Path

import numpy as np

from . import msp_messages as mm
from .betaflight_craft import CHANNELS, OFF_US, Craft, checks, read_craft
from .betaflight_gyro import GyroFit
from .errors import InputError, LinkError
from .frames import Four, Three, turned
from .mavlink import RATE_LIMIT_RAD_S
from .msp import FROM_FC, MspFrame, MspParser, encode
from .pose import Pose, PoseReceiver
from .thrust import ThrustMap
from .timesync import TimesyncStatistics
from .transport import make_transport
from .types import GRAVITY_M_S2, FlightMode, Setpoint, VehicleState
from .uri import VehicleUri
from .vehicle import Check, LinkStatistics, Vehicle, VehicleStatus

STATUS_PERIOD_NS = 100_000_000
BATTERY_PERIOD_NS = 1_000_000_000
ANSWER_LIMIT_NS = 50_000_000
"""A question not answered by then is counted as lost and asked again [ns]."""
HEARTBEAT_TIMEOUT_S = 1.0
MERGE_LIMIT_NS = 60_000_000
YAW_GAIN = 0.02
"""Share of the heading difference to the pose that is taken over with every attitude."""
LAND_SHARE, LAND_S = 0.93, 1.5
LAND_PERIOD_NS = 10_000_000
_ROOT_HALF = math.sqrt(0.5)


def clock_ns() -> int:
    """CLOCK_MONOTONIC [ns]."""
    return time.monotonic_ns()


def enu_of_nwu(w: float, x: float, y: float, z: float) -> Four:
    """Attitude in world ENU of one in world north-west-up: a quarter turn about up."""
    return _ROOT_HALF * (w - z), _ROOT_HALF * (x - y), _ROOT_HALF * (y + x), _ROOT_HALF * (z + w)


def heading_rad(q: Four) -> float:
    """Heading of an attitude, anticlockwise from the world's x axis [rad]."""
    w, x, y, z = q
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


class BetaflightVehicle(Vehicle):
    """One Betaflight flight controller on a serial device.

    Args:
        uri: Device, speed, socket for poses, thrust curve.
        thrust_scale_m_s2: Collective acceleration at full throttle [m/s^2].
    """

    stream_remedy = "raise the baud rate; it answers one question per serial task: set serial_update_rate_hz = 1000"

    def __init__(self, uri: VehicleUri, thrust_scale_m_s2: float) -> None:
        self._uri, self._thrust = uri, ThrustMap(thrust_scale_m_s2, uri.curve, uri.full_v)
        self._transport, self._parser = make_transport(uri), MspParser()
        self._poses = PoseReceiver(Path(uri.pose)) if uri.pose else None
        self._craft: Craft | None = None
        self._asked: dict[int, deque[int]] = {}
        self._answers: dict[int, bytes] = {}
        self._due_ns = dict.fromkeys((mm.ATTITUDE_QUATERNION, mm.STATUS_EX, mm.BATTERY_STATE), 0)
        self._state_period_ns = 20_000_000
        self._attitude: tuple[int, Four] | None = None
        self._rates: tuple[int, Three] | None = None
        self._yaw_offset_rad: float | None = None
        self._gyro, self._gyro_said = GyroFit(), False
        self._status: mm.StatusEx | None = None
        self._status_ns = 0
        self._battery_v: float | None = None
        self._texts: deque[str] = deque(maxlen=20)
        self._flags = 0
        self._claimed, self._arm_on = False, False
        self._landing_ns: int | None = None
        self._arrivals: deque[int] = deque(maxlen=512)
        self._trips_ns: deque[int] = deque(maxlen=100)
        self._counts: dict[str, int] = {}
        self._answered = self._lost = self._refused = self._setpoints = 0

    # --- link -------------------------------------------------------------------------------------------

    def connect(self, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        self._transport.open()
        if self._poses is not None:
            self._poses.open()
        try:
            self._craft = read_craft(lambda function: self._ask_now(function, deadline_s))
            self._on_status(self._ask_now(mm.STATUS_EX, deadline_s), clock_ns())
        except (LinkError, InputError):
            self.close()
            raise

    def _ask_now(self, function: int, deadline_s: float) -> bytes:
        """Ask and wait for the answer, asking again every 0.1 s. Blocks: not for the tick loop."""
        self._answers.pop(function, None)
        while time.monotonic() < deadline_s:
            self._transport.write(encode(function))
            again_s = time.monotonic() + 0.1
            while time.monotonic() < again_s:
                self._transport.wait(0.01)
                self._take_in()
                if function in self._answers:
                    return self._answers[function]
        counts, device = self._parser.counts, self._uri.device
        if counts.frames == 0 and counts.bytes_in:
            raise LinkError(f"{device}: {counts.bytes_in} bytes came but no MSP frame; switch MSP on for this port")
        raise LinkError(f"{device}: no answer to MSP function {function}; check cable, power, and that MSP is on for this port")

    def poll(self) -> None:
        if not self._transport.is_open:
            if not self._transport.reopen():
                return
            self._parser.reset()
            self._asked.clear()
            self._attitude = self._rates = self._status = None
        self._take_in()
        if self._poses is not None:
            self._poses.poll()
        now_ns = clock_ns()
        self._ask_due(now_ns)
        if self._landing_ns is not None:
            self._land(now_ns)
        self._transport.flush()

    def _ask_due(self, now_ns: int) -> None:
        for function, period_ns in (
            (mm.ATTITUDE_QUATERNION, self._state_period_ns),
            (mm.STATUS_EX, STATUS_PERIOD_NS),
            (mm.BATTERY_STATE, BATTERY_PERIOD_NS),
        ):
            if now_ns < self._due_ns[function] or self._open(function, now_ns):
                continue
            self._due_ns[function] = max(self._due_ns[function] + period_ns, now_ns - period_ns)
            self._ask(function, now_ns)
            if function == mm.ATTITUDE_QUATERNION:
                self._ask(mm.RAW_IMU, now_ns)

    def _open(self, function: int, now_ns: int) -> bool:
        """Whether a question is still on its way; one too old is given up."""
        waiting = self._asked.get(function)
        while waiting and now_ns - waiting[0] > ANSWER_LIMIT_NS:
            waiting.popleft()
            self._lost += 1
        return bool(waiting)

    def _ask(self, function: int, now_ns: int) -> None:
        if self._transport.write(encode(function)):
            self._asked.setdefault(function, deque(maxlen=8)).append(now_ns)

    def _take_in(self) -> None:
        data = self._transport.read()
        if data:
            now_ns = clock_ns()
            for frame in self._parser.feed(data):
                self._receive(frame, now_ns)

    def _receive(self, frame: MspFrame, now_ns: int) -> None:
        if frame.direction != FROM_FC:
            self._refused += frame.direction != 0x3C
            return
        name = mm.NAMES.get(frame.function, f"#{frame.function}")
        self._counts[name] = self._counts.get(name, 0) + 1
        waiting = self._asked.get(frame.function)
        sent_ns = waiting.popleft() if waiting else now_ns
        if sent_ns != now_ns:
            self._answered += 1
            self._trips_ns.append(now_ns - sent_ns)
        middle_ns = sent_ns + (now_ns - sent_ns) // 2
        try:
            if frame.function == mm.ATTITUDE_QUATERNION:
                self._on_attitude(mm.attitude(frame.payload), middle_ns)
            elif frame.function == mm.RAW_IMU:
                x, y, z = (math.radians(rate) for rate in mm.gyro_deg_s(frame.payload, self._uri.gyro_deg_s))
                self._rates = (middle_ns, (x, y, z))
                self._arrivals.append(now_ns)
            elif frame.function == mm.STATUS_EX:
                self._on_status(frame.payload, now_ns)
            elif frame.function == mm.BATTERY_STATE and len(frame.payload) >= 11:
                self._battery_v = int.from_bytes(frame.payload[9:11], "little") * 0.01
                self._thrust.see_battery(self._battery_v, now_ns)
        except InputError as error:
            self._refused += 1
            self._texts.append(f"tubepilot: {error}")
            return
        self._answers[frame.function] = frame.payload

    def _on_attitude(self, raw: Four, t_ns: int) -> None:
        norm = math.sqrt(sum(part * part for part in raw))
        if abs(norm - 1.0) > 0.01:
            self._refused += 1
            return
        w, x, y, z = (part / norm for part in raw)
        q = enu_of_nwu(w, x, y, z)
        if self._rates is not None:
            self._see_gyro(t_ns, q, self._rates[1])
        pose = None if self._poses is None else self._poses.newest
        if pose is not None:
            away = heading_rad(pose.quaternion_wxyz) - heading_rad(q)
            offset = self._yaw_offset_rad
            gain = 1.0 if offset is None else YAW_GAIN
            difference = away - (offset or 0.0)
            self._yaw_offset_rad = (offset or 0.0) + gain * math.atan2(math.sin(difference), math.cos(difference))
        self._attitude = (t_ns, _turned_about_up(q, self._yaw_offset_rad or 0.0))

    def _see_gyro(self, t_ns: int, q: Four, rates: Three) -> None:
        self._gyro.see(t_ns, q, rates)
        if not self._gyro.fits and not self._gyro_said:
            self._gyro_said = True
            self._texts.append(f"tubepilot: {self._gyro_text()}")

    def _gyro_text(self) -> str:
        ratio, scale_deg_s = self._gyro.ratio, self._uri.gyro_deg_s
        if ratio is None:
            return f"full scale {scale_deg_s:g} deg/s, not seen turning yet: turn the craft once by hand"
        said = f"at {scale_deg_s:g} deg/s full scale the attitude turns {ratio:.2f} times as far as the gyro says"
        return said if self._gyro.fits else f"{said}; give the sensor's own in the address, about ?gyro_deg_s={scale_deg_s * ratio:.0f}"

    def _on_status(self, payload: bytes, now_ns: int) -> None:
        self._status, self._status_ns = mm.status(payload), now_ns
        flags = self._status.arming_disabled
        if flags != self._flags and flags:
            self._texts.append("Arming disabled: " + " ".join(flag_names(flags)))
        self._flags = flags

    def wait_until(self, deadline_ns: int) -> None:
        while (left_ns := deadline_ns - clock_ns()) > 0:
            self._transport.wait(left_ns * 1e-9)
            if clock_ns() < deadline_ns:
                self.poll()

    def fileno(self) -> int:
        return self._transport.fileno()

    def close(self) -> None:
        self._transport.close()
        if self._poses is not None:
            self._poses.close()

    def heartbeat(self) -> None:
        """MSP has none; questions and channels show that we live."""

    # --- what the runtime reads ---------------------------------------------------------------------------

    def state(self) -> VehicleState | None:
        pose = None if self._poses is None else self._poses.newest
        if pose is None or self._attitude is None or self._rates is None or not self._transport.is_open:
            return None
        (attitude_ns, q), (rates_ns, rates) = self._attitude, self._rates
        if abs(attitude_ns - pose.t_ns) > MERGE_LIMIT_NS or abs(attitude_ns - rates_ns) > MERGE_LIMIT_NS:
            return None
        t_ns = max(attitude_ns, pose.t_ns)
        return VehicleState(
            t_ns=t_ns,
            position_m=np.array([p + 1e-9 * (t_ns - pose.t_ns) * v for p, v in zip(*_moving(pose), strict=True)]),
            velocity_m_s=np.array(pose.velocity_m_s),
            quaternion_wxyz=np.array(turned(q, rates, 1e-9 * (t_ns - attitude_ns))),
            rates_rad_s=np.array(rates),
        )

    def _active(self) -> frozenset[int]:
        if self._craft is None or self._status is None:
            return frozenset()
        return self._craft.active(self._status.boxes)

    def status(self) -> VehicleStatus:
        active, fresh = self._active(), self._age_s() < HEARTBEAT_TIMEOUT_S
        mode = self._mode(active) if fresh else FlightMode.UNKNOWN
        return VehicleStatus(mode, mm.BOX_ARM in active, None, self._battery_v, tuple(self._texts), self.link_statistics())

    def _mode(self, active: frozenset[int]) -> FlightMode:
        if mm.BOX_FAILSAFE in active:
            return FlightMode.TERMINATE
        if active & {mm.BOX_ANGLE, mm.BOX_HORIZON} or not self._claimed:
            return FlightMode.MANUAL
        if self._landing_ns is not None:
            return FlightMode.LAND
        rules = self._craft is not None and (self._craft.is_receiver or mm.BOX_OVERRIDE in active)
        return FlightMode.OFFBOARD if rules else FlightMode.MANUAL

    def _age_s(self) -> float:
        return math.inf if self._status is None else (clock_ns() - self._status_ns) * 1e-9

    def message_counts(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))

    def link_statistics(self) -> LinkStatistics:
        """Counts and ages at this moment."""
        now_ns, counts, transport, state = clock_ns(), self._parser.counts, self._transport, self.state()
        while self._arrivals and now_ns - self._arrivals[0] > 1_000_000_000:
            self._arrivals.popleft()
        refused = tuple(self._poses.refused.items()) if self._poses is not None else ()
        return LinkStatistics(
            connected=transport.is_open and self._age_s() < HEARTBEAT_TIMEOUT_S,
            bytes_in=counts.bytes_in,
            bytes_out=transport.bytes_out,
            frames=counts.frames,
            lost=self._lost,
            reordered=0,
            crc_errors=counts.crc_errors,
            signed=0,
            refused_writes=transport.refused_writes,
            reconnects=transport.losses,
            setpoints=self._setpoints,
            heartbeat_age_s=self._age_s(),
            state_age_ms=math.inf if state is None else (now_ns - state.t_ns) * 1e-6,
            state_hz=float(len(self._arrivals)),
            refused_states=refused,
            timesync=TimesyncStatistics(self._answered, self._lost, 0, 1e-6 * min(self._trips_ns, default=0), 0.0),
            low_latency=transport.low_latency,
        )

    # --- what the runtime asks ------------------------------------------------------------------------------

    def channels(self, setpoint: Setpoint) -> tuple[int, ...]:
        """Channels that stand for a set-point [us], on the wire's order.

        Raises:
            InputError: not finite, beyond the rate profile, or more thrust than full throttle gives.
        """
        craft = self._craft
        if craft is None:
            raise InputError("not connected, so the craft's rate profile is unknown; call connect first")
        roll, pitch, yaw = (float(rate) for rate in setpoint.rates_rad_s)
        if not all(abs(rate) <= RATE_LIMIT_RAD_S for rate in (roll, pitch, yaw)):
            raise InputError(f"rate set-point is {(roll, pitch, yaw)!r} rad/s; the limit is +-{RATE_LIMIT_RAD_S} rad/s")
        throttle = self._thrust.throttle(setpoint.thrust_m_s2)
        throttle_us = OFF_US if throttle == 0.0 else round(craft.least_us + throttle * (2000 - craft.least_us))
        # Betaflight's axes are FLU, but its yaw stick turns clockwise when pushed right (fc/rc.c, updateRcCommands).
        sticks = (
            craft.tables[0].channel_us(roll), craft.tables[1].channel_us(pitch), throttle_us, craft.tables[2].channel_us(-yaw),
        )  # fmt: skip
        wire = [OFF_US] * CHANNELS
        for position, value in zip(craft.order, sticks, strict=True):
            wire[position] = value
        if craft.arm is not None:
            aux, off_us, on_us = craft.arm
            wire[4 + aux] = on_us if self._arm_on else off_us
        return tuple(wire)

    def send(self, setpoint: Setpoint) -> None:
        if self._transport.write(encode(mm.SET_RAW_RC, mm.raw_rc(self.channels(setpoint)))):
            self._setpoints += 1
        self._take_in()

    def request_streams(self, rate_hz: float) -> None:
        if not 1.0 <= rate_hz <= 400.0:
            raise InputError(f"stream rate is {rate_hz!r} Hz; it must be 1..400 Hz")
        self._state_period_ns = round(1e9 / rate_hz)

    def request_mode(self, mode: FlightMode) -> None:
        if mode is FlightMode.OFFBOARD:
            self._claimed, self._landing_ns = True, None
        elif mode is FlightMode.LAND:
            self._claimed = True
            self._landing_ns = self._landing_ns or clock_ns()
        else:
            raise InputError(f"Betaflight has no mode for {mode.value!r} that we could ask for; it has offboard and land")

    def _land(self, now_ns: int) -> None:
        """Level, throttle falling from just below hover, then disarm; ends when the status says disarmed."""
        landing_ns = self._landing_ns or now_ns
        if now_ns < self._due_ns.get(mm.SET_RAW_RC, 0):
            return
        self._due_ns[mm.SET_RAW_RC] = now_ns + LAND_PERIOD_NS
        elapsed_s = 1e-9 * (now_ns - landing_ns)
        if elapsed_s > LAND_S:
            self._arm_on = False
        share = 0.0 if elapsed_s > LAND_S else LAND_SHARE - 0.2 * elapsed_s
        self.send(Setpoint(np.zeros(3), share * GRAVITY_M_S2))
        if elapsed_s > LAND_S + 0.5 and mm.BOX_ARM not in self._active():
            self._landing_ns = None

    def request_arm(self, arm: bool, force: bool = False) -> None:
        craft = self._craft
        if craft is None or craft.arm is None or not craft.is_receiver:
            raise InputError("the pilot arms this craft: MSP is not its receiver, or it has no ARM switch on AUX1 to AUX4")
        blocked = "ARM_SWITCH" in flag_names(self._flags)
        # After a refusal Betaflight wants to see the switch off once; the next request then switches it on.
        self._arm_on = arm and not (blocked and self._arm_on)

    def preflight(self, timeout_s: float = 3.0) -> tuple[Check, ...]:
        if self._craft is None:
            return (Check("craft", False, "not connected"),)
        return (
            *checks(self._craft, self._active(), (RATE_FLOOR_RAD_S,) * 3),
            Check("gyro", self._gyro.fits, self._gyro_text()),
            Check(
                "position",
                self._poses is not None and self._poses.newest is not None,
                "Betaflight knows none; give it from motion capture: betaflight:///dev/...?pose=/run/user/1000/pose",
            ),
        )


RATE_FLOOR_RAD_S = 3.0
"""Every profile must reach at least this; a set-point beyond the profile is refused in flight anyway [rad/s]."""


def flag_names(flags: int) -> list[str]:
    """Names of arming-disable flags, as Betaflight's own command line says them."""
    known = [name for bit, name in enumerate(mm.ARMING_FLAGS) if flags >> bit & 1]
    return known if flags >> len(mm.ARMING_FLAGS) == 0 else [*known, f"{flags:#x}"]


def _turned_about_up(q: Four, angle_rad: float) -> Four:
    c, s = math.cos(0.5 * angle_rad), math.sin(0.5 * angle_rad)
    w, x, y, z = q
    return c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w


def _moving(pose: Pose) -> tuple[Three, Three]:
    return pose.position_m, pose.velocity_m_s
