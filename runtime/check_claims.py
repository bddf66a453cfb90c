"""What a certificate says in words and numbers beside its proof: no more than is checked, and the same as the manifest.

certificate.toml has exactly the keys listed here, so that no claim stands in it that nothing checks; its statement is the one that
docs/certificate.md explains. The manifest repeats assumptions and limits for people, and holds the numbers that the loop and the
predictor run with: they have to be those of the certificate.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from tubepilot.firmware_bridge.errors import CertificateError

from .bundle import Bundle
from .manifest import NAME, Manifest, PhysicsEntry

STATEMENT = (
    "Let z = (position from the anchor, velocity, thrust vector minus hover plus held disturbance estimate, its derivative). "
    "S is the union of stages, which form chains. If z lies in a stage when the backup policy takes over, and the assumptions hold, "
    "then z lies in the next stage of its chain after a step, in the last one again after every step, stays in the tube T at all "
    "times between, and neither set-points nor states leave the limits; for ever. Position means distance "
    "from the anchor that the backup holds; clearance to ground and obstacles follows only where the tube around the anchor has it."
)
SIX = ("position_m", "velocity_m_s", "acceleration_m_s2", "jerk_m_s3", "feedback_m_s3", "slope_m_s4")
LAGS = ("rate_lag_s", "thrust_lag_s", "tick_s", "gravity_m_s2")
FORMAT = 6
LARGEST = 1e12
"""No number of a certificate is beyond."""
SIGNED = {"rate_gain", "rate_offset_rad_s", "at_once_anchor_m"}
"""Numbers that may be negative."""
NUMBERS: Mapping[str, Mapping[str, int]] = {
    "assumptions": {
        **dict.fromkeys((
            *LAGS, "position_error_m", "velocity_error_m_s", "attitude_error_rad", "rate_error_rad_s", "rate_residual_rad_s",
            "yaw_rate_rad_s", "thrust_scale_error", "delay_max_s", "missed_ticks", "command_delay_s", "thrust_scale_m_s2",
        ), 1), "acceleration_m_s2": 2, "disturbance_estimate_m_s2": 2, "drag_1_s": 2, "rate_lags_s": 3, "drags_1_s": 3,
    },
    "limits": dict.fromkeys(SIX, 2),
    "lasting_limits": dict.fromkeys(SIX, 2),
    "backup": {
        **dict.fromkeys((*LAGS, "thrust_gain", "thrust_min_m_s2", "thrust_max_m_s2"), 1), "rate_gain": 3, "rate_offset_rad_s": 3,
        "rate_limit_rad_s": 3,
    },
    "proof": {"step_s": 1, "substeps": 1, "stages": 1, "rounding_m_s3": 1, "facets": 2, "largest_facet": 2},
    "set": {"speed_m_s": 1, "tilt_deg": 1, "at_once_velocity_m_s": 2, "at_once_tilt_deg": 1, "at_once_anchor_m": 3},
    "tube": {**dict.fromkeys(SIX[:4], 2), "smallest_tilt_cosine": 1, "largest_rates_rad_s": 1, "thrust_m_s2": 2},
    "disturbance": {"acceleration_m_s2": 2, "jerk_m_s3": 2},
    "graphs": {},
}  # fmt: skip
"""How many numbers stand under each key of each table of certificate.toml."""
OTHERS = {
    "assumptions": {"sources"}, "backup": {"gain"}, "proof": {"lasting", "arrays_sha256"}, "set": {"anchor"},
    "disturbance": {"parts_m_s3"}, "graphs": {"backup_sha256", "shield_sha256"},
}  # fmt: skip
"""What else stands there. For people alone: `sources` (texts) and `parts_m_s3` (shares of r)."""
WHOLE = {"substeps", "stages", "facets"}
"""Counts: whole numbers from 1 to 10000."""
NEAR = 1e-9
"""Relative: what one writes and the other reads went through decimal digits and reciprocals."""


@dataclass(frozen=True, slots=True)
class Identified:
    """What tick and predictor run with, and the certificate holds for.

    Attributes:
        tick_hz: Ticks per second.
        command_delay_s: From a set-point to the start of the response: how far the state is predicted [s].
        thrust_scale_m_s2: Collective acceleration at throttle 1 [m/s^2].
        physics: Gains, offsets, lags, drag.
    """

    tick_hz: float
    command_delay_s: float
    thrust_scale_m_s2: float
    physics: PhysicsEntry


def check_table(table: dict[str, Any]) -> SimpleNamespace:
    """The tables have exactly their keys, every number is one and in range, and the statement is the one that is proven.

    Returns:
        The numbers by table and key: a float, or a tuple of floats.

    Raises:
        CertificateError: something is missing, unknown or another.
    """
    odd = sorted(set(table) ^ {*NUMBERS, "format", "statement"})
    if odd or table["format"] != FORMAT:
        raise CertificateError(f"certificate.toml: keys {odd} missing or unknown, or a format other than {FORMAT}; certify again")
    if table["statement"] != STATEMENT:
        raise CertificateError("certificate.toml: the statement is another than the one that this check shows; certify again")
    result = SimpleNamespace()
    for part, counts in NUMBERS.items():
        group, keys = table[part], {*counts, *OTHERS.get(part, ())}
        if not isinstance(group, dict) or set(group) != keys:
            found = sorted(set(group) ^ keys) if isinstance(group, dict) else group
            raise CertificateError(f"certificate.toml: [{part}] has keys missing or unknown: {found}; certify again")
        numbers = {key: _numbers(f"[{part}] {key}", group[key], key, count) for key, count in counts.items()}
        setattr(result, part, SimpleNamespace(**{key: v if len(v) > 1 else v[0] for key, v in numbers.items()}))
    _check_means(result.assumptions)
    return result


def _check_means(e: SimpleNamespace) -> None:
    """The proof's one lag of roll and pitch, and its horizontal drag, are the means of those of the axes."""
    x, y, z = e.drags_1_s
    means = {"rate_lag_s": (0.5 * (e.rate_lags_s[0] + e.rate_lags_s[1]), e.rate_lag_s), "drag_1_s": (0.5 * (x + y), e.drag_1_s[0])}
    for key, (mean, own) in {**means, "vertical drag_1_s": (z, e.drag_1_s[1])}.items():
        if not math.isclose(mean, own, rel_tol=NEAR, abs_tol=0.0):
            raise CertificateError(f"certificate.toml: [assumptions] {key} is {own:.9g}, the axes give {mean:.9g}; certify again")


