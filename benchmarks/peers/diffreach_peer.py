"""Run DiffReach on one closed loop; a program for an interpreter with what DiffReach needs, not a part of tubepilot.

    PYTHON diffreach_peer.py PROBLEM.npz OUTCOME.json --source DIR [--substeps 10] [--repeats 5]

DIR is a checkout of github trustworthyrobotics/DiffReach (tried: 577b59f). PYTHON needs jax 0.8.1 and the fork of jax_verify that its
pyproject.toml names. Settings are those of its own example of the pendulum: remainder 0.1 at first, 10 refinements, window 1000.
Bounds are taken at the steps (its BOUND_TIME_STEP is on by default). A step whose remainder was not shown to contract is only a
warning of DiffReach, and a failure here. It bounds no rounding.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from peer_problem import Problem
from peer_program import ACTIVATIONS, PLANTS, Bounds, measure, options, problem_from, write

REMAINDER = 0.1


def bounds_of(problem: Problem, substeps: int) -> Bounds:
    """The box at the end, infinite unless the remainder of every step contracted, by DiffReach's class for sampled controllers."""
    reachability = importlib.import_module("src.reachability")
    n, m = len(problem.lo), len(problem.biases[-1])
    plant = PLANTS[problem.name]

    def controller(x: jax.Array) -> jax.Array:
        for weight, bias, activation in zip(problem.weights, problem.biases, problem.activations, strict=True):
            x = ACTIVATIONS[activation](x @ jnp.asarray(weight).T + jnp.asarray(bias))
        return x

    def driven(x: jax.Array) -> jax.Array:
        parts = [x[i] for i in range(n + m)]
        return jnp.stack([*plant(parts[:n], parts[n:]), *(jnp.zeros_like(x[0]) for _ in range(m))], axis=0)

    loop = reachability.CT_Ctl_Reach(
        rhs=driven, state_dim=n, action_dim=m, nn_dyn=False, controller=controller, n_steps_per_control=substeps,
        step_size=problem.period_s / substeps, init_remainder=jnp.array([REMAINDER]), frr_rounds=10, frr_stop_ratio=0.95,
        sr_window_size=1000, reference_dim=0,
    )  # fmt: skip

    def bounds(lo: jax.Array, hi: jax.Array) -> tuple[jax.Array, jax.Array]:
        none = jnp.zeros(m)
        given = (jnp.concatenate([lo, none])[None], jnp.concatenate([hi, none])[None])
        _, low, high, _, contracted = loop.verify(*given, problem.steps * substeps)
        valid = jnp.all(contracted)
        return jnp.where(valid, low[0, -1, :n], -jnp.inf), jnp.where(valid, high[0, -1, :n], jnp.inf)

    return bounds


def main() -> None:
    """Run."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    parser = options(__doc__)
    parser.add_argument("--source", type=Path, required=True, help="checkout of DiffReach")
    chosen = parser.parse_args()
    sys.path.insert(0, str(chosen.source))
    problem = problem_from(chosen.problem)
    names = {"tool": "DiffReach", "feedback": "sampled", "rounding": "not bounded"}
    write(chosen.outcome, measure(bounds_of(problem, chosen.substeps), problem, chosen.repeats) | names)


if __name__ == "__main__":
    main()
