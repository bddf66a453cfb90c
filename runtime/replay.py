"""Run the decisions of a flight log again through planner and shield of its bundle, and compare what they decide, field by field.

Planner and shield read exactly the numbers that the log holds, in the order of the flight, so that on the same machine and
onnxruntime every number must come out again to the last bit. Another build may round otherwise: then verdicts and their reasons
must be the same, and the largest difference of set-points and margins counts; every tick starts from the plan that the ticks before
it gave here.
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
from .shield_decision import Decision

BOUND_RAD_S, BOUND_M_S2 = 1e-3, 1e-3
"""Largest difference of a set-point on another build of onnxruntime: what an export admits against JAX (`export.parity`)."""
BOUND_MARGIN = 1e-9
"""Largest difference of a margin there, as a share of it or of 1: what the shield graph takes off for rounding
(docs/certificate.md, section 6). A build that is further off computes the graph in less than float64."""
KINDS = ("plan", "verdict", "reason", "sent", "margin")
"""What is compared: the planner's set-point; of a decision accept, backup or void, why, the set-point sent, the margin."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What came out.

    Attributes:
        ticks: Decisions replayed.
        plans, verdicts: How many set-points of the planner, and decisions of the shield, were compared.
        plans_differ, verdicts_differ: How many were not the same to the last bit in every field.
        differ: How many were not the same, by `KINDS`.
        first: Instant of the first decision that differs, CLOCK_MONOTONIC [ns]; 0 if none does.
        rate_rad_s, thrust_m_s2: Largest difference of a set-point, planned or sent; infinite if one side has none.
        margin: Largest difference of a margin, as a share of it or of 1; infinite if one side has none.
        skipped: Decisions before the first reset of the planner (the log lost what came before).
    """

    ticks: int
    plans: int
    verdicts: int
    plans_differ: int
    verdicts_differ: int
    differ: dict[str, int]
    first: int
    rate_rad_s: float
    thrust_m_s2: float
    margin: float
    skipped: int

    @property
    def exact(self) -> bool:
        """Every number of every plan and decision came out to the last bit."""
        return self.plans_differ == 0 and self.verdicts_differ == 0

    @property
    def within_bound(self) -> bool:
        """As another build of onnxruntime may be: every verdict and reason the same, set-points and margins within their bounds."""
        alike = self.differ["verdict"] == 0 and self.differ["reason"] == 0
        return alike and self.rate_rad_s <= BOUND_RAD_S and self.thrust_m_s2 <= BOUND_M_S2 and self.margin <= BOUND_MARGIN


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
    worst, margin = np.zeros(4), 0.0
    plans = verdicts = plans_differ = verdicts_differ = first = 0
    differ = dict.fromkeys(KINDS, 0)
    fresh = np.flatnonzero((decisions["share"] == 0.0) & (decisions["planned"] == 1))
    start = int(fresh[0]) if len(fresh) else len(decisions)
    planner.reset()
    judging = False
    for record in tqdm(decisions[start:], desc="replay", unit="tick", leave=False, mininterval=1.0):
        odd: list[str] = []
        if record["planned"]:
            setpoint = _flat(planner.replay(record).setpoint)
            plans += 1
            if not _same(setpoint, record["planned_setpoint"]):
                plans_differ += 1
                odd.append("plan")
            worst = np.fmax(worst, _difference(setpoint, record["planned_setpoint"]))
        judging = judging or bool(record["judged"] and record["engaged"])
        if record["judged"] and judging:
            decision = _judge(shield, record)
            sent, own = _flat(decision.setpoint), np.array([decision.margin])
            of_decision = [name for name in ("verdict", "reason") if getattr(decision, name) != record[name]]
            of_decision += ["sent"] if not _same(sent, record["sent"]) else []
            of_decision += ["margin"] if not _same(own, np.array([record["margin"]])) else []
            verdicts += 1
            verdicts_differ += bool(of_decision)
            odd += of_decision
            worst = np.fmax(worst, _difference(sent, record["sent"]))
            margin = max(margin, float(_difference(own, record["margin"])[0]) / max(1.0, abs(_finite(record["margin"]))))
        for kind in odd:
            differ[kind] += 1
        if odd and first == 0:
            first = int(record["t_ns"])
    rate, thrust = float(worst[:3].max()), float(worst[3])
    return Replay(
        len(decisions) - start, plans, verdicts, plans_differ, verdicts_differ, differ, first, rate, thrust, margin, start
    )  # fmt: skip


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0


def _judge(shield: Shield, record: np.void) -> Decision:
    """What the shield decides now."""
    ahead = record["ahead"].tolist() if record["seen"] else None
    if record["engaged"]:
        shield.engage(record["ahead"].tolist())
    return shield.decide(ahead, record["estimate"].tolist(), _setpoint(record["candidate"]), int(record["decide_ns"]))


def _difference(now: Vector, then: Vector) -> Vector:
    """Entry by entry; infinite where only one side is a number, or finite."""
    missing = np.isfinite(now) != np.isfinite(then)
    with np.errstate(invalid="ignore"):  # what is infinite on both sides
        return np.where(missing, math.inf, np.nan_to_num(np.abs(now - then), nan=0.0))
