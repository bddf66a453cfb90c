"""Turn a `graph` into an ONNX model: fuse products with sums, share constants, name shapes, units and frames."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from .graph import Graph, Record, Tensor
from .operations import OPERATIONS

OPSET = 18
IR_VERSION = 9  # read by onnxruntime 1.15 and later
INTEGER_OUTPUTS: dict[str, tuple[int, ...]] = {"ArgMax": (0,), "TopK": (1,)}


@dataclass(frozen=True, slots=True)
class Port:
    """What one input or output means; goes into the model's metadata.

    Attributes:
        name: As in the graph.
        unit: Unit of the entries.
        frame: Frame in which they are given.
        meaning: One phrase.
    """

    name: str
    unit: str
    frame: str
    meaning: str


@dataclass(frozen=True, slots=True)
class GraphSize:
    """Number of ONNX nodes, floating-point operations of one run, bytes of the model, and numbers that the nodes write."""

    nodes: int
    flops: int
    bytes: int
    elements: int


def fuse(records: Sequence[Record], outputs: Sequence[Tensor]) -> list[Record]:
    """Join every sum with the matrix product that only it uses: MatMul and Add become one Gemm.

    Args:
        records: In order of evaluation.
        outputs: Tensors that must stay visible.

    Returns:
        The records that remain, in order of evaluation.
    """
    uses = Counter(x.index for r in records for x in r.inputs if isinstance(x, Tensor))
    uses.update(tensor.index for tensor in outputs)
    makers = {r.outputs[0].index: r for r in records if r.name == "MatMul"}
    gone: set[int] = set()
    result: list[Record] = []
    for record in records:
        fused = None
        if record.name == "Add":
            first, second = record.inputs
            for product, rest in ((first, second), (second, first)):
                if not isinstance(product, Tensor) or uses[product.index] != 1:
                    continue
                maker = makers.get(product.index)
                if maker is None or product.shape != record.outputs[0].shape or len(rest.shape) > 2:
                    continue
                fused = Record("Gemm", (*maker.inputs, rest), {}, record.outputs)
                gone.add(product.index)
                break
        result.append(fused or record)
    return [record for record in result if record.outputs[0].index not in gone]


def flops(record: Record) -> int:
    """Floating-point operations of one record; a tanh, a root and a quotient count as one."""
    size = int(np.prod(record.outputs[0].shape))
    if record.name in {"MatMul", "Gemm"}:
        return 2 * size * record.inputs[0].shape[-1]
    if record.name in {"Add", "Sub", "Mul", "Div", "Tanh", "Sqrt", "Clip", "Ceil", "Relu", "Sign"}:
        return size
    if record.name in {"ReduceSum", "ReduceL2"}:
        return int(np.prod(record.inputs[0].shape))
    return 0


class _Constants:
    """Initializers of the model, each kept once."""

    def __init__(self) -> None:
        self.protos: list[TensorProto] = []
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def name(self, array: npt.NDArray[np.generic]) -> str:
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = f"c{len(self._names)}"
            self.protos.append(numpy_helper.from_array(np.ascontiguousarray(array), self._names[key]))
        return self._names[key]


def to_model(graph: Graph, name: str, ports: Sequence[Port], metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Write the part of a graph that its outputs need, checked by onnx with shapes inferred.

    Args:
        graph: With named inputs and outputs.
        name: Name of the ONNX graph.
        ports: Meaning of every input and output.
        metadata: Further metadata, for example the hash of the checkpoint.

    Returns:
        A float32 model of opset 18 with fixed shapes.
    """
    records = fuse(graph.needed(), list(graph.outputs.values()))
    names = {tensor.index: label for label, tensor in graph.inputs.items()}
    names.update({tensor.index: label for label, tensor in graph.outputs.items()})
    constants = _Constants()
    nodes = []
    integers = {r.outputs[place].index for r in records for place in INTEGER_OUTPUTS.get(r.name, ())}
    for number, record in enumerate(records):
        operation = OPERATIONS[record.name]
        inputs = [
            names.setdefault(x.index, f"t{x.index}") if isinstance(x, Tensor) else constants.name(x.astype(np.float32))
            for x in record.inputs
        ]
        inputs += [constants.name(array) for array in operation.extra(record.attributes)]
        outputs = [names.setdefault(t.index, f"t{t.index}") for t in record.outputs]
        kept = {key: record.attributes[key] for key in operation.attributes}
        nodes.append(helper.make_node(record.name, inputs, outputs, name=f"{record.name}_{number}", **kept))

    def info(label: str, tensor: Tensor) -> onnx.ValueInfoProto:
        kind = TensorProto.INT64 if tensor.index in integers else TensorProto.FLOAT
        return helper.make_tensor_value_info(label, kind, tensor.shape)

    body = helper.make_graph(
        nodes,
        name,
        [info(label, tensor) for label, tensor in graph.inputs.items()],
        [info(label, tensor) for label, tensor in graph.outputs.items()],
        constants.protos,
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="tubepilot")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {**_describe(graph, ports), **metadata})
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(model, strict_mode=True), full_check=True)
    return model


def _describe(graph: Graph, ports: Sequence[Port]) -> dict[str, str]:
    """Metadata of every input and output: shape, unit, frame, meaning."""
    known = {port.name: port for port in ports}
    result = {}
    for kind, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        for label, tensor in tensors.items():
            port = known[label]
            shape = "x".join(map(str, tensor.shape))
            result[f"{kind}.{label}"] = f"shape {shape}; unit {port.unit}; frame {port.frame}; {port.meaning}"
    return result


def size(graph: Graph, model: onnx.ModelProto) -> GraphSize:
    """Nodes, floating-point operations and bytes."""
    records = fuse(graph.needed(), list(graph.outputs.values()))
    elements = sum(math.prod(t.shape) for r in records if r.name != "Reshape" for t in r.outputs)
    return GraphSize(len(model.graph.node), sum(map(flops, records)), model.ByteSize(), elements)
