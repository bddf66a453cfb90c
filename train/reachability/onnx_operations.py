"""What each supported ONNX operation means for tensors whose entries are nodes of a layer graph.

Every number is kept as it stands in the file. Two constants are merged only where their float64 sum or product is exact; else the
operation becomes a linear layer of its own. Shapes are followed with a batch of one.

Source: ONNX operator schemas, https://onnx.ai/onnx/operators/ (versions 6 to 24 of those named in `_HANDLERS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .layer_graph import Active, Affine, Node, Total, exact_product, exact_sum

_Matrix = npt.NDArray[np.float64]
_ACTIVATIONS = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Elu": "elu",
    "Swish": "silu",
    "Abs": "abs",
    "Atan": "atan",
    "Sin": "sin",
    "Cos": "cos",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value that depends on the input: the flattened entries of `node` in the given shape."""

    node: Node
    shape: tuple[int, ...]


Value = Tensor | npt.NDArray[Any]


class NodeError(Exception):
    """What is wrong with one node; the caller adds file, name and operation."""


class Operation:
    """One node of the graph with its arguments looked up."""

    def __init__(self, kind: str, arguments: list[Value | None], attributes: dict[str, Any], notes: list[str]) -> None:
        self.kind, self.arguments, self.attributes, self.notes = kind, arguments, attributes, notes

    def tensor(self, position: int) -> Tensor:
        """An argument that depends on the input."""
        value = self.arguments[position] if position < len(self.arguments) else None
        if not isinstance(value, Tensor):
            raise NodeError(f"argument {position + 1} must depend on the network's input")
        return value

    def constant(self, position: int, default: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """An argument that does not depend on the input."""
        value = self.arguments[position] if position < len(self.arguments) else None
        if value is None and default is not None:
            return default
        if not isinstance(value, np.ndarray):
            raise NodeError(f"argument {position + 1} must be a constant of the graph")
        return value

    def demand(self, **expected: Any) -> None:
        """Attributes that must have one of these values where they are present."""
        for name, value in expected.items():
            given = self.attributes.get(name, value)
            if given != value:
                raise NodeError(f"attribute {name} is {given}; only {value} is supported")


def apply_node(operation: Operation, domain: str) -> Value:
    """The result of one node.

    Raises:
        NodeError: It cannot be represented.
    """
    if operation.kind == "Constant":
        return _constant_node(operation)
    handler = _HANDLERS.get(operation.kind)
    if handler is None or domain not in ("", "ai.onnx"):
        raise NodeError(f"this operation is not supported; supported are {', '.join(sorted([*_HANDLERS, 'Constant']))}")
    if not any(isinstance(argument, Tensor) for argument in operation.arguments):
        if operation.kind not in _STRUCTURAL:
            raise NodeError("computes with constants only; export the network with constants folded")
        return _structural_constant(operation)
    return handler(operation)


def _constant_node(operation: Operation) -> npt.NDArray[Any]:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in operation.attributes:
            array = np.asarray(operation.attributes[name])
            return array if array.dtype.kind in "iub" else array.astype(np.float64)
    raise NodeError("no number in its attributes")


# --- linear maps -------------------------------------------------------------------------------------------


def _row(tensor: Tensor, size: int) -> None:
    if tensor.node.size != size:
        raise NodeError(f"a weight for {size} values meets a tensor of shape {tensor.shape}")


def _affine(tensor: Tensor, weight: _Matrix, bias: _Matrix, shape: tuple[int, ...]) -> Tensor:
    return Tensor(Affine(tensor.node, weight, bias), shape)


def _gemm(operation: Operation) -> Value:
    operation.demand(transA=0)
    tensor, weight = operation.tensor(0), operation.constant(1)
    if not operation.attributes.get("transB", 0):
        weight = weight.T
    if weight.ndim != 2:
        raise NodeError(f"the weight has shape {weight.shape}; a matrix is needed")
    _row(tensor, weight.shape[1])
    size = weight.shape[0]
    bias = np.broadcast_to(operation.constant(2, np.zeros(size)), (1, size))[0]
    factors = [np.float64(operation.attributes.get(name, 1.0)) for name in ("alpha", "beta")]
    weight, bias = exact_product(weight, factors[0]), exact_product(bias, factors[1])
    if weight is None or bias is None:
        raise NodeError(f"alpha, beta = {factors} times weight or bias is no float64 number; export with alpha = beta = 1")
    leading = tensor.shape[:-1] if tensor.shape[-1] == tensor.node.size else (1,)
    return _affine(tensor, weight, bias, (*leading, size))


def _matmul(operation: Operation) -> Value:
    if isinstance(operation.arguments[0], np.ndarray):
        weight, tensor = operation.constant(0), operation.tensor(1)
        column = tensor.shape[-2:] if len(tensor.shape) > 1 else (*tensor.shape, 1)
        if weight.ndim != 2 or column != (weight.shape[1], 1):
            raise NodeError(f"shapes {weight.shape} and {tensor.shape} are no matrix and column")
        shape = (*tensor.shape[:-2], weight.shape[0], 1) if len(tensor.shape) > 1 else (weight.shape[0],)
    else:
        tensor, weight = operation.tensor(0), operation.constant(1).T
        if weight.ndim != 2 or tensor.shape[-1] != tensor.node.size:
            raise NodeError(f"shapes {tensor.shape} and {weight.T.shape} are no row and matrix")
        shape = (*tensor.shape[:-1], weight.shape[0])
    _row(tensor, weight.shape[1])
    return _affine(tensor, weight, np.zeros(weight.shape[0]), shape)


def _conv(operation: Operation) -> Value:
    """A convolution whose kernel covers its whole input is a dense layer; only that is supported."""
    tensor, kernel = operation.tensor(0), operation.constant(1)
    spatial = tensor.shape[2:]
    operation.demand(group=1, pads=[0] * (2 * len(spatial)), dilations=[1] * len(spatial))
    if operation.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NodeError("padding is not supported")
    if not spatial or kernel.shape[1:] != tensor.shape[1:]:
        raise NodeError(f"the kernel {kernel.shape} does not cover the input {tensor.shape}; only dense layers are supported")
    bias = operation.constant(2, np.zeros(kernel.shape[0])).reshape(kernel.shape[0])
    weight = kernel.reshape(kernel.shape[0], -1)
    return _affine(tensor, weight, bias, (1, kernel.shape[0], *([1] * len(spatial))))


# --- element by element ------------------------------------------------------------------------------------


def _spread(constant: npt.NDArray[Any], tensor: Tensor) -> tuple[_Matrix, tuple[int, ...]]:
    """A constant broadcast against a tensor, flattened, and the shape of the result."""
    if constant.dtype.kind != "f":
        raise NodeError("its constant holds integers; real numbers are expected")
    shape = np.broadcast_shapes(constant.shape, tensor.shape)
    if math.prod(shape) != tensor.node.size:
        raise NodeError(f"a constant of shape {constant.shape} would enlarge the tensor of shape {tensor.shape}")
    return np.broadcast_to(constant, shape).reshape(-1), shape


def _shifted(tensor: Tensor, offset: _Matrix, shape: tuple[int, ...]) -> Tensor:
    if not np.any(offset):
        return Tensor(tensor.node, shape)
    if isinstance(tensor.node, Affine) and (bias := exact_sum(tensor.node.bias, offset)) is not None:
        return Tensor(Affine(tensor.node.source, tensor.node.weight, bias), shape)
    return _affine(tensor, np.eye(offset.size), offset, shape)


def _scaled(tensor: Tensor, factor: _Matrix, shape: tuple[int, ...]) -> Tensor:
    if np.all(factor == 1.0):
        return Tensor(tensor.node, shape)
    if isinstance(tensor.node, Affine):
        weight, bias = exact_product(tensor.node.weight, factor[:, None]), exact_product(tensor.node.bias, factor)
        if weight is not None and bias is not None:
            return Tensor(Affine(tensor.node.source, weight, bias), shape)
    return _affine(tensor, np.diag(factor), np.zeros(factor.size), shape)


def _negative(tensor: Tensor) -> Tensor:
    return _scaled(tensor, -np.ones(tensor.node.size), tensor.shape)


def _total(first: Tensor, second: Tensor) -> Tensor:
    if first.shape != second.shape:
        raise NodeError(f"shapes {first.shape} and {second.shape} of the two summands differ")
    if first.node is second.node:
        return _scaled(first, np.full(first.node.size, 2.0), first.shape)
    return Tensor(Total(first.node, second.node), first.shape)


def _add(operation: Operation) -> Value:
    first, second = operation.arguments
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return _total(first, second)
    position = 0 if isinstance(first, Tensor) else 1
    tensor = operation.tensor(position)
    return _shifted(tensor, *_spread(operation.constant(1 - position), tensor))


def _subtract(operation: Operation) -> Value:
    first, second = operation.arguments
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if second.node.depth > first.node.depth:
            return _total(first, _negative(second))
        return _negative(_total(_negative(first), second))
    if isinstance(first, Tensor):
        offset, shape = _spread(operation.constant(1), first)
        return _shifted(first, -offset, shape)
    tensor = operation.tensor(1)
    offset, shape = _spread(operation.constant(0), tensor)
    return _shifted(_negative(tensor), offset, shape)


def _multiply(operation: Operation) -> Value:
    first, second = operation.arguments
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        for factor, gate in ((first, second), (second, first)):
            if isinstance(gate.node, Active) and gate.node.name == "sigmoid" and gate.node.source is factor.node:
                return Tensor(Active(factor.node, "silu"), factor.shape)
        raise NodeError("a product of two tensors is supported only as x * Sigmoid(x)")
    position = 0 if isinstance(first, Tensor) else 1
    tensor = operation.tensor(position)
    return _scaled(tensor, *_spread(operation.constant(1 - position), tensor))


def _divide(operation: Operation) -> Value:
    tensor = operation.tensor(0)
    divisor, shape = _spread(operation.constant(1), tensor)
    if not np.all(divisor):
        raise NodeError("a divisor is zero")
    if not np.all(np.abs(np.frexp(divisor)[0]) == 0.5):
        operation.notes.append("a division by constants was replaced by products with their float64 reciprocals (1.1e-16 relative)")
    return _scaled(tensor, 1.0 / divisor, shape)


def _activation(operation: Operation) -> Value:
    tensor = operation.tensor(0)
    operation.demand(alpha=1.0)  # of Elu and Swish; the others have no attribute
    return Tensor(Active(tensor.node, _ACTIVATIONS[operation.kind]), tensor.shape)


def _leaky_relu(operation: Operation) -> Value:
    """max(v, 0) - slope * max(-v, 0), which holds exactly."""
    tensor = operation.tensor(0)
    size, slope = tensor.node.size, float(operation.attributes.get("alpha", np.float32(0.01)))
    eye = np.eye(size)
    both = Active(Affine(tensor.node, np.concatenate([eye, -eye]), np.zeros(2 * size)), "relu")
    return Tensor(Affine(both, np.concatenate([eye, -slope * eye], axis=1), np.zeros(size)), tensor.shape)


# --- shapes ------------------------------------------------------------------------------------------------


def _target_shape(operation: Operation, shape: tuple[int, ...]) -> tuple[int, ...]:
    size = math.prod(shape)
    if operation.kind == "Flatten":
        axis = int(operation.attributes.get("axis", 1))
        return (math.prod(shape[:axis]), math.prod(shape[axis:]))
    if operation.kind == "Reshape":
        given = operation.attributes.get("shape")
        target = [int(v) for v in (operation.constant(1) if given is None else given)]
        if not operation.attributes.get("allowzero", 0):
            target = [shape[i] if v == 0 else v for i, v in enumerate(target)]
        return np.zeros(size, bool).reshape(target).shape
    if operation.kind in ("Squeeze", "Unsqueeze"):
        axes = operation.attributes.get("axes")
        if axes is None and len(operation.arguments) > 1:
            axes = operation.constant(1).tolist()
        blank = np.zeros(shape, bool)
        if operation.kind == "Unsqueeze":
            return np.expand_dims(blank, tuple(int(v) for v in axes or ())).shape
        return np.squeeze(blank, None if axes is None else tuple(int(v) for v in axes)).shape
    return shape


def _reshaped(operation: Operation) -> Value:
    tensor = operation.tensor(0)
    return Tensor(tensor.node, _target_shape(operation, tensor.shape))


def _transposed(operation: Operation) -> Value:
    tensor = operation.tensor(0)
    places = np.arange(tensor.node.size).reshape(tensor.shape).transpose(operation.attributes.get("perm"))
    if np.array_equal(places.reshape(-1), np.arange(tensor.node.size)):
        return Tensor(tensor.node, places.shape)
    return _affine(tensor, np.eye(tensor.node.size)[places.reshape(-1)], np.zeros(tensor.node.size), places.shape)


def _structural_constant(operation: Operation) -> npt.NDArray[Any]:
    array = operation.constant(0)
    if operation.kind == "Transpose":
        return array.transpose(operation.attributes.get("perm"))
    if operation.kind == "Cast":
        import onnx

        array = array.astype(onnx.helper.tensor_dtype_to_np_dtype(operation.attributes["to"]))
        return array if array.dtype.kind in "iub" else array.astype(np.float64)
    return array.reshape(_target_shape(operation, array.shape))


def _cast(operation: Operation) -> Value:
    if operation.attributes.get("to") not in (1, 10, 11, 16):
        raise NodeError("a tensor may only be cast to another real type")
    return operation.tensor(0)


_STRUCTURAL = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_HANDLERS: dict[str, Callable[[Operation], Value]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Conv": _conv,
    "Add": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "Div": _divide,
    "Neg": lambda operation: _negative(operation.tensor(0)),
    "LeakyRelu": _leaky_relu,
    "Identity": _reshaped,
    "Dropout": _reshaped,  # does nothing outside training
    "Cast": _cast,
    "Flatten": _reshaped,
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Transpose": _transposed,
    **dict.fromkeys(_ACTIVATIONS, _activation),
}
