"""Small specifications written in Python, for tests of simulation, reference trajectories and falsification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tubepilot.train.reachability.network import Network, load_network
from tubepilot.train.reachability.specification import Kind, Property, Specification

Function = Callable[..., jax.Array]


def proper(kind: Kind, window: tuple[Fraction | int, Fraction | int], period_s: float, conditions: Function, count: int) -> Property:
    """A property whose conditions are named c0, c1, ..."""
    ends = (Fraction(window[0]), Fraction(window[1]))
    seconds = (float(ends[0]) * period_s, float(ends[1]) * period_s)
    return Property(kind, seconds, ends, conditions, tuple(f"c{i}" for i in range(count)))


def closed_loop(
    dynamics: Function,
    initial: Sequence[tuple[float, float]],
    *,
    control: Function | None = None,
    inputs: int = 0,
    network: Network | None = None,
    period_s: float = 0.1,
    steps: int = 10,
    disturbances: Sequence[tuple[float, float]] = (),
    parameters: Sequence[tuple[float, float]] = (),
    discrete: bool = False,
    delay_s: tuple[float, float] = (0.0, 0.0),
    missed: int = 0,
    properties: tuple[Property, ...] = (),
    name: str = "test",
) -> Specification:
    """A specification; `control` is the law (y, x) -> u, by default u = y."""
    n = len(initial)

    def names(letter: str, count: int) -> tuple[str, ...]:
        return tuple(f"{letter}{i}" for i in range(count))

    def box(sides: Sequence[tuple[float, float]]) -> np.ndarray:
        return np.array(sides, np.float64).reshape(-1, 2)

    return Specification(
        name, "tests", names("x", n), names("u", inputs), names("w", len(disturbances)), names("p", len(parameters)), dynamics,
        discrete, box(disturbances), box(parameters), box(initial), period_s, steps, delay_s, missed, network,
        (lambda x: x) if network is not None else (lambda x: x[:0]), control or (lambda y, x: y), properties,
    )  # fmt: skip


def double_pendulum(folder: Path, bound: float = 1.5) -> Specification:
    """The more robust double pendulum of ARCH-COMP: every state within +-bound (1.5 in the benchmark) for 20 periods; violated."""

    def dynamics(x: jax.Array, u: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
        first, second, rate_1, rate_2 = x
        c, s = jnp.cos(first - second), jnp.sin(first - second)
        q = s * rate_1**2 + 8 * u[1] + 2 * jnp.sin(second) - c * (-(s * rate_2**2) / 2 + 4 * u[0] + 2 * jnp.sin(first))
        d = c**2 / 2 - 1
        return jnp.stack([rate_1, rate_2, 4 * u[0] + 2 * jnp.sin(first) - rate_2**2 * s / 2 + c * q / (2 * d), -q / d])

    network = load_network(folder / "DoublePendulum" / "controller_double_pendulum_more_robust.onnx")
    limits = proper("stay", (0, 20), 0.02, lambda x: jnp.concatenate([x - bound, -bound - x]), 8)
    return closed_loop(dynamics, [(1.0, 1.3)] * 4, inputs=2, network=network, period_s=0.02, steps=20, properties=(limits,),
                       name="DoublePendulum")  # fmt: skip


def airplane(folder: Path) -> Specification:
    """The airplane of ARCH-COMP: y and the angles within +-1 for 2 s; violated."""

    def dynamics(x: jax.Array, u: jax.Array, w: jax.Array, p: jax.Array) -> jax.Array:
        _, _, _, forward, side, down, phi, theta, psi, yaw, roll, pitch = x
        sp, cp, st, ct, ss, cs = (f(a) for a in (phi, theta, psi) for f in (jnp.sin, jnp.cos))
        about_x = (forward, cp * side - sp * down, sp * side + cp * down)
        about_y = (ct * about_x[0] + st * about_x[2], about_x[1], -st * about_x[0] + ct * about_x[2])
        turn = sp * pitch + cp * yaw
        return jnp.stack([
            cs * about_y[0] - ss * about_y[1], ss * about_y[0] + cs * about_y[1], about_y[2],
            -st + u[0] - pitch * down + yaw * side, ct * sp + u[1] - yaw * forward + roll * down,
            ct * cp + u[2] - roll * side + pitch * forward,
            roll + jnp.tan(theta) * turn, cp * pitch - sp * yaw, turn / ct, u[5], u[3], u[4],
        ])  # fmt: skip

    network = load_network(folder / "Airplane" / "controller_airplane.onnx")
    limits = proper("stay", (0, 20), 0.1, lambda x: jnp.stack([s * x[i] - 1 for i in (1, 6, 7, 8) for s in (1, -1)]), 8)
    return closed_loop(dynamics, [(0, 0)] * 3 + [(0, 1)] * 6 + [(0, 0)] * 3, inputs=6, network=network, period_s=0.1, steps=20,
                       properties=(limits,), name="Airplane")  # fmt: skip
