"""Falsification: violations are found where they are and proven, none is claimed where there is none, and files read back equal."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.closed_loops import airplane, closed_loop, double_pendulum, proper

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.counterexample import Counterexample, balls, inner, load_counterexample, replay
from tubepilot.train.reachability.falsify import falsify
from tubepilot.train.reachability.reference import reference
from tubepilot.train.reachability.simulation import simulate
from tubepilot.train.reachability.specification import Property, Specification

P = 0.1


def rotation(*properties: Property, **changes) -> Specification:
    """x' = (x2, -x1), from a box around (1, 0): |x| is constant, the angle is -t."""
    box = [(0.9, 1.1), (-0.1, 0.1)]
    return closed_loop(lambda x, u, w, p: jnp.stack([x[1], -x[0]]), box, steps=20, properties=properties, **changes)


def drift(*properties: Property) -> Specification:
    """x' = w + p, |w| <= 1, |p| <= 0.5, from [0, 0.25]: x(2) = x0 + 2 (w + p) at most 3.25."""
    return closed_loop(lambda x, u, w, p: w + p, [(0, 0.25)], steps=20, disturbances=[(-1, 1)], parameters=[(-0.5, 0.5)],
                       properties=properties)  # fmt: skip


def consistent(spec: Specification, found: Counterexample) -> None:
    """The counterexample lies in its boxes, and its states are those of the simulation."""
    boxes = (spec.initial_box, spec.parameter_box, spec.disturbance_box)
    for values, box in zip((found.x0, found.parameters, found.disturbances), boxes, strict=True):
        assert (values >= box[:, 0]).all()
        assert (values <= box[:, 1]).all()
    samples = (len(found.times_s) - 1) // spec.steps
    _, states = simulate(spec, found.x0[None], found.disturbances[None], found.parameters[None], delays_s=found.delays_s[None],
                         received=found.received[None], samples_per_period=samples)  # fmt: skip
    np.testing.assert_allclose(states[0], found.states, rtol=0, atol=1e-9)


def test_stay_is_broken_at_the_right_time() -> None:
    """|x| reaches sqrt(1.1^2 + 0.1^2) = 1.1045 in the angle -t; x2 >= -1.1 is broken between t = 1.39 and 1.57."""
    spec = rotation(proper("stay", (0, 20), P, lambda x: jnp.stack([x[0] - 1.2, -1.1 - x[1]]), 2))
    found = falsify(spec, samples=8)
    assert found is not None
    assert found.confirmed
    assert found.condition == "c1"
    assert 1.35 < found.time_s < 1.65
    assert 0 < found.proven_margin <= found.margin + 1e-9 < 0.0047
    consistent(spec, found)


def test_true_properties_are_not_falsified() -> None:
    spec = rotation(
        proper("stay", (0, 20), P, lambda x: jnp.sum(x * x)[None] - 1.2201, 1),
        proper("avoid", (0, 20), P, lambda x: (x @ x - 0.8)[None], 1),
        proper("reach", (20, 20), P, lambda x: x[:1], 1),
    )
    assert falsify(spec, samples=16, iterations=10) is None


@pytest.mark.parametrize("window", [(3, 3), (Fraction(5, 2), 12), (0, 20)])
def test_avoid_is_broken(window) -> None:
    """The wedge x2 / x1 in [-0.35, -0.2] with |x| >= 1 is crossed at about t = 0.27."""
    spec = rotation(
        proper("avoid", window, P, lambda x: jnp.stack([x[1] + 0.2 * x[0], -x[1] - 0.35 * x[0], 1 - x @ x]), 3)
    )
    found = falsify(spec, samples=8)
    assert found is not None
    assert found.confirmed
    first, last = (float(v) * P for v in window)
    assert first <= found.time_s <= last
    assert found.proven_margin > 0
    consistent(spec, found)


def test_reach_is_broken_over_a_whole_window() -> None:
    """x1 stays above 0.7 until t = 0.8 from the top corner, proven on all of the window and not at samples; not until t = 2."""
    spec = rotation(proper("reach", (Fraction(1, 3), 8), P, lambda x: jnp.stack([x[0] - 0.7, x[1] - 5.0]), 2))
    found = falsify(spec, samples=8)
    assert found is not None
    assert found.confirmed
    assert found.condition == "c0"
    assert 0 < found.proven_margin < 1.1 * np.cos(0.8 - 0.0908) - 0.69
    shorter = replace(spec, properties=(proper("reach", (Fraction(1, 3), 20), P, lambda x: x[:1] - 0.7, 1),))
    assert falsify(shorter, samples=8, iterations=5) is None


def test_gradient_ascent_finds_disturbances_and_parameters() -> None:
    """The bound 3.2 needs x0, p and all of w within 1.6 % of their ends, which few random points have; 3.25 cannot be passed."""
    target = proper("stay", (20, 20), P, lambda x: x - 3.2, 1)
    found = falsify(drift(target), samples=2, ascents=2)
    assert found is not None
    assert found.confirmed
    assert found.proven_margin > 0.04
    assert falsify(drift(proper("stay", (20, 20), P, lambda x: x - 3.2501, 1)), samples=64) is None


