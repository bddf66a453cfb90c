"""A shield made by hand in milliseconds, with nothing proven: limits wide enough to reach every branch; and random ticks."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tomli_w

from tubepilot.firmware_bridge.types import Setpoint
from tubepilot.train.invariance.admission import Admission
from tubepilot.train.invariance.backup import BackupLaw
from tubepilot.train.invariance.shield_graph import Tables, shield_graph

TICK_NS = 10_000_000
THRUST_M_S2, RATES_RAD_S = (7.5, 13.5), (1.5, 1.25, 0.28)
CERTIFICATE: dict[str, Any] = {
    "assumptions": {
        "position_error_m": 0.018,
        "velocity_error_m_s": 0.035,
        "attitude_error_rad": 0.0045,
        "rate_error_rad_s": 0.045,
        "acceleration_m_s2": [0.25, 0.15],
        "disturbance_estimate_m_s2": [1.1, 0.4],
        "rate_residual_rad_s": 0.05,
        "yaw_rate_rad_s": 0.25,
        "tick_s": 0.01,
        "delay_max_s": 0.005,
        "missed_ticks": 1,
        "rate_lag_s": 0.045,
        "thrust_lag_s": 0.07,
        "drag_1_s": [0.256, 0.184],
        "gravity_m_s2": 9.80665,
    },
    "backup": {
        "gain": [[-1.2, -3.4, -3.6], [-2.0, -4.4, -3.9]],
        "thrust_gain": 0.99,
        "rate_gain": [1.03, 1.04, 1.06],
        "rate_offset_rad_s": [0.01, -0.02, 0.005],
        "rate_limit_rad_s": list(RATES_RAD_S),
        "thrust_min_m_s2": THRUST_M_S2[0],
        "thrust_max_m_s2": THRUST_M_S2[1],
    },
    "tube": {"position_m": [8.0, 3.5]},
    "set": {"anchor": [[[-1.21, -0.83, 0.04], [-1.45, -0.52, 0.02]], [[-1.37, -2.29, 0.09], [-1.62, -1.31, 0.03]]]},
}
ANCHOR = np.array(CERTIFICATE["set"]["anchor"])
LAW = BackupLaw(
    gain=np.array([[-1.2, -3.4, -3.6], [-2.0, -4.4, -3.9]], np.float32).astype(np.float64),
    rate_lag_s=0.045,
    thrust_lag_s=0.07,
    tick_s=0.01,
    thrust_gain=0.99,
    rate_gain=np.array([1.03, 1.04, 1.06]),
    rate_offset_rad_s=np.array([0.01, -0.02, 0.005]),
    rate_limit_rad_s=np.array(RATES_RAD_S),
    thrust_min_m_s2=THRUST_M_S2[0],
    thrust_max_m_s2=THRUST_M_S2[1],
    gravity_m_s2=9.80665,
)
HORIZONTAL = np.array(
    [[1 / 8, 0, 0, 0], [0, 1 / 2.7, 0, 0], [0, 0, 1 / 3.4, 0], [0, 0, 0, 1 / 12], [0.13, 0.21, 0.05, 0.0], [0.02, 0.2, 0.2, 0.02]]
)
VERTICAL = np.array(
    [[1 / 3.5, 0, 0, 0], [0, 1 / 1.5, 0, 0], [0, 0, 1 / 2.4, 0], [0, 0, 0, 1 / 40], [0.3, 0.4, 0.05, 0.0], [0.05, 0.3, 0.3, 0.01]]
)
HOVER = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.80665]
CALM = [0.0, 0.0, 0.0]


def certificate(**changes: tuple[str, Any]) -> bytes:
    """certificate.toml of `CERTIFICATE`, with changes given as name=(table, value)."""
    table = copy.deepcopy(CERTIFICATE)
    for name, (place, value) in changes.items():
        table[place][name] = value
    return tomli_w.dumps(table).encode()


OFFSETS = np.repeat([1.0, 0.5], 4)
"""Of every facet in each judged stage: the last ones hold half of what the first ones do."""
LAST_TUBE_M = (3.75, 1.625)


def tables(delay_s: float = 0.005, missed: int = 1) -> Tables:
    """What the shield graph is made of."""
    e = CERTIFICATE["assumptions"]
    errors = (e["position_error_m"], e["velocity_error_m_s"], e["attitude_error_rad"], e["rate_error_rad_s"])
    window = 0.5 * ((1 + missed) * e["tick_s"] + delay_s)
    admission = Admission(
        errors=errors, acceleration=tuple(e["acceleration_m_s2"]), rate_residual=e["rate_residual_rad_s"], tick=e["tick_s"],
        window=window, missed=missed, rate_lag=e["rate_lag_s"], thrust_lag=e["thrust_lag_s"], gain=LAW.gain, rounding=0.01, jerk=12.6,
        feedback=12.0, least_thrust=7.0, backup_rates=2.1, gravity=e["gravity_m_s2"], drag=max(e["drag_1_s"]),
    )  # fmt: skip
    offsets = tuple(np.repeat(OFFSETS[:, None], len(facets), axis=1) for facets in (HORIZONTAL, VERTICAL))
    tubes = np.repeat(np.array([CERTIFICATE["tube"]["position_m"], LAST_TUBE_M]).T, 4, axis=1)
    return Tables((HORIZONTAL, VERTICAL), (offsets[0], offsets[1]), tubes, LAW.gain, e["gravity_m_s2"], admission, ANCHOR)


@functools.cache
def graphs(delay_s: float = 0.005, missed: int = 1) -> tuple[bytes, bytes]:
    """Bytes of backup.onnx and shield.onnx."""
    shield = shield_graph(tables(delay_s, missed))
    return LAW.graph().SerializeToString(deterministic=True), shield.SerializeToString(deterministic=True)


def setpoint(roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0, thrust: float = 9.9) -> Setpoint:
    """A set-point; without arguments near hover."""
    return Setpoint(np.array([roll, pitch, yaw]), thrust)


@dataclass(frozen=True)
class Call:
    """Arguments of `decide`."""

    predicted: list[float] | None
    disturbance: list[float]
    candidate: Setpoint | None
    now_ns: int


def _edge(rng: np.random.Generator, limit: float) -> float:
    """The limit itself, or its neighbour on one side or the other."""
    return float([limit, math.nextafter(limit, math.inf), math.nextafter(limit, -math.inf)][rng.integers(3)])


def _candidate(rng: np.random.Generator) -> Setpoint | None:
    kind = rng.integers(12)
    if kind == 0:
        return None
    rates = rng.normal(0.0, 0.4, 3) * [1.0, 1.0, 0.2]
    thrust = float(rng.normal(9.9, 1.0))
    if kind == 1:
        rates[rng.integers(3)] = [math.nan, math.inf, -math.inf][rng.integers(3)]
    elif kind == 2:
        axis = rng.integers(3)
        rates[axis] = _edge(rng, (1.5, 1.25, (0.25 - 0.005) / 1.06)[axis]) * rng.choice([-1.0, 1.0])
    elif kind == 3:
        thrust = _edge(rng, THRUST_M_S2[rng.integers(2)])
    elif kind == 4:
        rates, thrust = 3.0 * rates, float(rng.normal(9.9, 5.0))
    elif kind == 5:
        rates = np.zeros(3)
    return Setpoint(rates, thrust)


def random_calls(seed: int, ticks: int) -> Iterator[Call]:
    """Ticks of a shield's life: a state that wanders, gaps, missing and broken inputs, values at and next to every limit."""
    rng = np.random.default_rng(seed)
    speed = rng.choice([0.2, 0.5, 1.5])
    x = np.array(HOVER)
    x[0:3] = rng.normal(0.0, 2.0, 3)
    d = rng.normal(0.0, 0.3, 3)
    now_ns = int(rng.integers(1, 10**12))
    troubled = rng.random() < 0.5
    trouble, lasts = 0, 0
    for _ in range(ticks):
        x[0:3] += 0.05 * rng.normal(0.0, speed, 3)
        x[3:6] = 0.9 * x[3:6] + 0.3 * rng.normal(0.0, speed, 3)
        x[6:10] = np.array([1.0, *rng.normal(0.0, 0.06 * speed, 3)]) * rng.uniform(0.98, 1.02)
        x[10:13] = 0.7 * x[10:13] + 0.1 * rng.normal(0.0, speed, 3)
        x[13] = rng.normal(9.9, 0.5)
        d = 0.9 * d + 0.1 * rng.normal(0.0, 0.8, 3)
        predicted: Any = x.tolist()
        disturbance = d.tolist()
        if lasts == 0:
            trouble = int(rng.integers(16)) if troubled else 15
            lasts = 30 if rng.random() < 0.03 else 1
        lasts -= 1
        axis = int(rng.integers(3))
        gap_ns = TICK_NS
        if trouble == 0:
            predicted = None
        elif trouble == 1:
            predicted[rng.integers(14)] = math.nan
        elif trouble == 2:
            disturbance[axis] = math.inf
        elif trouble == 3:
            bound, reach = (0.4, 0.15) if axis == 2 else (1.1 / math.sqrt(2.0), 0.25)
            disturbance[axis] = _edge(rng, bound + reach) * rng.choice([-1.0, 1.0])
        elif trouble == 4:
            disturbance[axis] = 2.0
        elif trouble == 5:
            predicted[13] = _edge(rng, 1.0)
        elif trouble == 6:
            predicted[10] += 1.0
        elif trouble in (7, 8, 9):
            gap_ns = (2 * TICK_NS, 25_000_000, 25_000_001)[trouble - 7]  # the limit is (1.5 + 1) ticks
        now_ns += gap_ns
        yield Call(predicted, disturbance, _candidate(rng), now_ns)
