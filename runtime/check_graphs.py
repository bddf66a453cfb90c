"""Compares an ONNX graph of the certificate with the only graph it may be: every node, port, type and shape."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import CertificateError

Shape = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """A graph. Its constants are what its nodes take in and neither a port nor another node gives.

    Attributes:
        name: File name, for messages.
        text: Nodes in order, as "Op(inputs) -> outputs attribute=value"; between them semicolons or line ends.
        inputs, outputs: Shape by name, in order; a size that may be any has a name.
        dtype: Of ports and constants.
        integers: Names of constants and ports that are int64.
    """

    name: str
    text: str
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    dtype: str
    integers: frozenset[str] = frozenset()

    @property
    def nodes(self) -> list[str]:
        """Its nodes, one by one."""
        return [node.strip() for node in self.text.strip().replace("\n", ";").split(";")]

    @property
    def constants(self) -> set[str]:
        """Names of its constants."""
        taken, given = set[str](), set(self.inputs)
        for node in self.nodes:
            inputs, rest = node.partition("(")[2].split(") -> ")
            taken |= set(inputs.split(", "))
            given |= {word.rstrip(",") for word in rest.split(" ") if "=" not in word}
        return taken - given


BACKUP_NODES = """
    MatMul(rotation, select_up) -> up_column; Transpose(up_column) -> up perm=[1, 0]; Mul(up, thrust) -> force
    Mul(force, acceleration_gain) -> from_force
    MatMul(state, weights) -> from_state; Add(from_state, offset) -> from_constant; Add(from_constant, from_force) -> nu
    MatMul(nu, up_column) -> along; Mul(along, up) -> along_vector; Sub(nu, along_vector) -> across
    MatMul(across, rotation) -> across_body
    MatMul(across_body, swap) -> turn; Div(turn, thrust) -> rates_wanted; Mul(rates_wanted, rate_inverse) -> rates_scaled
    Add(rates_scaled, rate_shift) -> rates
    Mul(along, from_nu) -> thrust_from_nu; Mul(slope, from_slope) -> thrust_from_slope
    Add(thrust_from_nu, thrust_from_slope) -> thrust_step; Add(thrust, thrust_step) -> thrust_wanted
    Mul(thrust_wanted, thrust_inverse) -> thrust_command
    Concat(rates, thrust_command) -> free axis=1; Max(free, low) -> above; Min(above, high) -> setpoint
    Mul(slope, decay) -> slope_kept; Mul(along, keep) -> slope_added; Add(slope_kept, slope_added) -> slope_next