def test_delays_and_lost_updates_are_searched() -> None:
    """x' = u, u = -15 x sampled, x halves and changes sign in a period: only late or lost updates make |x| grow beyond its start."""
    limits = proper("stay", (0, 20), P, lambda x: jnp.concatenate([x - 1.01, -1.01 - x]), 2)

    def loop(**changes) -> Specification:
        return closed_loop(lambda x, u, w, p: u, [(0.9, 1)], control=lambda y, x: -15 * x, inputs=1, steps=5, properties=(limits,),
                           **changes)  # fmt: skip

    assert falsify(loop(), samples=16, iterations=5) is None
    for changes in ({"delay_s": (0.0, 0.1)}, {"missed": 1}):
        spec = loop(**changes)
        found = falsify(spec, samples=64)
        assert found is not None
        assert found.confirmed
        consistent(spec, found)


def test_discrete_systems() -> None:
    spec = closed_loop(lambda x, u, w, p: 0.5 * x + w, [(0, 1)], discrete=True, steps=9, disturbances=[(-1, 1)],
                       properties=(proper("stay", (0, 9), P, lambda x: x - 1.99, 1), proper("reach", (2, 9), P, lambda x: x + 0.5, 1)),
                       )  # fmt: skip
    found = falsify(spec, samples=16)
    assert found is not None
    assert found.confirmed
    assert found.number == 0
    second = falsify(replace(spec, properties=spec.properties[1:]), samples=16)
    assert second is not None
    assert second.confirmed


def test_what_cannot_be_proven_is_not_confirmed() -> None:
    """A side of one unit in the last place stands for one decimal within: a condition that holds for part of it proves nothing."""
    side = (np.nextafter(0.3, 0), 0.3)
    spec = closed_loop(lambda x, u, w, p: 0 * x, [side], properties=(proper("stay", (0, 5), P, lambda x: x - side[0], 1),))
    found = falsify(spec, samples=8, iterations=3)
    assert found is not None
    assert not found.confirmed
    assert found.proven_margin == 0


def test_a_wrong_simulation_is_not_believed() -> None:
    spec = rotation(proper("stay", (0, 20), P, lambda x: -1.1 - x[1:], 1))
    found = falsify(spec, samples=8)
    assert found is not None
    ready = reference(spec)
    assert replay(ready, replace(found, x0=np.array([0.95, 0.0]))).confirmed is False
    assert replay(ready, replace(found, instant="5")).confirmed is False
    with pytest.raises(InputError, match="delays lie in"):
        replay(ready, replace(found, delays_s=found.delays_s + 0.01))
    with pytest.raises(InputError, match="never loses"):
        replay(ready, replace(found, received=~found.received))
    with pytest.raises(InputError, match="w has shape"):
        replay(ready, replace(found, disturbances=found.disturbances[1:]))
    with pytest.raises(InputError, match="outside the box"):
        replay(ready, replace(found, x0=np.array([2.0, 0.0])))
    with pytest.raises(InputError, match="another specification"):
        replay(ready, replace(found, specification="other"))
    with pytest.raises(InputError, match="another specification"):
        replay(ready, replace(found, number=1))


def test_files_read_back_equal(tmp_path: Path) -> None:
    spec = drift(proper("stay", (20, 20), P, lambda x: x - 1.0, 1))
    found = falsify(spec, samples=4)
    assert found is not None
    path = tmp_path / "counterexample.json"
    found.save(path)
    again = load_counterexample(path)
    for name in ("x0", "parameters", "disturbances", "delays_s", "received", "times_s", "states"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
        assert getattr(again, name).dtype == getattr(found, name).dtype
    assert (again.margin, again.instant, again.condition) == (found.margin, found.instant, found.condition)
    assert replay(spec, again).proven_margin == found.proven_margin
    table = json.loads(path.read_text())
    for text in ("{", json.dumps(table | {"more": 1}), json.dumps(table | {"x0": ["a"]}), json.dumps(table | {"instant": "1/0"})):
        path.write_text(text)
        with pytest.raises(InputError, match=r"counterexample"):
            load_counterexample(path)
    with pytest.raises(InputError):
        load_counterexample(tmp_path / "absent.json")


def test_inner_boxes_keep_clear_of_rounded_ends() -> None:
    box = np.array([[0.0, 1.0], [0.3, 0.3], [0.3, np.nextafter(0.3, 1)]])
    made = inner(box)
    assert made[0, 0] > 0.0
    assert made[0, 1] < 1.0
    np.testing.assert_array_equal(made[1:], box[1:])
    first, point, thin = balls(np.array([0.5, 0.3, 0.3]), box)
    assert first.is_exact()
    assert point.is_exact()
    assert thin.contains(0.3)
    assert thin.contains(float(np.nextafter(0.3, 1)))


def test_double_pendulum_is_falsified(archcomp: Path) -> None:
    found = falsify(double_pendulum(archcomp), samples=64)
    assert found is not None
    assert found.confirmed
    assert found.proven_margin > 0.1
    consistent(double_pendulum(archcomp), found)


def test_airplane_is_falsified(archcomp: Path) -> None:
    """Simulated from the top corner, y reaches 1.906."""
    found = falsify(airplane(archcomp), samples=64)
    assert found is not None
    assert found.confirmed
    assert found.proven_margin > 0.5
