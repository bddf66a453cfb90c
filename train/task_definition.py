"""Tasks as data: what a TOML file of `train/tasks` says, read and checked into frozen dataclasses.

World frame ENU with the ground at z = 0; lengths in metres, times in seconds since the start of the flight.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.simulator import FACTOR_RANGE
from tubepilot.firmware_bridge.toml_table import TomlTable
from tubepilot.firmware_bridge.types import Vector

from .task_path import SPAN_M, SPEED_MAX_M_S, GoalPath, TaskPath, read_path

TASKS = (
    "hover_in_wind",
    "figure_eight_1",
    "figure_eight_2",
    "figure_eight_4",
    "sprint",
    "gate_slalom",
    "obstacle_forest",
    "payload_change",
    "low_battery",
)
"""Names of the tasks that come with the package."""

OBSTACLES_MAX = 16
"""Rows of the obstacle table that planners are compiled for."""

_FOLDER = Path(__file__).resolve().parent / "tasks"


@dataclass(frozen=True, slots=True)
class WindDefinition:
    """Wind: `speed_m_s` from a drawn direction, plus a gust whose norm never exceeds `gust_m_s` [m/s]."""

    speed_m_s: float
    gust_m_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Geofence:
    """Box that the vehicle's centre must stay in: corners, shape (3,) each [m]."""

    low_m: Vector
    high_m: Vector


