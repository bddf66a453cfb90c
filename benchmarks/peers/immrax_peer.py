"""Run immrax on one closed loop; a program for an interpreter that has immrax (0.3.8), not a part of tubepilot.

    PYTHON immrax_peer.py PROBLEM.npz OUTCOME.json [--feedback continuous] [--substeps 10] [--repeats 5]

"continuous" is immrax's own way: its fastlin-adjoint embedding of a parallelotope, where the network acts at every instant and not
once a period. "sampled" is the specified loop, put together here from immrax's parts: the held input becomes a state that stays
constant; at each sample `fastlin` bounds the network over the parallelotope of the states by C z + [l, u], so that states and input
lie in a parallelotope again, with faces z and input - C z; `AdjointEmbedding` takes that through one period; then the columns of the
input are bounded in the axes of the others. (Held interval inputs with immrax's mixed-Jacobian boxes, the shorter way, are useless
here: end widths of about 4 on TORA and 2000 on SinglePendulum.)

The embedding is an ordinary differential equation, solved by Tsit5 with fixed steps. Neither its error nor any rounding is bounded.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import immrax as irx
import jax
import jax.numpy as jnp
from immrax.parametric import AdjointEmbedding, FastlinAdjointEmbedding, ParametricEmbedding, Polytope
from peer_problem import Problem
from peer_program import ACTIVATIONS, PLANTS, Bounds, Plant, measure, options, problem_from, write


class Network(irx.Control):
    """The layers of a problem in the form that immrax traces."""

    def __init__(self, problem: Problem) -> None:
        self.layers = [
            (jnp.asarray(w), jnp.asarray(b), ACTIVATIONS[a])
            for w, b, a in zip(problem.weights, problem.biases, problem.activations, strict=True)
        ]
        self.out_len = len(problem.biases[-1])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Evaluate."""
        for weight, bias, activation in self.layers:
            x = activation(weight @ x + bias)
        return x

    def u(self, t: Any, x: jax.Array) -> jax.Array:
        """The input at a state."""
        return self(x)


class Driven(irx.OpenLoopSystem):
    """A plant with an input."""

    def __init__(self, plant: Plant, states: int) -> None:
        self.plant, self.evolution, self.xlen = plant, "continuous", states

    def f(self, t: Any, x: jax.Array, u: jax.Array) -> jax.Array:
        """Derivative."""
        return jnp.array(self.plant(x, u))


class Held(irx.System):
    """A plant whose input is a further state that stays as it is."""

    def __init__(self, plant: Plant, states: int, inputs: int) -> None:
        self.plant, self.states, self.evolution, self.xlen = plant, states, "continuous", states + inputs

    def f(self, t: Any, x: jax.Array) -> jax.Array:
        """Derivative."""
        return jnp.concatenate([jnp.array(self.plant(x[: self.states], x[self.states :])), jnp.zeros(self.xlen - self.states)])


def end_of(embedding: ParametricEmbedding, duration_s: float, steps: int, start: Polytope) -> tuple[Polytope, jax.Array]:
    """Polytope after so many steps, and the inverse of its faces.

    `compute_reachset` without its own jit, which would not let `max_steps` through: with the default, each call fills a buffer of 4096.
    """
    solve = type(embedding).compute_reachset.__wrapped__
    solution = solve(embedding, 0.0, duration_s, start, dt=duration_s / steps, solver="tsit5", max_steps=steps + 2)
    last = jnp.sum(jnp.isfinite(solution.ts)) - 1
    polytope, (inverse, _) = jax.tree_util.tree_map(lambda rows: rows[last], solution.ys)
    return polytope, inverse


def continuous(problem: Problem, substeps: int) -> Bounds:
    """Box at the end of the horizon under continuous feedback."""
    n = len(problem.lo)
    loop = irx.ControlledSystem(Driven(PLANTS[problem.name], n), Network(problem))

    def bounds(lo: jax.Array, hi: jax.Array) -> tuple[jax.Array, jax.Array]:
        embedding = FastlinAdjointEmbedding(loop, jnp.eye(n), jnp.zeros((0, n)))
        start = Polytope.from_interval(irx.interval(lo, hi))
        polytope, inverse = end_of(embedding, problem.period_s * problem.steps, problem.steps * substeps, start)
        box = irx.interval(inverse) @ polytope.iy + polytope.ox
        return box.lower, box.upper

    return bounds


def sampled(problem: Problem, substeps: int) -> Bounds:
    """Box at the end of the horizon with the input held over every period; see the top of this file."""
    network = Network(problem)
    n, m = len(problem.lo), network.out_len
    system = Held(PLANTS[problem.name], n, m)

    def period(state: tuple[jax.Array, ...], _: None) -> tuple[tuple[jax.Array, ...], None]:
        centre, columns, faces, lo, hi = state
        line = irx.fastlin(lambda z: network(columns @ z + centre))(irx.interval(lo, hi))
        middle, radius = 0.5 * (line.ld + line.ud), 0.5 * (line.ud - line.ld)
        start = Polytope(
            jnp.concatenate([centre, middle]),
            jnp.block([[faces, jnp.zeros((n, m))], [-line.C @ faces, jnp.eye(m)]]),
            jnp.concatenate([-lo, radius, hi, radius]),
        )
        inverse = jnp.block([[columns, jnp.zeros((n, m))], [line.C, jnp.eye(m)]])
        end, inverse = end_of(AdjointEmbedding(system, inverse, jnp.zeros((0, n + m))), problem.period_s, substeps, start)
        columns = inverse[:n, :n]
        faces = jnp.linalg.inv(columns)
        z = end.iy[:n] + irx.interval(faces @ inverse[:n, n:]) @ end.iy[n:]
        return (end.ox[:n], columns, faces, z.lower, z.upper), None

    def bounds(lo: jax.Array, hi: jax.Array) -> tuple[jax.Array, jax.Array]:
        centre, radius = 0.5 * (lo + hi), 0.5 * (hi - lo)
        start = (centre, jnp.eye(n), jnp.eye(n), -radius, radius)
        (centre, columns, _, low, high), _ = jax.lax.scan(period, start, None, length=problem.steps)
        box = irx.interval(columns) @ irx.interval(low, high) + centre
        return box.lower, box.upper

    return bounds


def main() -> None:
    """Run one kind of feedback."""
    jax.config.update("jax_enable_x64", True)
    chosen = options(__doc__).parse_args()
    problem = problem_from(chosen.problem)
    bounds = {"continuous": continuous, "sampled": sampled}[chosen.feedback](problem, chosen.substeps)
    names = {"tool": f"immrax {version('immrax')}", "feedback": chosen.feedback, "rounding": "not bounded, nor the solver's error"}
    write(chosen.outcome, measure(bounds, problem, chosen.repeats) | names)


if __name__ == "__main__":
    main()
