"""The controller that a user would pick instead: nonlinear MPC of the same quadrotor by CasADi, warm-started.

Multiple shooting over the same horizon with the identified physics (no learned residual, which would only make it slower),
the same stage cost and input limits. One iteration of sequential quadratic programming per tick, as real-time iteration
schemes do (Diehl, Bock, Schloeder, 2005, DOI 10.1137/S0363012902400713); functions compiled by gcc if there is one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import MissingExtraError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2

from .bench_decision import Case

ITERATIONS = 1
KICK = 0.02
"""Change of the measured state from tick to tick, so that no tick solves the problem of the one before."""


def _step(casadi: Any, case: Case, x: Any, u: Any, disturbance: Any) -> Any:
    """`train.dynamics.step` without residual, on CasADi symbols."""
    physics, dt_s = case.model.world.physics, case.settings.dt_plan_s
    held = np.asarray(case.model.action_scale.centre) + np.asarray(case.model.action_scale.half) * u
    p, v, q, w, c = x[0:3], x[3:6], x[6:10], x[10:13], x[13]

    def lagged(now: Any, target: Any, lag_s: Any) -> tuple[Any, Any]:
        decay = np.exp(-dt_s / np.asarray(lag_s))
        return target + (now - target) * decay, target + (now - target) * (np.asarray(lag_s) / dt_s * (1 - decay))

    rates, mean = lagged(w, np.asarray(physics.rate_gain) * held[0:3] + np.asarray(physics.rate_offset_rad_s), physics.rate_lag_s)
    thrust, mean_thrust = lagged(c, float(physics.thrust_gain) * held[3], float(physics.thrust_lag_s))

    def rotation(q: Any) -> Any:
        a, b, g, d = q[0], q[1], q[2], q[3]
        return casadi.vertcat(
            casadi.horzcat(1 - 2 * (g * g + d * d), 2 * (b * g - a * d), 2 * (b * d + a * g)),
            casadi.horzcat(2 * (b * g + a * d), 1 - 2 * (b * b + d * d), 2 * (g * d - a * b)),
            casadi.horzcat(2 * (b * d - a * g), 2 * (g * d + a * b), 1 - 2 * (b * b + g * g)),
        )

    h = 0.5 * dt_s * mean
    turned = casadi.vertcat(
        q[0] - q[1] * h[0] - q[2] * h[1] - q[3] * h[2], q[0] * h[0] + q[1] + q[2] * h[2] - q[3] * h[1],
        q[0] * h[1] - q[1] * h[2] + q[2] + q[3] * h[0], q[0] * h[2] + q[1] * h[1] - q[2] * h[0] + q[3],
    )  # fmt: skip
    turned = turned / casadi.norm_2(turned)
    before, after = rotation(q), rotation(turned)
    drag = -np.asarray(physics.drag_1_s) * (before.T @ v)
    acceleration = mean_thrust * 0.5 * (before[:, 2] + after[:, 2]) + before @ drag + disturbance
    acceleration = acceleration - np.array([0.0, 0.0, GRAVITY_M_S2])
    faster = v + dt_s * acceleration
    return casadi.vertcat(p + 0.5 * dt_s * (v + faster), faster, turned, rates, thrust)


def _cost(casadi: Any, case: Case, x: Any, u: Any, before: Any, reference: Any) -> Any:
    """`train.task.stage_cost` but for heading and tilt, which the position and rate terms imply here."""
    cost, scale = case.model.cost, case.model.action_scale
    hover = (np.array([0.0, 0.0, 0.0, GRAVITY_M_S2]) - np.asarray(scale.centre)) / np.asarray(scale.half)
    return (
        casadi.dot(np.asarray(cost.position), (x[0:3] - reference[0:3]) ** 2)
        + casadi.dot(np.asarray(cost.velocity), (x[3:6] - reference[3:6]) ** 2)
        + casadi.dot(np.asarray(cost.rates), x[10:13] ** 2)
        + casadi.dot(np.asarray(cost.action), (u - hover) ** 2)
        + casadi.dot(np.asarray(cost.smooth), (u - before) ** 2)
    )


def nmpc(case: Case, seed: int) -> tuple[Callable[[], npt.NDArray[Any]], str]:
    """A decision of nonlinear MPC, and what it is.

    Raises:
        MissingExtraError: CasADi is not installed.
    """
    try:
        import casadi
    except ModuleNotFoundError as error:
        raise MissingExtraError('nonlinear MPC needs CasADi: pip install "tubepilot[bench]"') from error
    horizon, dt_s = case.settings.horizon, case.settings.dt_plan_s
    states, actions = casadi.MX.sym("x", 14, horizon), casadi.MX.sym("u", 4, horizon)
    start, disturbance, first = (casadi.MX.sym(name, size) for name, size in (("s", 14), ("d", 3), ("a", 4)))
    reference = casadi.MX.sym("r", 9, horizon)
    x, u = casadi.SX.sym("x", 14), casadi.SX.sym("u", 4)
    d = casadi.SX.sym("d", 3)
    step = casadi.Function("step", [x, u, d], [_step(casadi, case, x, u, d)])
    before, action = start, first
    cost, gaps = 0, []
    for h in range(horizon):
        gaps.append(step(before, actions[:, h], disturbance) - states[:, h])
        cost += dt_s * _cost(casadi, case, states[:, h], actions[:, h], action, reference[:, h])
        before, action = states[:, h], actions[:, h]
    compiler = shutil.which("gcc")
    compiled = {"jit": True, "compiler": "shell", "jit_options": {"flags": ["-O2"], "verbose": False}} if compiler else {}
    options = {
        "max_iter": ITERATIONS, "qpsol": "qrqp", "print_header": False, "print_iteration": False, "print_time": False,
        "print_status": False, "error_on_fail": False, "hessian_approximation": "exact", "convexify_strategy": "regularize",
        "qpsol_options": {"print_iter": False, "print_header": False, "print_info": False, "error_on_fail": False}, **compiled,
    }  # fmt: skip
    variables = casadi.vertcat(casadi.vec(states), casadi.vec(actions))
    parameters = casadi.vertcat(start, casadi.vec(reference), disturbance, first)
    solver = casadi.nlpsol("nmpc", "sqpmethod", {"x": variables, "p": parameters, "f": cost, "g": casadi.vertcat(*gaps)}, options)
    inputs = case.inputs
    rng = np.random.default_rng(seed)
    size = 14 * horizon
    low = np.concatenate([np.full(size, -np.inf), np.full(4 * horizon, -1.0)])
    tail = [inputs["reference"][1:].reshape(-1), inputs["disturbance"][0], inputs["previous_action"][0]]
    guess = [np.concatenate([np.tile(inputs["state"][0], horizon), np.zeros(4 * horizon)]), 0.0, 0.0]

    def decide() -> npt.NDArray[Any]:
        state = inputs["state"][0] + KICK * rng.normal(size=14) * (np.arange(14) < 6)
        result = solver(
            x0=guess[0], lam_x0=guess[1], lam_g0=guess[2], p=np.concatenate([state, *tail]), lbx=low, ubx=-low, lbg=0.0, ubg=0.0
        )
        guess[:] = result["x"], result["lam_x"], result["lam_g"]
        return np.asarray(result["x"])[size:].reshape(horizon, 4)

    for _ in range(20):
        decide()
    made = "gcc -O2" if compiler else "its virtual machine"
    return decide, f"CasADi {casadi.__version__}, sqpmethod with qrqp, {ITERATIONS} iteration, functions by {made}"
