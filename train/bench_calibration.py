"""Calibration on flights that the model was not fitted on: do the boxes of the model error cover what they claim, does the ensemble's
disagreement rank its errors?

Boxes are split-conformal per tick, by regime of speed, all six components at once; each flight is looked at with boxes made from the
other ones. Disagreement and error are compared over windows of 1, 10 and 50 steps. The models: that of --checkpoint, for which all
flights must be new (or are named by --held-out); or with --leave-one-out one for each flight, fitted on the others; or else one that is
fitted on every other flight and looked at on the rest. Rate set-points and rotor speeds are told apart by the flights. --unseen
compares flights flown under other conditions (payload, wind) with these. Exit status: 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tubepilot.firmware_bridge.errors import InputError

from .atomic import write_file
from .flight import RATES, ROTORS, Flight
from .workstation import require

if TYPE_CHECKING:
    from .calibration_models import Unseen
    from .rotor_model import RotorSettings

COVERAGE = 0.99
UNSEEN_HORIZON = 10
Look = Callable[[Flight], "Unseen"]
"""Sees a flight with a model that was not fitted on it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which flights are looked at, with what.

    Attributes:
        how: For people and for the file.
        flights: Those looked at.
        look: How.
        members: Ensemble members behind each disagreement.
    """

    how: str
    flights: Sequence[Flight]
    look: Look
    members: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot bench calibration`."""
    parser.add_argument("--flights", type=Path, required=True, metavar="DIR", help="flights, all of one action level")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="look at this model of `tubepilot train`")
    parser.add_argument("--held-out", nargs="+", default=[], metavar="NAME", help="flights that the checkpoint was not fitted on")
    parser.add_argument("--leave-one-out", action="store_true", help="fit a model for each flight on the others")
    parser.add_argument("--unseen", nargs="+", type=Path, default=[], metavar="DIR", help="flights of other conditions, a folder each")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="file of the figures")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture (PNG); beside the JSON file if not given")
    parser.add_argument("--coverage", type=float, default=COVERAGE, help="share of ticks that the boxes are to cover")
    parser.add_argument("--seed", type=int, default=0, help="seed of ensembles and bootstraps")
    parser.add_argument("--window-every", type=int, default=10, help="predict from one sample in this many")


def run(arguments: argparse.Namespace) -> int:
    """Look at the flights, print, write.

    Raises:
        InputError: an option, a folder or a flight cannot be used.
        MissingExtraError: a package of the workstation is missing.
    """
    require("bench calibration")
    _check(arguments)
    flights = read(arguments.flights, "--flights")
    level = flights[0].action_level
    others = {folder.name: read(folder, "--unseen", level) for folder in arguments.unseen}
    with tqdm(desc="calibration", unit="stage", leave=False) as bar:

        def report(stage: str) -> None:
            bar.set_postfix_str(stage)
            bar.update()

        plan = plan_for(flights, arguments, report)
        seen = []
        for flight in plan.flights:
            report(flight.name)
            seen.append(plan.look(flight))
        groups = {"as in training": seen}
        for name, unseen in others.items():
            report(name)
            groups[name] = [plan.look(flight) for flight in unseen]
    figures = record(seen, level, plan, arguments)
    from .calibration_record import coverage_table, spearman_table

    title = f"Calibration on {len(seen)} flights of {arguments.flights.name}, {plan.how}"
    print(f"{title}; {plan.members} members\n{coverage_table(figures['coverage'], figures['units'])}\n{spearman_table(figures)}")
    if others:
        from .calibration import compare_conditions
        from .calibration_record import condition_figures, condition_table

        rows = compare_conditions(groups, "as in training", UNSEEN_HORIZON)
        figures["unseen"] = condition_figures(rows, UNSEEN_HORIZON)
        print(condition_table(figures["unseen"]))
    write_file(arguments.json, json.dumps(figures, allow_nan=False).encode())
    from .calibration_picture import calibration_picture

    picture = arguments.plot or arguments.json.with_suffix(".png")
    write_file(picture, calibration_picture(figures, title))
    print(f"written: {arguments.json}, {picture}\nnext: {_advice(figures)}")
    return 0


