"""The `tubepilot` command: finds the sub-command and loads only the part that it needs.

Every sub-command lives in a module with `add_arguments(parser)` and `run(arguments) -> int`. Its module is imported
when it is called (or when its own `--help` is asked for), so that the on-board install never loads JAX.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from dataclasses import dataclass

from tubepilot.firmware_bridge.errors import MissingExtraError, TubepilotError

from .cli_options import UsageError, checked, refused


@dataclass(frozen=True, slots=True)
class Command:
    """One sub-command: where it lives, which extra it needs, and its one-line help."""

    module: str
    extra: str | None
    help: str


COMMANDS: dict[str, Command] = {
    "collect": Command("tubepilot.train.cli_collect", "workstation,sim", "make or import flight logs"),
    "train": Command(
        "tubepilot.train.cli_train", "workstation", "learn the world model and the policy from flight logs"
    ),
    "reach": Command(
        "tubepilot.train.cli_reach", "workstation", "verify a closed loop with a neural network, or draw a certified tube"
    ),
    "certify": Command(
        "tubepilot.train.cli_certify", "workstation", "prove an invariant set of the closed loop"
    ),
    "export": Command(
        "tubepilot.export.cli_export", "workstation", "turn checkpoint and certificate into a signed bundle"
    ),
    "verify": Command(
        "tubepilot.runtime.cli_verify", None, "check a bundle: signature, hashes, self-test, certificate"
    ),
    "flash": Command(
        "tubepilot.runtime.cli_flash", None, "put a bundle into the inactive slot of a companion and activate it"
    ),
    "fly": Command("tubepilot.runtime.cli_fly", None, "fly a task under the plan and the shield of a bundle"),
    "link": Command("tubepilot.runtime.cli_link", None, "show a link to a flight controller, live"),
    "sim-fc": Command(
        "tubepilot.firmware_bridge.cli_sim_fc", "sim", "run a simulated flight controller on a pseudo-terminal"
    ),
    "report": Command(
        "tubepilot.runtime.cli_report", "workstation", "draw a flight log as one HTML page and a PNG"
    ),
    "replay": Command("tubepilot.runtime.cli_replay", None, "run a flight log again and compare every set-point bit for bit"),
    "bench": Command("tubepilot.runtime.cli_bench", None, "measure: tracking, tick time, reachability, prediction"),
    "keys": Command("tubepilot.runtime.cli_keys", None, "make, trust and list the keys that sign bundles"),
    "install-service": Command("tubepilot.runtime.cli_install_service", None, "write the systemd unit and the udev rule"),
    "doctor": Command("tubepilot.runtime.cli_doctor", None, "check this machine, each line with its remedy"),
}


def _overview() -> str:
    width = max(len(name) for name in COMMANDS)
    rows = "\n".join(f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items())
    return (
        "usage: tubepilot COMMAND [options]\n\n"
        "Learned, gradient-refined quadrotor planning on board, with a backup policy in a certified invariant set.\n\n"
        f"commands:\n{rows}\n\n`tubepilot COMMAND --help` states every option with its unit and default.\n"
    )


def _load(name: str) -> object:
    command = COMMANDS[name]
    try:
        return importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if command.extra is None or (error.name or "").startswith("tubepilot"):
            raise
        raise MissingExtraError(
            f"`tubepilot {name}` needs the Python package {error.name!r}, which is not installed here; "
            f'install it with: pip install "tubepilot[{command.extra}]"'
        ) from error


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command.

    Args:
        argv: Arguments without the program name; the process's own if None.

    Returns:
        Exit status: 0 done, 1 refused or failed with a message, 2 wrong usage, 130 stopped by Ctrl-C.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_overview(), end="")
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        print(f"tubepilot: no command {name!r}; the commands are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        module = _load(name)
        parser = argparse.ArgumentParser(
            prog=f"tubepilot {name}",
            description=(module.__doc__ or "").strip(),
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        module.add_arguments(parser)  # type: ignore[attr-defined]
        status: int = module.run(checked(parser, parser.parse_args(rest)))  # type: ignore[attr-defined]
        sys.stdout.flush()
    except TubepilotError as error:
        print(f"tubepilot {name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:  # whoever reads the output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"tubepilot {name}: {refused(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ntubepilot {name}: stopped by Ctrl-C", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
