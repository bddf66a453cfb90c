"""Learn tasks of the DeepMind control suite from observations alone, and compare the planners in the latent space of the learned model.

For each task and seed a latent model in the manner of TD-MPC2 is trained until --minutes or --train-episodes are over; a checkpoint is
gone on with. Then the policy alone, the gradient planner and MPPI play the same episodes. The file is written after each of them, and a
run that was cut short goes on from it. The picture lies beside the file. Exit status: 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.atomic import write_file
from tubepilot.train.workstation import require

from .dm_control_task import TASKS, DmControlTask

if TYPE_CHECKING:
    from .evaluation import Outcome
    from .training import Training

_FIRST_SEED = 1000  # of the episodes of evaluation

Outcomes = dict[str, "Outcome"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench latent`."""
    parser.add_argument("--task", nargs="+", choices=tuple(TASKS), default=list(TASKS), help="tasks of the suite")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="seeds of training")
    parser.add_argument("--minutes", type=float, default=30.0, help="longest training of a task and seed [min]; 0: only evaluate")
    parser.add_argument("--train-episodes", type=int, default=1000, help="episodes after which training ends, earlier runs included")
    parser.add_argument("--episodes", type=int, default=4, help="episodes of evaluation of each controller")
    parser.add_argument("--checkpoints", type=Path, required=True, metavar="DIR", help="folder of the checkpoints, made if absent")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="file of the figures; the picture lies beside it")


def run(arguments: argparse.Namespace) -> int:
    """Train or go on, evaluate, print, write.

    Raises:
        InputError: an option cannot be used.
        MissingExtraError: a package of the workstation, or dm_control, is missing.
        CheckpointError: a checkpoint is damaged, or of another task.
    """
    require("bench latent", ("jax", "jaxtyping", "flax", "optax", "tomli_w", "matplotlib"))
    _check(arguments)
    from .picture import curves_picture

    runs: list[tuple[str, int, Training, Outcomes]] = []
    for name in arguments.task:
        for seed in arguments.seed:
            training = trained(name, seed, arguments)
            outcomes: Outcomes = {}
            runs.append((name, seed, training, outcomes))
            compare(name, training, outcomes, arguments, lambda: write_file(arguments.json, _document(runs)))
            print(_table(name, seed, training, outcomes))
    picture = arguments.json.with_suffix(".png")
    drawn = [(name, seed, training.rows, outcomes) for name, seed, training, outcomes in runs]
    write_file(picture, curves_picture(drawn, f"Latent models; planners over {arguments.episodes} episodes"))
    print(f"written: {arguments.json}, {picture}\nnext: the same command with more --minutes goes on from {arguments.checkpoints}")
    return 0


def trained(name: str, seed: int, arguments: argparse.Namespace) -> Training:
    """A run trained for as long as the options allow, from its checkpoint if there is one."""
    from . import checkpoint
    from .settings import CollectSettings, LearnSettings, ModelSettings, discount_of
    from .training import Plan, Row, begin, folder_of, train

    folder = folder_of(arguments.checkpoints, name, seed)
    task = DmControlTask(name)
    if checkpoint.exists(folder):
        training = checkpoint.load(folder)
        if (training.task, training.plan.seed, training.repeat) != (name, seed, task.repeat):
            held = f"{training.task}, seed {training.plan.seed}, action repeat {training.repeat}"
            wanted = f"{name}, seed {seed}, action repeat {task.repeat}"
            raise InputError(f"{folder} holds a run of {held}; it must be of {wanted}; give other --checkpoints")
        tqdm.write(f"{folder}: {training.replay.count} episodes are done")
    else:
        model = ModelSettings(task.observation, task.action, discount_of(task.decisions))
        training = begin(task, Plan(model, LearnSettings(), CollectSettings(), seed))
    if arguments.minutes == 0:
        if not training.rows:
            raise InputError(f"--minutes 0 evaluates a checkpoint, but {folder} does not exist; give --minutes")
        return training
    tasks = [task, *(DmControlTask(name) for _ in range(training.plan.collect.together - 1))]
    with tqdm(total=arguments.train_episodes, initial=training.replay.count, desc=f"{name}, seed {seed}", unit="episode") as bar:

        def report(row: Row) -> None:
            bar.update(row.episodes - bar.n)
            bar.set_postfix_str(f"collected {row.collected:.0f}")

        limit_s = 60.0 * arguments.minutes
        train(tasks, training, arguments.train_episodes, limit_s, lambda run: checkpoint.save(folder, run), report)
    return training


