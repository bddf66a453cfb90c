"""A small graph of batched array operations that writes its own adjoint as further operations of the same kind.

Converters either refuse gradients or unroll them into several times as many nodes as needed, so the planner is written
in this builder: every operation knows its vector-Jacobian product, operations on constants are folded in float64 when
they are written, equal operations are kept once, and `emit` turns what the outputs need into ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import ShapeError

from .operations import OPERATIONS, Attributes

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A value of the graph; `differentiable` marks what depends on a differentiable input.

    Arithmetic operators append operations; numpy arrays and numbers are constants.
    """

    graph: Graph = field(repr=False)
    index: int
    shape: tuple[int, ...]
    differentiable: bool

    __array_ufunc__ = None  # numpy hands `array @ tensor` over to __rmatmul__

    def __add__(self, other: Operand) -> Tensor:
        return self.graph.tensor("Add", self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return self.graph.tensor("Add", self, other)

    def __sub__(self, other: Operand) -> Tensor:
        return self.graph.tensor("Sub", self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return self.graph.tensor("Sub", other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return self.graph.tensor("Mul", self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return self.graph.tensor("Mul", self, other)

    def __truediv__(self, other: Operand) -> Tensor:
        return self.graph.tensor("Div", self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return self.graph.tensor("Div", other, self)

    def __matmul__(self, other: Operand) -> Tensor:
        return self.graph.tensor("MatMul", self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return self.graph.tensor("MatMul", other, self)


Operand = Tensor | Array | float


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One operation on the tape: name, inputs, attributes and outputs."""

    name: str
    inputs: tuple[Tensor | Array, ...]
    attributes: Attributes
    outputs: tuple[Tensor, ...]


class Graph:
    """A tape of operations with named inputs and outputs."""

    def __init__(self) -> None:
        """Start empty."""
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.records: list[Record] = []
        self._count = 0
        self._known: dict[tuple[object, ...], tuple[Tensor, ...]] = {}
        self._scaled: dict[int, tuple[Tensor, float]] = {}  # products with a number: the other factor and the number

    def input(self, name: str, shape: tuple[int, ...], *, differentiable: bool = False) -> Tensor:
        """Declare a float input of a fixed shape."""
        tensor = self._new(shape, differentiable)
        self.inputs[name] = tensor
        return tensor

    def output(self, name: str, tensor: Operand) -> None:
        """Name an output.

        Raises:
            ShapeError: the output is a constant, which no caller can want.
        """
        if not isinstance(tensor, Tensor):
            raise ShapeError(f"output {name} does not depend on any input")
        self.outputs[name] = tensor

    def apply(self, name: str, *inputs: Operand, **attributes: object) -> tuple[Tensor | Array, ...]:
        """Append an operation, or evaluate it now if all inputs are constants.

        Args:
            name: ONNX operator name; one of `operations.OPERATIONS`.
            inputs: Tensors of this graph, arrays or numbers.
            attributes: Attributes of the operator.

        Returns:
            One tensor (or one array) per output.

        Raises:
            ShapeError: the shapes do not fit.
        """
        operation = OPERATIONS[name]
        operands = tuple(x if isinstance(x, Tensor) else np.asarray(x, np.float64) for x in inputs)
        if not any(isinstance(x, Tensor) for x in operands):
            return tuple(operation.evaluate(operands, attributes))
        if name == "MatMul":
            operands = self._scale_matrix(*operands)
        key = (name, tuple(map(_identity, operands)), tuple(sorted((k, repr(v)) for k, v in attributes.items())))
        if key in self._known:
            return self._known[key]
        try:
            shapes = operation.shapes([x.shape for x in operands], attributes)
        except ValueError as error:
            raise ShapeError(f"{name} of shapes {[x.shape for x in operands]}: {error}") from error
        active = operation.vjp is not None and any(isinstance(x, Tensor) and x.differentiable for x in operands)
        outputs = tuple(self._new(shape, active) for shape in shapes)
        self.records.append(Record(name, operands, attributes, outputs))
        self._known[key] = outputs
        if name == "Mul" and isinstance(operands[1], np.ndarray) and operands[1].ndim == 0:
            self._scaled[outputs[0].index] = operands[0], float(operands[1])  # type: ignore[assignment]
        return outputs

    def tensor(self, name: str, *inputs: Operand, **attributes: object) -> Tensor:
        """Append an operation of one output; see `apply`."""
        (result,) = self.apply(name, *inputs, **attributes)
        return result  # type: ignore[return-value]

    def gradients(self, output: Tensor, wanted: Sequence[Tensor], seed: Array) -> list[Tensor]:
        """Append the adjoint operations of `sum(seed * output)` with respect to `wanted`.

        Args:
            output: Any differentiable tensor.
            wanted: Differentiable tensors that it depends on; each counts as independent of the others.
            seed: Constant adjoint of the output, of its shape.

        Returns:
            The gradients, of the shapes of `wanted`.

        Raises:
            ShapeError: `output` does not depend on one of `wanted` through differentiable operations.
        """
        adjoints: dict[int, Operand] = {output.index: np.asarray(seed, np.float64)}
        ends = {tensor.index for tensor in wanted}
        for record in reversed(list(self.records)):
            if any(tensor.index in ends for tensor in record.outputs):
                continue
            given = [adjoints.get(tensor.index) for tensor in record.outputs]
            vjp = OPERATIONS[record.name].vjp
            if vjp is None or all(adjoint is None for adjoint in given):
                continue
            known = [np.zeros(t.shape) if a is None else a for t, a in zip(record.outputs, given, strict=True)]
            for target, adjoint in zip(record.inputs, vjp(self, record, known), strict=True):
                if isinstance(target, Tensor) and target.differentiable and adjoint is not None:
                    held = adjoints.get(target.index)
                    adjoints[target.index] = adjoint if held is None else held + adjoint
        results = [adjoints.get(tensor.index) for tensor in wanted]
        if not all(isinstance(result, Tensor) for result in results):
            raise ShapeError("the output does not depend on a tensor whose gradient is wanted")
        return results  # type: ignore[return-value]

    def gradient(self, output: Tensor, wanted: Tensor, seed: Array) -> Tensor:
        """The gradient with respect to one tensor; see `gradients`."""
        return self.gradients(output, [wanted], seed)[0]

    def evaluate(
        self, values: Mapping[str, npt.ArrayLike], dtype: type = np.float64
    ) -> dict[str, npt.NDArray[np.generic]]:
        """Run the graph in numpy: a second implementation of what ONNX will compute, in any precision.

        Args:
            values: Array of each input.
            dtype: Precision of inputs and constants.
        """
        memory: dict[int, npt.NDArray[np.generic]] = {
            tensor.index: np.asarray(values[name], dtype) for name, tensor in self.inputs.items()
        }
        for record in self.needed():
            operands = [memory[x.index] if isinstance(x, Tensor) else x.astype(dtype) for x in record.inputs]
            results = OPERATIONS[record.name].evaluate(operands, record.attributes)
            memory.update({t.index: r for t, r in zip(record.outputs, results, strict=True)})
        return {name: memory[tensor.index] for name, tensor in self.outputs.items()}

    def needed(self) -> list[Record]:
        """The records that the outputs depend on, in order."""
        wanted = {tensor.index for tensor in self.outputs.values()}
        kept: list[Record] = []
        for record in reversed(self.records):
            if any(tensor.index in wanted for tensor in record.outputs):
                kept.append(record)
                wanted.update(x.index for x in record.inputs if isinstance(x, Tensor))
        return kept[::-1]

    def drop_unused_inputs(self) -> None:
        """Forget the inputs that no output depends on."""
        read = {x.index for record in self.needed() for x in record.inputs if isinstance(x, Tensor)}
        self.inputs = {name: tensor for name, tensor in self.inputs.items() if tensor.index in read}

    def _scale_matrix(self, left: Tensor | Array, right: Tensor | Array) -> tuple[Tensor | Array, Tensor | Array]:
        """Move a number that multiplies the left factor into a constant right factor."""
        if isinstance(left, Tensor) and isinstance(right, np.ndarray) and left.index in self._scaled:
            tensor, factor = self._scaled[left.index]
            return tensor, factor * right
        return left, right

    def _new(self, shape: Sequence[int], differentiable: bool) -> Tensor:
        self._count += 1
        return Tensor(self, self._count, tuple(shape), differentiable)


def _identity(operand: Tensor | Array) -> object:
    if isinstance(operand, Tensor):
        return operand.index
    return operand.shape, operand.tobytes()
