"""Learning curves of latent models, with what each controller reaches in the end."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

from .evaluation import Outcome
from .training import Row

matplotlib.use("Agg")


def curves_picture(runs: Sequence[tuple[str, int, Sequence[Row], Mapping[str, Outcome]]], heading: str) -> bytes:
    """Draw return over simulation steps, one panel per task, one pair of lines per seed.

    Args:
        runs: Task, seed, rows and outcomes of the controllers.
        heading: Text above.

    Returns:
        A PNG image.
    """
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for name, *_ in runs))
    figure, axes = pyplot.subplots(1, len(names), figsize=(6.5 * len(names), 4.5), squeeze=False, constrained_layout=True)
    for axis, name in zip(axes[0], names, strict=True):
        for number, (seed, rows, outcomes) in enumerate(run[1:] for run in runs if run[0] == name):
            steps = np.array([row.steps for row in rows]) / 1e3
            axis.plot(steps, [row.collected for row in rows], alpha=0.5, color=f"C{number}", label=f"collected, seed {seed}")
            known = [(row.steps / 1e3, row.policy) for row in rows if np.isfinite(row.policy)]
            points = zip(*known, strict=True) if known else ([], [])
            axis.plot(*points, "o-", ms=3, color=f"C{number}", label=f"policy alone, seed {seed}")
            last = steps[-1] if len(steps) else 0.0
            for place, (controller, outcome) in enumerate(outcomes.items()):
                style = {"fmt": "sD^v*<>"[place % 7], "color": f"C{number + place + 1}", "capsize": 3}
                axis.errorbar(last * (1.04 + 0.03 * place), outcome.mean, outcome.std, label=f"{controller}, seed {seed}", **style)
        axis.set(title=name, xlabel="simulation steps [thousands]", ylabel="return of an episode (0 to 1000)")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.suptitle(heading)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()