@dataclass(frozen=True, slots=True)
class Cylinder:
    """A vertical obstacle without end: axis at (x, y) and radius [m]."""

    x_m: float
    y_m: float
    radius_m: float


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Cylinders drawn per seed, uniformly over a rectangle.

    Attributes:
        low_m, high_m: Corners of the rectangle, shape (2,) each [m].
        density_1_m2: Trees per area [1/m^2].
        radius_m: Range of the radii [m].
        clear_m: No tree's surface is nearer to start or end of the path [m].
        gap_m: A passage of this width leads from start to end [m].
        blocking: At least so many trees stand in the way of the reference.
    """

    low_m: Vector
    high_m: Vector
    density_1_m2: float
    radius_m: tuple[float, float]
    clear_m: float
    gap_m: float
    blocking: int

    @property
    def count(self) -> int:
        """Number of trees."""
        return round(self.density_1_m2 * float(np.prod(self.high_m - self.low_m)))


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """An upright rectangular opening.

    Attributes:
        centre_m: Centre of the opening, shape (3,) [m].
        heading_rad: Horizontal direction of passage, anticlockwise from east [rad].
        width_m, height_m: Size of the opening [m].
    """

    centre_m: Vector
    heading_rad: float
    width_m: float
    height_m: float


@dataclass(frozen=True, slots=True)
class Payload:
    """Mass times `mass_factor` from `from_s` on [s]."""

    mass_factor: float
    from_s: float


@dataclass(frozen=True, slots=True)
class Battery:
    """Thrust scale falls linearly over the flight from share `first` to share `last` of nominal."""

    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Estimator:
    """Standard deviations of the error of the state estimate; white, or with a first-order correlation time [s]."""

    position_m: float
    velocity_m_s: float
    attitude_rad: float
    rates_rad_s: float
    correlation_s: float


@dataclass(frozen=True, slots=True)
class Randomisation:
    """Ranges that a seed draws from uniformly; factors are those of `simulator.Factors`.

    Attributes:
        mass, thrust, motor_lag, drag: Factors.
        wind_from_deg: Direction that the wind comes from, clockwise from north [deg].
        start_offset_m: Greatest distance of the start from the path's [m].
    """

    mass: tuple[float, float]
    thrust: tuple[float, float]
    motor_lag: tuple[float, float]
    drag: tuple[float, float]
    wind_from_deg: tuple[float, float]
    start_offset_m: float


@dataclass(frozen=True, slots=True, eq=False)
class TaskDefinition:
    """One task.

    Attributes:
        name: File name without its ending.
        title: For pictures and tables.
        duration_s: Nominal duration [s].
        path: Reference.
        reward_margin_m: Position error at which the reward is 0.1 [m]; None: the distance from start to goal.
        speed_limit_m_s: A tick above it earns nothing [m/s].
        vehicle_radius_m: Half of the vehicle's greatest horizontal size [m].
        obstacle_margin_m: What planners must keep clear of an obstacle beyond the vehicle's radius [m].
        delay_ticks: Ticks between a set-point and the vehicle receiving it.
        geofence, wind, estimator, randomisation: See there.
        obstacles: Fixed obstacles.
        forest: Drawn obstacles, or None.
        gates: In the order of passage.
        payload, battery: See there; None if nothing changes.
    """

    name: str
    title: str
    duration_s: float
    path: TaskPath
    reward_margin_m: float | None
    speed_limit_m_s: float
    vehicle_radius_m: float
    obstacle_margin_m: float
    delay_ticks: int
    geofence: Geofence
    wind: WindDefinition
    estimator: Estimator
    randomisation: Randomisation
    obstacles: tuple[Cylinder, ...]
    forest: Forest | None
    gates: tuple[Gate, ...]
    payload: Payload | None
    battery: Battery | None


def load_task(name_or_path: str | Path) -> TaskDefinition:
    """Read a task.

    Args:
        name_or_path: One of `TASKS`, or a TOML file.

    Returns:
        The checked definition.

    Raises:
        InputError: no such task, or the file has an unknown key, lacks one, or a value is out of range; the message names
            file, key, value and limit.
    """
    if isinstance(name_or_path, str) and not name_or_path.endswith(".toml"):
        if name_or_path not in TASKS:
            raise InputError(f"there is no task {name_or_path!r}; give a file that ends in .toml or one of: {', '.join(TASKS)}")
        path = _FOLDER / f"{name_or_path}.toml"
    else:
        path = Path(name_or_path)
    return _read(path.stem, TomlTable.from_file(path))


def task_digest(name_or_path: str | Path) -> str:
    """Sixteen digits of the hash of a task's file: the same in every process, which a `repr` of its arrays and paths is not.

    Raises:
        InputError: see `load_task`.
    """
    load_task(name_or_path)
    shipped = isinstance(name_or_path, str) and not name_or_path.endswith(".toml")
    path = _FOLDER / f"{name_or_path}.toml" if shipped else Path(name_or_path)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _read(name: str, top: TomlTable) -> TaskDefinition:
    duration_s = top.number("duration_s", 0.1, 600.0)
    path = read_path(top.table("path"))
    definition = TaskDefinition(
        name=name,
        title=top.text("title"),
        duration_s=duration_s,
        path=path,
        reward_margin_m=_margin(top, path),
        speed_limit_m_s=top.number("speed_limit_m_s", 0.1, SPEED_MAX_M_S),
        vehicle_radius_m=top.number("vehicle_radius_m", 0.01, 2.0),
        obstacle_margin_m=top.number("obstacle_margin_m", 0.0, 5.0),
        delay_ticks=top.integer("delay_ticks", 0, 50),
        geofence=_geofence(top.table("geofence"), path),
        wind=_wind(top.table("wind")),
        estimator=_estimator(top.table("estimator")),
        randomisation=_randomisation(top.table("randomisation")),
        obstacles=tuple(_cylinder(table) for table in top.tables("obstacles")),
        forest=_forest(top.table("forest")) if top.has("forest") else None,
        gates=tuple(_gate(table) for table in top.tables("gates")),
        payload=_payload(top.table("payload"), duration_s) if top.has("payload") else None,
        battery=_battery(top.table("battery")) if top.has("battery") else None,
    )
    top.finish()
    count = len(definition.obstacles) + (definition.forest.count if definition.forest else 0)
    if count > OBSTACLES_MAX:
        raise top.error("obstacles", count, f"together with the forest at most {OBSTACLES_MAX} obstacles")
    needed = 2.0 * (definition.vehicle_radius_m + definition.obstacle_margin_m)
    if definition.forest and definition.forest.gap_m < needed:
        limit = f"at least {needed:g}, twice the vehicle's radius plus obstacle_margin_m"
        raise top.error("forest.gap_m", definition.forest.gap_m, limit)
    return definition


def _margin(top: TomlTable, path: TaskPath) -> float | None:
    if not top.is_text("reward_margin_m"):
        return top.number("reward_margin_m", 0.01, SPAN_M)
    top.text("reward_margin_m", ("distance",))
    if not isinstance(path, GoalPath) or np.linalg.norm(path.goal_m - path.start_m) < 0.01:
        raise top.error("reward_margin_m", "distance", 'a number; "distance" is for a goal at least 0.01 m from the start')
    return None


def _geofence(table: TomlTable, path: TaskPath) -> Geofence:
    low, high = table.numbers("low_m", 3, -SPAN_M, SPAN_M), table.numbers("high_m", 3, -SPAN_M, SPAN_M)
    table.finish()
    if not np.all(low < path.start_m) or not np.all(path.start_m < high):
        raise table.error("low_m", low.tolist(), f"below the start {path.start_m.tolist()}, and high_m {high.tolist()} above it")
    return Geofence(low, high)


def _wind(table: TomlTable) -> WindDefinition:
    wind = WindDefinition(table.number("speed_m_s", 0.0, 20.0), table.number("gust_m_s", 0.0, 20.0))
    table.finish()
    return wind


def _estimator(table: TomlTable) -> Estimator:
    keys = ("position_m", "velocity_m_s", "attitude_rad", "rates_rad_s")
    estimator = Estimator(*(table.number(key, 0.0, 1.0) for key in keys), correlation_s=table.number("correlation_s", 0.0, 60.0))
    table.finish()
    return estimator


def _randomisation(table: TomlTable) -> Randomisation:
    factors = (table.interval(key, *FACTOR_RANGE) for key in ("mass", "thrust", "motor_lag", "drag"))
    drawn = Randomisation(*factors, table.interval("wind_from_deg", -360.0, 360.0), table.number("start_offset_m", 0.0, 10.0))
    table.finish()
    return drawn


def _cylinder(table: TomlTable) -> Cylinder:
    x, y = table.numbers("centre_m", 2, -SPAN_M, SPAN_M)
    cylinder = Cylinder(float(x), float(y), table.number("radius_m", 0.01, SPAN_M))
    table.finish()
    return cylinder


def _forest(table: TomlTable) -> Forest:
    low, high = table.numbers("low_m", 2, -SPAN_M, SPAN_M), table.numbers("high_m", 2, -SPAN_M, SPAN_M)
    if not np.all(low < high):
        raise table.error("high_m", high.tolist(), f"greater than low_m {low.tolist()}")
    forest = Forest(
        low,
        high,
        table.number("density_1_m2", 0.0, 10.0),
        table.interval("radius_m", 0.01, 5.0),
        table.number("clear_m", 0.0, SPAN_M),
        table.number("gap_m", 0.01, SPAN_M),
        table.integer("blocking", 0, OBSTACLES_MAX),
    )
    table.finish()
    return forest


def _gate(table: TomlTable) -> Gate:
    centre = table.numbers("centre_m", 3, -SPAN_M, SPAN_M)
    heading = np.radians(table.number("heading_deg", -360.0, 360.0))
    gate = Gate(centre, float(heading), table.number("width_m", 0.05, SPAN_M), table.number("height_m", 0.05, SPAN_M))
    table.finish()
    return gate


def _payload(table: TomlTable, duration_s: float) -> Payload:
    payload = Payload(table.number("mass_factor", 0.5, 2.0), table.number("from_s", 0.0, duration_s))
    table.finish()
    return payload


def _battery(table: TomlTable) -> Battery:
    battery = Battery(table.number("first", 0.5, 1.5), table.number("last", 0.5, 1.5))
    table.finish()
    return battery
