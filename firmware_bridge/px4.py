"""PX4: OFFBOARD body rates and thrust, and the parameters that decide what happens when we fall silent.

Facts from PX4 v1.17.0: modes are HEARTBEAT.custom_mode = main << 16 | sub << 24; DO_SET_MODE is acknowledged
twice and the first acknowledgement is always ACCEPTED, so only the heartbeat counts.
"""

from __future__ import annotations

import struct
from typing import Final

from . import mavlink_messages as m
from .errors import InputError
from .mavlink_messages import MAV_AUTOPILOT_PX4, MODE_FLAG_CUSTOM, PARAM_INT32, ParamValue
from .mavlink_vehicle import MavlinkVehicle
from .types import FlightMode
from .vehicle import Check

MANUAL: Final = 1
POSITION: Final = 3
AUTO: Final = 4
OFFBOARD: Final = 6
AUTO_TAKEOFF: Final = 2
AUTO_LOITER: Final = 3
AUTO_RTL: Final = 5
AUTO_LAND: Final = 6

MAIN_AND_SUB: Final[dict[FlightMode, tuple[int, int]]] = {
    FlightMode.MANUAL: (POSITION, 0),
    FlightMode.HOLD: (AUTO, AUTO_LOITER),
    FlightMode.OFFBOARD: (OFFBOARD, 0),
    FlightMode.LAND: (AUTO, AUTO_LAND),
    FlightMode.RETURN: (AUTO, AUTO_RTL),
}

GROUND_COMPONENT: Final = 190
"""MAV_COMP_ID_MISSIONPLANNER: PX4 explains a refused mode only to this component."""

LOSS_LIMIT_S = 1.0
"""Longest time that PX4 may keep the last set-point after the stream stopped (PX4's own default) [s]."""

LOSS_ACTIONS = {0: "Position", 1: "Altitude", 2: "Stabilized", 3: "Return", 4: "Land", 5: "Hold", 6: "Terminate"}
SELF_FLYING_ACTIONS = (3, 4, 5)


def custom_mode(main: int, sub: int = 0) -> int:
    """HEARTBEAT.custom_mode of a main and a sub mode."""
    return main << 16 | sub << 24


def mode_of(value: int) -> FlightMode:
    """Meaning of HEARTBEAT.custom_mode."""
    main, sub = value >> 16 & 0xFF, value >> 24 & 0xFF
    if main == OFFBOARD:
        return FlightMode.OFFBOARD
    if main == AUTO:
        by_sub = {AUTO_LOITER: FlightMode.HOLD, AUTO_LAND: FlightMode.LAND, AUTO_RTL: FlightMode.RETURN}
        return by_sub.get(sub, FlightMode.UNKNOWN)
    return FlightMode.MANUAL if main in (1, 2, 3, 5, 7, 8) else FlightMode.UNKNOWN


class Px4Vehicle(MavlinkVehicle):
    """A PX4 flight controller."""

    autopilot = MAV_AUTOPILOT_PX4
    stream_remedy = (
        "raise the baud rate and the stream limit: param set MAV_1_RATE 0, param set MAV_1_MODE 2; beyond 120 Hz its estimator must "
        "keep up too: param set IMU_INTEG_RATE 250, param set EKF2_PREDICT_US 4000, then reboot"
    )

    def _mode_of(self, custom_mode: int) -> FlightMode:
        return mode_of(custom_mode)

    def _mode_command(self, mode: FlightMode) -> tuple[float, float, float]:
        if mode not in MAIN_AND_SUB:
            raise InputError(f"PX4 has no mode for {mode.value!r}; it has {[x.value for x in MAIN_AND_SUB]}")
        main, sub = MAIN_AND_SUB[mode]
        return float(MODE_FLAG_CUSTOM), float(main), float(sub)

    def _parameter_value(self, answer: ParamValue) -> float:
        """Value of a parameter; PX4 puts integers bytewise into the float field."""
        if answer.param_type == PARAM_INT32:
            return float(struct.unpack("<i", struct.pack("<I", answer.value_bits))[0])
        return super()._parameter_value(answer)

    def heartbeat(self) -> None:
        """Ours, and one more as a ground station: PX4 sends its texts only to links on which it hears one.

        Source: PX4 v1.17 streams/STATUSTEXT.hpp, `is_gcs_connected`. Nothing else changes unless `NAV_DLL_ACT` is set.
        """
        super().heartbeat()
        self._send(m.Heartbeat(0, m.MAV_TYPE_GCS, m.MAV_AUTOPILOT_INVALID, 0, m.MAV_STATE_ACTIVE, 3), GROUND_COMPONENT)

    def preflight(self, timeout_s: float = 3.0) -> tuple[Check, ...]:
        share_s = timeout_s / 3.0
        loss_s = self.read_parameter("COM_OF_LOSS_T", share_s)
        action = self.read_parameter("COM_OBL_RC_ACT", share_s)
        override = self.read_parameter("COM_RC_OVERRIDE", share_s)
        loss_ok = loss_s is not None and loss_s <= LOSS_LIMIT_S
        action_ok = action is not None and int(action) in SELF_FLYING_ACTIONS
        action_name = "no answer" if action is None else f"{int(action)} ({LOSS_ACTIONS.get(int(action), '?')})"
        override_ok = override is not None and bool(int(override) & 2)
        return (
            Check(
                "COM_OF_LOSS_T",
                loss_ok,
                f"{_shown(loss_s)} s: PX4 keeps the last set-point so long after ours stop; at most "
                f"{LOSS_LIMIT_S:g} s: param set COM_OF_LOSS_T 0.5",
            ),
            Check(
                "COM_OBL_RC_ACT",
                action_ok,
                f"{action_name}: what PX4 does then; without a pilot it must be Return, Land or Hold: "
                "param set COM_OBL_RC_ACT 4",
            ),
            Check(
                "COM_RC_OVERRIDE",
                override_ok,
                f"{_shown(override)}: bit 1 lets the pilot's sticks take over from OFFBOARD: "
                "param set COM_RC_OVERRIDE 3",
            ),
        )


def _shown(value: float | None) -> str:
    return "no answer" if value is None else f"{value:g}"
