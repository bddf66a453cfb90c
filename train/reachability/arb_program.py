"""Run a JAX function in ball arithmetic: its jaxpr becomes a list of scalar instructions for arb balls and arb power series.

Nothing of XLA takes part. Numbers that stand in the function are taken as the float64 they are, exactly; a jaxpr says what is
computed from what, and every instruction encloses the exact result (Johansson, Arb: efficient arbitrary-precision midpoint-radius
interval arithmetic, IEEE Trans. Computers 66 (2017) 1281; here by python-flint).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flint import arb, arb_series, ctx

from tubepilot.firmware_bridge.errors import InputError

Scalar = arb | arb_series
Slots = npt.NDArray[np.object_]  # of slot numbers, in the shape of the array they stand for


class KinkError(ArithmeticError):
    """A power series was asked for where the function has a kink, so that it has none."""


@contextmanager
def working_precision(bits: int) -> Iterator[None]:
    """Round to `bits` bits inside; series keep the length they are made with."""
    before = (ctx.prec, ctx.cap)
    ctx.prec, ctx.cap = bits, 1 << 30
    try:
        yield
    finally:
        ctx.prec, ctx.cap = before


def _leading(x: Scalar) -> arb:
    return x[0] if isinstance(x, arb_series) else x


def _larger(x: Scalar, y: Scalar) -> Scalar:
    if isinstance(x, arb) and isinstance(y, arb):
        return x.max(y)
    difference = _leading(x) - _leading(y)
    if difference > 0:
        return x
    if difference < 0:
        return y
    raise KinkError("max, min or abs at a point where its branches meet")


def _absolute(x: Scalar) -> Scalar:
    return abs(x) if isinstance(x, arb) else _larger(x, -x)


def _tanh(x: Scalar) -> Scalar:
    return x.tanh() if isinstance(x, arb) else 1 - 2 / ((2 * x).exp() + 1)


def _compare(sign: int, strict: bool) -> Callable[[Scalar, Scalar], bool | None]:
    def relation(x: Scalar, y: Scalar) -> bool | None:
        difference = sign * (_leading(x) - _leading(y))
        if difference > 0 or difference < 0:
            return bool(difference > 0)
        series = isinstance(x, arb_series) or isinstance(y, arb_series)
        return None if series or not difference.is_zero() else not strict

    return relation


def _select(which: bool | None, *cases: Any) -> Any:
    if which is not None:
        return cases[int(which)]
    if all(isinstance(case, arb) for case in cases):
        return cases[0].union(cases[1])
    raise KinkError("a case distinction that the enclosure does not decide")


_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": lambda x: -x,
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "tan": lambda x: x.tan(),
    "atan": lambda x: x.atan(),
    "exp": lambda x: x.exp(),
    "expm1": lambda x: x.expm1() if isinstance(x, arb) else x.exp() - 1,
    "log": lambda x: x.log(),
    "log1p": lambda x: x.log1p() if isinstance(x, arb) else (1 + x).log(),
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: 1 / x.sqrt(),
    "tanh": _tanh,
    "logistic": lambda x: 1 / (1 + (-x).exp()),
    "square": lambda x: x**2,
    "abs": _absolute,
    "not": lambda x: None if x is None else not x,
    "copy": lambda x: x,
    "stop_gradient": lambda x: x,
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "max": _larger,
    "min": lambda x, y: -_larger(-x, -y),
    "pow": lambda x, y: (y * x.log()).exp(),
    "gt": _compare(1, True),
    "ge": _compare(1, False),
    "lt": _compare(-1, True),
    "le": _compare(-1, False),
}
_REDUCTIONS = {"reduce_sum": _BINARY["add"], "reduce_prod": _BINARY["mul"], "reduce_max": _BINARY["max"], "reduce_min": _BINARY["min"]}


def exact(value: Any) -> Any:
    """A number as the ball of radius 0 around it; truth values as they are."""
    return bool(value) if isinstance(value, (bool, np.bool_)) else arb(float(value))


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Scalar instructions. `run` takes one list of scalars per argument of the function, balls or series, and returns the results.

    Attributes:
        size: Number of slots.
        constants: (slot, value) pairs.
        instructions: (function, slots read, slot written).
        inputs: Slots of every argument.
        outputs: Slots of the result.
    """

    size: int
    constants: tuple[tuple[int, Any], ...]
    instructions: tuple[tuple[Callable[..., Any], tuple[int, ...], int], ...]
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]

    def run(self, *arguments: Sequence[Scalar]) -> list[Scalar]:
        """Enclose the function's values.

        Raises:
            KinkError: A series has no expansion here.
        """
        slots: list[Any] = [None] * self.size
        for slot, value in self.constants:
            slots[slot] = value
        for where, values in zip(self.inputs, arguments, strict=True):
            for slot, value in zip(where, values, strict=True):
                slots[slot] = value
        for function, read, written in self.instructions:
            slots[written] = function(*[slots[i] for i in read])
        return [slots[i] for i in self.outputs]


def program(function: Callable[..., jax.Array], *sizes: int) -> Program:
    """Trace a function of float64 vectors of the given sizes to one vector.

    Raises:
        InputError: It uses an operation that is not known here; the message names it.
    """
    with jax.enable_x64(True):
        closed = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct((size,), jnp.float64) for size in sizes))
    builder = _Builder()
    inputs = [builder.fresh((size,)) for size in sizes]
    (result,) = builder.trace(closed.jaxpr, closed.consts, inputs)
    return Program(builder.size, tuple(builder.constants), tuple(builder.instructions), tuple(tuple(i) for i in inputs),
                   tuple(np.ravel(result)))  # fmt: skip


