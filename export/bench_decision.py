"""Contenders of `tubepilot bench planner`: one decision on one model, each ready to be called again and again.

Every maker returns a function without arguments that takes one decision on fixed inputs, by the code that a user would run:
our graphs on the on-board sessions, jitted JAX, the graph that jax2onnx makes of the same JAX code, MPPI as an ONNX graph.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import MissingExtraError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.runtime.session import Buffer, bind, buffers, open_session
from tubepilot.train import planner, task
from tubepilot.train.planner import PlannerModel
from tubepilot.train.planner_settings import PlannerSettings
from tubepilot.train.sampling_planners import mppi_settings

from . import emit, samples
from .curvature import inverse_curvature
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

    def __init__(self, case: Case) -> None:
        """Build the graphs and open the sessions."""
        graphs = {
            "rollout": rollout_graph(case.model, case.settings),
            "refine": refine_graph(case.model, case.settings, case.metric),
            "rank": rank_graph(case.model, case.settings),
        }
        self.models = {name: emit.to_model(graph, name, PORTS, {}) for name, graph in graphs.items()}
        self.sizes = {name: emit.size(graph, self.models[name]) for name, graph in graphs.items()}
        self.graphs = graphs
        self._steps = case.settings.steps
        self._held: list[dict[str, Buffer]] = []
        sessions = {name: open_session(m.SerializeToString(), name) for name, m in self.models.items()}
        given, made = buffers(sessions["rollout"], "rollout")
        shared: dict[str, Buffer] = {**given, **made}
        for name, array in given.items():
            np.copyto(array, case.inputs[name][: array.shape[0]], casting="same_kind")
        _, after = buffers(sessions["refine"], "refine")
        there = {name.removesuffix("_after").replace("refined", "plans"): a for name, a in after.items() if name != "returns"}
        self._returns = after["returns"]
        self._result = buffers(sessions["rank"], "rank")[1]
        sets = ({**shared}, {**shared, **there})
        self._rollout = self._bound(sessions["rollout"], shared, shared)
        self._refine = [self._bound(sessions["refine"], old, self._after(new)) for old, new in (sets, sets[::-1])]
        self._rank = [self._bound(sessions["rank"], old, self._result) for old in sets]

    def _after(self, new: dict[str, Buffer]) -> dict[str, Buffer]:
        named = {"refined" if name == "plans" else f"{name}_after": array for name, array in new.items()}
        return {**named, "returns": self._returns}

    def _bound(self, session: Any, inputs: dict[str, Buffer], outputs: dict[str, Buffer]) -> Callable[[], None]:
        taken = {port.name: inputs[port.name] for port in session.get_inputs()}
        made = {port.name: outputs[port.name] for port in session.get_outputs()}
        self._held += [taken, made]
        binding = bind(session, taken, made)
        return lambda: session.run_with_iobinding(binding)

    def __call__(self) -> npt.NDArray[Any]:
        """Rollout, K steps, ranking; the best plan (H, 4)."""
        self._rollout()
        for step in range(self._steps):
            self._refine[step % 2]()
        self._rank[self._steps % 2]()
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


@contextlib.contextmanager
def _unrolled() -> Iterator[None]:
    """What jax2onnx cannot convert, replaced while something is traced: scans (it has no reverse scan, which gradients need)
    by Python loops, and batched contractions."""
    held = jax.lax.scan

    def scan(body: Any, carry: Any, xs: Any = None, length: int | None = None, **_: Any) -> Any:
        count = length if xs is None else jax.tree.leaves(xs)[0].shape[0]
        results = []
        for k in range(count or 0):
            carry, result = body(carry, jax.tree.map(lambda leaf, k=k: leaf[k], xs))
            results.append(result)
        return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    stepped, turned = planner.step, task.rotation_matrix
    jax.lax.scan, planner.step, task.rotation_matrix = scan, _step, _rotation
    try:
        yield
    finally:
        jax.lax.scan, planner.step, task.rotation_matrix = held, stepped, turned


def _step(model: Any, x: Any, s: Any, disturbance: Any, dt_s: float) -> tuple[Any, Any]:
    """`dynamics.step` without batched contractions, from which jax2onnx 0.17.1 makes graphs that do not load."""
    physics, velocity, attitude, rates, thrust = model.physics, x[3:6], x[6:10], x[10:13], x[13]
    rotation = _rotation(attitude)
    in_body = jnp.sum(rotation * velocity[:, None], axis=0)
    lacking = jnp.stack([disturbance[2], jnp.sum(disturbance[0:2] ** 2)])
    members = _members(model.residual, jnp.concatenate([in_body, rotation[2], rates, x[13:14], s, lacking]))
    residual = jnp.mean(members, axis=0)

    def lagged(now: Any, target: Any, lag_s: Any) -> tuple[Any, Any]:
        decay = jnp.exp(-dt_s / lag_s)
        return target + (now - target) * decay, target + (now - target) * (lag_s / dt_s * (1 - decay))

    target = physics.rate_gain * s[0:3] + physics.rate_offset_rad_s + physics.rate_lag_s * residual[3:6]
    rates_next, rates_mean = lagged(rates, target, physics.rate_lag_s)
    thrust_next, thrust_mean = lagged(thrust, physics.thrust_gain * s[3], physics.thrust_lag_s)
    turned = _product(attitude, jnp.concatenate([jnp.ones(1), 0.5 * dt_s * rates_mean]))
    attitude_next = turned / jnp.sqrt(jnp.sum(turned**2))
    direction = 0.5 * (rotation[:, 2] + _rotation(attitude_next)[:, 2])
    force = jnp.sum(rotation * (residual[0:3] - physics.drag_1_s * in_body)[None], axis=1)
    acceleration = thrust_mean * direction - jnp.array([0.0, 0.0, GRAVITY_M_S2]) + force + disturbance
    velocity_next = velocity + dt_s * acceleration
    position = x[0:3] + 0.5 * dt_s * (velocity + velocity_next)
    return jnp.concatenate([position, velocity_next, attitude_next, rates_next, thrust_next[None]]), members


def _product(p: Any, q: Any) -> Any:
    """`dynamics.quaternion_product`, entry by entry."""
    w, x, y, z = p
    a, b, c, d = q
    return jnp.stack(
        [w * a - x * b - y * c - z * d, w * b + x * a + y * d - z * c, w * c - x * d + y * a + z * b, w * d + x * c - y * b + z * a]
    )


def _rotation(q: Any) -> Any:
    """`dynamics.rotation_matrix`, entry by entry."""
    w, x, y, z = q
    entries = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return jnp.stack(entries).reshape(3, 3)


def _members(residual: Any, feature: Any) -> Any:
    """`dynamics.residual_members` with all members in one block-diagonal matrix."""
    hidden = jnp.tanh(((feature - residual.feature_mean) / residual.feature_scale) @ residual.w1 + residual.b1)
    members, width, outputs = residual.w2.shape
    weights = np.asarray(residual.w2)
    block = np.zeros((members * width, members * outputs), np.float32)
    for m in range(members):
        block[m * width : (m + 1) * width, m * outputs : (m + 1) * outputs] = weights[m]
    return ((hidden @ jnp.asarray(block)).reshape(members, outputs) + residual.b2) * residual.output_scale


def converted(case: Case) -> tuple[Decision, int]:
    """The same JAX code through jax2onnx, and the nodes of a decision.

    The converter takes neither gradients nor reverse scans, so it gets jaxprs, traced before with unrolled loops; and its time
    grows faster than the graph, so that rollout, refinement step and ranking become a graph each, as ours are.

    Raises:
        MissingExtraError: jax2onnx is not installed.
    """
    try:
        import jax2onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError('the conversion needs jax2onnx: pip install "tubepilot[bench]"') from error
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), case.model)
    metric, settings = jnp.asarray(case.metric, jnp.float32), case.settings
    state, reference, disturbance, action, previous, noise, reuse = _arguments(case)
    asked = (state, reference, disturbance, action)
    functions: dict[str, tuple[Callable[..., Any], tuple[jax.Array, ...]]] = {
        "rollout": (
            lambda s, r, d, a, p, n, u: planner.rollout(model, settings, planner.Problem(s, r, d, a), p, n, u),
            (*asked, previous, noise, reuse),
        ),
        "refine": (
            lambda s, r, d, a, p: planner.refine(model, settings, metric, planner.Problem(s, r, d, a), p)[0],
            (*asked, previous),
        ),
        "rank": (lambda s, r, d, a, p: planner.rank(model, settings, planner.Problem(s, r, d, a), p).plan, (*asked, previous)),
    }
    sessions, nodes = {}, 0
    for name, (function, arguments) in tqdm(functions.items(), desc="jax2onnx", unit="graph", leave=False):
        shapes = [jax.ShapeDtypeStruct(a.shape, jnp.float32) for a in arguments]
        with _unrolled():
            traced = jax.make_jaxpr(function)(*shapes)
        graph = jax2onnx.to_onnx(jax.extend.core.jaxpr_as_fun(traced), inputs=shapes)
        nodes += len(graph.graph.node) * (settings.steps if name == "refine" else 1)
        session = open_session(graph.SerializeToString(), f"{name}.onnx")
        known = {port.name for port in session.get_inputs()}
        feeds = {f"in_{k}": np.asarray(array) for k, array in enumerate(arguments)}
        ports = [port.name for port in session.get_inputs()]
        if len(ports) == len(arguments):
            feeds = dict(zip(ports, map(np.asarray, arguments), strict=True))
        sessions[name] = session, {key: array for key, array in feeds.items() if key in known}, ports

    def call(name: str, plans: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        session, feeds, ports = sessions[name]
        if plans is not None:
            feeds[ports[-1]] = plans
        result: npt.NDArray[Any] = session.run(None, feeds)[0]
        return result

    def decide() -> npt.NDArray[Any]:
        plans = call("rollout", None)
        for _ in range(settings.steps):
            plans = call("refine", plans)
        return call("rank", plans)

    return decide, nodes


def mppi(case: Case, seed: int) -> tuple[Decision, int]:
    """MPPI with TD-MPC2's settings on the same model, as an ONNX graph, and its number of nodes; noise not counted."""
    settings = mppi_settings(dt_plan_s=case.settings.dt_plan_s, tick_hz=1.0 / (case.settings.shift_knots * case.settings.dt_plan_s))
    settings = replace(settings, problem=replace(settings.problem, candidates=1, disagreement=case.settings.disagreement))
    model = emit.to_model(mppi_graph(case.model, settings), "mppi", (*PORTS, *MPPI_PORTS), {})
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
