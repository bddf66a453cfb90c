"""ONNX graphs for tests: made by hand, run by ONNX Runtime, compared with what is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tubepilot.train.reachability.network import Network, load_network


def run_onnx(content: bytes | str, x: np.ndarray) -> np.ndarray:
    """The output by ONNX Runtime for one input vector."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in entry.shape]
    kind = np.float64 if "double" in entry.type else np.float32
    return np.asarray(session.run(None, {entry.name: x.reshape(shape).astype(kind)})[0], np.float64).ravel()


def graph(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Any],
    shape: Sequence[int],
    result: str = "y",
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
) -> bytes:
    """An ONNX file with input x and one output."""
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info(result, kind, None)],
            initializers,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    return model.SerializeToString()


def f32(*shape: int, seed: int = 0) -> np.ndarray:
    """Random float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def agree(content: bytes, size: int, tolerance: float = 1e-6) -> Network:
    """The loaded network computes what ONNX Runtime computes."""
    network = load_network(content)
    for seed in range(3):
        x = f32(size, seed=seed + 10)
        found = np.asarray(network(jnp.asarray(x, jnp.float64)))
        np.testing.assert_allclose(found, run_onnx(content, x), rtol=tolerance, atol=tolerance)
    return network
