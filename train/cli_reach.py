"""Decide a specification of a closed loop, or compute the tube of a certificate.

PATH ending in .toml: a specification (docs/specification.md) of a plant with its sampled controller, often a neural network. The
tube of all trajectories is computed with every rounding bounded, the initial box is cut where one tube does not suffice, and a
counterexample is searched. The verdict is one line: verified, falsified, or unknown with the reason. Exit status: 0 verified, 1
falsified or unknown, 2 an option, the specification or a network cannot be used. Worked example: docs/reachability.md.

PATH of a folder: a certificate written by `tubepilot certify`. Starts from a box of states around a hover or a given velocity and
bounds position, velocity, thrust vector and jerk along one horizontal direction and along the vertical, at all times up to the
horizon, with every disturbance that the certificate assumes, rounded outward. Over it: trajectories of the same loop with random
disturbances inside the bounds. The verdict is `verified` if the initial box lies in the invariant set, so that the assumed bounds
hold along the tube. Exit status 0.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tubepilot.firmware_bridge.errors import InputError

from . import cli_reach_certificate, cli_reach_specification


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options: shared ones, and a group for each kind of PATH."""
    parser.add_argument("path", type=Path, metavar="PATH", help="specification (.toml), or folder written by `tubepilot certify`")
    parser.add_argument("--json", type=Path, help="file to write verdict and tube to")
    parser.add_argument("--plot", type=Path, help="picture: .png, for specifications also .html; of a certificate by default reach.png")
    parser.add_argument(
        "--samples", type=int,
        help=f"simulated trajectories: {cli_reach_specification.SAMPLES} for a specification unless given, "
        f"{cli_reach_certificate.SAMPLES} for a certificate",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the trajectories")
    cli_reach_specification.add_arguments(parser.add_argument_group("specification"))
    cli_reach_certificate.add_arguments(parser.add_argument_group("certificate", "pairs are (horizontal, vertical)"))


def run(args: argparse.Namespace) -> int:
    """Hand over to the kind of PATH.

    Raises:
        InputError: an option of a certificate cannot be used.
    """
    if args.path.suffix != ".toml" and args.path.is_dir():
        _refuse(args, cli_reach_specification, "a specification, and {} is the folder of a certificate")
        return cli_reach_certificate.run(args)
    try:
        if args.path.suffix != ".toml":
            raise InputError(f"{args.path} is neither a specification (.toml) nor the folder of a certificate; give one of them")
        _refuse(args, cli_reach_certificate, "a certificate, and {} is a specification")
        return cli_reach_specification.run(args)
    except InputError as error:
        print(f"tubepilot reach: {error}", file=sys.stderr)
        return 2


def _refuse(args: argparse.Namespace, module: object, reason: str) -> None:
    """Options of the other kind would be without effect."""
    parser = argparse.ArgumentParser(add_help=False)
    module.add_arguments(parser.add_argument_group())  # type: ignore[attr-defined]
    for action in parser._actions:
        if getattr(args, action.dest) != action.default:
            raise InputError(f"{action.option_strings[0]} belongs to {reason.format(args.path)}; leave it out")
