"""Turn a checkpoint and a certificate into a signed bundle: ONNX graphs, parity against JAX, manifest, signature.

Without a signing key one is created, readable by its owner only, and its public key is trusted on this machine. Copy
the public key to a vehicle's folder of trusted keys before flashing there.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from nacl.signing import SigningKey

from tubepilot.firmware_bridge.errors import BundleError, InputError
from tubepilot.runtime import keys
from tubepilot.runtime.check_claims import Identified, check_vehicle
from tubepilot.runtime.cost_model import GraphCost, load_device
from tubepilot.runtime.engine import GRAPHS, Engine
from tubepilot.runtime.manifest import PhysicsEntry
from tubepilot.runtime.session import open_session
from tubepilot.train.atomic import require_writable
from tubepilot.train.checkpoint import ARRAYS, Checkpoint, load
from tubepilot.train.planner import PlannerModel
from tubepilot.train.planner_settings import PlannerSettings, preset

from . import c_source, choose, emit, engine_here, parity, samples
from .bundle import Export, write_bundle
from .certificate import read_certificate
from .constraint_graph import ConstraintSize
from .curvature import inverse_curvature
from .graph import Graph
from .planner_graphs import NO_CONSTRAINTS, PORTS, rank_graph, refine_graph, rollout_graph
from .policy_graph import PORTS as POLICY_PORTS
from .policy_graph import policy_graph

DEFAULT_PRESET = "quadrotor"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="folder written by `tubepilot train`"
    )
    parser.add_argument(
        "--certificate", type=Path, required=True, metavar="DIR", help="folder written by `tubepilot certify`"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="folder of the bundle to write")
    parser.add_argument("--preset", choices=("quadrotor", "long", "paper"), default=DEFAULT_PRESET, help="planner settings")
    parser.add_argument(
        "--horizon", type=int, default=None, metavar="H",
        help="steps of a plan; if not given the checkpoint's, and that of the presets long and paper for these",
    )  # fmt: skip
    parser.add_argument(
        "--obstacles", type=int, default=0, metavar="COUNT", help="most obstacles that plans on board can keep clear of"
    )
    parser.add_argument(
        "--faces", type=int, default=0, metavar="COUNT", help="most faces of a fence that plans on board can stay within"
    )
    parser.add_argument(
        "--candidates", type=int, default=None, metavar="N", help="candidate plans; the preset's if not given"
    )
    parser.add_argument(
        "--steps", type=int, default=None, metavar="K", help="most refinement steps per tick; the preset's if not given"
    )
    parser.add_argument(
        "--tick-hz", type=float, default=None, metavar="HZ",
        help="choose N, H and K for this rate on --device, and print what fits 100, 250 and 500 [Hz]; the checkpoint's rate if only "
        "--device is given",
    )  # fmt: skip
    parser.add_argument(
        "--device", default=None, metavar="NAME",
        help="machine that N, H and K are chosen for: workstation, or a file of `tubepilot doctor --calibrate`; workstation if only "
        "--tick-hz is given",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=int, default=2000, metavar="COUNT", help="random states on which parity with JAX is measured"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the parity samples and of the noise table")
    parser.add_argument(
        "--version", type=int, default=None, help="version of the bundle, must grow; seconds since 1970 if not given"
    )
    parser.add_argument(
        "--keys", type=Path, default=None, metavar="DIR",
        help=f"folder of trusted public keys; {keys.default_folder()} if not given",
    )  # fmt: skip
    parser.add_argument(
        "--signing-key", type=Path, default=None, metavar="FILE",
        help="Ed25519 signing key, created if missing; signing.key beside the folder of trusted keys if not given",
    )  # fmt: skip


def planner_model(checkpoint: Checkpoint) -> PlannerModel:
    """The part of a checkpoint that the planner needs."""
    return PlannerModel(
        checkpoint.model,
        checkpoint.action_scale,
        checkpoint.observation_scale,
        checkpoint.cost,
        checkpoint.policy,
        checkpoint.value,
    )


def planner_settings(
    checkpoint: Checkpoint, name: str, candidates: int | None, steps: int | None, horizon: int | None = None
) -> PlannerSettings:
    """Preset `name` at the checkpoint's rates; its horizon is the checkpoint's for `quadrotor`, its own for the others.

    Raises:
        InputError: a value is out of range.
    """
    for option, count in (("--candidates", candidates), ("--horizon", horizon)):
        if count is not None and count < 1:
            raise InputError(f"{option} is {count}; it must be at least 1; leave it out for the preset's own")
    settings = preset(
        name,
        dt_plan_s=checkpoint.settings.dt_plan_s,
        tick_hz=checkpoint.settings.tick_hz,
        horizon=horizon if horizon is not None or name != DEFAULT_PRESET else checkpoint.settings.horizon,
        candidates=candidates,
    )
    return settings if steps is None else replace(settings, steps=steps)


def signing_key(path: Path, trusted: Path) -> SigningKey:
    """The signing key, made and trusted here if there is none yet; prints what it did."""
    if path.exists():
        key = keys.load_signing_key(path)
        if not keys.is_trusted(key.verify_key, trusted):
            print(f"note: {trusted} does not trust {keys.fingerprint(key.verify_key)}, the key of {path}")
        return key
    key = keys.create_signing_key(path)
    public = keys.trust(key.verify_key, trusted)
    print(f"created signing key {path} (mode 0600), fingerprint {keys.fingerprint(key.verify_key)}")
    print(f"trusted it on this machine: {public}; a vehicle trusts it once this file is in its own folder")
    return key


def build_graphs(
    model: PlannerModel,
    settings: PlannerSettings,
    metric: npt.NDArray[np.float64],
    metadata: dict[str, str],
    constraints: ConstraintSize = NO_CONSTRAINTS,
) -> dict[str, tuple[Graph, onnx.ModelProto]]:
    """Rollout, refine, rank and policy as graphs and ONNX models."""
    made: dict[str, Graph] = {
        "rollout": rollout_graph(model, settings),
        "refine": refine_graph(model, settings, metric, constraints),
        "rank": rank_graph(model, settings, constraints),
        "policy": policy_graph(model, settings.dt_plan_s),
    }
    built = {}
    plain = {name: emit.to_model(graph, name, POLICY_PORTS if name == "policy" else PORTS, metadata) for name, graph in made.items()}
    compiled = c_source.write({name: plain[name] for name in GRAPHS}).costs
    for name, graph in made.items():
        size = emit.size(graph, plain[name])
        costs = {"": GraphCost(size.nodes, size.flops, size.elements)}
        if name in compiled:
            costs["compiled_"] = compiled[name]
        meta = {f"{prefix}{key}": str(value) for prefix, cost in costs.items() for key, value in asdict(cost).items()}
        built[name] = graph, emit.to_model(graph, name, POLICY_PORTS if name == "policy" else PORTS, {**metadata, **meta})
    return built


def _chosen(
    args: argparse.Namespace, checkpoint: Checkpoint, model: PlannerModel, settings: PlannerSettings
) -> PlannerSettings:
    """N, H and K for a rate and a machine; prints the table.

    Raises:
        InputError: nothing fits, or N, H or K is given too.
    """
    if (args.candidates, args.horizon, args.steps) != (None, None, None):
        raise InputError("--tick-hz and --device choose candidates, horizon and steps: leave out --candidates, --horizon, --steps")
    tick_hz = checkpoint.settings.tick_hz if args.tick_hz is None else args.tick_hz
    if not 1.0 <= tick_hz <= 2000.0:
        raise InputError(f"--tick-hz is {tick_hz:g}, must be within [1, 2000] Hz")
    device = load_device(args.device or "workstation")
    print(choose.table(model, settings, device))
    chosen, predicted = choose.choose(model, settings, tick_hz, device)
    print(f"chosen for {tick_hz:g} Hz: N={chosen.candidates}, H={chosen.horizon}, K={chosen.steps}, {predicted:.0f} us predicted")
    if tick_hz != checkpoint.settings.tick_hz:
        print(f"note: the bundle ticks at {checkpoint.settings.tick_hz:g} Hz, the rate that it is certified for")
    return chosen


def _compiled(models: dict[str, onnx.ModelProto]) -> tuple[c_source.Compiled, Engine | None]:
    """The planner's graphs in C, and running here if there is a compiler; says so."""
    made = c_source.write(models)
    size = 1e-3 * (len(made.source) + made.weights.nbytes)
    print(f"  {'planner.c':<13} {sum(cost.nodes for cost in made.costs.values()):>5} calls {'':13} {size:>7.0f} kB with planner.bin")
    try:
        return made, engine_here.load(made)
    except BundleError as error:
        print(f"note: parity of planner.c is not measured here: {error}")
        return made, None


