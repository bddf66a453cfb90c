"""A JAX function as levels of affine maps and nonlinear operations on scalars.

`trace` reads the jaxpr of an ordinary JAX function of arrays. Everything affine is collapsed into affine forms; what remains are
products and functions of one argument ("atoms"), shared where they are equal, and sorted into levels so that one level is evaluated
by a few batched array operations whatever the length of the function. That keeps compile times short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.extend import core

from tubepilot.firmware_bridge.errors import InputError

from .affine_form import Affine

Objects = npt.NDArray[np.object_]

UNARY = {
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "exp": "exp",
    "log": "log",
    "sqrt": "sqrt",
    "tanh": "tanh",
    "logistic": "sigmoid",
    "atan": "atan",
}
NESTED = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")
MOVES = (
    "reshape",
    "squeeze",
    "expand_dims",
    "broadcast_in_dim",
    "transpose",
    "slice",
    "concatenate",
    "rev",
    "gather",
    "dynamic_slice",
    "copy",
    "copy_p",
    "split",
    "pad",
    "stack",
    "unstack",
)
PASSED = ("convert_element_type", "stop_gradient", "optimization_barrier", "device_put")


@dataclass(frozen=True, slots=True)
class LinearMap:
    """Rows of affine forms over the values before: sum coefficient * value + constant.

    Shapes: index (rows, K) into the values (unused places carry coefficient 0), coefficient and size (rows, K), constant and
    constant_size (rows,), roundings: the most roundings in any coefficient.
    """

    index: npt.NDArray[np.int32]
    coefficient: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]
    constant: npt.NDArray[np.float64]
    constant_size: npt.NDArray[np.float64]
    roundings: int

    @property
    def rows(self) -> int:
        """Number of results."""
        return len(self.constant)


@dataclass(frozen=True, slots=True)
class Level:
    """Operations whose arguments are affine in earlier values; results are appended: first the products, then the functions.

    Attributes:
        arguments: rows: left factors, right factors, then the arguments of the functions.
        products: number of products.
        functions: (name, count) in the order of the arguments.
    """

    arguments: LinearMap
    products: int
    functions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Program:
    """Inputs (flattened, in order), levels, and the affine map of the results."""

    inputs: int
    levels: tuple[Level, ...]
    results: LinearMap


class _Builder:
    """Collects atoms while a jaxpr is read."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.atoms: list[tuple[str, Affine, Affine | None]] = []
        self.depth: list[int] = [0] * inputs
        self.known: dict[object, int] = {}

    def _level(self, *arguments: Affine) -> int:
        return 1 + max((self.depth[i] for a in arguments for i in a.terms), default=0)

    def function(self, name: str, argument: Affine) -> Affine:
        key = (name, argument.key)
        if key not in self.known:
            self.known[key] = len(self.depth)
            self.depth.append(self._level(argument))
            self.atoms.append((name, argument, None))
        return Affine.atom(self.known[key])

    def product(self, left: Affine, right: Affine) -> Affine:
        if left.is_number or right.is_number:
            number, other = (left, right) if left.is_number else (right, left)
            return other.times(number)
        if len(left.terms) == 1 and left.constant[1] == 0.0 and not left.roundings:  # a factor stays outside: more products are shared
            (index, (coefficient, _)) = next(iter(left.terms.items()))
            if coefficient == -1.0:
                return -self.product(Affine.atom(index), right)
        if len(right.terms) == 1 and right.constant[1] == 0.0 and not right.roundings:
            (index, (coefficient, _)) = next(iter(right.terms.items()))
            if coefficient == -1.0:
                return -self.product(left, Affine.atom(index))
        first, second = sorted((left, right), key=lambda a: repr(a.key))
        key = ("*", first.key, second.key)
        if key not in self.known:
            self.known[key] = len(self.depth)
            self.depth.append(self._level(first, second))
            self.atoms.append(("*", first, second))
        return Affine.atom(self.known[key])

    def power(self, base: Affine, exponent: int) -> Affine:
        if exponent == 0:
            return Affine.number(1.0)
        if exponent < 0:
            return self.reciprocal(self.power(base, -exponent))
        half = self.power(base, exponent // 2) if exponent > 1 else None
        square = self.product(half, half) if half is not None else Affine.number(1.0)
        return self.product(square, base) if exponent % 2 else square

    def reciprocal(self, a: Affine) -> Affine:
        value, size = a.constant
        if (
            a.is_number and value != 0.0 and size <= abs(value) * (1 + 1e-9)
        ):  # a number that cancellation made is bounded like a function
            inverse = 1.0 / value
            return Affine({}, (inverse, abs(inverse) * (1 + 1e-6)), a.roundings + 2)
        return self.function("reciprocal", a)

    def divide(self, a: Affine, b: Affine) -> Affine:
        inverse = self.reciprocal(b)
        return self.product(a, inverse)


def trace(function: Callable[..., jax.Array], *shapes: int | tuple[int, ...]) -> Program:
    """Read a JAX function.

    Args:
        function: takes float64 arrays of the given shapes and returns one array (or scalar), flattened in the result.
        shapes: per argument.

    Returns:
        The program over the concatenated, flattened arguments.

    Raises:
        InputError: the function uses a primitive for which there is no enclosure; the message names it.
    """
    with jax.enable_x64(True):
        closed = jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct((s,) if isinstance(s, int) else s, jnp.float64) for s in shapes))
    sizes = [int(np.prod(v.aval.shape)) for v in closed.jaxpr.invars]
    builder = _Builder(sum(sizes))
    arguments, start = [], 0
    for variable, size in zip(closed.jaxpr.invars, sizes, strict=True):
        arguments.append(_objects([Affine.atom(start + i) for i in range(size)], variable.aval.shape))
        start += size
    results = _run(builder, closed.jaxpr, [_constant(c) for c in closed.consts], arguments)
    flat = [form for r in results for form in np.ravel(r)]
    return _levels(builder, flat)


