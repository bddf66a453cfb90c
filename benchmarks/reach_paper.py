"""Tubes of the many-state loops of arXiv:2605.25346, Tables II and III: time, growth with dimension, width over sampling.

    python benchmarks/reach_paper.py [--systems 1 2 6 12 24 arm] [--samples 2000] [--json FILE]

A number is a swarm of that many quadrotors. "expansion" is the mean over the position coordinates (the arm: x and y of the last tip) of
the tube's width at the end over the width of sampled trajectories, half of which start at corners of the initial box.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tubepilot.train.reachability.closed_loop import Settings, middle_and_radius, prepare
from tubepilot.train.reachability.compiling import compiled
from tubepilot.train.reachability.examples import JOINTS, arm, swarm
from tubepilot.train.reachability.sampling import sample


def measure(system: str, samples: int, settings: Settings, repeats: int) -> dict[str, object]:
    """Compile, run and compare one system."""
    spec = arm() if system == "arm" else swarm(int(system))
    n = len(spec.states)
    shown = [3 * JOINTS - 1, 4 * JOINTS - 1] if system == "arm" else [12 * i + j for i in range(int(system)) for j in range(3)]
    begun = time.perf_counter()
    analysis = prepare(spec, settings)
    traced = time.perf_counter()
    given = (*middle_and_radius(spec.initial_box), jnp.zeros(0), jnp.zeros(0))
    waiting = compiled(analysis.tube).lower(None, *given)
    staged = time.perf_counter()
    call = waiting.compile()
    ready = time.perf_counter()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        tube = jax.block_until_ready(call(None, *given))
        times.append(time.perf_counter() - start)
    widths = np.asarray(tube.end_hi - tube.end_lo)[-1, -1]
    start = time.perf_counter()
    spread = sample(spec, samples).spread() if samples else np.full(n, np.nan)
    sampling_s = time.perf_counter() - start
    return {
        "system": spec.name, "states": n, "inputs": len(spec.inputs), "seconds": min(times), "trace_s": traced - begun,
        "lower_s": staged - traced, "compile_s": ready - staged, "sampling_s": sampling_s, "valid": bool(np.all(tube.contracted)),
        "expansion": float(np.mean(widths[shown] / spread[shown])), "widths": widths[shown].tolist()[:3],
        "spread": spread[shown].tolist()[:3],
    }  # fmt: skip


def main() -> None:
    """Print a table as it grows, then the exponent of the time in the dimension."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="+", default=["1", "2", "6", "12", "24", "arm"])
    parser.add_argument("--samples", type=int, default=2000, help="trajectories; 0 for none")
    parser.add_argument("--order", type=int, default=2)
    parser.add_argument("--substeps", type=int, default=1)
    parser.add_argument("--degree", type=int, default=1)
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the fastest counts; each is of the compiled program")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    settings = Settings(chosen.order, chosen.substeps, chosen.degree, chosen.window)
    columns = ("system", "states", "seconds", "trace_s", "lower_s", "compile_s", "sampling_s", "valid", "expansion")
    print("  ".join(f"{c:>12}" for c in columns))
    rows = []
    with jax.enable_x64(True):
        for system in chosen.systems:
            rows.append(measure(system, chosen.samples, settings, max(1, chosen.repeats)))
            print(
                "  ".join(f"{rows[-1][c]:>12.4g}" if isinstance(rows[-1][c], float) else f"{rows[-1][c]!s:>12}" for c in columns),
                flush=True,
            )
    swarms = [r for r in rows if r["system"] != "arm"]
    exponent = None
    if len(swarms) > 1:
        exponent = float(np.polyfit(np.log([r["states"] for r in swarms]), np.log([r["seconds"] for r in swarms]), 1)[0])
        lost = sum(not r["valid"] for r in swarms)
        print(f"seconds grow with the number of states to the power {exponent:.2f}; {lost} of {len(swarms)} tubes were lost on the way")
    if chosen.json:
        chosen.json.write_text(json.dumps({"settings": str(settings), "exponent": exponent, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
