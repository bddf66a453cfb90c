"""Draws a tube over simulated trajectories, one panel per state: a PNG, or a page of HTML that loads nothing."""

from __future__ import annotations

import base64
import html
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tubepilot.firmware_bridge.errors import InputError

from .reach import Result
from .report import lines
from .sampling import Sampled
from .specification import Property, Specification

Numbers = npt.NDArray[np.float64]
PANELS = 12
TRAJECTORIES = 150
_COLOURS = {"stay": "tab:green", "reach": "tab:green", "avoid": "tab:red"}
_WIDEST = 3.0  # how far a panel shows beyond the trajectories, in their widths


class Side(NamedTuple):
    """A region in one state, from the conditions that bound this state alone; infinite where there is none."""

    lo: float
    hi: float


def simple_bounds(prop: Property, centre: Numbers) -> dict[int, Side]:
    """The bounds that a property's conditions put on single states; conditions of another form are left out. For drawing only.

    Args:
        prop: the property.
        centre: a state around which the conditions are probed, shape (n,).
    """
    rng = np.random.default_rng(0)
    points = centre + np.concatenate([np.zeros((1, len(centre))), rng.normal(size=(4, len(centre))) * (1.0 + np.abs(centre))])
    with jax.enable_x64(True):
        values = np.asarray(jax.vmap(prop.conditions)(jnp.asarray(points)))
        slopes = np.asarray(jax.vmap(jax.jacfwd(prop.conditions))(jnp.asarray(points)))
    found: dict[int, Side] = {}
    for value, slope in zip(values.T, slopes.transpose(1, 0, 2), strict=True):
        states = np.flatnonzero(np.abs(slope).max(axis=0) > 0)
        if len(states) != 1 or not np.isfinite(value).all():
            continue
        state = int(states[0])
        a = slope[0, state]
        if a == 0 or np.abs(slope[:, state] - a).max() > 1e-9 * abs(a):
            continue
        edge = float(points[0, state] - value[0] / a)
        old = found.get(state, Side(-np.inf, np.inf))
        found[state] = Side(old.lo, min(old.hi, edge)) if a > 0 else Side(max(old.lo, edge), old.hi)
    return found


def draw(spec: Specification, result: Result, sampled: Sampled, path: Path) -> None:
    """Write the picture.

    Args:
        spec: what was analysed.
        result: the outcome.
        sampled: trajectories; up to TRAJECTORIES are drawn.
        path: .png or .html.

    Raises:
        InputError: another suffix.
    """
    if path.suffix not in (".png", ".html"):
        raise InputError(f"{path}: pictures are .png or .html")
    figure = _figure(spec, result, sampled)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    plt.close(figure)
    path.write_bytes(content.getvalue() if path.suffix == ".png" else _page(spec, result, sampled, content.getvalue()).encode())


