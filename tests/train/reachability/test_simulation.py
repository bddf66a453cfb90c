"""Simulation: order of accuracy, closed forms, delays, lost updates, disturbances, and refusal of what does not fit."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.closed_loops import airplane, closed_loop, double_pendulum
from scipy.linalg import expm

from tubepilot.firmware_bridge.errors import InputError, ShapeError
from tubepilot.train.reachability.simulation import ORDER, accurate_substeps, runge_kutta_step, simulate
from tubepilot.train.reachability.specification_file import load_specification

SPECS = Path(__file__).resolve().parents[3] / "benchmarks" / "specs"
A = np.array([[-0.3, 2.0, 0.1], [-2.0, -0.2, 0.4], [0.0, 0.3, -1.0]])



@pytest.mark.parametrize(
    ("f", "start", "truth", "counts"),
    [
        (lambda x: x * (1 - x), [0.2], lambda t: [1 / (1 + 4 * np.exp(-t))], (2, 3, 4, 6)),
        (lambda x: jnp.stack([x[1], -x[0]]), [1.0, 0.0], lambda t: [np.cos(t), -np.sin(t)], (2, 3, 4, 6)),
        (lambda x: -x * x, [1.0], lambda t: [1 / (1 + t)], (2, 3, 4, 6)),
        (lambda x: jnp.stack([x[0] * x[1], jnp.ones_like(x[1])]), [1.0, 0.0], lambda t: [np.exp(t * t / 2), t], (8, 12, 16, 24)),
    ],
)
def test_runge_kutta_has_order_eight(f, start, truth, counts) -> None:
    """Slope of the logarithm of the error at t = 2 over that of the step; steps are chosen so that rounding does not show."""
    step, errors = jax.jit(lambda x, h: runge_kutta_step(f, x, h)), []
    for count in counts:
        x = jnp.asarray(start, jnp.float64)
        for _ in range(count):
            x = step(x, jnp.asarray(2.0 / count, jnp.float64))
        errors.append(np.abs(np.asarray(x) - np.array(truth(2.0))).max())
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert ORDER - 0.5 < order < ORDER + 2.0, (order, errors)


def test_linear_loop_equals_matrix_exponentials() -> None:
    """x' = A x + B u + E w with u held from the last sample: one exponential of the extended matrix per period."""
    b, e, gain = np.array([[0.0], [1.0], [0.5]]), np.array([[1.0], [0.0], [0.2]]), np.array([[0.4, -0.9, 0.3]])
    spec = closed_loop(
        lambda x, u, w, p: jnp.asarray(A) @ x + jnp.asarray(b) @ u + jnp.asarray(e) @ w + p[0] * x,
        [(-1, 1)] * 3, control=lambda y, x: jnp.asarray(gain) @ x, inputs=1, disturbances=[(-0.3, 0.3)], parameters=[(0, 0.2)],
    )  # fmt: skip
    rng = np.random.default_rng(1)
    x0, w, p = rng.uniform(-1, 1, (5, 3)), rng.uniform(-0.3, 0.3, (5, 10, 2, 1)), rng.uniform(0, 0.2, (5, 1))
    _, states = simulate(spec, x0, w, p)
    for i in range(5):
        x, a = x0[i], A + p[i] * np.eye(3)
        for k in range(10):
            u = gain @ x
            for j in range(2):
                block = np.zeros((4, 4))
                block[:3, :3], block[:3, 3] = a, b @ u + e @ w[i, k, j]
                x = (expm(block * 0.05) @ np.append(x, 1.0))[:3]
                np.testing.assert_allclose(states[i, 4 * k + 2 * j + 2], x, rtol=0, atol=2e-13)


