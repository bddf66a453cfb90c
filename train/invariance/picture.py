"""Draws a certificate: its sets, speed against thrust vector for the best anchor, with the tube; and its report."""

from __future__ import annotations

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
from .sensitivity import Gain

NAMES = ("horizontal, any direction", "vertical")


def _margins(facets: Numbers, first: Numbers, second: Numbers) -> Numbers:
    """Largest margin over the anchor on a grid of velocity (columns) and acceleration (rows), jerk zero."""
    anchors = np.linspace(-1.0, 1.0, 201) / facets[0, 0]
    rest = facets[:, 1, None, None] * first[None, None] + facets[:, 2, None, None] * second[None, :, None]
    best = np.full((second.size, first.size), -np.inf)
    for anchor in anchors:
        best = np.maximum(best, 1.0 - np.abs(rest + facets[:, 0, None, None] * anchor).max(axis=0))
    return best


def _draw_set(panel, proof: AxisProof, name: str):  # type: ignore[no-untyped-def]
    """S and T of one axis: velocity against thrust vector, the last stage in white; returns what a colour bar needs."""
    first, last = proof.stage(0), proof.stage(-1)
    v = np.linspace(-1.05, 1.05, 121) / first[1, 1]
    a = np.linspace(-1.05, 1.05, 121) / first[2, 2]
    lasting = _margins(last, v, a)
    margins = np.maximum(_margins(first, v, a), lasting)
    panel.contour(v, a, lasting, levels=[0.0], colors="white", linewidths=1.2)
    filled = panel.contourf(v, a, margins, levels=np.linspace(0.0, 1.0, 11), cmap="viridis")
    panel.contour(v, a, margins, levels=[0.0], colors="black", linewidths=1.6)
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
    for panel, proof, name in zip(axes, certificate.axes, NAMES, strict=True):
        figure.colorbar(_draw_set(panel, proof, name), ax=panel, label="margin to the edge of S")
    figure.suptitle(
        "Invariant set S for the best anchor, zero jerk; white: its last stage; dashed: tube T "
        f"(up to {certificate.speed_m_s:.2f} m/s certified)"
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_report(certificate: Certificate, seen: Falsification, gains: dict[str, Gain], path: Path) -> None:
    """Write a PNG: S and T, the worst trajectory found, how much of T is reached, what limits the set, and what to tighten.

    Args:
        certificate: What was proven.
        seen: What the falsifier reached.
        gains: For each assumption, what one that is 10 % smaller is worth.
        path: File to write.
    """
    figure, panels = plt.subplots(3, 3, figsize=(19, 14), constrained_layout=True)
    for panel, proof, name in zip(panels[0], certificate.axes, NAMES, strict=False):
        figure.colorbar(_draw_set(panel, proof, f"S (colour) and T (dashed): {name}"), ax=panel, label="margin to the edge of S")
    _draw_worst(panels[0, 2], panels[1, 2], certificate, seen)
    rows = np.arange(6)
    for axis, shift in ((0, -0.2), (1, 0.2)):
        panels[1, 0].bar(rows + shift, seen.tube_share[axis], 0.38, label=NAMES[axis])
    panels[1, 0].axhline(1.0, color="tab:red", linestyle="--", linewidth=1)
    panels[1, 0].set_xticks(rows, ROWS, rotation=20)
    panels[1, 0].set_title(f"share of T that {seen.rollouts} attacks reached (1: the tube is exact)")
    panels[1, 0].legend(loc="lower right")
    _draw_stages(panels[1, 1], panels[2, 0], certificate)
    _draw_parts(panels[2, 1], certificate)
    _draw_gains(panels[2, 2], gains)
    both = certificate.at_once
    speeds = f"{both.velocity_m_s[0]:.2f} / {both.velocity_m_s[1]:.2f} m/s"
    figure.suptitle(
        f"{speeds} and {np.degrees(both.tilt_rad):.1f} deg at once in every direction; "
        f"{seen.escapes} of {seen.rollouts} attacks escape"
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_stages(room, tight, certificate: Certificate) -> None:  # type: ignore[no-untyped-def]
    """Room around the anchor by stage, and how near its tube comes to each limit over which the disturbances were bounded."""
    stages = np.arange(certificate.stages.limits.shape[0])
    for axis, name in enumerate(NAMES):
        room.plot(stages, certificate.axes[axis].stage_tube[:, 0], label=name)
    step = f"stage ({1e3 * certificate.step_s:g} ms each)"
    room.set(title="room around the anchor by stage (dotted: leads into itself)", xlabel=step, ylabel="[m]", ylim=(0, None))
    for panel in (room, tight):
        for end in certificate.stages.lasting:
            panel.axvline(end, color="black", linewidth=0.6, linestyle=":")
    room.legend()
    for n, name in enumerate(ROWS):
        share = [axis.stage_tube[:, n] / certificate.stages.limits[:, n, k] for k, axis in enumerate(certificate.axes)]
        tight.plot(stages, np.max(share, axis=0), label=name)
    tight.axhline(1.0, color="tab:red", linestyle="--", linewidth=1)
    tight.set(title="what limits S: tube over the limit it must keep, worse axis", xlabel="stage", ylabel="share (1: binding)")
    tight.legend(loc="lower left", ncols=2)


def _draw_parts(panel, certificate: Certificate) -> None:  # type: ignore[no-untyped-def]
    """What the bound of r over the widest limits is made of."""
    parts, left = certificate.disturbance.parts, np.zeros(2)
    for name, pair in parts.items():
        panel.barh(np.arange(2), pair, left=left, label=name)
        left = left + np.array(pair)
    panel.set_yticks(np.arange(2), NAMES)
    first, last = (certificate.stages.bounds[k, :, 1] for k in (0, -1))
    panel.set(
        title=f"parts of r, first stage (r there {first[0]:.2f}, in the last one {last[0]:.2f} m/s³)",
        xlabel="[m/s³]", xlim=(0, 1.05 * left.max()), ylim=(-0.6, 2.4),
    )  # fmt: skip
    panel.legend(loc="upper left", fontsize=8)


def _draw_gains(panel, gains: dict[str, Gain]) -> None:  # type: ignore[no-untyped-def]
    """Less room and less r if one assumption is 10 % smaller, the most valuable on top."""
    ordered = sorted(gains, key=lambda name: gains[name].room_m[0])
    places = np.arange(len(ordered))
    panel.barh(places + 0.2, [gains[name].room_m[0] for name in ordered], 0.38, color="tab:blue", label="room in the last stage [m]")
    panel.barh(places - 0.2, [gains[name].jerk_m_s3[0] for name in ordered], 0.38, color="tab:orange", label="r [m/s³]")
    panel.set_yticks(places, [name.replace("_", " ") for name in ordered])
    panel.set_title("less, horizontally, if 10 % smaller")
    panel.legend(loc="lower right")


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
        panel.set_title(f"worst found, {name}, over T")
        panel.set_xlabel("time [s]")
        panel.legend(loc="lower left", ncols=2)
