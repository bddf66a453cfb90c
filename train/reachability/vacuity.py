"""Whether conditions contradict each other, so that no state can satisfy them all.

Every condition is taken as a linear form in its nonlinear parts, which count as free unknowns but for what is known of their range
(a square is not negative, a sine lies in [-1, 1], |e| is at least e and -e). If even that relaxation has no solution, the region
is empty. The check finds mistakes in specifications; a region that passes may still be empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from .syntax_tree import Call, Name, Node, Number, Power, Product, Sum

_Form = tuple[Fraction, dict[Node, Fraction]]
_RANGES: dict[str, tuple[float | None, float | None]] = {
    "sqrt": (0.0, None),
    "exp": (0.0, None),
    "abs": (0.0, None),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "sin": (-1.0, 1.0),
    "cos": (-1.0, 1.0),
    "atan": (-1.571, 1.571),
}
_TOLERANCE = 1e-9  # of the linear program, relative to the greatest coefficient of a condition


def empty_region(conditions: Sequence[Node], definitions: Mapping[str, Node]) -> bool:
    """Whether {x : every condition <= 0} is proven empty.

    Args:
        conditions: Expressions.
        definitions: Names that stand for expressions.
    """
    reader = _Reader(definitions)
    forms = [reader.form(condition) for condition in conditions]
    return _opposite_bounds(forms) or _infeasible(forms, reader)


class _Reader:
    """Linear forms of expressions, and what is known of the unknowns in them."""

    def __init__(self, definitions: Mapping[str, Node]) -> None:
        self.definitions = definitions
        self.known: dict[str, _Form] = {}
        self.unknowns: dict[Node, int] = {}
        self.facts: list[_Form] = []  # forms that are <= 0

    def form(self, node: Node) -> _Form:
        """constant + sum of coefficient * unknown."""
        if isinstance(node, Number):
            return node.value, {}
        if isinstance(node, Sum):
            return _combined(node.constant, [(coefficient, self.form(term)) for coefficient, term in node.terms])
        if isinstance(node, Name) and node.name in self.definitions:
            if node.name not in self.known:
                self.known[node.name] = self.form(self.definitions[node.name])
            return self.known[node.name]
        if isinstance(node, Product) and (form := self._product(node)) is not None:
            return form
        if node not in self.unknowns:
            self.unknowns[node] = len(self.unknowns)
            self._learn(node)
        return Fraction(0), {node: Fraction(1)}

    def _product(self, node: Product) -> _Form | None:
        above, below = [self.form(n) for n in node.numerators], [self.form(n) for n in node.denominators]
        if any(form[1] or not form[0] for form in below) or sum(bool(form[1]) for form in above) > 1:
            return None
        factor = Fraction(1)
        for form in (*above, *((1 / form[0], {}) for form in below)):
            factor *= Fraction(1) if form[1] else form[0]
        return _combined(Fraction(0), [(factor, next((form for form in above if form[1]), (Fraction(1), {})))])

    def _learn(self, node: Node) -> None:
        if isinstance(node, Call) and node.function in ("abs", "sqrt", "log"):
            argument, itself = self.form(node.argument), (Fraction(0), {node: Fraction(1)})
            if node.function == "abs":
                self.facts += [_combined(Fraction(0), [(Fraction(sign), argument), (Fraction(-1), itself)]) for sign in (1, -1)]
            else:
                self.facts.append(_combined(Fraction(0), [(Fraction(-1), argument)]))

    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Range of each unknown."""
        result: list[tuple[float | None, float | None]] = []
        for node in self.unknowns:
            if isinstance(node, Power) and node.exponent % 2 == 0:
                result.append((0.0, None))
            else:
                result.append(_RANGES.get(node.function, (None, None)) if isinstance(node, Call) else (None, None))
        return result


def _combined(constant: Fraction, parts: Sequence[tuple[Fraction, _Form]]) -> _Form:
    terms: dict[Node, Fraction] = {}
    for factor, (offset, inner) in parts:
        constant += factor * offset
        for node, coefficient in inner.items():
            terms[node] = terms.get(node, Fraction(0)) + factor * coefficient
    return constant, {node: coefficient for node, coefficient in terms.items() if coefficient}


def _opposite_bounds(forms: Sequence[_Form]) -> bool:
    """Exactly: whether two conditions bound one expression from above and from below with nothing between."""
    least: dict[frozenset[tuple[Node, Fraction]], Fraction] = {}
    greatest: dict[frozenset[tuple[Node, Fraction]], Fraction] = {}
    for constant, terms in forms:
        if not terms:
            if constant > 0:
                return True
            continue
        lead = terms[min(terms, key=repr)]
        direction = frozenset((node, coefficient / lead) for node, coefficient in terms.items())
        bound = -constant / lead
        if lead > 0:
            greatest[direction] = min(bound, greatest.get(direction, bound))
        else:
            least[direction] = max(bound, least.get(direction, bound))
    return any(direction in greatest and bound > greatest[direction] for direction, bound in least.items())


def _infeasible(forms: Sequence[_Form], reader: _Reader) -> bool:
    """By a linear program: the least t such that every condition is <= t, in units of its greatest coefficient."""
    from scipy.optimize import linprog

    count = len(reader.unknowns)
    rows, limits = [], []
    for slack, (constant, terms) in [*((-1.0, form) for form in forms), *((0.0, fact) for fact in reader.facts)]:
        if not terms:
            continue
        scale = max(abs(coefficient) for coefficient in terms.values())
        row = np.zeros(count + 1)
        for node, coefficient in terms.items():
            row[reader.unknowns[node]] = float(coefficient / scale)
        row[count] = slack
        rows.append(row)
        limits.append(float(-constant / scale))
    if not rows:
        return False
    goal = np.append(np.zeros(count), 1.0)
    result = linprog(goal, A_ub=np.array(rows), b_ub=np.array(limits), bounds=[*reader.bounds(), (-1.0, None)])
    return bool(result.status == 2 or (result.status == 0 and result.fun > _TOLERANCE * (1.0 + max(abs(b) for b in limits))))
