"""The on-board planner: the same plans as its graphs, any-time behaviour on a scripted clock, and no exception ever."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.small_bundle import make_bundle

from tubepilot.export.parity import handed_on, run_graph
from tubepilot.firmware_bridge.types import Setpoint, Vector
from tubepilot.runtime import engine
from tubepilot.runtime.bundle import Bundle, read_bundle
from tubepilot.runtime.decision_log import decision_dtype
from tubepilot.runtime.planner import Planner

FAR_NS = 10**18
HORIZON = 4


class Clock:
    """Each reading is `step_ns` after the one before."""

    def __init__(self, step_ns: int) -> None:
        self.now_ns, self.step_ns = 0, step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(*make_bundle(tmp_path_factory.mktemp("planner")))


def state(offset_m: float = 0.0) -> Vector:
    result = np.zeros(14)
    result[0], result[6], result[13] = offset_m, 1.0, 9.81
    return result


def rows(offset_m: float = 0.0) -> Vector:
    result = np.zeros((HORIZON + 1, 9))
    result[:, 0] = offset_m
    return result


def flights(count: int) -> Iterator[tuple[Vector, Vector, Vector]]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        x = state()
        x[:6] += rng.normal(size=6) * 0.3
        x[6:10] += rng.normal(size=4) * 0.1
        yield x, rows() + 0.1 * rng.normal(size=(HORIZON + 1, 9)), rng.normal(size=3) * 0.3


def test_a_tick_is_what_the_graphs_give(bundle: Bundle) -> None:
    planner = Planner(bundle, Clock(0))
    noise = bundle.arrays("planner.npz")["noise"]
    previous, share, action = np.zeros((3, HORIZON, 4)), 0.0, planner._previous_action.copy()
    for tick, (x, reference, disturbance) in enumerate(flights(5)):
        plan = planner.plan(x, reference, disturbance, FAR_NS)
        relative, there = x.copy(), reference.copy()
        relative[:3] -= reference[0, :3]
        there[:, :3] -= reference[0, :3]
        relative[6:10] /= np.linalg.norm(relative[6:10])
        feeds = {
            "state": relative[None, None], "reference": there[None], "disturbance": disturbance[None, None],
            "previous_plans": previous[None], "noise": noise[tick][None].astype(float), "reuse": np.array([[share]]),
            "previous_action": action[None],
        }  # fmt: skip
        feeds.update(handed_on(run_graph(bundle.files["rollout.onnx"], "rollout", feeds)))
        first = run_graph(bundle.files["rank.onnx"], "rank", feeds)["returns"]
        for _ in range(planner.steps_max):
            feeds.update(handed_on(run_graph(bundle.files["refine.onnx"], "refine", feeds)))
        ranked = run_graph(bundle.files["rank.onnx"], "rank", feeds)
        best = int(ranked["best"][0, 0])
        assert plan.ok
        assert (plan.best, plan.steps, plan.tick) == (best, planner.steps_max, tick)
        looked_back = float(first.max()) if tick == 0 else math.nan
        assert plan.return_before == pytest.approx(looked_back, rel=1e-6, nan_ok=True)
        assert plan.return_after == pytest.approx(float(ranked["returns"].max()), rel=1e-6)
        assert plan.disagreement == pytest.approx(float(ranked["disagreement"][0, 0]), rel=1e-6)
        plans = feeds["plans"][0].reshape(HORIZON, 3, 4).swapaxes(0, 1)
        np.testing.assert_array_equal(plan.actions, plans[best])
        scale = bundle.manifest.action_scale
        wanted = np.array(scale.centre) + np.array(scale.half) * plan.actions[0].astype(float)
        np.testing.assert_allclose(plan.setpoint.rates_rad_s, wanted[:3], rtol=1e-12)
        assert plan.setpoint.thrust_m_s2 == pytest.approx(wanted[3])
        previous = plans.copy()
        previous[[0, best]] = previous[[best, 0]]
        share = bundle.manifest.planner.reuse
        sent = Setpoint(np.array([0.3, -0.2, 0.1]) * tick, 9.0)
        planner.applied(sent)
        action = ((np.append(sent.rates_rad_s, 9.0) - scale.centre) / np.array(scale.half))[None].astype(np.float32)


def test_the_same_ticks_give_the_same_plans(bundle: Bundle) -> None:
    planner = Planner(bundle, Clock(0))
    runs = []
    for _ in range(2):
        planner.reset()
        runs.append([planner.plan(*problem, FAR_NS).actions.copy() for problem in flights(6)])
    np.testing.assert_array_equal(runs[0], runs[1])


def test_plans_do_not_depend_on_where_the_flight_is(bundle: Bundle) -> None:
    planner = Planner(bundle, Clock(0))
    near = planner.plan(state(0.5), rows(0.25), np.zeros(3), FAR_NS).actions.copy()
    planner.reset()
    far = planner.plan(state(4000.5), rows(4000.25), np.zeros(3), FAR_NS).actions
    np.testing.assert_array_equal(near, far)


def test_refinement_gains_and_more_steps_gain_more(bundle: Bundle) -> None:
    planner = Planner(bundle, Clock(0))
    plan = planner.plan(state(0.5), rows(), np.zeros(3), FAR_NS)
    assert plan.return_after > plan.return_before


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock on which every reading takes 1 ns and every run of a graph 1000 ns."""
    clock = Clock(1)
    run = engine._Bound.run

    def timed(stage: engine._Bound) -> None:
        clock.now_ns += 1000
        run(stage)

    monkeypatch.setattr(engine._Bound, "run", timed)
    return clock


