"""The manifest of a bundle: what it is for, the numbers that the on-board parts need, and every file with its hash.

Every key is known and required; an unknown one is an error, except inside the tables that are only carried along
(`assumptions`, `certified_limits`, `residual_bounds`, `parity`), which hold numbers, texts, booleans and lists of them.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from tubepilot.firmware_bridge.errors import BundleError

FORMAT = 1
NAME = "manifest.toml"
GRAPHS = ("rollout", "refine", "rank", "policy", "backup", "shield")
FILES = (*(f"{graph}.onnx" for graph in GRAPHS), "certificate.toml", "certificate.npz", "planner.npz", "selftest.npz")
OPTIONAL = ("planner.c", "planner.bin")
"""The planner's graphs in C and their float32 weights: both or neither. Without them onnxruntime plans."""
MOST_BYTES = 64 * 1024 * 1024
"""Largest file in a bundle."""

Triple = tuple[float, float, float]
Quadruple = tuple[float, float, float, float]
Plain = bool | int | float | str | list["Plain"] | dict[str, "Plain"]


@dataclass(frozen=True, slots=True)
class PlannerEntry:
    """Shape and rules of the planner graphs; see `tubepilot.train.planner_settings`."""

    preset: str
    candidates: int
    horizon: int
    steps: int
    reuse: float


@dataclass(frozen=True, slots=True)
class ActionEntry:
    """setpoint = centre + half * action, [rad/s, rad/s, rad/s, m/s^2]."""

    centre: Quadruple
    half: Quadruple


@dataclass(frozen=True, slots=True)
class LimitsEntry:
    """Set-point limits: magnitude of each body rate [rad/s], least and greatest collective acceleration [m/s^2]."""

    rate_rad_s: Triple
    thrust_min_m_s2: float
    thrust_max_m_s2: float


@dataclass(frozen=True, slots=True)
class PhysicsEntry:
    """Identified parameters for the on-board predictor; fields as in `tubepilot.train.dynamics.Physics`."""

    thrust_gain: float
    thrust_lag_s: float
    rate_gain: Triple
    rate_offset_rad_s: Triple
    rate_lag_s: Triple
    drag_1_s: Triple


@dataclass(frozen=True, slots=True)
class ObservationEntry:
    """Divisors of the observation (20) and clip of the position error [m]."""

    divisor: tuple[float, ...]
    position_clip_m: float


