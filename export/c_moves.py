"""Copies, permutations, reductions and choices in C."""

from __future__ import annotations

from tubepilot.firmware_bridge.errors import ShapeError

from .c_layout import View, joined_here, parts, run_of_rows
from .c_nodes import Node, Program, integers
from .c_products import table

Kernel = tuple[str, list[str]]
"""Text of a C function from its arguments on, and the arguments of one call."""


def copy(source: View, target: View) -> list[Kernel]:
    """Copy as many entries, also into other rows; nothing if both are the same place."""
    if source == target or (source.storage is target.storage and source.offset == target.offset and source.packed and target.packed):
        return []
    rows, columns, step, to = source.rows, source.columns, source.stride, target.stride
    body = f"    for (int m = 0; m < {rows}; m++) memcpy(y + m * {to}, a + m * {step}, {4 * columns});"
    if source.packed and target.packed:
        body = f"    memcpy(y, a, {4 * rows * columns});"
    elif (rows, columns) != (target.rows, target.columns):
        into = f"i / {target.columns} * {to} + i % {target.columns}"
        body = f"    for (int i = 0; i < {rows * columns}; i++) y[{into}] = a[i / {columns} * {step} + i % {columns}];"
    return [(f"(const float *restrict a, float *restrict y) {{\n{body}\n}}", [source.pointer, target.pointer])]


def split_or_concat(node: Node, program: Program, views: dict[str, View]) -> list[Kernel]:
    """Copies of what is not a view already."""
    if not joined_here(node, program):
        raise ShapeError(f"{node.op} of {program.shapes[node.inputs[0]]} along {node.attributes['axis']} is not written in C")
    whole = views[node.inputs[0] if node.op == "Split" else node.outputs[0]]
    kernels = []
    for name, (row, column, rows, columns) in zip(
        node.outputs if node.op == "Split" else node.inputs, parts(node, program), strict=True
    ):
        part = View(whole.storage, whole.offset + row * whole.stride + column, whole.stride, rows, columns)
        kernels += copy(part, views[name]) if node.op == "Split" else copy(views[name], part)
    return kernels


def gather(node: Node, program: Program, views: dict[str, View]) -> list[Kernel]:
    """Rows or columns at fixed places, or rows at places that are known in flight."""
    source, target = views[node.inputs[0]], views[node.outputs[0]]
    shape, axis = program.shapes[node.inputs[0]], node.attributes.get("axis", 0)
    if axis % len(shape) != 0:
        return _columns(node, program, source, target, axis)
    each = program.size(node.inputs[0]) // shape[0]
    step = source.stride if len(shape) == 2 else each
    if (len(shape) != 2 and not source.packed) or len(program.shapes[node.inputs[1]]) > 1:
        raise ShapeError(f"Gather of {shape} at {program.shapes[node.inputs[1]]} is not written in C")
    if node.inputs[1] not in program.constants:
        count = program.size(node.inputs[1])
        text = (
            "(const float *restrict a, const int64_t *restrict at, float *restrict y) {\n"
            f"    for (int m = 0; m < {count}; m++) memcpy(y + m * {each}, a + (at[m] < 0 ? at[m] + {shape[0]} : at[m]) * {step}, "
            f"{4 * each});\n}}"
        )
        return [(text, [source.pointer, views[node.inputs[1]].pointer, target.pointer])]
    spaced = run_of_rows(node, program)
    if spaced is not None:
        rows = View(source.storage, source.offset + spaced[0] * source.stride, spaced[1] * source.stride, target.rows, target.columns)
        return copy(rows, target)
    places = [row % shape[0] for row in integers(program, node.inputs[1])]
    to = target.stride if len(shape) == 2 else each
    text = (
        "(const float *restrict a, float *restrict y) {\n"
        f"    static const uint16_t at[] = {table(places)};\n"
        f"    for (int m = 0; m < {len(places)}; m++) memcpy(y + m * {to}, a + at[m] * {step}, {4 * each});\n}}"
    )
    return [(text, [source.pointer, target.pointer])]


def _columns(node: Node, program: Program, source: View, target: View, axis: int) -> list[Kernel]:
    shape = program.shapes[node.inputs[0]]
    if axis % len(shape) != len(shape) - 1 or node.inputs[1] not in program.constants:
        raise ShapeError(f"Gather of {shape} along {axis} is not written in C")
    places = [place % shape[-1] for place in integers(program, node.inputs[1])]
    text = (
        "(const float *restrict a, float *restrict y) {\n"
        f"    static const uint16_t at[] = {table(places)};\n"
        f"    for (int m = 0; m < {source.rows}; m++) for (int j = 0; j < {len(places)}; j++)\n"
        f"        y[m * {target.stride} + j] = a[m * {source.stride} + at[j]];\n}}"
    )
    return [(text, [source.pointer, target.pointer])]


