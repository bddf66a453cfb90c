"""Fly under a payload and a wind that training never saw: does the planner fly on, and does the ensemble's disagreement rise?

Without --checkpoint a model is learnt first from flights in wind of 0 to 2 m/s, without payload. The gradient planner then flies
one task three ways: as in training, with more mass, with more wind, every flight with the same seeds. The disagreement is that of
the plans flown; that of the second before each flight's first takes no part. The picture lies beside the JSON file. Exit status:
0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError

from .atomic import write_file
from .workstation import PACKAGES, require

if TYPE_CHECKING:
    from .control_flight import Flown
    from .task_definition import TaskDefinition

TRAINING_WIND_M_S = (0.0, 1.0, 2.0, 1.5, 0.5, 2.0, 1.0, 2.0)
"""Mean wind of the flights learnt from [m/s], gusts of 0.5 m/s on top; half of what is unseen."""

AS_TRAINED, PAYLOAD, WIND = "as in training", "payload", "wind"
SETTLE_S = 1.0
"""Start of a flight that is left out [s]: the observer needs four of its time constants to know anything."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench unseen`."""
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="file of the figures; the picture lies beside it")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR",
        help="learnt without payload and with less wind; if not given, one is learnt into FILE.learned, or taken from there",
    )
    parser.add_argument("--task", default="hover_in_wind", metavar="TASK", help="shipped task or TOML file; mass and wind are replaced")
    parser.add_argument("--mass-factor", type=float, default=1.3, help="mass with the payload over nominal")
    parser.add_argument("--wind-m-s", type=float, default=4.0, help="mean wind that training never saw [m/s]")
    parser.add_argument("--seeds", type=int, default=5, help="flights per condition")


def conditions(task: TaskDefinition, mass_factor: float, wind_m_s: float) -> dict[str, TaskDefinition]:
    """The task three ways: in a draught of 0.5 m/s without payload, with more mass, with more wind; gusts of 0.3 m/s in all.

    The vehicle is the nominal one that training saw: what a tired battery does to the thrust would be one more thing unseen.
    """
    nominal = replace(task.randomisation, mass=(1.0, 1.0), thrust=(1.0, 1.0), motor_lag=(1.0, 1.0), drag=(1.0, 1.0))
    calm = replace(task, wind=replace(task.wind, speed_m_s=0.5, gust_m_s=0.3), randomisation=nominal)
    heavy = replace(nominal, mass=(mass_factor, mass_factor))
    return {
        AS_TRAINED: calm,
        PAYLOAD: replace(calm, randomisation=heavy),
        WIND: replace(calm, wind=replace(calm.wind, speed_m_s=wind_m_s)),
    }


def run(arguments: argparse.Namespace) -> int:
    """Learn if need be, fly, print, write.

    Raises:
        InputError: an option, the checkpoint or the task cannot be used.
        MissingExtraError: a package is missing.
    """
    require("bench unseen", (*PACKAGES, "rotorpy"))
    _check(arguments)
    from .checkpoint import load
    from .control_checkpoint import learned_checkpoint
    from .control_controllers import build
    from .control_flight import fly
    from .task_definition import load_task
    from .task_flight import TaskFlight
    from .task_simulators import make_vehicle
    from .unseen_picture import unseen_picture
    from .unseen_record import figures, table

    ways = conditions(load_task(arguments.task), arguments.mass_factor, arguments.wind_m_s)
    folder = arguments.checkpoint
    if folder is None:
        cores = min(2, os.cpu_count() or 1)
        folder = learned_checkpoint(arguments.json.with_suffix(".learned"), cores, wind_m_s=TRAINING_WIND_M_S)
    checkpoint = load(folder)
    if checkpoint.settings.action_level != "rates":
        raise InputError(f"--checkpoint {folder} is of action level {checkpoint.settings.action_level}; rates are flown")
    controller = build("gradient", checkpoint)
    flown: dict[str, list[Flown]] = {name: [] for name in ways}
    with tqdm(total=len(ways) * arguments.seeds, desc="flights", unit="flight") as bar:
        for name, task in ways.items():
            for seed in range(arguments.seeds):
                flown[name].append(fly(TaskFlight(task, seed, make_vehicle("rotorpy", checkpoint)), controller, seed))
                bar.set_postfix_str(f"{name} {flown[name][-1].row.score:.2f}")
                bar.update()
    made: dict[str, Any] = figures(flown, AS_TRAINED, SETTLE_S)
    made["settings"] = {
        "checkpoint": hashlib.sha256((folder / "checkpoint.npz").read_bytes()).hexdigest()[:16],
        "training_wind_m_s": list(TRAINING_WIND_M_S) if arguments.checkpoint is None else None,
        "task": arguments.task, "mass_factor": arguments.mass_factor, "wind_m_s": arguments.wind_m_s, "seeds": arguments.seeds,
    }  # fmt: skip
    print(table(made))
    write_file(arguments.json, json.dumps(made, allow_nan=False, indent=1).encode())
    picture = arguments.json.with_suffix(".png")
    title = f"{arguments.task}: mass x {arguments.mass_factor:g}, wind {arguments.wind_m_s:g} m/s, neither in training"
    write_file(picture, unseen_picture(flown, made, title, SETTLE_S))
    print(f"written: {arguments.json}, {picture}")
    print(f"next: tubepilot collect --mass-factor {arguments.mass_factor:g} --out FLIGHTS, and train on them too")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options outside what can be run, before anything takes time."""
    from .task_definition import load_task

    if not 1 <= arguments.seeds <= 1000:
        raise InputError(f"--seeds is {arguments.seeds}; it must be 1 to 1000")
    if not 1.0 < arguments.mass_factor <= 1.6:
        raise InputError(f"--mass-factor is {arguments.mass_factor:g}; it must be above 1 and at most 1.6, to leave some force")
    if not 0.5 < arguments.wind_m_s <= 8.0:
        raise InputError(f"--wind-m-s is {arguments.wind_m_s:g}; it must be above 0.5 and at most 8 m/s")
    path = arguments.json
    if not path.absolute().parent.is_dir() or path.is_dir() or path.suffix == ".png":
        raise InputError(f"--json {path}: a file in a folder that exists is expected, not ending in .png, which the picture does")
    if arguments.checkpoint is not None and not arguments.checkpoint.is_dir():
        raise InputError(f"--checkpoint {arguments.checkpoint} is no folder; leave it out to learn one")
    load_task(arguments.task)
