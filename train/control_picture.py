"""The picture of `bench control`: scores by task and controller with their intervals, and what a decision costs."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")


def score_picture(made: Mapping[str, Any], title: str) -> bytes:
    """Draw the figures of `control_record.summary`.

    Args:
        made: The summary.
        title: Heading.

    Returns:
        A PNG image.
    """
    from matplotlib import pyplot

    names, tasks = list(made["controllers"]), list(made["tasks"])
    colours = pyplot.get_cmap("tab10")(np.arange(len(names)) % 10)
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(13, 1.6 + 0.32 * len(tasks) * max(2, len(names) * 0.6)), width_ratios=(3, 2), constrained_layout=True
    )
    height = 0.8 / len(names)
    for k, name in enumerate(names):
        for row, task in enumerate(tasks):
            found = made["tasks"][task].get(name)
            if found is None:
                continue
            place = row + (k + 0.5) * height - 0.4
            left.barh(place, found["mean"], 0.9 * height, color=colours[k], label=name if row == 0 else None)
            left.plot(found["scores"], np.full(len(found["scores"]), place), "k.", markersize=3)
    left.set_yticks(range(len(tasks)), tasks)
    left.invert_yaxis()
    left.set_xlim(0, 1)
    left.set_xlabel("score, mean; a dot is one flight")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 1.2 / (2 + len(tasks))), ncols=min(4, len(names)), frameon=False)
    for k, name in enumerate(names):
        found = made["controllers"][name]
        if "iqm" not in found:
            continue
        e, calls = found["iqm"], max(1, found["evaluations"])
        right.errorbar(calls, e["value"], [[e["value"] - e["low"]], [e["high"] - e["value"]]], fmt="o", color=colours[k], capsize=4)
        right.annotate(name, (calls, e["value"]), xytext=(6, 4), textcoords="offset points", fontsize=8)
    right.set_xscale("log")
    right.set_xlabel("calls of the model per decision")
    right.set_ylabel("interquartile mean over tasks and seeds, 95 % interval")
    right.grid(alpha=0.3)
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()
