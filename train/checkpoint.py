"""The checkpoint directory: everything that certification and export need, written so that it is never half there."""

from __future__ import annotations

import hashlib
import io
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import tomli_w

from tubepilot.firmware_bridge.errors import CheckpointError

from .atomic import recover_directory, replace_directory
from .dynamics import Physics, Residual, WorldModel
from .task import ActionScale, CostWeights, Network, ObservationScale

FORMAT = 2
ARRAYS = "checkpoint.npz"
SETTINGS = "checkpoint.toml"
_GROUPS: dict[str, type[NamedTuple]] = {
    "physics": Physics,
    "residual": Residual,
    "action_scale": ActionScale,
    "observation_scale": ObservationScale,
    "cost": CostWeights,
    "policy": Network,
    "value": Network,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a setpoint may ask for.

    Attributes:
        rate_rad_s: Largest magnitude of each commanded body rate [rad/s].
        thrust_min_m_s2: Smallest commanded collective acceleration [m/s^2].
        thrust_max_m_s2: Largest commanded collective acceleration [m/s^2].
    """

    rate_rad_s: tuple[float, float, float]
    thrust_min_m_s2: float
    thrust_max_m_s2: float


@dataclass(frozen=True, slots=True)
class RegimeBounds:
    """Residual bounds of one regime of speed.

    Attributes:
        speed_m_s: Where the regime begins and ends [m/s]; the last one has no end (inf).
        acceleration_m_s2, rate_rad_s: See `ResidualBounds`.
        coverage_claimed: Joint coverage that the rank gives; below what was asked for if the ticks were too few.
        coverage_seen: Joint coverage on flights used for neither fit nor bound; nan if none of them was in the regime.
        samples: Number of ticks in the regime.
        pooled_m_s: Speeds whose ticks are behind the bound [m/s]; wider than the regime if that had too few ticks.
    """

    speed_m_s: tuple[float, float]
    acceleration_m_s2: tuple[float, float, float]
    rate_rad_s: tuple[float, float, float]
    coverage_claimed: float
    coverage_seen: float
    samples: int
    pooled_m_s: tuple[float, float]


@dataclass(frozen=True, slots=True)
class ResidualBounds:
    """How far the physics-only model (no ensemble) was from flights that it was not fitted on.

    Attributes:
        acceleration_m_s2: Bound per world axis, wind included as disturbance [m/s^2].
        rate_rad_s: Bound per body axis on rate lag times angular-acceleration residual [rad/s].
        coverage_asked: Share of one tick's residuals that the bound was made to cover.
        coverage_seen: Share covered on flights used for neither fit nor bound.
        samples: Number of residual samples behind the bound.
        how: How it was made, one sentence.
        regimes: The same by regime of speed, from slow to fast; empty in checkpoints from before there were any.
        flights: Names of the held-out flights behind the bounds; empty likewise.
    """

    acceleration_m_s2: tuple[float, float, float]
    rate_rad_s: tuple[float, float, float]
    coverage_asked: float
    coverage_seen: float
    samples: int
    how: str
    regimes: tuple[RegimeBounds, ...] = ()
    flights: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers that go with the arrays.

    Attributes:
        action_level: "rates" (only this level can be flown).
        airframe: Name of the airframe the flights are of.
        thrust_scale_m_s2: Commanded collective acceleration at throttle 1: throttle = thrust / this [m/s^2].
        dt_plan_s: Step of the planner's model [s].
        horizon: Plan steps H.
        tick_hz: Ticks per second.
        seed: Seed of the training run.
        command_delay_s: Identified delay from setpoint to the start of the response [s].
        limits: Setpoint limits.
        residual_bounds: Model error for the prover.
    """

    action_level: str
    airframe: str
    thrust_scale_m_s2: float
    dt_plan_s: float
    horizon: int
    tick_hz: float
    seed: int
    command_delay_s: float
    limits: Limits
    residual_bounds: ResidualBounds


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained world model, policy and value with their scales and settings."""

    model: WorldModel
    action_scale: ActionScale
    observation_scale: ObservationScale
    cost: CostWeights
    policy: Network
    value: Network
    settings: Settings


def save(path: Path, checkpoint: Checkpoint, extra: Mapping[str, bytes] | None = None) -> None:
    """Write a checkpoint directory; whoever dies in between, the old or the new one is there.

    Args:
        path: Directory to write; whatever else the old one held is dropped with it.
        checkpoint: What to write.
        extra: Further files of the directory, name to content (pictures, tables).
    """

    def fill(folder: Path) -> None:
        _fill(folder, checkpoint)
        for name, content in (extra or {}).items():
            (folder / name).write_bytes(content)

    replace_directory(path, fill)


def _fill(folder: Path, checkpoint: Checkpoint) -> None:
    groups: dict[str, NamedTuple] = {
        "physics": checkpoint.model.physics,
        "residual": checkpoint.model.residual,
        "action_scale": checkpoint.action_scale,
        "observation_scale": checkpoint.observation_scale,
        "cost": checkpoint.cost,
        "policy": checkpoint.policy,
        "value": checkpoint.value,
    }
    arrays = {
        f"{group}/{field}": np.asarray(value, dtype=np.float64)
        for group, values in groups.items()
        for field, value in values._asdict().items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    content = buffer.getvalue()
    (folder / ARRAYS).write_bytes(content)
    (folder / SETTINGS).write_bytes(tomli_w.dumps(_table(checkpoint.settings, content)).encode())


def _table(settings: Settings, content: bytes) -> dict[str, object]:
    bounds, limits = settings.residual_bounds, settings.limits
    return {
        "format": FORMAT,
        "arrays_sha256": hashlib.sha256(content).hexdigest(),
        "action_level": settings.action_level,
        "airframe": settings.airframe,
        "thrust_scale_m_s2": settings.thrust_scale_m_s2,
        "dt_plan_s": settings.dt_plan_s,
        "horizon": settings.horizon,
        "tick_hz": settings.tick_hz,
        "seed": settings.seed,
        "command_delay_s": settings.command_delay_s,
        "limits": {
            "rate_rad_s": list(limits.rate_rad_s),
            "thrust_min_m_s2": limits.thrust_min_m_s2,
            "thrust_max_m_s2": limits.thrust_max_m_s2,
        },
        "residual_bounds": {
            "acceleration_m_s2": list(bounds.acceleration_m_s2),
            "rate_rad_s": list(bounds.rate_rad_s),
            "coverage_asked": bounds.coverage_asked,
            "coverage_seen": bounds.coverage_seen,
            "samples": bounds.samples,
            "how": bounds.how,
            "regimes": [_regime_table(regime) for regime in bounds.regimes],
            "flights": list(bounds.flights),
        },
    }


def _regime_table(regime: RegimeBounds) -> dict[str, object]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(regime).items()}


def load(path: Path) -> Checkpoint:
    """Read a checkpoint directory.

    Args:
        path: Directory written by `save`.

    Returns:
        The checkpoint; arrays are JAX arrays in the default precision of the process.

    Raises:
        CheckpointError: a file is missing, cut short, altered, of another format, or holds unknown or missing entries.
    """
    recover_directory(path)
    try:
        content = (path / ARRAYS).read_bytes()
        table = tomllib.loads((path / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{error.filename} is missing; run `tubepilot train` into {path}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}; run `tubepilot train` again") from error
    if table.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format is {table.get('format')}, this version reads {FORMAT}; train again")
    if hashlib.sha256(content).hexdigest() != table.get("arrays_sha256"):
        raise CheckpointError(f"{path / ARRAYS}: does not match its hash in {SETTINGS}; train again")
    groups = _groups(path, content)
    try:
        settings = _settings(table)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path / SETTINGS}: entry {error} is missing or malformed; train again") from error
    return Checkpoint(
        model=WorldModel(groups["physics"], groups["residual"]),  # type: ignore[arg-type]
        action_scale=groups["action_scale"],  # type: ignore[arg-type]
        observation_scale=groups["observation_scale"],  # type: ignore[arg-type]
        cost=groups["cost"],  # type: ignore[arg-type]
        policy=groups["policy"],  # type: ignore[arg-type]
        value=groups["value"],  # type: ignore[arg-type]
        settings=settings,
    )


def _groups(path: Path, content: bytes) -> dict[str, NamedTuple]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise CheckpointError(f"{path / ARRAYS}: cannot be read: {error}; train again") from error
    wanted = {f"{group}/{field}" for group, kind in _GROUPS.items() for field in kind._fields}
    if wanted != set(arrays):
        odd = ", ".join(sorted(wanted ^ set(arrays)))
        raise CheckpointError(f"{path / ARRAYS}: missing or unknown arrays: {odd}; train again")
    for key, value in arrays.items():
        if value.dtype != np.float64 or not np.isfinite(value).all():
            raise CheckpointError(f"{path / ARRAYS}: {key} is not finite float64; train again")
    return {
        group: kind(*(jnp.asarray(arrays[f"{group}/{field}"]) for field in kind._fields))
        for group, kind in _GROUPS.items()
    }


def _triple(values: list[float]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _settings(table: dict[str, object]) -> Settings:
    limits, bounds = table["limits"], table["residual_bounds"]
    if not isinstance(limits, dict) or not isinstance(bounds, dict):
        raise TypeError("limits, residual_bounds")
    return Settings(
        action_level=str(table["action_level"]),
        airframe=str(table["airframe"]),
        thrust_scale_m_s2=float(str(table["thrust_scale_m_s2"])),
        dt_plan_s=float(str(table["dt_plan_s"])),
        horizon=int(str(table["horizon"])),
        tick_hz=float(str(table["tick_hz"])),
        seed=int(str(table["seed"])),
        command_delay_s=float(str(table["command_delay_s"])),
        limits=Limits(
            _triple(limits["rate_rad_s"]), float(limits["thrust_min_m_s2"]), float(limits["thrust_max_m_s2"])
        ),
        residual_bounds=ResidualBounds(
            _triple(bounds["acceleration_m_s2"]),
            _triple(bounds["rate_rad_s"]),
            float(bounds["coverage_asked"]),
            float(bounds["coverage_seen"]),
            int(bounds["samples"]),
            str(bounds["how"]),
            tuple(_regime(regime) for regime in bounds.get("regimes", [])),
            tuple(str(name) for name in bounds.get("flights", [])),
        ),
    )


def _regime(table: dict[str, object]) -> RegimeBounds:
    def pair(key: str) -> tuple[float, float]:
        low, high = (float(v) for v in table[key])  # type: ignore[attr-defined]
        return low, high

    return RegimeBounds(
        pair("speed_m_s"),
        _triple(table["acceleration_m_s2"]),  # type: ignore[arg-type]
        _triple(table["rate_rad_s"]),  # type: ignore[arg-type]
        float(str(table["coverage_claimed"])),
        float(str(table["coverage_seen"])),
        int(str(table["samples"])),
        pair("pooled_m_s"),
    )
