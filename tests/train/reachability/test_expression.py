"""Expressions: against exact fractions and Python's own arithmetic; where errors point; what never passes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tubepilot.train.reachability.expression import RESERVED, parse, parse_condition
from tubepilot.train.reachability.expression_value import FUNCTIONS, evaluate
from tubepilot.train.reachability.syntax_tree import ExpressionError, Name, Number, names

ELEMENTARY = {
    *("add", "sub", "mul", "div", "neg", "integer_pow", "sin", "cos", "tan", "exp", "log", "sqrt", "tanh", "logistic", "atan", "abs"),
}
VARIABLES = {"x": Fraction(3, 4), "y": Fraction(-5, 2), "z_1": Fraction(1, 8)}
DECIMALS = ["0", "1", "2", "0.1", "2.50", ".5", "7.", "1e-3", "1.5E+2", "0.3e1"]


# A random expression: a leaf (text), ("-", tree), (operator, tree, tree), ("^", tree, integer) or (function, tree).
Tree = str | tuple[Any, ...]
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
PYTHON = {**{name: getattr(math, name) for name in FUNCTIONS if name not in ("abs", "sigmoid")}, "abs": abs}
PYTHON["sigmoid"] = lambda v: 1 / (1 + math.exp(-v))


def trees(operators: str, exponents: st.SearchStrategy[int], functions: tuple[str, ...] = ()) -> st.SearchStrategy[Tree]:
    """Random expressions of some operators, powers and functions."""
    leaves = st.sampled_from([*DECIMALS, *VARIABLES])

    def extend(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        made = st.tuples(st.sampled_from(operators), inner, inner) | st.tuples(st.just("-"), inner)
        made |= st.tuples(st.just("^"), inner, exponents)
        return made | st.tuples(st.sampled_from(functions), inner) if functions else made

    return st.recursive(leaves, extend, max_leaves=8)


def written(tree: Tree) -> str:
    """The expression as text."""
    if isinstance(tree, str):
        return tree
    if tree[0] == "^":
        return f"({written(tree[1])})^{tree[2]}"
    if len(tree) == 3:
        return f"({written(tree[1])} {tree[0]} {written(tree[2])})"
    return f"{tree[0]}({written(tree[1])})"


def computed(tree: Tree, number: Callable[[Fraction], Any], absolute: bool = False) -> Any:
    """Its value by Python's operators; with `absolute`, of the expression whose every term is taken by its absolute value."""
    if isinstance(tree, str):
        value = number(VARIABLES[tree] if tree in VARIABLES else Fraction(tree))
        return abs(value) if absolute else value
    if tree[0] == "^":
        return computed(tree[1], number, absolute) ** tree[2]
    parts = [computed(part, number, absolute) for part in tree[1:]]
    if len(parts) == 2:
        return OPERATORS["+" if absolute and tree[0] == "-" else tree[0]](*parts)
    return PYTHON[tree[0]](*parts) if tree[0] in PYTHON else parts[0] if absolute else -parts[0]


@settings(max_examples=200, deadline=None)
@given(trees("+-*/", st.integers(-3, 3)))
def test_exact_arithmetic_against_fractions(tree: Tree) -> None:
    found, problem = attempt(written(tree))
    assume("digits" not in problem and "float64" not in problem)
    try:
        expected = computed(tree, lambda value: value)
    except ZeroDivisionError:
        assert problem == "division by zero"
        return
    assert (found, problem) == (Number(expected), "")


def attempt(text: str) -> tuple[Number | None, str]:
    """The exact number, or what is wrong."""
    try:
        node = parse(text, VARIABLES)
    except ExpressionError as error:
        return None, error.reason
    return (node, "") if isinstance(node, Number) else (None, "no number")


@settings(max_examples=150, deadline=None)
@given(trees("+-*", st.integers(0, 3)))
def test_evaluation_of_polynomials_against_fractions(tree: Tree) -> None:
    """Within 100 roundings of the sum of the absolute values of all terms (Higham 2002, section 3.1)."""
    bound = computed(tree, lambda value: value, absolute=True)
    assume(bound < 10**200)
    found = evaluate(parse(written(tree)), {name: np.float64(float(value)) for name, value in VARIABLES.items()})
    assert abs(Fraction(float(found)) - computed(tree, lambda value: value)) <= 100 * bound / 2**53


