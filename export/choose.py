"""Choose how much a planner does in a tick from the rate and the machine: `export --tick-hz HZ --device NAME`.

From `LADDER`, the best first, the first choice whose predicted decision fits into its share of the period; see
`runtime.cost_model` for the prediction.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.runtime.cost_model import SHARE, Device, GraphCost
from tubepilot.train.planner import PlannerModel
from tubepilot.train.planner_settings import PlannerSettings

from . import c_source, emit
from .graph import Graph
from .planner_graphs import PORTS, rank_graph, refine_graph, rollout_graph
from .random_model import random_model

LADDER = ((5, 20, 4), (5, 12, 4), (5, 12, 3), (5, 10, 3), (3, 12, 3), (3, 10, 2), (2, 10, 2), (2, 8, 2), (2, 8, 1), (2, 5, 1))
"""Candidates, horizon, refinement steps: first a step less, then fewer candidates, then a nearer horizon."""
TABLE_HZ = (100.0, 250.0, 500.0)
TABLE_WIDTHS = (32, 64, 128)


def costs(model: PlannerModel, settings: PlannerSettings, engine: str) -> dict[str, GraphCost]:
    """Cost of the three graphs of a tick by an engine."""
    graphs: dict[str, Graph] = {
        "rollout": rollout_graph(model, settings),
        "refine": refine_graph(model, settings, np.full((settings.horizon, 4), 0.5)),  # any metric costs the same
        "rank": rank_graph(model, settings),
    }
    models = {name: emit.to_model(graph, name, PORTS, {}) for name, graph in graphs.items()}
    if engine == "compiled":
        return c_source.write(models).costs
    sizes = {name: emit.size(graph, models[name]) for name, graph in graphs.items()}
    return {name: GraphCost(size.nodes, size.flops, size.elements) for name, size in sizes.items()}


def predicted_us(model: PlannerModel, settings: PlannerSettings, device: Device) -> float:
    """Predicted time of a decision with all its steps, back to back [us]."""
    known = costs(model, settings, device.engine)
    return device.decision_us(known["rollout"], known["refine"], known["rank"], settings.steps)


Costs = dict[tuple[int, int], dict[str, GraphCost]]
"""By number of candidates and horizon; the number of steps changes no graph."""


def choose(
    model: PlannerModel, settings: PlannerSettings, tick_hz: float, device: Device, known: Costs | None = None
) -> tuple[PlannerSettings, float]:
    """The settings with N, H and K of the first rung that fits, and its predicted time [us].

    Args:
        model: Weights.
        settings: Everything but N, H and K.
        tick_hz: Ticks per second [Hz].
        device: Machine.
        known: Costs found before, of this model; filled in.

    Raises:
        InputError: even the last rung does not fit.
    """
    known = {} if known is None else known
    budget_us = 1e6 * SHARE / tick_hz
    predicted = 0.0
    for candidates, horizon, steps in LADDER:
        chosen = replace(settings, candidates=candidates, horizon=horizon, steps=steps)
        if (candidates, horizon) not in known:
            known[candidates, horizon] = costs(model, chosen, device.engine)
        cost = known[candidates, horizon]
        predicted = device.decision_us(cost["rollout"], cost["refine"], cost["rank"], steps)
        if predicted <= budget_us:
            return chosen, predicted
    raise InputError(
        f"at {tick_hz:g} Hz a decision may take {budget_us:.0f} us on {device.name}, the smallest takes {predicted:.0f} us: "
        f"train narrower networks, or tick slower"
    )


def table(model: PlannerModel, settings: PlannerSettings, device: Device) -> str:
    """What is chosen at 100, 250 and 500 Hz, for this checkpoint and for other widths of its networks and members."""
    members = model.world.residual.w2.shape[0]
    rows: list[tuple[str, PlannerModel]] = [("this checkpoint", model)]
    rows += [(f"width {w}", random_model(0, members=members, width=w, policy_width=w)) for w in TABLE_WIDTHS]
    where = f"{device.name} ({device.engine}), {members} members"
    lines = [f"predicted on {where}: N, H, K (decision, of {100 * SHARE:.0f} % of the period)"]
    lines.append(f"{'':<16}" + "".join(f"{f'{hz:g} Hz':>28}" for hz in TABLE_HZ))
    for label, one in rows:
        cells, known = [], Costs()
        for hz in TABLE_HZ:
            try:
                chosen, predicted = choose(one, settings, hz, device, known)
                cells.append(f"{chosen.candidates}, {chosen.horizon}, {chosen.steps} ({predicted:.0f} of {1e6 * SHARE / hz:.0f} us)")
            except InputError:
                cells.append("does not fit")
        lines.append(f"{label:<16}" + "".join(f"{cell:>28}" for cell in cells))
    return "\n".join(lines)
