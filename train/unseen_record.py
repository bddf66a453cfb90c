"""Figures of `bench unseen`: how the vehicle flew and how far the ensemble disagreed, by condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .control_flight import Flown

RESAMPLES = 2000


def level(flown: Flown, settle_s: float) -> float:
    """Median disagreement of a flight's plans after its first `settle_s` [s]; over all if it was shorter."""
    late = flown.disagreement[flown.path[:, 0] >= settle_s]
    return float(np.median(late if len(late) else flown.disagreement))


def figures(flown: Mapping[str, Sequence[Flown]], usual: str, settle_s: float) -> dict[str, Any]:
    """Figures by condition, and the rise of the disagreement over the usual condition.

    Args:
        flown: Flights by condition, the same seeds in each.
        usual: The condition that the others are compared with.
        settle_s: Start of a flight that takes no part [s].

    Returns:
        `conditions`: scores, root mean square errors [m], reasons of early ends and median disagreement of each flight; `rise` of each
        other condition: geometric mean over the seeds of the ratio of disagreements, with a 95 % bootstrap interval over seeds.
    """
    generator = np.random.default_rng(0)
    levels = {name: np.array([level(f, settle_s) for f in flights]) for name, flights in flown.items()}
    rise = {}
    for name, values in levels.items():
        if name == usual:
            continue
        logs = np.log(values / levels[usual])
        drawn = logs[generator.integers(0, len(logs), (RESAMPLES, len(logs)))].mean(axis=1)
        low, high = np.exp(np.quantile(drawn, [0.025, 0.975]))
        rise[name] = {"value": float(np.exp(logs.mean())), "low": float(low), "high": float(high)}
    made = {
        name: {
            "scores": [f.row.score for f in flights], "rmse_m": [f.row.rmse_m for f in flights],
            "ended_early": [f.row.reason for f in flights if f.row.reason], "disagreement": levels[name].tolist(),
        }
        for name, flights in flown.items()
    }  # fmt: skip
    return {"conditions": made, "rise": rise}


def table(made: Mapping[str, Any]) -> str:
    """The figures, for people."""
    lines = [f"{'condition':<16}{'score':>8}{'RMSE [m]':>10}{'ended early':>13}{'disagreement':>14}{'rise, 95 %':>24}"]
    for name, row in made["conditions"].items():
        rise = made["rise"].get(name)
        said = f"x {rise['value']:.2f} [{rise['low']:.2f}, {rise['high']:.2f}]" if rise else "-"
        early = f"{len(row['ended_early'])}/{len(row['scores'])}"
        numbers = f"{np.mean(row['scores']):>8.3f}{np.mean(row['rmse_m']):>10.3f}"
        lines.append(f"{name:<16}{numbers}{early:>13}{np.median(row['disagreement']):>14.2e}{said:>24}")
    return "\n".join(lines)
