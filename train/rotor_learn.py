"""From flights of rotor speeds to a prediction model: fit, compare open loop on the flights left out, write."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError

from .atomic import replace_directory
from .flight import Flight
from .monitor import Interrupt
from .picture import horizon_picture
from .prediction import (
    Errors,
    Prediction,
    errors,
    format_table,
    mean_errors,
    predict_naive,
    window_starts,
)
from .rotor_dynamics import RotorDynamics
from .rotor_dynamics_fit import FitSettings
from .rotor_model import (
    RECURRENT,
    RotorModel,
    RotorSettings,
    fit_rotor_model,
    predict_physics,
    predict_rotor_model,
    stages,
)
from .run_identity import choices, run_identity
from .stages import Run

PLAIN = RotorSettings(history=10, rich=False, members=1, every=1, passes=0)
"""The linear ridge baseline: rates from rate and rotor history and the coming rotor speeds; the rest integrated."""
_FILE = "rotor_model.npz"
_ARRAYS = ("physics", "mean", "scale", "rates", "corrections", "spread", "usual")


def _arrays(model: RotorModel) -> list[np.ndarray]:
    """All arrays of a model; those of the dynamics come last, if it has any."""
    return [np.asarray(getattr(model, key)) for key in _ARRAYS] + [np.asarray(v) for v in model.dynamics or ()]


def _of_arrays(settings: RotorSettings, arrays: Sequence[np.ndarray]) -> RotorModel:
    """The model of `_arrays`."""
    dynamics = RotorDynamics(*arrays[len(_ARRAYS) :]) if settings.dynamics is not None else None
    return RotorModel(settings, *arrays[: len(_ARRAYS)], dynamics=dynamics)


def _count(settings: RotorSettings) -> int:
    return len(_ARRAYS) + (len(RotorDynamics._fields) if settings.dynamics is not None else 0)


def rotor_model_bytes(model: RotorModel) -> bytes:
    """The model as an NPZ archive without pickles."""
    buffer = io.BytesIO()
    named = {key: getattr(model, key) for key in _ARRAYS}
    named |= {key: named[key].astype(np.float32) for key in ("rates", "corrections")}
    if model.dynamics is not None:
        named |= {f"dynamics_{key}": np.asarray(value) for key, value in model.dynamics._asdict().items()}
    np.savez_compressed(buffer, allow_pickle=False, settings=np.array(json.dumps(asdict(model.settings))), **named)
    return buffer.getvalue()


def load_rotor_model(path: Path) -> RotorModel:
    """Read the model of a directory written by `learn_rotor_model`.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with np.load(path / _FILE, allow_pickle=False) as archive:
            stored = json.loads(str(archive["settings"]))
            stored["dynamics"] = FitSettings(**stored["dynamics"]) if stored["dynamics"] is not None else None
            settings = RotorSettings(**stored)
            arrays = [np.asarray(archive[key], dtype=np.float64) for key in _ARRAYS]
            if settings.dynamics is not None:
                arrays += [archive[f"dynamics_{key}"] for key in RotorDynamics._fields]
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(f"{path / _FILE}: cannot be read as a rotor model: {error}; train again") from error
    return _of_arrays(settings, arrays)


def evaluate(flights: Sequence[Flight], plain: RotorModel, model: RotorModel, every: int) -> dict[str, Errors]:
    """Rows of the table: naive, physics-only, linear ridge, ours."""
    parts: dict[str, list[Errors]] = {"naive": [], "physics only": [], "linear ridge": [], "ours": []}
    for flight in flights:
        starts = window_starts(flight, every)
        predicted: list[Prediction] = [
            predict_naive(flight, starts),
            predict_physics(model.physics, flight, starts),
            predict_rotor_model(plain, flight, starts),
            predict_rotor_model(model, flight, starts),
        ]
        for rows, prediction in zip(parts.values(), predicted, strict=True):
            rows.append(errors(flight, starts, prediction))
    return {name: mean_errors(rows) for name, rows in parts.items()}


def _fit_or_resume(
    run: Run, name: str, flights: Sequence[Flight], settings: RotorSettings, seed: int, report: Callable[[str], None]
) -> RotorModel:
    """The model that an interrupted run has fitted, or a new one."""
    stage = run.stage(name, np.float64(seed))
    arrays = stage.load_arrays(_count(settings))
    if arrays is not None:
        return _of_arrays(settings, arrays)  # of the types they had, so that what follows is the same to the bit
    model = fit_rotor_model(flights, settings, seed, report)
    stage.save(_arrays(model), 1)
    return model


def learn_rotor_model(
    flights: Sequence[Flight],
    leave_out: Sequence[str],
    out: Path,
    seed: int,
    every: int,
    interrupt: Interrupt,
    resume: bool = False,
    settings: RotorSettings | None = None,
) -> dict[str, Errors]:
    """Fit on all flights but those left out, print the table for these, write the directory.

    A fit has no iterations: each of the two models is one stage, whose result lies in `<out>.partial` from its end on.

    Args:
        flights: Flights of action level "rotors" of one vehicle.
        leave_out: Names of the flights left out; the last if empty.
        out: Directory to write: rotor_model.npz, prediction.png, prediction.txt.
        seed: Seed of the bootstrap.
        every: Evaluate one window in this many.
        interrupt: A Ctrl-C fits the linear model with a single member instead, and goes on to the table.
        resume: Take the models that an interrupted run has fitted from `<out>.partial`.
        settings: How to fit; `rotor_model.RECURRENT` if None.

    Returns:
        The rows of the table.

    Raises:
        InputError: a name is unknown, no flight is left to fit on, or `resume` with other settings or flights than the
            interrupted run's.
        CheckpointError: a state cannot be written, or is of another version.
    """
    names = [flight.name for flight in flights]
    for name in leave_out:
        if name not in names:
            raise InputError(f"--leave-out {name}: no such flight; there are {', '.join(names)}")
    out_names = list(leave_out) or names[-1:]
    fit = [flight for flight in flights if flight.name not in out_names]
    held = [flight for flight in flights if flight.name in out_names]
    if not fit:
        raise InputError("no flight is left to fit on; leave fewer out")
    settings = settings or RECURRENT
    known = {"seed": seed, "ours": choices(settings), "linear ridge": choices(PLAIN)}
    run = Run(out.with_name(f"{out.name}.partial"), run_identity(known, flights, held), resume)
    with tqdm(total=stages(PLAIN) + stages(settings) + 1, desc="rotor model", unit="stage") as shown:

        def report(stage: str) -> None:
            shown.set_postfix_str(stage)
            shown.update()

        plain = _fit_or_resume(run, "linear-ridge", fit, PLAIN, seed, report)
        if interrupt.requested:
            model = fit_rotor_model(fit, replace(settings, members=1, dynamics=None), seed, report)
        else:
            model = _fit_or_resume(run, "rotor-model", fit, settings, seed, report)
        report("prediction of the flights left out")
        rows = evaluate(held, plain, model, every)
        shown.update(shown.total - shown.n)
    count = rows["ours"].windows
    title = f"Open-loop prediction, flights left out: {', '.join(out_names)} ({count} windows)"
    table = format_table(rows, title)
    print(table)
    picture = horizon_picture(rows, title, flights[0].dt_s)

    def fill(folder: Path) -> None:
        (folder / _FILE).write_bytes(rotor_model_bytes(model))
        (folder / "prediction.png").write_bytes(picture)
        (folder / "prediction.txt").write_bytes(f"{table}\n".encode())

    replace_directory(out, fill)
    run.finish()
    return rows
