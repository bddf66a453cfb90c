"""One flight of one task under one controller: what `bench control` repeats."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.types import Vector

from .control_record import FlightRow
from .controllers import Controller
from .task_flight import TaskFlight


@dataclass(frozen=True, slots=True)
class Flown:
    """A flight's row and its path.

    Attributes:
        row: Figures.
        path: Time [s], true position (3) [m] and reference position (3) [m] of each tick, shape (T, 7).
        disagreement: Of the chosen plan of each tick, shape (T,).
    """

    row: FlightRow
    path: Vector
    disagreement: Vector


def fly(flight: TaskFlight, controller: Controller, seed: int) -> Flown:
    """Fly until the task ends.

    Args:
        flight: Fresh flight of a task.
        controller: It is reset with `seed`.
        seed: Of the controller's noise and of the row.
    """
    controller.reset(seed)
    path, spread, times = [], [], []
    reason: str | None = None
    while not flight.finished:
        begun = time.perf_counter()
        setpoint = controller.setpoint(flight.state(), flight.time_s, flight.reference, flight.constraints)
        times.append(time.perf_counter() - begun)
        reference = flight.reference(np.array([flight.time_s]))[0]
        path.append(np.concatenate([[flight.time_s], flight.true_state()[0:3], reference[0:3]]))
        spread.append(controller.disagreement)
        result = flight.step(setpoint)
        if result.terminated:
            reason = result.reason
    flown = np.array(path)
    rmse = float(np.sqrt(np.mean(np.sum((flown[:, 1:4] - flown[:, 4:7]) ** 2, axis=1))))
    known = np.array(spread, dtype=np.float64)
    mean = float(np.mean(known)) if np.isfinite(known).all() else None
    p50, p99 = 1e3 * np.quantile(times[1:] or times, [0.5, 0.99])
    row = FlightRow(
        flight.task.name, controller.name, seed, flight.score, reason, rmse, mean, controller.evaluations, float(p50), float(p99),
        flight.wide_score,
    )
    return Flown(row, flown, known)
