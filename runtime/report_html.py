"""The report page: one self-contained HTML file, readable in light and dark, that loads nothing from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .report_theme import DARK, LIGHT, Theme

PANEL_TEXT: dict[str, tuple[str, str]] = {
    "path": ("Path", "Flown path against the reference, world ENU [m]; the grey line is its shadow on the ground."),
    "error": ("Tracking error", "Distance between vehicle and reference while tracking [cm]."),
    "timing": ("Tick time", "Newest state read to set-point sent [ms]; the red line is the deadline."),
    "gain": ("Refinement gain", "What the gradient steps add to the return of the warm-started plan [-]."),
    "shield": ("Shield decisions", "What the shield did each tick: accept, backup policy, or void."),
    "margin": ("Margin", "Distance to the edge of the certified invariant set [-]; the red zone is outside."),
}
Rows = Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Page:
    """Contents of the page.

    Attributes:
        title: Headline.
        subtitle: One line under it.
        tiles: (caption, value): the figures that matter most.
        images: Panel name -> (light PNG, dark PNG).
        tables: (heading, rows of (name, value, note)).
        events: (time, text).
        notice: Shown on top if not empty, for example that the log was cut off.
    """

    title: str
    subtitle: str
    tiles: Sequence[tuple[str, str]]
    images: dict[str, tuple[bytes, bytes]]
    tables: Sequence[tuple[str, Rows]]
    events: Sequence[tuple[str, str]]
    notice: str


def _variables(theme: Theme) -> str:
    roles = ("page", "panel", "ink", "muted", "grid", "flown", "backup")
    return ";".join(f"--{role}:{getattr(theme, role)}" for role in roles)


def _style() -> str:
    return f"""
:root{{color-scheme:light dark;{_variables(LIGHT)}}}
@media (prefers-color-scheme: dark){{:root{{{_variables(DARK)}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}}
main{{max-width:1240px;margin:0 auto;padding:32px 20px 64px}}
h1{{font-size:26px;line-height:1.2;margin:0}}
h2{{font-size:16px;margin:0 0 8px}}
.sub{{color:var(--muted);margin:6px 0 0}}
.notice{{border-left:4px solid var(--backup);background:var(--panel);padding:10px 14px;margin:18px 0 0}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:22px 0}}
.tile,.card{{background:var(--panel);border:1px solid var(--grid);border-radius:10px}}
.tile{{padding:12px 14px}}
.tile b{{display:block;font-size:21px;color:var(--flown);font-variant-numeric:tabular-nums;white-space:nowrap}}
.tile span{{color:var(--muted);font-size:12.5px}}
.grid{{margin-top:14px;display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:14px}}
.card{{padding:12px 14px;margin:0;overflow-x:auto}}
.card img{{width:100%;height:auto;display:block}}
figcaption{{color:var(--muted);font-size:12.5px;margin-top:6px}}
.card.events{{margin-top:14px}}
table{{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}}
td{{padding:5px 16px 5px 0;border-top:1px solid var(--grid);vertical-align:top}}
tr:first-child td{{border-top:0}}
td:first-child,td.n{{white-space:nowrap}}
td:first-child{{width:1%}}
td:nth-child(2){{font-weight:600}}
td:nth-child(3){{color:var(--muted);font-size:13px}}
.events td:first-child{{color:var(--muted)}}
.events td:nth-child(2){{font-weight:400}}
footer{{color:var(--muted);font-size:12.5px;margin-top:22px}}
"""


def _image(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _figure(name: str, images: tuple[bytes, bytes]) -> str:
    title, text = PANEL_TEXT[name]
    light, dark = (_image(image) for image in images)
    return (
        f'<figure class="card"><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(title)}: {escape(text)}"></picture>'
        f"<figcaption>{escape(text)}</figcaption></figure>"
    )


def _cell(text: str) -> str:
    """A table cell; a short one (a figure with its unit) is never broken over two lines."""
    return f"<td{' class=n' if len(text) <= 36 else ''}>{escape(text)}</td>"


def _table(heading: str, rows: Rows, css: str = "") -> str:
    body = "".join(f"<tr>{_cell(name)}{_cell(value)}<td>{escape(note)}</td></tr>" for name, value, note in rows)
    return f'<section class="card {css}"><h2>{escape(heading)}</h2><table>{body}</table></section>'


def render(page: Page) -> str:
    """The whole page as text; every value is escaped, nothing refers to the network."""
    tiles = "".join(f'<div class="tile"><b>{escape(v)}</b><span>{escape(c)}</span></div>' for c, v in page.tiles)
    figures = "".join(_figure(name, images) for name, images in page.images.items())
    tables = "".join(_table(heading, rows) for heading, rows in page.tables)
    events = _table("Events", [(when, text, "") for when, text in page.events], "events") if page.events else ""
    notice = f'<p class="notice">{escape(page.notice)}</p>' if page.notice else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(page.title)}</title><style>{_style()}</style></head><body><main>"
        f'<h1>{escape(page.title)}</h1><p class="sub">{escape(page.subtitle)}</p>{notice}'
        f'<div class="tiles">{tiles}</div><div class="grid">{figures}</div>'
        f'<div class="grid">{tables}</div>{events}'
        "<footer>World frame ENU, body frame FLU, SI units. Times from the companion's CLOCK_MONOTONIC.</footer>"
        "</main></body></html>\n"
    )
