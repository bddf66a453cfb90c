"""Colours and type of the report's figures: one palette, in a light and a dark version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by role; the same role has the same hue in both versions. Distinguishable with red-green blindness."""

    name: str
    page: str
    panel: str
    ink: str
    muted: str
    grid: str
    flown: str
    reference: str
    second: str
    accept: str
    backup: str
    void: str
    phase: str

    def settings(self) -> dict[Any, Any]:
        """Matplotlib settings of this theme."""
        return {
            "font.family": "DejaVu Sans",
            "font.size": 9.0,
            "axes.titlesize": 11.0,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlepad": 10.0,
            "axes.labelsize": 9.0,
            "axes.labelcolor": self.muted,
            "axes.titlecolor": self.ink,
            "axes.edgecolor": self.grid,
            "axes.facecolor": self.panel,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.linewidth": 0.8,
            "grid.color": self.grid,
            "grid.linewidth": 0.6,
            "figure.facecolor": self.panel,
            "savefig.facecolor": self.panel,
            "text.color": self.ink,
            "xtick.color": self.grid,
            "ytick.color": self.grid,
            "xtick.labelcolor": self.muted,
            "ytick.labelcolor": self.muted,
            "xtick.labelsize": 8.0,
            "ytick.labelsize": 8.0,
            "xtick.major.size": 0.0,
            "ytick.major.size": 0.0,
            "xtick.minor.size": 0.0,
            "ytick.minor.size": 0.0,
            "legend.frameon": False,
            "legend.fontsize": 8.0,
            "legend.labelcolor": self.muted,
            "lines.solid_capstyle": "round",
        }


LIGHT = Theme(
    name="light", page="#f6f7f9", panel="#ffffff", ink="#16202c", muted="#55616f", grid="#e3e7ec", flown="#1f6feb",
    reference="#8a94a0", second="#7c4dcf", accept="#1f9d7a", backup="#e08a00", void="#d1344b", phase="#eef2f7",
)  # fmt: skip
DARK = Theme(
    name="dark", page="#0e1319", panel="#161d26", ink="#e8edf3", muted="#9aa7b5", grid="#2a3441", flown="#5b9dff",
    reference="#8f9bab", second="#b394f5", accept="#3ec79d", backup="#f2a93b", void="#f2637a", phase="#1d2732",
)  # fmt: skip
