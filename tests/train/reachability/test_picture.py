"""Pictures of tubes: bounds read from conditions, files of both kinds, tubes that end early, many states."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.closed_loops import closed_loop, proper
from matplotlib import image

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability import picture
from tubepilot.train.reachability.closed_loop import Settings
from tubepilot.train.reachability.counterexample import Counterexample
from tubepilot.train.reachability.picture import draw, simple_bounds
from tubepilot.train.reachability.reach import Result
from tubepilot.train.reachability.report import lines, table, width_over_sampling
from tubepilot.train.reachability.sampling import Sampled, outside, sample
from tubepilot.train.reachability.specification import Specification
from tubepilot.train.reachability.verdict import Verdict

STEPS = 5


def decay(states: int = 2) -> Specification:
    """x' = -x from [1, 2], with properties of every kind."""
    limits = (
        proper("stay", (0, STEPS), 0.1, lambda x: jnp.stack([x[0] - 3.0, -2.0 * x[0] - 1.0]), 2),
        proper("reach", (STEPS, STEPS), 0.1, lambda x: jnp.stack([x[0] - 1.5]), 1),
        proper("avoid", (Fraction(1), Fraction(2)), 0.1, lambda x: jnp.stack([5.0 - x[0], x[0] * x[-1]]), 2),
    )
    return closed_loop(lambda x, u, w, p: -x, [(1, 2)] * states, steps=STEPS, properties=limits)


def outcome(spec: Specification, known: int = STEPS) -> Result:
    """The exact tube; nothing is known after `known` steps."""
    t = np.arange(STEPS + 1) * 0.1
    n = len(spec.states)
    lo, hi = np.repeat(np.exp(-t[1:, None]), n, 1), np.repeat(2 * np.exp(-t[:-1, None]), n, 1)
    lo[known:], hi[known:] = np.nan, np.inf
    end = np.stack([np.full(n, np.exp(-t[-1])), np.full(n, 2 * np.exp(-t[-1]))], -1) if known == STEPS else np.full((n, 2), np.nan)
    verdict = Verdict.VERIFIED if known == STEPS else Verdict.UNKNOWN
    reason = "" if known == STEPS else "step 3 of 5"
    return Result(verdict, reason, 0.1, 1.0, 100.0, spec.initial_box[None], 1, lo, hi, np.stack([t[:-1], t[1:]], -1), end, Settings())


def violation(spec: Specification) -> Counterexample:
    times, states = np.arange(STEPS + 1) * 0.1, np.full((STEPS + 1, len(spec.states)), 1.5)
    return Counterexample("test", 0, "stay", "c0", 0.25, 0.2, "2", states[0], np.zeros(0), np.zeros((STEPS, 1, 0)), np.zeros(STEPS),
                          np.ones(STEPS, bool), times, states, True, 0.2)  # fmt: skip


def test_simple_bounds() -> None:
    stay, reach, avoid = decay().properties
    centre = np.array([1.0, 1.0])
    assert simple_bounds(stay, centre) == {0: pytest.approx((-0.5, 3.0))}
    assert simple_bounds(reach, centre) == {0: pytest.approx((-np.inf, 1.5))}
    assert simple_bounds(avoid, centre) == {0: pytest.approx((5.0, np.inf))}, "a product of states is no bound"
    curved = proper("stay", (0, 1), 0.1, lambda x: jnp.stack([x[0] ** 2 - 1.0, jnp.log(x[1]), x[0] + x[1]]), 3)
    assert simple_bounds(curved, centre) == {}


def test_png_and_html(tmp_path: Path) -> None:
    spec = decay()
    sampled = sample(spec, 100)
    result = replace(outcome(spec), verdict=Verdict.FALSIFIED, reason="<b> & co", counterexample=violation(spec))
    draw(spec, result, sampled, tmp_path / "tube.png")
    pixels = image.imread(tmp_path / "tube.png")
    red = (pixels[..., 0] > 0.95) & (pixels[..., 1] < 0.05) & (pixels[..., 2] < 0.05)
    assert red.sum() > 50, "the counterexample is red"
    draw(spec, result, sampled, tmp_path / "tube.html")
    page = (tmp_path / "tube.html").read_text("utf-8")
    assert "<b> & co" not in page
    assert "&lt;b&gt; &amp; co" in page
    assert "avoid in [0.1, 0.2] s" in page
    with pytest.raises(InputError, match=r"tube\.pdf: pictures are"):
        draw(spec, result, sampled, tmp_path / "tube.pdf")


