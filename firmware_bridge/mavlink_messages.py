"""MAVLink 2 messages that tubepilot speaks: fields in wire order, formats, and the constants in them.

Fields are named as in MAVLink's common.xml, arrays of numbers flattened (`q1`..`q4`), texts as bytes. Units are
those of the wire; the frames on the wire are NED and FRD (`frames.py` converts). Values of parameters are carried
as raw 32 bits, because PX4 puts integers there bytewise and some of those bit patterns are NaN as floats.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias


class Heartbeat(NamedTuple):
    """HEARTBEAT: who is there, in which mode, armed or not."""

    custom_mode: int
    type: int
    autopilot: int
    base_mode: int
    system_status: int
    mavlink_version: int


class SysStatus(NamedTuple):
    """SYS_STATUS: sensor health bits, battery [mV, cA], link errors."""

    onboard_control_sensors_present: int
    onboard_control_sensors_enabled: int
    onboard_control_sensors_health: int
    load: int
    voltage_battery: int
    current_battery: int
    drop_rate_comm: int
    errors_comm: int
    errors_count1: int
    errors_count2: int
    errors_count3: int
    errors_count4: int
    battery_remaining: int
    onboard_control_sensors_present_extended: int = 0
    onboard_control_sensors_enabled_extended: int = 0
    onboard_control_sensors_health_extended: int = 0


class ParamRequestRead(NamedTuple):
    """PARAM_REQUEST_READ: ask for one parameter by name (`param_index` -1) or index."""

    param_index: int
    target_system: int
    target_component: int
    param_id: bytes


class ParamValue(NamedTuple):
    """PARAM_VALUE: one parameter, its value as raw bits."""

    value_bits: int
    param_count: int
    param_index: int
    param_id: bytes
    param_type: int


class ParamSet(NamedTuple):
    """PARAM_SET: write one parameter, its value as raw bits."""

    value_bits: int
    target_system: int
    target_component: int
    param_id: bytes
    param_type: int


class AttitudeQuaternion(NamedTuple):
    """ATTITUDE_QUATERNION: FRD to NED, scalar first, and body rates FRD [rad/s]."""

    time_boot_ms: int
    q1: float
    q2: float
    q3: float
    q4: float
    rollspeed: float
    pitchspeed: float
    yawspeed: float
    repr_offset_q1: float = 0.0
    repr_offset_q2: float = 0.0
    repr_offset_q3: float = 0.0
    repr_offset_q4: float = 0.0


class LocalPositionNed(NamedTuple):
    """LOCAL_POSITION_NED: position [m] and velocity [m/s] from the estimator's origin."""

    time_boot_ms: int
    x: float
    y: float
    z: float
    vx: float
    vy: float
    vz: float


class SetAttitudeTarget(NamedTuple):
    """SET_ATTITUDE_TARGET: attitude FRD to NED, body rates FRD [rad/s], thrust 0..1."""

    time_boot_ms: int
    q1: float
    q2: float
    q3: float
    q4: float
    body_roll_rate: float
    body_pitch_rate: float
    body_yaw_rate: float
    thrust: float
    target_system: int
    target_component: int
    type_mask: int
    thrust_body1: float = 0.0
    thrust_body2: float = 0.0
    thrust_body3: float = 0.0


class AttitudeTarget(NamedTuple):
    """ATTITUDE_TARGET: what the flight controller is following now."""

    time_boot_ms: int
    q1: float
    q2: float
    q3: float
    q4: float
    body_roll_rate: float
    body_pitch_rate: float
    body_yaw_rate: float
    thrust: float
    type_mask: int


class CommandLong(NamedTuple):
    """COMMAND_LONG: one command with seven numbers."""

    param1: float
    param2: float
    param3: float
    param4: float
    param5: float
    param6: float
    param7: float
    command: int
    target_system: int
    target_component: int
    confirmation: int


class CommandAck(NamedTuple):
    """COMMAND_ACK: result of a command (MAV_RESULT)."""

    command: int
    result: int
    progress: int = 0
    result_param2: int = 0
    target_system: int = 0
    target_component: int = 0


class Timesync(NamedTuple):
    """TIMESYNC: request has tc1 = 0; the reply has the answerer's time in tc1 and ts1 echoed [ns]."""

    tc1: int
    ts1: int
    target_system: int = 0
    target_component: int = 0


class Statustext(NamedTuple):
    """STATUSTEXT: a text for people, up to 50 bytes a piece."""

    severity: int
    text: bytes
    id: int = 0
    chunk_seq: int = 0


