"""Reads a certificate folder back, as far as tubes and pictures need it."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tubepilot.firmware_bridge.errors import CertificateError

from .interval import Numbers
from .loop import AxisLoop


@dataclass(frozen=True, slots=True)
class Stored:
    """Loops, sets and disturbance bounds of a certificate; index 0 horizontal, 1 vertical."""

    loops: tuple[AxisLoop, AxisLoop]
    facets: tuple[Numbers, Numbers]
    acceleration_m_s2: tuple[float, float]
    jerk_m_s3: tuple[float, float]
    anchor: Numbers


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
        assumed, disturbance = table["assumptions"], table["disturbance"]
        h, v = (AxisLoop(gain[i], assumed["drag_1_s"][i], assumed["rate_lag_s"]) for i in (0, 1))
        acceleration, jerk = disturbance["acceleration_m_s2"], disturbance["jerk_m_s3"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise CertificateError(f"{folder} holds no readable certificate ({error}); run `tubepilot certify`") from error
    return Stored((h, v), facets, (acceleration[0], acceleration[1]), (jerk[0], jerk[1]), anchor)
