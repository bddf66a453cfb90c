"""Write a signed bundle: graphs, certificate, noise, self-test vectors, manifest and signature, all at once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tomli_w
from nacl.signing import SigningKey

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.runtime import manifest as manifest_module
from tubepilot.runtime.bundle import SIGNATURE
from tubepilot.runtime.manifest import FILES, FORMAT, GRAPHS, MOST_BYTES, OPTIONAL
from tubepilot.runtime.session import DTYPES, open_session
from tubepilot.train.atomic import replace_directory
from tubepilot.train.checkpoint import Checkpoint
from tubepilot.train.planner_settings import PlannerSettings

from .c_source import Compiled
from .certificate import CertificateFiles
from .parity import BOUND_ULPS, ULP, OutputParity

NOISE_ROWS = 64
"""Ticks after which the noise table repeats."""
QUIET_CANDIDATES = 2
"""Candidates without noise: 0 is the kept plan (the policy's in the first tick), 1 the policy's own."""
VECTORS = 8
"""Self-test vectors per graph."""
BOUND_FLOAT64 = 1e-10
"""Accepted difference of what is computed in float64, the shield's margins, as a share of the output's greatest magnitude or of 1: of
the 1e-9 that the shield takes off for rounding most is left (docs/certificate.md, section 6)."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Export:
    """Everything that goes into a bundle.

    Attributes:
        checkpoint: Source of the graphs and of the numbers in the manifest.
        checkpoint_sha256: Hash of its arrays.
        settings: Of the planner.
        graphs: Bytes of rollout, refine, rank and policy by name.
        certificate: Certificate with backup and shield graphs.
        samples: Inputs from which the self-test vectors are taken, as for parity.
        parity: Measured errors, for the manifest.
        version: Version of the bundle.
        seed: Of the noise table.
        compiled: The planner's graphs in C; None leaves them out, and onnxruntime plans.
    """

    checkpoint: Checkpoint
    checkpoint_sha256: str
    settings: PlannerSettings
    graphs: Mapping[str, bytes]
    certificate: CertificateFiles
    samples: Mapping[str, Array]
    parity: list[OutputParity]
    version: int
    seed: int
    compiled: Compiled | None = None


def pack(arrays: Mapping[str, Array]) -> bytes:
    """An uncompressed .npz in memory."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def noise_table(settings: PlannerSettings, seed: int) -> Array:
    """Noise on the policy's actions, float32 (rows, N, H, 4), constant along the horizon but for a tenth of it.

    Noise that is held moves the vehicle; noise that changes at every step averages out. The first `QUIET_CANDIDATES`
    candidates get none.
    """
    rng = np.random.default_rng(seed)
    shape = (NOISE_ROWS, settings.candidates, settings.horizon, 4)
    held, changing = rng.normal(size=(*shape[:2], 1, 4)), rng.normal(size=shape)
    table = settings.noise * (np.sqrt(0.9) * held + np.sqrt(0.1) * changing)
    table[:, :QUIET_CANDIDATES] = 0.0
    return np.clip(table, -1.0, 1.0).astype(np.float32)


def self_test_arrays(graphs: Mapping[str, bytes], samples: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Self-test vectors of every graph: inputs, what onnxruntime gives here, and the accepted difference.

    Inputs named as in the planner come from the samples (half near the reference, half far) and from what `rollout` makes of
    them; others are drawn small.
    The bound of an output is `parity.BOUND_ULPS` ulps of its greatest magnitude (at least of 1), in float64 `BOUND_FLOAT64` of it;
    integers must agree.
    """
    rng = np.random.default_rng(seed)
    result: dict[str, Array] = {}
    count = len(next(iter(samples.values())))
    rows = np.linspace(0, count - 1, VECTORS).astype(int)
    known = {name: array[rows] for name, array in samples.items()}
    for graph in sorted(graphs, key=GRAPHS.index):  # rollout first: refine and rank read what it hands on
        session = open_session(graphs[graph], f"{graph}.onnx")
        feeds: dict[str, Array] = {}
        for port in session.get_inputs():
            shape, dtype = tuple(port.shape), DTYPES[port.type]
            sample = known.get(port.name)
            fits = sample is not None and sample.ndim == 1 + len(shape)
            if sample is not None and fits and sample.shape[1] >= shape[0] and sample.shape[2:] == shape[1:]:
                feeds[port.name] = sample[:, : shape[0]].astype(dtype)
            else:
                feeds[port.name] = (0.1 * rng.normal(size=(VECTORS, *shape))).astype(dtype)
        names = [port.name for port in session.get_outputs()]
        runs = [session.run(names, {name: feed[k] for name, feed in feeds.items()}) for k in range(VECTORS)]
        result.update({f"{graph}/in/{name}": feed for name, feed in feeds.items()})
        for i, name in enumerate(names):
            stacked = np.stack([run[i] for run in runs])
            if graph == "rollout":
                known[name] = stacked
            bound = 0.0
            if np.issubdtype(stacked.dtype, np.floating):
                finite = stacked[np.isfinite(stacked)]
                share = BOUND_FLOAT64 if stacked.dtype == np.float64 else BOUND_ULPS * ULP
                bound = share * max(1.0, float(np.abs(finite).max(initial=0.0)))
            result[f"{graph}/out/{name}"] = stacked
            result[f"{graph}/bound/{name}"] = np.asarray(bound)
    return result


def manifest_table(export: Export, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest as a TOML table."""
    checkpoint, planner = export.checkpoint, export.settings
    settings = checkpoint.settings

    def plain(entries: Any) -> dict[str, Any]:
        return {key: np.asarray(value, np.float64).tolist() for key, value in entries._asdict().items()}

    bounds = settings.residual_bounds
    return {
        "format": FORMAT,
        "version": export.version,
        "airframe": settings.airframe,
        "checkpoint_sha256": export.checkpoint_sha256,
        "tick_hz": float(settings.tick_hz),
        "dt_plan_s": float(planner.dt_plan_s),
        "thrust_scale_m_s2": float(settings.thrust_scale_m_s2),
        "command_delay_s": float(settings.command_delay_s),
        "planner": {
            "preset": planner.preset,
            "candidates": planner.candidates,
            "horizon": planner.horizon,
            "steps": planner.steps,
            "reuse": float(planner.reuse),
        },
        "action_scale": plain(checkpoint.action_scale),
        "limits": {
            "rate_rad_s": list(settings.limits.rate_rad_s),
            "thrust_min_m_s2": settings.limits.thrust_min_m_s2,
            "thrust_max_m_s2": settings.limits.thrust_max_m_s2,
        },
        "physics": plain(checkpoint.model.physics),
        "observation": plain(checkpoint.observation_scale),
        "cost": plain(checkpoint.cost),
        "assumptions": export.certificate.table("assumptions"),
        "certified_limits": export.certificate.table("lasting_limits"),
        "residual_bounds": {
            "acceleration_m_s2": list(bounds.acceleration_m_s2),
            "rate_rad_s": list(bounds.rate_rad_s),
            "coverage_asked": bounds.coverage_asked,
            "coverage_seen": bounds.coverage_seen,
            "samples": bounds.samples,
            "how": bounds.how,
        },
        "parity": {
            p.label: {
                "samples": p.samples,
                "ulps_max": p.ulps_max,
                "rate_rad_s": p.rate_rad_s,
                "thrust_m_s2": p.thrust_m_s2,
            }
            for p in export.parity
        },
        "file": [
            {"name": name, "bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
            for name in (*FILES, *OPTIONAL)
            if name in files
        ],
    }


def write_bundle(path: Path, export: Export, key: SigningKey) -> dict[str, int]:
    """Write and sign a bundle.

    Args:
        path: Folder to write; an older bundle there is replaced when the new one is complete.
        export: What goes in.
        key: Signing key.

    Returns:
        Bytes of each file.

    Raises:
        InputError: the path holds something that is not a bundle, or a file is too large.
        BundleError: the manifest would not be accepted by the reader.
    """
    if path.exists() and not (path / manifest_module.NAME).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists and is not a bundle; choose another --out")
    graphs = {**export.graphs, "backup": export.certificate.backup, "shield": export.certificate.shield}
    files = {f"{graph}.onnx": graphs[graph] for graph in GRAPHS}
    files["certificate.toml"] = export.certificate.toml
    files["certificate.npz"] = export.certificate.arrays
    files["planner.npz"] = pack(
        {"noise": noise_table(export.settings, export.seed), "shell_m": np.array([export.settings.shell_m], np.float32)}
    )
    files["selftest.npz"] = pack(self_test_arrays(graphs, export.samples, export.seed))
    if export.compiled is not None:
        files |= {"planner.c": export.compiled.source.encode(), "planner.bin": export.compiled.weights.astype("<f4").tobytes()}
    for name, content in files.items():
        if len(content) > MOST_BYTES:
            raise InputError(f"{name} has {len(content)} bytes, the limit is {MOST_BYTES}; use smaller sets")
    manifest = tomli_w.dumps(manifest_table(export, files)).encode()
    manifest_module.parse(manifest)
    signature = key.sign(manifest).signature

    def fill(folder: Path) -> None:
        for name, content in {**files, manifest_module.NAME: manifest, SIGNATURE: signature}.items():
            (folder / name).write_bytes(content)

    replace_directory(path, fill)
    return {name: len(content) for name, content in {**files, manifest_module.NAME: manifest}.items()}
