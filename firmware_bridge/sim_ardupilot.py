"""The simulated ArduCopter: modes, arming and failsafe as ArduCopter 4.5 and 4.7-dev were measured to behave.

Nothing is streamed unasked but the heartbeat; time sync is answered in the next slot of its scheduler. Without bit 3 of
`GUID_OPTIONS` our thrust is a climb rate, and `ATC_ANGLE_BOOST` multiplies it by 1 / cos(tilt). Body rates are limited in their
acceleration. When set-points stop for `GUID_TIMEOUT`, it levels and holds its height in the same mode, for ever, and drifts.
"""

from __future__ import annotations

import math

import numpy as np

from . import mavlink_messages as m
from .ardupilot import GUIDED_NOGPS, LAND, LOITER, RTL, STABILIZE, THRUST_AS_THRUST, ArduPilotVehicle
from .autopilot import Goal
from .mavlink import Frame
from .sim_firmware import FirmwareSettings
from .sim_mavlink import MavlinkFirmware, Parameter, is_finite, rates_of
from .simulator import SimulatedQuadrotor
from .types import Vector

GOALS = {LOITER: Goal.HOLD, RTL: Goal.RETURN, LAND: Goal.LAND}
NAMES = {STABILIZE: "stabilize", LOITER: "loiter", RTL: "return", LAND: "land", GUIDED_NOGPS: "guided without gps"}
READY_S = 3.0
"""Its own checks pass this long after the start [s]; the real one takes 38 s with simulated satellites."""

ACCELERATION_LIMIT_RAD_S2 = np.radians([1100.0, 1100.0, 270.0])
"""ATC_ACCEL_R_MAX, _P_MAX, _Y_MAX: body rates follow set-points no faster."""

CLIMB_M_S, DESCENT_M_S = 2.5, 1.5
"""What thrust 1 and 0 mean where thrust is a climb rate (WPNAV_SPEED_UP, WPNAV_SPEED_DN)."""

LEVEL_GAIN_1_S, CLIMB_GAIN_1_S = 4.0, 3.0
BOOST_LIMIT_COS = 0.5


