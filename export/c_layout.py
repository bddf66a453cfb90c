"""Where every value of a graph lies: views instead of copies, one scratch memory in which dead values give way.

Splits, reshapes and contiguous gathers are views of their input; what is joined by a Concat, or handed out by a port, is written
in its place by the node that makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from .c_nodes import Node, Program, integers, matrix

ALIGN = 16
"""Floats to which places in the scratch memory are aligned: 64 bytes."""
VIEWS = frozenset({"Split", "Reshape", "Gather"})
"""Operators whose outputs may be views of their first input."""


@dataclass(slots=True)
class Storage:
    """A stretch of memory: of a port, of the constants, or of the scratch memory while its values live.

    Attributes:
        base: C expression of its start; set when the scratch memory is laid out.
        size: Floats.
        first, last: Numbers of the nodes that first write and last read it; scratch only.
    """

    base: str = ""
    size: int = 0
    first: int = 1 << 30
    last: int = -1


@dataclass(frozen=True, slots=True)
class View:
    """A value as rows of a storage: offset and distance of rows in floats."""

    storage: Storage = field(repr=False)
    offset: int
    stride: int
    rows: int
    columns: int

    @property
    def packed(self) -> bool:
        """Rows follow each other without a gap."""
        return self.rows == 1 or self.stride == self.columns

    @property
    def pointer(self) -> str:
        """C expression of the address."""
        return f"{self.storage.base} + {self.offset}" if self.offset else self.storage.base


def parts(node: Node, program: Program) -> list[tuple[int, int, int, int]]:
    """First row, first column, rows and columns of each of the smaller values of a Split (its outputs) or a Concat (its inputs)."""
    names = node.outputs if node.op == "Split" else node.inputs
    shape = program.shapes[node.inputs[0] if node.op == "Split" else node.outputs[0]]
    axis, at, result = node.attributes["axis"] % len(shape), 0, []
    for name in names:
        rows, columns = matrix(program.shapes[name])
        across = len(shape) > 1 and axis == len(shape) - 1
        result.append((0, at, rows, columns) if across or len(shape) == 1 else (at, 0, rows, columns))
        at += columns if across or len(shape) == 1 else rows
    return result


def joined_here(node: Node, program: Program) -> bool:
    """Split or Concat of values that are rows or columns of a matrix."""
    shape = program.shapes[node.inputs[0] if node.op == "Split" else node.outputs[0]]
    axis = node.attributes["axis"] % len(shape)
    return len(shape) <= 2 or axis == 0


def run_of_rows(node: Node, program: Program) -> tuple[int, int] | None:
    """First row and distance of the rows of a Gather, if they are evenly spaced; None if not, or not known beforehand."""
    if node.op != "Gather" or node.inputs[1] not in program.constants or node.attributes.get("axis", 0) != 0:
        return None
    if len(program.shapes[node.inputs[0]]) != 2 or len(program.shapes[node.inputs[1]]) != 1:
        return None
    rows = [row % program.shapes[node.inputs[0]][0] for row in integers(program, node.inputs[1])]
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    even = step > 0 and all(b - a == step for a, b in pairwise(rows))
    return (rows[0], step) if even else None


class Layout:
    """Views of all values of a program."""

    def __init__(self, program: Program, numbers: dict[str, int]) -> None:
        """Decide where every value lies.

        Args:
            program: To lay out.
            numbers: Offsets of the constants in the weights [floats].
        """
        self.program = program
        self.views: dict[str, View] = {}
        self._makers = {name: node for node in program.nodes for name in node.outputs}
        for place, name in enumerate((*program.inputs, *program.outputs)):
            kind = "int64_t" if name in program.integers else "float"
            self.views[name] = self._whole(name, Storage(f"(({kind} *)p[{place}])"))
        for name, offset in numbers.items():
            self.views[name] = self._whole(name, Storage("w"), offset)
        for node in reversed(program.nodes):
            self._place_inputs(node)
        for node in program.nodes:
            self._place_outputs(node)
        self._live()

    def _whole(self, name: str, storage: Storage, offset: int = 0) -> View:
        rows, columns = matrix(self.program.shapes[name])
        return View(storage, offset, columns, rows, columns)

    def _scratch(self, name: str) -> View:
        size = self.program.size(name) * (2 if name in self.program.integers else 1)
        return self._whole(name, Storage(size=size))

    def _made_in_place(self, name: str) -> bool:
        """Whether a node computes this value and nothing has placed it yet."""
        return name not in self.views and name in self._makers and name not in self.program.integers

    def _place_inputs(self, node: Node) -> None:
        """Place what a Concat or a Reshape takes where its output lies."""
        if node.op == "Concat" and joined_here(node, self.program):
            (output,) = node.outputs
            view = self.views.setdefault(output, self._scratch(output))
            for name, (row, column, rows, columns) in zip(node.inputs, parts(node, self.program), strict=True):
                if self._made_in_place(name) and self._makers[name].op not in VIEWS:
                    self.views[name] = View(view.storage, view.offset + row * view.stride + column, view.stride, rows, columns)
        if node.op == "Reshape" and node.outputs[0] in self.views and self._made_in_place(node.inputs[0]):
            view, name = self.views[node.outputs[0]], node.inputs[0]
            if view.packed and self._makers[name].op not in VIEWS:
                self.views[name] = self._whole(name, view.storage, view.offset)

    def _place_outputs(self, node: Node) -> None:
        """Views of the input, or a place of its own."""
        given = self.views.get(node.inputs[0])
        for number, name in enumerate(node.outputs):
            if name in self.views:
                continue
            spaced = run_of_rows(node, self.program)
            if given is not None and node.op == "Reshape" and given.packed:
                self.views[name] = self._whole(name, given.storage, given.offset)
            elif given is not None and node.op == "Split" and joined_here(node, self.program):
                row, column, rows, columns = parts(node, self.program)[number]
                self.views[name] = View(given.storage, given.offset + row * given.stride + column, given.stride, rows, columns)
            elif given is not None and spaced is not None:
                rows, columns = matrix(self.program.shapes[name])
                self.views[name] = View(given.storage, given.offset + spaced[0] * given.stride, spaced[1] * given.stride, rows, columns)
            else:
                self.views[name] = self._scratch(name)

    def _live(self) -> None:
        """From where to where each storage is in use."""
        for number, node in enumerate(self.program.nodes):
            for name in (*node.inputs, *node.outputs):
                if name in self.views:
                    storage = self.views[name].storage
                    storage.first, storage.last = min(storage.first, number), max(storage.last, number)

    def pack(self) -> int:
        """Give every scratch storage an address, the first that is free while it lives; returns the floats needed."""
        waiting = {id(v.storage): v.storage for v in self.views.values() if not v.storage.base}
        held: list[tuple[int, int, Storage]] = []
        most = 0
        for storage in sorted(waiting.values(), key=lambda s: (s.first, -s.size)):
            size = -(-storage.size // ALIGN) * ALIGN
            start = 0
            for low, high, other in sorted((h for h in held), key=lambda h: h[0]):
                if other.last >= storage.first and other.first <= storage.last and low < start + size:
                    start = max(start, high)
            held.append((start, start + size, storage))
            storage.base = f"s + {start}" if start else "s"
            most = max(most, start + size)
        return most