def transpose(node: Node, program: Program, views: dict[str, View]) -> list[Kernel]:
    """Any permutation of at most three axes."""
    source, target = views[node.inputs[0]], views[node.outputs[0]]
    shape = program.shapes[node.inputs[0]]
    order = list(node.attributes["perm"])
    if len(shape) > 3 or (len(shape) == 3 and not (source.packed and target.packed)):
        raise ShapeError(f"Transpose of {shape} is not written in C")
    strides = [source.stride, 1] if len(shape) == 2 else [shape[1] * shape[2], shape[2], 1]
    made = [shape[k] for k in order]
    to = [target.stride, 1] if len(shape) == 2 else [made[1] * made[2], made[2], 1]
    loops = " ".join(f"for (int i{n} = 0; i{n} < {size}; i{n}++)" for n, size in enumerate(made))
    place = " + ".join(f"i{n} * {step}" for n, step in enumerate(to))
    origin = " + ".join(f"i{n} * {strides[k]}" for n, k in enumerate(order))
    text = f"(const float *restrict a, float *restrict y) {{\n    {loops} y[{place}] = a[{origin}];\n}}"
    return [(text, [source.pointer, target.pointer])]


def reduce(node: Node, program: Program, views: dict[str, View]) -> list[Kernel]:
    """Sums and norms along the last axis or along rows, and vectors of length one."""
    source, target = views[node.inputs[0]], views[node.outputs[0]]
    shape = program.shapes[node.inputs[0]]
    if node.op == "LpNormalization":
        axes, order = [node.attributes.get("axis", -1)], node.attributes.get("p", 2)
    else:
        axes, order = integers(program, node.inputs[1]) if len(node.inputs) > 1 else list(range(len(shape))), 2
    axes = [axis % len(shape) for axis in axes]
    last = axes == [len(shape) - 1]
    if (not last and not (node.op == "ReduceSum" and axes == [0] and len(shape) == 2)) or order != 2:
        raise ShapeError(f"{node.op} of {shape} along {axes} is not written in C")
    if not last:
        text = f"    for (int j = 0; j < {source.columns}; j++) y[j] = 0.0f;\n" + (
            f"    for (int m = 0; m < {source.rows}; m++) for (int j = 0; j < {source.columns}; j++)\n"
            f"        y[j] += a[m * {source.stride} + j];"
        )
        return [(f"(const float *restrict a, float *restrict y) {{\n{text}\n}}", [source.pointer, target.pointer])]
    to = target.stride if node.op == "LpNormalization" or not program.shapes[node.outputs[0]] or target.columns == 1 else 1
    term = "x" if node.op == "ReduceSum" else "x * x"
    end = {
        "ReduceSum": f"y[m * {to}] = sum;",
        "ReduceL2": f"y[m * {to}] = sqrtf(sum);",
        "LpNormalization": f"const float f = sum == 0.0f ? 0.0f : 1.0f / sqrtf(sum); for (int j = 0; j < {source.columns}; j++) "
        f"y[m * {to} + j] = f * a[m * {source.stride} + j];",
    }[node.op]
    text = (
        f"    for (int m = 0; m < {source.rows}; m++) {{\n        float sum = 0.0f;\n"
        f"        for (int j = 0; j < {source.columns}; j++) {{ const float x = a[m * {source.stride} + j]; sum += {term}; }}\n"
        f"        {end}\n    }}"
    )
    return [(f"(const float *restrict a, float *restrict y) {{\n{text}\n}}", [source.pointer, target.pointer])]


def arg_max(node: Node, program: Program, views: dict[str, View]) -> list[Kernel]:
    """The first of the greatest entries of one row."""
    source, target = views[node.inputs[0]], views[node.outputs[0]]
    if program.size(node.outputs[0]) != 1 or not source.packed or node.attributes.get("select_last_index", 0):
        raise ShapeError(f"ArgMax of {program.shapes[node.inputs[0]]} is not written in C")
    count = program.size(node.inputs[0])
    text = (
        "(const float *restrict a, int64_t *restrict y) {\n    int best = 0;\n"
        f"    for (int j = 1; j < {count}; j++) if (a[j] > a[best]) best = j;\n    y[0] = best;\n}}"
    )
    return [(text, [source.pointer, target.pointer])]