@settings(max_examples=100, deadline=None)
@given(trees("+*", st.integers(0, 2), tuple(name for name in FUNCTIONS if name != "tan")))
def test_functions_against_python(tree: Tree) -> None:
    try:
        expected = computed(tree, float)
    except (ValueError, OverflowError):
        assume(False)
    assume(abs(expected) < 1e3)
    try:
        node = parse(written(tree))
    except ExpressionError as error:  # a power of numbers may be out of range
        assume("float64" not in error.reason)
        raise
    found = float(evaluate(node, {name: np.float64(float(value)) for name, value in VARIABLES.items()}))
    assume(well_conditioned(tree))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def well_conditioned(tree: Tree) -> bool:
    """Whether the value moves little when every variable and number is moved by a relative 1e-12."""
    try:
        values = [computed(tree, lambda value, moved=moved: float(value) * moved) for moved in (1 - 1e-12, 1.0, 1 + 1e-12)]
    except (ValueError, OverflowError):
        return False
    return max(values) - min(values) < 1e-10 * max(1.0, abs(values[1]))


def test_only_elementary_primitives_also_for_constants() -> None:
    node = parse("2*sin(x)/y^3 - sqrt(2)*x^-2 + tan(x)*sigmoid(y) - atan(x) + abs(log(exp(tanh(cos(x))))) + pi/2 - (-x)**2")
    with jax.enable_x64(True):
        jaxpr = jax.make_jaxpr(lambda x, y: evaluate(node, {"x": x, "y": y}))(1.0, 2.0)
    assert {equation.primitive.name for equation in jaxpr.eqns} <= ELEMENTARY
    assert "sqrt" in {equation.primitive.name for equation in jaxpr.eqns}  # the root of 2 is left to the analysis


def test_constants_are_combined_exactly() -> None:
    """0.1 + 0.2 is 0.3, and 3 * 0.1 * x has one constant, the float64 next to 0.3."""
    assert parse("0.1 + 0.2") == parse("0.3")
    assert parse("3*0.1*x") == parse("0.3*x") == parse("x*0.3") == parse("x/(10/3)")
    assert parse("0.1*n*x", {"n": Fraction(2)}) == parse("0.2*x")
    assert float(evaluate(parse("x/3*3"), {"x": np.float64(0.1)})) == 0.1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-x^2", -4.0),
        ("(-x)^2", 4.0),
        ("2^-1*x", 1.0),
        ("x^(-2)", 0.25),
        ("x**0", 1.0),
        ("x^1", 2.0),
        ("8/x/2", 2.0),
        ("8/(x/2)", 8.0),
        ("8 - x - 1", 5.0),
        ("8 - (x - 1)", 7.0),
        ("--x", 2.0),
        ("2*-x", -4.0),
        ("+x", 2.0),
        ("1e2", 100.0),
        ("\t2 *\n x\r\n", 4.0),
        ("0*x", 0.0),
        ("x - x", 0.0),
        ("pi", math.pi),
    ],
)
def test_precedence(text: str, value: float) -> None:
    assert float(evaluate(parse(text), {"x": np.float64(2)})) == value


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("", 1, 1, "found the end"),
        ("x +", 1, 4, "found the end"),
        ("x\n  + * y", 2, 5, r"found '\*'"),
        ("(x", 1, 3, r"'\)' expected"),
        ("x)", 1, 2, "the end expected"),
        ("2 x", 1, 3, "an operator"),
        ("x y", 1, 3, "an operator"),
        ("sin x", 1, 5, "behind the function sin"),
        ("sin", 1, 4, "behind the function sin"),
        ("sin()", 1, 5, "a number, a name"),
        ("sin(x, y)", 1, 6, "unexpected character ','"),
        ("f(x)", 1, 1, "'f' is no function"),
        ("pi(2)", 1, 1, "'pi' is no function"),
        ("x^y", 1, 3, "an integer number"),
        ("x^0.5", 1, 3, "not an integer"),
        ("x^65", 1, 3, "at most 64"),
        ("x^(2", 1, 5, "behind the power"),
        ("x^2^3", 1, 4, "parentheses around"),
        ("3/0", 1, 3, "division by zero"),
        ("x/(2 - 2)", 1, 3, "division by zero"),
        ("0^-1", 1, 3, "division by zero"),
        ("1e301", 1, 1, "float64"),
        ("x + 1e-300*1e-10", 1, 1, "1e-280"),
        ("1e999999999", 1, 1, "float64"),
        ("((9^64)^64)^64", 1, 9, "float64"),
        ("x + 9007199254740992.5", 1, 1, "more digits"),
        ("x == y", 1, 3, "found '='"),
        ("x < y", 1, 3, "found '<'"),
        ("x.y", 1, 2, "unexpected character '.'"),
        ("x[0]", 1, 2, r"unexpected character '\['"),
        ("x; y", 1, 2, "unexpected character ';'"),
        ("'x'", 1, 1, "unexpected character"),
        ("x # y", 1, 3, "unexpected character '#'"),
        ("ä", 1, 1, "unexpected character 'ä'"),
        ("٣", 1, 1, "unexpected character"),
        ("(" * 100 + "x" + ")" * 100, 1, 61, "nesting"),
        ("-" * 100 + "x", 1, 61, "nesting"),
    ],
)
def test_errors_say_where(text: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        parse(text)
    assert str(caught.value).startswith(f"line {line}, column {column}: ")


def test_errors_show_the_line_with_a_caret() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("x +\n\t y *)")
    assert str(caught.value).split("\n")[1:] == ["  \t y *)", "  \t    ^"]


def test_length_is_limited() -> None:
    assert isinstance(parse("+".join(["x"] * 5000)), object)
    with pytest.raises(ExpressionError, match="characters"):
        parse("x+" * 30_000 + "x")
    with pytest.raises(ExpressionError, match=r"too many digits|float64"):
        parse("*".join(["(9^64)"] * 60))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="xy019. +-*/^()<>=,'_[]{}\"\n#:;@\\sincop", max_size=30))
