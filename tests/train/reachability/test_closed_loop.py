"""Tubes of sampled closed loops contain proven trajectories, without tolerance; the full attack is tests/helpers/adversary.py."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.adversary import attack, prove
from helpers.closed_loops import closed_loop, proper
from helpers.containment import tube_of
from helpers.random_systems import choices, families

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.closed_loop import Settings, middle_and_radius, prepare
from tubepilot.train.reachability.compiling import compiled
from tubepilot.train.reachability.reach import Limits, _slices, reach
from tubepilot.train.reachability.reference import reference
from tubepilot.train.reachability.specification import Specification
from tubepilot.train.reachability.verdict import Verdict, judge

FAMILIES = families()


@pytest.mark.parametrize("number", [8, pytest.param(0, marks=pytest.mark.slow)])
def test_random_loops(number: int) -> None:
    """Forty cases of a discrete loop and of a plant under a relu network; a fifth against proven trajectories."""
    report = attack(40, seed=3, chosen=FAMILIES[number : number + 1], proven_every=5, settings=Settings(2, 1, 1, 2))
    assert report.cases == 40
    assert report.proven >= 8
    assert report.validated > 0.5
    assert not report.found


def everything_unknown() -> Specification:
    """Delay, lost updates, a disturbance and two unknown parameters at once."""
    return closed_loop(
        lambda x, u, w, p: p[0] * x + u + w * x / 2 + p[1] - jnp.sin(x) / 4, [(0.4, 0.6)], inputs=1, period_s=0.1,
        control=lambda y, x: -2 * x,
        steps=4, disturbances=[(-0.1, 0.3)], parameters=[(-0.5, 0.5), (0.1, 0.1)], delay_s=(0.02, 0.07), missed=1,
        properties=(proper("stay", (0, 4), 0.1, lambda x: x * x - 9, 1),),
    )  # fmt: skip


def test_delays_lost_updates_disturbances_and_parameters() -> None:
    """One compiled tube for a wide box, a box of 1e-7 and a point; corners of all that is unknown."""
    spec, rng = everything_unknown(), np.random.default_rng(0)
    ready = prepare(spec, Settings(2, 1, 2, 2))
    tube = compiled(ready.tube)
    for half in (0.1, 5e-8, 0.0):
        box = np.array([[0.5 - half, 0.5 + half]])
        here = Specification(**{f: getattr(spec, f) for f in spec.__dataclass_fields__} | {"initial_box": box})
        made = jax.tree.map(np.asarray, tube(None, *middle_and_radius(box), *middle_and_radius(spec.parameter_box)))
        assert made.contracted.all()
        given, of = choices(here, rng, 6), reference(here)
        for way in range(6):
            assert not prove(of, made, ready.spans, given, way, rng)


WINDOWS = [
    ("stay", (0, 0), 1.3, True, True), ("stay", (0, 0), 0.2, True, False),  # the initial box itself
    ("stay", (0, 2), 2.3, True, True), ("stay", (0, 2), 2.2, True, False), ("stay", (1, 1), 1.3, False, True),
    ("stay", (1, 1), 1.2, False, False), ("stay", (Fraction(1, 2), 2), 2.3, False, True), ("avoid", (2, 3), 1.9, True, True),
    ("avoid", (1, 3), 1.1, True, False), ("avoid", (2, 3), 1.9, False, True), ("avoid", (1, 3), 1.0, False, False),
    ("reach", (0, 1), 1.3, False, True), ("reach", (1, 3), 0.9, False, False), ("reach", (3, 3), 3.3, True, True),
    ("reach", (3, 3), 3.2, True, False), ("stay", (0, 0), 0.2, False, False), ("avoid", (0, 0), 0.0, True, False),
]  # fmt: skip


@pytest.mark.parametrize("discrete", [True, False])
def test_windows_count_both_ends(discrete: bool) -> None:
    """x counts 0, 1, 2, ... from [0, 0.25]; the condition is x <= level."""
    chosen = [window for window in WINDOWS if window[3] == discrete]
    properties = tuple(proper(kind, ends, 1.0, partial(_below, level), 1) for kind, ends, level, _, _ in chosen)
    spec = closed_loop(lambda x, u, w, p: x + 1 if discrete else jnp.ones(1), [(0.0, 0.25)], discrete=discrete, period_s=1.0, steps=3,
                       properties=properties)  # fmt: skip
    tube, spans = tube_of(spec, Settings(1, 1, 1, 1))
    for i, (*_, holds) in enumerate(chosen):
        one = Specification(**{f: getattr(spec, f) for f in spec.__dataclass_fields__} | {"properties": properties[i : i + 1]})
        shown = judge(one, tube._replace(conditions=tube.conditions[i : i + 1], end_conditions=tube.end_conditions[i : i + 1]), spans)
        assert shown.proven == holds, chosen[i]


def _below(level: float, x: jax.Array) -> jax.Array:
    return x - level


def test_a_discrete_violation_at_the_left_end_of_a_window_is_not_overlooked() -> None:
    """x+ = 1 - x from 2.5: x_2 = 2.5 breaks x <= 1, x_3 does not."""
    spec = closed_loop(lambda x, u, w, p: 1 - x, [(2.4, 2.6)], discrete=True, steps=4,
                       properties=(proper("stay", (2, 3), 0.1, lambda x: x - 1, 1),))  # fmt: skip
    assert reach(spec, Settings(1, 1, 1, 1), Limits(boxes=2, attack=False)).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"properties": (proper("stay", (0, 9), 0.1, lambda x: x, 1),)}, "window"),
        ({"delay_s": (0.0, 0.2)}, "delay"),
        ({"missed": -1}, "missed"),
        ({"initial_box": np.array([[1.0, 0.0]])}, "initial"),
        ({"parameter_box": np.array([[0.0, np.nan]] * 2)}, "parameter"),
    ],
)
def test_meaningless_specifications_are_refused(changes: dict[str, object], message: str) -> None:
    spec = everything_unknown()
    with pytest.raises(InputError, match=message):
        prepare(Specification(**{f: getattr(spec, f) for f in spec.__dataclass_fields__} | changes), Settings())


def test_centre_and_half_width_contain_the_box_exactly() -> None:
    rng = np.random.default_rng(0)
    lo = rng.normal(size=500) * 10.0 ** rng.integers(-300, 300, 500)
    hi = np.where(
        np.arange(500) % 2 == 0, np.nextafter(lo, np.inf), lo + np.abs(rng.normal(size=500)) * 10.0 ** rng.integers(-20, 20, 500)
    )
    for c, h, a, b in zip(*middle_and_radius(np.stack([lo, hi], axis=-1)), lo, hi, strict=True):
        assert Fraction(float(c)) - Fraction(float(h)) <= Fraction(float(a))
        assert Fraction(float(c)) + Fraction(float(h)) >= Fraction(float(b))


def test_pieces_cover_the_box() -> None:
    """Neighbours share their edge, and the outer edges are those of the box."""
    rng = np.random.default_rng(1)
    for lo, width in zip(rng.normal(size=60), 10.0 ** rng.uniform(-17, 3, 60), strict=True):
        box = np.array([[lo, lo + width], [0.0, 1.0]])
        for count in (2, 3, 7):
            pieces = _slices(box, 0, count)
            assert pieces[0][0, 0] == box[0, 0]
            assert pieces[-1][0, 1] == box[0, 1]
            assert all(a[0, 1] == b[0, 0] for a, b in pairwise(pieces))
            assert all((p[1] == box[1]).all() for p in pieces)