def _figure(spec: Specification, result: Result, sampled: Sampled) -> Figure:
    count = min(len(spec.states), PANELS)
    columns = 1 if count == 1 else 2 if count <= 4 else 3
    rows = -(-count // columns)
    size = (4.6 * columns, 2.4 * rows + 0.6)
    figure, grid = plt.subplots(rows, columns, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for number, panel in enumerate(grid.ravel()):
        if number >= count:
            panel.set_axis_off()
            continue
        _panel(panel, spec, result, sampled, number)
    for column in range(columns):
        grid[(count - 1 - column) // columns, column].set_xlabel("time [s]")
        grid[(count - 1 - column) // columns, column].tick_params(labelbottom=True)
    some = "" if count == len(spec.states) else f" ({count} of {len(spec.states)} states)"
    partly = "" if result.verdict.value == "verified" else "; the tube is that of the proven boxes, or of the first one"
    figure.suptitle(f"{spec.name}: {result.verdict.value}{partly}{some}", fontsize=11)
    handles: dict[str, object] = {}
    for panel in grid.ravel():
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _panel(panel: Axes, spec: Specification, result: Result, sampled: Sampled, state: int) -> None:
    known = np.isfinite(result.lo[:, state]) & np.isfinite(result.hi[:, state])
    shown = sampled.states[:TRAJECTORIES, :, state]
    low, high = _limits(spec, result, sampled, state, known)
    below, above = 2 * low - high, 2 * high - low  # a tube that grows without bound is drawn up to there
    lo, hi = (np.repeat(np.clip(np.where(known, side[:, state], np.nan), below, above), 2) for side in (result.lo, result.hi))
    panel.fill_between(result.times_s.ravel(), lo, hi, color="tab:blue", alpha=0.35, linewidth=0.6, label="tube")
    panel.plot(sampled.times_s, shown.T, color="0.35", linewidth=0.35)
    panel.plot([], [], color="0.35", linewidth=0.8, label=f"{len(shown)} simulated trajectories")
    for prop in spec.properties:
        side = simple_bounds(prop, spec.initial_box.mean(axis=1)).get(state)
        if side is not None:
            _region(panel, spec, prop, side, low, high)
    found = result.counterexample
    if found is not None:
        panel.plot(found.times_s, found.states[:, state], color="red", linewidth=1.2, label="counterexample")
        at = int(np.argmin(np.abs(found.times_s - found.time_s)))
        panel.plot(found.times_s[at], found.states[at, state], "o", color="red", markersize=4)
    panel.set_xlim(0.0, spec.horizon_s)
    panel.set_ylim(low, high)
    panel.set_ylabel(spec.states[state])
    panel.grid(alpha=0.3)


def _region(panel: Axes, spec: Specification, prop: Property, side: Side, low: float, high: float) -> None:
    """The window of a property and the side of its region in one state; an instant gets a narrow bar."""
    start, stop = prop.window_s
    least = 0.01 * spec.horizon_s
    if stop - start < least:
        start, stop = start - least / 2, stop + least / 2
    bottom, top = max(side.lo, low - (high - low)), min(side.hi, high + (high - low))
    if bottom > top:
        return
    colour = _COLOURS[prop.kind]
    panel.add_patch(Rectangle((start, bottom), stop - start, top - bottom, facecolor=colour, alpha=0.12, zorder=0, label=prop.kind))
    for edge in (side.lo, side.hi):
        if low <= edge <= high:
            panel.plot([start, stop], [edge, edge], color=colour, linewidth=1.2, linestyle="--")


def _limits(spec: Specification, result: Result, sampled: Sampled, state: int, known: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Range of a panel: trajectories, the tube as far as it stays near them, and bounds of properties near by."""
    values = sampled.states[:, :, state]
    values = values[np.isfinite(values)] if np.isfinite(values).any() else np.array([-1.0, 1.0])
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 1e-6 * max(1.0, abs(low), abs(high)))
    if known.any():
        low = max(min(low, float(result.lo[known, state].min())), low - _WIDEST * span)
        high = min(max(high, float(result.hi[known, state].max())), high + _WIDEST * span)
    for prop in spec.properties:
        side = simple_bounds(prop, spec.initial_box.mean(axis=1)).get(state)
        for edge in () if side is None else side:
            if low - span <= edge <= high + span:
                low, high = min(low, edge), max(high, edge)
    return low - 0.05 * span, high + 0.05 * span


def _page(spec: Specification, result: Result, sampled: Sampled, picture: bytes) -> str:
    said = html.escape("\n".join(lines(spec, result, sampled)))
    properties = "".join(
        f"<li>{prop.kind} in [{prop.window_s[0]:g}, {prop.window_s[1]:g}] s: {html.escape('; '.join(prop.text))}</li>"
        for prop in spec.properties
    )
    name = html.escape(spec.name)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        "<style>body{font-family:sans-serif;max-width:75em;margin:2em auto}img{max-width:100%}</style></head><body>"
        f"<h1>{name}: {result.verdict.value}</h1><p>{html.escape(spec.source)}</p><ul>{properties}</ul>"
        f'<img alt="tube over simulated trajectories" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
        f"<pre>{said}</pre></body></html>\n"
    )