def _objects(items: Sequence[object], shape: tuple[int, ...]) -> Objects:
    out = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        out[i] = item
    return out.reshape(shape)


def _constant(value: object) -> npt.NDArray[np.generic]:
    if isinstance(value, jax.core.Tracer):
        raise InputError(
            "the dynamics close over an array that JAX is transforming (a traced value); pass it as a parameter or as a Network instead"
        )
    return np.asarray(value)


def _lift(value: npt.NDArray[np.generic]) -> Objects:
    if value.dtype == object:
        return value
    return _objects([Affine.number(float(v)) for v in np.ravel(value)], value.shape)


def _run(builder: _Builder, jaxpr: core.Jaxpr, constants: Sequence[object], arguments: Sequence[object]) -> list[Objects]:
    known: dict[object, npt.NDArray[np.generic]] = dict(zip(jaxpr.constvars, constants, strict=True))  # type: ignore[arg-type]
    known.update(zip(jaxpr.invars, arguments, strict=True))  # type: ignore[arg-type]

    def read(variable: object) -> npt.NDArray[np.generic]:
        return np.asarray(variable.val) if isinstance(variable, core.Literal) else known[variable]

    for equation in jaxpr.eqns:
        values = [read(v) for v in equation.invars]
        name = equation.primitive.name
        if name in NESTED:
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            inner, consts = (inner.jaxpr, [_constant(c) for c in inner.consts]) if isinstance(inner, core.ClosedJaxpr) else (inner, [])
            results = _run(builder, inner, consts, values)
        elif all(v.dtype != object and not np.issubdtype(v.dtype, np.floating) for v in values) and not any(
            np.issubdtype(v.aval.dtype, np.floating) for v in equation.outvars
        ):  # integers and flags, such as indices: exact
            out = equation.primitive.bind(*(jnp.asarray(v) for v in values), **equation.params)
            results = [np.asarray(o) for o in (out if equation.primitive.multiple_results else [out])]
        elif name in MOVES:
            results = _move(equation, values)
        else:
            results = [_compute(builder, name, equation, values)]
        known.update(zip(equation.outvars, results, strict=True))  # type: ignore[arg-type]
    return [_lift(read(v)) for v in jaxpr.outvars]


