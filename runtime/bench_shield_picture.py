"""Draws the flights of `tubepilot bench shield`: paths, how close they came to fence, floor and obstacles, when they ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

COLOURS = {"held": "tab:blue", "broken, void": "tab:orange", "broken, neither": "tab:gray", "breach before void": "tab:red"}


def kind(row: Mapping[str, Any]) -> str:
    """Which of `COLOURS` a flight is."""
    if row["breach_s"] is not None:
        return "breach before void"
    if row["held"]:
        return "held"
    return "broken, void" if row["void_s"] is not None else "broken, neither"


def draw(rows: list[dict[str, Any]], figures: Mapping[str, Any], path: Path) -> None:
    """Write a PNG.

    Args:
        rows: Flights.
        figures: From `counts`.
        path: File to write.
    """
    figure, (above, close, times) = plt.subplots(1, 3, figsize=(17, 5.5), constrained_layout=True)
    groups = {name: [row for row in rows if kind(row) == name] for name in COLOURS}
    for name, members in groups.items():
        for number, row in enumerate(members[:120]):
            track = np.array(row["path"]).reshape(-1, 3)
            track = track - track[min(20, len(track) - 1)]
            label = f"{name}: {len(members)}" if number == 0 else None
            above.plot(track[20:, 0], track[20:, 1], color=COLOURS[name], linewidth=0.6, alpha=0.6, label=label)
    above.set(title="paths from where the adversary begins, from above", xlabel="east [m]", ylabel="north [m]", aspect="equal")
    above.legend(loc="upper right", fontsize=8)
    some = [name for name in COLOURS if groups[name]]
    close.hist([[row["closest_m"] for row in groups[name]] for name in some], bins=24, stacked=True, color=[COLOURS[n] for n in some])
    close.axvline(0.0, color="black", linewidth=1)
    close.set(title="closest to fence, floor or obstacle", xlabel="distance [m], below 0: breach", ylabel="flights")
    faults = sorted({row["fault"] for row in rows if row["void_s"] is not None})
    for place, fault in enumerate(faults):
        at = [row["void_s"] - min(row["broken"].values(), default=row["void_s"]) for row in rows
              if row["fault"] == fault and row["void_s"] is not None]  # fmt: skip
        times.plot(at, np.full(len(at), place) + np.linspace(-0.3, 0.3, len(at)), ".", markersize=4)
    times.set_yticks(range(len(faults)), faults)
    times.set(title="from the first broken assumption to void", xlabel="time [s]")
    held, broken = figures["held"], figures["broken"]
    figure.suptitle(
        f"{figures['flights']} flights of an adversary: {held['breaches']} breaches in {held['flights']} with all assumptions held; "
        f"{broken['breach_before_void']} of {broken['flights']} others before the certificate was void"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
