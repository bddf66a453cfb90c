"""A hand-made checkpoint that flies the simulator: its identified physics, no residual, a linear law as the policy."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tubepilot.export import samples
from tubepilot.export.bundle import Export, write_bundle
from tubepilot.export.c_source import write
from tubepilot.export.certificate import read_certificate
from tubepilot.export.cli_export import build_graphs, planner_model
from tubepilot.export.constraint_graph import ConstraintSize
from tubepilot.export.curvature import inverse_curvature
from tubepilot.export.planner_graphs import NO_CONSTRAINTS
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.runtime import keys
from tubepilot.runtime.engine import GRAPHS
from tubepilot.train.checkpoint import ARRAYS, Checkpoint, Limits, ResidualBounds, Settings, load, save
from tubepilot.train.dynamics import Physics, Residual, WorldModel
from tubepilot.train.planner_settings import preset
from tubepilot.train.task import ActionScale, CostWeights, Network, ObservationScale

from .proven import ASSUMED, LAW, certificate_files
from .small_bundle import SIGNING_KEY

CENTRE, HALF = np.array([0.0, 0.0, 0.0, 9.5]), np.array([6.0, 6.0, 3.0, 7.5])


def linear_law() -> tuple[np.ndarray, np.ndarray]:
    """Gain (20, 4) and offset (4,) of a position, velocity and tilt law on the observation; outputs are actions."""
    position, velocity, tilt, heading = 5.0, 3.5, 12.0, 3.0
    law = np.zeros((20, 4))
    wanted = np.zeros((20, 3))  # acceleration that the law wants, from the observation
    for axis in range(3):
        wanted[0 + axis, axis], wanted[3 + axis, axis] = -position, -velocity
        wanted[14 + axis, axis], wanted[17 + axis, axis] = 1.0, -1.0
    law[:, 1] = tilt / GRAVITY_M_S2 * wanted[:, 0]
    law[6, 1] -= tilt
    law[:, 0] = -tilt / GRAVITY_M_S2 * wanted[:, 1]
    law[7, 0] += tilt
    law[9, 2] = -heading
    law[:, 3] = wanted[:, 2]
    return law / HALF, (np.array([0.0, 0.0, 0.0, GRAVITY_M_S2]) - CENTRE) / HALF


def flyable_checkpoint(horizon: int = 12) -> Checkpoint:
    """The checkpoint; hidden layers are kept so small in amplitude that their tanh is linear to 1e-4."""
    law, offset = linear_law()
    small = 1e-2
    w1 = np.zeros((20, 20))
    np.fill_diagonal(w1, small)
    policy = Network(w1, np.zeros(20), np.eye(20), np.zeros(20), law / small, np.arctanh(offset))
    nothing = Network(np.zeros((20, 8)), np.zeros(8), np.zeros((8, 8)), np.zeros(8), np.zeros((8, 1)), np.zeros(1))
    a = ASSUMED
    physics = Physics(
        np.array(LAW.thrust_gain), np.array(a.thrust_lag_s), LAW.rate_gain, LAW.rate_offset_rad_s, np.array(a.rate_lags_s),
        np.array(a.drags_1_s),
    )  # fmt: skip
    residual = Residual(
        np.zeros(16), np.ones(16), np.zeros((16, 8)), np.zeros(8), np.zeros((2, 4, 6)), np.zeros((2, 6)), np.ones(6)
    )
    cost = CostWeights(
        np.array([40.0, 40.0, 60.0]), np.array([4.0, 4.0, 6.0]), np.array(4.0), np.array(2.0), np.full(3, 0.05),
        np.array([0.02, 0.02, 0.02, 0.05]), np.full(4, 0.02), np.array(0.0),
    )  # fmt: skip
    return Checkpoint(
        model=WorldModel(physics, residual),
        action_scale=ActionScale(CENTRE, HALF),
        observation_scale=ObservationScale(np.ones(20), np.array(1.0)),
        cost=cost,
        policy=policy,
        value=nothing,
        settings=Settings(
            action_level="rates",
            airframe="rotorpy-crazyflie",
            thrust_scale_m_s2=a.thrust_scale_m_s2,
            dt_plan_s=0.04,
            horizon=horizon,
            tick_hz=100.0,
            seed=0,
            command_delay_s=a.command_delay_s,
            limits=Limits((6.0, 6.0, 3.0), 2.0, 17.0),
            residual_bounds=ResidualBounds((1.0, 1.0, 0.5), (0.5, 0.5, 0.5), 0.99, 0.99, 1, "set by hand for a test"),
        ),
    )


def make_certified_bundle(
    folder: Path, constraints: ConstraintSize = NO_CONSTRAINTS, *, compiled: bool = False
) -> tuple[Path, Path]:
    """Write a signed bundle of the checkpoint with the proven certificate of `proven`, a vehicle of the same lags.

    With `compiled`, the planner's C code is in it too.

    Returns:
        The bundle's folder and the folder of trusted keys.
    """
    save(folder / "checkpoint", flyable_checkpoint())
    (folder / "certificate").mkdir()
    for name, content in certificate_files().items():
        (folder / "certificate" / name).write_bytes(content)
    checkpoint = load(folder / "checkpoint")
    digest = hashlib.sha256((folder / "checkpoint" / ARRAYS).read_bytes()).hexdigest()
    settings = preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0)
    model = planner_model(checkpoint)
    built = build_graphs(model, settings, inverse_curvature(model, settings), {"checkpoint_sha256": digest}, constraints)
    export = Export(
        checkpoint=checkpoint,
        checkpoint_sha256=digest,
        settings=settings,
        graphs={name: proto.SerializeToString() for name, (_, proto) in built.items()},
        certificate=read_certificate(folder / "certificate"),
        samples=samples.draw(settings, 4, 0, constraints),
        parity=[],
        version=1,
        seed=0,
        compiled=write({name: built[name][1] for name in GRAPHS}) if compiled else None,
    )
    write_bundle(folder / "bundle", export, SIGNING_KEY)
    keys.trust(SIGNING_KEY.verify_key, folder / "trusted")
    return folder / "bundle", folder / "trusted"
