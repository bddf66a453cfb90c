"""Entry by entry: chains of such operators become one loop, so that what lies between them never leaves the registers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from tubepilot.firmware_bridge.errors import ShapeError

from .c_layout import View
from .c_nodes import Node, Program, Shape, matrix

MAP = "Map"
CODE: dict[str, str] = {
    "Add": "{0} + {1}", "Sub": "{0} - {1}", "Mul": "{0} * {1}", "Div": "{0} / {1}", "Tanh": "tanh_({0})", "Sqrt": "sqrtf({0})",
    "Relu": "greatest_({0}, 0.0f)", "Ceil": "ceilf({0})", "Floor": "floorf({0})", "Abs": "fabsf({0})",
    "Neg": "-{0}", "Sign": "sign_({0})",
    "Clip": "least_(greatest_({0}, {1}), {2})", "Min": "least_({0}, {1})", "Max": "greatest_({0}, {1})",
    "Equal": "(float)({0} == {1})", "Greater": "(float)({0} > {1})", "Less": "(float)({0} < {1})", "Where": "({0} != 0.0f ? {1} : {2})",
}  # fmt: skip
"""C of one entry by ONNX operator; a truth value is 1 or 0."""
SLOW = {"tanh_": 10, "sqrtf": 4, " / ": 4}
"""What these cost beside a sum or a product."""
MOST_LEAVES = 6
"""A loop reads at most so many arrays."""


def literal(value: float) -> str:
    """A float32 number in C, exactly.

    Raises:
        ShapeError: not a finite number.
    """
    number = float(np.float32(value))
    if not np.isfinite(number):
        raise ShapeError(f"a constant of the graph is {value}, the C emitter takes finite ones only")
    return f"{number.hex()}f"


class Chain:
    """The expression of one value: lines that compute what it needs, its C name or literal, and the arrays that it reads."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.lines: list[str] = []
        self.leaves: list[str] = []

    def leaf(self, name: str) -> str:
        """The C name of an array's entry."""
        if name not in self.leaves:
            self.leaves.append(name)
        return f"x{self.leaves.index(name)}"

    def step(self, code: str) -> str:
        """The C name of an intermediate value; equal ones are computed once."""
        for number, line in enumerate(self.lines):
            if line == code:
                return f"t{number}"
        self.lines.append(code)
        return f"t{len(self.lines) - 1}"


def fuse(program: Program) -> Program:
    """The program with every chain of operators on entries as one node of operator `Map`, whose attribute is a `Chain`."""
    uses = Counter(name for node in program.nodes for name in node.inputs)
    makers = {node.outputs[0]: node for node in program.nodes if node.op in CODE}

    def inner(name: str, shape: Shape) -> bool:
        """Whether a value is needed by one expression of its own shape only."""
        return uses[name] == makers_uses.get(name, -1) and name not in program.outputs and program.shapes[name] == shape

    makers_uses = {}
    for node in program.nodes:
        if node.op in CODE:
            for name in set(node.inputs) & set(makers):
                makers_uses[name] = max(makers_uses.get(name, 0), node.inputs.count(name))

    def write(chain: Chain, node: Node) -> str:
        operands = []
        for name in node.inputs:
            constant = program.constants.get(name)
            if constant is not None and constant.size == 1:
                operands.append(literal(float(constant.reshape(-1)[0])))
            elif name in makers and inner(name, program.shapes[node.outputs[0]]) and len(chain.leaves) + 2 < MOST_LEAVES:
                operands.append(write(chain, makers[name]))
                gone.add(name)
            else:
                operands.append(chain.leaf(name))
        return chain.step(CODE[node.op].format(*operands))

    gone: set[str] = set()
    nodes: list[Node] = []
    for node in reversed(program.nodes):
        if node.op not in CODE:
            nodes.append(node)
        elif node.outputs[0] not in gone:
            chain = Chain()
            write(chain, node)
            nodes.append(Node(MAP, tuple(chain.leaves), node.outputs, {"chain": chain}))
    return replace(program, nodes=nodes[::-1])


def steps(view: View, rows: int, columns: int, label: str) -> tuple[int, int]:
    """Distance of rows and of columns of an operand that broadcasts to (rows, columns).

    Raises:
        ShapeError: it does not.
    """
    if view.rows not in (1, rows) or view.columns not in (1, columns):
        raise ShapeError(f"{label} of shape ({view.rows}, {view.columns}) does not broadcast to ({rows}, {columns}) in C")
    return (0 if view.rows == 1 else view.stride), (0 if view.columns == 1 else 1)


def body(node: Node, program: Program, views: dict[str, View]) -> tuple[str, list[str]]:
    """C of the kernel of a `Map` and its arguments.

    Raises:
        ShapeError: an operand does not broadcast in two dimensions.
    """
    chain: Chain = node.attributes["chain"]
    (name,) = node.outputs
    out = views[name]
    rows, columns = matrix(program.shapes[name])
    taken = [views[leaf] for leaf in chain.leaves]
    moves = [steps(view, rows, columns, leaf) for view, leaf in zip(taken, chain.leaves, strict=True)]
    flat = out.packed and all((v.packed and v.rows == rows and v.columns == columns) or v.rows * v.columns == 1 for v in taken)
    if flat:
        moves = [(0, 0 if v.rows * v.columns == 1 else 1) for v in taken]
        rows, columns = 1, rows * columns
    given = ", ".join(f"const float *restrict a{k}" for k in range(len(taken)))
    lines = [f"({given}{', ' if given else ''}float *restrict y) {{"]
    lines.append(f"    for (int m = 0; m < {rows}; m++) for (int j = 0; j < {columns}; j++) {{")
    for k, (row, column) in enumerate(moves):
        at = " + ".join([*([f"m * {row}"] if row else []), *(["j"] if column else [])]) or "0"
        lines.append(f"        const float x{k} = a{k}[{at}];")
    lines += [f"        const float t{k} = {line};" for k, line in enumerate(chain.lines)]
    lines += [f"        y[m * {out.stride} + j] = t{len(chain.lines) - 1};", "    }", "}"]
    return "\n".join(lines), [*(view.pointer for view in taken), out.pointer]


def weight(node: Node) -> int:
    """Cost of one entry of a `Map`, in sums and products."""
    return sum(max((cost for sign, cost in SLOW.items() if sign in line), default=1) for line in node.attributes["chain"].lines)
