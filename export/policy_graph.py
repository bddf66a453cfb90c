"""The policy as one graph: state, reference and disturbance in, action and set-point out."""

from __future__ import annotations

import numpy as np

from tubepilot.train.planner import PlannerModel

from .emit import Port
from .graph import Graph
from .model_graph import ModelGraph, selection, world_velocity
from .observing_network import ObservingNetwork
from .planner_graphs import PORTS as PLANNER_PORTS

PORTS = (
    *(port for port in PLANNER_PORTS if port.name in {"state", "disturbance"}),
    Port("reference", "m, m/s, m/s^2", PLANNER_PORTS[1].frame, "position, velocity, acceleration now"),
    Port("action", "1", "FLU", "action of the policy, in [-1, 1]"),
    Port("setpoint", "rad/s, rad/s, rad/s, m/s^2", "FLU", "body rates and collective thrust of that action"),
)


def policy_graph(model: PlannerModel, dt_plan_s: float) -> Graph:
    """The policy at one state (1, 14); see `train.planner.policy_action`."""
    graph = Graph()
    state = graph.input("state", (1, 14))
    reference = graph.input("reference", (1, 9))
    disturbance = graph.input("disturbance", (1, 3))
    policy = ObservingNetwork(model.policy, model.observation_scale)
    row = ModelGraph(model.world, model.action_scale, dt_plan_s).start(state, 1)
    error = state @ selection(14, [0, 1, 2]) + reference @ -selection(9, [0, 1, 2])
    layers = policy.layers(row, world_velocity(row), error, policy.given(reference, disturbance))
    action = graph.tensor("Tanh", policy.output(layers.second))
    half = np.diag(np.asarray(model.action_scale.half, np.float64))
    centre = np.asarray(model.action_scale.centre, np.float64)[None]
    graph.output("action", action)
    graph.output("setpoint", action @ half + centre)
    return graph
