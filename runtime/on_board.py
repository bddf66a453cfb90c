"""What a bundle becomes on board: planner, shield and the numbers that the tick needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tubepilot.firmware_bridge.types import GRAVITY_M_S2

from .bundle import read_bundle
from .check_claims import check_agreement
from .engine_choice import choose
from .governor import Governor
from .governor_motion import Bounds, bounds_of
from .manifest import Manifest, Plain
from .planner import Planner
from .predictor import PhysicsParameters
from .reference import Pair
from .self_test import require, self_test
from .shield import Shield
from .tick_types import SetpointLimits

STATE_AGE_S = 0.05
"""Oldest state estimate that the tick uses; the shield has its own, certified limit [s]."""
DEFAULT_SPEED_M_S = 5.0
"""Largest task speed where the certificate names none [m/s]."""
THRUST_SHARE = 0.9
"""Share of the largest set-point thrust that a task's reference may need; the rest is left to corrections."""


@dataclass(frozen=True, slots=True)
class OnBoard:
    """A loaded bundle.

    Attributes:
        planner, shield: Ready to run, not yet warm.
        physics: For the predictor.
        tick_hz: Ticks per second.
        delay_s: From a set-point at the flight controller to the start of the response [s].
        thrust_scale_m_s2: Collective acceleration at throttle 1 [m/s^2].
        setpoint: What the shield admits at most in a set-point.
        speed_m_s, acceleration_m_s2: Limits of a task, each (horizontal, vertical).
        followed, chased: What a reference may ask for, and how one that asks for more is followed; see `Governor`.
        meta: For the flight log: bundle, airframe, version, signer, engine.
        engine_text: Which engine plans, and why, for the user.
    """

    planner: Planner
    shield: Shield
    physics: PhysicsParameters
    tick_hz: float
    delay_s: float
    thrust_scale_m_s2: float
    setpoint: SetpointLimits
    speed_m_s: Pair
    acceleration_m_s2: Pair
    followed: Bounds
    chased: Bounds
    meta: Mapping[str, str | float | int]
    engine_text: str = ""

    def governor(self) -> Governor:
        """A new one, for one flight."""
        return Governor(self.followed, self.chased, self.planner.dt_plan_s)


def _pair(table: Mapping[str, Plain], name: str, otherwise: float) -> Pair:
    """(horizontal, vertical) limit of a certificate; `otherwise` twice where it names none."""
    value = table.get(name)
    if isinstance(value, list) and len(value) == 2:
        first, second = value
        if isinstance(first, int | float) and isinstance(second, int | float):
            return float(first), float(second)
    return otherwise, otherwise


def task_limits(manifest: Manifest) -> tuple[Pair, Pair]:
    """Largest speeds [m/s] and accelerations [m/s^2] of a task's reference, each (horizontal, vertical).

    The certificate's where it names them. The acceleration is never more than what the set-point limits leave beside
    gravity in the worst direction, upwards.
    """
    room_m_s2 = THRUST_SHARE * manifest.physics.thrust_gain * manifest.limits.thrust_max_m_s2 - GRAVITY_M_S2
    horizontal, vertical = _pair(manifest.certified_limits, "acceleration_m_s2", room_m_s2)
    speed_m_s = _pair(manifest.certified_limits, "velocity_m_s", DEFAULT_SPEED_M_S)
    return speed_m_s, (min(horizontal, room_m_s2), min(vertical, room_m_s2))


def _setpoint_limits(shield: Shield) -> SetpointLimits:
    assumed = shield.assumed
    return SetpointLimits(assumed.admitted_rates_rad_s, assumed.thrust_min_m_s2, assumed.thrust_max_m_s2)


def load_on_board(path: Path, keys: Path | None, engine: str = "auto", may_compile: bool = True) -> OnBoard:
    """Verify a bundle and load it.

    Args:
        path: Bundle directory.
        keys: Directory of trusted public keys; the default one if None.
        engine: What runs the planner; see `engine_choice.choose`.
        may_compile: Whether there is time to compile the planner.

    Raises:
        BundleError: a file, its hash or the signature is wrong, or a graph does not answer as at export.
        CertificateError: the certificate holds for other numbers than those of the manifest.
        InputError: the compiled planner is asked for, and does not work here.
    """
    bundle = read_bundle(path, keys)
    check_agreement(bundle)
    require(self_test(bundle))
    manifest, physics = bundle.manifest, bundle.manifest.physics
    speed_m_s, acceleration_m_s2 = task_limits(manifest)
    shield = Shield.from_bundle(bundle)
    followed, chased = bounds_of(bundle.files["certificate.toml"])
    choice = choose(bundle, engine, may_compile=may_compile)
    return OnBoard(
        planner=choice.planner(bundle),
        shield=shield,
        physics=PhysicsParameters(
            physics.thrust_gain,
            physics.thrust_lag_s,
            physics.rate_gain,
            physics.rate_offset_rad_s,
            physics.rate_lag_s,
            physics.drag_1_s,
        ),
        tick_hz=manifest.tick_hz,
        delay_s=manifest.command_delay_s,
        thrust_scale_m_s2=manifest.thrust_scale_m_s2,
        setpoint=_setpoint_limits(shield),
        speed_m_s=speed_m_s,
        acceleration_m_s2=acceleration_m_s2,
        followed=followed,
        chased=chased,
        meta={
            "bundle": str(path),
            "bundle_sha256": bundle.manifest_sha256,
            "bundle_version": manifest.version,
            "signer": bundle.signer,
            "airframe": manifest.airframe,
            "checkpoint_sha256": manifest.checkpoint_sha256,
            **choice.meta,
        },
        engine_text=choice.text,
    )
