"""A complete small bundle of a random model, written by the real exporter, and its parts, for tests that attack it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from nacl.signing import SigningKey

from tubepilot.export import samples
from tubepilot.export.bundle import Export, write_bundle
from tubepilot.export.c_source import write
from tubepilot.export.certificate import read_certificate
from tubepilot.export.cli_export import build_graphs, planner_model
from tubepilot.export.curvature import inverse_curvature
from tubepilot.export.emit import Port, to_model
from tubepilot.export.graph import Graph
from tubepilot.runtime import keys
from tubepilot.runtime.engine import GRAPHS
from tubepilot.train.checkpoint import ARRAYS, Checkpoint, Limits, ResidualBounds, Settings, load, save
from tubepilot.train.planner_settings import preset

from .random_model import random_model

SIGNING_KEY = SigningKey(bytes(range(32)))


def random_checkpoint(seed: int = 0, *, horizon: int = 4, members: int = 3, width: int = 8) -> Checkpoint:
    """A checkpoint of `random_model` with small networks."""
    model = random_model(seed, members=members, width=width, policy_width=16)
    bounds = ResidualBounds((0.5, 0.5, 0.6), (0.2, 0.2, 0.3), 0.999, 0.998, 1000, "drawn at random for a test")
    return Checkpoint(
        model=model.world,
        action_scale=model.action_scale,
        observation_scale=model.observation_scale,
        cost=model.cost,
        policy=model.policy,
        value=model.value,
        settings=Settings(
            action_level="rates",
            airframe="random",
            thrust_scale_m_s2=20.0,
            dt_plan_s=0.04,
            horizon=horizon,
            tick_hz=100.0,
            seed=seed,
            command_delay_s=0.01,
            limits=Limits((6.0, 6.0, 3.0), 2.0, 17.0),
            residual_bounds=bounds,
        ),
    )


def vehicle_tables(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """What a certificate for the vehicle of a checkpoint says of it."""
    settings, physics = checkpoint.settings, checkpoint.model.physics
    lags, drags = np.asarray(physics.rate_lag_s).tolist(), np.asarray(physics.drag_1_s).tolist()
    assumed = {
        "tick_s": 1.0 / settings.tick_hz, "command_delay_s": settings.command_delay_s, "thrust_scale_m_s2": settings.thrust_scale_m_s2,
        "thrust_lag_s": float(physics.thrust_lag_s), "rate_lags_s": lags, "drags_1_s": drags,
    }  # fmt: skip
    law = {key: np.asarray(getattr(physics, key)).tolist() for key in ("thrust_gain", "rate_gain", "rate_offset_rad_s")}
    return {"assumptions": assumed, "backup": law}


def write_certificate(folder: Path, checkpoint: Checkpoint) -> None:
    """A certificate folder of the right form, for the vehicle of a checkpoint, with two small graphs; it proves nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for name, factor in (("backup", 0.5), ("shield", 2.0)):
        graph = Graph()
        state = graph.input("state", (1, 14))
        graph.output("result", (state @ np.full((14, 4), factor)) + np.ones((1, 4)))
        ports = [Port("state", "SI", "ENU", "state"), Port("result", "1", "none", "a sum")]
        content = to_model(graph, name, ports, {}).SerializeToString()
        (folder / f"{name}.onnx").write_bytes(content)
        hashes[f"{name}_sha256"] = hashlib.sha256(content).hexdigest()
    table = {"graphs": hashes, **vehicle_tables(checkpoint), "lasting_limits": {"speed_m_s": 3.0}}
    (folder / "certificate.toml").write_bytes(tomli_w.dumps(table).encode())
    buffer = io.BytesIO()
    np.savez(buffer, centre=np.zeros(3))
    (folder / "certificate.npz").write_bytes(buffer.getvalue())


def make_bundle(folder: Path, *, seed: int = 0, version: int = 7, steps: int = 4, compiled: bool = False) -> tuple[Path, Path]:
    """Write checkpoint, certificate, bundle (with C code if `compiled`) and trusted keys into a folder.

    Returns:
        The bundle's folder and the folder of trusted keys.
    """
    save(folder / "checkpoint", random_checkpoint(seed))
    checkpoint = load(folder / "checkpoint")
    write_certificate(folder / "certificate", checkpoint)
    digest = hashlib.sha256((folder / "checkpoint" / ARRAYS).read_bytes()).hexdigest()
    settings = replace(preset("quadrotor", dt_plan_s=0.04, tick_hz=100.0, horizon=4, candidates=3), steps=steps)
    model = planner_model(checkpoint)
    built = build_graphs(model, settings, inverse_curvature(model, settings), {"checkpoint_sha256": digest})
    export = Export(
        checkpoint=checkpoint,
        checkpoint_sha256=digest,
        settings=settings,
        graphs={name: proto.SerializeToString() for name, (_, proto) in built.items()},
        certificate=read_certificate(folder / "certificate"),
        samples=samples.draw(settings, 16, seed),
        parity=[],
        version=version,
        seed=seed,
        compiled=write({name: built[name][1] for name in GRAPHS}) if compiled else None,
    )
    write_bundle(folder / "bundle", export, SIGNING_KEY)
    keys.trust(SIGNING_KEY.verify_key, folder / "trusted")
    return folder / "bundle", folder / "trusted"
