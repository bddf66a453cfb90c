"""Certificates that are wrong on purpose, for `tubepilot bench certificate`: each must be refused by the checker.

`planted` makes whole certificates whose proof used the wrong numbers, with every hash right; `mutants` changes one thing of a
certificate in the direction in which its claims stop being true, or says it in another form (`tampering`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import tomli_w
from onnx import numpy_helper

from . import tampering
from .certificate import Certificate, files_of
from .design import prove_stages, stage_bounds
from .interval import Numbers
from .loop import AxisLoop
from .shield_graph import graphs_of
from .tampering import Arrays, Table, constant, edited

REMAINDER_SHARE, WIND_SHARE, WEIGHT_CHANGE = 0.9, 0.5, 1e-3


def planted(certificate: Certificate) -> Iterator[tuple[str, Certificate | None, dict[str, bytes]]]:
    """Whole certificates with a planted mistake.

    Args:
        certificate: A proven one.

    Yields:
        Name; the certificate, if its set is another one; its files, hashes right.
    """
    cut = certificate.stages.bounds * np.array([1.0, REMAINDER_SHARE])
    yield "remainder r cut by 10 %", *_proven_with(certificate, cut)
    a = certificate.assumptions
    wind = (WIND_SHARE * a.acceleration_m_s2[0], WIND_SHARE * a.acceleration_m_s2[1])
    calm = replace(a, acceleration_m_s2=wind)
    half = stage_bounds(calm, certificate.stages.limits, certificate.law.gain, certificate.rounding_m_s3)
    yield "W halved in the proof only", *_proven_with(certificate, half)
    files = files_of(certificate, graphs_of(certificate))
    yield f"one weight changed by {WEIGHT_CHANGE:g}", None, _weight_changed(files, "backup.onnx", "weights", 0, 1.0 + WEIGHT_CHANGE)


def _proven_with(certificate: Certificate, wrong: Numbers) -> tuple[Certificate, dict[str, bytes]]:
    """The sets that hold if the bounds of w and r are as wrong as said, shape (stages, 2, 2), with their proof."""
    a = certificate.assumptions
    loops = [AxisLoop(certificate.law.gain[axis], a.drag_1_s[axis], a.rate_lag_s) for axis in (0, 1)]
    inner = [
        axis.offsets[:, :6] * np.abs(loop.outputs().hi).max(axis=1) / np.abs(axis.facets[:6]).max(axis=1)
        for loop, axis in zip(loops, certificate.axes, strict=True)
    ]
    proofs = prove_stages(loops, certificate.stages.limits, np.stack(inner, axis=2), wrong, certificate.stages.lasting)
    d, (h, v) = certificate.disturbance, wrong.max(axis=0) / certificate.stages.bounds.max(axis=0)  # (w, r) each
    (w_h, w_v), (r_h, r_v) = d.acceleration_m_s2, d.jerk_m_s3
    w, r = (w_h * float(h[0]), w_v * float(v[0])), (r_h * float(h[1]), r_v * float(v[1]))
    d = replace(d, acceleration_m_s2=w, jerk_m_s3=r)
    made = replace(certificate, disturbance=d, stages=replace(certificate.stages, bounds=wrong), axes=proofs)
    return made, files_of(made, graphs_of(made))


def _weight_changed(files: Mapping[str, bytes], name: str, which: str, place: int, factor: float) -> dict[str, bytes]:
    """One number of a graph's constant times a factor; `place` counts those that are not zero."""

    def change(value: Any) -> Any:
        spots = np.flatnonzero(value)
        value.reshape(-1)[spots[place % spots.size]] *= factor
        return value

    return edited(files, lambda table, arrays, backup, shield: constant(backup if name == "backup.onnx" else shield, which, change))


LARGER = ("position_error_m", "velocity_error_m_s", "attitude_error_rad", "acceleration_m_s2", "rate_residual_rad_s", "delay_max_s")
SMALLER = (
    ("disturbance", "acceleration_m_s2"), ("disturbance", "jerk_m_s3"), ("limits", "acceleration_m_s2"), ("limits", "jerk_m_s3"),
    ("limits", "feedback_m_s3"), ("limits", "slope_m_s4"), ("tube", "position_m"), ("tube", "jerk_m_s3"), ("tube", "thrust_m_s2"),
)  # fmt: skip


