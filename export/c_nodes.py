"""An ONNX model as the C emitter reads it: nodes, fixed shapes, constants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from tubepilot.firmware_bridge.errors import ShapeError

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One ONNX node: operator, names of inputs and outputs, attributes."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Program:
    """The nodes of a graph in order, and what is known of the values.

    Attributes:
        nodes: In order of evaluation.
        shapes: Of every value.
        constants: Values known beforehand.
        inputs, outputs: Names of the graph's ports, in its order.
        integers: Names of the values that are int64.
    """

    nodes: list[Node]
    shapes: dict[str, Shape]
    constants: dict[str, Array]
    inputs: list[str]
    outputs: list[str]
    integers: set[str]

    def size(self, name: str) -> int:
        """Number of entries of a value."""
        return math.prod(self.shapes[name])


def read(model: onnx.ModelProto) -> Program:
    """Nodes, shapes and constants of a model.

    Raises:
        ShapeError: a shape is not fixed.
    """
    graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes: dict[str, Shape] = {}
    integers: set[str] = set()
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        sizes = tuple(d.dim_value for d in kind.shape.dim)
        if not all(d.HasField("dim_value") for d in kind.shape.dim):
            raise ShapeError(f"{value.name}: shape {sizes} is not fixed; the C emitter takes fixed shapes only")
        shapes[value.name] = sizes
        if kind.elem_type == TensorProto.INT64:
            integers.add(value.name)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes.update({name: array.shape for name, array in constants.items()})
    nodes = [
        Node(n.op_type, tuple(n.input), tuple(n.output), {a.name: helper.get_attribute_value(a) for a in n.attribute})
        for n in graph.node
    ]
    ports = [i.name for i in graph.input if i.name not in constants]
    return Program(nodes, shapes, constants, ports, [o.name for o in graph.output], integers)


def matrix(shape: Shape) -> tuple[int, int]:
    """Rows and columns of a shape as broadcasting sees it: missing leading axes are 1; more than two axes are one row each.

    Source: ONNX, multidirectional broadcasting.
    """
    columns = shape[-1] if shape else 1
    return math.prod(shape[:-1]), columns


def integers(program: Program, name: str) -> list[int]:
    """A constant of integers as a list."""
    return [int(value) for value in np.asarray(program.constants[name]).reshape(-1)]
