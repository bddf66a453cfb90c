"""Run the benchmarks of closed loops with neural networks through `tubepilot reach`, each in a process of its own.

The specifications lie in benchmarks/specs of the repository; how each is analysed stands in its table [analysis]. The networks come
from the ARCH-COMP competition and are not part of this repository. QUAD_scale asks for the largest part of its initial box, in steps
of 0.05 about the centre, that a single tube verifies; its figures are those at that scale. Of width/sampling the table shows the
largest of all states. The file is written after every case; cases that are not run now keep what the file says of them. Exit status:
0 whatever the verdicts are, 1 a case failed to run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError

from .atomic import write_file
from .workstation import require

CASES = (
    "SinglePendulum", "TORA_tanh", "TORA_sigmoid", "TORA_sigmoid11", "TORA_remain", "Unicycle", "ACC", "AttitudeControl", "NAV_robust",
    "NAV_standard", "QUAD", "QUAD_scale", "DoublePendulum_less", "DoublePendulum_more", "Airplane", "CartPole", "Docking",
)  # fmt: skip
SCALED = "QUAD_scale"
PARTS = 20  # scales are multiples of 1 / PARTS
_HEADER = f"{'case':<20} {'verdict':<10} {'run [s]':>9} {'compile [s]':>11} {'peak [MB]':>9} {'width/sampling':>14} {'step [s]':>9}"

Outcome = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench reach`."""
    parser.add_argument("--networks", type=Path, required=True, metavar="DIR", help="folder of the networks, one folder per problem")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="file to write the figures to")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help="cases to run")
    parser.add_argument("--specs", type=Path, metavar="DIR", help="folder of the specifications; if not given, that of the repository")
    parser.add_argument("--boxes", type=int, help="most tubes per case")
    parser.add_argument("--seconds", type=float, default=600.0, help="no new batch of boxes starts after this time [s]")
    parser.add_argument("--samples", type=int, default=1000, help="simulated trajectories that the tube is compared with")


def run(arguments: argparse.Namespace) -> int:
    """Run, print, write.

    Raises:
        InputError: a folder or file cannot be used.
        MissingExtraError: a package of the workstation is missing.
    """
    require("bench reach")
    specs = _specs(arguments.specs)
    if not arguments.networks.is_dir():
        raise InputError(f"--networks {arguments.networks} is no folder; give the one that holds the networks of the benchmarks")
    if not arguments.json.absolute().parent.is_dir() or arguments.json.is_dir():
        raise InputError(f"--json {arguments.json}: a file in a folder that exists is expected")
    outcomes = _earlier(arguments.json)
    failed = False
    print(_HEADER)
    with tqdm(arguments.case, desc="cases", unit="case", leave=False) as bar:
        for name in bar:
            bar.set_postfix_str(name)
            single = _caller(specs / f"{name}.toml", arguments)
            outcome = largest_scale(single) if name == SCALED else single([])
            outcome["case"] = name
            outcomes[name] = outcome
            failed |= outcome["verdict"] == "error"
            write_file(arguments.json, json.dumps({"cases": [outcomes[c] for c in CASES if c in outcomes]}).encode())
            tqdm.write(_row(outcome))
    print(f"written: {arguments.json}")
    return int(failed)


def largest_scale(single: Callable[[list[str]], Outcome], parts: int = PARTS) -> Outcome:
    """Bisect for the largest multiple of 1 / parts, up to 1, at which one tube verifies the specification.

    Args:
        single: runs the case with further options.
        parts: number of scales.

    Returns:
        What was found at that scale, with the scale; scale 0.0 and what was found at 1 / parts if not even that is verified.
    """
    verified, refuted = 0, parts + 1
    best: Outcome | None = None
    latest: Outcome = {}
    while refuted - verified > 1:
        middle = (verified + refuted) // 2
        latest = single(["--scale", repr(middle / parts), "--boxes", "1", "--no-attack"])
        if latest["verdict"] == "error":
            return latest
        if latest["verdict"] == "verified":
            verified, best = middle, latest
        else:
            refuted = middle
    return (best if best is not None else latest) | {"scale": verified / parts}


def _specs(given: Path | None) -> Path:
    """Folder of the specifications."""
    folder = Path(__file__).resolve().parent.parent / "benchmarks" / "specs" if given is None else given
    if not folder.is_dir():
        raise InputError(f"the benchmarks are not in {folder}; give the folder benchmarks/specs of the repository by --specs")
    return folder


def _earlier(path: Path) -> dict[str, Outcome]:
    """What an earlier run left in the file, by case."""
    if not path.exists():
        return {}
    try:
        return {outcome["case"]: outcome for outcome in json.loads(path.read_text(encoding="utf-8"))["cases"]}
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} was not written by this bench ({error!r}); delete it or name another file") from error


def _caller(spec: Path, arguments: argparse.Namespace) -> Callable[[list[str]], Outcome]:
    """Runs `tubepilot reach` on a specification in a fresh process."""

    def single(options: list[str]) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="tubepilot-bench-") as scratch:
            written = Path(scratch) / "outcome.json"
            command = [sys.executable, "-m", "tubepilot.runtime.cli", "reach", str(spec), "--json", str(written)]
            done = subprocess.run([*command, *_passed(arguments), *options], capture_output=True, text=True, check=False)
            if done.returncode in (0, 1) and written.exists():
                return json.loads(written.read_text(encoding="utf-8"))
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing was said"]
        return {"case": spec.stem, "verdict": "error", "reason": f"exit status {done.returncode}: {said[-1]}"}

    return single


def _passed(arguments: argparse.Namespace) -> Iterator[str]:
    """Options that every case gets."""
    for name in ("networks", "seconds", "samples", "boxes"):
        value = getattr(arguments, name)
        if value is not None:
            yield from (f"--{name}", str(value))


def _row(outcome: Outcome) -> str:
    """One line of the table; of the widths the largest."""
    if outcome["verdict"] == "error":
        return f"{outcome['case']:<20} error      {outcome['reason']}"
    ratios = [r for r in outcome["width_over_sampling"] if r is not None]
    scale = f"  scale {outcome['scale']:g}" if "scale" in outcome else ""
    reason = f"  {outcome['reason']}" if outcome["reason"] else ""
    width = f"{max(ratios):.4g}" if ratios else "-"
    return (
        f"{outcome['case']:<20} {outcome['verdict']:<10} {outcome['seconds']:>9.3f} {outcome['compile_seconds']:>11.1f} "
        f"{outcome['peak_mb']:>9.0f} {width:>14} {outcome['step']:>9.4g}{scale}{reason}"
    )