@pytest.mark.parametrize(
    ("budget_ns", "steps", "ranked"), [(20_000, 4, True), (5100, 3, True), (2100, 0, True), (1100, 0, False)]
)
def test_steps_fit_the_deadline(bundle: Bundle, clock: Clock, budget_ns: int, steps: int, ranked: bool) -> None:
    planner = Planner(bundle, clock)
    planner.warm_up()
    deadline_ns = clock.now_ns + budget_ns
    plan = planner.plan(state(0.5), rows(), np.zeros(3), deadline_ns)
    assert clock.now_ns <= deadline_ns
    assert plan.ok
    assert plan.steps == steps
    assert (plan.best >= 0) is ranked
    assert math.isnan(plan.return_after) is not ranked
    assert math.isnan(plan.return_before) is (steps < planner.steps_max)  # it must not cost a step
    assert np.isfinite(plan.setpoint.rates_rad_s).all()


def test_a_passed_deadline_gives_no_plan_and_the_next_tick_recovers(bundle: Bundle, clock: Clock) -> None:
    planner = Planner(bundle, clock)
    planner.plan(state(), rows(), np.zeros(3), FAR_NS)
    late = planner.plan(state(), rows(), np.zeros(3), clock.now_ns)
    assert not late.ok
    assert "deadline has passed" in late.reason
    assert math.isnan(late.setpoint.thrust_m_s2)
    assert planner.plan(state(), rows(), np.zeros(3), FAR_NS).ok


def test_a_spike_costs_steps_only_for_a_while(bundle: Bundle, clock: Clock) -> None:
    planner = Planner(bundle, clock)
    planner.warm_up()
    planner._estimate_ns["refine"] = planner._estimate_ns["rank"] = 20_000.0
    steps = [planner.plan(state(), rows(), np.zeros(3), clock.now_ns + 10_000).steps for _ in range(150)]
    assert steps[0] == 0
    assert steps[-1] == planner.steps_max


