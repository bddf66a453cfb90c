"""What the tests of the shield share: a shield made in milliseconds, its clock, margins by hand."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Sequence
from typing import Any

from tubepilot.firmware_bridge.types import Setpoint
from tubepilot.runtime.shield import Reason, Verdict
from tubepilot.runtime.shield_margins import Answer

from .mutants import Library
from .small_shield import CALM, HOVER, TICK_NS, certificate, graphs

FENCE_M, FLOOR_M = 12.0, -4.0
YAW_RAD_S = (0.25 - 0.005) / 1.06
START_NS = 5_000_000_000
UP, DOWN = math.inf, -math.inf
ACROSS_M = [8.0, 9.0, 10.0, 11.0]
"""Room of each anchor of a stub."""


def make(lib: Library, fence_m: float = 1e5, floor_m: float = DOWN, **changes: Any) -> Any:
    """A shield, engaged at `HOVER`."""
    timing = (changes.get("delay_max_s", ("", 0.005))[1], changes.get("missed_ticks", ("", 1))[1])
    clear = lib.clear.KeepClear(fence_m=fence_m, floor_m=floor_m)
    shield = lib.shield.Shield(*graphs(*timing), lib.assumed.assumed_from(certificate(**changes)), clear)
    shield.engage(HOVER)
    return shield


def at(**values: float) -> list[float]:
    """`HOVER` with some numbers changed: x3=1.0 is a speed of 1 m/s."""
    x = list(HOVER)
    for name, value in values.items():
        x[int(name[1:])] = value
    return x


class Clock:
    """One tick after the other."""

    def __init__(self, shield: Any) -> None:
        self.shield, self.now_ns = shield, START_NS

    def __call__(
        self,
        predicted: Sequence[float] | None = HOVER,
        disturbance: Sequence[float] = CALM,
        candidate: Setpoint | None = None,
        gap_ns: int = TICK_NS,
    ) -> Any:
        self.now_ns += gap_ns
        return self.shield.decide(predicted, disturbance, candidate, self.now_ns)


def same(decision: Any, verdict: Verdict, reason: Reason) -> None:
    assert (decision.verdict, decision.reason) == (verdict, reason)
    assert (decision.setpoint is None) == (verdict is Verdict.VOID)


def stub(shield: Any, answer: Callable[[int, int], list[float]]) -> list[tuple[int, Sequence[Any]]]:
    """Let the margins be what `answer(states, call)` says, one per option; returns the calls, one a question: states and options."""
    calls: list[tuple[int, Sequence[Any]]] = []

    def ask(questions: Sequence[Any]) -> list[Answer]:
        answers = []
        for question in questions:
            calls.append((4 if question.instants == (1, 2) else 1, question.options))
            found = answer(calls[-1][0], len(calls))
            count = len(question.options)
            answers.append(Answer([*found, *[0.0] * (4 - len(found))][:count], ACROSS_M[:count], [3.5] * count))
        return answers

    shield._set.ask = ask
    return calls


def clear_of(lib: Library, shield: Any, free: Sequence[int]) -> list[int]:
    """Let only these anchors of a stub have room; returns the numbers of those that are asked for it."""
    asked: list[int] = []

    def blocked(anchor: Any, across_m: float, high_m: float) -> Any:
        asked.append(ACROSS_M.index(across_m))
        return lib.decision.Reason.OK if asked[-1] in free else lib.decision.Reason.OBSTACLE

    shield._set.clear = types.SimpleNamespace(blocked=blocked)
    return asked


def margins_of(shield: Any, question: Any) -> list[float]:
    """What the shield graph says to one question."""
    found: list[float] = shield._set.ask([question])[0].margins
    return found


def roomy(lib: Library, **changes: Any) -> Any:
    """A shield whose set holds every state."""
    shield = make(lib, **changes)
    stub(shield, lambda states, call: [0.5] * 4)
    return shield
