"""Compare every exported graph with its JAX reference: jitted float32, and float64 as the truth.

One ulp of an output is 2^-23 of its scale: 1 for actions; otherwise the greatest magnitude in the truth of that sample,
and at least the median of those over all samples. Plans are also compared as set-points, in rad/s and m/s^2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import onnx
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import ParityError
from tubepilot.runtime.engine import GRAPHS as ENGINE_GRAPHS
from tubepilot.runtime.engine import Engine
from tubepilot.runtime.session import buffers, open_session
from tubepilot.train.constraints import Constraints
from tubepilot.train.planner import (
    PlannerModel,
    Problem,
    plan_return,
    policy_action,
    refine,
    rollout,
)
from tubepilot.train.planner_settings import PlannerSettings
from tubepilot.train.task import setpoint

Array = npt.NDArray[Any]
ULP = 2.0**-23
CHUNK = 250
ACTIONS = {"plans", "refined", "plan", "action"}
BOUND_SETPOINT_RAD_S = 1e-3
BOUND_SETPOINT_M_S2 = 1e-3
BOUND_ULPS = 256.0
"""Largest error of returns, disagreement and set-points that an export accepts."""


@dataclass(frozen=True, slots=True)
class OutputParity:
    """Error of one output of one graph against float64.

    Attributes:
        graph, output: Names.
        samples: Number of samples compared.
        ulps_median, ulps_max: Error of the exported graph; see the module for what an ulp is here.
        jax_ulps_max: Largest error of jitted float32 JAX on the same samples.
        rate_rad_s, thrust_m_s2: Largest error as a set-point; zero where the output is no action.
        engine: What ran the graph.
    """

    graph: str
    output: str
    samples: int
    ulps_median: float
    ulps_max: float
    jax_ulps_max: float
    rate_rad_s: float
    thrust_m_s2: float
    engine: str = "onnxruntime"

    @property
    def label(self) -> str:
        """Graph and output, for the manifest."""
        return f"{'' if self.engine == 'onnxruntime' else self.engine + '_'}{self.graph}_{self.output}"

    def check(self) -> None:
        """Compare with the bounds.

        Raises:
            ParityError: an error is above its bound, or not a number.
        """
        if self.output in ACTIONS:
            limits = (
                ("rad/s", self.rate_rad_s, BOUND_SETPOINT_RAD_S),
                ("m/s^2", self.thrust_m_s2, BOUND_SETPOINT_M_S2),
            )
        else:
            limits = (("ulps", self.ulps_max, BOUND_ULPS),)
        file = f"{self.graph}.onnx" if self.engine == "onnxruntime" else f"planner.c, {self.graph}"
        for unit, error, bound in limits:
            if not error <= bound:
                raise ParityError(
                    f"{file}: output {self.output} differs from JAX float64 by {error:.3g} {unit}, the "
                    f"bound is {bound:g} {unit}; weights or scales are too large for float32: train again"
                )


Function = Callable[[PlannerModel, Mapping[str, Any]], dict[str, Any]]


def references(
    settings: PlannerSettings, metric: Array, *, constrained: bool = False
) -> dict[str, tuple[tuple[str, ...], Function]]:
    """By graph: the inputs of the JAX function of one sample that it must reproduce, and that function.

    Every graph is compared at the plans that it was given, which are those that the graph before it gave. `rank` gives
    returns, disagreement and plans of all candidates.
    """

    def plans_of(x: Mapping[str, Any]) -> Any:
        return x["plans"].reshape(settings.horizon, settings.candidates, 4).swapaxes(0, 1)

    def rows_of(plans: Any) -> Any:
        return plans.swapaxes(0, 1).reshape(-1, 4)

    def problem(x: Mapping[str, Any]) -> Problem:
        previous = x.get("previous_action", jnp.zeros((1, 4), x["state"].dtype))
        limits = Constraints(x["obstacles"], x["fence"], x["speed_limit"][0]) if "speed_limit" in x else None
        return Problem(x["state"][0], x["reference"], x["disturbance"][0], previous[0], limits)

    def rolled(model: PlannerModel, x: Mapping[str, Any]) -> dict[str, Any]:
        return {"plans": rows_of(rollout(model, settings, problem(x), x["previous_plans"], x["noise"], x["reuse"][0]))}

    def refined(model: PlannerModel, x: Mapping[str, Any]) -> dict[str, Any]:
        plans, _ = refine(model, settings, jnp.asarray(metric, x["state"].dtype), problem(x), plans_of(x))
        return {"refined": rows_of(plans)}

    def scored(model: PlannerModel, x: Mapping[str, Any]) -> dict[str, Any]:
        plans = plans_of(x)
        returns, spread = jax.vmap(lambda plan: plan_return(model, settings, problem(x), plan))(plans)
        return {"returns": returns, "disagreement": spread, "plan": plans}

    def policy(model: PlannerModel, x: Mapping[str, Any]) -> dict[str, Any]:
        action = policy_action(model, x["state"][0], x["reference"][0], x["disturbance"][0])
        return {"action": action[None], "setpoint": setpoint(model.action_scale, action)[None]}

    settings = replace(settings, shell_m=0.0)  # the graphs take tables from which the shell is off already
    given = ("state", "reference", "disturbance")
    limits = ("obstacles", "fence", "speed_limit") if constrained else ()
    return {
        "rollout": ((*given, "previous_plans", "noise", "reuse"), rolled),
        "refine": ((*given, "previous_action", "plans", *limits), refined),
        "rank": ((*given, "previous_action", "plans", *limits), scored),
        "policy": (given, policy),
    }


def run_graph(model: onnx.ModelProto | bytes, name: str, samples: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of a graph on every sample, stacked, by the on-board runtime on one thread."""
    session = open_session(model if isinstance(model, bytes) else model.SerializeToString(), f"{name}.onnx")
    inputs = session.get_inputs()
    labels = [output.name for output in session.get_outputs()]
    count = len(next(iter(samples.values())))
    rows = []
    for k in range(count):
        feeds = {i.name: np.ascontiguousarray(samples[i.name][k][: i.shape[0]], np.float32) for i in inputs}
        rows.append(session.run(labels, feeds))
    return {label: np.stack([row[i] for row in rows]) for i, label in enumerate(labels)}


