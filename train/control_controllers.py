"""The controllers that `bench control` compares, and the variants of its ablation, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .checkpoint import Checkpoint
from .controllers import Controller, GeometricController, GradientController, PolicyController, SamplingController
from .planner_settings import PlannerSettings, preset
from .sampling_planners import SamplingSettings, cem_settings, mppi_settings

Builder = Callable[[Checkpoint], Controller]

CONTROLLERS = ("gradient", "policy", "mppi", "cem", "geometric", "gradient-paper")
"""The first is compared with each of the others."""

EXTRA = ("mppi-long",)
"""Flown if asked for: MPPI over 12 steps, with a temperature for returns of this size, its mean flown; 36864 evaluations a decision."""

STEPS, HORIZONS = (0, 1, 3, 8), (3, 5, 10, 20)
VARIANTS = (
    "gradient", "no reuse", "no uncertainty", "uncertainty without gradient", "uncertainty gradient frozen", "ranked before last step",
    *(f"K={steps}" for steps in STEPS), *(f"H={horizon}" for horizon in HORIZONS), "whole value", "policy's position cost",
)  # fmt: skip
"""The first is the planner as it flies (N=2, K=4, H=20; "H=20" is the same once more), the others lack or change one thing."""


def _settings(checkpoint: Checkpoint, name: str) -> PlannerSettings:
    return preset(name, dt_plan_s=checkpoint.settings.dt_plan_s, tick_hz=checkpoint.settings.tick_hz)


def variants(checkpoint: Checkpoint) -> dict[str, PlannerSettings]:
    """Settings of `VARIANTS`."""
    full = _settings(checkpoint, "long")
    changed = {
        "gradient": full,
        "no reuse": replace(full, reuse=0.0),
        "no uncertainty": replace(full, disagreement=0.0),
        "uncertainty without gradient": replace(full, disagreement_gradient=False),
        "uncertainty gradient frozen": replace(full, disagreement_frozen=True),
        "ranked before last step": replace(full, rank_before_last_step=True),
    }
    changed |= {f"K={steps}": replace(full, steps=steps) for steps in STEPS}
    changed |= {f"H={horizon}": replace(full, horizon=horizon) for horizon in HORIZONS}
    return changed | {"whole value": replace(full, value=1.0), "policy's position cost": replace(full, position=1.0)}


def settings_of(name: str, checkpoint: Checkpoint) -> PlannerSettings | SamplingSettings | None:
    """Settings of a controller by its name, one of `CONTROLLERS`, `EXTRA` or `VARIANTS`; None if it has none."""
    if name in ("policy", "geometric"):
        return None
    if name == "gradient-paper":
        return _settings(checkpoint, "paper")
    if name in VARIANTS:
        return variants(checkpoint)[name]
    timing = {"dt_plan_s": checkpoint.settings.dt_plan_s, "tick_hz": checkpoint.settings.tick_hz}
    if name == "cem":
        return cem_settings(**timing)
    base = mppi_settings(**timing)
    if name == "mppi":
        return base
    return replace(base, problem=replace(base.problem, horizon=12), temperature=500.0, draw_elite=False)


def build(name: str, checkpoint: Checkpoint) -> Controller:
    """A controller by its name."""
    settings = settings_of(name, checkpoint)
    if isinstance(settings, SamplingSettings):
        return SamplingController(checkpoint, settings, name=name)
    if isinstance(settings, PlannerSettings):
        return GradientController(checkpoint, settings, name=name)
    return PolicyController(checkpoint) if name == "policy" else GeometricController()
