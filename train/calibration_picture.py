"""The picture of `bench calibration`: coverage by regime of speed, and error against disagreement."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np

from .bounds import METHODS
from .calibration_record import TOLERANCE
from .prediction import QUANTITIES, UNITS

matplotlib.use("Agg")


def calibration_picture(figures: Mapping[str, Any], title: str) -> bytes:
    """Draw coverage seen beside coverage asked, half-widths beside those of one box for all, and reliability at each horizon.

    Args:
        figures: What the JSON file holds.
        title: Heading.

    Returns:
        A PNG image.
    """
    from matplotlib import pyplot

    horizons = list(figures["spearman"])
    figure, axes = pyplot.subplots(2, 4, figsize=(16, 7.5), constrained_layout=True)
    _coverage(axes[0, 0], figures)
    _widths(axes[1, 0], figures)
    for k, quantity in enumerate(QUANTITIES):
        _reliability(axes[k // 2, 1 + k % 2], figures, quantity, horizons)
    _spearman(axes[0, 3], figures, horizons)
    _flights(axes[1, 3], figures)
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    pyplot.close(figure)
    return buffer.getvalue()


def _names(figures: Mapping[str, Any]) -> list[str]:
    rows = figures["coverage"][METHODS[0]]["regimes"]
    return [f"{r['speed_m_s'][0]:g}-" + ("" if r["speed_m_s"][1] is None else f"{r['speed_m_s'][1]:g}") for r in rows]


def _coverage(axis: Any, figures: Mapping[str, Any]) -> None:
    names, asked = _names(figures), figures["asked"]
    for method in METHODS:
        seen = [np.nan if r["seen"] is None else r["seen"] for r in figures["coverage"][method]["regimes"]]
        axis.plot(range(len(names)), seen, "o-", label=f"seen, quantile over {method}")
    axis.axhline(asked, color="k", label=f"asked, with {TOLERANCE:g}")
    axis.axhspan(asked - TOLERANCE, asked + TOLERANCE, color="k", alpha=0.1)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("joint coverage of flights left out")
    axis.set_xlabel("speed [m/s]")
    axis.legend(fontsize=8)


def _widths(axis: Any, figures: Mapping[str, Any]) -> None:
    part, names = figures["coverage"][METHODS[0]], _names(figures)
    for column, name in ((0, "acceleration xy"), (2, "acceleration z"), (3, "rate x"), (5, "rate z")):
        one = part["one_box_for_all"]["half_widths"][column]
        axis.plot(range(len(names)), [r["half_widths"][column] / one for r in part["regimes"]], "o-", label=name)
    axis.axhline(1.0, color="k", linewidth=0.8)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("half-width over that of one box for all")
    axis.set_xlabel("speed [m/s]")
    axis.legend(fontsize=8)


def _reliability(axis: Any, figures: Mapping[str, Any], quantity: str, horizons: list[str]) -> None:
    for colour, horizon in enumerate(horizons):
        bins = figures["scale"][horizon][quantity]["bins"]
        axis.plot(bins["disagreement"], bins["error"], "o", color=f"C{colour}", label=f"{horizon} steps")
        axis.plot(bins["disagreement"], bins["isotonic"], "-", color=f"C{colour}", linewidth=0.9)
        axis.plot(bins["disagreement"], bins["linear"], ":", color=f"C{colour}", linewidth=0.9)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(f"disagreement, {quantity} [{UNITS[quantity]}]")
    axis.set_ylabel("error (line: isotonic, dots: linear)")
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=8)


def _spearman(axis: Any, figures: Mapping[str, Any], horizons: list[str]) -> None:
    for k, quantity in enumerate([*QUANTITIES, "all"]):
        rows = [figures["spearman"][h][quantity] for h in horizons]
        place = np.arange(len(horizons)) + 0.12 * (k - 2)
        value = np.array([r["value"] for r in rows])
        low, high = ([r["value"] if r[end] is None else r[end] for r in rows] for end in ("low", "high"))
        axis.errorbar(place, value, [np.maximum(value - low, 0), np.maximum(high - value, 0)], fmt="o", capsize=3, label=quantity)
    axis.axhline(0.0, color="k", linewidth=0.8)
    axis.set_xticks(range(len(horizons)), [f"{h} steps" for h in horizons])
    axis.set_ylabel("rank correlation, disagreement and error")
    axis.legend(fontsize=8)


def _flights(axis: Any, figures: Mapping[str, Any]) -> None:
    asked = figures["asked"]
    for method in METHODS:
        axis.plot(sorted(figures["coverage"][method]["flights"].values()), "o-", markersize=3, label=f"quantile over {method}")
    axis.axhline(asked, color="k")
    axis.axhspan(asked - TOLERANCE, asked + TOLERANCE, color="k", alpha=0.1)
    axis.set_xlabel("flights left out, from the least covered")
    axis.set_ylabel("joint coverage")
    axis.legend(fontsize=8)
