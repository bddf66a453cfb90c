"""What the programs of the peers share; needs JAX and numpy, not tubepilot: plants, timing, options."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from peer_problem import Problem, read_problem

Components = Sequence[jax.Array]
Plant = Callable[[Components, Components], list[jax.Array]]
"""Derivatives of the states, one by one: the peers differ in the operations of arrays that they can trace."""
Bounds = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""From the bounds of the initial states to those of the states at the end."""


def _pendulum(x: Components, u: Components) -> list[jax.Array]:
    return [x[1], 2.0 * jnp.sin(x[0]) + 8.0 * u[0]]


def _tora(x: Components, u: Components) -> list[jax.Array]:
    return [x[1], -x[0] + 0.1 * jnp.sin(x[2]), x[3], u[0]]


PLANTS: dict[str, Plant] = {"SinglePendulum": _pendulum, "TORA_sigmoid": _tora, "TORA_tanh": _tora}
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda v: v,
    "relu": lambda v: jnp.maximum(v, 0.0),
    "sigmoid": jax.nn.sigmoid,
    "tanh": lambda v: 2.0 * jax.nn.sigmoid(2.0 * v) - 1.0,  # both peers bound the sigmoid; of tanh they do not take this JAX's
}


def options(words: str | None) -> argparse.ArgumentParser:
    """Those of every peer: the problem, the file to write, how finely and how often to run."""
    parser = argparse.ArgumentParser(description=words)
    parser.add_argument("problem", type=Path)
    parser.add_argument("outcome", type=Path)
    parser.add_argument("--feedback", choices=("sampled", "continuous"), default="sampled")
    parser.add_argument("--substeps", type=int, default=10, help="steps per period")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs")
    return parser


def problem_from(path: Path) -> Problem:
    """The problem of a file, if its plant is written here and has the derivatives that stand in the file; else the program ends."""
    problem = read_problem(path)
    if problem.name not in PLANTS:
        raise SystemExit(f"no plant {problem.name!r}; written here are {', '.join(PLANTS)}")
    for x, u, dx in zip(problem.probe_x, problem.probe_u, problem.probe_dx, strict=True):
        wrong = float(jnp.abs(jnp.stack(PLANTS[problem.name](jnp.asarray(x), jnp.asarray(u))) - dx).max())
        if wrong > 1e-12:
            raise SystemExit(
                f"{problem.name}: its derivative here differs by {wrong:g} from that of the specification, 1e-12 is allowed"
            )
    return problem


def measure(bounds: Bounds, problem: Problem, repeats: int) -> dict[str, object]:
    """Compile, run once to warm up, then time: the figures of an outcome."""
    given = (jnp.asarray(problem.lo), jnp.asarray(problem.hi))
    begun = time.perf_counter()
    call = jax.jit(bounds).lower(*given).compile()
    compile_s = time.perf_counter() - begun
    lo, hi = jax.block_until_ready(call(*given))
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(call(*given))
        times.append(time.perf_counter() - begun)
    return {
        "case": problem.name, "seconds": statistics.median(times), "compile_seconds": compile_s, "end_lo": lo.tolist(),
        "end_hi": hi.tolist(), "sets": "instants", "arithmetic": str(lo.dtype),
    }  # fmt: skip


def write(path: Path, outcome: dict[str, object]) -> None:
    """Write the fields of an outcome."""
    path.write_text(json.dumps(outcome), encoding="utf-8")
