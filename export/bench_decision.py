"""Contenders of `tubepilot bench planner`: one decision on one model, each ready to be called again and again.

Every maker returns a function without arguments that takes one decision on fixed inputs, by the code that a user would run:
our graphs on the on-board sessions, jitted JAX, the graph that jax2onnx makes of the same JAX code, MPPI as an ONNX graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from tubepilot.runtime.engine import Engine, Onnxruntime
from tubepilot.runtime.session import Buffer, bind, buffers, open_session
from tubepilot.train import planner
from tubepilot.train.planner import PlannerModel
from tubepilot.train.planner_settings import PlannerSettings
from tubepilot.train.sampling_planners import SamplingNoise, SamplingSettings, mppi_settings, plan_from_noise

from . import emit, samples
from .bench_converted import Batched, convert
from .curvature import inverse_curvature
from .engine_here import compiled_engine
from .mppi_graph import PORTS as MPPI_PORTS
from .mppi_graph import mppi_graph
from .planner_graphs import PORTS, rank_graph, refine_graph, rollout_graph

Decision = Callable[[], object]
Arrays = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Case:
    """One model, the settings of the planner and the inputs of the decision.

    Attributes:
        model: Weights.
        settings: N, H, K and step rule.
        inputs: As of `samples.draw`, without the axis of samples.
        metric: Of the refinement step, shape (H, 4).
    """

    model: PlannerModel
    settings: PlannerSettings
    inputs: Arrays
    metric: npt.NDArray[np.float64]


def make_case(model: PlannerModel, settings: PlannerSettings, seed: int) -> Case:
    """A case whose inputs lie near the reference."""
    inputs = {name: array[0] for name, array in samples.draw(settings, 2, seed).items()}
    return Case(model, settings, inputs, inverse_curvature(model, settings))


class Ours:
    """The tick's graphs on shared buffers, as `runtime.planner` runs them."""

    def __init__(self, case: Case, *, compiled: bool = False) -> None:
        """Build the graphs and open the sessions.

        Args:
            case: Model, settings and inputs.
            compiled: Run the graphs' C code instead of onnxruntime.

        Raises:
            BundleError: the C code cannot be compiled here.
        """
        graphs = {
            "rollout": rollout_graph(case.model, case.settings),
            "refine": refine_graph(case.model, case.settings, case.metric),
            "rank": rank_graph(case.model, case.settings),
        }
        self.models = {name: emit.to_model(graph, name, PORTS, {}) for name, graph in graphs.items()}
        self.sizes = {name: emit.size(graph, self.models[name]) for name, graph in graphs.items()}
        self.graphs = graphs
        self._steps = case.settings.steps
        sessions = {name: open_session(m.SerializeToString(), name) for name, m in self.models.items()}
        self.engine: Engine = compiled_engine(self.models) if compiled else Onnxruntime()
        make = self.engine.maker(sessions)
        given, made = buffers(sessions["rollout"], "rollout")
        shared: dict[str, Buffer] = {**given, **made}
        for name, array in given.items():
            np.copyto(array, case.inputs[name][: array.shape[0]], casting="same_kind")
        _, after = buffers(sessions["refine"], "refine")
        there = {name.removesuffix("_after").replace("refined", "plans"): a for name, a in after.items()}
        self._result = buffers(sessions["rank"], "rank")[1]
        sets = ({**shared}, {**shared, **there})
        self._plans = tuple(buffers_of["plans"] for buffers_of in sets)
        self._rollout = make("rollout", shared, shared).run
        self._refine = [make("refine", old, self._after(new)).run for old, new in (sets, sets[::-1])]
        self._rank = [make("rank", old, self._result).run for old in sets]
        self._decision = [stage for _, stage in self.stages()]

    def _after(self, new: dict[str, Buffer]) -> dict[str, Buffer]:
        return {"refined" if name == "plans" else f"{name}_after": array for name, array in new.items()}

    def plans(self, place: int) -> Buffer:
        """The buffer of plans that the rollout fills (0), or the first refinement step (1)."""
        return self._plans[place]

    def stages(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """The graphs of a decision one by one, to be run in this order."""
        yield "rollout", self._rollout
        for step in range(self._steps):
            yield "refine", self._refine[step % 2]
        yield "rank", self._rank[self._steps % 2]

    def __call__(self) -> npt.NDArray[Any]:
        """Rollout, K steps, ranking; the best plan (H, 4)."""
        for stage in self._decision:
            stage()
        return self._result["plan"]


def _arguments(case: Case) -> list[jax.Array]:
    names = ("state", "reference", "disturbance", "previous_action", "previous_plans", "noise", "reuse")
    inputs = [case.inputs[name] for name in names]
    flat = [a[0] if name in {"state", "disturbance", "previous_action", "reuse"} else a for name, a in zip(names, inputs, strict=True)]
    return [jnp.asarray(array, jnp.float32) for array in flat]


def _decide(case: Case) -> Callable[..., Any]:
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), case.model)
    metric = jnp.asarray(case.metric, jnp.float32)

    def decide(state: Any, reference: Any, disturbance: Any, action: Any, plans: Any, noise: Any, reuse: Any) -> Any:
        problem = planner.Problem(state, reference, disturbance, action)
        kept, ranking = planner.plan(model, case.settings, metric, problem, plans, noise, reuse)
        return ranking.plan, kept, ranking.returns

    return decide


