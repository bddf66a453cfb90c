"""The names of a specification, what each stands for, and functions of JAX made from formulas of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
from jax import lax

from .expression import RESERVED, parse
from .expression_value import evaluate
from .syntax_tree import ExpressionError, Node, Number, names
from .toml_places import Keys
from .toml_table import Table, suggestion

Bounds = tuple[Fraction, Fraction]
Vectors = Callable[..., jax.Array]


def boxes(table: Table, expected: Sequence[str]) -> list[Bounds]:
    """One interval for each of the expected names, and no other."""
    result = [table.interval(name) for name in expected]
    table.finish()
    return result


class Scope:
    """Every name of a specification, what it stands for, and functions made from formulas of them."""

    def __init__(self, system: Table) -> None:
        self.kinds: dict[str, str] = {}
        self.constants: dict[str, Fraction] = {}
        self.definitions: dict[str, Node] = {}
        self.bases: dict[str, frozenset[str]] = {}  # the names, other than definitions, that a definition rests on
        self.states = self._declare(system, "states", "state", 1)
        self.inputs = self._declare(system, "inputs", "input", 0) if system.given("inputs") else ()
        constants = system.optional_table("constants")
        constants.constants = system.constants = self.constants
        for name in constants.data:
            self._constant(constants, name)
        constants.finish()
        self.disturbances, self.disturbance_bounds = self._intervals(system, "disturbances", "disturbance")
        self.parameters, self.parameter_bounds = self._intervals(system, "parameters", "parameter")
        definitions = system.optional_table("definitions")
        for name in definitions.data:
            node = self.formula(definitions, name, definitions.text(name), ("state", "input", "disturbance", "parameter"))
            self.add(definitions, (name,), name, "definition")
            self._define(name, node)
        definitions.finish()

    def add(self, table: Table, keys: Keys, name: str, kind: str) -> None:
        """Declare a name; it must be new and may not be that of a function."""
        at_key = kind in ("constant", "definition", "disturbance", "parameter")
        if not name.isascii() or not name.isidentifier():
            raise table.error(keys, f"{name!r} is no name; letters, digits and _ are allowed, a letter or _ first", at_key)
        if name in RESERVED:
            raise table.error(keys, f"{name!r} is the name of a function or number; choose another", at_key)
        if name in self.kinds:
            raise table.error(keys, f"{name!r} is already the name of a {self.kinds[name]}; choose another", at_key)
        self.kinds[name] = kind

    def _declare(self, table: Table, key: str, kind: str, least: int) -> tuple[str, ...]:
        found = table.texts(key, least)
        for i, name in enumerate(found):
            self.add(table, (key, i), name, kind)
        return found

    def _intervals(self, system: Table, key: str, kind: str) -> tuple[tuple[str, ...], list[Bounds]]:
        table = system.optional_table(key)
        table.constants = self.constants
        for name in table.data:
            self.add(table, (name,), name, kind)
        return tuple(table.data), boxes(table, list(table.data))

    def _constant(self, table: Table, name: str) -> None:
        if not isinstance(table.data[name], str):
            value = table.number(name)
        else:
            node = self.formula(table, name, table.text(name), ())
            if not isinstance(node, Number):  # such as sqrt(2): known as a formula only
                self.add(table, (name,), name, "constant")
                self._define(name, node)
                return
            value = node.value
        self.add(table, (name,), name, "constant")
        self.constants[name] = value

    def _define(self, name: str, node: Node) -> None:
        self.definitions[name] = node
        self.bases[name] = self.rests_on(node)

    def rests_on(self, node: Node) -> frozenset[str]:
        """The names that an expression depends on, with definitions looked through."""
        return frozenset().union(*(self.bases.get(n.name, frozenset({n.name})) for n in names(node)))

    def formula(self, table: Table, keys: str | Keys, text: str, allowed: Sequence[str]) -> Node:
        """The syntax tree of an expression that may use names of some kinds, and constants."""
        try:
            node = parse(text, self.constants)
        except ExpressionError as error:
            raise table.error(keys, error.reason, offset=error.offset) from error
        self.check(table, keys, [node], allowed)
        return node

    def check(self, table: Table, keys: str | Keys, nodes: Sequence[Node], allowed: Sequence[str]) -> None:
        """Refuse names that are not declared, or stand for what may not be used here."""
        for name in (name for node in nodes for name in names(node)):
            if name.name not in self.kinds:
                known = [n for n, kind in self.kinds.items() if kind in (*allowed, "constant", "definition")]
                raise table.error(keys, f"the name {name.name!r} is not declared{suggestion(name.name, known)}", offset=name.offset)
            for base in sorted(self.bases.get(name.name, frozenset({name.name}))):
                if self.kinds[base] not in (*allowed, "constant"):
                    through = "" if base == name.name else f" (through {name.name!r})"
                    limit = f"{' and '.join(f'{kind}s' for kind in allowed)} and constants" if allowed else "constants"
                    reason = f"{base!r}{through} is one of the {self.kinds[base]}s; only {limit} may stand here"
                    raise table.error(keys, reason, offset=name.offset)

    def formulas(self, table: Table, expected: Sequence[str], allowed: Sequence[str], of: str) -> list[Node]:
        """One formula per name, in the order of the names."""
        for key in table.data:
            if key not in expected:
                raise table.error(key, f"{key!r} is no {of}{suggestion(key, list(expected))}", at_key=True)
        result = [self.formula(table, name, table.text(name), allowed) for name in expected]
        table.finish()
        return result

    def function(self, nodes: Sequence[Node], groups: Sequence[Sequence[str]]) -> Vectors:
        """A function of one vector per group of names that gives the values of the formulas as a vector."""
        needed = self._needed(nodes)
        used = {name.name for node in (*nodes, *(self.definitions[n] for n in needed)) for name in names(node)}

        def compute(*vectors: jax.Array) -> jax.Array:
            dtype = jnp.result_type(float, *vectors)
            scope: dict[str, jax.Array] = {}
            for group, vector in zip(groups, vectors, strict=True):
                array = jnp.asarray(vector, dtype)
                scope.update({name: lax.index_in_dim(array, i, keepdims=False) for i, name in enumerate(group) if name in used})
            for name in needed:
                scope[name] = evaluate(self.definitions[name], scope, dtype)
            values = [jnp.asarray(evaluate(node, scope, dtype), dtype) for node in nodes]
            return jnp.stack(values) if values else jnp.zeros((0,), dtype)

        return compute

    def _needed(self, nodes: Sequence[Node]) -> list[str]:
        """The definitions that formulas rest on, in the order in which they can be evaluated."""
        wanted: set[str] = set()
        stack = list(nodes)
        while stack:
            for name in names(stack.pop()):
                if name.name in self.definitions and name.name not in wanted:
                    wanted.add(name.name)
                    stack.append(self.definitions[name.name])
        return [name for name in self.definitions if name in wanted]