@example("__import__('os').system('true')")
@example("().__class__.__bases__[0]")
@example("lambda: 0")
@example("[x for x in y]")
@example("x if y else 1")
@example("print(1)")
@example("exec('1')")
def test_any_text_is_an_expression_or_an_error_with_a_place(text: str) -> None:
    """What passes holds nothing but numbers, declared kinds of nodes and plain names."""
    for read in (lambda t: [parse(t)], lambda t: [node for node, _ in parse_condition(t)]):
        nodes, problem = [], None
        try:
            nodes = read(text)
        except ExpressionError as error:
            problem = error
        assert problem is None or (str(problem).startswith("line ") and 0 <= problem.offset <= len(text))
        for node in nodes:
            for name in names(node):
                assert isinstance(name, Name)
                assert name.name.isidentifier()
                assert name.name not in RESERVED
                assert text[name.offset :].startswith(name.name)


@pytest.mark.parametrize("word", ["lambda", "import", "None", "True", "__class__", "eval"])
def test_words_of_python_are_mere_names(word: str) -> None:
    assert parse(word) == Name(word)
    with pytest.raises(ExpressionError):
        parse(f"{word}(1)")


# --- conditions --------------------------------------------------------------------------------------------


def test_conditions() -> None:
    ((node, text),) = parse_condition("x  >= 1")
    assert text == "x >= 1"
    assert float(evaluate(node, {"x": np.float64(3)})) == -2.0
    lower, upper = parse_condition("-1 <= x <= 1 + y")
    assert (lower[1], upper[1]) == ("-1 <= x", "x <= 1 + y")
    values = {"x": np.float64(0.25), "y": np.float64(1)}
    assert [float(evaluate(node, values)) for node, _ in (lower, upper)] == [-1.25, -1.75]
    assert [text for _, text in parse_condition("2 >= x >= y")] == ["2 >= x", "x >= y"]


@pytest.mark.parametrize(
    ("text", "column"),
    [("x", 2), ("x < 1", 3), ("x <= 1 < y", 8), ("x = 1", 3), ("x <= 1 <= y <= 2", 13), ("<= 1", 1), ("x <=", 5), ("x <= )", 6)],
)
def test_condition_errors(text: str, column: int) -> None:
    with pytest.raises(ExpressionError, match=f"column {column}:"):
        parse_condition(text)


def test_differentiable_and_batched() -> None:
    node = parse("x^3*y - sqrt(x)")
    value = jax.vmap(jax.grad(lambda x: evaluate(node, {"x": x, "y": jnp.asarray(2.0)})))(jnp.asarray([1.0, 4.0]))
    np.testing.assert_allclose(np.asarray(value), [6 - 0.5, 96 - 0.25], rtol=1e-14)
