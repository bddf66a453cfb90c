"""Settings of the planner and their presets: `paper` (the published defaults), `quadrotor` and `long` (tuned for flight)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from tubepilot.firmware_bridge.errors import InputError


class StepRule(Enum):
    """How a gradient becomes a change of the plan.

    GRADIENT: step_size * gradient, as published.
    NORMALISED: the gradient scaled so that the root-mean-square change of an action is step_size.
    PRECONDITIONED: the gradient over a bound of the curvature at hover, each action its own (step_size 1 is the
        largest that cannot overshoot in a quadratic), the root-mean-square change softly limited to step_size * radius.
    """

    GRADIENT = "gradient"
    NORMALISED = "normalised"
    PRECONDITIONED = "preconditioned"


NORMALISED_FLOOR = 1e-6
"""Root-mean-square gradient below which a normalised step shrinks to zero instead of dividing by zero."""


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """Shape and tuning of the planner.

    Attributes:
        preset: Name it started from.
        candidates: N, at least 1.
        horizon: H, steps of a plan, at least 1.
        steps: K, most refinement steps in one tick; fewer if the deadline comes first.
        dt_plan_s: Length of a plan step [s].
        shift_knots: Plan steps that pass in one tick (tick / dt_plan), in [0, 1].
        step_rule, step_size: See `StepRule`.
        radius: Soft limit of a preconditioned step, root mean square over the plan, in action units.
        curvature_floor: Least curvature of the preconditioner over its greatest.
        reuse: rho, share of the shifted plan in candidates 1..N-1, in [0, 1].
        noise: Standard deviation of the noise on the policy's actions, in action units.
        disagreement: lambda, weight of the ensemble's disagreement; None takes the checkpoint's.
        disagreement_gradient: Whether the disagreement takes part in the gradient; False is what the released code of
            arXiv:2605.04568 does (it only ranks).
        disagreement_frozen: Whether that gradient is taken once a tick, at the candidates before refinement, and kept for all steps;
            the exported graphs take it anew in every step, whatever this says.
        rank_before_last_step: Whether the returns of the candidates before their last step pick the plan, as in that
            code; False ranks what is flown.
        position, value: Factors of the cost's position weights and of the terminal value. The value is the policy's own cost; a
            plan that looks far ahead and holds the path more firmly than the policy needs less of it.
        obstacle, fence, speed: Weights of the three `constraints.violations`, each per second of flight.
        shell_m: Safety shell about obstacles and inside the fence that the plan keeps out of [m].
    """

    preset: str
    candidates: int
    horizon: int
    steps: int
    dt_plan_s: float
    shift_knots: float
    step_rule: StepRule
    step_size: float
    radius: float
    curvature_floor: float
    reuse: float
    noise: float
    disagreement: float | None
    disagreement_gradient: bool = True
    disagreement_frozen: bool = False
    rank_before_last_step: bool = False
    position: float = 1.0
    value: float = 1.0
    obstacle: float = 300.0
    fence: float = 300.0
    speed: float = 30.0
    shell_m: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a field is outside its range.
        """
        limits: dict[str, tuple[float, float]] = {
            "candidates": (1, 256),
            "horizon": (1, 64),
            "steps": (0, 64),
            "dt_plan_s": (1e-3, 1.0),
            "shift_knots": (0.0, 1.0),
            "step_size": (1e-6, 10.0),
            "radius": (1e-3, 2.0),
            "curvature_floor": (1e-9, 1.0),
            "reuse": (0.0, 1.0),
            "noise": (0.0, 1.0),
            "position": (0.0, 1e3),
            "value": (0.0, 1e3),
            "obstacle": (0.0, 1e6),
            "fence": (0.0, 1e6),
            "speed": (0.0, 1e6),
            "shell_m": (0.0, 10.0),
        }
        for name, (low, high) in limits.items():
            value = float(getattr(self, name))
            if not low <= value <= high:
                raise InputError(f"planner setting {name} is {value:g}, must be within [{low:g}, {high:g}]")
        if self.disagreement is not None and not (math.isfinite(self.disagreement) and self.disagreement >= 0):
            raise InputError(f"planner setting disagreement is {self.disagreement:g}, must be finite and >= 0")

    @property
    def model_evaluations(self) -> int:
        """Calls of the model's step in one decision, a backward pass counted as one more: N H rollouts, 2 K N H in the
        refinement, N H to rank (none if the last refinement step has ranked already)."""
        ranked_already = self.rank_before_last_step and self.steps > 0
        passes = 1 + 2 * self.steps + (0 if ranked_already else 1)
        return passes * self.candidates * self.horizon

    @property
    def step_gain_radius(self) -> tuple[float, float]:
        """Gain and radius of `direction * gain / sqrt(radius^2 + mean(direction^2))`."""
        if self.step_rule is StepRule.NORMALISED:
            return self.step_size, NORMALISED_FLOOR
        return self.step_size * self.radius, self.radius


def preset(
    name: str, *, dt_plan_s: float, tick_hz: float, horizon: int | None = None, candidates: int | None = None
) -> PlannerSettings:
    """Settings by name.

    Args:
        name: `paper` (N=5, H=3, K=1, plain gradient step of 0.1, rho=0.1, lambda=0.01; arXiv:2605.04568) or
            `quadrotor` (N=5, H=12, K=4, preconditioned) or `long` (the same with N=2, H=20: fewer candidates that look
            further, 400 evaluations of the model instead of 600; it holds the path four times as firmly, so obstacles weigh more
            as well, leans less on the policy's value, and blends in less of the last plan).
        dt_plan_s: Length of a plan step [s].
        tick_hz: Control rate [Hz].
        horizon: Steps of a plan; the preset's own if None.
        candidates: Number of candidates; the preset's own if None.

    Raises:
        InputError: unknown name, or a value outside its range.
    """
    if tick_hz <= 0 or dt_plan_s <= 0:
        raise InputError(f"tick_hz is {tick_hz:g} and dt_plan_s is {dt_plan_s:g}, both must be > 0")
    shift = 1.0 / (tick_hz * dt_plan_s)
    if name == "paper":
        return PlannerSettings(
            preset=name, candidates=candidates or 5, horizon=horizon or 3, steps=1, dt_plan_s=dt_plan_s,
            shift_knots=shift, step_rule=StepRule.GRADIENT, step_size=0.1, radius=1.0, curvature_floor=1.0,
            reuse=0.1, noise=0.1, disagreement=0.01,
        )
    if name == "quadrotor":
        return PlannerSettings(
            preset=name, candidates=candidates or 5, horizon=horizon or 12, steps=4, dt_plan_s=dt_plan_s,
            shift_knots=shift, step_rule=StepRule.PRECONDITIONED, step_size=1.0, radius=0.5, curvature_floor=1e-3,
            reuse=0.5, noise=0.15, disagreement=None,
        )
    if name == "long":
        return replace(
            preset("quadrotor", dt_plan_s=dt_plan_s, tick_hz=tick_hz, horizon=horizon or 20, candidates=candidates or 2),
            preset=name, reuse=0.1, position=4.0, value=0.2, obstacle=2400.0,
        )
    raise InputError(f"planner preset {name!r} is unknown; the presets are: paper, quadrotor, long")