def _move(equation: core.JaxprEqn, values: list[npt.NDArray[np.generic]]) -> list[Objects]:
    """A primitive that only moves elements: applied to their positions."""
    operands, positions = [], []
    for value, variable in zip(values, equation.invars, strict=True):
        if value.dtype == object or np.issubdtype(variable.aval.dtype, np.floating):
            start = len(operands)
            operands.extend(np.ravel(_lift(value)))
            positions.append(jnp.asarray(np.arange(start, len(operands)).reshape(value.shape), dtype=jnp.int32))
        else:
            positions.append(jnp.asarray(value))
    if "fill" in str(equation.params.get("mode", "")).lower():
        raise InputError("the dynamics index with a fill value (jnp.take without mode, or mode='fill'); use x[index], or mode='clip'")
    params = equation.params
    moved = equation.primitive.bind(*positions, **params)
    return [
        _objects([operands[i] for i in np.ravel(np.asarray(m))], np.shape(m))
        for m in (moved if equation.primitive.multiple_results else [moved])
    ]


def _elementwise(rule: Callable[..., Affine], *values: npt.NDArray[np.generic]) -> Objects:
    arrays = np.broadcast_arrays(*(_lift(v) for v in values))
    return _objects([rule(*items) for items in zip(*(np.ravel(a) for a in arrays), strict=True)], arrays[0].shape)


def _compute(builder: _Builder, name: str, equation: core.JaxprEqn, values: list[npt.NDArray[np.generic]]) -> Objects:
    if name in ("add", "add_any"):
        return _elementwise(lambda a, b: a + b, *values)
    if name == "sub":
        return _elementwise(lambda a, b: a - b, *values)
    if name == "neg":
        return _elementwise(lambda a: -a, *values)
    if name == "mul":
        return _elementwise(builder.product, *values)
    if name == "div":
        return _elementwise(builder.divide, *values)
    if name == "square":
        return _elementwise(lambda a: builder.power(a, 2), *values)
    if name == "integer_pow":
        return _elementwise(lambda a: builder.power(a, equation.params["y"]), *values)
    if name == "pow" and values[1].dtype != object and np.all(values[1] == np.round(values[1].astype(float))):
        return _elementwise(lambda a, n: builder.power(a, round(n.constant[0])), *values)
    if name == "rsqrt":
        return _elementwise(lambda a: builder.reciprocal(builder.function("sqrt", a)), *values)
    if name == "abs":
        return _elementwise(lambda a: builder.function("abs", a), *values)
    if name in ("max", "min"):
        return _elementwise(lambda a, b: _extreme(builder, a, b, name), *values)
    if name in UNARY:
        return _elementwise(lambda a: builder.function(UNARY[name], a), *values)
    if name == "select_n" and values[0].dtype != object:
        cases = np.broadcast_arrays(values[0], *(_lift(v) for v in values[1:]))
        return _objects([c[1 + int(c[0])] for c in zip(*(np.ravel(a) for a in cases), strict=True)], cases[0].shape)
    if name == "convert_element_type" and np.dtype(equation.params["new_dtype"]) != np.float64:
        raise InputError(
            f"the dynamics convert a computed value to {np.dtype(equation.params['new_dtype'])}; write them in float64 throughout"
        )
    if name in PASSED:
        return _lift(values[0])
    if name == "reduce_sum":
        return np.asarray(np.sum(_lift(values[0]), axis=tuple(equation.params["axes"])), dtype=object)
    if name == "cumsum":
        axis, turned = equation.params["axis"], bool(equation.params["reverse"])
        forms = np.flip(_lift(values[0]), axis) if turned else _lift(values[0])
        sums = np.add.accumulate(forms, axis=axis)
        return np.flip(sums, axis) if turned else sums
    if name == "dot_general":
        return _dot(builder, equation, *values)
    raise InputError(
        f"the dynamics use the JAX primitive {name!r}, for which no enclosure is known; write them with + - * / integer powers, "
        "sin cos tan exp log sqrt tanh sigmoid atan abs maximum minimum, dot products, sums, cumulative sums and indexing"
    )


