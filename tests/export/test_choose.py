"""The planner chosen for a rate and a machine: the best rung that fits, nothing where none does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.random_model import random_model

from tubepilot.export import choose as choose_module
from tubepilot.export.choose import LADDER, choose, predicted_us, table
from tubepilot.firmware_bridge.errors import InputError
from tubepilot.runtime.cost_model import SHARE, Device
from tubepilot.train.planner_settings import preset

MODEL = random_model(0, members=2, width=8, policy_width=8)
SETTINGS = preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0)


def test_the_first_rung_that_fits_is_chosen() -> None:
    slow = Device("slow", 2.0, 5.0, 2.0)
    chosen, predicted = choose(MODEL, SETTINGS, 100.0, slow)
    assert predicted <= 1e6 * SHARE / 100.0
    assert predicted == predicted_us(MODEL, chosen, slow)
    rung = LADDER.index((chosen.candidates, chosen.horizon, chosen.steps))
    assert rung > 0
    candidates, horizon, steps = LADDER[rung - 1]
    better = replace(chosen, candidates=candidates, horizon=horizon, steps=steps)
    assert predicted_us(MODEL, better, slow) > 1e6 * SHARE / 100.0
    assert chosen.step_rule is SETTINGS.step_rule


def test_what_does_not_fit_is_refused_and_said_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_module, "TABLE_WIDTHS", (8,))
    monkeypatch.setattr(choose_module, "LADDER", LADDER[-2:])
    board = Device("board", 30.0, 1.0, 30.0)
    with pytest.raises(InputError, match=f"at 500 Hz a decision may take {1e6 * SHARE / 500.0:.0f} us on board"):
        choose(MODEL, SETTINGS, 500.0, board)
    assert "does not fit" in table(MODEL, SETTINGS, board)
