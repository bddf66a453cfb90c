"""What a certificate says in words and numbers beside its proof: no more than is checked, and the same as the manifest.

certificate.toml has exactly the keys listed here, so that no claim stands in it that nothing checks; its statement is the one that
docs/certificate.md explains. The manifest repeats assumptions and limits for people, and holds the numbers that the loop and the
predictor run with: they have to be those of the certificate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tubepilot.firmware_bridge.errors import CertificateError

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
KEYS: Mapping[str, frozenset[str]] = {
    "assumptions": frozenset((
        *LAGS, "position_error_m", "velocity_error_m_s", "attitude_error_rad", "rate_error_rad_s", "acceleration_m_s2",
        "disturbance_estimate_m_s2", "rate_residual_rad_s", "yaw_rate_rad_s", "thrust_scale_error", "delay_max_s", "missed_ticks",
        "drag_1_s", "sources",
    )),
    "limits": frozenset(SIX),
    "lasting_limits": frozenset(SIX),
    "backup": frozenset((
        *LAGS, "gain", "thrust_gain", "rate_gain", "rate_offset_rad_s", "rate_limit_rad_s", "thrust_min_m_s2", "thrust_max_m_s2",
    )),
    "proof": frozenset(("step_s", "substeps", "stages", "lasting", "rounding_m_s3", "facets", "largest_facet", "arrays_sha256")),
    "set": frozenset(("speed_m_s", "tilt_deg", "anchor", "at_once_velocity_m_s", "at_once_tilt_deg", "at_once_anchor_m")),
    "tube": frozenset((*SIX[:4], "smallest_tilt_cosine", "largest_rates_rad_s", "thrust_m_s2")),
    "disturbance": frozenset(("acceleration_m_s2", "jerk_m_s3", "parts_m_s3")),
    "graphs": frozenset(("backup_sha256", "shield_sha256")),
}  # fmt: skip
"""Tables of certificate.toml and their keys. Two of them are for people alone: `sources` (texts) and `parts_m_s3` (shares of r)."""
NEAR = 1e-9
"""Relative: what one writes and the other reads went through decimal digits and reciprocals."""


def check_table(table: dict[str, Any]) -> None:
    """The tables have exactly their keys, and the statement is the one that is proven.

    Raises:
        CertificateError: something is missing, unknown or another.
    """
    for part, keys in KEYS.items():
        group = table[part]
        if not isinstance(group, dict) or set(group) != keys:
            odd = sorted(set(group) ^ keys) if isinstance(group, dict) else part
            raise CertificateError(f"certificate.toml: [{part}] has keys missing or unknown: {odd}; certify again")
    if table["statement"] != STATEMENT:
        raise CertificateError("certificate.toml: the statement is another than the one that this check shows; certify again")


def check_vehicle(tick_hz: float, physics: PhysicsEntry, table: Mapping[str, Any], where: str) -> None:
    """Period and physics of a bundle, or of the checkpoint that it is made from, are those of the certificate.

    Args:
        tick_hz: Ticks per second.
        physics: Identified parameters.
        table: Content of certificate.toml.
        where: What the numbers stand in, for the message.

    Raises:
        CertificateError: a number differs, or the table lacks it.
    """
    roll, pitch, _ = physics.rate_lag_s
    x, y, z = physics.drag_1_s
    try:
        assumed, law = table["assumptions"], table["backup"]
        pairs: dict[str, tuple[float, float]] = {
            "tick_hz": (tick_hz, 1.0 / assumed["tick_s"]),
            "thrust_gain": (physics.thrust_gain, law["thrust_gain"]),
            "thrust_lag_s": (physics.thrust_lag_s, assumed["thrust_lag_s"]),
            "rate_lag_s, mean of roll and pitch,": (0.5 * (roll + pitch), assumed["rate_lag_s"]),
            "drag_1_s, mean of x and y,": (0.5 * (x + y), assumed["drag_1_s"][0]),
            "drag_1_s of z": (z, assumed["drag_1_s"][1]),
        }
        for number, axis in enumerate(("roll", "pitch", "yaw")):
            pairs[f"rate_gain of {axis}"] = physics.rate_gain[number], law["rate_gain"][number]
            pairs[f"rate_offset_rad_s of {axis}"] = physics.rate_offset_rad_s[number], law["rate_offset_rad_s"][number]
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        raise CertificateError(f"certificate.toml: assumptions or backup are not complete ({error}); certify again") from error
    for name, (found, wanted) in pairs.items():
        if not math.isclose(found, wanted, rel_tol=NEAR, abs_tol=0.0):
            raise CertificateError(
                f"{where}: {name} is {found:.9g}, the certificate holds for {wanted:.9g}; certify this checkpoint and export again"
            )


def check_manifest(manifest: Manifest, table: Mapping[str, Any]) -> None:
    """The manifest says of period, physics, assumptions and limits what the certificate says.

    Args:
        manifest: Of the bundle.
        table: Content of certificate.toml, checked.

    Raises:
        CertificateError: a number differs.
    """
    check_vehicle(manifest.tick_hz, manifest.physics, table, NAME)
    for name, carried, own in (
        ("assumptions", manifest.assumptions, table["assumptions"]),
        ("certified_limits", manifest.certified_limits, table["lasting_limits"]),
    ):
        if carried != own:
            odd = sorted(key for key in {*carried, *own} if carried.get(key) != own.get(key))
            raise CertificateError(f"{NAME}: [{name}] {odd} are not those of certificate.toml; export the bundle again")
