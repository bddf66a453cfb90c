"""Fly tasks under several controllers: gradient planner, policy, MPPI and CEM on one model, and the simulator's own controller.

Every flight has its seed, which draws wind, vehicle and start; all controllers fly the same seeds. The score of a flight is its mean
reward, in [0, 1]; put together by interquartile means with stratified bootstrap intervals. With --ablation the variants of the gradient
planner fly instead. The file is written after each flight, and a run that was cut short goes on from it. The picture lies beside the
JSON file. Exit status: 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError, TubepilotError

from .atomic import write_file
from .workstation import PACKAGES, require

if TYPE_CHECKING:
    from .control_record import FlightRow

SIMULATORS = ("rotorpy", "crazyflow", "model")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench control`."""
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="file of the figures; the picture lies beside it")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR",
        help="what `tubepilot train` wrote; if not given, one is learnt first (minutes) into FILE.learned, or taken from there",
    )
    parser.add_argument("--task", nargs="+", metavar="TASK", help="shipped tasks, or TOML files; all shipped ones if not given")
    parser.add_argument("--controller", nargs="+", metavar="NAME", help="all if not given; the first is compared with the others")
    parser.add_argument("--ablation", action="store_true", help="fly variants of the gradient planner instead")
    parser.add_argument("--seeds", type=int, default=3, help="flights per task and controller")
    parser.add_argument(
        "--simulator", choices=SIMULATORS, default="rotorpy",
        help="what is flown, and learnt from if no checkpoint is given; model: the model learnt from rotorpy",
    )  # fmt: skip
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="flights at a time; 1 for clean decision times")


def run(arguments: argparse.Namespace) -> int:
    """Fly, print, write.

    Raises:
        InputError: an option, the checkpoint or a task cannot be used.
        MissingExtraError: a package is missing.
    """
    require("bench control", (*PACKAGES, "rotorpy"))
    from .control_picture import score_picture
    from .control_record import document, finished, summary, tables

    _check(arguments)
    if arguments.checkpoint is None:
        from .control_checkpoint import learned_checkpoint

        folder = arguments.json.with_suffix(".learned")
        learned = "rotorpy" if arguments.simulator == "model" else arguments.simulator
        arguments.checkpoint = learned_checkpoint(folder, min(arguments.processes, os.cpu_count() or 1), simulator=learned)
    names, controllers = _chosen(arguments)
    settings = _settings(arguments, names, controllers)
    path: Path = arguments.json
    rows, settings = finished(path, settings)
    have = {row.key for row in rows}
    jobs = [(t, c, s) for t in names for c in controllers for s in range(arguments.seeds) if (names[t], c, s) not in have]
    if rows:
        print(f"{path}: {len(rows)} flights are finished, {len(jobs)} to go")
    where = (arguments.checkpoint, arguments.simulator)
    pool = ProcessPoolExecutor(min(arguments.processes, max(1, len(jobs))), mp_context=get_context("spawn"))
    try:
        # Flights of one controller next to each other: a worker compiles each controller once.
        waiting = {pool.submit(_fly, *where, *job): job for job in sorted(jobs, key=lambda job: controllers.index(job[1]))}
        with tqdm(total=len(jobs), desc="flights", unit="flight") as bar:
            for future in as_completed(waiting):
                row = future.result()
                rows.append(row)
                write_file(path, document(_sorted(rows, names, controllers), settings))
                bar.set_postfix_str(f"{row.task} {row.controller} {row.score:.2f}")
                bar.update()
    except BrokenProcessPool as error:
        raise TubepilotError(f"a flight's process died ({error}); run again to go on, with fewer --processes if need be") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    rows = _sorted(rows, names, controllers)
    write_file(path, document(rows, settings))
    print(tables(rows))
    picture = path.with_suffix(".png")
    following = "" if arguments.ablation else "\nnext: tubepilot bench control --ablation --json FILE"
    title = f"{len(names)} tasks, {arguments.seeds} seeds, simulator {arguments.simulator}"
    write_file(picture, score_picture(summary(rows), title))
    print(f"written: {path}, {picture}{following}")
    return 0