"""
SHIELD_NODES = """
    Sub(states, held) -> z; Mul(z, gain) -> z_gain; ReduceSum(z_gain, axis_3) -> nu keepdims=0
    Gather(states, row_2) -> acceleration axis=3; Add(acceleration, weight) -> force; Gather(states, row_3) -> jerk axis=3
    ReduceL2(force, axis_0) -> force_size keepdims=1; ReduceL2(jerk, axis_0) -> jerk_size keepdims=1
    ReduceL2(nu, axis_0) -> nu_size keepdims=1; Div(force, force_size) -> up; Mul(up, nu) -> up_nu
    ReduceSum(up_nu, axis_0) -> along keepdims=1; Mul(along, up) -> along_vector; Sub(nu, along_vector) -> across
    Sub(across, wanted) -> off; Gather(shares, instants) -> share axis=0; Mul(off, share) -> change
    ReduceL2(change, axis_0) -> change_size keepdims=1; Mul(up, jerk) -> up_jerk
    ReduceSum(up_jerk, axis_0) -> along_jerk keepdims=1; Mul(along_jerk, slower) -> slowed; Sub(along, slowed) -> slope
    Abs(slope) -> late; ReduceMax(late, axis_1) -> late_most keepdims=1; Concat(late_most, late_most) -> late_both axis=1
    Shape(force_size) -> each; Expand(ones, each) -> one_each
    Concat(one_each, force_size, jerk_size, doubts, nu_size, change_size, late_both) -> terms axis=0
    Transpose(terms) -> terms_last perm=[1, 2, 0]; Unsqueeze(terms_last, axis_2) -> terms_row
    Gather(box, instants) -> coefficients axis=0; MatMul(terms_row, coefficients) -> sums_row; Squeeze(sums_row, axis_2) -> sums
    Split(sums, thirds) -> sums_level, sums_any, sums_across axis=2; Mul(up, level) -> lying
    ReduceL2(lying, axis_0) -> sine keepdims=0; ReduceMax(sine, axis_0) -> steepest keepdims=1
    Gather(sums_level, row_2) -> loose axis=2; Squeeze(force_size, axis_0) -> least_force; Sub(least_force, loose) -> surplus
    Max(surplus, tiny) -> divisor; Div(loose, divisor) -> angle; ReduceMax(angle, axis_0) -> widest keepdims=1
    Add(steepest, widest) -> leaning; Min(leaning, whole) -> upward; Unsqueeze(upward, axis_2) -> upward_column
    Mul(sums_across, upward_column) -> sums_upward; Add(sums_any, sums_upward) -> sums_vertical
    Concat(sums_level, sums_vertical) -> radii axis=2; Unsqueeze(change, axis_3) -> change_column
    Mul(change_column, jerk_row) -> moved; Add(z, moved) -> other; Concat(z, other) -> points axis=1
    Split(points, singles) -> x, y, vertical axis=0; MatMul(x, facets_horizontal) -> value_x; Mul(value_x, value_x) -> square_x
    MatMul(y, facets_horizontal) -> value_y; Mul(value_y, value_y) -> square_y; Add(square_x, square_y) -> square_horizontal
    Split(square_horizontal, pairs) -> square_as_is, square_moved axis=1; Max(square_as_is, square_moved) -> square_larger
    Sqrt(square_larger) -> size_value_horizontal; MatMul(vertical, facets_vertical) -> value_vertical
    Abs(value_vertical) -> size_vertical_all; Split(size_vertical_all, pairs) -> size_as_is, size_moved axis=1
    Max(size_as_is, size_moved) -> size_value_vertical; Split(radii, halves) -> radius_horizontal, radius_vertical axis=2
    MatMul(radius_horizontal, size_horizontal) -> slack_horizontal; Add(size_value_horizontal, slack_horizontal) -> used_horizontal
    Split(used_horizontal, twice) -> first_horizontal, last_horizontal axis=1
    Max(first_horizontal, last_horizontal) -> worst_horizontal; Mul(worst_horizontal, inverse_horizontal) -> share_horizontal
    ReduceMax(share_horizontal, axis_3) -> most_horizontal keepdims=0; MatMul(radius_vertical, size_vertical) -> slack_vertical
    Add(size_value_vertical, slack_vertical) -> used_vertical; Split(used_vertical, twice) -> first_vertical, last_vertical axis=1
    Max(first_vertical, last_vertical) -> worst_vertical; Mul(worst_vertical, inverse_vertical) -> share_vertical
    ReduceMax(share_vertical, axis_3) -> most_vertical keepdims=0; Max(most_horizontal, most_vertical) -> most
    Sub(one, most) -> margins; ReduceMax(margins, stages) -> margin keepdims=0; Greater(margins, least) -> inside
    Where(inside, tube, nowhere) -> rooms; ReduceMin(rooms, axis_1) -> room keepdims=0
