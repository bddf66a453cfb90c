"""The engine beside immrax and DiffReach on the same closed loops, on the same machine, one after the other.

    python benchmarks/peers/compare.py --networks DIR --immrax-python PYTHON [--case TORA_tanh ...] [--json FILE]
        [--diffreach CHECKOUT --diffreach-python PYTHON]

PYTHON is an interpreter of an environment of its own with `pip install immrax`; DIR holds the networks, see docs/reachability.md.
What DiffReach needs stands in diffreach_peer.py. Ours is `tubepilot reach`, which also proves the properties and bounds every rounding.
What to keep in mind when reading the table:

- immrax itself analyses continuous feedback: another loop than the specified one, whose input is held over a period. The rows "sampled"
  are the specified loop, put together from immrax's parts by immrax_peer.py.
- The peers give sets at the steps of their solvers, ours are tubes at all times. They bound no rounding, immrax not its solver's error.
- "escaped": simulated trajectories of the specified loop that end outside of the set.
- Widths are those of the box around the last set, one for each state.
- Seconds are medians. Ours are of the first call after compiling, in processes of their own; the peers' of calls after a first one.

Exit status: 0, or 1 if a tool failed on a case; the table then says why.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
from peer_outcome import Outcome, table
from peer_problem import Numbers, write_problem
from problem_of import problem_of

from tubepilot.firmware_bridge.errors import InputError, TubepilotError
from tubepilot.train.reachability.sampling import sample
from tubepilot.train.reachability.specification_file import load_specification

HERE = Path(__file__).resolve().parent
SPECS = HERE.parent / "specs"
CASES = ("SinglePendulum", "TORA_tanh", "TORA_sigmoid")
OURS = "tubepilot"
DIFFREACH_STEP_S = 0.01  # of its example of the pendulum
_NOISE = 1e-9  # of the simulation


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """Options, checked.

    Raises:
        InputError: A folder, a file or a number cannot be used.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=Path, required=True, metavar="DIR", help="folder of the networks, one folder per problem")
    parser.add_argument("--immrax-python", type=Path, required=True, metavar="PYTHON", help="interpreter that has immrax")
    parser.add_argument("--diffreach", type=Path, metavar="DIR", help="checkout of DiffReach; without it, it is not run")
    parser.add_argument("--diffreach-python", type=Path, metavar="PYTHON", help="interpreter that has what DiffReach needs")
    parser.add_argument("--case", nargs="+", default=list(CASES), metavar="NAME", help=f"of {', '.join(CASES)}")
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours, timed runs of a peer; the median counts")
    parser.add_argument("--substeps", type=int, default=10, help="steps of immrax's solver per period")
    parser.add_argument("--samples", type=int, default=1000, help="simulated trajectories that the sets are compared with")
    parser.add_argument("--timeout-s", type=float, default=600.0, help="longest run of one tool on one case [s]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    chosen = parser.parse_args(words)
    if not chosen.networks.is_dir():
        raise InputError(f"--networks {chosen.networks} is no folder; give the one that holds the networks of the benchmarks")
    if not chosen.immrax_python.is_file():
        raise InputError(f"--immrax-python {chosen.immrax_python} is no file; give bin/python of an environment with immrax")
    if (chosen.diffreach is None) != (chosen.diffreach_python is None):
        raise InputError("--diffreach and --diffreach-python are needed together; give both or none")
    if chosen.diffreach is not None and not (chosen.diffreach / "src" / "reachability.py").is_file():
        raise InputError(f"--diffreach {chosen.diffreach} has no src/reachability.py; give a checkout of DiffReach")
    if chosen.diffreach_python is not None and not chosen.diffreach_python.is_file():
        raise InputError(f"--diffreach-python {chosen.diffreach_python} is no file; give bin/python of its environment")
    for name in chosen.case:
        if name not in CASES:
            raise InputError(f"--case {name} is unknown; known are {', '.join(CASES)}")
    for option in ("repeats", "substeps", "samples", "timeout_s"):
        if not getattr(chosen, option) > 0:
            raise InputError(f"--{option.replace('_', '-')} {getattr(chosen, option)}: more than 0 is needed")
    if chosen.json is not None and (chosen.json.is_dir() or not chosen.json.absolute().parent.is_dir()):
        raise InputError(f"--json {chosen.json}: a file in a folder that exists is expected")
    return chosen


def called(command: list[str], written: Path, timeout_s: float) -> tuple[object, str]:
    """What a program wrote as JSON, and "", or None and why there is nothing."""
    environment = os.environ | {"JAX_TRACEBACK_FILTERING": "off"}  # else the last line of an error is a remark about that
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error).splitlines()[0]
    if written.exists():
        return json.loads(written.read_text(encoding="utf-8")), ""
    said = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing was said"]
    return None, f"exit status {done.returncode}: {said[-1]}"