@dataclass(frozen=True, slots=True)
class CostEntry:
    """Weights of the stage cost; fields as in `tubepilot.train.task.CostWeights`."""

    position: Triple
    velocity: Triple
    tilt: float
    heading: float
    rates: Triple
    action: Quadruple
    smooth: Quadruple
    disagreement: float


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the bundle."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole manifest.

    Attributes:
        version: Grows with every export; an older one is refused when flashing.
        airframe: Name of the airframe the logs came from.
        checkpoint_sha256: Hash of the checkpoint's arrays that the graphs were made from.
        tick_hz: Control rate [Hz].
        dt_plan_s: Length of a plan step [s].
        thrust_scale_m_s2: Collective acceleration at throttle 1 [m/s^2].
        command_delay_s: Identified delay from set-point to the start of the response [s].
        planner, action_scale, limits, physics, observation, cost: See the entries.
        assumptions: Of the certificate, carried along.
        certified_limits: Limits that the certificate keeps, carried along.
        residual_bounds: Of the model on held-out flights, carried along.
        parity: Errors of the graphs against JAX at export, carried along.
        files: Every file but the manifest and its signature.
    """

    version: int
    airframe: str
    checkpoint_sha256: str
    tick_hz: float
    dt_plan_s: float
    thrust_scale_m_s2: float
    command_delay_s: float
    planner: PlannerEntry
    action_scale: ActionEntry
    limits: LimitsEntry
    physics: PhysicsEntry
    observation: ObservationEntry
    cost: CostEntry
    assumptions: Mapping[str, Plain]
    certified_limits: Mapping[str, Plain]
    residual_bounds: Mapping[str, Plain]
    parity: Mapping[str, Plain]
    files: tuple[FileEntry, ...]


class _Table:
    """Takes typed values out of a TOML table and refuses what is left over."""

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, dict):
            raise BundleError(f"{NAME}: [{name}] must be a table")
        self._values = dict(values)
        self._name = name

    def _take(self, key: str) -> object:
        if key not in self._values:
            raise BundleError(f"{NAME}: {self._path(key)} is missing; export the bundle again")
        return self._values.pop(key)

    def _path(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def _bad(self, key: str, value: object, wanted: str) -> BundleError:
        return BundleError(f"{NAME}: {self._path(key)} is {str(value)[:80]!r}, must be {wanted}; export again")

    def number(self, key: str, low: float, high: float) -> float:
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self._bad(key, value, f"a number within [{low:g}, {high:g}]")
        return float(value)

    def integer(self, key: str, low: int, high: int) -> int:
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._bad(key, value, f"an integer within [{low}, {high}]")
        return value

    def text(self, key: str, pattern: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise self._bad(key, value, f"a text matching {pattern}")
        return value

    def numbers(self, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
        value = self._take(key)
        wanted = f"{count} numbers within [{low:g}, {high:g}]"
        if not isinstance(value, list) or len(value) != count:
            raise self._bad(key, value, wanted)
        for entry in value:
            if isinstance(entry, bool) or not isinstance(entry, int | float) or not low <= entry <= high:
                raise self._bad(key, value, wanted)
        return tuple(float(entry) for entry in value)

    def triple(self, key: str, low: float, high: float) -> Triple:
        x, y, z = self.numbers(key, 3, low, high)
        return x, y, z

    def quadruple(self, key: str, low: float, high: float) -> Quadruple:
        a, b, c, d = self.numbers(key, 4, low, high)
        return a, b, c, d

    def table(self, key: str) -> _Table:
        return _Table(self._take(key), self._path(key))

    def carried(self, key: str) -> Mapping[str, Plain]:
        value = self._take(key)
        if not isinstance(value, dict) or not _is_plain(value, depth=4):
            raise self._bad(key, value, "a table of finite numbers, texts, booleans and lists of them")
        return value

    def tables(self, key: str) -> list[_Table]:
        value = self._take(key)
        if not isinstance(value, list):
            raise self._bad(key, value, "an array of tables")
        return [_Table(entry, self._path(key)) for entry in value]

    def end(self) -> None:
        """Raises BundleError if a key was not asked for."""
        if self._values:
            odd = ", ".join(sorted(map(self._path, self._values)))
            raise BundleError(f"{NAME}: unknown keys: {odd}; this version of tubepilot does not understand the bundle")


def _is_plain(value: object, depth: int) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, bool | int | str):
        return True
    if depth == 0:
        return False
    if isinstance(value, list):
        return all(_is_plain(entry, depth - 1) for entry in value)
    return isinstance(value, dict) and all(_is_plain(entry, depth - 1) for entry in value.values())


def parse(content: bytes) -> Manifest:
    """Read a manifest whose signature was checked.

    Args:
        content: Exact bytes of manifest.toml.

    Raises:
        BundleError: not TOML, another format version, a missing, unknown or out-of-range entry.
    """
    try:
        values = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BundleError(f"{NAME}: not readable TOML: {error}; export the bundle again") from error
    if values.get("format") != FORMAT:
        raise BundleError(
            f"{NAME}: format is {str(values.get('format'))[:40]}, this version reads {FORMAT}; "
            "export with a matching version of tubepilot"
        )
    top = _Table(values, "")
    top.integer("format", FORMAT, FORMAT)
    manifest = Manifest(
        version=top.integer("version", 1, 2**53),
        airframe=top.text("airframe", r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}"),
        checkpoint_sha256=top.text("checkpoint_sha256", r"[0-9a-f]{64}"),
        tick_hz=top.number("tick_hz", 1.0, 2000.0),
        dt_plan_s=top.number("dt_plan_s", 1e-3, 1.0),
        thrust_scale_m_s2=top.number("thrust_scale_m_s2", 1.0, 500.0),
        command_delay_s=top.number("command_delay_s", 0.0, 1.0),
        planner=_planner(top.table("planner")),
        action_scale=_action_scale(top.table("action_scale")),
        limits=_limits(top.table("limits")),
        physics=_physics(top.table("physics")),
        observation=_observation(top.table("observation")),
        cost=_cost(top.table("cost")),
        assumptions=top.carried("assumptions"),
        certified_limits=top.carried("certified_limits"),
        residual_bounds=top.carried("residual_bounds"),
        parity=top.carried("parity"),
        files=_files(top.tables("file")),
    )
    top.end()
    return manifest


def _planner(table: _Table) -> PlannerEntry:
    entry = PlannerEntry(
        preset=table.text("preset", r"[a-z0-9_-]{1,32}"),
        candidates=table.integer("candidates", 1, 256),
        horizon=table.integer("horizon", 1, 64),
        steps=table.integer("steps", 0, 64),
        reuse=table.number("reuse", 0.0, 1.0),
    )
    table.end()
    return entry


def _action_scale(table: _Table) -> ActionEntry:
    entry = ActionEntry(table.quadruple("centre", -100.0, 100.0), table.quadruple("half", 1e-6, 200.0))
    table.end()
    return entry


def _limits(table: _Table) -> LimitsEntry:
    entry = LimitsEntry(
        rate_rad_s=table.triple("rate_rad_s", 1e-3, 100.0),
        thrust_min_m_s2=table.number("thrust_min_m_s2", 0.0, 500.0),
        thrust_max_m_s2=table.number("thrust_max_m_s2", 0.0, 500.0),
    )
    table.end()
    if entry.thrust_min_m_s2 >= entry.thrust_max_m_s2:
        raise BundleError(f"{NAME}: limits.thrust_min_m_s2 must be below limits.thrust_max_m_s2; train again")
    return entry


def _physics(table: _Table) -> PhysicsEntry:
    entry = PhysicsEntry(
        thrust_gain=table.number("thrust_gain", 0.1, 10.0),
        thrust_lag_s=table.number("thrust_lag_s", 1e-4, 2.0),
        rate_gain=table.triple("rate_gain", 0.1, 10.0),
        rate_offset_rad_s=table.triple("rate_offset_rad_s", -10.0, 10.0),
        rate_lag_s=table.triple("rate_lag_s", 1e-4, 2.0),
        drag_1_s=table.triple("drag_1_s", -10.0, 10.0),
    )
    table.end()
    return entry


def _observation(table: _Table) -> ObservationEntry:
    entry = ObservationEntry(table.numbers("divisor", 20, 1e-6, 1e6), table.number("position_clip_m", 1e-3, 1e6))
    table.end()
    return entry


def _cost(table: _Table) -> CostEntry:
    high = 1e9
    entry = CostEntry(
        position=table.triple("position", 0.0, high),
        velocity=table.triple("velocity", 0.0, high),
        tilt=table.number("tilt", 0.0, high),
        heading=table.number("heading", 0.0, high),
        rates=table.triple("rates", 0.0, high),
        action=table.quadruple("action", 0.0, high),
        smooth=table.quadruple("smooth", 0.0, high),
        disagreement=table.number("disagreement", 0.0, high),
    )
    table.end()
    return entry


def _files(tables: list[_Table]) -> tuple[FileEntry, ...]:
    entries = []
    for table in tables:
        name = table.text("name", "|".join(map(re.escape, (*FILES, *OPTIONAL))))
        size = table.integer("bytes", 1, MOST_BYTES)
        entries.append(FileEntry(name, size, table.text("sha256", r"[0-9a-f]{64}")))
        table.end()
    names = [entry.name for entry in entries]
    wanted = (*FILES, *OPTIONAL) if set(OPTIONAL) & set(names) else FILES
    if sorted(names) != sorted(wanted):
        missing = ", ".join(sorted(set(wanted) - set(names))) or "none"
        raise BundleError(f"{NAME}: must list every file once; missing: {missing}; export the bundle again")
    return tuple(entries)


def require_newer(installed: Manifest, offered: Manifest) -> None:
    """Refuse to go back.

    Raises:
        BundleError: the offered version is not above the installed one.
    """
    if offered.version <= installed.version:
        raise BundleError(
            f"{NAME}: version {offered.version} is not above the installed version {installed.version}; "
            "export again with a higher --version"
        )
