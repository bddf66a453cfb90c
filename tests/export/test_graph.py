"""The graph builder: every vector-Jacobian product against finite differences and JAX, folding, fusion and emission."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from tubepilot.export.emit import Port, fuse, size, to_model
from tubepilot.export.graph import Graph, Tensor
from tubepilot.firmware_bridge.errors import ShapeError

RNG = np.random.default_rng(3)
W = RNG.normal(size=(4, 5))
LEFT = RNG.normal(size=(2, 3))
ROW = RNG.uniform(0.5, 1.5, size=(1, 4))
COLUMN = RNG.uniform(0.5, 1.5, size=(3, 1))
FULL = RNG.uniform(0.5, 1.5, size=(3, 4))

CASES = {
    "matmul": lambda g, x: x @ W,
    "matmul_left": lambda g, x: LEFT @ x,
    "matmul_both": lambda g, x: x @ g.tensor("Transpose", x * 0.5, perm=[1, 0]),
    "add_row": lambda g, x: x + ROW,
    "add_broadcast": lambda g, x: (x @ np.ones((4, 1))) + FULL * x,
    "subtract": lambda g, x: FULL - x * x,
    "multiply_column": lambda g, x: (x @ np.ones((4, 1))) * x,
    "multiply_rows": lambda g, x: (np.ones((1, 3)) @ x) * x,
    "square": lambda g, x: x * x,
    "divide": lambda g, x: FULL / (2.0 + x * x),
    "divide_column": lambda g, x: x / (2.0 + (x * x) @ np.ones((4, 1))),
    "tanh": lambda g, x: g.tensor("Tanh", x),
    "sqrt": lambda g, x: g.tensor("Sqrt", x * x + 1.0),
    "norm": lambda g, x: g.tensor("ReduceL2", x + 1.0),
    "normalise": lambda g, x: g.tensor("LpNormalization", x + 1.0, axis=-1, p=2),
    "clip": lambda g, x: g.tensor("Clip", x, low=-0.4, high=0.7),
    "sum_first": lambda g, x: g.tensor("ReduceSum", x * FULL, axes=[0]),
    "sum_last": lambda g, x: g.tensor("ReduceSum", x * FULL, axes=[1]),
    "reshape": lambda g, x: g.tensor("Reshape", x, shape=[2, 6]) * 2.0,
    "transpose": lambda g, x: g.tensor("Transpose", x, perm=[1, 0]) @ COLUMN,
    "concat": lambda g, x: g.tensor("Concat", x, x * FULL, FULL, axis=1),
    "split_one_part": lambda g, x: g.apply("Split", x, axis=1, sizes=[1, 3])[1] * 3.0,
}


def build(case: str) -> tuple[Graph, Tensor, np.ndarray]:
    graph = Graph()
    x = graph.input("x", (3, 4), differentiable=True)
    y = CASES[case](graph, x)
    y = y * y  # so that the gradient of a linear operation is no constant
    seed = np.random.default_rng(5).normal(size=y.shape)
    graph.output("y", y)
    graph.output("gradient", graph.gradient(y, x, seed))
    return graph, y, seed


@pytest.mark.parametrize("case", CASES)
def test_gradient_matches_central_differences(case: str) -> None:
    graph, _, seed = build(case)
    x = np.random.default_rng(7).normal(size=(3, 4))
    gradient = graph.evaluate({"x": x})["gradient"]
    step = 1e-6
    for index in np.ndindex(3, 4):
        move = np.zeros((3, 4))
        move[index] = step
        above, below = (np.sum(seed * graph.evaluate({"x": x + s * move})["y"]) for s in (1, -1))
        assert gradient[index] == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_computes_what_numpy_does(case: str) -> None:
    graph, _, _ = build(case)
    ports = [Port(name, "1", "none", "test") for name in ("x", "y", "gradient")]
    session = onnxruntime.InferenceSession(to_model(graph, case, ports, {}).SerializeToString())
    x = np.random.default_rng(9).normal(size=(3, 4)).astype(np.float32)
    for value, name in zip(session.run(["y", "gradient"], {"x": x}), ("y", "gradient"), strict=True):
        np.testing.assert_allclose(value, graph.evaluate({"x": x})[name], rtol=1e-5, atol=1e-5)


def test_gradient_of_a_network_matches_jax() -> None:
    w1, w2 = RNG.normal(size=(4, 16)), RNG.normal(size=(16, 2))
    graph = Graph()
    x = graph.input("x", (3, 4), differentiable=True)
    y = graph.tensor("Tanh", graph.tensor("Tanh", x @ w1 + 0.1) @ w2)
    y = y * y
    graph.output("gradient", graph.gradient(y, x, np.ones((3, 2))))
    value = np.random.default_rng(1).normal(size=(3, 4))
    with jax.enable_x64(True):
        want = jax.grad(lambda v: jnp.sum(jnp.tanh(jnp.tanh(v @ w1 + 0.1) @ w2) ** 2))(jnp.asarray(value))
    np.testing.assert_allclose(graph.evaluate({"x": value})["gradient"], want, rtol=1e-12, atol=1e-13)


def test_constants_are_folded_and_equal_operations_kept_once() -> None:
    graph = Graph()
    x = graph.input("x", (3, 4))
    folded = graph.apply("Mul", W, 2.0)[0]
    assert isinstance(folded, np.ndarray)
    assert (x @ folded) is (x @ (2.0 * W))
    assert len(graph.records) == 1


def test_product_and_sum_become_one_gemm_only_if_nobody_else_reads_the_product() -> None:
    graph = Graph()
    x = graph.input("x", (3, 4))
    alone = x @ W + np.ones((1, 5))
    shared = x @ (3.0 * W)
    graph.output("alone", alone)
    graph.output("sum", shared + np.ones((1, 5)))
    graph.output("shared", shared)
    names = [record.name for record in fuse(graph.needed(), list(graph.outputs.values()))]
    assert sorted(names) == ["Add", "Gemm", "MatMul"]


def test_unused_operations_are_not_written() -> None:
    graph = Graph()
    x = graph.input("x", (3, 4))
    graph.tensor("Tanh", x)
    graph.output("y", x * 2.0)
    model = to_model(graph, "g", [Port("x", "m", "ENU", "in"), Port("y", "m", "ENU", "out")], {"key": "value"})
    assert [node.op_type for node in model.graph.node] == ["Mul"]
    assert size(graph, model).flops == 12
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["key"] == "value"
    assert metadata["input.x"] == "shape 3x4; unit m; frame ENU; in"


def test_wrong_shapes_are_refused_when_written() -> None:
    graph = Graph()
    x = graph.input("x", (3, 4), differentiable=True)
    with pytest.raises(ShapeError, match="MatMul"):
        x @ np.ones((3, 3))
    with pytest.raises(ShapeError, match="does not depend"):
        graph.output("constant", np.ones(3))
    other = graph.input("other", (3, 4), differentiable=True)
    with pytest.raises(ShapeError, match="does not depend"):
        graph.gradient(x * 2.0, other, np.ones((3, 4)))