def ours(name: str, chosen: argparse.Namespace, scratch: Path) -> Outcome:
    """`tubepilot reach`, as often as asked, each in a process of its own."""
    row = Outcome(name, OURS, "sampled", sets="tube", rounding="bounded")
    found = []
    for i in range(chosen.repeats):
        written = scratch / f"{name}_{i}.json"
        command = [sys.executable, "-m", "tubepilot.runtime.cli", "reach", str(SPECS / f"{name}.toml"), "--json", str(written)]
        outcome, failure = called([*command, "--networks", str(chosen.networks)], written, chosen.timeout_s)
        if not isinstance(outcome, dict):
            return replace(row, failure=failure)
        if outcome["verdict"] != "verified":
            return replace(row, failure=f"{outcome['verdict']}: {outcome['reason']}")
        found.append(outcome)
    return replace(
        row,
        seconds=statistics.median(outcome["seconds"] for outcome in found),
        compile_seconds=statistics.median(outcome["compile_seconds"] for outcome in found),
        end_lo=tuple(lo for lo, _ in found[0]["end_box"]),
        end_hi=tuple(hi for _, hi in found[0]["end_box"]),
        arithmetic=found[0]["float"],
    )


def peers(problem_file: Path, chosen: argparse.Namespace, period_s: float) -> Iterator[Outcome]:
    """Every peer, each in its own interpreter."""
    for feedback in ("sampled", "continuous"):
        yield peer("immrax", chosen.immrax_python, problem_file, chosen, feedback, "--substeps", str(chosen.substeps))
    if chosen.diffreach is not None:
        more = ("--source", str(chosen.diffreach.resolve()), "--substeps", str(max(1, round(period_s / DIFFREACH_STEP_S))))
        yield peer("diffreach", chosen.diffreach_python, problem_file, chosen, "sampled", *more)


def peer(tool: str, python: Path, problem_file: Path, chosen: argparse.Namespace, feedback: str, *more: str) -> Outcome:
    """The program of one peer, `{tool}_peer.py`."""
    written = problem_file.with_suffix(f".{tool}.{feedback}.json")
    command = [str(python), str(HERE / f"{tool}_peer.py"), str(problem_file), str(written), "--feedback", feedback, *more]
    row, failure = called([*command, "--repeats", str(chosen.repeats)], written, chosen.timeout_s)
    if not isinstance(row, dict):
        return Outcome(problem_file.stem, tool, feedback, failure=failure)
    outcome = Outcome(**(row | {"end_lo": tuple(row["end_lo"]), "end_hi": tuple(row["end_hi"])}))
    if np.isfinite([*outcome.end_lo, *outcome.end_hi]).all():
        return outcome
    return replace(outcome, end_lo=(), end_hi=(), failure="no finite set")


def compared(outcome: Outcome, ends: Numbers) -> Outcome:
    """With the number of trajectories that end outside; `ends` has shape (count, n)."""
    if outcome.failure:
        return outcome
    outside = (ends < np.array(outcome.end_lo) - _NOISE) | (ends > np.array(outcome.end_hi) + _NOISE)
    return replace(outcome, escaped=int(outside.any(axis=1).sum()), samples=len(ends))


def run(chosen: argparse.Namespace) -> list[Outcome]:
    """All tools on all cases, one after the other."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="tubepilot-peers-") as folder:
        for name in chosen.case:
            with jax.enable_x64(True):
                spec = load_specification(SPECS / f"{name}.toml", networks=chosen.networks)
                ends = sample(spec, chosen.samples).states[:, -1]
            problem_file = Path(folder) / f"{name}.npz"
            write_problem(problem_file, problem_of(spec))
            rows = [ours(name, chosen, Path(folder)), *peers(problem_file, chosen, spec.period_s)]
            outcomes += [compared(row, ends) for row in rows]
            print(f"{name}: {sum(not row.failure for row in rows)} of {len(rows)} done", file=sys.stderr, flush=True)
            if chosen.json is not None:
                chosen.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1), encoding="utf-8")
    return outcomes


def main() -> int:
    """Run, print, write."""
    try:
        outcomes = run(parsed())
    except TubepilotError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(outcomes))
    return int(any(outcome.failure for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
