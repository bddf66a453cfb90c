"""How long the matrix products of a decision take by themselves on this core, at the rates of their own shapes.

For every shape (rows, inner, columns) of a product with constant weights, a graph of many such products with different
weights is timed; the sum over the decision is the time below which no graph of these products can get.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tubepilot.runtime.session import bind, buffers, open_session

from .emit import IR_VERSION, OPSET, fuse

if TYPE_CHECKING:
    from .bench_decision import Ours

COPIES, BLOCKS = 24, 25
PEAK = 512


def _products(rows: int, inner: int, columns: int, copies: int) -> onnx.ModelProto:
    """A graph of `copies` products of one input with different weights, summed."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Gemm", ["x", f"w{k}"], [f"y{k}"]) for k in range(copies)]
    nodes.append(helper.make_node("Sum", [f"y{k}" for k in range(copies)], ["y"]))
    weights = [
        numpy_helper.from_array((rng.normal(size=(inner, columns)) / inner).astype(np.float32), f"w{k}") for k in range(copies)
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (rows, inner)), ("y", (rows, columns)))]
    model = helper.make_model(
        helper.make_graph(nodes, "products", ports[:1], ports[1:], weights), opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = IR_VERSION
    return model


def _time_s(model: onnx.ModelProto) -> np.ndarray:
    """Seconds of processor time per run, `BLOCKS` of them."""
    session = open_session(model.SerializeToString(), "products.onnx")
    given, made = buffers(session, "products.onnx")
    binding = bind(session, given, made)
    times = []
    for block in range(BLOCKS + 3):
        start_ns = time.process_time_ns()
        for _ in range(5):
            session.run_with_iobinding(binding)
        if block >= 3:
            times.append(2e-10 * (time.process_time_ns() - start_ns))
    return np.array(times)


def measure(ours: Ours, counts: dict[str, int]) -> dict[str, Any]:
    """Time of the products of a decision.

    Args:
        ours: The decision's graphs.
        counts: How often each runs in a decision.

    Returns:
        `ms` with percentiles, `gflop_s` reached in it, and `peak_gflop_s` of a product of large matrices.
    """
    shapes: Counter[tuple[int, int, int]] = Counter()
    for name, graph in ours.graphs.items():
        for record in fuse(graph.needed(), list(graph.outputs.values())):
            if record.name in {"MatMul", "Gemm"}:
                left, right = (x.shape for x in record.inputs[:2])
                shapes[left[0], left[1], right[1]] += counts[name]
    total, flops = np.zeros(BLOCKS), 0
    for (rows, inner, columns), count in shapes.items():
        total += count * _time_s(_products(rows, inner, columns, COPIES)) / COPIES
        flops += count * 2 * rows * inner * columns
    large = _time_s(_products(PEAK, PEAK, PEAK, 2)) / 2
    percentiles = {"p50": 50.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
    return {
        "ms": {key: 1e3 * float(np.percentile(total, share)) for key, share in percentiles.items()},
        "gflop_s": 1e-9 * flops / float(np.median(total)),
        "peak_gflop_s": 1e-9 * 2 * PEAK**3 / float(np.min(large)),
    }
