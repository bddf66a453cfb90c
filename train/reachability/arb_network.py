"""A network in ball arithmetic, with exactly the float64 weights that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from flint import arb, arb_mat

from tubepilot.firmware_bridge.errors import InputError

from .network import Network


def _sigmoid(x: arb) -> arb:
    return 1 / (1 + (-x).exp())


def _softplus(x: arb) -> arb:
    return (-abs(x)).exp().log1p() + x.max(arb(0)) if x > 0 or x < 0 else x.exp().log1p()


def _elu(x: arb) -> arb:
    if x > 0:
        return x
    below = x.lower().expm1()
    return x.expm1() if x < 0 else below.union(x.upper().max(arb(0)))


ACTIVATIONS: dict[str, Callable[[arb], arb]] = {
    "linear": lambda x: x,
    "relu": lambda x: x.max(arb(0)),
    "tanh": lambda x: x.tanh(),
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "elu": _elu,
    "silu": lambda x: x * _sigmoid(x),
    "abs": lambda x: abs(x),
    "atan": lambda x: x.atan(),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
}


class BallNetwork:
    """Callable from a list of balls to a list of balls that enclose the network's exact values."""

    def __init__(self, network: Network) -> None:
        """Convert the weights, exactly.

        Raises:
            InputError: An activation is not known here.
        """
        self._layers: list[tuple[arb_mat, arb_mat, Callable[[arb], arb], int | None]] = []
        for number, layer in enumerate(network.layers, 1):
            if layer.activation not in ACTIVATIONS:
                raise InputError(f"layer {number}: ball arithmetic has no {layer.activation!r}; it has {', '.join(ACTIVATIONS)}")
            weight, bias = np.asarray(layer.weight, np.float64), np.asarray(layer.bias, np.float64)
            matrices = arb_mat(weight.tolist()), arb_mat(bias[:, None].tolist())
            self._layers.append((*matrices, ACTIVATIONS[layer.activation], layer.residual))

    def __call__(self, x: Sequence[arb]) -> list[arb]:
        """Evaluate at one point, or over one box."""
        outputs = [list(x)]
        for weight, bias, activation, residual in self._layers:
            sums = weight * arb_mat([[v] for v in outputs[-1]]) + bias
            values = [activation(v) for v in sums.entries()]
            outputs.append(values if residual is None else [v + r for v, r in zip(values, outputs[residual], strict=True)])
        return outputs[-1]
