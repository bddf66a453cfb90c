"""Equations of motion: frames, order of accuracy, gradients."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tubepilot.train.dynamics import (
    Physics,
    Residual,
    WorldModel,
    features,
    quaternion_product,
    rollout,
    rotation_matrix,
    step,
)
from tubepilot.train.policy import default_task
from tubepilot.train.residual import feature_rows, zero_residual
from tubepilot.train.task import stage_cost


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def random_model(physics: Physics, seed: int = 0) -> WorldModel:
    generator = np.random.default_rng(seed)
    residual = Residual(
        jnp.zeros(16),
        jnp.ones(16),
        jnp.asarray(generator.normal(size=(16, 24)) * 0.3),
        jnp.asarray(generator.normal(size=24) * 0.3),
        jnp.asarray(generator.normal(size=(3, 8, 6)) * 0.3),
        jnp.asarray(generator.normal(size=(3, 6)) * 0.1),
        jnp.asarray([0.5] * 3 + [3.0] * 3),
    )
    return WorldModel(jax.tree.map(lambda v: jnp.asarray(np.asarray(v, np.float64)), physics), residual)


def random_state(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=14)
    x[6:10] /= np.linalg.norm(x[6:10])
    x[13] = 9.0
    return x


def test_rotation_and_product_agree_with_scipy() -> None:
    for seed in range(5):
        p, q = random_state(seed)[6:10], random_state(seed + 50)[6:10]
        first, second = (Rotation.from_quat(v, scalar_first=True) for v in (p, q))
        np.testing.assert_allclose(rotation_matrix(jnp.asarray(p)), first.as_matrix(), atol=1e-14)
        both = (first * second).as_matrix()
        np.testing.assert_allclose(
            rotation_matrix(quaternion_product(jnp.asarray(p), jnp.asarray(q))), both, atol=1e-14
        )


@pytest.mark.parametrize("angle_rad", [0.3, 2.0, -1.4])
def test_step_commutes_with_turning_the_world_about_the_vertical(known_physics: Physics, angle_rad: float) -> None:
    model, x, s = random_model(known_physics), random_state(1), np.array([1.0, -2.0, 0.5, 11.0])
    d = np.array([0.4, -0.2, 0.3])
    turn = Rotation.from_euler("z", angle_rad)

    def turned(state: np.ndarray) -> np.ndarray:
        attitude = (turn * Rotation.from_quat(state[6:10], scalar_first=True)).as_quat(scalar_first=True)
        return np.concatenate([turn.apply(state[0:3]), turn.apply(state[3:6]), attitude, state[10:14]])

    after = turned(np.array(step(model, jnp.asarray(x), jnp.asarray(s), jnp.asarray(d), 0.02)[0]))
    other = np.asarray(step(model, jnp.asarray(turned(x)), jnp.asarray(s), jnp.asarray(turn.apply(d)), 0.02)[0])
    after[6:10] *= np.sign(after[6:10] @ other[6:10])
    np.testing.assert_allclose(other, after, atol=1e-12)


def test_position_does_not_enter_the_motion(known_physics: Physics) -> None:
    model, x, s = random_model(known_physics), random_state(2), jnp.array([1.0, -2.0, 0.5, 11.0])
    moved = x.copy()
    moved[0:3] += [100.0, -50.0, 20.0]
    a, b = (np.asarray(step(model, jnp.asarray(v), s, jnp.zeros(3), 0.04)[0]) for v in (x, moved))
    np.testing.assert_allclose(b[0:3] - a[0:3], [100.0, -50.0, 20.0], atol=1e-10)
    np.testing.assert_allclose(b[3:], a[3:], atol=1e-13)


def test_lags_are_exact_for_any_step(known_physics: Physics) -> None:
    model = WorldModel(random_model(known_physics).physics, zero_residual())
    x, s = random_state(3), jnp.array([1.0, -2.0, 0.5, 11.0])
    once = np.asarray(step(model, jnp.asarray(x), s, jnp.zeros(3), 0.08)[0])
    many = np.asarray(rollout(model, jnp.asarray(x), jnp.tile(s, (8, 1)), jnp.zeros(3), 0.01)[0][-1])
    np.testing.assert_allclose(once[10:14], many[10:14], atol=1e-13)


def test_attitude_is_second_order_and_velocity_first_order_accurate(known_physics: Physics) -> None:
    model = WorldModel(random_model(known_physics).physics, zero_residual())
    x, s, horizon_s = random_state(4), jnp.array([3.0, -2.0, 1.0, 12.0]), 0.32

    def end(steps: int) -> np.ndarray:
        plan = jnp.tile(s, (steps, 1))
        return np.asarray(rollout(model, jnp.asarray(x), plan, jnp.zeros(3), horizon_s / steps)[0][-1])

    exact, counts = end(8192), np.array([16, 32, 64, 128])
    attitude = [np.linalg.norm(end(n)[6:10] - exact[6:10]) for n in counts]
    velocity = [np.linalg.norm(end(n)[3:6] - exact[3:6]) for n in counts]
    orders = [np.polyfit(np.log(1 / counts), np.log(e), 1)[0] for e in (attitude, velocity)]
    assert 1.8 < orders[0] < 2.2
    assert 0.8 < orders[1] < 2.2


def test_gradient_of_a_rollout_matches_finite_differences(known_physics: Physics) -> None:
    model, x = random_model(known_physics), jnp.asarray(random_state(5))
    plan = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)) + np.array([0, 0, 0, 10.0]))

    def cost(setpoints: jax.Array) -> jax.Array:
        states, members = rollout(model, x, setpoints, jnp.zeros(3), 0.04)
        return jnp.sum(states**2) + jnp.sum(jnp.var(members, axis=1))

    gradient = np.asarray(jax.grad(cost)(plan))
    for index in [(0, 0), (1, 3), (4, 2), (2, 1)]:
        delta = np.zeros((5, 4))
        delta[index] = 1e-5
        finite = float(cost(plan + delta) - cost(plan - delta)) / 2e-5
        assert gradient[index] == pytest.approx(finite, rel=1e-6, abs=1e-7)


def test_gradient_of_the_stage_cost_matches_finite_differences() -> None:
    task = default_task((6.0, 6.0, 3.0), 2.0, 17.0)
    reference = jnp.asarray(np.random.default_rng(1).normal(size=9))
    action, before = jnp.array([0.1, -0.2, 0.3, 0.05]), jnp.array([0.0, 0.1, 0.0, 0.2])

    def cost(v: jax.Array) -> jax.Array:
        return stage_cost(task.cost, task.action_scale, v[:14], reference, jnp.array([0.2, 0.1, -0.3]), v[14:], before)

    v = jnp.concatenate([jnp.asarray(random_state(6)), action])
    gradient = np.asarray(jax.grad(cost)(v))
    finite = [float(cost(v + d) - cost(v - d)) / 2e-6 for d in 1e-6 * np.eye(18)]
    np.testing.assert_allclose(gradient, finite, rtol=1e-5, atol=1e-6)


def test_batched_features_agree_with_the_definition() -> None:
    x = np.stack([random_state(k) for k in range(4)])
    s = np.random.default_rng(0).normal(size=(4, 4))
    d = np.random.default_rng(1).normal(size=(4, 3))
    expected = [features(*map(jnp.asarray, row)) for row in zip(x, s, d, strict=True)]
    np.testing.assert_allclose(feature_rows(x, s, d), expected, atol=1e-13)
