"""The simulated Betaflight: one MSP question per serial task, sticks through a rate profile, arming by a switch, failsafe DROP.

As Betaflight 2026.12 was measured to behave with `feature RX_MSP`: without channels for 150 ms the receiver counts as lost (flag
RXLOSS), after `failsafe_delay` the failsafe box goes on and the motors off. It knows no position: `pose` gives what a motion capture
system would, for `betaflight://...?pose=PATH`.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from . import msp_messages as mm
from .betaflight_rates import AxisRates, RatesType, rate_deg_s
from .frames import Four
from .msp import FROM_FC, REFUSED, TO_FC, MspFrame, MspParser, encode
from .pose import Pose
from .sim_firmware import FirmwareSettings, SimulatedFirmware
from .simulator import SimulatedQuadrotor
from .types import Vector

API = (0, 1, 47)
VERSION = (26, 12, 0)
RATES = AxisRates(rc_rate=7, rate=67, expo=0)
"""Its default profile of type ACTUAL: 70 deg/s at the centre, 670 deg/s at the end."""

MIN_CHECK_US = 1050
ARM_AUX, ARM_LOW_US, ARM_HIGH_US = 0, 1700, 2100
BOXES = (mm.BOX_ARM, mm.BOX_ANGLE, mm.BOX_HORIZON, mm.BOX_FAILSAFE)
SERIAL_HZ = 1000.0
"""`serial_update_rate_hz`: so many questions are answered per second, one after the other [Hz]."""

LOSS_S = 0.15
BOOT_GRACE_S = 5.0
ARM_TILT_COS = math.cos(math.radians(25.0))
LONGEST_QUEUE = 16
_FLAG = {name: 1 << bit for bit, name in enumerate(mm.ARMING_FLAGS)}
_ROOT_HALF = math.sqrt(0.5)


def nwu_of_enu(w: float, x: float, y: float, z: float) -> Four:
    """Attitude in world north-west-up of one in world ENU; undoes `betaflight.enu_of_nwu`."""
    return _ROOT_HALF * (w + z), _ROOT_HALF * (x + y), _ROOT_HALF * (y - x), _ROOT_HALF * (z - w)


class SimulatedBetaflight(SimulatedFirmware):
    """Betaflight around one simulated quadrotor.

    Args:
        vehicle: The quadrotor, standing or flying.
        settings: `failsafe_s` is its `failsafe_delay`.
        serial_hz: `serial_update_rate_hz` [Hz].
    """

    title = "Betaflight"

    def __init__(
        self, vehicle: SimulatedQuadrotor, settings: FirmwareSettings | None = None, serial_hz: float = SERIAL_HZ
    ) -> None:
        super().__init__(vehicle, settings)
        self._serial_s, self._next_serial_s = 1.0 / serial_hz, 0.0
        self._queue: list[MspFrame] = []
        self._started_s = 0.0 if vehicle.on_ground else -BOOT_GRACE_S
        self._channels: tuple[int, ...] = ()
        self._failsafe = self._switch_blocked = self._was_on = False
        self._answers = self._settings_answers()

    @property
    def mode_number(self) -> int:
        return self._active_boxes()

    def parser(self) -> MspParser:
        return MspParser()

    def _restart(self) -> None:
        self._queue.clear()
        self._channels, self._started_s = (), self._silent_until_s
        self._failsafe = self._switch_blocked = self._was_on = False

    def _text(self, severity: int, text: str) -> None:
        self.events.append(text)  # MSP has no texts

    # --- receiver and arming ----------------------------------------------------------------------------

    def _is_lost(self) -> bool:
        return self._offboard_age_s() > LOSS_S

    def _switch_on(self) -> bool:
        aux = 4 + ARM_AUX
        return len(self._channels) > aux and ARM_LOW_US <= self._channels[aux] < ARM_HIGH_US

    def _flags(self) -> int:
        """Reasons against arming, as bits."""
        reasons = {
            "RX_FAILSAFE": self._is_lost(),
            "FAILSAFE": self._failsafe,
            "THROTTLE": bool(self._channels) and self._channels[2] >= MIN_CHECK_US,
            "ANGLE": self._upright_cos() < ARM_TILT_COS,
            "BOOT_GRACE_TIME": self.vehicle.time_s - self._started_s < BOOT_GRACE_S,
            "ARM_SWITCH": self._switch_blocked,
        }
        return 0 if self.armed else sum(_FLAG[name] for name, there in reasons.items() if there)

    def _upright_cos(self) -> float:
        _, x, y, _ = self.vehicle.quaternion_wxyz.tolist()
        return float(1.0 - 2.0 * (x * x + y * y))

    def _active_boxes(self) -> int:
        on = {mm.BOX_ARM: self.armed, mm.BOX_FAILSAFE: self._failsafe}
        return sum(1 << k for k, box in enumerate(BOXES) if on.get(box, False))

    def _take_channels(self, channels_us: tuple[int, ...]) -> None:
        if len(channels_us) < 4:
            return
        self._channels = channels_us
        roll, pitch, yaw = (math.radians(rate_deg_s(RatesType.ACTUAL, RATES, channels_us[k])) for k in (0, 1, 3))
        throttle = max(channels_us[2] - MIN_CHECK_US, 0) / (2000 - MIN_CHECK_US)
        self._take_setpoint(np.array([roll, pitch, -yaw]), throttle)
        on = self._switch_on()
        if not on:
            self._switch_blocked = self._failsafe = False
            if self.armed:
                self._disarm("Disarmed by the switch")
        elif not self._was_on and not self.armed:
            if self._flags():
                self._switch_blocked = True
                self.events.append("arming refused: " + " ".join(name for name, bit in _FLAG.items() if self._flags() & bit))
            else:
                self._arm_now("Armed by the switch")
        self._was_on = on

    def _check_failsafe(self) -> None:
        if self.armed and self._offboard_age_s() > self.settings.failsafe_s:
            self.failsafes += 1
            self._failsafe = self._switch_blocked = True
            self._disarm("Failsafe: DROP")

    def _control(self, dt_s: float) -> tuple[Vector, float]:
        return self._offboard.rates_rad_s, self._offboard.throttle

    def _check_ground(self, dt_s: float) -> None:
        """It has no idea of the ground: only the switch and the failsafe disarm."""
        self._flown = self._flown or not self.vehicle.on_ground
        self.landed = self.vehicle.on_ground

    # --- questions and answers --------------------------------------------------------------------------

    def receive(self, frame: MspFrame, time_s: float) -> None:
        if frame.direction != TO_FC or self.is_silent or len(self._queue) >= LONGEST_QUEUE:
            return
        self._queue.append(frame)
        self._serve(time_s)

    def _talk(self) -> None:
        self._serve(self.vehicle.time_s)

    def _serve(self, time_s: float) -> None:
        """One frame per serial task."""
        while self._queue and time_s >= self._next_serial_s:
            self._next_serial_s = max(self._next_serial_s + self._serial_s, time_s - self._serial_s)
            self._answer(self._queue.pop(0))

    def _answer(self, frame: MspFrame) -> None:
        payload = self._payload(frame)
        direction = FROM_FC if payload is not None else REFUSED
        self.outgoing.append(encode(frame.function, payload or b"", direction))

    def _payload(self, frame: MspFrame) -> bytes | None:
        function = frame.function
        if function == mm.SET_RAW_RC:
            count = len(frame.payload) // 2
            self._take_channels(struct.unpack(f"<{count}H", frame.payload[: 2 * count]))
            return b""
        if function == mm.ATTITUDE_QUATERNION:
            quaternion = nwu_of_enu(*self.estimator.attitude().quaternion_wxyz)
            return struct.pack("<4h", *(round(32767.0 * part) for part in quaternion))
        if function == mm.RAW_IMU:
            rates = (round(math.degrees(rate) * 32768.0 / mm.GYRO_FULL_SCALE_DEG_S) for rate in self.estimator.attitude().rates_rad_s)
            return struct.pack("<9h", 0, 0, 256, *rates, 0, 0, 0)
        if function == mm.STATUS_EX:
            return struct.pack("<HHHIBHBBBBI", 312, 0, 0, self._active_boxes(), 0, 20, 4, 0, 0, len(mm.ARMING_FLAGS), self._flags())
        if function == mm.BATTERY_STATE:
            centivolt = max(300, 420 - round(self._armed_s / 10.0))
            return struct.pack("<BHBHHBH", 1, 300, centivolt // 10, 0, 0, 0, centivolt)
        return self._answers.get(function)

    def _settings_answers(self) -> dict[int, bytes]:
        """What does not change in flight."""
        one = RATES
        tuning = bytes((one.rc_rate, one.expo, one.rate, one.rate, one.rate)) + bytes(5)
        tuning += bytes((one.expo, one.rc_rate, one.rc_rate, one.expo)) + bytes(2)
        tuning += struct.pack("<3H", *[one.limit_deg_s] * 3) + bytes((RatesType.ACTUAL,))
        arm_range = bytes((mm.BOX_ARM, ARM_AUX, (ARM_LOW_US - 900) // 25, (ARM_HIGH_US - 900) // 25))
        return {
            mm.API_VERSION: bytes(API),
            mm.FC_VARIANT: b"BTFL",
            mm.FC_VERSION: bytes(VERSION),
            mm.RC_TUNING: tuning,
            mm.RC_DEADBAND: bytes(5),
            mm.FEATURE_CONFIG: struct.pack("<I", mm.FEATURE_RX_MSP),
            mm.RX_CONFIG: bytes(5) + struct.pack("<H", MIN_CHECK_US) + bytes(17),
            mm.RX_MAP: bytes((0, 1, 3, 2, 4, 5, 6, 7)),  # AETR1234: roll, pitch, yaw on the fourth channel, throttle on the third
            mm.FAILSAFE_CONFIG: bytes((round(10.0 * self.settings.failsafe_s), 0, 0, 0, 0, 0, 0, 1)),
            mm.MODE_RANGES: arm_range + bytes(4 * 19),
            mm.BOXIDS: bytes(BOXES),
        }

    def pose(self, t_ns: int) -> Pose | None:
        """What a motion capture system sees at a time on CLOCK_MONOTONIC [ns]; nothing while the estimate is broken."""
        if self.estimator.is_broken:
            return None
        attitude, place = self.estimator.attitude(), self.estimator.place()
        return Pose(t_ns, place.position_m, place.velocity_m_s, attitude.quaternion_wxyz)
