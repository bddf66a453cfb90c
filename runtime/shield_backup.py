"""The certified backup policy: its graph, run as it was proven (docs/certificate.md, section 2)."""

from __future__ import annotations

import math

import numpy as np

from tubepilot.firmware_bridge.errors import BundleError
from tubepilot.firmware_bridge.types import Setpoint

from .session import bind, buffers, open_session
from .shield_margins import Held
from .shield_states import Present

INPUTS = {"state", "rotation", "thrust", "slope"}


class BackupPolicy:
    """The backup graph of the bundle on fixed buffers.

    Args:
        graph: Bytes of backup.onnx, hash checked.

    Raises:
        BundleError: the graph does not load or has other inputs.
    """

    def __init__(self, graph: bytes) -> None:
        self._session = open_session(graph, "backup.onnx")
        self._in, self._out = buffers(self._session, "backup.onnx")
        if set(self._in) != INPUTS or set(self._out) != {"setpoint", "slope_next"}:
            raise BundleError("backup.onnx has other inputs or outputs than this version; export the bundle again")
        self._binding = bind(self._session, self._in, self._out)

    def setpoint(self, now: Present, held: Held) -> tuple[Setpoint | None, float]:
        """Set-point towards the anchor held, and the thrust slope at the next tick [m/s^3].

        Returns:
            None and not a number if the graph gave something that is not finite.
        """
        flat, (qx, qy, qz) = now.flat, held.anchor
        px, py, pz = flat.position
        self._in["state"][0] = (px - qx, py - qy, pz - qz, *flat.velocity, *held.disturbance)
        rotation = self._in["rotation"]
        rotation[:, 0], rotation[:, 1], rotation[:, 2] = now.forward, now.left, now.up
        self._in["thrust"][0, 0], self._in["slope"][0, 0] = flat.thrust, now.slope
        self._session.run_with_iobinding(self._binding)
        *rates, thrust = self._out["setpoint"][0].tolist()
        slope = float(self._out["slope_next"][0, 0])
        if not all(map(math.isfinite, (*rates, thrust, slope))):
            return None, math.nan
        return Setpoint(np.array(rates), thrust), slope
