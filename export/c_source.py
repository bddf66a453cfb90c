"""Write the planner's graphs as one C file: the same nodes, constants and shapes as the ONNX files, compiled on board.

Equal kernels (same operator, shapes and places of rows) are one function, so that the library stays small; each graph is a list of
calls. The functions keep nothing: weights, scratch memory and ports are given, so that any number of planners can use one library.
What may be called:

    void tubepilot_GRAPH(const float *w, float *s, void *const *p)
        w: the weights, `tubepilot_weights` floats, aligned to 64 bytes
        s: scratch memory, `tubepilot_scratch` floats, aligned to 64 bytes; nothing in it is kept
        p: the graph's inputs, then its outputs, in the order of the ONNX file; float32 in C order, `best` int64
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from tubepilot.firmware_bridge.errors import ShapeError
from tubepilot.runtime.cost_model import GraphCost

from . import c_maps, c_moves
from .c_layout import Layout, View
from .c_nodes import Node, Program, read
from .c_prelude import PRELUDE
from .c_products import Product, Weights

ABI = 1
"""Grows with every change of what may be called."""
Kernel = c_moves.Kernel


@dataclass(frozen=True, slots=True)
class Compiled:
    """What goes into a bundle.

    Attributes:
        source: Text of `planner.c`.
        weights: Float32 numbers of `planner.bin`, shape (n,).
        costs: Of each graph: kernel calls; operations in products, as they are done, with whole vectors and without what is zero;
            entries computed or moved otherwise, weighted.
        scratch: Floats of scratch memory.
    """

    source: str
    weights: npt.NDArray[np.float32]
    costs: dict[str, GraphCost]
    scratch: int


class _Kernels:
    """Functions of the file by their text."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def call(self, kernel: Kernel) -> str:
        text, arguments = kernel
        name = self.names.setdefault(text, f"k{len(self.names)}")
        return f"    {name}({', '.join(arguments)});"


def kernels_of(node: Node, program: Program, views: dict[str, View], weights: Weights) -> list[Kernel]:
    """What a node runs; nothing where its outputs are views.

    Raises:
        ShapeError: the operator, or its form, is not written in C.
    """
    if node.op == c_maps.MAP:
        return [c_maps.body(node, program, views)]
    if node.op in {"MatMul", "Gemm"}:
        return [Product(node, program, views, weights).body()]
    if node.op in {"Split", "Concat"}:
        return c_moves.split_or_concat(node, program, views)
    if node.op == "Reshape":
        return c_moves.copy(views[node.inputs[0]], views[node.outputs[0]])
    makers = {"Gather": c_moves.gather, "Transpose": c_moves.transpose, "ArgMax": c_moves.arg_max}
    makers.update(dict.fromkeys(("ReduceSum", "ReduceL2", "LpNormalization"), c_moves.reduce))
    if node.op not in makers:
        raise ShapeError(f"{node.op} is not written in C; known are {', '.join(sorted({*makers, *c_maps.CODE}))} and products")
    return makers[node.op](node, program, views)


def _graph(model: onnx.ModelProto, weights: Weights, kernels: _Kernels) -> tuple[list[str], int, GraphCost]:
    """Calls of one graph, its scratch memory [floats], and its cost."""
    program = c_maps.fuse(read(model))
    read_as_array = {name for node in program.nodes for name in _arrays(node)}
    numbers = {name: weights.add(program.constants[name]) for name in program.constants if name in read_as_array}
    layout = Layout(program, numbers)
    scratch = layout.pack()
    calls: list[str] = []
    flops = elements = 0
    for node in program.nodes:
        made = kernels_of(node, program, layout.views, weights)
        calls += map(kernels.call, made)
        if node.op in {"MatMul", "Gemm"}:
            flops += Product(node, program, layout.views, weights).flops()
        elif made:
            elements += sum(map(program.size, node.outputs)) * (c_maps.weight(node) if node.op == c_maps.MAP else 1)
    return calls, scratch, GraphCost(len(calls), flops, elements)


def _arrays(node: Node) -> tuple[str, ...]:
    """Inputs of a node that are read as float arrays; constant factors of products are packed, indices are written into the code."""
    if node.op in {"MatMul", "Gemm"}:
        return node.inputs[2:]
    return node.inputs if node.op in {c_maps.MAP, "Concat"} else node.inputs[:1]


def write(models: Mapping[str, onnx.ModelProto]) -> Compiled:
    """C source and weights of the graphs.

    Args:
        models: By name, each a float32 model with fixed shapes.

    Raises:
        ShapeError: an operator is not written in C.
    """
    weights, kernels = Weights(), _Kernels()
    graphs = {name: _graph(model, weights, kernels) for name, model in models.items()}
    scratch = max(size for _, size, _ in graphs.values())
    lines = [
        "/* Planner of a tubepilot bundle, written from its ONNX graphs at export; no part of the proof: the shield is not in here */",
        PRELUDE,
        f"API const int tubepilot_abi = {ABI};",
        f"API const long tubepilot_weights = {weights.array().size};",
        f"API const long tubepilot_scratch = {scratch};",
        "",
    ]
    lines += [f"KERNEL {name}{text}\n" for text, name in kernels.names.items()]
    for name, (calls, _, _) in graphs.items():
        lines += [f"API void tubepilot_{name}(const float *w, float *s, void *const *p) {{", *calls, "}", ""]
    return Compiled("\n".join(lines), weights.array(), {name: cost for name, (_, _, cost) in graphs.items()}, scratch)