def jitted(case: Case) -> Decision:
    """`train.planner.plan`, jitted."""
    decide, arguments = jax.jit(_decide(case)), _arguments(case)
    return lambda: np.asarray(jax.block_until_ready(decide(*arguments))[0])


def converted(case: Case, kept: Path | None = None) -> tuple[Decision, str]:
    """The same decision by the graphs that jax2onnx makes, on shared buffers as ours, and what they are.

    Conversion takes longer than in proportion to the graph, so that rollout, refinement step and ranking are a graph each.

    Args:
        case: Model, settings and inputs.
        kept: Folder of conversions made before.

    Raises:
        MissingExtraError: jax2onnx is not installed.
    """
    graphs = convert(Batched(case.model, case.settings, case.metric), kept=kept)
    sessions = {name: open_session(graph.SerializeToString(), f"{name}.onnx") for name, graph in graphs.items()}
    inputs = {f"in_{k}": np.array(array) for k, array in enumerate(_arguments(case))}
    plans = [buffers(sessions["rollout"], "rollout.onnx")[1].popitem()[1] for _ in range(2)]
    best = buffers(sessions["rank"], "rank.onnx")[1].popitem()[1]

    def bound(name: str, here: dict[str, Buffer], result: Buffer) -> Callable[[], None]:
        session = sessions[name]
        taken = {port.name: here[port.name] for port in session.get_inputs()}
        binding = bind(session, taken, {session.get_outputs()[0].name: result})
        return lambda: session.run_with_iobinding(binding)

    sets = [{**inputs, "in_4": array} for array in plans]
    roll = bound("rollout", inputs, plans[0])
    steps = [bound("refine", sets[k], plans[1 - k]) for k in range(2)]
    ranks = [bound("rank", sets[k], best) for k in range(2)]
    count = case.settings.steps

    def decide() -> npt.NDArray[Any]:
        roll()
        for step in range(count):
            steps[step % 2]()
        ranks[count % 2]()
        return best if sets else plans[0]  # the bindings hold addresses only: the arrays live here

    nodes = {name: len(graph.graph.node) for name, graph in graphs.items()}
    return decide, f"rollout, refine and rank converted one by one: {nodes['rollout']}, {nodes['refine']}, {nodes['rank']} nodes"


def _mppi_settings(case: Case, same_horizon: bool) -> SamplingSettings:
    """TD-MPC2's, over its own 3 steps or as many as the case has."""
    settings = mppi_settings(dt_plan_s=case.settings.dt_plan_s, tick_hz=1.0 / (case.settings.shift_knots * case.settings.dt_plan_s))
    horizon = case.settings.horizon if same_horizon else settings.problem.horizon
    problem = replace(settings.problem, candidates=1, horizon=horizon, disagreement=case.settings.disagreement)
    return replace(settings, problem=problem)


def mppi(case: Case, seed: int, *, same_horizon: bool = False) -> tuple[Decision, int]:
    """MPPI with TD-MPC2's settings on the same model, as an ONNX graph, and its number of nodes; noise not counted.

    Args:
        case: Model, settings and inputs.
        seed: Of the noise.
        same_horizon: As many steps as the case has, instead of TD-MPC2's 3.
    """
    model = emit.to_model(mppi_graph(case.model, _mppi_settings(case, same_horizon)), "mppi", (*PORTS, *MPPI_PORTS), {})
    session = open_session(model.SerializeToString(), "mppi.onnx")
    given, made = buffers(session, "mppi.onnx")
    rng = np.random.default_rng(seed)
    for name, array in given.items():
        known = case.inputs.get(name)
        np.copyto(array, rng.normal(size=array.shape) if known is None else known[: array.shape[0]], casting="same_kind")
    binding = bind(session, given, made)

    def decide() -> npt.NDArray[Any]:
        session.run_with_iobinding(binding)
        return made["plan"] if given else np.zeros(0)

    return decide, len(model.graph.node)


def mppi_jitted(case: Case, seed: int, *, same_horizon: bool = False) -> Decision:
    """The same MPPI, jitted by JAX; noise, given too, is not counted. See `mppi`."""
    settings = _mppi_settings(case, same_horizon)
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), case.model)
    size, rng = (settings.problem.horizon, 4), np.random.default_rng(seed)

    def decide(state: Any, reference: Any, disturbance: Any, action: Any, mean: Any, noise: SamplingNoise) -> Any:
        problem = planner.Problem(state, reference, disturbance, action)
        found = plan_from_noise(model, settings, problem, mean, noise)
        return found.plan, found.mean, found.std

    shapes = SamplingNoise(
        (settings.policy_plans, *size), (settings.iterations, settings.samples - settings.policy_plans, *size), (settings.elites,)
    )
    noise = SamplingNoise(*(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes))
    state, reference, disturbance, action = _arguments(case)[:4]
    jit = jax.jit(decide)
    mean = jnp.zeros(size, jnp.float32)
    return lambda: np.asarray(
        jax.block_until_ready(jit(state, reference[: settings.problem.horizon + 1], disturbance, action, mean, noise))[0]
    )
