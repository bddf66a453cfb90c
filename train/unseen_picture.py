"""The picture of `bench unseen`: disagreement and position error over time, by condition."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

if TYPE_CHECKING:
    from .control_flight import Flown


def unseen_picture(flown: Mapping[str, Sequence[Flown]], made: Mapping[str, Any], title: str, settle_s: float) -> bytes:
    """Draw.

    Args:
        flown: Flights by condition.
        made: `unseen_record.figures` of them.
        title: Heading.
        settle_s: Start of a flight that takes no part in the figures [s].

    Returns:
        A PNG image.
    """
    from matplotlib import pyplot

    figure, (upper, lower) = pyplot.subplots(2, 1, figsize=(10, 7), sharex=True, constrained_layout=True)
    for k, (name, flights) in enumerate(flown.items()):
        rise = made["rise"].get(name)
        label = f"{name}, disagreement x {rise['value']:.2f}" if rise else name
        for n, f in enumerate(flights):
            style: dict[str, Any] = {"color": f"C{k}", "linewidth": 0.8, "label": label if n == 0 else None}
            upper.semilogy(f.path[:, 0], np.maximum(f.disagreement, 1e-12), **style)
            lower.plot(f.path[:, 0], np.linalg.norm(f.path[:, 1:4] - f.path[:, 4:7], axis=1), **style)
    for axes in (upper, lower):
        axes.axvspan(0.0, settle_s, color="0.9")
        axes.grid(alpha=0.3)
    upper.set_ylabel("disagreement of the plan [1]")
    upper.legend(frameon=False)
    lower.set_ylabel("position error [m]")
    lower.set_xlabel("time [s]; grey: the observer settles")
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()
