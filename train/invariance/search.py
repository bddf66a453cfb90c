"""Search poles and anchors of the backup policy for a vehicle, and for the states that its set should hold (floats; a proposal).

The designs of `design.DESIGNS` suit a small vehicle with a rate lag of 45 ms. For another one the poles and the points that the
vehicle brakes to are varied at random, each variant is followed from the wanted states (`stages.limits_of`), and the one with the
smallest tube is kept. Nothing found here is trusted: `design.certify` proves it or refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tubepilot.firmware_bridge.errors import CertificateError, InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2

from .assumptions import Assumptions, Pair
from .backup import BackupLaw
from .design import DESIGNS, SLOW, STEP_S, Design, check_setpoints, gains
from .disturbance import HORIZONTAL, VERTICAL, bound
from .interval import Numbers
from .loop import AxisLoop
from .stages import PIECES, ROUNDING_M_S3, Start, as_limits, limits_of

SEEDS = (1.0, 1.25, 0.8, 1.5, 0.6, 2.0)
"""Speeds of the first variants over that of the first known design [1]."""
EASIER = (1.0, 0.85, 0.7, 0.5, 0.35)
"""Shares of the wanted states that are tried if the ones before have no set [1]."""
STEP = 0.12
"""First size of the variation of each number's logarithm [1]."""
SLOWER = 0.625
"""Brisk flight: this share of the largest speed, with jerk [1]."""
SURPLUS = 1.01
"""Surplus of the states that are followed over the wanted ones, for what the proof bounds more coarsely [1]."""
SLOW_SHARE = 0.125
"""Tight turns: they begin at this share of the largest speed [1]."""
FASTER = 1.25
"""Only states so much faster than slow flight have a chain of stages beside it [1]."""
LAST = 0.5
"""How much the tube of slow flight, or of the last stage, counts beside that of fast flight [1]."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """States that the set should hold at once, in every direction.

    Attributes:
        velocity_m_s: Horizontal and vertical.
        tilt_rad: Tilt.
        brisk_jerk_m_s3: Jerk, horizontal and vertical, at 0.625 of that velocity and a third of that tilt.
        tight_jerk_m_s3: Jerk with which a tight turn begins, at an eighth of that velocity.

    Raises:
        InputError: a number is out of range.
    """

    velocity_m_s: Pair
    tilt_rad: float
    brisk_jerk_m_s3: Pair = (5.5, 2.5)
    tight_jerk_m_s3: Pair = (10.0, 3.5)

    def __post_init__(self) -> None:
        speed, rise = self.velocity_m_s
        if not (0.0 < speed <= 30.0 and 0.0 < rise <= 15.0 and 0.0 < self.tilt_rad < 1.3):
            raise InputError(
                f"the wanted set holds {speed:g} / {rise:g} m/s and a tilt of {np.degrees(self.tilt_rad):.1f} deg; it must be above "
                "0, and at most 30 / 15 m/s and 74 deg"
            )

    def times(self, share: float) -> Wanted:
        """The same, easier by this share [1]."""
        speed, rise = self.velocity_m_s
        (brisk, brisk_up), (tight, tight_up) = self.brisk_jerk_m_s3, self.tight_jerk_m_s3
        return Wanted(
            (share * speed, share * rise), share * self.tilt_rad, (share * brisk, share * brisk_up), (share * tight, share * tight_up)
        )

    def calm(self) -> tuple[Start, ...]:
        """Slow flight, for a chain of its own, if the wanted states are faster than it."""
        slow = SLOW[0].velocity_m_s
        return SLOW if all(wanted > FASTER * own for wanted, own in zip(self.velocity_m_s, slow, strict=True)) else ()

    def starts(self, ahead_m: Pair, rise_m: float) -> tuple[Start, ...]:
        """Full speed and tilt at once, brisk flight, and the begin of a tight turn; the anchor so far ahead along velocity and
        acceleration, and upwards [m]."""
        (along_v, along_a), (speed, rise) = ahead_m, (SURPLUS * self.velocity_m_s[0], SURPLUS * self.velocity_m_s[1])
        most = SURPLUS * GRAVITY_M_S2 * float(np.tan(self.tilt_rad))
        return (
            Start((speed, rise), (most, 0.0), (0.0, 0.0), ((along_v, rise_m), (along_a, 0.0))),
            Start(
                (SLOWER * speed, 0.5 * rise), (0.36 * most, 0.6), self.brisk_jerk_m_s3,
                ((SLOWER * along_v, 0.5 * rise_m), (0.36 * along_a, 0.0)),
            ),
            Start(
                (SLOW_SHARE * speed, SLOW_SHARE * rise), (0.3 * most, 0.6), self.tight_jerk_m_s3,
                ((SLOW_SHARE * along_v, SLOW_SHARE * rise_m), (0.3 * along_a, 0.0)),
            ),
        )  # fmt: skip


def _design(x: Numbers, wanted: Wanted) -> Design:
    """Numbers as a design: three poles [1/s] of each axis, and how far ahead the anchors are [m], all as logarithms, shape (9,)."""
    h1, h2, h3, v1, v2, v3, along_v, along_a, rise = (float(value) for value in np.exp(x))
    return Design((h1, h2, h3), (v1, v2, v3), wanted.starts((along_v, along_a), rise), calm=wanted.calm())


def _tube(assumptions: Assumptions, law: BackupLaw, design: Design) -> float:
    """Size of the tube [m]; infinite if there is none, or if a set-point would be cut."""
    try:
        rows = [
            gains(poles, drag, assumptions.rate_lag_s)
            for poles, drag in zip((design.horizontal_poles, design.vertical_poles), assumptions.drag_1_s, strict=True)
        ]
        loops = [AxisLoop(rows[n], assumptions.drag_1_s[n], assumptions.rate_lag_s) for n in (HORIZONTAL, VERTICAL)]
        chains = [limits_of(assumptions, np.array(rows), loops, *chain, STEP_S) for chain in design.chains()]
        widest = np.concatenate(chains).max(axis=0)
        check_setpoints(law, bound(assumptions, as_limits(widest), np.array(rows), PIECES, ROUNDING_M_S3))
    except (CertificateError, ZeroDivisionError, FloatingPointError):
        return float("inf")
    slow = chains[1].max(axis=0) if len(chains) > 1 else chains[0][-1]
    return float(widest[0].sum() + LAST * slow[0].sum())


def _first(scale: float, wanted: Wanted) -> Numbers:
    """A known design, faster by `scale`, for the wanted states, shape (9,)."""
    known = DESIGNS[0]
    speed, rise = wanted.velocity_m_s
    most = GRAVITY_M_S2 * float(np.tan(wanted.tilt_rad))
    (known_v, known_rise), (known_a, _) = known.starts[0].ahead_m
    ahead = (
        known_v / scale * speed / known.starts[0].velocity_m_s[HORIZONTAL],
        known_a / scale**2 * most / known.starts[0].acceleration_m_s2[HORIZONTAL],
        known_rise / scale * rise / known.starts[0].velocity_m_s[VERTICAL],
    )
    poles = scale * np.array([*known.horizontal_poles, *known.vertical_poles])
    result: Numbers = np.log(np.array([*poles, *ahead]))
    return result


def search(
    assumptions: Assumptions, law: BackupLaw, wanted: Wanted, variants: int, seed: int = 0,
    progress: Callable[[int, float], None] = lambda variant, tube_m: None,
) -> Iterator[Design]:
    """Designs for the wanted states, the most ambitious first; each is looked for when it is asked for.

    Args:
        assumptions: E, W, timing, lags.
        law: Backup policy, for its limits of set-points.
        wanted: What the set should hold; easier states follow if no design for these is proven.
        variants: How many are tried for each of these; about half a second each.
        seed: Of the variation.
        progress: Called after each variant with its number and the smallest tube so far, horizontal and vertical added [m].
    """
    for share in EASIER:
        random = np.random.default_rng(seed)
        easier = wanted.times(share)
        best, tube, size = np.zeros(9), float("inf"), STEP
        for variant in range(variants):
            if variant < len(SEEDS):
                x = _first(SEEDS[variant], easier)
            else:
                known = np.isfinite(tube)
                origin = best if known else _first(float(random.choice(SEEDS)), easier)
                x = origin + (size if known else 3.0 * STEP) * random.normal(size=9) * (random.random(9) < 0.5)
            found = _tube(assumptions, law, _design(x, easier))
            if found < tube:
                best, tube, size = x, found, min(1.5 * size, 3.0 * STEP)
            elif np.isfinite(tube) and variant >= len(SEEDS):
                size = max(0.92 * size, 0.01)
            progress(variant + 1, tube)
        if np.isfinite(tube):
            yield _design(best, easier)
