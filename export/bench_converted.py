"""The planner's JAX code in a form that jax2onnx takes, and the graphs that it makes: a peer of `bench planner`, a check in tests.

jax2onnx 0.17.1 has no reverse scans, which gradients of a rollout need; of the planner as it stands (mapped over candidates by
`jax.vmap`, quaternions entry by entry) it unrolls ten thousand equations and does not end. So `train.planner` is said again here:
all candidates as rows of matrices, every contraction one of two dimensions with a constant, loops over the horizon in Python. The
gradient is still JAX's own. This is the form that suits the converter best; `bench planner` prints its error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import onnx
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import MissingExtraError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.train import dynamics, planner
from tubepilot.train.planner import PlannerModel
from tubepilot.train.planner_settings import PlannerSettings

PRODUCT = np.asarray(dynamics._PRODUCT).reshape(4, 16).T
"""Outer product of two quaternions (16) to their Hamilton product (4)."""
ROTATION = np.asarray(dynamics._ROTATION).reshape(16, 9)
"""Outer product of a quaternion with itself (16) to its rotation matrix minus identity, row by row (9)."""
FIRST, SECOND = np.kron(np.eye(4), np.ones((1, 4))), np.kron(np.ones((1, 4)), np.eye(4))
ROWS, COLUMNS = np.kron(np.eye(3), np.ones((1, 3))), np.kron(np.ones((1, 3)), np.eye(3))
"""A vector (3) to the entries of a matrix (9) that stand in its rows, and in its columns."""


THIRD = np.float32(np.kron(np.eye(3), np.eye(3)[:, 2:]))
"""Entries of a matrix (9) to those of its third column (3); a product, since gradients of strided slices do not convert."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Inputs of a decision, positions relative to the first row of the reference; shapes as in `train.planner.Problem`."""

    state: Any
    reference: Any
    disturbance: Any
    previous_action: Any


