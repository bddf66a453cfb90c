"""Tasks by name, and how they are written into and read back from a flight log."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from tubepilot.firmware_bridge.errors import InputError, LogFormatError

from .local_frame import LocalFrame
from .reference import FigureEight, Hover, Reference

TASKS = ("figure-eight", "hover")


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What is flown.

    Attributes:
        task: One of `TASKS`.
        height_m: Height above the take-off point [m].
        speed_m_s: Peak speed of the figure-eight [m/s].
        size_m: Length of the figure-eight [m].
        laps: Rounds of the figure-eight.
        ramp_s: Time in which the figure-eight gets up to speed, and to rest again [s].
        hover_s: Duration of the hover [s].
    """

    task: str
    height_m: float
    speed_m_s: float
    size_m: float
    laps: int
    ramp_s: float
    hover_s: float

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise InputError(f"no task {self.task!r}; the tasks are: {', '.join(TASKS)}")
        if not 0.5 <= self.height_m <= 100.0:
            raise InputError(f"--height-m is {self.height_m}; the task must be 0.5 to 100 m above the take-off point")
        if not 0.0 < self.hover_s <= 3600.0:
            raise InputError(f"--hover-s is {self.hover_s}; a hover lasts more than 0 and at most 3600 s")

    def reference(self) -> Reference:
        """The path, in the take-off frame; starts and ends at rest `height_m` above the origin."""
        start = np.array([0.0, 0.0, self.height_m])
        if self.task == "hover":
            return Hover(start, self.hover_s)
        return FigureEight.at_speed(start, self.size_m, self.speed_m_s, self.laps, self.ramp_s)

    def meta(self, frame: LocalFrame) -> dict[str, str | float | int]:
        """Entries of the flight log from which `from_meta` rebuilds the path."""
        x, y, z = frame.origin_m.tolist()
        place = {"origin_x_m": x, "origin_y_m": y, "origin_z_m": z, "origin_yaw_rad": frame.yaw_rad}
        return {**asdict(self), **place}


def from_meta(meta: Mapping[str, str | float | int]) -> tuple[TaskSettings, LocalFrame]:
    """Task and take-off frame of a recorded flight.

    Raises:
        LogFormatError: an entry is missing.
    """
    try:
        settings = TaskSettings(
            str(meta["task"]),
            float(meta["height_m"]),
            float(meta["speed_m_s"]),
            float(meta["size_m"]),
            int(meta["laps"]),
            float(meta["ramp_s"]),
            float(meta["hover_s"]),
        )
        origin = np.array([float(meta[f"origin_{axis}_m"]) for axis in "xyz"])
        return settings, LocalFrame(origin, float(meta["origin_yaw_rad"]))
    except KeyError as error:
        raise LogFormatError(f"the flight log lacks the entry {error}; it is not one of `tubepilot fly`") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose a task."""
    parser.add_argument("--task", choices=TASKS, default="figure-eight", help="what to fly")
    parser.add_argument("--height-m", type=float, default=1.5, help="height above the take-off point [m]")
    parser.add_argument("--speed-m-s", type=float, default=2.0, help="peak speed of the figure-eight [m/s]")
    parser.add_argument("--size-m", type=float, default=6.0, help="length of the figure-eight [m]")
    parser.add_argument("--laps", type=int, default=1, help="rounds of the figure-eight")
    parser.add_argument("--ramp-s", type=float, default=4.0, help="time to get up to speed, and to rest again [s]")
    parser.add_argument("--hover-s", type=float, default=10.0, help="duration of the hover task [s]")


def from_arguments(arguments: argparse.Namespace) -> TaskSettings:
    """The task that the options chose.

    Raises:
        InputError: an option is outside what can be flown.
    """
    return TaskSettings(
        arguments.task,
        arguments.height_m,
        arguments.speed_m_s,
        arguments.size_m,
        arguments.laps,
        arguments.ramp_s,
        arguments.hover_s,
    )
