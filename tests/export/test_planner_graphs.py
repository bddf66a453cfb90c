"""The planner graphs against JAX in float64 (exact algebra) and float32 (as exported), and what refinement must do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from helpers.random_model import random_model

from tubepilot.export import parity, samples
from tubepilot.export.curvature import hessian, hover_action, inverse_curvature
from tubepilot.export.emit import size, to_model
from tubepilot.export.graph import Graph
from tubepilot.export.planner_graphs import PORTS, rank_graph, refine_graph, rollout_graph, score_graph
from tubepilot.export.policy_graph import PORTS as POLICY_PORTS
from tubepilot.export.policy_graph import policy_graph
from tubepilot.firmware_bridge.errors import CheckpointError, ParityError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train import planner
from tubepilot.train.planner_settings import PlannerSettings, StepRule, preset

MODEL = random_model(0, members=3, width=8, policy_width=16)
SETTINGS = preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=4, candidates=3)
COUNT = 24


@pytest.fixture(scope="module")
def metric() -> npt.NDArray[np.float64]:
    return inverse_curvature(MODEL, SETTINGS)


@pytest.fixture(scope="module")
def drawn() -> dict[str, npt.NDArray[np.float64]]:
    return samples.draw(SETTINGS, COUNT, 1)


@pytest.fixture(scope="module")
def models(metric: npt.NDArray[np.float64]) -> dict[str, Any]:
    graphs = {
        "rollout": rollout_graph(MODEL, SETTINGS),
        "refine": refine_graph(MODEL, SETTINGS, metric),
        "rank": rank_graph(MODEL, SETTINGS),
        "policy": policy_graph(MODEL, SETTINGS.dt_plan_s),
    }
    return {name: to_model(graph, name, (*PORTS, *POLICY_PORTS), {}) for name, graph in graphs.items()}


def evaluate(graph: Any, drawn: dict[str, npt.NDArray[np.float64]], k: int) -> dict[str, Any]:
    return graph.evaluate({name: drawn[name][k][: tensor.shape[0]] for name, tensor in graph.inputs.items()})


def refined_at(refine: Graph, score: Graph, feeds: dict[str, Any]) -> dict[str, Any]:
    """Outputs of a refinement graph at the plans of `feeds`, along the trajectories that the score graph predicts."""
    known = {**feeds, **score.evaluate({name: feeds[name] for name in score.inputs})}
    return refine.evaluate({name: known[name] for name in refine.inputs})


def plans_of(rows: Any) -> Any:
    """Rows (H * N, 4) as plans (N, H, 4)."""
    return rows.reshape(SETTINGS.horizon, SETTINGS.candidates, 4).swapaxes(0, 1)


def rows_of(plans: Any) -> Any:
    """Plans (N, H, 4) as rows (H * N, 4)."""
    return plans.swapaxes(0, 1).reshape(-1, 4)


@pytest.fixture(scope="module")
def truth(drawn: dict[str, npt.NDArray[np.float64]]) -> dict[str, Any]:
    """Plans of the rollout, returns and gradients from JAX in float64, for samples whose quaternion is unit."""
    with jax.enable_x64(True):
        cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), MODEL)

        @jax.jit
        @jax.vmap
        def all_of(x: dict[str, Any]) -> tuple[Any, Any]:
            problem = planner.Problem(x["state"][0], x["reference"], x["disturbance"][0], x["previous_action"][0])
            score = jax.value_and_grad(lambda plan: planner.plan_return(cast, SETTINGS, problem, plan)[0])
            rolled = planner.rollout(cast, SETTINGS, problem, x["previous_plans"], x["noise"], x["reuse"][0])
            returns, gradients = jax.vmap(score)(plans_of(x["plans"]))
            return rows_of(rolled), (returns, rows_of(gradients))

        rolled, (returns, gradients) = all_of({name: jnp.asarray(array) for name, array in unit(drawn).items()})
        return {"plans": np.asarray(rolled), "returns": np.asarray(returns), "gradients": np.asarray(gradients)}


def unit(drawn: dict[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    """The samples with quaternions of unit norm to float64 rounding; as drawn they are unit to float32."""
    state = drawn["state"].copy()
    state[..., 6:10] /= np.linalg.norm(state[..., 6:10], axis=-1, keepdims=True)
    return {**drawn, "state": state}


@pytest.mark.parametrize("rule", list(StepRule))
def test_refine_is_the_same_algebra_as_jax(
    rule: StepRule, drawn: dict[str, npt.NDArray[np.float64]], truth: dict[str, Any]
) -> None:
    settings = replace(SETTINGS, step_rule=rule, step_size=0.3)
    metric = inverse_curvature(MODEL, settings)
    graph, score = refine_graph(MODEL, settings, metric), score_graph(MODEL, settings)
    with jax.enable_x64(True):
        ascend = jax.vmap(lambda gradient: planner.ascent(settings, jnp.asarray(metric), gradient))
        step = jax.jit(jax.vmap(lambda rows: rows_of(ascend(plans_of(rows)))))
        refined = np.clip(drawn["plans"] + np.asarray(step(truth["gradients"])), -1.0, 1.0)
    for k in range(COUNT):
        feeds = {name: array[k] for name, array in unit(drawn).items()}
        result = refined_at(graph, score, feeds)
        scored = score.evaluate({name: feeds[name] for name in score.inputs})
        np.testing.assert_allclose(scored["returns"], truth["returns"][k], rtol=1e-12)
        np.testing.assert_allclose(result["refined"], refined[k], atol=1e-11)


def test_rollout_is_the_same_algebra_as_jax(
    drawn: dict[str, npt.NDArray[np.float64]], truth: dict[str, Any]
) -> None:
    graph = rollout_graph(MODEL, SETTINGS)
    for k in range(COUNT):
        np.testing.assert_allclose(evaluate(graph, unit(drawn), k)["plans"], truth["plans"][k], atol=1e-12)


def test_exported_graphs_stay_within_the_parity_bounds(
    models: dict[str, Any], metric: npt.NDArray[np.float64], drawn: dict[str, npt.NDArray[np.float64]]
) -> None:
    results = parity.check_parity(models, MODEL, SETTINGS, metric, drawn, progress=False)
    assert {(r.graph, r.output) for r in results} == {
        ("rollout", "plans"), ("refine", "refined"), ("rank", "returns"), ("rank", "plan"),
        ("rank", "disagreement"), ("policy", "action"), ("policy", "setpoint"),
    }  # fmt: skip
    assert max(r.ulps_max for r in results) < 100.0
    assert min(r.ulps_max for r in results if r.output != "plan") > 0.0
    assert "refine.refined" in parity.table(results)


def test_one_member_agrees_with_itself() -> None:
    """Without a second member there is nothing to disagree with: 0, and the return is that of JAX."""
    alone = random_model(0, members=1, width=8, policy_width=16)
    flat = inverse_curvature(alone, SETTINGS)
    graphs = {
        "rollout": rollout_graph(alone, SETTINGS),
        "refine": refine_graph(alone, SETTINGS, flat),
        "rank": rank_graph(alone, SETTINGS),
        "policy": policy_graph(alone, SETTINGS.dt_plan_s),
    }
    made = {name: to_model(graph, name, (*PORTS, *POLICY_PORTS), {}) for name, graph in graphs.items()}
    results = parity.check_parity(made, alone, SETTINGS, flat, samples.draw(SETTINGS, 8, 2), progress=False)
    worst = {(r.graph, r.output): r.ulps_max for r in results}
    assert worst["rank", "disagreement"] == 0.0
    assert 0.0 < worst["rank", "returns"] < 100.0


def test_a_graph_of_another_model_raises_parity_error(
    drawn: dict[str, npt.NDArray[np.float64]], truth: dict[str, Any]
) -> None:
    cost = MODEL.cost._replace(position=MODEL.cost.position * 1.001)
    half = MODEL.action_scale.half
    for weights, raises in ((MODEL, False), (MODEL._replace(cost=cost), True)):
        model = to_model(score_graph(weights, SETTINGS), "score", PORTS, {})
        returns = parity.run_graph(model, "score", drawn)["returns"]
        result = parity.compare("refine", "returns", returns, returns, truth["returns"], half)
        if not raises:
            result.check()
            continue
        with pytest.raises(ParityError, match=r"refine\.onnx: output returns .* the bound is 256 ulps"):
            result.check()


def test_a_plan_off_by_a_milliradian_per_second_raises_parity_error() -> None:
    plans = np.zeros((2, 3, 4))
    off = plans.copy()
    off[1, 2, 0] = 1.1 * parity.BOUND_SETPOINT_RAD_S / 6.0
    half = np.array([6.0, 6.0, 3.0, 7.0])
    with pytest.raises(ParityError, match="rad/s"):
        parity.compare("refine", "refined", off, plans, plans, half).check()
    off[1, 2, 0] = np.nan
    with pytest.raises(ParityError, match="nan"):
        parity.compare("refine", "refined", off, plans, plans, half).check()


def test_rank_that_picks_another_candidate_raises_parity_error() -> None:
    returns = np.array([[1.0, 2.0], [5.0, 3.0]])
    parity.check_best(returns, np.array([1, 0]))
    with pytest.raises(ParityError, match="below the best"):
        parity.check_best(returns, np.array([1, 1]))


def test_refine_gradient_is_that_of_the_return_with_disagreement(drawn: dict[str, npt.NDArray[np.float64]]) -> None:
    """Central differences of the rank graph's return, and a step that differs when only lambda does."""
    settings = replace(SETTINGS, step_rule=StepRule.GRADIENT, step_size=1e-3)
    inside = {name: array * (0.3 if name == "plans" else 1.0) for name, array in drawn.items()}
    moved = {}
    for weight in (0.0, 5.0):
        weighted = replace(settings, disagreement=weight)
        refine, score = refine_graph(MODEL, weighted, np.ones((4, 4))), score_graph(MODEL, weighted)
        feeds = {name: inside[name][0] for name in score.inputs}
        moved[weight] = (refined_at(refine, score, feeds)["refined"] - feeds["plans"]) / settings.step_size
        for candidate, step, axis in ((0, 0, 0), (1, 2, 3), (2, 3, 1)):
            index = step * SETTINGS.candidates + candidate, axis
            move = np.zeros_like(feeds["plans"])
            move[index] = 1e-5
            above, below = (
                score.evaluate({**feeds, "plans": feeds["plans"] + sign * move})["returns"][candidate]
                for sign in (1, -1)
            )
            assert moved[weight][index] == pytest.approx((above - below) / 2e-5, rel=1e-5, abs=1e-7)
    assert np.abs(moved[5.0] - moved[0.0]).max() > 1e-3


