"""A feed-forward network as a list of layers, with skip connections; the form every bound of the engine works on.

The network that is analysed is exactly this list, in real arithmetic, with the float64 weights that stand in it. A controller that
runs in float32 on board differs from it by its own rounding, which is no part of the analysis unless a disturbance stands for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tubepilot.firmware_bridge.errors import InputError

MAX_BYTES = 1 << 30

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "linear": lambda v: v,
    "relu": lambda v: jnp.maximum(v, 0.0),
    "tanh": jnp.tanh,
    "sigmoid": jax.lax.logistic,
    "softplus": lambda v: jnp.logaddexp(v, 0.0),
    "elu": lambda v: jnp.where(v > 0.0, v, jnp.expm1(jnp.minimum(v, 0.0))),
    "silu": lambda v: v * jax.lax.logistic(v),
    "abs": jnp.abs,
    "atan": jnp.arctan,
    "sin": jnp.sin,
    "cos": jnp.cos,
}
"""Plain evaluation by name; the names are those of `elementary`, and "linear" for none."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer: output_i = activation(weight @ output_{i-1} + bias) [+ output_residual].

    Attributes:
        weight: Shape (out, in), float64.
        bias: Shape (out,), float64.
        activation: A key of `ACTIVATIONS`.
        residual: Index of the output that is added after the activation: 0 is the network's input, i the output of the i-th
            layer counted from 1; None adds nothing.
    """

    weight: Float[Array, "out in"]
    bias: Float[Array, "out"]
    activation: str
    residual: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Layers in order of evaluation; a JAX pytree whose leaves are the weights and biases.

    Attributes:
        layers: At least one layer.
        notes: What the loader could not represent exactly, as text for the user; empty if this is the very network of the file.
    """

    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> int:
        """Size of the input."""
        return int(self.layers[0].weight.shape[1])

    @property
    def outputs(self) -> int:
        """Size of the output."""
        return int(self.layers[-1].weight.shape[0])

    def __call__(self, x: Float[Array, "inputs"]) -> Float[Array, "outputs"]:
        """Plain evaluation in the precision of the arguments, for simulation; no bound of its rounding is claimed."""
        outputs = [x]
        for layer in self.layers:
            value = ACTIVATIONS[layer.activation](jnp.asarray(layer.weight) @ outputs[-1] + jnp.asarray(layer.bias))
            outputs.append(value if layer.residual is None else value + outputs[layer.residual])
        return outputs[-1]


jax.tree_util.register_dataclass(Layer, data_fields=["weight", "bias"], meta_fields=["activation", "residual"])
jax.tree_util.register_dataclass(Network, data_fields=["layers"], meta_fields=["notes"])


def checked_network(layers: list[Layer], notes: tuple[str, ...] = ()) -> Network:
    """A network whose shapes, activations, skip connections and numbers have been checked.

    Raises:
        InputError: No layer, sizes that do not fit, an unknown activation, a skip connection from a later or a differently sized
            output, or a weight that is not finite.
    """
    if not layers:
        raise InputError("network: it has no layer; at least one is needed")
    sizes = [int(np.shape(layers[0].weight)[1])] if np.ndim(layers[0].weight) == 2 else [0]
    for number, layer in enumerate(layers, 1):
        weight, bias = np.shape(layer.weight), np.shape(layer.bias)
        if len(weight) != 2 or weight[1] != sizes[-1] or bias != weight[:1] or 0 in weight:
            raise InputError(f"network: layer {number} has weight {weight} and bias {bias}, behind an output of size {sizes[-1]}")
        if layer.activation not in ACTIVATIONS:
            raise InputError(f"network: layer {number} has activation {layer.activation!r}; known are {', '.join(ACTIVATIONS)}")
        if layer.residual is not None and not (0 <= layer.residual < number and sizes[layer.residual] == weight[0]):
            raise InputError(f"network: layer {number} of size {weight[0]} adds output {layer.residual} of sizes {sizes}")
        if not (np.all(np.isfinite(layer.weight)) and np.all(np.isfinite(layer.bias))):
            raise InputError(f"network: layer {number} has a weight or bias that is not finite; export the network again")
        sizes.append(weight[0])
    return Network(tuple(layers), notes)


def load_network(source: Path | str | bytes, activations: tuple[str, ...] | None = None) -> Network:
    """Read a network from ONNX or from the text format of the POLAR tool.

    Args:
        source: Path of the file, or its content. Content that starts with a digit, or white space and a digit, is text; all else
            is ONNX.
        activations: One name per layer, for a text file of the older form that does not say them; None if the file does.

    Raises:
        InputError: The file is missing, corrupted, or has an operation that is not supported; the message names it.
    """
    from .network_onnx import network_from_onnx
    from .network_text import network_from_text

    name = "network"
    if not isinstance(source, bytes):
        name = str(source)
        try:
            if Path(source).stat().st_size > MAX_BYTES:
                raise InputError(f"{name}: larger than {MAX_BYTES} bytes, which no controller is; is it the right file?")
            source = Path(source).read_bytes()
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror}") from error
    if source.lstrip()[:1].isdigit():
        return network_from_text(source, name, activations)
    if activations is not None:
        raise InputError(f"{name}: activations were given, but an ONNX file says its own; leave them out")
    return network_from_onnx(source, name)