def mutants(certificate: Certificate, count: int, seed: int, manifest: bytes | None = None) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Certificates with one thing changed so that what they claim is no longer shown.

    Args:
        certificate: A proven one.
        count: How many; 200 take each listed change once, and 40 that are drawn.
        seed: Of what is changed.
        manifest: Of the bundle that it stands in, which must not say anything else; None: none is changed.

    Yields:
        What was changed, and the files: assumptions larger, bounds smaller, facets looser, witnesses and tubes altered, constants
        and nodes of both graphs altered, words, arrays and graphs of another form, the manifest's numbers (hashes right), or a bit
        of a file flipped (hashes as they were).
    """
    random = np.random.default_rng(seed)
    files = files_of(certificate, graphs_of(certificate)) | ({} if manifest is None else {"manifest.toml": manifest})
    drawn = 0
    for name in listed(count, random, manifest is not None):
        if name is None:
            yield DRAWN[drawn % len(DRAWN)](files, random)
            drawn += 1
        elif name in tampering.EDITS:
            yield name, edited(files, tampering.EDITS[name])
        else:
            table = tomllib.loads(files["manifest.toml"].decode())
            tampering.MANIFEST[name](table)
            yield f"manifest.toml: {name}", {**files, "manifest.toml": tomli_w.dumps(table).encode()}


def listed(count: int, random: np.random.Generator, with_manifest: bool) -> list[str | None]:
    """Names of the listed changes, each before any comes again; None, every fifth time, where one is drawn instead."""
    names = [str(name) for name in random.permutation([*tampering.EDITS, *(tampering.MANIFEST if with_manifest else ())])]
    return [None if n % EACH == EACH - 1 else names[(n - n // EACH) % len(names)] for n in range(count)]


Mutant = tuple[str, dict[str, bytes]]


def _table(files: dict[str, bytes], change: Callable[[Table], None]) -> dict[str, bytes]:
    """Files with their table changed."""
    return edited(files, lambda table, arrays, backup, shield: change(table))


def _assumption(files: dict[str, bytes], random: np.random.Generator) -> Mutant:
    name, factor = str(random.choice(LARGER)), float(random.uniform(2.0, 6.0))
    return f"assumptions.{name} x {factor:.2f}", _table(files, lambda table: _scale(table["assumptions"], name, factor))


def _bound_smaller(files: dict[str, bytes], random: np.random.Generator) -> Mutant:
    part, name = SMALLER[int(random.integers(len(SMALLER)))]
    factor = float(random.uniform(0.7, 0.95)) * (R_SLACK if (part, name) == ("disturbance", "jerk_m_s3") else 1.0)
    return f"{part}.{name} x {factor:.3f}", _table(files, lambda table: _scale(table[part], name, factor))


def _scale(table: Table, name: str, factor: float) -> None:
    value = table[name]
    table[name] = [factor * x for x in value] if isinstance(value, list) else factor * value


def _array(files: dict[str, bytes], name: str, change: Callable[[Numbers], None]) -> dict[str, bytes]:
    """Files with one array changed."""
    return edited(files, lambda table, arrays, backup, shield: change(arrays[name]))


def _axis(random: np.random.Generator) -> str:
    return str(random.choice(["horizontal", "vertical"]))


R_SLACK = 0.9
"""What the checker finds for r over what the prover states, at the least [1]: a smaller cut of r is still a true bound."""


def _stage(files: dict[str, bytes], random: np.random.Generator) -> Mutant:
    """One stage's bound of w or r smaller, or all offsets of a stage but the last ones smaller: the one before leads past it."""
    stages = tomllib.loads(files["certificate.toml"].decode())["proof"]["stages"]
    stage, factor, axis = int(random.integers(1, stages - 1)), float(random.uniform(0.7, 0.95)), int(random.integers(2))
    if random.random() < 0.5:
        kind = int(random.integers(2))
        factor *= R_SLACK if kind == 1 else 1.0

        def less(bounds: Numbers) -> None:
            bounds[stage, axis, kind] *= factor

        return f"stage {stage} bound {'wr'[kind]} x {factor:.3f}", _array(files, "bounds", less)

    def tighter(offsets: Numbers) -> None:
        offsets[stage] *= factor

    name = ("horizontal", "vertical")[axis]
    return f"stage {stage} {name} offsets x {factor:.3f}", _array(files, f"{name}_offsets", tighter)