class _Builder:
    """Collects instructions while it walks through a jaxpr."""

    def __init__(self) -> None:
        self.size = 0
        self.constants: list[tuple[int, Any]] = []
        self.instructions: list[tuple[Callable[..., Any], tuple[int, ...], int]] = []

    def fresh(self, shape: tuple[int, ...]) -> Slots:
        count = int(np.prod(shape, dtype=int))
        self.size += count
        return np.arange(self.size - count, self.size).reshape(shape).astype(object)

    def constant(self, value: Any) -> Slots:
        value = np.asarray(value)
        slots = self.fresh(value.shape)
        self.constants += [(slot, exact(v)) for slot, v in zip(slots.ravel(), value.ravel(), strict=True)]
        return slots

    def emit(self, function: Callable[..., Any], *operands: Slots) -> Slots:
        operands = tuple(np.broadcast_arrays(*operands))
        written = self.fresh(operands[0].shape)
        for slot, *read in zip(written.ravel(), *(o.ravel() for o in operands), strict=True):
            self.instructions.append((function, tuple(read), slot))
        return written

    def fold(self, function: Callable[..., Any], terms: Slots) -> Slots:
        """Combine along the last axis, left to right."""
        result = terms[..., 0]
        for i in range(1, terms.shape[-1]):
            result = self.emit(function, np.asarray(result, object), terms[..., i])
        return np.asarray(result, object)

    def trace(self, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Slots]) -> list[Slots]:
        table: dict[Any, Slots] = dict(zip(jaxpr.constvars, map(self.constant, consts), strict=True))
        table |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(variable: Any) -> Slots:
            return self.constant(variable.val) if hasattr(variable, "val") else table[variable]

        for equation in jaxpr.eqns:
            results = self.apply(equation, [read(v) for v in equation.invars])
            table.update(zip(equation.outvars, results, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def apply(self, equation: Any, x: list[Slots]) -> list[Slots]:
        name, how = equation.primitive.name, equation.params
        inner = how.get("jaxpr", how.get("call_jaxpr"))
        if inner is not None and name in ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint"):
            return self.trace(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), x)
        if name in _UNARY:
            return [self.emit(_UNARY[name], x[0])]
        if name in _BINARY:
            return [self.emit(_BINARY[name], *x)]
        if name in ("eq", "ne") and np.array_equal(x[0], x[1]):  # a test for NaN, of which there are none
            return [self.constant(np.full(x[0].shape, name == "eq"))]
        if name == "integer_pow":
            return [self.emit(lambda v, y=how["y"]: v**y, x[0])]
        if name == "select_n":
            return [self.emit(_select, *x)]
        if name in _REDUCTIONS:
            kept = [i for i in range(x[0].ndim) if i not in how["axes"]]
            moved = x[0].transpose(*kept, *how["axes"]).reshape(*(x[0].shape[i] for i in kept), -1)
            return [self.fold(_REDUCTIONS[name], moved)]
        if name == "cumsum":
            moved = np.moveaxis(x[0], how["axis"], -1)
            moved = moved[..., ::-1] if how["reverse"] else moved
            sums = np.stack([self.fold(_BINARY["add"], moved[..., : i + 1]) for i in range(moved.shape[-1])], axis=-1)
            return [np.moveaxis(sums[..., ::-1] if how["reverse"] else sums, -1, how["axis"])]
        if name == "dot_general":
            return [self.product(*x, how["dimension_numbers"])]
        return [self.rearrange(name, how, x)]

    def product(self, a: Slots, b: Slots, numbers: Any) -> Slots:
        (left, right), batch = numbers
        if tuple(batch) != ((), ()):
            raise InputError("ball arithmetic: a batched product of arrays is not known; write it out in scalars")
        a = np.moveaxis(a, left, range(a.ndim - len(left), a.ndim))
        b = np.moveaxis(b, right, range(b.ndim - len(right), b.ndim))
        outer_a, outer_b = a.shape[: a.ndim - len(left)], b.shape[: b.ndim - len(right)]
        a, b = a.reshape(*outer_a, *(1,) * len(outer_b), -1), b.reshape(*outer_b, -1)
        return self.fold(_BINARY["add"], self.emit(_BINARY["mul"], a, b))

    def rearrange(self, name: str, how: dict[str, Any], x: list[Slots]) -> Slots:
        a = x[0]
        if name == "slice":
            strides = how["strides"] or (1,) * a.ndim
            return a[tuple(slice(*s) for s in zip(how["start_indices"], how["limit_indices"], strides, strict=True))]
        if name == "squeeze":
            return np.asarray(np.squeeze(a, how["dimensions"]), object)
        if name == "reshape":
            return a.reshape(how["new_sizes"])
        if name == "expand_dims":
            return np.expand_dims(a, how["dimensions"])
        if name == "broadcast_in_dim":
            shape = [1] * len(how["shape"])
            for i, where in enumerate(how["broadcast_dimensions"]):
                shape[where] = a.shape[i]
            return np.broadcast_to(a.reshape(shape), how["shape"])
        if name == "concatenate":
            return np.concatenate(x, how["dimension"])
        if name == "stack":
            return np.stack(x, how["axis"])
        if name == "transpose":
            return a.transpose(how["permutation"])
        if name == "rev":
            return np.flip(a, how["dimensions"])
        if name == "convert_element_type" and np.issubdtype(how["new_dtype"], np.floating):
            if np.dtype(how["new_dtype"]) == np.float64:
                return a
            raise InputError(f"ball arithmetic: the function rounds to {how['new_dtype']}; write it in float64")
        raise InputError(f"ball arithmetic: the operation {name!r} is not known; known are {', '.join([*_UNARY, *_BINARY])}")
