"""Networks: against ONNX Runtime, numpy and their twins in other formats; every operation; everything that is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.layer_graph import exact_product, exact_sum
from tubepilot.train.reachability.network import ACTIVATIONS, Layer, Network, checked_network, load_network

FLOAT32_ROUNDING = 2e-5  # the greatest output in these tests is some 10, from sums of up to 500 float32 products
ONNX_FILES = [
    "Airplane/controller_airplane.onnx",
    "AttitudeControl/attitude_control_3_64_torch.onnx",
    "AttitudeControl/model.onnx",
    "CartPole/model.onnx",
    "Docking/model.onnx",
    "DoublePendulum/controller_double_pendulum_less_robust.onnx",
    "DoublePendulum/controller_double_pendulum_more_robust.onnx",
    "NAV/nn-nav-point.onnx",
    "NAV/nn-nav-set.onnx",
    "QUAD/model.onnx",
    "QUAD/quad_controller_3_64_torch.onnx",
    "SinglePendulum/controller_single_pendulum.onnx",
    "TORA_hetero/nn_tora_relu_tanh.onnx",
    "TORA_hetero/nn_tora_sigmoid.onnx",
    "TORA_remain/controllerTora.onnx",
    "Unicycle/controllerB.onnx",
]


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


# --- the networks of the benchmarks ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONNX_FILES)
def test_benchmark_network_against_onnx_runtime(archcomp: Path, name: str) -> None:
    network = load_network(archcomp / name)
    assert network.notes == ()
    for seed in range(5):
        x = f32(network.inputs, seed=seed)
        np.testing.assert_allclose(
            np.asarray(network(jnp.asarray(x, jnp.float64))), run_onnx(str(archcomp / name), x), rtol=0, atol=FLOAT32_ROUNDING
        )


def test_acc_network_against_numpy(archcomp: Path) -> None:
    """ONNX Runtime cannot load this file; its input mean is not zero."""
    path = archcomp / "ACC/controller_5_20.onnx"
    weights = {t.name: np.asarray(numpy_helper.to_array(t), np.float64) for t in onnx.load(path).graph.initializer}
    assert np.any(weights["input_AvgImg"])
    network = load_network(path)
    assert [layer.activation for layer in network.layers] == ["linear", *["relu"] * 5, "linear"]
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=5) * 30
        value = x - weights["input_AvgImg"].ravel()
        for i in range(1, 6):
            value = np.maximum(weights[f"Operation_{i}_W"] @ value + weights[f"Operation_{i}_B"], 0)
        expected = weights["linear_6_W"] @ value + weights["linear_6_B"]
        np.testing.assert_allclose(np.asarray(network(jnp.asarray(x))), expected, rtol=1e-12)


def test_polar_text_against_onnx_twin(archcomp: Path) -> None:
    text, twin = load_network(archcomp / "QUAD_scaling/quad_controller_3_64"), load_network(archcomp / "QUAD/model.onnx")
    for mine, other in zip(text.layers, twin.layers, strict=True):
        assert mine.activation == other.activation
        np.testing.assert_array_equal(mine.weight, other.weight)
        np.testing.assert_array_equal(mine.bias, other.bias)


@pytest.mark.parametrize(("file", "last"), [("nn_tora_sigmoid", "sigmoid"), ("nn_tora_relu_tanh", "tanh")])
def test_older_text_form_needs_activations(archcomp: Path, file: str, last: str) -> None:
    path = archcomp / f"TORA_hetero/{file}.txt"
    with pytest.raises(InputError, match="does not say its activations"):
        load_network(path)
    with pytest.raises(InputError, match="4 of relu"):
        load_network(path, ("sigmoid", "sigmoid"))
    text = load_network(path, (("sigmoid" if last == "sigmoid" else "ReLU"),) * 3 + (last,))
    twin = load_network(path.with_suffix(".onnx"))
    x = jnp.asarray([-0.76, -0.44, 0.52, -0.29])
    np.testing.assert_allclose(np.asarray(text(x)), 11 * np.asarray(twin(x)), rtol=1e-13)


# --- text --------------------------------------------------------------------------------------------------

TEXT = "2\n1\n1\n2\nReLU\nAffine\n1\n2\n0.5\n-3\n4\n0.25\n1\n-1\n0.125\n0.5\n22\n"


def test_text_by_hand() -> None:
    network = load_network(TEXT.encode())
    hidden = np.maximum(np.array([1 * 0.7 + 2 * 0.2 + 0.5, -3 * 0.7 + 4 * 0.2 + 0.25]), 0)
    expected = (hidden[0] - hidden[1] + 0.125 - 0.5) * 22
    assert float(network(jnp.asarray([0.7, 0.2]))[0]) == pytest.approx(expected, rel=1e-14)
    assert (network.inputs, network.outputs) == (2, 1)
    assert network.layers[-1].bias[0] == -11.0


def test_text_scale_that_is_not_exact_becomes_two_layers() -> None:
    network = load_network(TEXT.replace("0.5\n22\n", "0.1\n0.3\n").encode())
    assert [float(layer.bias[0]) for layer in network.layers[2:]] == [-0.1, 0.0]
    assert load_network(TEXT.replace("0.5\n22\n", "0\n1\n").encode()).layers[-1].weight.shape == (1, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT[:-3], "is it complete"),
        (TEXT + "1\n", "behind the end"),
        (TEXT.replace("-3", "x3"), "line 10: 'x3' where a number"),
        (TEXT.replace("-3", "inf"), "not finite"),
        (TEXT.replace("ReLU", "swish"), "swish"),
        (TEXT.replace("2\n1\n1\n2", "0\n1\n1\n2", 1), "number of inputs"),
        (TEXT.replace("2\n1\n1\n2", "2\n1\n-1\n2", 1), "number of hidden layers"),
        ("2\n1\n", "ends where the number of hidden layers"),
        ("1000000000000000000000\n1\n", "1 to 100000"),
        ("1\n\xff", "text"),
    ],
)
def test_text_errors(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_network(text.encode("latin-1"))


def test_activations_only_where_they_are_missing() -> None:
    with pytest.raises(InputError, match="do not give others"):
        load_network(TEXT.encode(), ("relu", "linear"))
    with pytest.raises(InputError, match="leave them out"):
        load_network(b"\x08\x08", ("relu",))


# --- ONNX, one operation after the other -------------------------------------------------------------------

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


# --- the network itself ------------------------------------------------------------------------------------


def test_checked_network_refuses() -> None:
    good = Layer(np.ones((2, 2)), np.zeros(2), "relu")
    for layers, message in [
        ([], "no layer"),
        ([good, Layer(np.ones((2, 3)), np.zeros(2), "relu")], "layer 2 has weight"),
        ([Layer(np.ones((2, 2)), np.zeros(3), "relu")], "layer 1 has weight"),
        ([Layer(np.ones((2, 2)), np.zeros(2), "gelu")], "gelu"),
        ([Layer(np.ones((2, 2)), np.zeros(2), "relu", 1)], "adds output 1"),
        ([Layer(np.ones((3, 2)), np.zeros(3), "relu", 0)], "adds output 0"),
        ([Layer(np.ones((2, 2)), np.array([0, np.inf]), "relu")], "not finite"),
    ]:
        with pytest.raises(InputError, match=message):
            checked_network(layers)


def test_network_is_a_pytree_with_gradients() -> None:
    network = checked_network([Layer(np.ones((2, 2)), np.zeros(2), "silu"), Layer(np.ones((2, 2)), np.ones(2), "tanh", 1)])
    gradient = jax.jit(jax.grad(lambda n, x: n(x).sum()))(network, jnp.asarray([0.1, 0.2]))
    assert gradient.layers[1].residual == 1
    step = 1e-6
    moved = jax.tree.map(np.array, network)
    moved.layers[0].weight[1, 0] += step
    difference = (moved(jnp.asarray([0.1, 0.2])).sum() - network(jnp.asarray([0.1, 0.2])).sum()) / step
    assert float(gradient.layers[0].weight[1, 0]) == pytest.approx(float(difference), rel=1e-5)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_far_out_are_finite_with_finite_slope(name: str) -> None:
    for v in (-800.0, 0.5, 800.0):
        assert np.isfinite(ACTIVATIONS[name](jnp.asarray(v)))
        assert np.isfinite(jax.grad(ACTIVATIONS[name])(jnp.asarray(v)))


@given(st.floats(-1e200, 1e200), st.floats(-1e40, 1e40))
def test_exactness_of_products_and_sums_is_decided_rightly(a: float, b: float) -> None:
    total, product = exact_sum(np.array([a]), np.array([b])), exact_product(np.array([a]), np.array([b]))
    assert (total is not None) == (Fraction(a) + Fraction(b) == Fraction(a + b))
    if product is not None:
        assert Fraction(a) * Fraction(b) == Fraction(a * b)
    elif abs(a * b) > 1e-200 and abs(a) > 1e-100 and abs(b) > 1e-100:
        assert Fraction(a) * Fraction(b) != Fraction(a * b)