def run(args: argparse.Namespace) -> int:
    """Export; see the module."""
    if args.samples < 2:
        raise InputError(f"--samples is {args.samples}, must be at least 2")
    require_writable(args.out)
    checkpoint = load(args.checkpoint)
    digest = hashlib.sha256((args.checkpoint / ARRAYS).read_bytes()).hexdigest()
    certificate = read_certificate(args.certificate)
    physics = {name: np.asarray(value, np.float64).tolist() for name, value in checkpoint.model.physics._asdict().items()}
    own = checkpoint.settings
    identified = Identified(own.tick_hz, own.command_delay_s, own.thrust_scale_m_s2, PhysicsEntry(**physics))
    check_vehicle(identified, certificate.parsed, f"checkpoint {args.checkpoint}")
    for name, content in (("backup", certificate.backup), ("shield", certificate.shield)):
        open_session(content, f"{name}.onnx")
    settings = planner_settings(checkpoint, args.preset, args.candidates, args.steps, args.horizon)
    constraints = ConstraintSize(args.obstacles, args.faces)
    model = planner_model(checkpoint)
    if args.tick_hz is not None or args.device is not None:
        settings = _chosen(args, checkpoint, model, settings)

    start_s = time.monotonic()
    metric = inverse_curvature(model, settings)
    metadata = {"checkpoint_sha256": digest, "airframe": checkpoint.settings.airframe}
    built = build_graphs(model, settings, metric, metadata, constraints)
    print(f"graphs for N={settings.candidates}, H={settings.horizon} in {time.monotonic() - start_s:.1f} s:")
    for name, (graph, proto) in built.items():
        size = emit.size(graph, proto)
        amounts = f"{size.nodes:>5} nodes {size.flops / 1e6:>7.2f} MFLOP {size.bytes / 1e3:>7.0f} kB"
        print(f"  {name + '.onnx':<13} {amounts}")

    drawn = samples.draw(settings, args.samples, args.seed, constraints)
    models = {name: proto for name, (_, proto) in built.items()}
    compiled, engine = _compiled({name: models[name] for name in GRAPHS})
    results = parity.check_parity(models, model, settings, metric, drawn, constrained=bool(constraints), engine=engine)
    total = {name: emit.size(graph, proto) for name, (graph, proto) in built.items()}
    share = {"rollout": 1, "refine": settings.steps, "rank": 1}
    nodes, flops = (sum(k * getattr(total[n], what) for n, k in share.items()) for what in ("nodes", "flops"))
    print(f"  a decision with K={settings.steps}: {nodes} nodes, {1e-6 * flops:.2f} MFLOP")
    print("error against float64 JAX (1 ulp = 2^-23 of the output's scale):")
    print(parity.table(results))

    trusted = (keys.default_folder() if args.keys is None else args.keys).expanduser()
    key_file = (trusted.parent / "signing.key" if args.signing_key is None else args.signing_key).expanduser()
    key = signing_key(key_file, trusted)
    version = int(time.time()) if args.version is None else args.version
    graphs = {name: proto.SerializeToString() for name, (_, proto) in built.items()}
    export = Export(checkpoint, digest, settings, graphs, certificate, drawn, results, version, args.seed, compiled)
    sizes = write_bundle(args.out, export, key)
    print(
        f"bundle {args.out}: version {version}, {len(sizes)} files, {sum(sizes.values()) / 1e6:.2f} MB, "
        f"signed by {keys.fingerprint(key.verify_key)}"
    )
    print(f"next: tubepilot verify {args.out}" + ("" if args.keys is None else f" --keys {args.keys}"))
    return 0