def compare(name: str, training: Training, outcomes: Outcomes, arguments: argparse.Namespace, write: Any) -> None:
    """Fill in the outcomes of all controllers, those that the file has for this very model first."""
    from .evaluation import controllers, evaluate

    tasks = [DmControlTask(name) for _ in range(arguments.episodes)]
    seeds = list(range(_FIRST_SEED, _FIRST_SEED + arguments.episodes))
    outcomes.update(_finished(arguments.json, name, training, arguments.episodes))
    for controller in controllers(training.plan.model).values():
        if controller.name not in outcomes:
            decisions = tqdm(range(tasks[0].decisions), desc=f"{name}, {controller.name}", unit="decision", leave=False)
            outcomes[controller.name] = evaluate(tasks, controller, training.learner.parameters, seeds, decisions)
            write()


def _finished(path: Path, name: str, training: Training, episodes: int) -> Outcomes:
    """Outcomes in the file that are of this task, seed, number of updates and number of episodes."""
    from .evaluation import Outcome

    if not path.is_file():
        return {}
    try:
        for one in json.loads(path.read_text(encoding="utf-8"))["runs"]:
            if (one["task"], one["seed"], one["updates"]) == (name, training.plan.seed, training.rows[-1].updates):
                found = {controller: Outcome(**outcome) for controller, outcome in one["controllers"].items()}
                return {controller: outcome for controller, outcome in found.items() if len(outcome.returns) == episodes}
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"--json {path} exists and is not of this bench: {error}; give another file") from error
    return {}


def _document(runs: list[tuple[str, int, Training, Outcomes]]) -> bytes:
    """The file: budget, settings, learning curve and outcomes of each run; numbers that do not exist are null."""
    entries = []
    for name, seed, training, outcomes in runs:
        last = training.rows[-1]
        entry = {"task": name, "seed": seed, "steps": last.steps, "updates": last.updates, "training_s": last.seconds}
        curve = [{key: None if value != value else value for key, value in asdict(row).items()} for row in training.rows]
        settings = asdict(training.plan)
        found = {controller: asdict(outcome) for controller, outcome in outcomes.items()}
        entries.append({**entry, "repeat": training.repeat, "settings": settings, "curve": curve, "controllers": found})
    return json.dumps({"runs": entries}, indent=1, allow_nan=False).encode()


def _table(name: str, seed: int, training: Training, outcomes: Outcomes) -> str:
    """One run, one line per controller."""
    last = training.rows[-1]
    budget = f"{last.steps / 1e3:.0f} thousand simulation steps, {last.updates} updates, {last.seconds / 60:.0f} min of training"
    heading = f"  {'controller':<20}{'return':>9}{'std':>8}{'model evaluations':>20}{'ms/decision':>14}"
    lines = [f"{name}, seed {seed}: {budget}", heading]
    for controller, outcome in outcomes.items():
        figures = f"{outcome.mean:9.1f}{outcome.std:8.1f}{outcome.model_evaluations:20d}{1e3 * outcome.seconds_per_decision:14.2f}"
        lines.append(f"  {controller:<20}{figures}")
    return "\n".join(lines)


def _check(arguments: argparse.Namespace) -> None:
    """Values of the options."""
    if not arguments.minutes >= 0:
        raise InputError(f"--minutes is {arguments.minutes:g}, it must be at least 0")
    for option in ("train_episodes", "episodes"):
        if getattr(arguments, option) < 1:
            raise InputError(f"--{option.replace('_', '-')} is {getattr(arguments, option)}, it must be at least 1")
    if min(arguments.seed) < 0:
        raise InputError(f"--seed has {min(arguments.seed)}, seeds must be at least 0")
    path = arguments.json
    if not path.absolute().parent.is_dir() or path.is_dir() or path.suffix == ".png":
        raise InputError(f"--json {path}: a file in a folder that exists is expected, not ending in .png, which the picture does")