def record(seen: Sequence[Unseen], level: str, plan: Plan, arguments: argparse.Namespace) -> dict[str, Any]:
    """What the file holds."""
    from .bounds import SPEED_EDGES_M_S, Ticks
    from .calibration_record import COMPONENTS, component_units, coverage_figures, disagreement_figures

    ticks = [Ticks(u.name, u.speed_m_s, u.scores) for u in seen]
    return {
        "action_level": level,
        "how": plan.how,
        "members": plan.members,
        "seed": arguments.seed,
        "window_every": arguments.window_every,
        "asked": arguments.coverage,
        "components": list(COMPONENTS),
        "units": component_units(level),
        "coverage": coverage_figures(ticks, arguments.coverage, SPEED_EDGES_M_S),
        **disagreement_figures(seen, arguments.seed),
    }


def _advice(figures: dict[str, Any]) -> str:
    ticks = figures["coverage"]["ticks"]
    weakest = min(row["all"]["value"] for row in figures["spearman"].values())
    if not ticks["regimes_within_tolerance"]:
        return "fly more of the regimes that are not within the tolerance, or use the boxes of the quantile over flights"
    if weakest < 0.3:
        return "the disagreement hardly ranks the errors: fly more flights, or train more members"
    return "tubepilot train DATA stores such boxes with its checkpoint"


def read(folder: Path, option: str, level: str | None = None) -> list[Flight]:
    """Flights of a folder, all of one action level and one rate, none twice.

    Raises:
        InputError: the folder or a flight cannot be used.
    """
    from .calibration_models import FIRST
    from .cli_train import read_flights
    from .prediction import window_starts

    if not folder.is_dir():
        raise InputError(f"{option} {folder} is no folder; give the one that holds the flights")
    flights = read_flights(folder)
    kinds = {(flight.action_level, round(1 / flight.dt_s, 6)) for flight in flights}
    if len(kinds) > 1:
        said = ", ".join(f"{kind!r} at {rate:g} Hz" for kind, rate in sorted(kinds))
        raise InputError(f"{option} {folder} mixes flights of action level {said}; calibrate on one kind at a time")
    if level is not None and flights[0].action_level != level:
        raise InputError(f"{option} {folder} has action level {flights[0].action_level!r}, --flights has {level!r}; give one level")
    names = [flight.name for flight in flights]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise InputError(f"{option} {folder} has several flights of the name {', '.join(twins)}; rename one of them")
    for flight in flights:
        window_starts(flight, 1, FIRST)
    return flights


def plan_for(flights: Sequence[Flight], arguments: argparse.Namespace, report: Callable[[str], None]) -> Plan:
    """Fit or load what is needed.

    Args:
        flights: All flights.
        arguments: The options.
        report: Told each stage.

    Raises:
        InputError: too few flights, or the checkpoint is of another action level.
    """
    level, folder = flights[0].action_level, arguments.checkpoint
    if folder is not None:
        held, how = _held_out(flights, arguments.held_out, folder, level)
        return _from_checkpoint(held, how, level, arguments, report)
    if len(flights) < 4:
        raise InputError(f"--flights {arguments.flights} has {len(flights)} flights, to fit and to calibrate at least 4 are needed")
    fit, looked = (list(flights), list(flights)) if arguments.leave_one_out else (list(flights[::2]), list(flights[1::2]))
    how = "each left out in turn" if arguments.leave_one_out else f"fitted on {len(fit)} others"
    if level == ROTORS:
        return _rotor_plan(fit, looked, how, arguments, report)
    return _rates_plan(fit, looked, how, arguments, report)


def _held_out(flights: Sequence[Flight], named: Sequence[str], folder: Path, level: str) -> tuple[list[Flight], str]:
    """Flights that the checkpoint does not know, and how that is known."""
    names = [flight.name for flight in flights]
    for name in named:
        if name not in names:
            raise InputError(f"--held-out {name}: no such flight; there are {', '.join(names)}")
    stored: Sequence[str] = ()
    if not named and level == RATES:
        from .checkpoint import load

        stored = [name for name in load(folder).settings.residual_bounds.flights if name in names]
    chosen = list(named) or list(stored) or names
    why = "named" if named else "held out by the checkpoint" if stored else "taken as new to the checkpoint, which does not name any"
    if len(chosen) < 2:
        raise InputError(f"{len(chosen)} flight is held out, each is looked at with the others, so at least 2 are needed; add flights")
    return [flight for flight in flights if flight.name in chosen], f"model of {folder.name}, flights {why}"


