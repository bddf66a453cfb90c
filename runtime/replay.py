"""Run the decisions of a flight log again through planner and shield of its bundle, and compare every set-point.

Planner and shield read exactly the numbers that the log holds, in the order of the flight, so that on the same machine and
onnxruntime every set-point must come out again to the last bit. Another build may round otherwise: then the largest difference
counts, and every tick starts from the plan that the ticks before it gave here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tubepilot.firmware_bridge.types import Setpoint, Vector

from .planner import Planner
from .shield import Shield

BOUND_RAD_S, BOUND_M_S2 = 1e-3, 1e-3
"""Largest difference of a set-point on another build of onnxruntime: what an export admits against JAX (`export.parity`)."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What came out.

    Attributes:
        ticks: Decisions replayed.
        plans, verdicts: How many set-points of the planner, and decisions of the shield, were compared.
        plans_differ, verdicts_differ: How many were not the same to the last bit.
        first: Instant of the first decision that differs, CLOCK_MONOTONIC [ns]; 0 if none does.
        rate_rad_s, thrust_m_s2: Largest difference of a set-point; infinite if one side has none.
        skipped: Decisions before the first reset of the planner (the log lost what came before).
    """

    ticks: int
    plans: int
    verdicts: int
    plans_differ: int
    verdicts_differ: int
    first: int
    rate_rad_s: float
    thrust_m_s2: float
    skipped: int

    @property
    def exact(self) -> bool:
        """Every set-point and verdict came out to the last bit."""
        return self.plans_differ == 0 and self.verdicts_differ == 0

    @property
    def within_bound(self) -> bool:
        """Every set-point came out within the bound for another build of onnxruntime."""
        return self.rate_rad_s <= BOUND_RAD_S and self.thrust_m_s2 <= BOUND_M_S2


def _setpoint(values: Vector) -> Setpoint | None:
    """None if the log holds no number."""
    return None if math.isnan(float(values[3])) else Setpoint(values[:3].copy(), float(values[3]))


def _flat(setpoint: Setpoint | None) -> Vector:
    return np.full(4, math.nan) if setpoint is None else np.append(setpoint.rates_rad_s, setpoint.thrust_m_s2)


def _same(first: Vector, second: Vector) -> bool:
    return bool(np.array_equal(first, second, equal_nan=True))


def replay(planner: Planner, shield: Shield, decisions: npt.NDArray[np.void]) -> Replay:
    """Run all decisions again.

    Args:
        planner, shield: Of the flight's bundle, fresh.
        decisions: From `decision_log.decode`, in the order flown.
    """
    worst = np.zeros(4)
    plans = verdicts = plans_differ = verdicts_differ = first = 0
    fresh = np.flatnonzero((decisions["share"] == 0.0) & (decisions["planned"] == 1))
    start = int(fresh[0]) if len(fresh) else len(decisions)
    planner.reset()
    judging = False
    for record in tqdm(decisions[start:], desc="replay", unit="tick", leave=False, mininterval=1.0):
        differs = False
        if record["planned"]:
            setpoint = _flat(planner.replay(record).setpoint)
            plans += 1
            differs = not _same(setpoint, record["planned_setpoint"])
            plans_differ += differs
            worst = np.fmax(worst, _difference(setpoint, record["planned_setpoint"]))
        if record["judged"]:
            judging = judging or bool(record["engaged"])
            if judging:
                sent, same = _judge(shield, record)
                verdicts += 1
                verdicts_differ += not same
                differs = differs or not same
                worst = np.fmax(worst, _difference(sent, record["sent"]))
        if differs and first == 0:
            first = int(record["t_ns"])
    rate, thrust = float(worst[:3].max()), float(worst[3])
    return Replay(len(decisions) - start, plans, verdicts, plans_differ, verdicts_differ, first, rate, thrust, start)


def _judge(shield: Shield, record: np.void) -> tuple[Vector, bool]:
    """The set-point that the shield gives now, and whether decision and set-point are those of the log."""
    ahead = record["ahead"].tolist() if record["seen"] else None
    if record["engaged"]:
        shield.engage(record["ahead"].tolist())
    decision = shield.decide(ahead, record["estimate"].tolist(), _setpoint(record["candidate"]), int(record["decide_ns"]))
    sent = _flat(decision.setpoint)
    margin = np.array([decision.margin])
    same = (decision.verdict, decision.reason) == (record["verdict"], record["reason"])
    return sent, same and _same(sent, record["sent"]) and _same(margin, np.array([record["margin"]]))


def _difference(now: Vector, then: Vector) -> Vector:
    """Entry by entry; infinite where only one side is a number."""
    missing = np.isnan(now) != np.isnan(then)
    return np.where(missing, math.inf, np.nan_to_num(np.abs(now - then), nan=0.0))