def run_engine(engine: Engine, model: onnx.ModelProto, name: str, samples: Mapping[str, Array]) -> dict[str, Array]:
    """`run_graph` by another engine."""
    session = open_session(model.SerializeToString(), f"{name}.onnx")
    given, made = buffers(session, f"{name}.onnx")
    stage = engine.maker({name: session})(name, given, made)
    count = len(next(iter(samples.values())))
    stacked: dict[str, Array] = {label: np.empty((count, *array.shape), array.dtype) for label, array in made.items()}
    for k in range(count):
        for label, array in given.items():
            np.copyto(array, samples[label][k][: array.shape[0]], casting="same_kind")
        stage.run()
        for label, array in made.items():
            stacked[label][k] = array
    return stacked


def run_reference(
    function: Function, model: PlannerModel, samples: Mapping[str, Array], dtype: type
) -> dict[str, Array]:
    """Outputs of the JAX reference on every sample, compiled, in float32 or float64."""
    with jax.enable_x64(dtype is np.float64):
        cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), model)
        mapped = jax.jit(jax.vmap(lambda x: function(cast, x)))
        count = len(next(iter(samples.values())))
        chunk = min(CHUNK, count)
        parts = []
        for start in range(0, count, chunk):
            index = np.arange(start, start + chunk) % count  # the last chunk wraps, so that one compilation serves all
            part = mapped({name: jnp.asarray(array[index], dtype) for name, array in samples.items()})
            parts.append({key: np.asarray(value) for key, value in part.items()})
    return {key: np.concatenate([part[key] for part in parts])[:count] for key in parts[0]}


def pick(outputs: Mapping[str, Array], best: Array) -> dict[str, Array]:
    """Rank's reference for the candidate that the graph picked: all returns, its plan and its disagreement."""
    rows = np.arange(len(best))
    return {
        "returns": outputs["returns"],
        "plan": outputs["plan"][rows, best],
        "disagreement": outputs["disagreement"][rows, best][:, None],
    }


def compare(
    graph: str, output: str, exported: Array, reference: Array, truth: Array, half: Array
) -> OutputParity:
    """Errors of one output; arrays have the sample as first axis, `half` turns actions into set-points."""
    count = len(truth)
    truth64 = truth.astype(np.float64).reshape(count, -1)
    error = np.abs(exported.reshape(count, -1) - truth64)
    jax_error = np.abs(reference.reshape(count, -1) - truth64)
    if output in ACTIONS:
        scale = np.ones(count)
        by_input = error.reshape(-1, 4).max(axis=0) * half
        rates, thrust = float(by_input[:3].max()), float(by_input[3])
    else:
        largest = np.abs(truth64).max(axis=1)
        scale = np.maximum(largest, max(float(np.median(largest)), np.finfo(np.float32).tiny))
        rates = thrust = 0.0
    ulps = error.max(axis=1) / (ULP * scale)
    jax_ulps = float(np.max(jax_error.max(axis=1) / (ULP * scale)))
    return OutputParity(
        graph, output, count, float(np.median(ulps)), float(np.max(ulps)), jax_ulps, rates, thrust
    )


