"""What `bench control` flies if no checkpoint is given: learnt on the spot, with the set-point limits of the tasks.

The demo's checkpoint keeps to the gentle set-points that its certified set can use; tasks at 4 m/s need more.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tubepilot.firmware_bridge.errors import TubepilotError

from . import cli_collect, cli_train
from .task_flight import RATE_LIMIT_RAD_S

FLIGHTS = 8
"""Flights to learn from, the last three held out."""

THRUST_SHARES = (0.1, 0.9)
"""Range of the commanded thrust over the greatest, a little within the tasks' own, so that the rate loop keeps its part."""

REFERENCE_LIMITS = (5.0, 7.0)
"""Greatest speed [m/s] and acceleration [m/s^2] of the paths learnt on: a little above the tasks' liveliest, 4 m/s and 6.4 m/s^2."""

POLICY_ITERATIONS = 1200
"""Gradient steps of the policy: half as many again as by default, since its paths differ more."""


def learned_checkpoint(
    folder: Path, processes: int, seed: int = 0, wind_m_s: Sequence[float] = (), simulator: str = "rotorpy"
) -> Path:
    """Make flights in a simulator and learn from them, unless the folder has the result already.

    Args:
        folder: Gets `flights/` and `checkpoint/`.
        processes: Flights made at a time.
        seed: Of flights and training.
        wind_m_s: Mean wind of the flights in turn [m/s]; that of `tubepilot collect` if empty.
        simulator: Whose vehicle is learned, rotorpy or crazyflow.

    Returns:
        The checkpoint directory.

    Raises:
        TubepilotError: it was cut short.
    """
    checkpoint = folder / "checkpoint"
    if checkpoint.is_dir():
        return checkpoint
    flights = folder / "flights"
    collecting = ["--out", str(flights), "--flights", str(FLIGHTS), "--seed", str(seed), "--processes", str(processes)]
    collecting += ["--simulator", simulator]
    if wind_m_s:
        collecting += ["--wind-m-s", *(str(speed) for speed in wind_m_s)]
    rates = [str(rate) for rate in RATE_LIMIT_RAD_S]
    shares = [str(share) for share in THRUST_SHARES]
    training = [str(flights), "--out", str(checkpoint), "--seed", str(seed), "--resume"]
    training += ["--rate-limit-rad-s", *rates, "--thrust-shares", *shares]
    training += ["--reference-limits", *(str(limit) for limit in REFERENCE_LIMITS), "--policy-iterations", str(POLICY_ITERATIONS)]
    steps = ((cli_collect, collecting, len(list(flights.glob("*.npz"))) == FLIGHTS), (cli_train, training, False))
    for module, options, done in steps:
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        if not done and module.run(parser.parse_args(options)) != 0:
            raise TubepilotError(f"learning was cut short; run again to go on from {folder}")
    return checkpoint
