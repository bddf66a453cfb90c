"""The simulated PX4: modes, arming and failsafe as PX4 v1.17 was measured to behave.

DO_SET_MODE is acknowledged twice and the first acknowledgement always says ACCEPTED; OFFBOARD is accepted on the ground
without set-points but arming is then denied; in the air it needs a stream. When set-points stop in OFFBOARD for
`COM_OF_LOSS_T`, it lands by itself and disarms, and takes OFFBOARD again when set-points are back.
"""

from __future__ import annotations

import math

from . import mavlink_messages as m
from .autopilot import Goal
from .mavlink import Frame
from .px4 import AUTO, AUTO_LAND, AUTO_LOITER, AUTO_RTL, AUTO_TAKEOFF, GROUND_COMPONENT, OFFBOARD, POSITION, custom_mode
from .sim_firmware import FirmwareSettings
from .sim_mavlink import MavlinkFirmware, Parameter, is_finite, rates_of
from .simulator import SimulatedQuadrotor
from .types import Vector

GROUND_TIMEOUT_S = 2.5
"""Texts go out only for so long after a ground station's heartbeat (PX4 v1.17 streams/STATUSTEXT.hpp, TelemetryStatus.msg) [s]."""

GOALS = {AUTO_LOITER: Goal.HOLD, AUTO_TAKEOFF: Goal.TAKEOFF, AUTO_RTL: Goal.RETURN, AUTO_LAND: Goal.LAND}
NAMES = {AUTO_LOITER: "hold", AUTO_TAKEOFF: "takeoff", AUTO_RTL: "return", AUTO_LAND: "land"}


class SimulatedPx4(MavlinkFirmware):
    """PX4 around one simulated quadrotor.

    Args:
        vehicle: The quadrotor, standing or flying.
        settings: `failsafe_s` is its `COM_OF_LOSS_T`.
    """

    title = "PX4"
    autopilot_number = m.MAV_AUTOPILOT_PX4
    stream_limit_hz = 250.0

    def __init__(self, vehicle: SimulatedQuadrotor, settings: FirmwareSettings | None = None) -> None:
        super().__init__(vehicle, settings)
        self.parameters = {
            "COM_OF_LOSS_T": Parameter(self.settings.failsafe_s, False),
            "COM_OBL_RC_ACT": Parameter(4, True),
            "COM_RC_OVERRIDE": Parameter(3, True),
        }
        self.main, self.sub = AUTO, AUTO_LOITER
        self._ground_heard_s = -math.inf

    @property
    def mode_number(self) -> int:
        return custom_mode(self.main, self.sub)

    def _restart(self) -> None:
        super()._restart()
        self.main, self.sub = AUTO, AUTO_LOITER
        self._ground_heard_s = -math.inf

    def _control(self, dt_s: float) -> tuple[Vector, float]:
        if (self.main, self.sub) == (OFFBOARD, 0):
            return self._offboard.rates_rad_s, self._offboard.throttle
        return self._fly_itself(dt_s)

    def _offboard_fresh(self) -> bool:
        return self._offboard_age_s() <= self.parameters["COM_OF_LOSS_T"].value

    def _check_failsafe(self) -> None:
        if self.armed and self.main == OFFBOARD and not self._offboard_fresh():
            self.failsafes += 1
            self._text(3, "Failsafe: no offboard set-points, landing")
            self._enter(AUTO, AUTO_LAND)

    def _enter(self, main: int, sub: int) -> None:
        if (main, sub) == (self.main, self.sub):
            return
        self.main, self.sub = main, sub
        name = "offboard" if main == OFFBOARD else NAMES.get(sub, "position")
        self.events.append(f"mode {name}")
        if main != OFFBOARD:
            self.autopilot.start(GOALS.get(sub, Goal.HOLD))

    # --- receiving --------------------------------------------------------------------------------------

    def _on_heartbeat(self, message: m.Heartbeat) -> None:
        if message.type == m.MAV_TYPE_GCS:
            self._ground_heard_s = self.vehicle.time_s

    def _hears_texts(self) -> bool:
        return self.vehicle.time_s - self._ground_heard_s <= GROUND_TIMEOUT_S

    def _on_setpoint(self, message: m.SetAttitudeTarget) -> None:
        if message.type_mask != m.MASK_RATES_AND_THRUST or not is_finite(message):
            self._refuse_setpoint("Set-point ignored: only body rates + thrust")
            return
        self._take_setpoint(rates_of(message), message.thrust)

    def _do(self, message: m.CommandLong, frame: Frame) -> int:
        if message.command == m.CMD_DO_SET_MODE:
            self._ack(message, m.RESULT_ACCEPTED)
            return self._set_mode(int(message.param2), int(message.param3), frame.component)
        if message.command == m.CMD_ARM_DISARM:
            force = message.param2 == m.FORCE_MAGIC
            return self._arm(force) if message.param1 == 1.0 else self._ask_disarm(force)
        if message.command == m.CMD_NAV_TAKEOFF:
            return self._take_off(message.param7)
        return m.RESULT_UNSUPPORTED

    def _set_mode(self, main: int, sub: int, asker: int) -> int:
        if main == OFFBOARD:
            if self.armed and not self.landed and not self._offboard_fresh():
                if asker == GROUND_COMPONENT:
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
        self._arm_now("Armed by external command")
        self.autopilot.start(GOALS.get(self.sub, Goal.HOLD))
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
