"""The vehicles that tasks can be flown with, by name."""

from __future__ import annotations

from tubepilot.firmware_bridge.errors import InputError

from .checkpoint import Checkpoint
from .task_vehicle import LearnedVehicle, RotorpyVehicle, Vehicle


def make_vehicle(simulator: str, checkpoint: Checkpoint) -> Vehicle:
    """A new vehicle.

    Args:
        simulator: `rotorpy`, `crazyflow` (another airframe than rotorpy's, so that a checkpoint learnt from rotorpy is
            tried on a vehicle it does not know), or `model`: the checkpoint's world model.
        checkpoint: For `model`.

    Raises:
        InputError: unknown name.
        MissingExtraError: crazyflow is not installed.
    """
    if simulator == "rotorpy":
        return RotorpyVehicle()
    if simulator == "model":
        return LearnedVehicle(checkpoint.model, checkpoint.settings.thrust_scale_m_s2)
    if simulator == "crazyflow":
        from .task_vehicle_crazyflow import CrazyflowVehicle

        return CrazyflowVehicle()
    raise InputError(f"simulator {simulator!r} is unknown; there are: rotorpy, crazyflow, model")