def _numbers(name: str, value: Any, key: str, count: int) -> tuple[float, ...]:
    """So many numbers, finite and in range."""
    values = value if isinstance(value, list) else [value]
    good = len(values) == count and all(type(v) in (float, int) and abs(v) <= LARGEST and (v >= 0 or key in SIGNED) for v in values)
    if not good or (key in WHOLE and not all(v % 1 == 0 and 1 <= v <= 10_000 for v in values)):
        raise CertificateError(f"certificate.toml: {name} = {str(value)[:80]}: must be {count} numbers in range; certify again")
    return tuple(float(v) for v in values)


def check_vehicle(found: Identified, table: Mapping[str, Any], where: str) -> None:
    """What a bundle, or the checkpoint that it is made from, identified of the vehicle is what the certificate holds for.

    Args:
        found: Its numbers.
        table: Content of certificate.toml.
        where: What the numbers stand in, for the message.

    Raises:
        CertificateError: a number differs, or the table lacks it.
    """
    physics = found.physics
    try:
        assumed, law = table["assumptions"], table["backup"]
        pairs: dict[str, tuple[float, float]] = {
            "tick_hz": (found.tick_hz, 1.0 / assumed["tick_s"]),
            "command_delay_s": (found.command_delay_s, assumed["command_delay_s"]),
            "thrust_scale_m_s2": (found.thrust_scale_m_s2, assumed["thrust_scale_m_s2"]),
            "thrust_gain": (physics.thrust_gain, law["thrust_gain"]),
            "thrust_lag_s": (physics.thrust_lag_s, assumed["thrust_lag_s"]),
        }
        for key, own, wanted in (
            ("rate_lag_s", physics.rate_lag_s, assumed["rate_lags_s"]),
            ("rate_gain", physics.rate_gain, law["rate_gain"]),
            ("rate_offset_rad_s", physics.rate_offset_rad_s, law["rate_offset_rad_s"]),
        ):
            pairs |= {f"{key} of {axis}": (own[n], wanted[n]) for n, axis in enumerate(("roll", "pitch", "yaw"))}
        pairs |= {f"drag_1_s of {axis}": (physics.drag_1_s[n], assumed["drags_1_s"][n]) for n, axis in enumerate("xyz")}
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        raise CertificateError(
            f"certificate.toml: {error} is not in assumptions or backup; its format is {table.get('format')}, this version reads "
            f"{FORMAT}: certify and export again"
        ) from error
    for name, (number, stated) in pairs.items():
        if not math.isclose(number, stated, rel_tol=NEAR, abs_tol=0.0):
            raise CertificateError(
                f"{where}: {name} is {number:.9g}, the certificate holds for {stated:.9g}; certify this checkpoint and export again"
            )


def check_manifest(manifest: Manifest, table: Mapping[str, Any]) -> None:
    """The manifest says of period, physics, assumptions and limits what the certificate says.

    Args:
        manifest: Of the bundle.
        table: Content of certificate.toml.

    Raises:
        CertificateError: a number differs.
    """
    identified = Identified(manifest.tick_hz, manifest.command_delay_s, manifest.thrust_scale_m_s2, manifest.physics)
    check_vehicle(identified, table, NAME)
    for name, carried, own in (
        ("assumptions", manifest.assumptions, table["assumptions"]),
        ("certified_limits", manifest.certified_limits, table.get("lasting_limits")),
    ):
        if not isinstance(own, dict):
            raise CertificateError(f"certificate.toml: the table for [{name}] is missing; certify again, with this version")
        if carried != own:
            odd = sorted(key for key in {*carried, *own} if carried.get(key) != own.get(key))
            raise CertificateError(f"{NAME}: [{name}] {odd} are not those of certificate.toml; export the bundle again")


def check_agreement(bundle: Bundle) -> None:
    """`check_manifest` of a bundle; it needs nothing that the on-board install leaves out.

    Raises:
        CertificateError: manifest and certificate do not agree, or certificate.toml cannot be read.
    """
    try:
        table = tomllib.loads(bundle.files["certificate.toml"].decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CertificateError(f"certificate.toml: not readable: {error}; certify and export again") from error
    check_manifest(bundle.manifest, table)
