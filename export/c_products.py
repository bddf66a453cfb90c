"""Matrix products in C: dense, with a sparse constant on the right (columns of the left factor are skipped), or on the left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tubepilot.firmware_bridge.errors import ShapeError

from .c_layout import View
from .c_maps import steps
from .c_nodes import Node, Program
from .c_prelude import MOST_ROWS, PANEL

Floats = npt.NDArray[np.float32]
WIDE = 64
"""Columns of a wide group of a constant right factor: a tile of AVX-512."""
WAIT = 6
"""Slots in which a sum is ready for the next product, as far as other tiles do not fill them."""
PLAIN = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0}


@dataclass(slots=True)
class Weights:
    """All constants of the graphs, one after the other, equal ones once; the file `planner.bin`."""

    parts: list[Floats] = field(default_factory=list)
    size: int = 0
    _known: dict[bytes, int] = field(default_factory=dict)

    def add(self, array: npt.NDArray[Any]) -> int:
        """Offset of the values, aligned to 64 bytes [floats]."""
        values = np.ascontiguousarray(array, np.float32).reshape(-1)
        key = values.tobytes()
        if key not in self._known:
            self._known[key] = self.size
            padded = np.zeros(-(-values.size // PANEL) * PANEL, np.float32)
            padded[: values.size] = values
            self.parts.append(padded)
            self.size += padded.size
        return self._known[key]

    def array(self) -> Floats:
        """Everything, shape (size,)."""
        return np.concatenate(self.parts) if self.parts else np.zeros(PANEL, np.float32)


def rows_at_once(rows: int) -> int:
    """Rows of a tile: as even as possible, at most `MOST_ROWS`."""
    blocks = -(-rows // MOST_ROWS)
    return -(-rows // blocks)


def groups(right: Floats, width: int) -> list[tuple[int, int, npt.NDArray[np.int64]]]:
    """First column, columns, and the rows that hold anything, of each group of columns."""
    columns = right.shape[1]
    return [(j, min(width, columns - j), np.flatnonzero(right[:, j : j + width].any(axis=1))) for j in range(0, columns, width)]


def slots(rows: int, vectors: int) -> int:
    """Slots, of which a core has two per cycle, that one entry of the inner dimension takes: products, loads, or waiting for a sum."""
    return max(rows * vectors, rows + vectors, WAIT)


def cost(right: Floats, width: int, rows: int) -> float:
    """Load and multiply slots that the groups of this width take per tile of `rows` rows."""
    total = 0.0
    for _, columns, kept in groups(right, width):
        vectors = -(-columns // PANEL)
        total += 2 + len(kept) * slots(rows, vectors)
    return total


def table(values: npt.NDArray[np.int64] | list[int]) -> str:
    """The entries of a C array."""
    return "{" + (", ".join(str(int(v)) for v in values) or "0") + "}"


class Product:
    """The kernel of one MatMul or Gemm."""

    def __init__(self, node: Node, program: Program, views: dict[str, View], weights: Weights) -> None:
        """Take the operands apart.

        Raises:
            ShapeError: a Gemm with factors or transposed operands, or operands that are no matrices.
        """
        names = node.inputs
        if any(node.attributes.get(key, plain) != plain for key, plain in PLAIN.items()):
            raise ShapeError(f"Gemm with {node.attributes}: the C emitter takes plain ones only")
        if any(len(program.shapes[name]) != 2 for name in names[:2]):
            raise ShapeError(f"{node.op} of shapes {[program.shapes[name] for name in names]}: the C emitter takes matrices only")
        self.left, self.right = (program.constants.get(name) for name in names[:2])
        self.views, self.weights, self.names = views, weights, names
        self.out = views[node.outputs[0]]
        self.rows, self.inner = program.shapes[names[0]]
        self.columns = program.shapes[names[1]][1]
        self.addend = views[names[2]] if len(names) > 2 else None
        self.add_step, self.add_each = (0, 1) if self.addend is None else steps(self.addend, self.rows, self.columns, names[2])
        if self.columns == 1:
            self.add_each = 1

    def body(self) -> tuple[str, list[str]]:
        """C and arguments."""
        if self.left is not None:
            return self._combine(np.asarray(self.left, np.float32))
        if self.right is not None:
            return self._constant(np.asarray(self.right, np.float32))
        return self._dense()

    def flops(self) -> int:
        """Operations that are done: whole vectors of `PANEL`, without what a constant factor has not."""
        vectors, tile = -(-self.columns // PANEL), rows_at_once(self.rows)
        if self.left is not None:
            return 2 * PANEL * vectors * int(np.count_nonzero(self.left))
        if self.right is None:
            return 2 * PANEL * -(-self.rows // tile) * self.inner * slots(tile, vectors)
        right = np.asarray(self.right, np.float32)
        return 2 * PANEL * -(-self.rows // tile) * int(min(cost(right, width, tile) for width in (WIDE, PANEL)))

    def _head(self, *given: str) -> str:
        arguments = [*given, *(["const float *restrict c"] if self.addend else []), "float *restrict y"]
        return f"({', '.join(arguments)}) {{"

    def _tail(self) -> list[str]:
        return [*([self.addend.pointer] if self.addend else []), self.out.pointer]

    def _addend(self, place: str = "") -> str:
        """Addend of a product: pointer (from a column on), distance of rows, whether every column has its own."""
        if self.addend is None:
            return "0, 0, 1"
        return f"c{' + ' + place if place and self.add_each else ''}, {self.add_step}, {self.add_each}"

    def _dense(self) -> tuple[str, list[str]]:
        a, b = self.views[self.names[0]], self.views[self.names[1]]
        call = (
            f"product({self.rows}, {rows_at_once(self.rows)}, {self.columns}, {self.inner}, a, {a.stride}, 0, b, {b.stride}, 0, "
            f"{self._addend()}, y, {self.out.stride});"
        )
        return "\n".join([self._head("const float *restrict a", "const float *restrict b"), f"    {call}", "}"]), [
            a.pointer, b.pointer, *self._tail(),
        ]  # fmt: skip

    def _constant(self, right: Floats) -> tuple[str, list[str]]:
        """A constant right factor: groups of columns, each with the rows that hold anything."""
        a, tile = self.views[self.names[0]], rows_at_once(self.rows)
        width = min((WIDE, PANEL), key=lambda w: cost(right, w, tile))
        made = groups(right, width)
        lines = [self._head("const float *restrict a", "const float *restrict b")]
        packed, same = [], len({len(kept) for _, _, kept in made}) == 1 and len(made[0][2]) == self.inner
        for j, columns, kept in made:
            block = np.zeros((len(kept), -(-columns // PANEL) * PANEL), np.float32)
            block[:, :columns] = right[kept, j : j + columns]
            packed.append(block)
        at = "0" if same else "at"
        if not same:
            lines.append(f"    static const uint16_t kept[] = {table(np.concatenate([kept for _, _, kept in made]))}, *at = kept;")
        full = [len(kept) for _, columns, kept in made if columns == width]
        step = f"{'' if same else 'at += many[g], '}b += {width} * {self.inner if same else 'many[g]'}"
        if full:
            if not same:
                lines.append(f"    static const uint16_t many[] = {table(full)};")
            inner = str(self.inner) if same else "many[g]"
            lines.append(f"    for (int g = 0; g < {len(full)}; {step}, g++)")
            lines.append(
                f"        product({self.rows}, {tile}, {width}, {inner}, a, {a.stride}, {at}, b, {width}, 1, "
                f"{self._addend(f'g * {width}')}, y + g * {width}, {self.out.stride});"
            )
        for (j, columns, kept), block in zip(made[len(full) :], packed[len(full) :], strict=True):
            lines.append(
                f"    product({self.rows}, {tile}, {columns}, {len(kept)}, a, {a.stride}, {at}, b, {block.shape[1]}, 1, "
                f"{self._addend(str(j))}, y + {j}, {self.out.stride});"
            )
        if not same:
            lines[1] = lines[1].replace(", *at = kept;", ";\n    const uint16_t *at = kept;")
        offset = self.weights.add(np.concatenate([block.reshape(-1) for block in packed]))
        return "\n".join([*lines, "}"]), [a.pointer, f"w + {offset}", *self._tail()]

    def _combine(self, left: Floats) -> tuple[str, list[str]]:
        """A constant left factor: every row is a sum of a few rows of the right one."""
        b = self.views[self.names[1]]
        rows, places = np.nonzero(left)
        many = np.bincount(rows, minlength=self.rows)
        offset = self.weights.add(left[rows, places])
        place = "c" if self.addend and not self.add_step else f"c + m * {self.add_step}"
        addend = f"{place}, {self.add_each}" if self.addend else "0, 1"
        lines = [
            self._head("const float *restrict w", "const float *restrict b"),
            f"    static const uint16_t many[] = {table(many)};",
            f"    static const uint16_t kept[] = {table(places)};",
            "    const uint16_t *at = kept;",
            f"    for (int m = 0; m < {self.rows}; at += many[m], w += many[m], m++)",
            f"        combine({self.columns}, many[m], at, w, b, {b.stride}, {addend}, y + m * {self.out.stride});",
            "}",
        ]
        return "\n".join(lines), [f"w + {offset}", b.pointer, *self._tail()]
