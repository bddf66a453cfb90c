"""Compares an ONNX graph of the certificate with the only graph it may be: every node, port, type and shape."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import CertificateError


@dataclass(frozen=True, slots=True)
class Expected:
    """A graph: nodes as "Op(inputs) -> output attribute=value", ports with their shapes, element type, constants.

    Attributes:
        name: File name, for messages.
        nodes: One line per node, in order.
        inputs, outputs: Shape by name, in order.
        dtype: Of ports and constants.
        constants: Names of all constants; those in `integers` are int64.
        integers: See `constants`.
    """

    name: str
    nodes: tuple[str, ...]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    dtype: str
    constants: frozenset[str]
    integers: frozenset[str] = frozenset()


BACKUP = Expected(
    name="backup.onnx",
    nodes=(
        "MatMul(rotation, select_up) -> up_column",
        "Transpose(up_column) -> up perm=[1, 0]",
        "Mul(up, thrust) -> force",
        "Mul(force, acceleration_gain) -> from_force",
        "MatMul(state, weights) -> from_state",
        "Add(from_state, offset) -> from_constant",
        "Add(from_constant, from_force) -> nu",
        "MatMul(nu, up_column) -> along",
        "Mul(along, up) -> along_vector",
        "Sub(nu, along_vector) -> across",
        "MatMul(across, rotation) -> across_body",
        "MatMul(across_body, swap) -> turn",
        "Div(turn, thrust) -> rates_wanted",
        "Mul(rates_wanted, rate_inverse) -> rates_scaled",
        "Add(rates_scaled, rate_shift) -> rates",
        "Mul(along, from_nu) -> thrust_from_nu",
        "Mul(slope, from_slope) -> thrust_from_slope",
        "Add(thrust_from_nu, thrust_from_slope) -> thrust_step",
        "Add(thrust, thrust_step) -> thrust_wanted",
        "Mul(thrust_wanted, thrust_inverse) -> thrust_command",
        "Concat(rates, thrust_command) -> free axis=1",
        "Max(free, low) -> above",
        "Min(above, high) -> setpoint",
        "Mul(slope, decay) -> slope_kept",
        "Mul(along, keep) -> slope_added",
        "Add(slope_kept, slope_added) -> slope_next",
    ),
    inputs={"state": (1, 9), "rotation": (3, 3), "thrust": (1, 1), "slope": (1, 1)},
    outputs={"setpoint": (1, 4), "slope_next": (1, 1)},
    dtype="float32",
    constants=frozenset((
            "weights", "acceleration_gain", "offset", "select_up", "swap", "rate_inverse", "rate_shift",
            "from_nu", "from_slope", "thrust_inverse", "decay", "keep", "low", "high",
        )),
)
SHIELD = Expected(
    name="shield.onnx",
    nodes=(
        "MatMul(facets_horizontal, horizontal) -> value_horizontal",
        "Mul(value_horizontal, value_horizontal) -> square",
        "ReduceSum(square, last) -> norm_squared keepdims=1",
        "Sqrt(norm_squared) -> norm_horizontal",
        "MatMul(size_horizontal, radius_horizontal) -> slack_horizontal",
        "Add(norm_horizontal, slack_horizontal) -> used_horizontal",
        "MatMul(facets_vertical, vertical) -> value_vertical",
        "Abs(value_vertical) -> size_value_vertical",
        "MatMul(size_vertical, radius_vertical) -> slack_vertical",
        "Add(size_value_vertical, slack_vertical) -> used_vertical",
        "Mul(used_horizontal, inverse_horizontal) -> share_horizontal",
        "ReduceMax(share_horizontal, middle) -> most_horizontal keepdims=0",
        "Mul(used_vertical, inverse_vertical) -> share_vertical",
        "ReduceMax(share_vertical, middle) -> most_vertical keepdims=0",
        "Max(most_horizontal, most_vertical) -> largest",
        "Sub(one, largest) -> margin",
    ),
    inputs={
        "horizontal": (16, 4, 2),
        "vertical": (16, 4, 1),
        "radius_horizontal": (16, 4, 1),
        "radius_vertical": (16, 4, 1),
    },
    outputs={"margin": (16, 8)},
    dtype="float64",
    constants=frozenset((
            "facets_horizontal", "facets_vertical", "size_horizontal", "size_vertical", "inverse_horizontal",
            "inverse_vertical", "one", "last", "middle",
        )),
    integers=frozenset({"last", "middle"}),
)
OPSET = 18


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
    graph = model.graph
    if [(o.domain, o.version) for o in model.opset_import] != [("", OPSET)] or model.functions or model.training_info:
        raise differs(f"operator sets other than the standard one at {OPSET}, or functions")
    nodes = [_text(onnx, node) for node in graph.node]
    for number, (found, wanted) in enumerate(zip(nodes, expected.nodes, strict=False)):
        if found != wanted:
            raise differs(f"node {number} is {found!r}, must be {wanted!r}")
    if len(nodes) != len(expected.nodes):
        raise differs(f"{len(nodes)} nodes, must be {len(expected.nodes)}")
    for ports, shapes in ((graph.input, expected.inputs), (graph.output, expected.outputs)):
        if [_port(onnx, port) for port in ports] != [(name, expected.dtype, shape) for name, shape in shapes.items()]:
            raise differs(f"inputs or outputs are {[port.name for port in ports]} or have other shapes")
    if graph.sparse_initializer or graph.quantization_annotation:
        raise differs("sparse or quantized constants")
    constants: dict[str, npt.NDArray[Any]] = {}
    for tensor in graph.initializer:
        if tensor.name in constants or tensor.external_data:
            raise differs(f"constant {tensor.name} stands twice or outside the file")
        value = np.asarray(onnx.numpy_helper.to_array(tensor))
        if value.dtype != np.dtype("int64" if tensor.name in expected.integers else expected.dtype):
            raise differs(f"constant {tensor.name} is {value.dtype}")
        if not np.isfinite(value).all():
            raise differs(f"constant {tensor.name} is not finite")
        constants[tensor.name] = value
    if set(constants) != expected.constants:
        raise differs(f"constants {sorted(set(constants) ^ expected.constants)} missing or unknown")
    return constants


def _text(onnx: Any, node: Any) -> str:
    """A node as one line of `Expected.nodes`."""
    attributes = "".join(f" {a.name}={onnx.helper.get_attribute_value(a)}" for a in node.attribute)
    prefix = f"{node.domain}::" if node.domain else ""
    return f"{prefix}{node.op_type}({', '.join(node.input)}) -> {', '.join(node.output)}{attributes}"


def _port(onnx: Any, port: Any) -> tuple[str, str, tuple[int, ...]]:
    tensor = port.type.tensor_type
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if tensor.elem_type else ""
    return port.name, dtype, tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