def _facet(files: dict[str, bytes], random: np.random.Generator) -> Mutant:
    """A facet loosened in the arrays and in the shield graph alike."""
    axis, place, factor, rows = _axis(random), float(random.random()), float(random.uniform(0.9, 0.98)), []

    def loosen(table: Table, arrays: Arrays, backup: onnx.ModelProto, shield: onnx.ModelProto) -> None:
        facets = arrays[f"{axis}_facets"]
        rows.append(int(place * facets.shape[0]))
        facets[rows[0]] *= factor
        constant(shield, f"facets_{axis}", lambda old: np.ascontiguousarray(facets.T))
        constant(shield, f"size_{axis}", lambda old: np.nextafter(np.abs(facets.T), np.inf))

    changed = edited(files, loosen)
    return f"{axis} facet {rows[0]} x {factor:.3f}", changed


def _witness(files: dict[str, bytes], random: np.random.Generator) -> Mutant:
    axis, factor, place = _axis(random), float(random.uniform(1.02, 1.5)), float(random.random())

    def spoil(witness: Numbers) -> None:
        row = int(place * witness.shape[0])
        witness[row, np.argmax(np.abs(witness[row]))] *= factor

    return f"a {axis} multiplier x {factor:.2f}", _array(files, f"{axis}_facet_multipliers", spoil)


def _tube(files: dict[str, bytes], random: np.random.Generator) -> Mutant:
    axis, row, factor = _axis(random), int(random.integers(6)), float(random.uniform(0.8, 0.99))

    def shrink(tube: Numbers) -> None:
        tube[row] *= factor

    return f"{axis} tube {row} x {factor:.3f}", _array(files, f"{axis}_tube", shrink)


def _constant(files: dict[str, bytes], name: str, random: np.random.Generator) -> Mutant:
    model = onnx.load_model_from_string(files[name])
    kept = [t.name for t in model.graph.initializer if numpy_helper.to_array(t).dtype.kind == "f" and t.name not in FREE]
    which, place = str(random.choice(kept)), int(random.integers(10_000))
    factor = 1.0 + float(random.choice([-1, 1])) * float(random.uniform(1e-3, 0.1))
    factor = COVERING.get(which.split("_")[0], factor)
    return f"{name} {which} x {factor:.4f}", _weight_changed(files, name, which, place, factor)


COVERING = {"size": 0.9, "inverse": 0.1, "tube": 0.1, "box": 0.9, "shares": 0.9, "one": 1.001}
"""Constants of the shield graph that may be larger, or `one` smaller: that makes it stricter. Offsets a bit off may be another
stage's, and so may tubes."""
FREE = ("least", "nowhere")
"""A zero, which no factor changes, and a room that may be any that is large enough."""
OTHER = {"Sub": "Add", "Add": "Sub", "Mul": "Div", "Max": "Min", "ReduceMax": "ReduceMin", "ReduceMin": "ReduceMax", "Abs": "Neg",
         "Sqrt": "Abs", "Greater": "Less", "Div": "Mul"}  # fmt: skip


def _shield_node(files: dict[str, bytes], random: np.random.Generator) -> Mutant:
    """A node of the shield graph that does something else."""
    place, what = float(random.random()), []

    def change(table: Table, arrays: Arrays, backup: onnx.ModelProto, shield: onnx.ModelProto) -> None:
        nodes = [node for node in shield.graph.node if node.op_type in OTHER]
        node = nodes[int(place * len(nodes))]
        what.append(f"shield.onnx {node.op_type} -> {OTHER[node.op_type]} at {node.output[0]}")
        node.op_type = OTHER[node.op_type]

    changed = edited(files, change)
    return what[0], changed


def _backup_weight(files: dict[str, bytes], random: np.random.Generator) -> Mutant:
    return _constant(files, "backup.onnx", random)


def _shield_weight(files: dict[str, bytes], random: np.random.Generator) -> Mutant:
    return _constant(files, "shield.onnx", random)


def _bit(files: dict[str, bytes], random: np.random.Generator) -> Mutant:
    """A flipped bit, hashes as they were (the table itself is signed by the bundle: it is left out here)."""
    name = str(random.choice(["certificate.npz", "backup.onnx", "shield.onnx"]))
    content = bytearray(files[name])
    place, bit = int(random.integers(len(content))), int(random.integers(8))
    content[place] ^= 1 << bit
    return f"{name} byte {place} bit {bit}", {**files, name: bytes(content)}


EACH = 5
"""Every so many changes one is drawn."""
DRAWN = (
    _assumption, _bound_smaller, _stage, _facet, _witness, _tube, _backup_weight, _shield_weight, _shield_node, _bit,
)  # fmt: skip
