"""Predict real flights open loop: the rotor-level model of `tubepilot train` beside physics only, naive and linear ridge.

The protocol is that of the NanoDrone benchmark (arXiv:2512.14450): from every sample 50 steps of 10 ms, rotor speeds given, mean error
norms, summed over the steps. All models are fitted on the same flights and compared on the same windows. The picture lies beside the
JSON file. With --leave-one-out each flight of --train is left out in turn; the file is written after each, and a run that was cut short
goes on from it; "models" in the file is then the mean over the flights. Exit status: 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError

from .atomic import write_file
from .flight import Flight
from .prediction import HORIZON, format_table
from .prediction_flights import STEP_S, fingerprint, usable_flights
from .prediction_record import OURS, Rows, document, figures, finished, not_lowest, plain_mean, renamed, sums_table
from .workstation import require

if TYPE_CHECKING:
    from .rotor_model import RotorSettings


Report = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench prediction`."""
    parser.add_argument("--train", type=Path, required=True, metavar="DIR", help="flights to learn from, with rotor speeds")
    parser.add_argument("--test", type=Path, metavar="DIR", help="folder of the flights to predict; none of them may be in --train")
    parser.add_argument("--leave-one-out", action="store_true", help="instead of --test: each flight of --train in turn")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="file of the figures; the picture lies beside it")
    parser.add_argument("--seed", type=int, default=0, help="seed of the ensemble")
    parser.add_argument("--window-every", type=int, default=1, help="predict from one sample in this many; 1 is the protocol")


def run(arguments: argparse.Namespace) -> int:
    """Learn, predict, print, write.

    Raises:
        InputError: an option, a folder or a flight cannot be used.
        MissingExtraError: a package of the workstation is missing.
    """
    require("bench prediction")
    _check(arguments)
    train = usable_flights(arguments.train, "--train")
    if arguments.leave_one_out:
        rows, title, following = _each_left_out(train, arguments)
    else:
        rows, title, following = _unseen(train, arguments)
    from .picture import horizon_picture

    picture = arguments.json.with_suffix(".png")
    write_file(picture, horizon_picture(rows, title, STEP_S))
    print(f"written: {arguments.json}, {picture}\nnext: {following}")
    return 0


def model_settings() -> RotorSettings:
    """Those of `tubepilot train`."""
    from .rotor_model import RECURRENT

    return RECURRENT


def _stages(settings: RotorSettings) -> int:
    """Stages of a comparison: both fits and the prediction."""
    from .rotor_learn import PLAIN
    from .rotor_model import stages

    return stages(PLAIN) + stages(settings) + 1


def compare(fit: Sequence[Flight], test: Sequence[Flight], settings: RotorSettings, seed: int, every: int, report: Report) -> Rows:
    """Fit the models on some flights and predict others.

    Args:
        fit: Flights to fit on.
        test: Flights to predict.
        settings: Of our model.
        seed: Seed of the ensemble.
        every: Predict from one sample in this many.
        report: Told the name of each stage.

    Returns:
        Errors by model, over all windows of the flights predicted.
    """
    from .rotor_learn import PLAIN, evaluate
    from .rotor_model import fit_rotor_model

    plain = fit_rotor_model(fit, PLAIN, seed, report)
    model = fit_rotor_model(fit, settings, seed, report)
    report("prediction")
    return renamed(evaluate(test, plain, model, every))


def leave_one_out(flights: Sequence[Flight], settings: RotorSettings, seed: int, every: int, path: Path) -> dict[str, Rows]:
    """Leave each flight out in turn, going on from what the file says.

    Args:
        flights: At least two flights of one vehicle.
        settings: Of our model.
        seed: Seed of the ensemble.
        every: Predict from one sample in this many.
        path: File that is written after each flight.

    Returns:
        Name of the flight left out to errors, in the order of `flights`.

    Raises:
        InputError: the file is of something else, or was written with other settings.
    """
    from .rotor_learn import PLAIN

    known: dict[str, Any] = {"seed": seed, "window_every": every, "model": asdict(settings), "ridge": asdict(PLAIN)}
    known["data"] = {flight.name: fingerprint(flight) for flight in flights}
    parts = finished(path, known)
    if parts:
        print(f"{path}: {len(parts)} of {len(flights)} flights are finished")
    left = [flight for flight in flights if flight.name not in parts]
    with tqdm(total=len(left) * _stages(settings), desc="leave one out", unit="stage", leave=False) as bar:
        for flight in left:
            others = [other for other in flights if other is not flight]
            parts[flight.name] = compare(others, [flight], settings, seed, every, _shown(bar, flight.name))
            write_file(path, document(parts, known, len(flights)))
            table = sums_table({flight.name: parts[flight.name]}).splitlines()
            tqdm.write("\n".join(table if flight is left[0] else table[1:]))
    return {flight.name: parts[flight.name] for flight in flights}


