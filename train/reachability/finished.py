"""The file in which a long analysis keeps the boxes it has finished, so that it can go on after a stop at any moment."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.atomic import write_file

from .closed_loop import Settings, Tube
from .program import trace
from .specification import Specification

Numbers = npt.NDArray[np.float64]
ENGINE = 3  # raised whenever tubes of earlier versions must not be reused


def digest(spec: Specification) -> str:
    """Digest of everything that the finished boxes depend on."""
    n, m, q, k = len(spec.states), len(spec.inputs), len(spec.disturbances), len(spec.parameters)
    outputs = spec.network.outputs if spec.network is not None else trace(spec.network_input, n).results.rows
    conditions = [(p.conditions, (n,)) for p in spec.properties]
    found = hashlib.sha256()
    for function, sizes in [(spec.dynamics, (n, m, q, k)), (spec.network_input, (n,)), (spec.law, (outputs, n)), *conditions]:
        program = trace(function, *sizes)
        found.update(repr([(level.products, level.functions) for level in program.levels]).encode())
        for part in (*(level.arguments for level in program.levels), program.results):
            arrays = (part.index, part.coefficient, part.size, part.constant, part.constant_size)
            found.update(b"".join(a.tobytes() for a in arrays) + repr((part.rows, part.roundings)).encode())
    for leaf in jax.tree.leaves(spec.network):
        found.update(np.asarray(leaf).tobytes())
    layers = [(layer.activation, layer.residual) for layer in spec.network.layers] if spec.network is not None else []
    windows = [(p.kind, str(p.window_periods)) for p in spec.properties]
    boxes = [b.tolist() for b in (spec.initial_box, spec.disturbance_box, spec.parameter_box)]
    rest = (ENGINE, spec.discrete, spec.period_s, spec.steps, spec.delay_s, spec.missed, layers, windows, boxes)
    found.update(repr(rest).encode())
    return found.hexdigest()


def save(path: Path, spec: Specification, settings: Settings, proven: list[Numbers], left: list[Numbers], union: Tube | None) -> None:
    """Write the file anew; a crash leaves the old one or the new one."""
    table = {
        "analysis": digest(spec),
        "settings": [settings.order, settings.substeps, settings.degree, settings.window],
        "proven": [b.tolist() for b in proven],
        "open": [b.tolist() for b in left],
        "union": [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(union)],
    }
    write_file(path, json.dumps(table).encode())


def _read(path: Path) -> dict[str, list[object]]:
    try:
        table = json.loads(path.read_text("utf-8"))
        missing = {"analysis", "settings", "proven", "open", "union"} - set(table)
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"{path} is no file of an earlier analysis ({error}); delete it or name another one") from error
    if missing:
        raise InputError(
            f"{path} is no file of an earlier analysis: {', '.join(sorted(missing))} missing; delete it or name another one"
        )
    return dict(table)


def load(path: Path, spec: Specification) -> tuple[Settings, list[Numbers], list[Numbers]]:
    """Settings, proven boxes and open boxes of an earlier run.

    Raises:
        InputError: the file is damaged, or of another specification, network or version.
    """
    table = _read(path)
    if table["analysis"] != digest(spec):
        raise InputError(
            f"{path} belongs to another analysis: the specification, the network or the version differs; delete it or name another file"
        )
    return Settings(*table["settings"]), [np.array(b) for b in table["proven"]], [np.array(b) for b in table["open"]]  # type: ignore[arg-type]


def union(path: Path, shapes: Tube) -> Tube:
    """The tube of the proven boxes; `shapes` tells its form."""
    values = _read(path)["union"]
    leaves = [np.array(v).reshape(s.shape).astype(s.dtype) for v, s in zip(values, jax.tree.leaves(shapes), strict=True)]
    return Tube(*jax.tree.unflatten(jax.tree.structure(shapes), leaves))