@pytest.mark.parametrize("rule", list(StepRule))
def test_a_small_step_never_lowers_the_return(rule: StepRule, drawn: dict[str, npt.NDArray[np.float64]]) -> None:
    settings = replace(SETTINGS, step_rule=rule, step_size=1e-4)
    refine, rank = refine_graph(MODEL, settings, inverse_curvature(MODEL, settings)), score_graph(MODEL, settings)
    for k in range(COUNT):
        feeds = {name: drawn[name][k] for name in rank.inputs}
        before = rank.evaluate(feeds)["returns"]
        after = rank.evaluate({**feeds, "plans": refined_at(refine, rank, feeds)["refined"]})["returns"]
        assert np.all(after >= before - 1e-12 * np.abs(before))
        assert np.any(after > before)


def test_refinement_of_the_quadrotor_preset_raises_the_return_near_the_reference(
    metric: npt.NDArray[np.float64], drawn: dict[str, npt.NDArray[np.float64]]
) -> None:
    refine, score = refine_graph(MODEL, SETTINGS, metric), score_graph(MODEL, SETTINGS)
    gains = []
    for k in range(COUNT // 2):
        feeds = {name: drawn[name][k] for name in score.inputs}
        returns = []
        for _ in range(SETTINGS.steps + 1):
            returns.append(score.evaluate(feeds)["returns"])
            feeds["plans"] = refined_at(refine, score, feeds)["refined"]
        gains.append(returns[-1] - returns[0])
    assert np.mean(np.array(gains) > 0) > 0.95


def test_ranking_is_of_the_plans_passed_in(drawn: dict[str, npt.NDArray[np.float64]]) -> None:
    rank = score_graph(MODEL, SETTINGS)
    for k in range(COUNT):
        feeds = {name: drawn[name][k] for name in rank.inputs}
        result = rank.evaluate(feeds)
        best = int(result["best"][0])
        assert result["returns"][best] == result["returns"].max()
        plans = plans_of(feeds["plans"])
        np.testing.assert_array_equal(result["plan"], plans[best])
        turned = rank.evaluate({**feeds, "plans": rows_of(plans[::-1])})
        np.testing.assert_allclose(turned["returns"][::-1], result["returns"], rtol=1e-12)


def test_first_candidate_keeps_the_shifted_plan_whole(drawn: dict[str, npt.NDArray[np.float64]]) -> None:
    rollout = rollout_graph(MODEL, SETTINGS)
    feeds = {name: drawn[name][0] for name in rollout.inputs}
    fresh, kept = (plans_of(rollout.evaluate({**feeds, "reuse": np.full(1, share)})["plans"]) for share in (0.0, 0.5))
    previous = feeds["previous_plans"]
    later = np.concatenate([previous[:, 1:], previous[:, -1:]], axis=1)
    shifted = 0.75 * previous + 0.25 * later
    np.testing.assert_allclose(kept[0], shifted[0], atol=1e-15)
    np.testing.assert_allclose(kept[1:], 0.5 * (shifted + fresh)[1:], atol=1e-15)


def test_curvature_is_the_second_derivative_of_the_return() -> None:
    """Second differences of the rank graph's return along random directions; the metric bounds the curvature."""
    rank = score_graph(MODEL, SETTINGS)
    state = np.zeros((1, 14))
    state[0, [6, 13]] = 1.0, GRAVITY_M_S2
    action = hover_action(MODEL)
    feeds = {"state": state, "reference": np.zeros((5, 9)), "disturbance": np.zeros((1, 3))}
    centre = np.tile(action, (3, 4, 1))
    directions = np.random.default_rng(2).normal(size=(3, 4, 4))
    step = 1e-3
    ahead, here, behind = (
        rank.evaluate({**feeds, "previous_action": action[None], "plans": rows_of(centre + k * step * directions)})["returns"]
        for k in (1, 0, -1)
    )
    second = -(ahead - 2 * here + behind) / step**2
    flat = directions.reshape(3, -1)
    np.testing.assert_allclose(np.sum((flat @ hessian(MODEL, SETTINGS)) * flat, axis=1), second, rtol=1e-4)
    metric = inverse_curvature(MODEL, SETTINGS)
    slack = np.diag(1.0 / metric.reshape(-1)) - hessian(MODEL, SETTINGS)
    assert metric.min() > 0
    assert np.linalg.eigvalsh(slack)[0] > -1e-9


def test_policy_graph_gives_setpoints_in_si(drawn: dict[str, npt.NDArray[np.float64]]) -> None:
    graph = policy_graph(MODEL, SETTINGS.dt_plan_s)
    result = evaluate(graph, drawn, 0)
    action = planner.policy_action(
        MODEL, jnp.asarray(drawn["state"][0, 0]), jnp.asarray(drawn["reference"][0, 0]), jnp.zeros(3)
    )
    still = graph.evaluate(
        {"state": drawn["state"][0], "reference": drawn["reference"][0, :1], "disturbance": np.zeros((1, 3))}
    )
    np.testing.assert_allclose(still["action"][0], action, atol=1e-5)
    scaled = MODEL.action_scale.centre + MODEL.action_scale.half * result["action"][0]
    np.testing.assert_allclose(result["setpoint"][0], scaled, rtol=1e-14)


def test_node_count_grows_linearly_with_the_horizon_and_not_with_candidates() -> None:
    def nodes(settings: PlannerSettings) -> int:
        graph = refine_graph(MODEL, settings, np.ones((settings.horizon, 4)))
        return size(graph, to_model(graph, "refine", PORTS, {})).nodes

    at = {h: nodes(replace(SETTINGS, horizon=h)) for h in (4, 5, 6)}
    assert at[6] - at[5] == at[5] - at[4] <= 18
    assert nodes(replace(SETTINGS, candidates=9)) == at[4]


def test_a_negative_cost_weight_is_refused() -> None:
    cost = MODEL.cost._replace(tilt=np.array(-1.0))
    with pytest.raises(CheckpointError, match="cost weight tilt"):
        rank_graph(MODEL._replace(cost=cost), SETTINGS)


def test_jax_reference_is_not_float64_by_accident() -> None:
    with jax.enable_x64(False):
        result = planner.shift(SETTINGS, jnp.zeros((4, 4), jnp.float32))
    assert result.dtype == jnp.float32
