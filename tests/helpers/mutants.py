"""Mutation: the shield's modules with one small change in the source, loaded beside the real ones."""

from __future__ import annotations

import ast
import copy
import functools
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import tubepilot.runtime.shield
from tubepilot.runtime.session import open_session

MODULES = (
    "shield_decision", "shield_assumed", "shield_states", "shield_margins", "shield_backup", "shield_monitor", "shield",
)  # fmt: skip
"""In the order in which they import each other."""
FOLDER = Path(str(tubepilot.runtime.shield.__file__)).parent

EDGE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
TURNED = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
NEGATED = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is}
ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
EXTREME = {"min": "max", "max": "min"}


class Library:
    """The shield's modules by name; those of a mutant share sessions, which hold no state."""

    def __init__(self, modules: dict[str, types.ModuleType]) -> None:
        self.decision, self.assumed, self.states = (modules[name] for name in MODULES[:3])
        self.margins, self.backup, self.monitor, self.shield = (modules[name] for name in MODULES[3:])


_session = functools.cache(open_session)


def real() -> Library:
    """The modules as they fly."""
    return Library({name: importlib.import_module(f"tubepilot.runtime.{name}") for name in MODULES})


def source(name: str) -> str:
    """Text of a module."""
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")


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
            exec(code, module.__dict__)
            if hasattr(module, "open_session"):
                module.open_session = _session  # type: ignore[attr-defined]
    finally:
        for name, module in before.items():
            if module is not None:
                sys.modules[f"tubepilot.runtime.{name}"] = module
    return Library(made)


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    """Descriptions of the mutations of one node, each with what makes it on a copy of the node."""
    if isinstance(node, ast.Compare):
        for n, operator in enumerate(node.ops):
            for table in (EDGE, TURNED, NEGATED):
                if type(operator) in table:
                    other = table[type(operator)]
                    what = f"{type(operator).__name__} -> {other.__name__}"
                    yield what, lambda copied, n=n, other=other: copied.ops.__setitem__(n, other())  # type: ignore[misc]
    if isinstance(node, ast.BoolOp):
        swapped = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"-> {swapped.__name__}", lambda copied: setattr(copied, "op", swapped())
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        other = ARITHMETIC[type(node.op)]
        yield f"{type(node.op).__name__} -> {other.__name__}", lambda copied: setattr(copied, "op", other())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield f"{type(node.op).__name__} dropped", lambda copied: setattr(copied, "op", ast.UAdd())
    if isinstance(node, ast.Name) and node.id in EXTREME:
        yield f"{node.id} -> {EXTREME[node.id]}", lambda copied: setattr(copied, "id", EXTREME[node.id])
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        value = node.value
        changed = not value if isinstance(value, bool) else -value if value else 1
        yield f"{value} -> {changed}", lambda copied: setattr(copied, "value", changed)


def mutants(text: str) -> Iterator[tuple[str, ast.Module]]:
    """Every mutation of a source: "line: text [change]", and the changed tree.

    Each comparison at its edge and turned round, `and` and `or` swapped, `not` and minus dropped, plus and minus, times and
    over swapped, min and max swapped, each number with the other sign (0 becomes 1), True and False swapped.
    """
    tree, lines = ast.parse(text), text.splitlines()
    for number, node in enumerate(ast.walk(tree)):
        for what, change in _changes(node):
            changed = copy.deepcopy(tree)
            target = next(found for n, found in enumerate(ast.walk(changed)) if n == number)
            change(target)
            line = node.lineno  # type: ignore[attr-defined]
            yield f"{line}: {lines[line - 1].strip()} [{what}]", ast.fix_missing_locations(changed)