def _each_left_out(flights: list[Flight], arguments: argparse.Namespace) -> tuple[Rows, str, str]:
    """Errors, heading and advice of --leave-one-out."""
    if len(flights) < 2:
        raise InputError(f"--train {arguments.train} has 1 flight, --leave-one-out needs at least 2; add flights or give --test")
    parts = leave_one_out(flights, model_settings(), arguments.seed, arguments.window_every, arguments.json)
    mean = plain_mean(list(parts.values()))
    weak = {name: lost for name, rows in parts.items() if (lost := not_lowest(rows))}
    title = f"Open-loop prediction, each of {len(flights)} flights left out in turn"
    print(f"{title}; sums over {HORIZON} steps\n{sums_table({**parts, f'mean of {len(flights)}': mean})}")
    print(f"{OURS} is lowest in all four quantities on {len(flights) - len(weak)} of {len(flights)} flights")
    for name, lost in weak.items():
        print(f"  not on {name}: {'; '.join(lost)}")
    if weak:
        return mean, title, f"add flights to {arguments.train} that are like {', '.join(weak)}, and run again with a new --json"
    return mean, title, f"tubepilot bench prediction --train {arguments.train} --test DIR --json FILE, DIR with flights of another kind"


def _unseen(train: list[Flight], arguments: argparse.Namespace) -> tuple[Rows, str, str]:
    """Errors, heading and advice of --test."""
    test = usable_flights(arguments.test, "--test")
    seen = {fingerprint(flight): flight.name for flight in train}
    for flight in test:
        if (twin := seen.get(fingerprint(flight))) is not None:
            raise InputError(f"flight {flight.name} of --test is flight {twin} of --train; take it out of one of the two folders")
    settings = model_settings()
    with tqdm(total=_stages(settings), desc="rotor model", unit="stage", leave=False) as bar:
        rows = compare(train, test, settings, arguments.seed, arguments.window_every, _shown(bar, ""))
    title = f"Open-loop prediction of {len(test)} flights, learned from {len(train)} others ({rows[OURS].windows} windows)"
    print(format_table(rows, title))
    content = {
        "models": figures(rows),
        "seed": arguments.seed,
        "flights": {"train": len(train), "test": len(test)},
        "windows": rows[OURS].windows,
        "window_every": arguments.window_every,
    }
    write_file(arguments.json, json.dumps(content).encode())
    lost = not_lowest(rows)
    if lost:
        print(f"{OURS} is not lowest in {'; '.join(lost)}")
        return rows, title, f"add flights to {arguments.train} that are as lively as those of {arguments.test}, and run again"
    return rows, title, f"tubepilot train {arguments.train} --out DIR writes this kind of model"


def _shown(bar: tqdm, name: str) -> Report:
    """Stages as steps of a progress bar."""

    def report(stage: str) -> None:
        bar.set_postfix_str(", ".join(part for part in (name, stage) if part))
        bar.update()

    return report


def _check(arguments: argparse.Namespace) -> None:
    """Options that exclude each other, and values."""
    if arguments.leave_one_out == (arguments.test is not None):
        given = "both" if arguments.leave_one_out else "neither"
        raise InputError(f"--test DIR and --leave-one-out exclude each other, and one is needed; {given} was given")
    if arguments.window_every < 1:
        raise InputError(f"--window-every is {arguments.window_every}, it must be at least 1")
    if arguments.seed < 0:
        raise InputError(f"--seed is {arguments.seed}, it must be at least 0")
    path = arguments.json
    if not path.absolute().parent.is_dir() or path.is_dir() or path.suffix == ".png":
        raise InputError(f"--json {path}: a file in a folder that exists is expected, not ending in .png, which the picture does")
