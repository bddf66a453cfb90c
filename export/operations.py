"""The operations of `graph`: numpy evaluation, shape, vector-Jacobian product, and what ONNX wants as extra inputs.

Constants may be the right or the left factor of a matrix product; everything else broadcasts as in numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .graph import Graph, Operand, Record

Attributes = Mapping[str, Any]
Array = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """What the builder must know about one ONNX operator.

    Attributes:
        evaluate: Outputs from inputs, in numpy.
        vjp: Adjoints of the inputs from the adjoints of the outputs; None if not differentiable.
        extra: Further ONNX inputs (integers) made from the attributes.
        attributes: Names of attributes that ONNX keeps as attributes.
    """

    evaluate: Callable[[Sequence[Array], Attributes], list[Array]]
    vjp: Callable[[Graph, Record, Sequence[Operand]], list[Operand | None]] | None = None
    extra: Callable[[Attributes], list[Array]] = lambda _: []
    attributes: tuple[str, ...] = ()

    def shapes(self, shapes: Sequence[Shape], attributes: Attributes) -> list[Shape]:
        """Shapes of the outputs, found by evaluating on ones.

        Raises:
            ValueError: the shapes do not fit.
        """
        return [result.shape for result in self.evaluate([np.ones(shape) for shape in shapes], attributes)]


def _reduce_to(graph: Graph, adjoint: Operand, shape: Shape) -> Operand:
    """Sum an adjoint over the axes along which its operand was broadcast."""
    given = np.shape(adjoint) if isinstance(adjoint, float) else adjoint.shape
    lead = len(given) - len(shape)
    axes = [i for i in range(len(given)) if i < lead or (shape[i - lead] == 1 and given[i] != 1)]
    if not axes:
        return adjoint
    if axes == [1] and len(given) == 2:  # a product with ones is cheaper than a reduction
        return graph.apply("MatMul", adjoint, np.ones((given[1], 1)))[0]
    (total,) = graph.apply("ReduceSum", adjoint, axes=axes)
    return graph.apply("Reshape", total, shape=list(shape))[0] if lead else total


def _both(left: Callable[..., Operand], right: Callable[..., Operand]) -> Callable[..., list[Operand | None]]:
    """VJP of a broadcasting operation of two inputs; constants get none."""

    def vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
        result: list[Operand | None] = []
        for rule, operand in zip((left, right), record.inputs, strict=True):
            wanted = getattr(operand, "differentiable", False)
            result.append(_reduce_to(graph, rule(adjoints[0], record), operand.shape) if wanted else None)
        return result

    return vjp


def _multiply_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    a, b = record.inputs
    if a is b:  # a square: one product instead of two and a sum; a constant adjoint folds into what follows
        given = adjoints[0]
        if isinstance(given, np.ndarray) and given.size and np.all(given == given.flat[0]):
            return [a * np.float64(2.0 * given.flat[0]), None]
        return [given * a * np.float64(2.0), None]
    return _both(lambda g, r: g * r.inputs[1], lambda g, r: g * r.inputs[0])(graph, record, adjoints)


def _divide_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    share = adjoints[0] / record.inputs[1]
    minus = record.outputs[0] * np.float64(-1.0)
    return _both(lambda g, r: share, lambda g, r: share * minus)(graph, record, adjoints)


def _matmul_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    left, right = record.inputs
    if isinstance(right, np.ndarray):
        return [graph.apply("MatMul", adjoints[0], right.T)[0], None]
    if isinstance(left, np.ndarray):
        return [None, graph.apply("MatMul", left.T, adjoints[0])[0]]
    return [
        graph.apply("MatMul", adjoints[0], graph.apply("Transpose", right, perm=[1, 0])[0])[0],
        graph.apply("MatMul", graph.apply("Transpose", left, perm=[1, 0])[0], adjoints[0])[0],
    ]


def _tanh_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    (y,) = record.outputs
    return [adjoints[0] * (1.0 - y * y)]


def _norm_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    return [record.inputs[0] * (adjoints[0] / record.outputs[0])]


def _normalise_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    (x,), (y,) = record.inputs, record.outputs
    share = adjoints[0] / graph.apply("ReduceL2", x)[0]
    ones = np.ones((y.shape[-1], y.shape[-1]))
    return [share - y * graph.apply("MatMul", share * y, ones)[0]]


def _clip_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    """The adjoint where the clip changed nothing, 0 elsewhere."""
    (x,), (y,) = record.inputs, record.outputs
    return [graph.tensor("Where", graph.tensor("Equal", x, y), adjoints[0], 0.0)]


def _concat_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    axis = record.attributes["axis"]
    sizes = [operand.shape[axis] for operand in record.inputs]
    return list(graph.apply("Split", adjoints[0], axis=axis, sizes=sizes))


def _split_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    return [graph.apply("Concat", *adjoints, axis=record.attributes["axis"])[0]]


def _sum_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    return [adjoints[0] * np.ones(record.inputs[0].shape)]


def _reshape_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    return [graph.apply("Reshape", adjoints[0], shape=list(record.inputs[0].shape))[0]]


def _transpose_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    inverse = [int(i) for i in np.argsort(record.attributes["perm"])]
    return [graph.apply("Transpose", adjoints[0], perm=inverse)[0]]


def _gather(inputs: Sequence[Array], attributes: Attributes) -> list[Array]:
    """Entries along an axis: at the second input, or at the attribute `rows`."""
    places = np.asarray(attributes["rows"] if "rows" in attributes else inputs[1], np.int64)
    return [np.take(inputs[0], places, axis=attributes["axis"])]


def _gather_vjp(graph: Graph, record: Record, adjoints: Sequence[Operand]) -> list[Operand | None]:
    """Of rows at fixed places: a product with a constant that puts them back."""
    back = np.eye(record.inputs[0].shape[0])[:, list(record.attributes["rows"])]
    return [graph.apply("MatMul", back, adjoints[0])[0]]


def _split(inputs: Sequence[Array], attributes: Attributes) -> list[Array]:
    cuts = np.cumsum(attributes["sizes"])
    if cuts[-1] != inputs[0].shape[attributes["axis"]]:
        raise ValueError(f"split sizes sum to {cuts[-1]}")
    return np.split(inputs[0], cuts[:-1], axis=attributes["axis"])


def _top_k(inputs: Sequence[Array], attributes: Attributes) -> list[Array]:
    """The greatest entries along the last axis, in falling order, and where they stand."""
    order = np.argsort(-inputs[0], axis=-1, kind="stable")[..., : attributes["count"]]
    return [np.take_along_axis(inputs[0], order, axis=-1), order]


def _softmax(inputs: Sequence[Array], attributes: Attributes) -> list[Array]:
    raised = np.exp(inputs[0] - np.max(inputs[0], axis=attributes["axis"], keepdims=True))
    return [raised / np.sum(raised, axis=attributes["axis"], keepdims=True)]


def _integers(values: Sequence[int]) -> Array:
    return np.asarray(values, np.int64)


def _one(function: Callable[..., Array]) -> Callable[[Sequence[Array], Attributes], list[Array]]:
    return lambda inputs, _: [function(*inputs)]


OPERATIONS: dict[str, Operation] = {
    "Add": Operation(_one(np.add), _both(lambda g, r: g, lambda g, r: g)),
    "Sub": Operation(_one(np.subtract), _both(lambda g, r: g, lambda g, r: g * np.float64(-1.0))),
    "Mul": Operation(_one(np.multiply), _multiply_vjp),
    "Div": Operation(_one(np.divide), _divide_vjp),
    "MatMul": Operation(_one(np.matmul), _matmul_vjp),
    "Gemm": Operation(lambda x, _: [x[0] @ x[1] + x[2]]),
    "Tanh": Operation(_one(np.tanh), _tanh_vjp),
    "Sqrt": Operation(_one(np.sqrt), lambda graph, r, g: [g[0] * np.float64(0.5) / r.outputs[0]]),
    "Ceil": Operation(_one(np.ceil)),
    "Equal": Operation(_one(np.equal)),
    "Where": Operation(lambda x, _: [np.where(x[0], x[1], x[2]).astype(x[1].dtype)]),
    "Sign": Operation(_one(np.sign)),
    "Relu": Operation(
        lambda x, _: [np.maximum(x[0], 0)], lambda graph, r, g: [g[0] * graph.tensor("Sign", r.outputs[0])]
    ),
    "Clip": Operation(
        lambda x, a: [np.clip(x[0], a["low"], a["high"]).astype(x[0].dtype)],
        _clip_vjp,
        lambda a: [np.asarray(a["low"], np.float32), np.asarray(a["high"], np.float32)],
    ),
    "ReduceL2": Operation(
        lambda x, _: [np.sqrt(np.sum(x[0] * x[0], axis=-1, keepdims=True))],
        _norm_vjp,
        lambda _: [_integers([-1])],
    ),
    "LpNormalization": Operation(
        lambda x, _: [x[0] / np.sqrt(np.sum(x[0] * x[0], axis=-1, keepdims=True))],
        _normalise_vjp,
        attributes=("axis", "p"),
    ),
    "ReduceSum": Operation(
        lambda x, a: [np.sum(x[0], axis=tuple(a["axes"]), keepdims=True)],
        _sum_vjp,
        lambda a: [_integers(a["axes"])],
    ),
    "Concat": Operation(
        lambda x, a: [np.concatenate(list(x), axis=a["axis"])], _concat_vjp, attributes=("axis",)
    ),
    "Split": Operation(_split, _split_vjp, lambda a: [_integers(a["sizes"])], ("axis",)),
    "Reshape": Operation(
        lambda x, a: [np.reshape(x[0], a["shape"])], _reshape_vjp, lambda a: [_integers(a["shape"])]
    ),
    "Transpose": Operation(lambda x, a: [np.transpose(x[0], a["perm"])], _transpose_vjp, attributes=("perm",)),
    "ArgMax": Operation(
        lambda x, a: [np.argmax(x[0], axis=a["axis"], keepdims=bool(a["keepdims"]))], attributes=("axis", "keepdims")
    ),
    "TopK": Operation(_top_k, None, lambda a: [_integers([a["count"]])], ("axis",)),
    "Softmax": Operation(_softmax, attributes=("axis",)),
    "Gather": Operation(
        _gather, _gather_vjp, lambda a: [_integers(a["rows"])] if "rows" in a else [], attributes=("axis",)
    ),
}
"""By ONNX operator name. `Gemm` appears only when `emit` fuses a product and a sum."""