class ExtendedSysState(NamedTuple):
    """EXTENDED_SYS_STATE: landed or not."""

    vtol_state: int
    landed_state: int


class SetupSigning(NamedTuple):
    """SETUP_SIGNING: the key for signed frames, and the time of the setting [10 us since 2015]."""

    initial_timestamp: int
    target_system: int
    target_component: int
    secret_key: bytes


Message: TypeAlias = (
    Heartbeat
    | SysStatus
    | ParamRequestRead
    | ParamValue
    | ParamSet
    | AttitudeQuaternion
    | LocalPositionNed
    | SetAttitudeTarget
    | AttitudeTarget
    | CommandLong
    | CommandAck
    | Timesync
    | Statustext
    | ExtendedSysState
    | SetupSigning
)


@dataclass(frozen=True, slots=True)
class Spec:
    """How one message lies on the wire.

    Attributes:
        message_id: MAVLink message id.
        kind: The class above.
        wire: Compiled little-endian format, extension fields included.
        floats: Positions of the floating-point fields, which must be finite to be sent.
    """

    message_id: int
    kind: Any
    wire: struct.Struct
    floats: tuple[int, ...]


def _spec(message_id: int, kind: Any, wire_format: str) -> Spec:
    wire = struct.Struct("<" + wire_format)
    fields = wire.unpack(bytes(wire.size))
    floats = tuple(index for index, value in enumerate(fields) if isinstance(value, float))
    return Spec(message_id, kind, wire, floats)


SPECS: Final[tuple[Spec, ...]] = (
    _spec(0, Heartbeat, "IBBBBB"),
    _spec(1, SysStatus, "IIIHHhHHHHHHbIII"),
    _spec(20, ParamRequestRead, "hBB16s"),
    _spec(22, ParamValue, "IHH16sB"),
    _spec(23, ParamSet, "IBB16sB"),
    _spec(31, AttitudeQuaternion, "I11f"),
    _spec(32, LocalPositionNed, "I6f"),
    _spec(76, CommandLong, "7fHBBB"),
    _spec(77, CommandAck, "HBBiBB"),
    _spec(82, SetAttitudeTarget, "I8fBBB3f"),
    _spec(83, AttitudeTarget, "I8fB"),
    _spec(111, Timesync, "qqBB"),
    _spec(245, ExtendedSysState, "BB"),
    _spec(253, Statustext, "B50sHB"),
    _spec(256, SetupSigning, "QBB32s"),
)

SPEC_BY_ID: Final[dict[int, Spec]] = {spec.message_id: spec for spec in SPECS}
SPEC_BY_KIND: Final[dict[type, Spec]] = {spec.kind: spec for spec in SPECS}

MAV_TYPE_QUADROTOR: Final = 2
MAV_TYPE_GCS: Final = 6
MAV_TYPE_ONBOARD_CONTROLLER: Final = 18
MAV_AUTOPILOT_ARDUPILOT: Final = 3
MAV_AUTOPILOT_INVALID: Final = 8
MAV_AUTOPILOT_PX4: Final = 12
MODE_FLAG_CUSTOM: Final = 0x01
MODE_FLAG_ARMED: Final = 0x80
MAV_STATE_STANDBY: Final = 3
MAV_STATE_ACTIVE: Final = 4

CMD_NAV_TAKEOFF: Final = 22
CMD_DO_SET_MODE: Final = 176
CMD_ARM_DISARM: Final = 400
CMD_RUN_PREARM_CHECKS: Final = 401
CMD_SET_MESSAGE_INTERVAL: Final = 511
FORCE_MAGIC: Final = 21196.0

RESULT_ACCEPTED: Final = 0
RESULT_TEMPORARILY_REJECTED: Final = 1
RESULT_DENIED: Final = 2
RESULT_UNSUPPORTED: Final = 3
RESULT_FAILED: Final = 4

MASK_IGNORE_RATES: Final = 0b111
MASK_THROTTLE_IGNORE: Final = 64
MASK_RATES_AND_THRUST: Final = 128

HEALTH_PREARM: Final = 0x10000000
"""SYS_STATUS health: the flight controller's own checks before arming pass (MAV_SYS_STATUS_PREARM_CHECK)."""

LANDED_ON_GROUND: Final = 1
LANDED_IN_AIR: Final = 2

PARAM_INT32: Final = 6
PARAM_REAL32: Final = 9