def test_delays_and_lost_updates_follow_the_held_input() -> None:
    """x' = u: the state is the sum of the inputs times how long each acts, from first principles."""
    spec = closed_loop(lambda x, u, w, p: u, [(0, 1)], control=lambda y, x: 1 - 2 * x, inputs=1, steps=12, delay_s=(0.0, 0.1), missed=2)
    rng = np.random.default_rng(2)
    delays = rng.uniform(0, 0.1, (4, 12))
    delays[1], delays[2] = 0.0, 0.1
    received = np.ones((4, 12), bool)
    received[:, [2, 3, 7]] = False
    times, states = simulate(spec, np.array([[0.2]] * 4), delays_s=delays, received=received, samples_per_period=5)
    np.testing.assert_allclose(times, np.arange(61) * 0.02)
    for i in range(4):
        x = 0.2
        held = 1 - 2 * x
        for k in range(12):
            new = 1 - 2 * x if received[i, k] else held
            x += held * delays[i, k] + new * (0.1 - delays[i, k])
            held = new
            assert states[i, 5 * (k + 1), 0] == pytest.approx(x, abs=1e-14)


def test_discrete_loop_is_iterated() -> None:
    spec = closed_loop(lambda x, u, w, p: 0.5 * x + u + w, [(0, 1)], control=lambda y, x: x * x, inputs=1, discrete=True, steps=6,
                       disturbances=[(-1, 1)], delay_s=(0.0, 0.1))  # fmt: skip
    w, delays = np.linspace(-1, 1, 6).reshape(1, 6, 1, 1), np.array([[0, 0, 0.1, 0, 0.1, 0]])
    _, states = simulate(spec, np.array([[0.3]]), w, delays_s=delays)
    x, held, expected = 0.3, 0.09, [0.3]
    for k in range(6):
        u = held if delays[0, k] else x * x
        held = x * x
        x = 0.5 * x + u + w[0, k, 0, 0]
        expected.append(x)
    np.testing.assert_allclose(states[0, :, 0], expected, rtol=1e-14)


def test_substeps_are_chosen_for_accuracy() -> None:
    fast = closed_loop(lambda x, u, w, p: jnp.stack([60 * x[1], -60 * x[0]]), [(0.9, 1), (0, 0)])
    slow = closed_loop(lambda x, u, w, p: -x, [(0.9, 1)])
    assert accurate_substeps(slow, 4) == 1
    assert accurate_substeps(fast, 4) > 2
    times, states = simulate(fast, np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(states[0, :, 0], np.cos(60 * times), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"w": np.zeros((1, 10, 3, 1))}, ShapeError, "do not divide"),
        ({"w": np.zeros((1, 9, 1, 1))}, ShapeError, "w has shape"),
        ({"p": np.zeros((1, 2))}, ShapeError, "p has shape"),
        ({"delays_s": np.full((1, 10), 0.2)}, InputError, "delays lie in"),
        ({"received": np.arange(10)[None] > 0}, InputError, "never loses the first"),
        ({"received": np.isin(np.arange(10)[None], [3, 4], invert=True)}, InputError, "2 in a row"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, text) -> None:
    spec = closed_loop(lambda x, u, w, p: w - x, [(0, 1)], disturbances=[(-1, 1)], missed=1)
    with pytest.raises(error, match=text):
        simulate(spec, np.zeros((1, 1)), **arguments)


@pytest.mark.parametrize(("file", "written"), [("Airplane", airplane), ("DoublePendulum_more", double_pendulum)])
def test_benchmark_files_equal_equations_written_in_python(file, written, archcomp) -> None:
    """Two transcriptions of the same benchmark, made apart from each other, give the same trajectories."""
    spec = load_specification(SPECS / f"{file}.toml", archcomp)
    box = spec.initial_box
    x0 = box[:, 0] + np.random.default_rng(6).random((20, len(box))) * (box[:, 1] - box[:, 0])
    np.testing.assert_allclose(simulate(spec, x0, substeps=1)[1], simulate(written(archcomp), x0, substeps=1)[1], rtol=0, atol=1e-12)
