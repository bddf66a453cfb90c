"""Mutation: the shield's modules with one small change in the source, loaded beside the real ones."""

from __future__ import annotations

import ast
import functools
import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import tubepilot.runtime.shield
from tubepilot.runtime.session import open_session

MODULES = (
    "shield_decision", "shield_assumed", "shield_states", "shield_ahead", "keep_clear", "shield_margins", "shield_backup",
    "shield_monitor", "shield",
)  # fmt: skip
"""In the order in which they import each other."""
FOLDER = Path(str(tubepilot.runtime.shield.__file__)).parent

EDGE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
TURNED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
NEGATED = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
COMPARED = (*EDGE, *NEGATED)
"""Every operator that a comparison can have: none is left out."""
ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
EXTREME = {"min": "max", "max": "min", "all": "any", "any": "all"}


class Library:
    """The shield's modules by name; those of a mutant share sessions, which hold no state."""

    def __init__(self, modules: dict[str, types.ModuleType]) -> None:
        self.decision, self.assumed, self.states, self.ahead = (modules[name] for name in MODULES[:4])
        self.clear, self.margins, self.backup, self.monitor, self.shield = (modules[name] for name in MODULES[4:])


_session = functools.cache(open_session)


def real() -> Library:
    """The modules as they fly."""
    return Library({name: importlib.import_module(f"tubepilot.runtime.{name}") for name in MODULES})


def source(name: str) -> str:
    """Text of a module."""
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


def parsed(name: str) -> ast.Module:
    """Unchanged tree of a module."""
    return ast.parse(source(name))


@functools.cache
def _compiled(name: str) -> types.CodeType:
    return compile(source(name), "<copy>", "exec")


def load(mutated: str, tree: ast.Module) -> Library:
    """The modules once more, one of them from a changed tree, without touching the real ones."""
    before = {name: sys.modules.get(f"tubepilot.runtime.{name}") for name in MODULES}
    made: dict[str, types.ModuleType] = {}
    try:
        for name in MODULES:
            module = types.ModuleType(f"tubepilot.runtime.{name}")
            module.__package__ = "tubepilot.runtime"
            sys.modules[module.__name__] = made[name] = module
            code = compile(tree, "<mutant>", "exec") if name == mutated else _compiled(name)
            exec(code, module.__dict__)  # noqa: S102 - our own source
            if hasattr(module, "open_session"):
                module.open_session = _session  # type: ignore[attr-defined]
    finally:
        for name, module in before.items():
            if module is not None:
                sys.modules[f"tubepilot.runtime.{name}"] = module
    return Library(made)


Change = tuple[str, str, object]
"""Description, attribute of the node, and its value in the mutant."""


def _changes(node: ast.AST) -> Iterator[Change]:
    """The mutations of one node."""
    if isinstance(node, ast.Compare):
        for n, operator in enumerate(node.ops):
            for table in (EDGE, TURNED, NEGATED):
                if type(operator) in table:
                    other = table[type(operator)]
                    what = f"{type(operator).__name__} -> {other.__name__}"
                    yield what, "ops", [*node.ops[:n], other(), *node.ops[n + 1 :]]
    if isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(node.test, ast.Compare | ast.BoolOp | ast.Constant):
        yield "condition negated", "test", ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
    if isinstance(node, ast.BoolOp):
        swapped = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"-> {swapped.__name__}", "op", swapped()
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        other = ARITHMETIC[type(node.op)]
        yield f"{type(node.op).__name__} -> {other.__name__}", "op", other()
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield f"{type(node.op).__name__} dropped", "op", ast.UAdd()
    if isinstance(node, ast.Name) and node.id in EXTREME:
        yield f"{node.id} -> {EXTREME[node.id]}", "id", EXTREME[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        value = node.value
        changed = not value if isinstance(value, bool) else -value if value else 1
        yield f"{value} -> {changed}", "value", changed


def _judged(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that can be mutated: not decorators, nor the `strict` of a zip."""
    for field, value in ast.iter_fields(tree):
        if field == "decorator_list":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not (isinstance(child, ast.keyword) and child.arg == "strict"):
                yield child
                yield from _judged(child)


def _description(node: ast.AST, lines: list[str], what: str) -> str:
    """The line, with the changed part in brackets, and the change."""
    line = lines[node.lineno - 1]  # type: ignore[attr-defined]
    start, end = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]
    if isinstance(node, ast.If | ast.While):
        return f"{line.strip()}  {what}"
    if node.end_lineno != node.lineno:  # type: ignore[attr-defined]
        end = len(line)
    return f"{line[:start]}<{line[start:end]}>{line[end:]}".strip() + f"  {what}"


def mutants(text: str, arithmetic: bool = True) -> Iterator[tuple[str, ast.Module]]:
    """Every mutation of a source as (description, tree); the tree is valid until the next one is asked for.

    Each comparison at its edge, turned round or negated, each other condition negated, `and` and `or`, min and max, all and any
    swapped, `not` and minus dropped, each number with the other sign (0 becomes 1), True and False swapped; with `arithmetic`, plus
    and minus, times and over too.
    """
    tree, lines = ast.parse(text), text.splitlines()
    for node in list(_judged(tree)):
        for what, field, value in _changes(node):
            if isinstance(node, ast.BinOp) and not arithmetic:
                continue
            before = getattr(node, field)
            setattr(node, field, value)
            yield _description(node, lines, what), tree
            setattr(node, field, before)