class SimulatedArduPilot(MavlinkFirmware):
    """ArduCopter around one simulated quadrotor.

    Args:
        vehicle: The quadrotor, standing or flying.
        settings: `failsafe_s` is its `GUID_TIMEOUT`.
    """

    title = "ArduCopter"
    autopilot_number = m.MAV_AUTOPILOT_ARDUPILOT
    stream_limit_hz = 320.0
    unasked = frozenset({m.Heartbeat})

    def __init__(self, vehicle: SimulatedQuadrotor, settings: FirmwareSettings | None = None) -> None:
        super().__init__(vehicle, settings)
        self.parameters = {
            "GUID_OPTIONS": Parameter(float(THRUST_AS_THRUST), False),
            "ATC_ANGLE_BOOST": Parameter(0.0, False),
            "GUID_TIMEOUT": Parameter(self.settings.failsafe_s, False),
        }
        self._mode = STABILIZE
        self._started_s = -READY_S if not vehicle.on_ground else 0.0
        self._timed_out = False
        self._rates: Vector = np.zeros(3)
        self._asked: list[m.Timesync] = []

    @property
    def mode_number(self) -> int:
        return self._mode

    def _restart(self) -> None:
        super()._restart()
        self._mode, self._started_s = STABILIZE, self._silent_until_s
        self._timed_out, self._rates = False, np.zeros(3)
        self._asked.clear()

    # --- control ----------------------------------------------------------------------------------------

    def _control(self, dt_s: float) -> tuple[Vector, float]:
        if self._mode == STABILIZE:
            return np.zeros(3), 0.0  # nobody holds the sticks
        if self.vehicle.on_ground and self._armed_s < ArduPilotVehicle.arming_delay_s:
            return np.zeros(3), 0.0
        if self._mode != GUIDED_NOGPS:
            return self._fly_itself(dt_s)
        if self._timed_out and not self.landed:
            return self._level(), self._throttle_for_climb(0.0)
        limit = ACCELERATION_LIMIT_RAD_S2 * dt_s
        self._rates = self._rates + np.clip(self._offboard.rates_rad_s - self._rates, -limit, limit)
        return self._rates, self._thrust()

    def _up(self) -> tuple[float, float, float]:
        """The world's up in the body frame, FLU."""
        w, x, y, z = self.vehicle.quaternion_wxyz.tolist()
        return 2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)

    def _level(self) -> Vector:
        x, y, _ = self._up()
        return np.array([-LEVEL_GAIN_1_S * y, LEVEL_GAIN_1_S * x, 0.0])

    def _throttle_for_climb(self, climb_m_s: float) -> float:
        vehicle = self.vehicle
        wanted = vehicle.gravity_m_s2 + CLIMB_GAIN_1_S * (climb_m_s - float(vehicle.velocity_m_s[2]))
        return min(max(wanted / vehicle.thrust_scale_m_s2 / max(self._up()[2], BOOST_LIMIT_COS), 0.0), 1.0)

    def _thrust(self) -> float:
        asked = self._offboard.throttle
        if not int(self.parameters["GUID_OPTIONS"].value) & THRUST_AS_THRUST:
            return self._throttle_for_climb(2.0 * (asked - 0.5) * (CLIMB_M_S if asked > 0.5 else DESCENT_M_S))
        if self.parameters["ATC_ANGLE_BOOST"].value != 0.0:
            asked /= max(self._up()[2], BOOST_LIMIT_COS)
        return min(asked, 1.0)

    def _check_failsafe(self) -> None:
        late = self._offboard_age_s() > self.parameters["GUID_TIMEOUT"].value
        if self.armed and self._mode == GUIDED_NOGPS and late and not self._timed_out and math.isfinite(self._offboard.time_s):
            self.failsafes += not self.landed
            self.events.append("no set-points: levels and holds its height")
        self._timed_out = late

    def _disarm(self, why: str) -> None:
        super()._disarm("Disarming motors")

    # --- receiving --------------------------------------------------------------------------------------

    def _on_timesync(self, message: m.Timesync, time_s: float) -> None:
        self._asked.append(message)

    def _talk(self) -> None:
        for message in self._asked:
            self._send(m.Timesync(self.clock_ns(self.vehicle.time_s), message.ts1))
        self._asked.clear()
        super()._talk()

    def _on_setpoint(self, message: m.SetAttitudeTarget) -> None:
        if self._mode != GUIDED_NOGPS:
            return
        if message.type_mask != m.MASK_RATES_AND_THRUST or not is_finite(message):
            self._refuse_setpoint("Set-point ignored: only body rates + thrust")
            return
        self._take_setpoint(rates_of(message), message.thrust)

    def _do(self, message: m.CommandLong, frame: Frame) -> int:
        if message.command == m.CMD_DO_SET_MODE:
            return self._set_mode(int(message.param2))
        if message.command == m.CMD_ARM_DISARM:
            force = message.param2 == m.FORCE_MAGIC
            return self._arm(force) if message.param1 == 1.0 else self._ask_disarm(force)
        if message.command == m.CMD_RUN_PREARM_CHECKS:
            if not self._is_ready():
                self._text(2, "PreArm: EKF attitude is bad")
            self._send(self._stream_message(m.SysStatus))
            return m.RESULT_ACCEPTED
        return m.RESULT_UNSUPPORTED

    def _set_mode(self, mode: int) -> int:
        if mode not in NAMES:
            self._text(3, f"No such mode {mode}")
            return m.RESULT_FAILED
        if mode != self._mode:
            self._mode, self._rates = mode, np.zeros(3)
            self.events.append(f"mode {NAMES[mode]}")
            if mode in GOALS:
                self.autopilot.start(GOALS[mode])
        return m.RESULT_ACCEPTED

    def _is_ready(self) -> bool:
        return self.vehicle.time_s - self._started_s >= READY_S

    def _health(self) -> int:
        return m.HEALTH_PREARM if self._is_ready() else 0

    def _arm(self, force: bool) -> int:
        if self.armed:
            return m.RESULT_ACCEPTED
        if not force and not self._is_ready():
            self._text(2, "Arm: EKF attitude is bad")
            return m.RESULT_FAILED
        if self._mode in GOALS and self._mode != LOITER:
            self._text(2, "Arm: Mode not armable")
            return m.RESULT_FAILED
        self._arm_now("Arming motors")
        return m.RESULT_ACCEPTED

    def _ask_disarm(self, force: bool) -> int:
        if self.armed and not self.landed and not force:
            return m.RESULT_FAILED
        if self.armed:
            self._disarm("")
        return m.RESULT_ACCEPTED

    def _echo(self, time_ms: int) -> m.AttitudeTarget:
        """Rates as shaped, thrust as asked."""
        return super()._echo(time_ms)._replace(type_mask=0, thrust=self._offboard.throttle)