def _from_checkpoint(
    held: Sequence[Flight], how: str, level: str, arguments: argparse.Namespace, report: Callable[[str], None]
) -> Plan:
    from .calibration_models import PAIRS, rotor_members, unseen_rates, unseen_rotors

    every = arguments.window_every
    if level == ROTORS:
        from .rotor_learn import load_rotor_model

        rotor = load_rotor_model(arguments.checkpoint)
        members = rotor_members(held, arguments.seed, report, member_settings())
        return Plan(how, held, lambda flight: unseen_rotors(rotor, members(flight), flight, every), PAIRS)
    from .checkpoint import load

    checkpoint = load(arguments.checkpoint)
    scale = checkpoint.settings.thrust_scale_m_s2
    count = int(checkpoint.model.residual.w2.shape[0])
    return Plan(how, held, lambda flight: unseen_rates(checkpoint.model, flight, scale, every), count)


def model_settings() -> RotorSettings:
    """Those of `tubepilot train`."""
    from .rotor_model import RECURRENT

    return RECURRENT


def member_settings() -> RotorSettings:
    """Those of a member of the rotor ensemble."""
    from .calibration_models import MEMBER

    return MEMBER


def _rotor_plan(
    fit: list[Flight], looked: list[Flight], how: str, arguments: argparse.Namespace, report: Callable[[str], None]
) -> Plan:
    from .calibration_models import PAIRS, rotor_members, unseen_rotors
    from .rotor_model import RotorModel, fit_rotor_model

    members = rotor_members(fit, arguments.seed, report, member_settings())
    fitted: dict[str, RotorModel] = {}

    def model(flight: Flight) -> RotorModel:
        key = flight.name if flight in looked and arguments.leave_one_out else ""
        if key not in fitted:
            fitted.clear()  # one is used at a time, and each holds tens of megabytes
            fitted[key] = fit_rotor_model([f for f in fit if f.name != flight.name], model_settings(), arguments.seed)
        return fitted[key]

    count = PAIRS if arguments.leave_one_out else 2 * PAIRS
    return Plan(how, looked, lambda flight: unseen_rotors(model(flight), members(flight), flight, arguments.window_every), count)


def _rates_plan(
    fit: list[Flight], looked: list[Flight], how: str, arguments: argparse.Namespace, report: Callable[[str], None]
) -> Plan:
    from .calibration_models import unseen_rates
    from .dynamics import WorldModel
    from .identify import identify
    from .learn import thrust_scale
    from .residual import ResidualSettings, train_residual

    scale, settings = thrust_scale([*fit, *looked], None), ResidualSettings()
    fitted: dict[str, WorldModel] = {}

    def model(flight: Flight) -> WorldModel:
        key = flight.name if arguments.leave_one_out else ""
        if key not in fitted:
            report(f"{flight.name}: fit")
            some = [f for f in fit if f.name != flight.name]
            scales = [scale] * len(some)
            physics = identify(some, scales).physics
            fitted[key] = WorldModel(physics, train_residual(some, scales, physics, settings, arguments.seed))
        return fitted[key]

    return Plan(how, looked, lambda flight: unseen_rates(model(flight), flight, scale, arguments.window_every), settings.members)


def _check(arguments: argparse.Namespace) -> None:
    """Options that exclude each other, and values."""
    if arguments.leave_one_out and arguments.checkpoint is not None:
        raise InputError("--checkpoint and --leave-one-out exclude each other: the one looks at a given model, the other fits its own")
    if arguments.held_out and arguments.checkpoint is None:
        raise InputError("--held-out names flights that a checkpoint was not fitted on; give --checkpoint too")
    if arguments.unseen and arguments.leave_one_out:
        raise InputError("--unseen and --leave-one-out exclude each other: other conditions are compared under one model")
    if not 0.0 < arguments.coverage < 1.0:
        raise InputError(f"--coverage is {arguments.coverage}, it must be above 0 and below 1, as {COVERAGE}")
    if arguments.window_every < 1:
        raise InputError(f"--window-every is {arguments.window_every}, it must be at least 1")
    if arguments.seed < 0:
        raise InputError(f"--seed is {arguments.seed}, it must be at least 0")
    for option, path in (("--json", arguments.json), ("--plot", arguments.plot)):
        if path is not None and (not path.absolute().parent.is_dir() or path.is_dir()):
            raise InputError(f"{option} {path}: a file in a folder that exists is expected")
    if arguments.json.suffix == ".png" or arguments.plot == arguments.json:
        raise InputError(f"--json {arguments.json} must not be the picture; end it in .json")