def test_no_red_without_counterexample(tmp_path: Path) -> None:
    spec = decay()
    draw(spec, outcome(spec), sample(spec, 100), tmp_path / "tube.png")
    pixels = image.imread(tmp_path / "tube.png")
    assert not ((pixels[..., 0] > 0.95) & (pixels[..., 1] < 0.05) & (pixels[..., 2] < 0.05)).any()


@pytest.mark.parametrize("known", [0, 3])
def test_a_tube_that_ends_early(tmp_path: Path, known: int) -> None:
    spec = decay()
    result, sampled = outcome(spec, known), sample(spec, 100)
    draw(spec, result, sampled, tmp_path / "tube.png")
    said = "\n".join(lines(spec, result, sampled))
    assert f"no bound; the tube ends at t = {0.1 * known:.4g} s" in said
    assert "0 of 100 simulated trajectories leave" in said
    rows = table(spec, result, sampled)
    assert rows["end_box"] == [[None, None]] * 2
    assert rows["width_over_sampling"] == [None, None]
    assert rows["tube"][4]["hi"] == [None, None]  # type: ignore[index]


def test_trajectories_that_escape_do_not_hide_the_others(tmp_path: Path) -> None:
    spec = decay()
    smooth = sample(spec, 100)
    sampled = Sampled(smooth.times_s, smooth.states.copy())
    sampled.states[::2, 3:] = np.nan
    draw(spec, outcome(spec), sampled, tmp_path / "tube.png")
    assert (sampled.spread() > 0.5).all()
    sampled.states[:] = np.nan
    draw(spec, outcome(spec), sampled, tmp_path / "tube.png")
    assert np.isnan(sampled.spread()).all()


def test_at_most_twelve_panels() -> None:
    spec = decay(14)
    figure = picture._figure(spec, outcome(spec), sample(spec, 100))
    assert len([panel for panel in figure.axes if panel.axison]) == picture.PANELS
    assert "12 of 14 states" in figure.get_suptitle()
    lines_of_panel = figure.axes[0].get_lines()
    assert len([line for line in lines_of_panel if len(line.get_xdata()) == STEPS * 4 + 1]) == 100
    picture.plt.close(figure)


def test_samples_reach_the_corners_and_everything_that_is_open() -> None:
    loop = closed_loop(
        lambda x, u, w, p: jnp.stack([w[0] + p[0] + u[0]]), [(0, 1)], control=lambda y, x: x, inputs=1, steps=STEPS,
        disturbances=[(-1, 1)], parameters=[(3, 4)], delay_s=(0.0, 0.05), missed=1,
    )  # fmt: skip
    seen = sample(loop, 400)
    assert seen.states.shape == (400, 4 * STEPS + 1, 1)
    assert {0.0, 1.0} <= set(seen.states[:, 0, 0].tolist())
    # x' = w + p + u with u = x sampled, at first; without the input the ends are 0.5 (w + p)
    assert seen.spread()[0] > 0.5 * 3.0 + 1.0


def test_width_over_sampling_and_leaving() -> None:
    spec = decay()
    result, sampled = outcome(spec), sample(spec, 200)
    assert outside(sampled, result.times_s, result.lo, result.hi) == 0
    assert width_over_sampling(result, sampled) == pytest.approx([1.0, 1.0], abs=1e-9)
    assert width_over_sampling(result, None) == [None, None]
    still = Sampled(sampled.times_s, sampled.states * np.array([1.0, 0.0]))
    assert width_over_sampling(result, still)[1] is None
    assert outside(still, result.times_s, result.lo, result.hi) == 200
    narrow = result.hi - 0.01
    assert outside(sampled, result.times_s, result.lo, narrow) > 0