BAD = {
    "state shape": (np.zeros(13), rows(), np.zeros(3), "state has shape"),
    "state nan": (state(math.nan), rows(), np.zeros(3), "state is not finite"),
    "reference shape": (state(), rows()[:-1], np.zeros(3), "reference has shape"),
    "reference inf": (state(), rows(math.inf), np.zeros(3), "reference is not finite"),
    "disturbance nan": (state(), rows(), np.full(3, math.nan), "disturbance is not finite"),
    "disturbance shape": (state(), rows(), np.zeros((1, 3)), "disturbance has shape"),
    "no attitude": (np.zeros(14), rows(), np.zeros(3), "quaternion has norm 0"),
    "overflow": (state(1e30), rows(), np.zeros(3), "not finite"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_inputs_give_a_reason_and_never_an_exception(bundle: Bundle, case: str) -> None:
    x, reference, disturbance, text = BAD[case]
    planner = Planner(bundle, Clock(0))
    plan = planner.plan(x, reference, disturbance, FAR_NS)
    assert not plan.ok
    assert text in plan.reason
    assert np.isnan(plan.setpoint.rates_rad_s).all()
    assert planner.plan(state(), rows(), np.zeros(3), FAR_NS).ok


def test_stages_work_on_their_own(bundle: Bundle) -> None:
    planner = Planner(bundle, Clock(0))
    assert planner.load(state(0.2), rows(), np.zeros(3)) == ""
    candidates = planner.rollout(0).copy()
    refined = planner.refine()
    assert candidates.shape == refined.shape == (3, HORIZON, 4)
    assert not np.array_equal(candidates, refined)
    assert 0 <= planner.rank() < 3


def test_a_setpoint_that_is_no_number_is_not_taken_as_applied(bundle: Bundle) -> None:
    planner = Planner(bundle, Clock(0))
    before = planner._previous_action.copy()
    planner.applied(Setpoint(np.full(3, math.nan), 9.0))
    np.testing.assert_array_equal(planner._previous_action, before)


def test_a_noise_table_or_graph_of_another_shape_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    from dataclasses import replace

    from tubepilot.export.bundle import pack
    from tubepilot.firmware_bridge.errors import BundleError

    for arrays in (
        {"noise": np.zeros((2, 3, 5, 4), np.float32), "shell_m": np.zeros(1, np.float32)},
        {"noise": np.zeros((2, 3, 4, 4)), "shell_m": np.zeros(1, np.float32)},
        {"noise": np.zeros((2, 3, 4, 4), np.float32), "shell_m": np.full(1, np.nan, np.float32)},
        {"noise": np.zeros((2, 3, 4, 4), np.float32)},
        {},
    ):
        wrong = replace(bundle, files={**bundle.files, "planner.npz": pack(arrays)})
        with pytest.raises(BundleError, match=r"^planner\.npz: "):
            Planner(wrong)
    entry = replace(bundle.manifest.planner, horizon=5)
    noise = pack({"noise": np.zeros((2, 3, 5, 4), np.float32), "shell_m": np.zeros(1, np.float32)})
    longer = replace(bundle.manifest, planner=entry)
    wrong = replace(bundle, manifest=longer, files={**bundle.files, "planner.npz": noise})
    with pytest.raises(BundleError, match=r"^rollout\.onnx: .* the manifest asks for"):
        Planner(wrong)
    swapped = replace(bundle, files={**bundle.files, "rollout.onnx": b"not a graph"})
    with pytest.raises(BundleError, match=r"^rollout\.onnx: onnxruntime .* cannot load it"):
        Planner(swapped)


def test_pre_warming_changes_no_plan(bundle: Bundle) -> None:
    quiet, warmed = Planner(bundle, Clock(0)), Planner(bundle, Clock(0))
    assert warmed.pre_warm_ns >= 0
    for problem in flights(6):
        warmed.pre_warm(FAR_NS)
        wanted, plan = quiet.plan(*problem, FAR_NS), warmed.plan(*problem, FAR_NS)
        np.testing.assert_array_equal(plan.actions, wanted.actions)
        assert (plan.best, plan.return_after) == (wanted.best, wanted.return_after)


def test_pre_warming_begins_no_graph_that_may_not_end_in_time(bundle: Bundle) -> None:
    clock = Clock(0)
    planner = Planner(bundle, clock)
    planner.plan(*next(iter(flights(1))), FAR_NS)
    planner._estimate_ns = {"rollout": 100.0, "refine": 200.0, "rank": 50.0}
    for room_ns, written in ((199, ()), (200, (0,)), (400, (0, 1))):
        for plans in planner._plans:
            plans.fill(np.nan)
        planner.pre_warm(clock() + room_ns)
        assert tuple(k for k in range(2) if np.isfinite(planner._plans[k]).all()) == written


def test_a_first_tick_without_time_is_recorded_as_a_fresh_start(bundle: Bundle) -> None:
    planner = Planner(bundle)
    planner.warm_up()
    plan = planner.plan(*next(iter(flights(1))), 0)
    record = np.zeros(1, decision_dtype(planner.horizon))[0]
    planner.note(record, plan)
    assert (record["planned"], record["ok"], record["share"]) == (1, 0, 0.0)