class Batched:
    """`train.planner` for all candidates at once.

    Args:
        model: Weights.
        settings: Of the planner; without constraints.
        metric: Of the refinement step, shape (H, 4).
    """

    def __init__(self, model: PlannerModel, settings: PlannerSettings, metric: npt.NDArray[np.float64]) -> None:
        self.settings, self.plain = settings, jax.tree.map(np.float32, model)
        self.model = jax.tree.map(np.float32, planner.weighted(model, settings))
        self.metric = np.float32(metric)
        residual = self.model.world.residual
        members, width, outputs = residual.w2.shape
        self.block = np.zeros((members * width, members * outputs), np.float32)
        for m in range(members):
            self.block[m * width : (m + 1) * width, m * outputs : (m + 1) * outputs] = residual.w2[m]
        self.mean = np.float32(np.kron(np.full((members, 1), 1.0 / members), np.eye(outputs)))
        self.centre = np.float32(np.eye(members * outputs) - self.mean @ np.kron(np.ones((1, members)), np.eye(outputs)))

    @staticmethod
    def rotation(q: Any) -> Any:
        """Rotation matrices (N, 9) of quaternions (N, 4)."""
        outer = (q @ np.float32(FIRST)) * (q @ np.float32(SECOND))
        return outer @ np.float32(ROTATION) + np.float32(np.eye(3).reshape(1, 9))

    def step(self, x: Any, action: Any, disturbance: Any) -> tuple[Any, Any]:
        """States (N, 14) after a step, and each member's output (N, members * 6), in output units; see `dynamics.step`."""
        physics, residual, dt_s = self.model.world.physics, self.model.world.residual, np.float32(self.settings.dt_plan_s)
        s = self.model.action_scale.centre + self.model.action_scale.half * action
        position, velocity, attitude, rates, thrust = x[:, 0:3], x[:, 3:6], x[:, 6:10], x[:, 10:13], x[:, 13:14]
        rotation = self.rotation(attitude)
        in_body = (rotation * (velocity @ np.float32(ROWS))) @ np.float32(COLUMNS.T)
        horizontal = jnp.sum(disturbance[0:2] ** 2, keepdims=True)
        lacking = jnp.ones((x.shape[0], 1), jnp.float32) * jnp.concatenate([disturbance[2:3], horizontal])[None]
        feature = jnp.concatenate([in_body, rotation[:, 6:9], rates, thrust, s, lacking], axis=1)
        hidden = jnp.tanh(((feature - residual.feature_mean) / residual.feature_scale) @ residual.w1 + residual.b1)
        members = hidden @ self.block + residual.b2.reshape(-1)
        mean = (members @ self.mean) * residual.output_scale

        def lagged(now: Any, target: Any, lag_s: Any) -> tuple[Any, Any]:
            decay = np.exp(-dt_s / lag_s)
            return target + (now - target) * decay, target + (now - target) * (lag_s / dt_s * (1 - decay))

        target = physics.rate_gain * s[:, 0:3] + physics.rate_offset_rad_s + physics.rate_lag_s * mean[:, 3:6]
        rates_next, rates_mean = lagged(rates, target, physics.rate_lag_s)
        thrust_next, thrust_mean = lagged(thrust, physics.thrust_gain * s[:, 3:4], physics.thrust_lag_s)
        small = jnp.concatenate([jnp.ones((x.shape[0], 1), jnp.float32), np.float32(0.5) * dt_s * rates_mean], axis=1)
        turned = ((attitude @ np.float32(FIRST)) * (small @ np.float32(SECOND))) @ np.float32(PRODUCT)
        attitude_next = turned / jnp.sqrt(jnp.sum(turned * turned, axis=1, keepdims=True))
        direction = np.float32(0.5) * ((rotation + self.rotation(attitude_next)) @ THIRD)
        force = (rotation * ((mean[:, 0:3] - physics.drag_1_s * in_body) @ np.float32(COLUMNS))) @ np.float32(ROWS.T)
        acceleration = thrust_mean * direction - np.float32([0.0, 0.0, GRAVITY_M_S2]) + force + disturbance
        velocity_next = velocity + dt_s * acceleration
        position_next = position + np.float32(0.5) * dt_s * (velocity + velocity_next)
        return jnp.concatenate([position_next, velocity_next, attitude_next, rates_next, thrust_next], axis=1), members

    def network(self, weights: Any, x: Any, reference: Any, disturbance: Any) -> Any:
        """Output of policy or value on the observations of states (N, 14)."""
        scale, rotation, count = self.model.observation_scale, self.rotation(x[:, 6:10]), x.shape[0]
        given = jnp.concatenate([reference[6:9], disturbance])[None] * jnp.ones((count, 1), jnp.float32)
        error = jnp.clip(x[:, 0:3] - reference[0:3], -scale.position_clip_m, scale.position_clip_m)
        parts = [
            error, x[:, 3:6] - reference[3:6], rotation @ THIRD, rotation[:, 3:4], x[:, 10:13], x[:, 13:14] - np.float32(GRAVITY_M_S2),
            given,
        ]  # fmt: skip
        hidden = jnp.tanh((jnp.concatenate(parts, axis=1) / scale.divisor) @ weights.w1 + weights.b1)
        return jnp.tanh(hidden @ weights.w2 + weights.b2) @ weights.w3 + weights.b3

    def stage_cost(self, x: Any, reference: Any, disturbance: Any, action: Any, previous: Any) -> Any:
        """Cost per second of states (N, 14), shape (N,); see `task.stage_cost`."""
        weights, scale = self.model.cost, self.model.action_scale
        thrust = reference[6:9] + np.float32([0.0, 0.0, GRAVITY_M_S2]) - disturbance
        magnitude = jnp.sqrt(jnp.sum(thrust * thrust, keepdims=True))
        rotation = self.rotation(x[:, 6:10])
        hover = jnp.concatenate([jnp.zeros(3, jnp.float32), magnitude])
        terms = (
            (weights.position, x[:, 0:3] - reference[0:3]), (weights.velocity, x[:, 3:6] - reference[3:6]),
            (np.full(2, weights.tilt), rotation @ THIRD[:, 0:2] - thrust[0:2] / magnitude), (weights.heading[None], rotation[:, 3:4]),
            (weights.rates, x[:, 10:13]), (weights.action, action - (hover - scale.centre) / scale.half),
            (weights.smooth, action - previous),
        )  # fmt: skip
        return sum((residual * residual) @ np.float32(weight) for weight, residual in terms)

    def returns(self, asked: Asked, plans: Any) -> Any:
        """Return J of plans (N, H, 4), shape (N,); see `planner.plan_return`."""
        settings, count = self.settings, plans.shape[0]
        x = jnp.ones((count, 1), jnp.float32) * asked.state[None]
        weight = self.model.cost.disagreement if settings.disagreement is None else settings.disagreement
        total: Any = jnp.zeros(count, jnp.float32)
        previous: Any = asked.previous_action[None]
        for h in range(settings.horizon):
            action = plans[:, h]
            x, members = self.step(x, action, asked.disturbance)
            away = members @ self.centre
            spread = jnp.mean(away * away, axis=1)
            total = total + self.stage_cost(x, asked.reference[h + 1], asked.disturbance, action, previous)
            total = total + np.float32(weight) * spread
            previous = action
        value = self.network(self.model.value, x, asked.reference[-1], asked.disturbance)[:, 0]
        return -(np.float32(settings.dt_plan_s) * total + value)

    def rollout(self, asked: Asked, previous_plans: Any, noise: Any, reuse: Any) -> Any:
        """See `planner.rollout`."""
        settings = self.settings
        x = jnp.ones((settings.candidates, 1), jnp.float32) * asked.state[None]
        actions = []
        for h in range(settings.horizon):
            fresh = jnp.tanh(self.network(self.model.policy, x, asked.reference[h], asked.disturbance)) + noise[:, h]
            actions.append(jnp.clip(fresh, -1.0, 1.0))
            x, _ = self.step(x, actions[-1], asked.disturbance)
        later = jnp.concatenate([previous_plans[:, 1:], previous_plans[:, -1:]], axis=1)
        moved = np.float32(settings.shift_knots)
        shifted = (1 - moved) * previous_plans + moved * later
        whole = np.float32(np.eye(settings.candidates, 1)[:, :, None])
        share = whole * jnp.ceil(reuse) + (1 - whole) * reuse
        return share * shifted + (1 - share) * jnp.stack(actions, axis=1)

    def refine(self, asked: Asked, plans: Any) -> Any:
        """See `planner.refine`."""
        gradient = jax.grad(lambda p: jnp.sum(self.returns(asked, p)))(plans)
        direction = (self.metric * gradient).reshape(plans.shape[0], -1)
        gain, radius = self.settings.step_gain_radius
        mean = jnp.mean(direction * direction, axis=1, keepdims=True)
        change = direction * (np.float32(gain) / jnp.sqrt(np.float32(radius**2) + mean))
        return jnp.clip(plans + change.reshape(plans.shape), -1.0, 1.0)

    def rank(self, asked: Asked, plans: Any) -> Any:
        """The best of the plans, shape (H, 4); see `planner.rank`."""
        return plans[jnp.argmax(self.returns(asked, plans))]


