"""A trained model under each controller: the same episodes, their returns, and what a decision costs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .controllers import GradientPlanner, Mppi, PolicyAlone
from .networks import Parameters
from .planning import Controller
from .settings import ModelSettings
from .task import Task, acting, compiled, episodes


@dataclass(frozen=True, slots=True)
class Outcome:
    """Evaluation of one controller.

    Attributes:
        returns: Undiscounted return of each episode.
        mean, std: Over the episodes.
        model_evaluations: Latent dynamics calls per decision, a gradient counted as one more.
        seconds_per_decision: Wall time of one decision of one episode, simulation included [s].
    """

    returns: list[float]
    mean: float
    std: float
    model_evaluations: int
    seconds_per_decision: float


def controllers(model: ModelSettings) -> dict[str, Controller]:
    """Those compared: policy alone, gradient planner with the paper's settings and with more steps, MPPI with TD-MPC2's."""
    every: tuple[Controller, ...] = (
        PolicyAlone(model),
        GradientPlanner(model),
        GradientPlanner(model, steps=8, name="gradient, 8 steps"),
        Mppi(model),
    )
    return {controller.name: controller for controller in every}


def evaluate(
    tasks: Sequence[Task], controller: Controller, parameters: Parameters, seeds: Sequence[int], shown: Iterable[int] | None = None
) -> Outcome:
    """Play one episode per seed, in lockstep.

    Args:
        tasks: One copy of the task per seed.
        controller: Who acts.
        parameters: Weights of the model.
        seeds: Of the starts and of the controller's noise; the same seeds give the same outcome, but for its time.
        shown: Numbers of the decisions, if they are to be counted by a progress bar.
    """
    decide = compiled(controller)
    first = np.stack([task.reset(seed) for task, seed in zip(tasks, seeds, strict=True)])
    acting(controller, decide, parameters, seeds)(first)  # compiles, so that the time below is that of deciding
    began = time.monotonic()
    played = episodes(tasks, seeds, acting(controller, decide, parameters, seeds), shown)
    seconds = (time.monotonic() - began) / (len(tasks) * tasks[0].decisions)
    returns = [one.total for one in played]
    return Outcome(returns, float(np.mean(returns)), float(np.std(returns)), controller.model_evaluations, seconds)