def check_parity(
    models: Mapping[str, onnx.ModelProto],
    model: PlannerModel,
    settings: PlannerSettings,
    metric: Array,
    samples: Mapping[str, Array],
    *,
    constrained: bool = False,
    engine: Engine | None = None,
    progress: bool = True,
) -> list[OutputParity]:
    """Compare all graphs on all samples.

    Args:
        models: By name: rollout, refine, rank, policy.
        model: What they were made from.
        settings: Of the planner.
        metric: Of the refinement step.
        samples: From `samples.draw`.
        constrained: Whether the graphs take obstacles, a fence and a speed limit, and the samples have them.
        engine: Compiled planner, compared at the same inputs; None leaves it out.
        progress: Show a bar on stderr.

    Returns:
        One entry per output and engine.

    Raises:
        ParityError: an output is beyond its bound, or `rank` picked a candidate that is not the best within it.
    """
    half = np.asarray(model.action_scale.half, np.float64)
    results = []
    known = dict(samples)
    for name, (inputs, function) in tqdm(
        references(settings, metric, constrained=constrained).items(), desc="parity", unit="graph", disable=not progress
    ):
        used = {key: known[key] for key in inputs}
        single, truth = (run_reference(function, model, used, dtype) for dtype in (np.float32, np.float64))
        exported = run_graph(models[name], name, known)
        ways = {"onnxruntime": exported}
        if engine is not None and name in ENGINE_GRAPHS:
            ways[engine.name] = run_engine(engine, models[name], name, known)
        for way, made in ways.items():
            for parity in _compare_all(name, way, made, single, truth, half):
                parity.check()
                results.append(parity)
        known = {**known, **handed_on(exported)}
    return results


def _compare_all(
    name: str, way: str, made: dict[str, Array], single: dict[str, Array], truth: dict[str, Array], half: Array
) -> Iterator[OutputParity]:
    """Every output of one graph by one engine; `rank` at the candidate that it picked."""
    if name == "rank":
        best = made["best"][:, 0]
        check_best(truth["returns"], best)
        single, truth = pick(single, best), pick(truth, best)
    for output in (key for key in made if key in truth):
        yield replace(compare(name, output, made[output], single[output], truth[output], half), engine=way)


def handed_on(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """What the next graph of a tick takes from the outputs of one: plans and trajectories, under their input's name."""
    renamed = {"refined": "plans"}
    return {renamed.get(name, name.removesuffix("_after")): array for name, array in outputs.items()}


def check_best(returns: Array, best: Array) -> None:
    """The picked candidate is the best within rounding.

    Raises:
        ParityError: its return is lower by more than twice the bound.
    """
    chosen = returns[np.arange(len(best)), best]
    missed = float(np.max((returns.max(axis=1) - chosen) / np.abs(returns).max(axis=1)))
    if not missed <= 2 * BOUND_ULPS * ULP:
        raise ParityError(f"rank.onnx: picked a candidate whose return is {missed:.3g} (relative) below the best")


def table(results: list[OutputParity]) -> str:
    """The results as text, one line per output."""
    lines = [
        f"{'graph.output, engine':<30} {'samples':>7} {'median':>9} {'max':>9} {'JAX f32':>9}   as set-point (max)",
        f"{'':<30} {'':>7} {'[ulps]':>9} {'[ulps]':>9} {'[ulps]':>9}",
    ]
    for r in results:
        units = f"{r.rate_rad_s:.1e} rad/s  {r.thrust_m_s2:.1e} m/s^2" if r.output in ACTIONS else ""
        name = f"{r.graph}.{r.output}" + ("" if r.engine == "onnxruntime" else f", {r.engine}")
        lines.append(
            f"{name:<30} {r.samples:>7} {r.ulps_median:>9.2f} {r.ulps_max:>9.1f} "
            f"{r.jax_ulps_max:>9.1f}   {units}"
        )
    return "\n".join(lines)
