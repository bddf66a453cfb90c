"""Networks: those of the benchmarks against ONNX Runtime, numpy and their twins in other formats; text files; the network itself."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from helpers.onnx_graphs import f32, run_onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.layer_graph import exact_product, exact_sum
from tubepilot.train.reachability.network import ACTIVATIONS, Layer, checked_network, load_network

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
