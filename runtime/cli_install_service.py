"""Write the systemd unit that flies at boot, and the udev rule of the serial adapter.

The unit tells systemd when the flight loop runs (Type=notify) and is restarted when it stops answering (WatchdogSec); it asks for
SCHED_FIFO, locked memory and, with --core, a core of its own. Nothing is enabled or started: that stays the operator's.

It is started again only after an abnormal end (a signal, the watchdog) and then takes over a vehicle in the air or refuses: a flight
that ended, well or not, is never followed by a take-off of its own accord.
"""

from __future__ import annotations

import argparse
import getpass
import re
import shlex
import sys
from pathlib import Path

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.firmware_bridge.uri import parse_uri

UNIT = "tubepilot.service"
RULE = "70-tubepilot.rules"

UNIT_TEXT = """\
[Unit]
Description=tubepilot: flies {target} over {link}
Documentation=man:systemd.service(5)
StartLimitIntervalSec=30
StartLimitBurst=3

[Service]
Type=notify
NotifyAccess=main
WatchdogSec={watchdog_s:g}
ExecStart={command}
Restart=on-abnormal
RestartSec=0.2
RuntimeDirectory=tubepilot
RuntimeDirectoryPreserve=restart
CacheDirectory=tubepilot
KillSignal=SIGTERM
TimeoutStopSec=120
User={user}
SupplementaryGroups=dialout
WorkingDirectory={folder}
CPUSchedulingPolicy=fifo
CPUSchedulingPriority=50
CPUSchedulingResetOnFork=yes
{affinity}LimitRTPRIO=50
LimitMEMLOCK=infinity
OOMScoreAdjust=-900
Environment=OMP_NUM_THREADS=1
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={writable}

[Install]
WantedBy=multi-user.target
"""

RULE_TEXT = """\
# FTDI adapters hold bytes for 16 ms unless told otherwise; flight controllers on USB need no modem probing.
ACTION=="add", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"
ACTION=="add", SUBSYSTEM=="tty", KERNEL=="ttyUSB[0-9]*|ttyACM[0-9]*", GROUP="dialout", MODE="0660", ENV{ID_MM_DEVICE_IGNORE}="1"
# Crazyflie and Crazyradio
ACTION=="add", SUBSYSTEM=="usb", ATTR{idVendor}=="0483", ATTR{idProduct}=="5740", GROUP="dialout", MODE="0660"
ACTION=="add", SUBSYSTEM=="usb", ATTR{idVendor}=="1915", ATTR{idProduct}=="7777", GROUP="dialout", MODE="0660"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tubepilot install-service`."""
    parser.add_argument("target", type=Path, help="folder that `tubepilot flash` fills; its active slot flies")
    parser.add_argument("--link", required=True, help="flight controller, e.g. px4:///dev/serial/by-id/...?baud=921600")
    parser.add_argument("--user", default=getpass.getuser(), help="who flies")
    parser.add_argument("--core", type=int, default=None, help="processor core for the flight loop alone")
    parser.add_argument("--watchdog-s", type=float, default=2.0, help="silence after which systemd restarts it [s]")
    parser.add_argument("--fly-options", default="", help="further options of `tubepilot fly`, as one word")
    parser.add_argument("--units", type=Path, default=Path("/etc/systemd/system"), metavar="DIR", help="where the unit goes")
    parser.add_argument("--rules", type=Path, default=Path("/etc/udev/rules.d"), metavar="DIR", help="where the rule goes")
    parser.add_argument("--print", action="store_true", dest="show", help="print both and write nothing")


def unit_text(arguments: argparse.Namespace) -> str:
    """The unit.

    Raises:
        InputError: an option is out of range or cannot stand in a unit.
    """
    uri = parse_uri(arguments.link)
    if not 0.5 <= arguments.watchdog_s <= 60.0:
        raise InputError(f"--watchdog-s is {arguments.watchdog_s!r}; it must be 0.5..60 s")
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", arguments.user):
        raise InputError(f"--user is {arguments.user!r}; it must be a user's name")
    if arguments.core is not None and not 0 <= arguments.core < 1024:
        raise InputError(f"--core is {arguments.core!r}; it must be 0..1023")
    folder = arguments.target.expanduser().absolute()
    words = [sys.executable, "-m", "tubepilot.runtime.cli", "fly", str(folder / "active"), "--link", arguments.link]
    words += [] if arguments.core is None else ["--core", str(arguments.core)]
    words += shlex.split(arguments.fly_options)
    if any(any(character in word for character in "\n\r\"\\$") for word in words):
        raise InputError("a path or option has a quote, backslash, dollar sign or line break, which a unit cannot carry; rename it")
    return UNIT_TEXT.format(
        target=folder,
        link=arguments.link.replace("%", "%%"),
        watchdog_s=arguments.watchdog_s,
        command=_words(words),
        user=arguments.user,
        folder=folder,
        writable=_words([str(folder), *([str(Path(uri.pose).parent)] if uri.pose else [])]),
        affinity="" if arguments.core is None else f"CPUAffinity={arguments.core}\n",
    )


def _words(words: list[str]) -> str:
    """Words of one line of a unit: quoted where they hold a space, per cent signs doubled."""
    return " ".join(f'"{word}"' if " " in word else word for word in words).replace("%", "%%")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; run it with sudo, or give --units and --rules") from error


def run(arguments: argparse.Namespace) -> int:
    """Write both files, or print them.

    Raises:
        InputError: an option is wrong, or a file cannot be written.
    """
    unit = unit_text(arguments)
    if arguments.show:
        print(f"# {arguments.units / UNIT}\n{unit}\n# {arguments.rules / RULE}\n{RULE_TEXT}", end="")
        return 0
    _write(arguments.units / UNIT, unit)
    _write(arguments.rules / RULE, RULE_TEXT)
    print(f"wrote {arguments.units / UNIT} and {arguments.rules / RULE}")
    print("next: sudo udevadm control --reload && sudo udevadm trigger; sudo systemctl daemon-reload && sudo systemctl start tubepilot")
    return 0
