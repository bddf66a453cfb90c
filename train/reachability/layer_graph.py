"""A graph of linear maps, activations and sums, and the chain of layers with skip connections that computes the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import InputError

from .network import Layer

_Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Source:
    """The network's input."""

    size: int
    depth: int = 0


@dataclass(frozen=True, eq=False)
class Affine:
    """weight @ source + bias."""

    source: Node
    weight: _Matrix
    bias: _Matrix
    size: int = field(init=False)
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", int(self.weight.shape[0]))
        object.__setattr__(self, "depth", self.source.depth + 1)


@dataclass(frozen=True, eq=False)
class Active:
    """An activation, element by element."""

    source: Node
    name: str
    size: int = field(init=False)
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", self.source.size)
        object.__setattr__(self, "depth", self.source.depth + 1)


@dataclass(frozen=True, eq=False)
class Total:
    """first + second, of equal size."""

    first: Node
    second: Node
    size: int = field(init=False)
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", self.first.size)
        object.__setattr__(self, "depth", max(self.first.depth, self.second.depth) + 1)

    @property
    def branch(self) -> Node:
        """The summand that is computed later; the other one is the skip connection."""
        return self.second if self.second.depth > self.first.depth else self.first

    @property
    def skip(self) -> Node:
        """The summand that is computed first."""
        return self.first if self.branch is self.second else self.second


Node = Source | Affine | Active | Total


def _sources(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Total):
        return (node.first, node.second)
    return () if isinstance(node, Source) else (node.source,)


def _users(result: Node) -> dict[Node, list[Node]]:
    """Every node that `result` depends on, sources before users, with its users."""
    users: dict[Node, list[Node]] = {result: []}
    stack = [result]
    while stack:
        node = stack.pop()
        for source in _sources(node):
            if source not in users:
                users[source] = []
                stack.append(source)
            users[source].append(node)
    return {node: users[node] for node in sorted(users, key=lambda node: node.depth)}


def chain(result: Node, name: str) -> list[Layer]:
    """The layers that compute a node; each reads the output before it and may add an earlier one.

    Args:
        result: The network's output.
        name: For messages.

    Raises:
        InputError: Two branches run side by side, other than a skip connection from an earlier output.
    """
    users = _users(result)
    layers: list[Layer] = []
    index: dict[Node, int] = {}

    def append(node: Node, residual: int | None) -> None:
        name_of, linear = "linear", node
        if isinstance(node, Active) and node not in index:
            name_of, linear = node.name, node.source
        if isinstance(linear, Affine) and linear not in index:
            before, weight, bias = linear.source, np.asarray(linear.weight, np.float64), np.asarray(linear.bias, np.float64)
        else:
            before, weight, bias = linear, np.eye(linear.size), np.zeros(linear.size)
        if index.get(before) != len(layers):
            raise InputError(f"{name}: two branches run side by side; only skip connections from an earlier output are supported")
        layers.append(Layer(weight, bias, name_of, residual))

    for node in users:
        user = users[node][0] if len(users[node]) == 1 else None
        if isinstance(node, Source):
            index[node] = 0
            continue
        if isinstance(node, Affine) and isinstance(user, Active):
            continue
        if isinstance(node, Affine | Active) and isinstance(user, Total) and user.branch is node:
            continue
        if isinstance(node, Total):
            if node.skip not in index:
                raise InputError(f"{name}: two branches run side by side; only skip connections from an earlier output are supported")
            append(node.branch, index[node.skip])
        else:
            append(node, None)
        index[node] = len(layers)
    if not layers:  # the output is the input
        append(result, None)
    return layers


def exact_product(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64] | None:
    """a * b if every product is a float64 number, else None.

    Source: Dekker 1971, A floating-point technique for extending the available precision (splitting and exact product).
    """
    with np.errstate(all="ignore"):
        product = a * b
        error = -product
        (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
        for term in (a_high * b_high, a_high * b_low, a_low * b_high, a_low * b_low):
            error = error + term
        zero = (np.asarray(a) == 0.0) | (np.asarray(b) == 0.0)
        normal = (np.abs(product) > 1e-250) & (np.abs(product) < 1e250)
        return product if np.all(zero | ((error == 0.0) & normal)) else None


def _split(a: npt.NDArray[np.float64] | np.float64) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    shifted = np.float64(2.0**27 + 1.0) * a
    high = shifted - (shifted - a)
    return np.asarray(high), np.asarray(a - high)


def exact_sum(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """a + b if every sum is a float64 number, else None.

    Source: Knuth, The Art of Computer Programming 2, section 4.2.2 (error of a sum by six operations).
    """
    with np.errstate(all="ignore"):
        total = a + b
        back = total - a
        error = (a - (total - back)) + (b - back)
        return total if np.all(error == 0.0) else None
