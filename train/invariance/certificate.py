"""A certificate: assumptions, limits, gains, sets and witnesses; written as TOML (for people) and NPZ (for machines)."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from tubepilot.train.atomic import write_file

from .assumptions import Assumptions
from .backup import BackupLaw
from .disturbance import Disturbance, Limits
from .interval import Numbers
from .proof import AxisProof

FORMAT = 6
STATEMENT = (
    "Let z = (position from the anchor, velocity, thrust vector minus hover plus held disturbance estimate, its derivative). "
    "S is the union of stages, which form chains. If z lies in a stage when the backup policy takes over, and the assumptions hold, "
    "then z lies in the next stage of its chain after a step, in the last one again after every step, stays in the tube T at all "
    "times between, and neither set-points nor states leave the limits; for ever. Position means distance "
    "from the anchor that the backup holds; clearance to ground and obstacles follows only where the tube around the anchor has it."
)


@dataclass(frozen=True, slots=True)
class AtOnce:
    """A velocity and a tilt that lie in S at once, whatever their directions, at a thrust that carries the weight, jerk zero.

    Attributes:
        velocity_m_s: Horizontal and vertical, each in every direction [m/s].
        tilt_rad: In every direction.
        anchor_m: Where the anchor is put, against the horizontal velocity, against the tilt, and against the vertical velocity [m].
    """

    velocity_m_s: tuple[float, float]
    tilt_rad: float
    anchor_m: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Stages:
    """What differs from stage to stage.

    Attributes:
        limits: Over which the disturbances were bounded, shape (stages, 6, 2): rows as `loop.ROWS`, horizontal and vertical.
        bounds: Of w and r, shape (stages, 2, 2): horizontal and vertical, w [m/s^2] and r [m/s^3].
        lasting: Last stage of each chain: it leads into itself, every other one into the next. The last stage of all is one of them.
    """

    limits: Numbers
    bounds: Numbers
    lasting: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """Everything that `prove` established, with what it assumed.

    Attributes:
        assumptions: E, W, timing, lags.
        limits: The widest limits, the largest of all stages; the tube stays inside.
        law: The backup policy.
        disturbance: Bounds of w and r over the widest limits.
        stages: Limits and bounds of each stage.
        axes: Proof of the horizontal and of the vertical axis.
        anchor: Linear maps (velocity, acceleration, jerk) to the position from the anchor with the most margin: to the first stage
            of the first chain, and to that of the last one (the last stage if there is one chain); shape (2 chains, 2 axes, 3).
        step_s, substeps: Step of the invariance, pieces of a step for the tube.
        rounding_m_s3: Bound of the float32 rounding of the backup graph, as an error of nu.
        speed_m_s: Largest horizontal speed in S at hover thrust, for some anchor, in every direction.
        tilt_rad: Largest tilt in S at zero speed, likewise.
        at_once: What S holds all at once.
    """

    assumptions: Assumptions
    limits: Limits
    law: BackupLaw
    disturbance: Disturbance
    stages: Stages
    axes: tuple[AxisProof, AxisProof]
    anchor: Numbers
    step_s: float
    substeps: int
    rounding_m_s3: float
    speed_m_s: float
    tilt_rad: float
    at_once: AtOnce

    def arrays(self) -> dict[str, Numbers]:
        """Numeric content by name."""
        result: dict[str, Numbers] = {
            "anchor": self.anchor, "gain": self.law.gain, "limits": self.stages.limits, "bounds": self.stages.bounds,
        }  # fmt: skip
        for name, axis in zip(("horizontal", "vertical"), self.axes, strict=True):
            result[f"{name}_facets"] = axis.facets
            result[f"{name}_offsets"] = axis.offsets
            result[f"{name}_facet_multipliers"] = axis.facet_multipliers
            result[f"{name}_tube_multipliers"] = axis.tube_multipliers
            result[f"{name}_tube"] = axis.stage_tube
        return result

    def table(self, graphs: dict[str, bytes]) -> dict[str, Any]:
        """Content of certificate.toml."""
        d = self.disturbance
        return {
            "format": FORMAT,
            "statement": STATEMENT,
            "assumptions": _plain(asdict(self.assumptions)),
            "limits": _plain(asdict(self.limits)),
            "lasting_limits": _plain(asdict(Limits(*map(tuple, self.stages.limits[-1].tolist())))),
            "backup": _plain(asdict(self.law)),
            "proof": {
                "step_s": self.step_s,
                "substeps": self.substeps,
                "stages": int(self.stages.limits.shape[0]),
                "lasting": list(self.stages.lasting),
                "rounding_m_s3": self.rounding_m_s3,
                "facets": [int(axis.facets.shape[0]) for axis in self.axes],
                "largest_facet": [float(axis.facet_bound.max()) for axis in self.axes],
            },
            "set": {
                "speed_m_s": self.speed_m_s,
                "tilt_deg": float(np.degrees(self.tilt_rad)),
                "anchor": _plain(self.anchor),
                "at_once_velocity_m_s": list(self.at_once.velocity_m_s),
                "at_once_tilt_deg": float(np.degrees(self.at_once.tilt_rad)),
                "at_once_anchor_m": list(self.at_once.anchor_m),
            },
            "tube": {
                "position_m": [float(a.tube_bound[0]) for a in self.axes],
                "velocity_m_s": [float(a.tube_bound[1]) for a in self.axes],
                "acceleration_m_s2": [float(a.tube_bound[2]) for a in self.axes],
                "jerk_m_s3": [float(a.tube_bound[3]) for a in self.axes],
                "smallest_tilt_cosine": d.tilt_cosine,
                "largest_rates_rad_s": d.rates_rad_s,
                "thrust_m_s2": list(d.thrust_m_s2),
            },
            "disturbance": {
                "acceleration_m_s2": list(d.acceleration_m_s2),
                "jerk_m_s3": list(d.jerk_m_s3),
                "parts_m_s3": {name: list(pair) for name, pair in d.parts.items()},
            },
            "graphs": {f"{name}_sha256": hashlib.sha256(data).hexdigest() for name, data in graphs.items()},
        }


def _plain(value: Any) -> Any:
    """TOML-ready copy: arrays and tuples to lists, numpy scalars to Python's."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def files_of(certificate: Certificate, graphs: dict[str, bytes]) -> dict[str, bytes]:
    """Content of the files of a certificate folder by name; certificate.toml, which names the hashes of the others, is the last.

    Args:
        certificate: What was proven.
        graphs: Bytes of the graphs that it speaks of, by name without suffix.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **certificate.arrays())  # type: ignore[arg-type]
    table = certificate.table(graphs)
    table["proof"]["arrays_sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    files = {f"{name}.onnx": data for name, data in graphs.items()}
    files["certificate.npz"] = buffer.getvalue()
    files["certificate.toml"] = tomli_w.dumps(json.loads(json.dumps(table))).encode()
    return files


def save(certificate: Certificate, graphs: dict[str, bytes], folder: Path) -> None:
    """Write certificate.toml, certificate.npz and the graphs; each file appears whole or not at all, the TOML last.

    Args:
        certificate, graphs: See `files_of`.
        folder: Made if absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files_of(certificate, graphs).items():
        write_file(folder / name, data)