def _key(batched: Batched, version: str) -> str:
    """Names a conversion by everything that it depends on."""
    digest = hashlib.sha256(f"{batched.settings} {version} {jax.__version__}".encode())
    for leaf in (*jax.tree.leaves(batched.model), batched.metric):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def convert(
    batched: Batched, only: tuple[str, ...] = ("rollout", "refine", "rank"), kept: Path | None = None
) -> dict[str, onnx.ModelProto]:
    """The graphs as jax2onnx makes them; inputs in_0, in_1, ... in the order of `Asked`, then plans and the rest.

    Args:
        batched: The planner.
        only: Which graphs.
        kept: Folder where conversions are looked for, and written; None: converted anew.

    Raises:
        MissingExtraError: jax2onnx is not installed.
    """
    try:
        import jax2onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError('the conversion needs jax2onnx: pip install "tubepilot[bench]"') from error
    horizon, plans = batched.settings.horizon, (batched.settings.candidates, batched.settings.horizon, 4)
    asked = ((14,), (horizon + 1, 9), (3,), (4,))
    functions: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
        "rollout": (lambda s, r, d, a, *rest: batched.rollout(Asked(s, r, d, a), *rest), (*asked, plans, plans, ())),
        "refine": (lambda s, r, d, a, p: batched.refine(Asked(s, r, d, a), p), (*asked, plans)),
        "rank": (lambda s, r, d, a, p: batched.rank(Asked(s, r, d, a), p), (*asked, plans)),
    }
    made = {}
    for name in tqdm(only, desc="jax2onnx", unit="graph", leave=False):
        path = None if kept is None else kept / f"{name}-{_key(batched, metadata.version('jax2onnx'))}.onnx"
        if path is not None and path.is_file():
            made[name] = onnx.load(str(path))
            continue
        function, sizes = functions[name]
        shapes = [jax.ShapeDtypeStruct(size, jnp.float32) for size in sizes]
        traced = jax.make_jaxpr(function)(*shapes)  # the converter takes no gradients, but their jaxpr
        made[name] = jax2onnx.to_onnx(jax.extend.core.jaxpr_as_fun(traced), inputs=shapes)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            onnx.save(made[name], str(path))
    return made