def _sorted(rows: list[FlightRow], names: dict[str, str], controllers: list[str]) -> list[FlightRow]:
    """Rows in the order of tasks, controllers and seeds asked for; those of earlier runs come after."""
    tasks = list(names.values())

    def place(row: FlightRow) -> tuple[int, str, int, str, int]:
        task = tasks.index(row.task) if row.task in tasks else len(tasks)
        controller = controllers.index(row.controller) if row.controller in controllers else len(controllers)
        return controller, row.controller, task, row.task, row.seed

    return sorted(rows, key=place)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options outside what can be run, before anything takes time."""
    from .control_controllers import CONTROLLERS, EXTRA, VARIANTS
    from .task_definition import load_task

    if not 1 <= arguments.seeds <= 1000:
        raise InputError(f"--seeds is {arguments.seeds}; it must be 1 to 1000")
    if arguments.processes < 1:
        raise InputError(f"--processes is {arguments.processes}; it must be at least 1")
    path = arguments.json
    if not path.absolute().parent.is_dir() or path.is_dir() or path.suffix == ".png":
        raise InputError(f"--json {path}: a file in a folder that exists is expected, not ending in .png, which the picture does")
    if arguments.checkpoint is not None and not arguments.checkpoint.is_dir():
        raise InputError(f"--checkpoint {arguments.checkpoint} is no folder; `make demo` makes demo/checkpoint")
    known = VARIANTS if arguments.ablation else (*CONTROLLERS, *EXTRA)
    for name in arguments.controller or ():
        if name not in known:
            raise InputError(f"--controller {name!r} is unknown; there are: {', '.join(known)}")
    for task in arguments.task or ():
        load_task(task)


def _chosen(arguments: argparse.Namespace) -> tuple[dict[str, str], list[str]]:
    """Tasks, what was asked for to the task's name, and controllers.

    Raises:
        InputError: the checkpoint flies no rates.
    """
    from .checkpoint import load
    from .control_controllers import CONTROLLERS, VARIANTS
    from .task_definition import TASKS, load_task

    checkpoint = load(arguments.checkpoint)
    if checkpoint.settings.action_level != "rates":
        raise InputError(f"--checkpoint {arguments.checkpoint} is of action level {checkpoint.settings.action_level}; rates are flown")
    controllers = list(dict.fromkeys(arguments.controller or (VARIANTS if arguments.ablation else CONTROLLERS)))
    return {task: load_task(task).name for task in dict.fromkeys(arguments.task or TASKS)}, controllers


def _settings(arguments: argparse.Namespace, names: dict[str, str], controllers: list[str]) -> dict[str, Any]:
    """What the figures depend on: a run with others does not go on from the file."""
    from .checkpoint import load
    from .control_controllers import settings_of
    from .task_definition import task_digest

    checkpoint = load(arguments.checkpoint)
    digest = hashlib.sha256((arguments.checkpoint / "checkpoint.npz").read_bytes()).hexdigest()[:16]
    settings: dict[str, Any] = {"checkpoint": digest, "simulator": arguments.simulator}
    settings |= {"machine": platform.machine(), "cores": os.cpu_count()}
    for asked, name in names.items():
        settings[f"task {name}"] = task_digest(asked)
    for name in controllers:
        settings[f"controller {name}"] = repr(settings_of(name, checkpoint))
    return settings


@cache
def _loaded(checkpoint: Path) -> Any:
    from .checkpoint import load

    return load(checkpoint)


@cache
def _controller(checkpoint: Path, name: str) -> Any:
    from .control_controllers import build

    return build(name, _loaded(checkpoint))


def _fly(checkpoint: Path, simulator: str, task: str, controller: str, seed: int) -> FlightRow:
    """One flight, in a process of its own."""
    from .control_flight import fly
    from .task_definition import load_task
    from .task_flight import TaskFlight
    from .task_simulators import make_vehicle

    flight = TaskFlight(load_task(task), seed, make_vehicle(simulator, _loaded(checkpoint)))
    return fly(flight, _controller(checkpoint, controller), seed).row
