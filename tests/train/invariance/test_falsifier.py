"""The falsifier: it finds nothing against a proven set, is judged exactly when the proof makes a step, and breaks unsound ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.proven import proven

from tubepilot.train.invariance import falsify_plant
from tubepilot.train.invariance.falsify import falsify
from tubepilot.train.invariance.picture import draw_report
from tubepilot.train.invariance.sensitivity import Gain

SEED = 3


def test_attacks_do_not_leave_a_proven_set_and_are_drawn(tmp_path: Path) -> None:
    seen = falsify(proven(), 2000, SEED)
    draw_report(proven(), seen, {"wind": Gain((0.1, 0.1), (0.2, 0.1))}, tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 100_000
    assert seen.rollouts >= 2000
    assert seen.escapes == 0
    assert seen.largest_facet <= 1.0
    assert (seen.tube_share <= 1.0).all()
    assert (seen.tube_share > 0.8).all()


def test_attacks_follow_other_tick_rates() -> None:
    certificate = proven()
    faster = replace(certificate.assumptions, tick_s=0.004)  # 10 ticks in a step; set-points act less long, so the set still holds
    seen = falsify(replace(certificate, assumptions=faster), 40, SEED, steps=3, ascents=0)
    assert (seen.rollouts, seen.escapes) == (40, 0)


@pytest.mark.parametrize("rate_hz", [50.0, 60.0, 62.5, 71.3, 75.0, 83.0, 100.0, 250.0])
def test_attacks_are_judged_exactly_when_the_proof_makes_a_step(rate_hz: float) -> None:
    certificate = proven()
    delay_s = 0.02 if rate_hz < 200.0 else 0.004
    a = replace(certificate.assumptions, tick_s=1.0 / rate_hz, delay_max_s=delay_s)
    other, steps = replace(certificate, assumptions=a), 25
    ticks = falsify_plant.ticks_of(other, steps)
    assert 0.0 <= ticks * a.tick_s - steps * certificate.step_s < a.tick_s - 1e-9
    plan = falsify_plant._plan(other, ticks)
    ends, lengths = plan.parts[..., 0], plan.parts[..., 1]
    assert (lengths > 0.0).all()
    assert (lengths <= falsify_plant.LONGEST_S + 1e-12).all()
    np.testing.assert_allclose(lengths.sum(axis=1), a.tick_s, rtol=1e-12)
    np.testing.assert_allclose(ends, np.cumsum(lengths, axis=1), rtol=1e-12)
    judged_s = (np.arange(ticks)[:, None] * a.tick_s + ends)[plan.last]
    np.testing.assert_allclose(judged_s, certificate.step_s * np.arange(1, steps + 1), rtol=0.0, atol=1e-9)
    assert plan.stepped.sum() == steps
    for first, last in zip(plan.first, plan.last, strict=True):
        assert first.sum() == (np.argmax(last) + 1 if last.any() else last.size)
    # the feedback of set-point k acts for a period, from `window` after its tick; older ones before, none is left out
    acts_s = (plan.parts[0, :, 2:] * lengths[0][:, None]).sum(axis=0)
    starts = [max(a.window_s - i * a.tick_s, 0.0) for i in range(acts_s.size)]
    until = [a.tick_s, *starts[:-1]]
    np.testing.assert_allclose(acts_s, [max(min(e, a.tick_s) - s, 0.0) for s, e in zip(starts, until, strict=True)], atol=1e-12)
    assert falsify_plant._behind(a) == (np.ceil(delay_s * rate_hz), np.ceil(a.window_s * rate_hz - 1e-9))


def test_attacks_between_ticks_and_with_delays_beyond_a_period_are_flown() -> None:
    """170 Hz: a step is 6.8 ticks, and delays last up to 2.6; set-points act less long than is assumed, so that nothing may leave."""
    certificate = proven()
    faster = replace(certificate.assumptions, tick_s=1.0 / 170.0, delay_max_s=0.015)
    seen = falsify(replace(certificate, assumptions=faster), 200, SEED, steps=4, ascents=0)
    assert seen.escapes == 0
    assert 0.99 < seen.largest_facet <= 1.0
    assert (seen.tube_share > 0.5).all()


def test_attacks_break_an_unsound_certificate() -> None:
    certificate = proven()
    stronger = replace(certificate.assumptions, acceleration_m_s2=(1.2, 0.75))
    assert falsify(replace(certificate, assumptions=stronger), 1000, SEED, ascents=0).escapes > 10
