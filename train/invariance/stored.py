"""Reads a certificate back: a folder as far as tubes and pictures need it, or the files of a bundle as a whole."""

from __future__ import annotations

import hashlib
import io
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.errors import CertificateError

from .assumptions import Assumptions
from .backup import BackupLaw
from .certificate import AtOnce, Certificate, Stages
from .disturbance import Disturbance, Limits
from .interval import Numbers
from .loop import AxisLoop
from .proof import AxisProof


@dataclass(frozen=True, slots=True)
class Stored:
    """Loops, sets and disturbance bounds of a certificate; index 0 horizontal, 1 vertical.

    Attributes:
        loops: Linear part of each axis.
        facets, offsets: Of each axis, shapes (n, 4) and (stages, n).
        bounds: Of w and r, shape (stages, 2, 2).
        anchor: See `Certificate`.
    """

    loops: tuple[AxisLoop, AxisLoop]
    facets: tuple[Numbers, Numbers]
    offsets: tuple[Numbers, Numbers]
    bounds: Numbers
    anchor: Numbers

    def stage_of(self, axis: int, centre: Numbers, radius: Numbers) -> int | None:
        """The last stage that holds a box of states; its bounds hold from there on. None if none does."""
        facets = self.facets[axis]
        largest = np.abs(facets @ centre) + np.abs(facets) @ radius
        inside = np.flatnonzero((largest / self.offsets[axis]).max(axis=1) < 1.0 - 1e-9)
        return int(inside[-1]) if inside.size else None


def load(folder: Path) -> Stored:
    """Read certificate.toml and certificate.npz.

    Raises:
        CertificateError: a file is missing, altered or incomplete.
    """
    try:
        table = tomllib.loads((folder / "certificate.toml").read_text(encoding="utf-8"))
        content = (folder / "certificate.npz").read_bytes()
        if hashlib.sha256(content).hexdigest() != table["proof"]["arrays_sha256"]:
            raise CertificateError(f"{folder / 'certificate.npz'} is not the file that certificate.toml names; certify again")
        with np.load(folder / "certificate.npz", allow_pickle=False) as arrays:
            gain, anchor = arrays["gain"], arrays["anchor"]
            facets = (arrays["horizontal_facets"], arrays["vertical_facets"])
            offsets, bounds = (arrays["horizontal_offsets"], arrays["vertical_offsets"]), arrays["bounds"]
        assumed = table["assumptions"]
        h, v = (AxisLoop(gain[i], assumed["drag_1_s"][i], assumed["rate_lag_s"]) for i in (0, 1))
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise CertificateError(f"{folder} holds no readable certificate ({error}); run `tubepilot certify`") from error
    return Stored((h, v), facets, offsets, bounds, anchor)


def read(files: Mapping[str, bytes]) -> Certificate:
    """The whole certificate of a bundle, as it stands there: nothing of it is checked here.

    Args:
        files: Bytes of certificate.toml and certificate.npz by name.

    Raises:
        CertificateError: something is missing or of another form.
    """
    try:
        table = tomllib.loads(files["certificate.toml"].decode())
        with np.load(io.BytesIO(files["certificate.npz"]), allow_pickle=False) as source:
            arrays = {name: source[name] for name in source.files}
        return _certificate(table, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise CertificateError(f"certificate of another version or damaged ({error}); certify and export again") from error


def _certificate(table: dict[str, Any], arrays: dict[str, Numbers]) -> Certificate:
    disturbance, tube, chosen = table["disturbance"], table["tube"], table["set"]
    axes = []
    for n, name in enumerate(("horizontal", "vertical")):
        facets = arrays[f"{name}_facets"]
        largest = np.full(arrays[f"{name}_offsets"].shape, table["proof"]["largest_facet"][n])
        witnesses = (arrays[f"{name}_{kind}_multipliers"] for kind in ("facet", "tube"))
        axes.append(AxisProof(facets, arrays[f"{name}_offsets"], *witnesses, largest, arrays[f"{name}_tube"]))
    law = {key: np.array(value) if isinstance(value, list) else value for key, value in table["backup"].items()}
    assumed = {key: tuple(value) if isinstance(value, list) else value for key, value in table["assumptions"].items()}
    return Certificate(
        assumptions=Assumptions(**assumed),
        limits=Limits(**{field.name: tuple(table["limits"][field.name]) for field in fields(Limits)}),
        law=BackupLaw(**law),
        disturbance=Disturbance(
            acceleration_m_s2=tuple(disturbance["acceleration_m_s2"]),
            jerk_m_s3=tuple(disturbance["jerk_m_s3"]),
            parts={name: tuple(pair) for name, pair in disturbance["parts_m_s3"].items()},
            thrust_m_s2=tuple(tube["thrust_m_s2"]),
            rates_rad_s=tube["largest_rates_rad_s"],
            tilt_cosine=tube["smallest_tilt_cosine"],
            setpoint_rates_rad_s=float("nan"),
            setpoint_thrust_m_s2=(float("nan"), float("nan")),
        ),
        stages=Stages(arrays["limits"], arrays["bounds"], tuple(table["proof"]["lasting"])),
        axes=(axes[0], axes[1]),
        anchor=np.array(chosen["anchor"]),
        step_s=table["proof"]["step_s"],
        substeps=table["proof"]["substeps"],
        rounding_m_s3=table["proof"]["rounding_m_s3"],
        speed_m_s=chosen["speed_m_s"],
        tilt_rad=float(np.radians(chosen["tilt_deg"])),
        at_once=AtOnce(
            tuple(chosen["at_once_velocity_m_s"]), float(np.radians(chosen["at_once_tilt_deg"])), tuple(chosen["at_once_anchor_m"])
        ),
    )
