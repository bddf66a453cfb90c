"""Between its two instants, too, the admission box covers what a set-point can have done, whenever it began to act."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.small_shield import tables

from tubepilot.train.invariance.admission import FIRST, LAST, TERMS, Admission, box

TIMING, OLDER = TERMS.index("timing"), TERMS.index("older")
ACROSS_A, ACROSS_J = 10, 11
"""Columns of what is across the thrust vector: thrust vector and jerk."""


def bare(tick: float, delay: float, missed: int) -> Admission:
    """Numbers with which nothing but the timing itself moves the jerk: no feedback, no turning."""
    window = 0.5 * ((1 + missed) * tick + delay)
    return replace(
        tables().admission, tick=tick, window=window, missed=missed, gain=np.zeros((2, 3)), jerk=0.0, feedback=0.0, backup_rates=0.0
    )


def short(numbers: Admission, corner: bool = True) -> float:
    """By how much the line between both instants falls short of the share of a set-point, early or late, of what it has turned by, and
    of the share of the one before; negative: nowhere."""
    table, lag = box(numbers), numbers.rate_lag
    timing = [table[instant, TIMING, ACROSS_J] for instant in (FIRST, LAST)]
    if not corner:
        silent, gap = max(numbers.window - 2.0 * numbers.tick, 0.0), numbers.last - numbers.tick
        timing = [value + math.expm1(-(gap - silent) / lag) * silent / gap for value in timing]
    turned = [table[instant, TIMING, ACROSS_A] for instant in (FIRST, LAST)]
    older = [table[instant, OLDER, ACROSS_J] for instant in (FIRST, LAST)]

    def ends(time: float) -> tuple[float, float]:
        """How long the set-point has acted at the most and at the least."""
        return time + numbers.window, max(time - numbers.window + numbers.tick, 0.0)

    def middle(function: object, time: float) -> float:
        early, late = ends(time)
        return 0.5 * (function(early) + function(late))  # type: ignore[operator]

    worst = -1.0
    for share in np.linspace(0.0, 1.0, 401):
        time = numbers.tick + share * (numbers.last - numbers.tick)
        for function, radius in ((numbers.drawn, timing), (numbers.turned, turned)):
            centre = (1 - share) * middle(function, numbers.tick) + share * middle(function, numbers.last)
            reach = (1 - share) * radius[0] + share * radius[1]
            worst = max(worst, *(abs(function(begun) - centre) - reach for begun in ends(time)))
        early, late = (numbers.drawn(begun + numbers.tick) for begun in (time + numbers.window, time - numbers.window + numbers.tick))
        worst = max(worst, early - max(late, 0.0) - (1 - share) * older[0] - share * older[1])
    return worst


@pytest.mark.parametrize(("tick", "delay", "missed"), [
    (0.01, 0.005, 1), (0.01, 0.02, 1), (0.01, 0.03, 1), (0.01, 0.04, 1), (0.004, 0.01, 1), (0.01, 0.02, 2), (0.01, 0.03, 2),
    (0.01, 0.04, 0), (0.02, 0.0, 0), (0.02, 0.02, 1), (0.005, 0.02, 1),
])  # fmt: skip
def test_the_box_covers_every_instant_between(tick: float, delay: float, missed: int) -> None:
    assert short(bare(tick, delay, missed)) < 1e-9


def test_a_box_without_the_corner_does_not() -> None:
    for delay, missed in ((0.03, 1), (0.04, 1), (0.03, 2)):
        assert short(bare(0.01, delay, missed), corner=False) > 1e-3
    assert short(bare(0.004, 0.01, 1), corner=False) > 1e-3
