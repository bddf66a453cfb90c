"""Judges a flight of `tubepilot bench shield`: how close it came to what it must not touch, and which assumptions held in it.

What was broken is measured from the simulator's own states against the plant of docs/certificate.md, section 2.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tubepilot.firmware_bridge.types import GRAVITY_M_S2, Vector

from .bench_shield_scene import SETTLE_S, Link
from .keep_clear import KeepClear
from .on_board import STATE_AGE_S, OnBoard
from .shield import Shield
from .shield_margins import Held, present
from .shield_states import flatten


@dataclass(slots=True)
class Noted:
    """What is needed to judge a flight afterwards.

    Attributes:
        t_s: Instant of each tick.
        truth: Position, velocity, quaternion, rates at it, shape (13,).
        thrust: Instant [s] and modelled thrust there [m/s^2], of each decision.
        held: Instant [s] and disturbance estimate held from then on [m/s^2].
        missed: Most ticks skipped in a row.
    """

    t_s: list[float] = field(default_factory=list)
    truth: list[Vector] = field(default_factory=list)
    thrust: list[tuple[float, float]] = field(default_factory=list)
    held: list[tuple[float, Vector]] = field(default_factory=list)
    missed: int = 0

def placed(clear: KeepClear, position_m: Vector) -> KeepClear:
    """Fence, floor and obstacles around a position."""
    x, y, z = (float(value) for value in position_m)
    obstacles = [replace(o, centre_m=(o.centre_m[0] + x, o.centre_m[1] + y, o.centre_m[2] + z)) for o in clear.obstacles]
    return KeepClear(clear.fence_m, clear.floor_m + z, obstacles=tuple(obstacles), home=(x, y))


def room_from_hover(shield: Shield) -> tuple[float, float]:
    """Horizontal and vertical room that the vehicle needs to stop from hover [m], by the shield graph."""
    certified = shield._set
    flat = flatten([0.0] * 6 + [1.0] + [0.0] * 6 + [GRAVITY_M_S2], 0.0, GRAVITY_M_S2).flat
    answer = certified.ask([present(flat, [Held((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))])])[0]
    return answer.across_m[0], answer.high_m[0]


def distance(clear: KeepClear, position_m: Vector) -> tuple[float, str]:
    """Distance from what is nearest of fence, floor and obstacles, negative beyond, and its name."""
    x, y, z = (float(value) for value in position_m)
    found = [(clear.fence_m - math.hypot(x - clear.home[0], y - clear.home[1]), "fence"), (z - clear.floor_m, "floor")]
    for obstacle in clear.obstacles:
        gaps = [max(abs(p - c) - h, 0.0) for p, c, h in zip((x, y, z), obstacle.centre_m, obstacle.half_m, strict=True)]
        found.append((math.hypot(*gaps) - obstacle.radius_m, "obstacle"))
    return min(found)


def used(noted: Noted, link: Link, on_board: OnBoard, certificate: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """By assumption: the largest share of it that was used, and the instant at which it was first exceeded, else at the most.

    W is taken tick by tick from the change of the true velocity against thrust, drag and the estimate that is held, where thrust
    is the shield's own model; the rates against the set-points as they arrived. Before the wind is up nothing counts.
    """
    a, backup = certificate["assumptions"], certificate["backup"]
    t, x = np.array(noted.t_s), np.array(noted.truth)
    result = {
        "state age": (link.oldest_s / STATE_AGE_S, round(link.stale_s, 3)),
        "missed ticks": (noted.missed / max(a["missed_ticks"], 1e-9), link.scene.fault_s),
        "delay": (link.delay_max_s / a["delay_max_s"], link.scene.fault_s),
    }
    limits = [a[name] for name in ("position_error_m", "velocity_error_m_s", "attitude_error_rad", "rate_error_rad_s")]
    for name, error, limit in zip(("position", "velocity", "attitude", "rates"), link.errors, limits, strict=True):
        result[f"estimate of {name}"] = (float(error) / limit, 0.0)
    if len(t) < 3 or len(noted.thrust) < 2:
        return result
    middle, dt = 0.5 * (t[1:] + t[:-1]), np.diff(t)
    when = np.array([at for at, _ in noted.thrust])
    thrust = np.interp(middle, when, [value for _, value in noted.thrust])
    place = np.clip(np.searchsorted([at for at, _ in noted.held], middle, side="right") - 1, 0, None)
    held = np.array([value for _, value in noted.held])[place]
    up = 0.5 * (_up(x[1:, 6:10]) + _up(x[:-1, 6:10]))
    drag = np.array([a["drag_1_s"][0], a["drag_1_s"][0], a["drag_1_s"][1]])
    v = 0.5 * (x[1:, 3:6] + x[:-1, 3:6])
    residual = np.diff(x[:, 3:6], axis=0) / dt[:, None] - (thrust[:, None] * up - [0.0, 0.0, GRAVITY_M_S2] - drag * v) - held
    counts = (middle > when[0]) & (middle < when[-1]) & (middle > SETTLE_S)
    rates = _rate_residual(t, x[:, 10:12], link, on_board, backup, a["rate_lag_s"])
    for name, sizes, limit in (
        ("horizontal W", np.hypot(residual[:, 0], residual[:, 1]), a["acceleration_m_s2"][0]),
        ("vertical W", np.abs(residual[:, 2]), a["acceleration_m_s2"][1]),
        ("rate residual", np.hypot(rates[:, 0], rates[:, 1]), a["rate_residual_rad_s"]),
        ("horizontal estimate", np.hypot(held[:, 0], held[:, 1]), a["disturbance_estimate_m_s2"][0]),
    ):
        shares = np.where(counts, sizes / limit, 0.0)
        first = np.flatnonzero(shares > 1.0)
        at = int(first[0]) if len(first) else int(np.argmax(shares))
        result[name] = (float(shares.max()), round(float(middle[at]), 3))
    return result


def _up(q: Vector) -> Vector:
    """Up directions of quaternions (n, 4), shape (n, 3)."""
    w, i, j, k = q.T
    return np.stack([2 * (i * k + w * j), 2 * (j * k - w * i), 1 - 2 * (i * i + j * j)], axis=1)


def _rate_residual(
    t: Vector, rates: Vector, link: Link, on_board: OnBoard, backup: Mapping[str, Any], lag_s: float
) -> Vector:
    """Error of the rate set-point that explains the change of roll and pitch rate in each tick, shape (n - 1, 2) [rad/s]."""
    start = [1e-9 * (at - link.start_ns) + on_board.delay_s for at, _ in link.delivered]
    start[0] = -1e9
    gain, offset = np.array(backup["rate_gain"][:2]), np.array(backup["rate_offset_rad_s"][:2])
    wanted = np.array([setpoint.rates_rad_s[:2] for _, setpoint in link.delivered]) * gain + offset
    result = np.zeros((len(t) - 1, 2))
    for n, (first, last) in enumerate(itertools.pairwise(t)):
        left = math.exp(-(last - first) / lag_s)
        expected = rates[n] * left
        low, high = np.searchsorted(start, first, side="right") - 1, np.searchsorted(start, last, side="left")
        for k in range(int(low), int(high)):
            begins, ends = max(start[k], first), min(start[k + 1] if k + 1 < len(start) else last, last)
            expected += wanted[k] * (math.exp(-(last - ends) / lag_s) - math.exp(-(last - begins) / lag_s))
        result[n] = (rates[n + 1] - expected) / (1.0 - left)
    return result