def _extreme(builder: _Builder, a: Affine, b: Affine, name: str) -> Affine:
    """max(a, b) = b + relu(a - b); min(a, b) = a - relu(a - b)."""
    rectified = builder.function("relu", a - b)
    return b + rectified if name == "max" else a - rectified


def _dot(builder: _Builder, equation: core.JaxprEqn, left: npt.NDArray[np.generic], right: npt.NDArray[np.generic]) -> Objects:
    ((left_axes, right_axes), batch) = equation.params["dimension_numbers"]
    if any(len(b) for b in batch):
        raise InputError("the dynamics use a batched dot product, for which no enclosure is written; use sums of products")
    a = np.moveaxis(_lift(left), tuple(left_axes), tuple(range(-len(left_axes), 0)))
    b = np.moveaxis(_lift(right), tuple(right_axes), tuple(range(-len(right_axes), 0)))
    count = len(left_axes)
    a_shape, b_shape = a.shape[: a.ndim - count], b.shape[: b.ndim - count]
    rows, columns = a.reshape(int(np.prod(a_shape)), -1), b.reshape(int(np.prod(b_shape)), -1)
    out = [sum((builder.product(p, q) for p, q in zip(r, c, strict=True)), Affine()) for r in rows for c in columns]
    return _objects(out, (*a_shape, *b_shape))


def _levels(builder: _Builder, flat: list[Affine]) -> Program:
    """Sort the atoms that the results need into levels, and number the values in that order."""
    needed: set[int] = set()
    stack = [i for form in flat for i in form.terms]
    while stack:
        index = stack.pop()
        if index >= builder.inputs and index not in needed:
            needed.add(index)
            _, first, second = builder.atoms[index - builder.inputs]
            stack.extend(i for a in (first, second) if a is not None for i in a.terms)
    place = {i: i for i in range(builder.inputs)}
    levels: list[Level] = []
    for depth in sorted({builder.depth[i] for i in needed}):
        here = [i for i in sorted(needed) if builder.depth[i] == depth]
        products = [i for i in here if builder.atoms[i - builder.inputs][0] == "*"]
        functions = sorted(
            (i for i in here if builder.atoms[i - builder.inputs][0] != "*"), key=lambda i: (builder.atoms[i - builder.inputs][0], i)
        )
        atoms = [builder.atoms[i - builder.inputs] for i in (*products, *functions)]
        count = len(products)
        rows = [a[1] for a in atoms[:count]] + [a[2] for a in atoms[:count]] + [a[1] for a in atoms[count:]]
        names = [a[0] for a in atoms[count:]]
        grouped = tuple((n, names.count(n)) for n in sorted(set(names)))
        levels.append(Level(_linear_map([r for r in rows if r is not None], place), count, grouped))
        place.update({i: len(place) + k for k, i in enumerate((*products, *functions))})
    return Program(builder.inputs, tuple(levels), _linear_map(flat, place))


def _linear_map(rows: list[Affine], place: dict[int, int]) -> LinearMap:
    width = max([len(r.terms) for r in rows] + [1])
    index = np.zeros((len(rows), width), dtype=np.int32)
    coefficient, size = np.zeros((len(rows), width)), np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        for k, (atom, (value, total)) in enumerate(sorted((place[a], c) for a, c in row.terms.items())):
            index[i, k], coefficient[i, k], size[i, k] = atom, value, total
    constants = np.array([r.constant for r in rows]).reshape(-1, 2)
    roundings = max((r.roundings for r in rows), default=0)
    return LinearMap(index, coefficient, size, constants[:, 0], constants[:, 1], roundings)
