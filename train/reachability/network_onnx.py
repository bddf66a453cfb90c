"""Read a controller from ONNX: its graph of tensor operations becomes a chain of layers with skip connections."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import InputError, MissingExtraError

from .layer_graph import Source, chain
from .network import Network, checked_network
from .onnx_operations import NodeError, Operation, Tensor, Value, apply_node

_MAX_INPUT = 4096


def network_from_onnx(content: bytes, name: str) -> Network:
    """The network of an ONNX file.

    Args:
        content: The file.
        name: For messages.

    Raises:
        InputError: The bytes are no ONNX graph with one input and one output, or a node cannot be represented.
        MissingExtraError: The package `onnx` is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError("reading ONNX needs the package onnx: pip install 'tubepilot[workstation]'") from error
    try:
        graph = onnx.load_model_from_string(content).graph
    except (DecodeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: corrupted, or no ONNX file ({len(content)} bytes); export or copy it again") from error
    values: dict[str, Value] = {}
    for initializer in graph.initializer:
        values[initializer.name] = _array(initializer, name)
    inputs = [entry for entry in graph.input if entry.name not in values]
    if len(inputs) != 1 or len(graph.output) != 1 or not graph.node:
        raise InputError(
            f"{name}: the graph has {len(inputs)} inputs, {len(graph.output)} outputs and {len(graph.node)} nodes; "
            "one input, one output and at least one node are needed. Is the file complete?"
        )
    shape = _input_shape(inputs[0], name)
    values[inputs[0].name] = Tensor(Source(math.prod(shape)), shape)
    notes: list[str] = []
    for node in graph.node:
        label = f"{name}: node {node.name or node.output[0] if node.output else ''!r} ({node.op_type})"
        try:
            missing = [argument for argument in node.input if argument and argument not in values]
            if missing or len(node.output) < 1:
                raise NodeError(f"reads {missing}, which no earlier node computes")
            attributes = {a.name: _attribute(a, onnx, label) for a in node.attribute}
            arguments = [values[argument] if argument else None for argument in node.input]
            values[node.output[0]] = apply_node(Operation(node.op_type, arguments, attributes, notes), node.domain)
        except (NodeError, InputError) as error:
            raise InputError(f"{label}: {error}") from error
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise InputError(f"{label}: its shapes or attributes do not fit ({error}); is the file corrupted?") from error
    result = values.get(graph.output[0].name)
    if not isinstance(result, Tensor):
        raise InputError(f"{name}: the output {graph.output[0].name!r} does not depend on the input")
    return checked_network(chain(result.node, name), tuple(f"{name}: {note}" for note in notes))


def _array(tensor: Any, name: str) -> npt.NDArray[Any]:
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise InputError(f"{name}: tensor {tensor.name!r} lies in another file; save the model with its weights inside")
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{name}: tensor {tensor.name!r} cannot be decoded ({error}); is the file corrupted?") from error
    if array.dtype.kind in "iub":
        return array
    if array.dtype.kind in "cSUO":
        raise InputError(f"{name}: tensor {tensor.name!r} is of type {array.dtype}; real numbers are needed")
    if np.any(np.isnan(array)):
        raise InputError(f"{name}: tensor {tensor.name!r} holds NaN, which is not finite; was the training interrupted or diverging?")
    return array.astype(np.float64)


def _attribute(attribute: Any, onnx: Any, label: str) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return _array(value, label)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _input_shape(entry: Any, name: str) -> tuple[int, ...]:
    shape = [dimension.dim_value for dimension in entry.type.tensor_type.shape.dim]
    if not shape:
        raise InputError(f"{name}: the input {entry.name!r} has no shape; export the network with a fixed input size")
    if shape[0] == 0 and len(shape) > 1:
        shape[0] = 1  # a batch of any size
    if min(shape) < 1 or math.prod(shape) > _MAX_INPUT or (len(shape) > 1 and shape[0] != 1):
        raise InputError(f"{name}: the input {entry.name!r} has shape {shape}; a batch of one and 1 to {_MAX_INPUT} values are needed")
    return tuple(shape)
