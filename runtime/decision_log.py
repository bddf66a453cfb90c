"""What a tick decided from, bit for bit: the record from which `tubepilot replay` runs planner and shield again.

One record per planned tick, of the very numbers that planner and shield read: the planner's float32 buffers, the shield's
float64 arguments. In the flight log it is one base64 text on the channel `/decision`: nothing is rounded on the way.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import LogFormatError

DECISION_TOPIC = "/decision"
MOST_HORIZON = 64


def decision_dtype(horizon: int) -> np.dtype[Any]:
    """Layout of a record for plans of `horizon` steps.

    `planned`: the planner was asked; `ok`: it gave a plan; `ranked`: it was ranked; `tick`: row of the noise table; `share`: of
    the shifted plan, 0 after a reset; `origin`: first row of the reference, from which the planner's positions count [m].
    `planned_setpoint`, `candidate`, `sent`: rates (3) [rad/s] and thrust [m/s^2], not a
    number if there is none. `engaged`: the shield was engaged in this tick; `judged`: it was asked; `seen`: it had a state.
    """
    return np.dtype(
        [
            ("t_ns", "<i8"), ("planned", "u1"), ("ok", "u1"), ("ranked", "u1"), ("steps", "u1"), ("tick", "<i8"),
            ("share", "<f4"), ("origin", "<f8", (3,)),
            ("state", "<f4", (14,)), ("reference", "<f4", (horizon + 1, 9)), ("disturbance", "<f4", (3,)),
            ("previous_action", "<f4", (4,)), ("planned_setpoint", "<f8", (4,)), ("candidate", "<f8", (4,)),
            ("engaged", "u1"), ("judged", "u1"), ("seen", "u1"), ("ahead", "<f8", (14,)), ("estimate", "<f8", (3,)),
            ("decide_ns", "<i8"), ("verdict", "u1"), ("reason", "u1"), ("margin", "<f8"), ("sent", "<f8", (4,)),
        ]
    )  # fmt: skip


def encode(record: Any) -> bytes:
    """One record as JSON."""
    data = base64.b64encode(record.tobytes()).decode()
    return json.dumps({"t_ns": int(record["t_ns"]), "data": data}, separators=(",", ":")).encode()


def schema() -> bytes:
    """JSON schema of the channel."""
    properties = {
        "t_ns": {"type": "integer", "description": "nominal instant of the tick, companion's CLOCK_MONOTONIC [ns]"},
        "data": {"type": "string", "description": "base64 of runtime.decision_log.decision_dtype(horizon)"},
    }
    return json.dumps({"title": "tubepilot.Decision", "type": "object", "properties": properties}).encode()


def decode(messages: list[bytes], horizon: int) -> npt.NDArray[np.void]:
    """Records of a log.

    Args:
        messages: As `encode` made them.
        horizon: Steps of a plan, from the log's meta data.

    Raises:
        LogFormatError: the horizon is not one, or a record has another length.
    """
    if not 1 <= horizon <= MOST_HORIZON:
        raise LogFormatError(f"the log says a horizon of {horizon}, must be within [1, {MOST_HORIZON}]; it cannot be replayed")
    dtype = decision_dtype(horizon)
    result = np.zeros(len(messages), dtype)
    for index, message in enumerate(messages):
        data = base64.b64decode(json.loads(message)["data"])
        if len(data) != dtype.itemsize:
            raise LogFormatError(f"decision {index} has {len(data)} bytes, must have {dtype.itemsize}: another version wrote it")
        result[index] = np.frombuffer(data, dtype)[0]
    return result