"""

ANY = "options"
"""Size that whoever runs the shield graph chooses: how many options it judges, each for itself."""
BACKUP = Expected(
    "backup.onnx", BACKUP_NODES, {"state": (1, 9), "rotation": (3, 3), "thrust": (1, 1), "slope": (1, 1)},
    {"setpoint": (1, 4), "slope_next": (1, 1)}, "float32",
)  # fmt: skip
SHIELD = Expected(
    "shield.onnx", SHIELD_NODES,
    {"states": (3, 2, ANY, 4), "held": (3, 1, ANY, 4), "wanted": (3, 2, ANY), "doubts": (5, 2, ANY), "instants": (2, ANY)},
    {"margin": (ANY,), "radii": (2, ANY, 8), "room": (2, ANY)}, "float64",
    frozenset((
        "instants", "row_2", "row_3", "axis_0", "axis_1", "axis_2", "axis_3", "thirds", "halves", "singles", "pairs", "twice", "stages",
    )),
)  # fmt: skip
OPSET, IR_VERSION = 18, 9
WORD = re.compile(r"[A-Za-z0-9_]+")
FREE_TEXT = {"ModelProto": ("producer_name", "producer_version", "metadata_props")}
"""What people read and nothing computes with."""
FIELDS: Mapping[str, tuple[str, ...]] = {
    "ModelProto": ("ir_version", "opset_import", "graph"),
    "OperatorSetIdProto": ("domain", "version"),
    "GraphProto": ("name", "node", "input", "output", "initializer"),
    "NodeProto": ("op_type", "input", "output", "attribute"),
    "AttributeProto": ("name", "type", "i", "ints"),
    "TensorProto": ("name", "data_type", "dims", "raw_data"),
    "ValueInfoProto": ("name", "type"),
    "TypeProto": ("tensor_type",),
    "Tensor": ("elem_type", "shape"),
    "TensorShapeProto": ("dim",),
    "Dimension": ("dim_value", "dim_param"),
}
"""The only fields that a graph of a certificate has: what stands elsewhere (typed data beside raw bytes, references, shapes of
inner values) could mean something else to another reader."""


def check_graph(content: bytes, expected: Expected) -> dict[str, npt.NDArray[Any]]:
    """Compare and read.

    Args:
        content: ONNX bytes.
        expected: The only graph they may hold.

    Returns:
        Its constants by name, all finite.

    Raises:
        CertificateError: the bytes hold another graph.
    """
    onnx: Any = importlib.import_module("onnx")
    decode_error: Any = importlib.import_module("google.protobuf.message").DecodeError

    def differs(what: str) -> CertificateError:
        return CertificateError(f"{expected.name}: {what}: not the graph of this certificate's law; certify again")

    try:
        model = onnx.load_model_from_string(content)
    except decode_error as error:
        raise CertificateError(f"{expected.name}: not an ONNX file: {error}; certify again") from error
    odd = _odd_field(model)
    if odd is not None:
        raise differs(odd)
    graph = model.graph
    if [(o.domain, o.version) for o in model.opset_import] != [("", OPSET)] or model.ir_version != IR_VERSION:
        raise differs(f"operator sets other than the standard one at {OPSET}, or an IR other than {IR_VERSION}")
    nodes = [_text(onnx, node) for node in graph.node]
    for number, (found, wanted) in enumerate(zip(nodes, expected.nodes, strict=False)):
        if found != wanted:
            raise differs(f"node {number} is {found!r}, must be {wanted!r}")
    if len(nodes) != len(expected.nodes):
        raise differs(f"{len(nodes)} nodes, must be {len(expected.nodes)}")
    for ports, shapes in ((graph.input, expected.inputs), (graph.output, expected.outputs)):
        if [_port(onnx, port) for port in ports] != [
            (name, "int64" if name in expected.integers else expected.dtype, shape) for name, shape in shapes.items()
        ]:
            raise differs(f"inputs or outputs are {[port.name for port in ports]} or have other shapes")
    constants: dict[str, npt.NDArray[Any]] = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise differs(f"constant {tensor.name} stands twice")
        kind = np.dtype("int64" if tensor.name in expected.integers else expected.dtype)
        shape = tuple(tensor.dims)
        if tensor.data_type != onnx.helper.np_dtype_to_tensor_dtype(kind) or any(size < 0 for size in shape):
            raise differs(f"constant {tensor.name} is not {kind}, or its shape is {shape}")
        if len(tensor.raw_data) != math.prod(shape) * kind.itemsize:
            raise differs(f"constant {tensor.name} has {len(tensor.raw_data)} bytes for the shape {shape}")
        value = np.frombuffer(tensor.raw_data, kind.newbyteorder("<")).astype(kind).reshape(shape)
        if not np.isfinite(value).all():
            raise differs(f"constant {tensor.name} is not finite")
        constants[tensor.name] = value
    if set(constants) != expected.constants:
        raise differs(f"constants {sorted(set(constants) ^ expected.constants)} missing or unknown")
    return constants


def _odd_field(message: Any) -> str | None:
    """The first field, at any depth, that no graph of a certificate has, or a name that is not one plain word."""
    kind = message.DESCRIPTOR.name
    if len(importlib.import_module("google.protobuf.unknown_fields").UnknownFieldSet(message)):
        return f"{kind} with a field that no ONNX file of this version has"
    for descriptor, value in message.ListFields():
        field = descriptor.name
        if field in FREE_TEXT.get(kind, ()):
            continue
        if field not in FIELDS.get(kind, ()):
            return f"{kind} with the field {field}"
        for entry in value if hasattr(value, "__len__") and not isinstance(value, str | bytes) else (value,):
            odd = _odd_field(entry) if hasattr(entry, "ListFields") else None
            if odd is None and isinstance(entry, str) and (field, entry) != ("domain", "") and WORD.fullmatch(entry) is None:
                odd = f"{kind} with {field} {entry[:60]!r}"
            if odd is not None:
                return odd
    return None


def _text(onnx: Any, node: Any) -> str:
    """A node as one line of `Expected.nodes`."""
    attributes = "".join(f" {a.name}={_value(onnx, a)}" for a in node.attribute)
    return f"{node.op_type}({', '.join(node.input)}) -> {', '.join(node.output)}{attributes}"


def _value(onnx: Any, attribute: Any) -> int | list[int] | None:
    """An integer or a list of them; None if it is both, neither, or said to be something else."""
    if attribute.type == onnx.AttributeProto.INT and not attribute.ints:
        return int(attribute.i)
    if attribute.type == onnx.AttributeProto.INTS and not attribute.HasField("i"):
        return list(attribute.ints)
    return None


def _port(onnx: Any, port: Any) -> tuple[str, str, Shape]:
    tensor = port.type.tensor_type
    kinds = {onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind)): kind for kind in ("float32", "float64", "int64")}
    dtype = kinds.get(tensor.elem_type, "")
    return port.name, dtype, tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.shape.dim)
