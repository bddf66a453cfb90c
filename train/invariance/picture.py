"""Draws a certificate: its sets, speed against thrust vector for the best anchor, with the tube; and its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from .certificate import Certificate
from .falsify import Falsification
from .falsify_plant import rollout
from .interval import Numbers
from .loop import ROWS
from .proof import AxisProof


def _margins(facets: Numbers, first: Numbers, second: Numbers) -> Numbers:
    """Largest margin over the anchor on a grid of velocity (columns) and acceleration (rows), jerk zero."""
    anchors = np.linspace(-1.0, 1.0, 101) / facets[0, 0]
    rest = facets[:, 1, None, None] * first[None, None] + facets[:, 2, None, None] * second[None, :, None]
    best = np.full((second.size, first.size), -np.inf)
    for anchor in anchors:
        best = np.maximum(best, 1.0 - np.abs(rest + facets[:, 0, None, None] * anchor).max(axis=0))
    return best


def _draw_set(panel, proof: AxisProof, name: str, levels: Sequence[AxisProof] = ()):  # type: ignore[no-untyped-def]
    """S and T of one axis, velocity against thrust vector, and the levels inside S; the last stage
    in white; returns what a colour bar needs."""
    first, last = proof.stage(0), proof.stage(-1)
    v = np.linspace(-1.05, 1.05, 121) / first[1, 1]
    a = np.linspace(-1.05, 1.05, 121) / first[2, 2]
    lasting = _margins(last, v, a)
    margins = np.maximum(_margins(first, v, a), lasting)
    panel.contour(v, a, lasting, levels=[0.0], colors="white", linewidths=1.2)
    filled = panel.contourf(v, a, margins, levels=np.linspace(0.0, 1.0, 11), cmap="viridis")
    panel.contour(v, a, margins, levels=[0.0], colors="black", linewidths=1.6)
    for level in levels:
        own_v, own_a = (np.linspace(-1.05, 1.05, 41) / level.facets[k, k] for k in (1, 2))
        own = _margins(level.facets, own_v, own_a)
        lines = panel.contour(own_v, own_a, own, levels=[0.0], colors="white", linewidths=1.4, linestyles="dotted")
        panel.clabel(lines, fmt={0.0: f"stays within {level.tube_bound[0]:.1f} m"}, fontsize=8)
    for sign in (-1, 1):
        panel.axvline(sign * proof.tube_bound[1], color="tab:red", linestyle="--", linewidth=1)
        panel.axhline(sign * proof.tube_bound[2], color="tab:red", linestyle="--", linewidth=1)
    panel.set_title(name)
    panel.set_xlabel("velocity [m/s]")
    panel.set_ylabel("thrust vector minus hover, plus held disturbance [m/s²]")
    return filled


def draw(certificate: Certificate, path: Path) -> None:
    """Write a PNG with one panel per axis.

    Args:
        certificate: What was proven.
        path: File to write.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), constrained_layout=True)
    for panel, proof, name in zip(axes, certificate.axes, ("horizontal, any direction", "vertical"), strict=True):
        figure.colorbar(_draw_set(panel, proof, name), ax=panel, label="margin to the edge of S")
    figure.suptitle(
        "Invariant set S for the best anchor, zero jerk; white: its last stage; dashed: tube T "
        f"(up to {certificate.speed_m_s:.2f} m/s certified)"
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_report(certificate: Certificate, seen: Falsification, gains: dict[str, tuple[float, float]], path: Path) -> None:
    """Write a PNG that shows S and T, the worst trajectory found, how much of T is reached, and what limits the set.

    Args:
        certificate: What was proven.
        seen: What the falsifier reached.
        gains: For each assumption, how much r shrinks when it is 10 % smaller (horizontal, vertical) [m/s^3].
        path: File to write.
    """
    figure, panels = plt.subplots(2, 3, figsize=(17, 9), constrained_layout=True)
    names = ("horizontal, any direction", "vertical")
    for axis, panel in enumerate(panels[0, :2]):
        proof, levels = certificate.axes[axis], [level.axes[axis] for level in certificate.levels]
        title = f"S (colour), T (dashed, {proof.tube_bound[0]:.1f} m), levels (dotted): {names[axis]}"
        figure.colorbar(_draw_set(panel, proof, title, levels), ax=panel, label="margin to the edge of S")
    _draw_worst(panels[0, 2], panels[1, 2], certificate, seen)
    rows = np.arange(6)
    for axis, shift in ((0, -0.2), (1, 0.2)):
        panels[1, 0].bar(rows + shift, seen.tube_share[axis], 0.38, label=names[axis])
    panels[1, 0].axhline(1.0, color="tab:red", linestyle="--", linewidth=1)
    panels[1, 0].set_xticks(rows, ROWS, rotation=20)
    panels[1, 0].set_title(f"share of T that {seen.rollouts} attacks reached (1: the tube is exact)")
    panels[1, 0].legend(loc="lower center")
    ordered = sorted(gains, key=lambda name: gains[name][0])
    panels[1, 1].barh(np.arange(len(ordered)), [gains[name][0] for name in ordered], color="tab:orange")
    panels[1, 1].set_yticks(np.arange(len(ordered)), [name.replace("_", " ") for name in ordered])
    panels[1, 1].set_title("what to tighten: less r [m/s³] if this is 10 % smaller")
    both = certificate.at_once
    speeds = f"{both.velocity_m_s[0]:.2f} / {both.velocity_m_s[1]:.2f} m/s"
    figure.suptitle(
        f"{speeds} and {np.degrees(both.tilt_rad):.1f} deg at once in every direction; "
        f"{seen.escapes} of {seen.rollouts} attacks escape"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_worst(above, below, certificate: Certificate, seen: Falsification) -> None:  # type: ignore[no-untyped-def]
    """The rollout that came closest to the edge: each state as a share of its tube."""
    with jax.enable_x64(True):
        z = np.asarray(jax.jit(rollout(certificate, trace=True))(*(type(x)(*map(jnp.asarray, x)) for x in seen.worst))[0])
    t = certificate.step_s * np.arange(1, z.shape[0] + 1)
    for n, name in enumerate(ROWS[:4]):
        above.plot(t, np.linalg.norm(z[:, n, :2], axis=1) / certificate.axes[0].tube_bound[n], label=name)
        below.plot(t, np.abs(z[:, n, 2]) / certificate.axes[1].tube_bound[n], label=name)
    for panel, name in ((above, "horizontally"), (below, "vertically")):
        panel.axhline(1.0, color="tab:red", linestyle="--", linewidth=1)
        panel.set_title(f"worst attack found, {name}: shares of T")
        panel.set_xlabel("time [s]")
        panel.legend(loc="best", ncols=2)
