"""The picture of open-loop error over the horizon."""

from __future__ import annotations

import io
from collections.abc import Mapping

import matplotlib
import numpy as np

from .prediction import HORIZON, QUANTITIES, UNITS, Errors

matplotlib.use("Agg")


def horizon_picture(rows: Mapping[str, Errors], title: str, dt_s: float) -> bytes:
    """Draw mean error over prediction time, one panel per quantity.

    Args:
        rows: Model name to errors.
        title: Heading.
        dt_s: Step [s].

    Returns:
        A PNG image.
    """
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), sharex=True, constrained_layout=True)
    time_s = (np.arange(HORIZON) + 1) * dt_s
    for axis, quantity in zip(axes.flat, QUANTITIES, strict=True):
        for name, row in rows.items():
            axis.plot(time_s, getattr(row, quantity), label=name)
        axis.set_ylabel(f"{quantity} error [{UNITS[quantity]}]")
        axis.set_yscale("log")
        axis.grid(alpha=0.3, which="both")
    for axis in axes[1]:
        axis.set_xlabel("prediction time [s]")
    axes[0, 0].legend()
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()
