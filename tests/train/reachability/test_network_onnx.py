"""ONNX networks: one operation after the other against ONNX Runtime, and every graph that is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.onnx_graphs import agree, f32, graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.network import Network, load_network

LINEAR = [helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1)]
WEIGHTS = {"w": f32(3, 4), "b": f32(3, seed=1)}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Relu", "relu"),
        ("Tanh", "tanh"),
        ("Sigmoid", "sigmoid"),
        ("Softplus", "softplus"),
        ("Elu", "elu"),
        ("Abs", "abs"),
        ("Atan", "atan"),
        ("Sin", "sin"),
        ("Cos", "cos"),
    ],
)
def test_activation(kind: str, name: str) -> None:
    network = agree(graph([*LINEAR, helper.make_node(kind, ["h"], ["y"])], WEIGHTS, [1, 4]), 4)
    assert [layer.activation for layer in network.layers] == [name]


@pytest.mark.parametrize("swapped", [False, True])
def test_silu(swapped: bool) -> None:
    factors = ["s", "h"] if swapped else ["h", "s"]
    nodes = [*LINEAR, helper.make_node("Sigmoid", ["h"], ["s"]), helper.make_node("Mul", factors, ["y"])]
    network = agree(graph(nodes, WEIGHTS, [1, 4]), 4)
    assert [layer.activation for layer in network.layers] == ["silu"]


def test_silu_of_the_input_itself() -> None:
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])]
    assert agree(graph(nodes, {}, [1, 4]), 4).layers[0].activation == "silu"


def test_leaky_relu() -> None:
    network = agree(graph([*LINEAR, helper.make_node("LeakyRelu", ["h"], ["y"], alpha=0.1)], WEIGHTS, [1, 4]), 4)
    assert [layer.activation for layer in network.layers] == ["linear", "relu", "linear"]
    agree(graph([helper.make_node("LeakyRelu", ["x"], ["y"])], {}, [1, 4]), 4)


def test_gemm_with_factors_and_without_bias() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], alpha=0.3),
        helper.make_node("Gemm", ["h", "v", "b"], ["y"], transB=1, alpha=2.5, beta=0.7),
    ]
    network = agree(graph(nodes, {"w": f32(4, 3), "v": f32(2, 3), "b": f32(1, 2)}, ["batch", 4]), 4)
    np.testing.assert_array_equal(network.layers[0].weight, np.float64(np.float32(0.3)) * f32(4, 3).T.astype(np.float64))


def test_matmul_from_both_sides_and_bias() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["b", "a"], ["h"]),
        helper.make_node("Transpose", ["h"], ["t"]),
        helper.make_node("MatMul", ["v", "t"], ["y"]),
    ]
    network = agree(graph(nodes, {"w": f32(4, 3), "b": f32(3), "v": f32(2, 3)}, [1, 4]), 4)
    assert len(network.layers) == 2
    column = graph([helper.make_node("MatMul", ["v", "x"], ["y"])], {"v": f32(2, 3)}, [3])
    agree(column, 3)


def test_constants_of_every_kind() -> None:
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["a"]),
        helper.make_node("Mul", ["a", "gain"], ["c"]),
        helper.make_node("Sub", ["one", "c"], ["d"]),
        helper.make_node("Div", ["d", "four"], ["e"]),
        helper.make_node("Neg", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["h"], transB=1),
        helper.make_node("Mul", ["scale", "h"], ["i"]),
        helper.make_node("Add", ["i", "shift"], ["y"]),
    ]
    constants = {"mean": f32(4), "gain": f32(1, 4), "one": np.float32(1), "four": np.float32(4), "scale": f32(3), "shift": f32(3)}
    assert agree(graph(nodes, {**WEIGHTS, **constants}, [1, 4]), 4).notes == ()


def test_zero_mean_costs_nothing() -> None:
    nodes = [helper.make_node("Sub", ["x", "mean"], ["a"]), helper.make_node("Gemm", ["a", "w", "b"], ["y"], transB=1)]
    assert len(agree(graph(nodes, {**WEIGHTS, "mean": np.zeros((1, 4), np.float32)}, [1, 4]), 4).layers) == 1


def test_division_that_is_not_exact_is_noted() -> None:
    nodes = [helper.make_node("Div", ["x", "three"], ["y"])]
    network = agree(graph(nodes, {"three": np.full(4, 3, np.float32)}, [1, 4]), 4)
    assert len(network.notes) == 1
    assert "reciprocals" in network.notes[0]


def test_sums_that_are_not_exact_are_layers_of_their_own() -> None:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1), helper.make_node("Add", ["h", "c"], ["y"])]
    constants = {"w": np.eye(2), "b": np.array([0.1, 0.2]), "c": np.array([1e10, 1e-10])}
    network = agree(graph(nodes, constants, [1, 2], kind=TensorProto.DOUBLE), 2)
    assert len(network.layers) == 2


def test_shapes() -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["a"]),
        helper.make_node("Transpose", ["a"], ["c"], perm=[0, 2, 1]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Unsqueeze", ["d", "axis"], ["e"]),
        helper.make_node("Squeeze", ["e", "axis"], ["f"]),
        helper.make_node("Identity", ["f"], ["g"]),
        helper.make_node("Cast", ["g"], ["i"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["i", "w", "b"], ["j"], transB=1),
        helper.make_node("Squeeze", ["j"], ["y"]),
    ]
    constants = {"w": f32(3, 6), "b": f32(3), "shape": np.array([0, 2, -1]), "axis": np.array([1])}
    network = agree(graph(nodes, constants, [1, 6]), 6)
    assert len(network.layers) == 2  # the transposition is a permutation


def test_constants_that_are_nodes() -> None:
    nodes = [
        helper.make_node("Constant", [], ["w0"], value=numpy_helper.from_array(f32(3, 4))),
        helper.make_node("Transpose", ["w0"], ["w"], perm=[1, 0]),
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Constant", [], ["flat"], value_ints=[1, 3]),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Mul", ["h", "two"], ["i"]),
        helper.make_node("Reshape", ["i", "flat"], ["y"]),
    ]
    agree(graph(nodes, {}, [1, 4]), 4)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("start", ["x", "h"])
def test_residual_add(swapped: bool, start: str) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "v", "c"], ["g"], transB=1),
        helper.make_node("Tanh", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "v", "c"], ["i"], transB=1),
        helper.make_node("Relu", ["i"], ["j"]),
        helper.make_node("Add", ["j", start] if swapped else [start, "j"], ["k"]),
        helper.make_node("Gemm", ["k", "w", "b"], ["y"], transB=1),
    ]
    network = agree(graph(nodes, {**WEIGHTS, "v": f32(4, 4), "c": f32(4)}, [1, 4]), 4)
    assert [layer.residual for layer in network.layers] == [None, 0 if start == "x" else 1, None]
    assert len(network.layers) == 3


@pytest.mark.parametrize("order", [["x", "g"], ["g", "x"]])
def test_residual_difference_and_activation_behind_it(order: list[str]) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "v", "c"], ["g"], transB=1),
        helper.make_node("Sub", order, ["h"]),
        helper.make_node("Relu", ["h"], ["i"]),
        helper.make_node("Add", ["i", "i"], ["y"]),
    ]
    agree(graph(nodes, {"v": f32(4, 4), "c": f32(4)}, [1, 4]), 4)


def test_output_of_a_branch_that_is_used_twice() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "v", "c"], ["g"], transB=1),
        helper.make_node("Add", ["g", "x"], ["h"]),
        helper.make_node("Add", ["h", "g"], ["y"]),
    ]
    agree(graph(nodes, {"v": f32(4, 4), "c": f32(4)}, [1, 4]), 4)


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([helper.make_node("Softmax", ["x"], ["y"], name="last")], {}, "node 'last' \\(Softmax\\): this operation is not supported"),
        ([helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)], {"w": f32(4, 3)}, "transA"),
        ([helper.make_node("Elu", ["x"], ["y"], alpha=0.5)], {}, "alpha"),
        ([helper.make_node("Mul", ["x", "x"], ["y"])], {}, "product of two tensors"),
        ([helper.make_node("Div", ["c", "x"], ["y"])], {"c": f32(4)}, "must depend on the network's input"),
        ([helper.make_node("Div", ["x", "c"], ["y"])], {"c": np.zeros(4, np.float32)}, "zero"),
        ([helper.make_node("Add", ["x", "c"], ["y"])], {"c": f32(3, 4)}, "enlarge"),
        ([helper.make_node("Add", ["x", "c"], ["y"])], {"c": f32(3)}, "do not fit"),
        ([helper.make_node("Gemm", ["x", "w"], ["y"])], {"w": f32(5, 3)}, "5 values"),
        ([helper.make_node("Relu", ["z"], ["y"])], {}, "no earlier node"),
        ([helper.make_node("Relu", ["c"], ["y"])], {"c": f32(4)}, "constants only"),
        ([helper.make_node("Identity", ["c"], ["y"])], {"c": f32(4)}, "does not depend on the input"),
        ([helper.make_node("Reshape", ["x", "c"], ["y"])], {"c": np.array([3, -1])}, "do not fit"),
        ([helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32)], {}, "cast"),
        ([helper.make_node("Relu", ["x"], ["y"], domain="com.example")], {}, "not supported"),
        ([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.full((4, 2), np.nan, np.float32)}, "not finite"),
        (
            [
                helper.make_node("MatMul", ["x", "w"], ["a"]),
                helper.make_node("MatMul", ["x", "v"], ["b"]),
                helper.make_node("Add", ["a", "b"], ["y"]),
            ],
            {"w": f32(4, 2), "v": f32(4, 2)},
            "side by side",
        ),
    ],
)
def test_refused(nodes: list[onnx.NodeProto], constants: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_network(graph(nodes, constants, [1, 4]))


def test_convolution_must_be_dense() -> None:
    def conv(**attributes: Any) -> bytes:
        constants = {"w": f32(3, 2, 1, 2), "b": f32(3)}
        return graph([helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)], constants, [1, 2, 1, 2])

    agree(conv(), 4)
    with pytest.raises(InputError, match="pads"):
        load_network(conv(pads=[0, 1, 0, 1]))
    with pytest.raises(InputError, match="padding"):
        load_network(conv(auto_pad="SAME_UPPER"))
    wide = graph([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": f32(3, 2, 1, 1)}, [1, 2, 1, 2])
    with pytest.raises(InputError, match="does not cover"):
        load_network(wide)


def test_weights_in_another_file_are_refused() -> None:
    model = onnx.load_model_from_string(graph(LINEAR, WEIGHTS, [1, 4], "h"))
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    with pytest.raises(InputError, match="another file"):
        load_network(model.SerializeToString())


@pytest.mark.parametrize("shape", [[], [2, 4], [1, 0], [1, 5000]])
def test_input_shapes_that_are_refused(shape: list[int]) -> None:
    with pytest.raises(InputError, match="input 'x'"):
        load_network(graph([helper.make_node("Relu", ["x"], ["y"])], {}, shape))


VALID = graph([*LINEAR, helper.make_node("Tanh", ["h"], ["y"])], WEIGHTS, [1, 4])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(VALID)))
def test_corrupted_files_give_an_input_error_or_a_network(changes: list[tuple[int, int]], length: int) -> None:
    content = bytearray(VALID)
    for place, value in changes:
        content[place] = value
    for candidate in (bytes(content), bytes(content[:length])):
        with contextlib.suppress(InputError):
            assert isinstance(load_network(candidate), Network)


def test_a_signalling_nan_among_the_weights_is_refused() -> None:
    content = graph(LINEAR, {**WEIGHTS, "w": np.frombuffer(b"\x01\x00\xa0\x7f" * 12, np.float32).reshape(3, 4)}, [1, 4], "h")
    with pytest.raises(InputError, match="not finite"):
        load_network(content)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.onnx: cannot be read"):
        load_network(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match="cannot be read"):
        load_network(tmp_path)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(InputError, match="0 inputs"):
        load_network(tmp_path / "empty.onnx")
