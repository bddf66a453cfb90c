"""The planner as jax2onnx takes it: the same as `train.planner`, and its conversion the same as our graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_model import random_model

from tubepilot.export import samples
from tubepilot.export.bench_converted import Asked, Batched, convert
from tubepilot.export.bench_decision import Ours, converted, make_case
from tubepilot.runtime.session import open_session
from tubepilot.train import planner
from tubepilot.train.planner_settings import preset

MODEL = random_model(0, members=2, width=8, policy_width=8)
SETTINGS = replace(preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=2, candidates=2), steps=2)


def plans_of(rows: Any, horizon: int) -> Any:
    """Rows (H * N, 4) as plans (N, H, 4)."""
    return rows.reshape(horizon, -1, 4).swapaxes(0, 1)


def test_the_batched_planner_is_the_planner() -> None:
    case = make_case(MODEL, SETTINGS, 0)
    batched = Batched(MODEL, SETTINGS, case.metric)
    cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), MODEL)
    metric = jnp.asarray(case.metric, jnp.float32)

    @jax.jit
    def both(x: dict[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        problem = planner.Problem(x["state"][0], x["reference"], x["disturbance"][0], x["previous_action"][0])
        asked, given = Asked(*problem[:4]), (x["previous_plans"], x["noise"], x["reuse"][0])
        plans = plans_of(x["plans"], SETTINGS.horizon)
        ours = batched.rollout(asked, *given), batched.refine(asked, plans), batched.returns(asked, plans)
        rolled = planner.rollout(cast, SETTINGS, problem, *given)
        return ours, (rolled, *planner.refine(cast, SETTINGS, metric, problem, plans))

    drawn = samples.draw(SETTINGS, 4, 1)
    for k in range(4):
        found, wanted = both({name: jnp.asarray(array[k], jnp.float32) for name, array in drawn.items()})
        for name, here, there in zip(("plans", "refined", "returns"), found, wanted, strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-5 if name == "returns" else 0.0, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_what_jax2onnx_makes_of_it_decides_as_our_graphs_do() -> None:
    pytest.importorskip("jax2onnx")
    case = make_case(MODEL, SETTINGS, 0)
    theirs, what = converted(case)
    np.testing.assert_allclose(theirs(), Ours(case)(), atol=1e-5)
    assert "nodes" in what


def test_one_refinement_step_converts_and_is_ours(tmp_path: Path) -> None:
    """The gradient through one step: what a converter makes of JAX's own, beside the adjoint written by hand."""
    pytest.importorskip("jax2onnx")
    settings = replace(SETTINGS, horizon=1, steps=1)
    case = make_case(MODEL, settings, 0)
    graphs = convert(Batched(MODEL, settings, case.metric), only=("refine",), kept=tmp_path)
    (kept,) = tmp_path.iterdir()
    again = convert(Batched(MODEL, settings, case.metric), only=("refine",), kept=tmp_path)
    assert again["refine"].SerializeToString() == graphs["refine"].SerializeToString()
    convert(Batched(MODEL, settings, 2.0 * case.metric), only=("refine",), kept=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # another planner is another file
    assert kept.name.startswith("refine-")
    session = open_session(graphs["refine"].SerializeToString(), "refine.onnx")
    ours = Ours(case)
    stages = ours.stages()
    (_, roll), (_, step) = next(stages), next(stages)
    roll()
    plans = plans_of(ours.plans(0).copy(), settings.horizon)
    step()
    names = ("state", "reference", "disturbance", "previous_action")
    inputs = [case.inputs[name] if name == "reference" else case.inputs[name][0] for name in names]
    feeds = {f"in_{k}": np.float32(array) for k, array in enumerate((*inputs, plans))}
    (refined,) = session.run(None, {port.name: feeds[port.name] for port in session.get_inputs()})
    np.testing.assert_allclose(refined, plans_of(ours.plans(1), settings.horizon), atol=1e-5)
    assert np.abs(refined - plans).max() > 1e-3
