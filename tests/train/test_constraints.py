"""Constraint terms: values by hand, unused rows, the shell in metres, change of frame, refusal of what cannot turn."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.constraints import Constraints, relative, violation, violations, widened

UNUSED_OBSTACLE = [1e3, 1e3, 1e3, 1.0, 1.0, 1.0]
UNUSED_FACE = [0.0, 0.0, 0.0, 1.0]


def state(position: Any, velocity: Any = (0.0, 0.0, 0.0)) -> Any:
    return np.concatenate([position, velocity, [1.0], np.zeros(6), [9.8]])


def example() -> Constraints:
    """A cylinder of 0.5 m about (1, 2), an ellipsoid, the face x <= 3, at most 2 m/s; with unused rows."""
    return Constraints(  # type: ignore[arg-type]
        np.array([[1.0, 2.0, 0.0, 4.0, 4.0, 0.0], [-1.0, 0.0, 1.0, 1.0, 1.0, 16.0], UNUSED_OBSTACLE]),
        np.array([[1.0, 0.0, 0.0, 3.0], UNUSED_FACE]),
        np.array(2.0),
    )


@pytest.mark.parametrize(
    ("position", "velocity", "expected"),
    [
        ((1.0, 2.0, 50.0), (0, 0, 0), (1.0, 0.0, 0.0)),
        ((1.25, 2.0, -7.0), (0, 0, 0), (0.75**2, 0.0, 0.0)),
        ((1.5, 2.0, 0.0), (0, 0, 0), (0.0, 0.0, 0.0)),
        ((-1.0, 0.0, 1.125), (0, 0, 0), (0.75**2, 0.0, 0.0)),
        ((3.5, 0.0, 0.0), (0, 0, 0), (0.0, 0.25, 0.0)),
        ((2.9, 0.0, 0.0), (0, 2, 0), (0.0, 0.0, 0.0)),
        ((2.9, 0.0, 0.0), (0, 3, 0), (0.0, 0.0, 1.25**2)),
    ],
)
def test_violations_by_hand(position: Any, velocity: Any, expected: Any) -> None:
    with jax.enable_x64(True):
        seen = violations(example(), jnp.asarray(state(position, velocity)))
        total = violation(example(), jnp.asarray(state(position, velocity)))
    np.testing.assert_allclose(seen, expected, atol=1e-12)
    assert float(total) == pytest.approx(sum(expected), abs=1e-12)


def test_unused_rows_add_exactly_nothing_and_no_gradient() -> None:
    nothing = Constraints(jnp.asarray([UNUSED_OBSTACLE]), jnp.asarray([UNUSED_FACE]), jnp.asarray(jnp.inf))
    for constraints in (nothing, widened(nothing, 5.0)):
        value, gradient = jax.value_and_grad(lambda x, c=constraints: violation(c, x))(
            jnp.asarray(state((0.3, -4, 9), (3, 1, 2)), jnp.float32)
        )
        assert float(value) == 0.0
        np.testing.assert_array_equal(gradient, np.zeros(14))


def test_gradient_is_continuous_across_each_surface_and_matches_differences() -> None:
    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(lambda x: violation(example(), x)))
        for on_surface, outwards in (
            (state((1.5, 2.0, 0.0)), state((1.0, 0, 0)) - state((0, 0, 0))),
            (state((3.0, 0.0, 0.0)), state((-1.0, 0, 0)) - state((0, 0, 0))),
            (state((0, 5, 0), (2.0, 0, 0)), state((0, 0, 0), (1.0, 0, 0)) - state((0, 0, 0))),
        ):
            sides = [np.asarray(slope(jnp.asarray(on_surface + h * outwards))) for h in (-1e-7, 0.0, 1e-7)]
            assert np.abs(np.diff(sides, axis=0)).max() < 1e-4
        value = jax.jit(lambda x: violation(example(), x))
        x = state((1.2, 2.2, 0.3), (1.5, -1.8, 0.4))
        x[0] = 1.2
        differences = [(float(value(x + h)) - float(value(x - h))) / 2e-6 for h in 1e-6 * np.eye(14)]
        np.testing.assert_allclose(slope(jnp.asarray(x)), differences, rtol=1e-6, atol=1e-8)


def test_the_shell_is_in_metres_and_endless_directions_stay_endless() -> None:
    with jax.enable_x64(True):
        wide = widened(example(), 0.2)
    np.testing.assert_allclose(wide.obstacles[0, 3:6], [1 / 0.7**2, 1 / 0.7**2, 0.0])
    np.testing.assert_allclose(wide.obstacles[1, 3:6], [1 / 1.2**2, 1 / 1.2**2, 1 / 0.45**2])
    np.testing.assert_allclose(wide.fence, [[1, 0, 0, 2.8], UNUSED_FACE])


@pytest.mark.parametrize("yaw", [0.7, -2.4, np.pi])
def test_another_frame_sees_the_same_violations(yaw: float) -> None:
    origin = np.array([500.0, -300.0, 20.0])
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    rng = np.random.default_rng(0)
    here = example()
    there = Constraints(here.obstacles + np.append(origin, np.zeros(3)), here.fence.copy(), here.speed_m_s)
    there.fence[:, 3] += there.fence[:, 0:3] @ origin
    with jax.enable_x64(True):
        seen = relative(there, origin, yaw)
        for _ in range(20):
            p, v = rng.uniform(-3, 4, 3), rng.uniform(-3, 3, 3)
            expected = violations(here, jnp.asarray(state(p, v)))
            np.testing.assert_allclose(violations(seen, jnp.asarray(state(p @ turn, v @ turn))), expected, atol=1e-10)


def test_an_ellipsoid_that_is_not_round_cannot_be_turned() -> None:
    uneven = example()
    uneven.obstacles[1, 4] = 2.0
    assert relative(uneven, np.zeros(3), 0.0).obstacles[1, 4] == 2.0
    with pytest.raises(InputError, match="obstacle 1 has inverse squared semi-axes 1 and 2"):
        relative(uneven, np.zeros(3), 0.1)
