"""`tubepilot reach SPEC.toml`: decide a specification, print the verdict, write JSON and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tubepilot.firmware_bridge.errors import InputError

from .workstation import require

if TYPE_CHECKING:
    from .reachability.closed_loop import Settings
    from .reachability.reach import Limits, Result
    from .reachability.specification import Specification

SAMPLES = 1000
DRAWN = 100
SUFFIXES = (".png", ".html")
_LEAST = {"order": 1, "substeps": 1, "window": 1, "boxes": 1, "batch": 1, "seconds": 0}


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Declare the options of a specification; those of the engine are chosen by it unless given."""
    group.add_argument("--networks", type=Path, metavar="DIR", help="folder that the network in the specification is relative to")
    group.add_argument("--network", type=Path, metavar="FILE", help="network (.onnx or text) instead of that in the specification")
    group.add_argument("--scale", type=float, default=1.0, help="shrinks the initial box about its centre [ratio, 0 to 1]")
    group.add_argument("--order", type=int, help="highest power of time in one step")
    group.add_argument("--substeps", type=int, help="integration steps per control period")
    group.add_argument("--degree", type=int, choices=(1, 2, 3), help="degree of the Taylor models in the initial state")
    group.add_argument("--window", type=int, help="periods for which errors of the control law stay symbols of their own")
    group.add_argument("--boxes", type=int, help="most tubes that are computed")
    group.add_argument("--seconds", type=float, help="no new batch of boxes starts after this time [s]")
    group.add_argument("--batch", type=int, help="boxes that are computed together")
    group.add_argument("--no-attack", action="store_true", help="search no counterexample")
    group.add_argument("--resume", type=Path, metavar="FILE", help="keep finished boxes in this file, and go on from it if it exists")
    group.add_argument("--float", type=int, choices=(64,), default=64, help="bits of the arithmetic; every rounding is bounded")


def run(args: argparse.Namespace) -> int:
    """Decide, print, write.

    Returns:
        0 verified, 1 falsified or unknown.

    Raises:
        InputError: an option, the specification or the network cannot be used.
        MissingExtraError: a package of the workstation is missing.
    """
    require("reach")
    _check(args)
    import json

    import jax
    from tqdm import tqdm

    from .atomic import write_file
    from .reachability.reach import automatic, reach
    from .reachability.report import guess_cost, lines, table
    from .reachability.sampling import sample
    from .reachability.specification_file import load_specification
    from .reachability.verdict import Verdict

    spec = load_specification(args.path, args.networks, args.network, args.scale)
    with jax.enable_x64(True):
        settings = _settings(args, automatic(spec))
    compile_s, run_s = guess_cost(spec, settings)
    print(
        f"{spec.name}: {len(spec.states)} states, {spec.steps} periods of {settings.substeps} steps; "
        f"guess: {compile_s:.0f} s of compiling, then {run_s:.2g} s per box"
    )
    form = "{desc} |{bar}| {percentage:3.0f} % of the initial box decided [{elapsed}]{postfix}"
    with tqdm(total=1.0, desc="reach", bar_format=form) as bar:

        def say(share: float, text: str) -> None:
            bar.n = min(max(share, 0.0), 1.0)
            bar.set_postfix_str(text)

        result = reach(spec, settings, _limits(args), args.resume, say)
        say(1.0 if result.verdict is Verdict.VERIFIED else bar.n, "")
    count = SAMPLES if args.samples is None else args.samples
    sampled = sample(spec, count, args.seed) if count else None
    for line in lines(spec, result, sampled):
        print(line)
    written = []
    if args.json is not None:
        write_file(args.json, json.dumps(table(spec, result, sampled), allow_nan=False).encode())
        written.append(str(args.json))
    if args.plot is not None:
        from .reachability.picture import draw

        enough = sampled if sampled is not None and len(sampled.states) >= DRAWN else sample(spec, DRAWN, args.seed)
        draw(spec, result, enough, args.plot)
        written.append(str(args.plot))
    print(f"{'written: ' + ', '.join(written) if written else 'nothing written (--json, --plot)'}; next: {_advice(spec, result, args)}")
    return 0 if result.verdict is Verdict.VERIFIED else 1


def _check(args: argparse.Namespace) -> None:
    """Refuse what would fail only after a long run."""
    for name, least in _LEAST.items():
        value = getattr(args, name)
        if value is not None and not value >= least:
            raise InputError(f"--{name} is {value}; it must be at least {least}")
    if args.samples is not None and args.samples < 0:
        raise InputError(f"--samples is {args.samples}; it must be at least 0")
    if args.plot is not None and args.plot.suffix not in SUFFIXES:
        raise InputError(f"--plot {args.plot}: the suffix must be one of {', '.join(SUFFIXES)}")
    for name in ("json", "plot", "resume"):
        path = getattr(args, name)
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise InputError(f"--{name} {path}: a file in a folder that exists is expected; make the folder {path.parent} first")


def _settings(args: argparse.Namespace, chosen: Settings) -> Settings:
    from dataclasses import replace

    given = {name: getattr(args, name) for name in ("order", "substeps", "degree", "window")}
    return replace(chosen, **{name: value for name, value in given.items() if value is not None})


def _limits(args: argparse.Namespace) -> Limits:
    from .reachability.reach import Limits

    given = {name: getattr(args, name) for name in ("boxes", "seconds", "batch")}
    return Limits(**{name: value for name, value in given.items() if value is not None}, attack=not args.no_attack)


def _advice(spec: Specification, result: Result, args: argparse.Namespace) -> str:
    """What to do with this verdict."""
    if result.verdict.value == "verified":
        return "docs/reachability.md says what a verified specification means"
    if result.verdict.value == "falsified":
        return "start from the counterexample: change the controller, the initial box (--scale) or the property"
    if len(result.unproven) and not result.tubes > 1:
        return "allow more boxes (--boxes), take shorter steps (--substeps), or a smaller initial box (--scale)"
    keep = "" if args.resume else ", and --resume to keep what is proven"
    return f"go on with more boxes or time (--boxes, --seconds{keep}), or --substeps"
