"""Draws the sets of a certificate: speed against thrust vector, for the best anchor, with the tube."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from .certificate import Certificate
from .interval import Numbers


def _margins(facets: Numbers, first: Numbers, second: Numbers) -> Numbers:
    """Largest margin over the anchor on a grid of velocity (columns) and acceleration (rows), jerk zero."""
    anchors = np.linspace(-1.0, 1.0, 201) / facets[0, 0]
    rest = facets[:, 1, None, None] * first[None, None] + facets[:, 2, None, None] * second[None, :, None]
    best = np.full((second.size, first.size), -np.inf)
    for anchor in anchors:
        best = np.maximum(best, 1.0 - np.abs(rest + facets[:, 0, None, None] * anchor).max(axis=0))
    return best


def draw(certificate: Certificate, path: Path) -> None:
    """Write a PNG with one panel per axis.

    Args:
        certificate: What was proven.
        path: File to write.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), constrained_layout=True)
    for panel, proof, name in zip(axes, certificate.axes, ("horizontal, any direction", "vertical"), strict=True):
        v = np.linspace(-1.05, 1.05, 121) / proof.facets[1, 1]
        a = np.linspace(-1.05, 1.05, 121) / proof.facets[2, 2]
        margins = _margins(proof.facets, v, a)
        filled = panel.contourf(v, a, margins, levels=np.linspace(0.0, 1.0, 11), cmap="viridis")
        panel.contour(v, a, margins, levels=[0.0], colors="black", linewidths=1.6)
        for sign in (-1, 1):
            panel.axvline(sign * proof.tube_bound[1], color="tab:red", linestyle="--", linewidth=1)
            panel.axhline(sign * proof.tube_bound[2], color="tab:red", linestyle="--", linewidth=1)
        panel.set_title(name)
        panel.set_xlabel("velocity [m/s]")
        panel.set_ylabel("thrust vector minus hover, plus held disturbance [m/s²]")
        figure.colorbar(filled, ax=panel, label="margin to the edge of S")
    figure.suptitle(
        f"Invariant set S for the best anchor, zero jerk; dashed: tube T (up to {certificate.speed_m_s:.2f} m/s certified)"
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)
