"""Specifications: the example of the manual, every kind of mistake, outward rounding, places in the file."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.specification import Specification
from tubepilot.train.reachability.specification_file import load_specification, outward
from tubepilot.train.reachability.toml_places import parse_document

ROOT = Path(__file__).resolve().parents[3]
MANUAL = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"```toml\n(.*?)```", MANUAL, re.DOTALL)[0]


def load(folder: Path, text: str, **options: object) -> Specification:
    """A specification from its text."""
    path = folder / "cart.toml"
    path.write_text(text, encoding="utf-8")
    return load_specification(path, **options)  # type: ignore[arg-type]


def changed(old: str, new: str) -> str:
    """The example of the manual with one place changed."""
    assert EXAMPLE.count(old) == 1
    return EXAMPLE.replace(old, new)


# --- the example of the manual -----------------------------------------------------------------------------


def test_example_of_the_manual(tmp_path: Path) -> None:
    spec = load(tmp_path, EXAMPLE)
    assert (spec.name, spec.states, spec.inputs) == ("Cart", ("p", "v"), ("a",))
    assert (spec.disturbances, spec.parameters) == (("gust",), ("m_error",))
    assert (spec.discrete, spec.period_s, spec.steps, spec.missed) == (False, 0.1, 60, 0)
    assert spec.horizon_s == pytest.approx(6.0)
    assert spec.delay_s == (0.0, 0.02)
    x, u = jnp.asarray([1.0, -0.5]), jnp.asarray([0.7])
    found = spec.dynamics(x, u, jnp.asarray([0.04]), jnp.asarray([0.96]))
    np.testing.assert_allclose(np.asarray(found), [-0.5, 0.7 + 0.3 / 1.2 * 0.25 + 0.04 / 0.96], rtol=1e-14)
    np.testing.assert_allclose(np.asarray(spec.control(x)), [-1.5 + 0.6], rtol=1e-14)
    assert spec.network is None
    assert spec.network_input(x).shape == (0,)
    reach, avoid = spec.properties
    assert (reach.kind, avoid.kind) == ("reach", "avoid")
    assert reach.window_periods == (60, 60)
    assert reach.text == ("-0.2 <= p", "p <= 0.2", "abs(v) <= 0.2")
    np.testing.assert_allclose(np.asarray(reach.conditions(x)), [-1.2, 0.8, 0.3], rtol=1e-14)
    np.testing.assert_allclose(np.asarray(avoid.conditions(x)), [1.5], rtol=1e-14)
    assert (spec.hints.order, spec.hints.substeps, spec.hints.splits) == (4, 2, (1, 1))
    assert (spec.hints.degree, spec.hints.generators) == (2, 200)


def test_message_of_the_manual(tmp_path: Path) -> None:
    shown = re.findall(r"```text\n(.*?)```", MANUAL, re.DOTALL)[0]
    with pytest.raises(InputError) as caught:
        load(tmp_path, changed('"a - drag_force + gust/m_error"', '"a - drag*v*abs(drag_forc)"'))
    assert str(caught.value).removeprefix(f"{tmp_path}/") + "\n" == shown


def test_functions_are_elementary_and_batched(tmp_path: Path) -> None:
    spec = load(tmp_path, EXAMPLE)
    jaxpr = jax.make_jaxpr(spec.dynamics)(jnp.ones(2), jnp.ones(1), jnp.ones(1), jnp.ones(1))
    found = {equation.primitive.name for equation in jaxpr.eqns}
    assert found <= {"slice", "squeeze", "add", "sub", "mul", "div", "abs", "stack", "concatenate", "broadcast_in_dim", "reshape"}
    assert all(v.aval.dtype == jnp.float64 for equation in jaxpr.eqns for v in equation.outvars)
    assert jax.vmap(spec.control)(jnp.ones((5, 2))).shape == (5, 1)


def test_discrete_system_without_inputs(tmp_path: Path) -> None:
    text = """
        name = "Shift"
        source = "test"
        system.kind = "discrete"
        system.states = ["a", "b"]
        system.constants = { root = "sqrt(2)", half = 0.5 }
        system.equations = { a = "b", b = "half*a + root" }
        control = { period_s = 1, steps = 3 }
        initial = { a = [0, 1], b = ["-half", "half"] }
        property = [{ kind = "avoid", window_s = [1, 3], conditions = ["a >= 9"] }]
    """
    spec = load(tmp_path, text)
    assert (spec.discrete, spec.inputs, spec.delay_s) == (True, (), (0.0, 0.0))
    empty = jnp.zeros(0)
    np.testing.assert_allclose(np.asarray(spec.dynamics(jnp.asarray([1.0, 2.0]), empty, empty, empty)), [2, 0.5 + 2**0.5], rtol=1e-15)
    np.testing.assert_array_equal(spec.initial_box, [[0, 1], [-0.5, 0.5]])
    assert (spec.disturbance_box.shape, spec.parameter_box.shape) == ((0, 2), (0, 2))
    with pytest.raises(InputError, match="no instant of the discrete system"):
        load(tmp_path, text.replace("[1, 3]", "[1.25, 1.75]"))
    with pytest.raises(InputError, match=r"no controller, but the network net\.onnx"):
        load(tmp_path, text, network_file="net.onnx")


# --- exactness ---------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.decimals(min_value=-(10**9), max_value=10**9, places=12), min_size=2, max_size=2))
def test_decimals_are_rounded_outward_and_no_further(ends: list[Decimal]) -> None:
    lo, hi = sorted(Fraction(end) for end in ends)
    ((low, high),) = outward([(lo, hi)])
    assert Fraction(low) <= lo <= Fraction(np.nextafter(low, np.inf))
    assert Fraction(np.nextafter(high, -np.inf)) <= hi <= Fraction(high)
    assert (low == lo) == (Fraction(float(lo)) == lo)


@pytest.mark.parametrize("scale", [1.0, 0.3, 0.1, 1e-9, 0.0])
def test_boxes_are_rounded_outward_and_scaled(tmp_path: Path, scale: float) -> None:
    spec = load(tmp_path, changed("p = [0.9, 1.1]", "p = [0.1, 0.7]"), scale=scale)
    lo, hi = (Fraction(v) for v in spec.initial_box[0].tolist())
    radius = Fraction(3, 10) * Fraction(str(scale))
    assert lo <= Fraction(4, 10) - radius
    assert hi >= Fraction(4, 10) + radius
    assert hi - lo - 2 * radius < Fraction(1, 2**51)
    assert Fraction(spec.disturbance_box[0, 0]) <= Fraction(-5, 100)
    assert Fraction(spec.disturbance_box[0, 1]) >= Fraction(5, 100)


def test_windows_are_known_exactly(tmp_path: Path) -> None:
    """0.7 / 0.1 is not 7 in float64."""
    spec = load(tmp_path, changed("window_s = [0.0, 6.0]", "window_s = [0.7, 2.05]"))
    assert spec.properties[1].window_periods == (7, Fraction(41, 2))


@pytest.mark.parametrize("scale", [-0.1, 1.5, float("nan")])
def test_scale_limits(tmp_path: Path, scale: float) -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        load(tmp_path, EXAMPLE, scale=scale)


# --- mistakes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "pointed", "message"),
    [
        ('name = "Cart"', 'name = ""', '""', "not empty"),
        ('name = "Cart"', "", None, "'name' is missing in the document"),
        ('name = "Cart"', 'name = "Cart"\nnmae = 1', "nmae", "'nmae' is not known here; did you mean 'name'"),
        ('kind = "continuous"', 'kind = "hybrid"', '"hybrid"', "one of continuous, discrete"),
        ("steps = 60 ", "step = 60 ", "[control]", "'steps' is missing in control"),
        ("missed = 0 ", "mised = 0 ", "mised", "did you mean 'missed'"),
        ("missed = 0 ", "missed = 60 ", "60 ", "from 0 to 59"),
        ("steps = 60 ", "steps = true ", "true", "an integer from 1"),
        ("steps = 60 ", "steps = 0 ", "0 ", "an integer from 1"),
        ("period_s = 0.1", "period_s = 0.0", "0.0", "must be positive"),
        ("period_s = 0.1", "period_s = 1e-400", "1e-400", "1e-280"),
        ("period_s = 0.1", "period_s = nan", "nan", "outside"),
        ("period_s = 0.1", "period_s = '1/(1-1)'", "(1-1)", "division by zero"),
        ("period_s = 0.1", "period_s = 'sqrt(2)'", "'sqrt(2)'", "no rational number"),
        ("delay_s = [0.0, 0.02]", "delay_s = [0.0, 0.2]", "[0.0, 0.2]", "one control period"),
        ("delay_s = [0.0, 0.02]", "delay_s = 0.02", "0.02", "an interval"),
        ("p = [0.9, 1.1]", "p = [1.1, 0.9]", "[1.1", "swap"),
        ("p = [0.9, 1.1]", "p = [0.9]", "[0.9]", r"an interval \[lo, hi\] is expected, found \[0.9\]"),
        ("p = [0.9, 1.1]", "p = [0.9, false]", "false", "a number is expected, found False"),
        ("p = [0.9, 1.1]", "q = [0.9, 1.1]", "[initial]", "'p' is missing in initial"),
        ("p = [0.9, 1.1]", "p = [0.9, 1.1]\nq = [0, 1]", "q = [0", "'q' is not known here"),
        ("gust = [-0.05, 0.05]", "gust = [0.05, -0.05]", "[0.05", "swap"),
        ('states = ["p", "v"] ', 'states = ["p", "p"] ', '"p"] ', "'p' is already the name of a state"),
        ('states = ["p", "v"] ', 'states = ["p", "sin"] ', '"sin"', "the name of a function"),
        ('states = ["p", "v"] ', 'states = ["p", "v w"] ', '"v w"', "is no name"),
        ('states = ["p", "v"] ', "states = [] ", "[]", "at least 1 strings"),
        ('states = ["p", "v"] ', 'states = ["p", 1] ', "1] ", "a string is expected"),
        ("mass = 1.2", "p = 1.2", "p = 1.2", "'p' is already the name of a state"),
        ('drag = "0.3/mass"', 'drag = "0.3/p"', 'p"', "'p' is one of the states; only constants may stand"),
        ('drag_force = "drag*v*abs(v)"', 'drag_force = "drag*v*abs(v"', '"\n\n[system.equations]', "an operator or '\\)' expected"),
        ('drag_force = "drag*v*abs(v)"', 'drag_force = "drag_force"', 'drag_force"', "'drag_force' is not declared"),
        ('drag_force = "drag*v*abs(v)"', 'drag_force = """\n  drag*v\n  *abs w"""', 'w"""', "behind the function abs"),
        ('p = "v"', 'p = "w"', 'w"', "the name 'w' is not declared"),
        ('p = "v"', 'q = "v"', 'q = "v"', "'q' is no state"),
        ('p = "v"', "p = 1", "1\n", "a string that is not empty"),
        ('p = "v"', 'p = "v + a.b"', '.b"', "unexpected character"),
        ('p = "v"', 'p = "eval(v)"', "eval", "is no function"),
        ('a = "-1.5*p - 1.2*v"', 'a = "-1.5*p - gust"', 'gust"', "only outputs and states and constants"),
        ('a = "-1.5*p - 1.2*v"', 'a = "-1.5*p - y"', 'y"', "'y' is not declared"),
        ("# network = ", "network = ", '"Cart/controller.onnx"', "--networks"),
        ('kind = "avoid"', 'kind = "shun"', '"shun"', "one of reach, avoid, stay"),
        ("window_s = [0.0, 6.0]", "window_s = [0.0, 6.1]", "[0.0, 6.1]", r"not within the horizon \[0, 6.0\]"),
        ("window_s = [0.0, 6.0]", "window_s = [-1, 6.0]", "[-1", "not within the horizon"),
        ("window_s = [0.0, 6.0]", "window_s = [5.0, 4.0]", "[5.0", "swap"),
        ('["p <= -0.5"]', '["p < -0.5"]', "< -0.5", "regions are closed"),
        ('["p <= -0.5"]', '["a <= -0.5"]', "a <= -0.5", "'a' is one of the inputs"),
        ('["p <= -0.5"]', '["p + mass - p <= 5", "1 <= 2"]', '"1 <= 2"', "does not depend on a state"),
        ('["p <= -0.5"]', "[]", "[]", "at least 1"),
        ("splits = [1, 1]", "splits = [1]", "[1]", "each of the 2 states"),
        ("splits = [1, 1]", "splits = [1, 0]", "0]", "from 1"),
        ("order = 4", "order = 0", "0", "from 1 to 40"),
        ("order = 4", "odrer = 4", "odrer", "did you mean 'order'"),
        ("[control]", "[control", "[control", "no TOML"),
        ("[control]", "[controls]", None, "'control' is missing"),
    ],
)
def test_mistakes_point_at_their_place(tmp_path: Path, old: str, new: str, pointed: str | None, message: str) -> None:
    text = changed(old, new)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, text)
    match = re.match(r"(.*cart\.toml), line (\d+), column (\d+): .*\n  (.*)\n  ( *)\^$", str(caught.value), re.DOTALL)
    assert match, caught.value
    line, column = int(match[2]), int(match[3])
    assert match[4] == text.split("\n")[line - 1]
    assert len(match[5]) == column - 1
    if pointed is not None and "no TOML" not in message:
        rest = "\n".join([text.split("\n")[line - 1][column - 1 :], *text.split("\n")[line:]])
        assert rest.startswith(pointed)


@pytest.mark.parametrize(
    ("conditions", "vacuous"),
    [
        (["p >= 1", "p <= 0"], True),
        (["x4 >= -0.4", "x4 <= -0.6"], True),  # the slip of a public AttitudeControl configuration
        (["p <= 0.1", "p >= 0.1"], False),  # one point
        (["p <= 0.1", "p >= 0.10000000000000000001"], True),
        (["p + v <= 0", "2*p >= 1 - 2*v"], True),
        (["p + v <= 0", "p - v <= 0", "p >= 0.001"], True),
        (["p + v <= 0", "p - v <= 0", "p >= 0"], False),
        (["p^2 + v^2 <= -1"], True),
        (["p*v <= -1"], False),
        (["sin(p) >= 1.001"], True),
        (["sin(p)*v >= 1.001"], False),
        (["abs(p) <= 0.1", "p >= 0.2"], True),
        (["abs(p) <= 0.1", "p <= -0.2"], True),
        (["sqrt(p) + 1 <= v", "v <= 0.9"], True),
        (["sqrt(p) <= 1", "p <= -0.1"], True),
        (["drag_speed >= 1", "v <= 3"], True),
        (["drag_speed <= 1", "v <= 3"], False),
        (["exp(p)/2 <= 0.1", "3 <= 4*exp(p)"], True),
        (["p/v <= 1", "p/v >= 2"], True),
    ],
)
def test_contradictory_conditions_are_refused(tmp_path: Path, conditions: list[str], vacuous: bool) -> None:
    text = changed('["p <= -0.5"]', str(conditions).replace("'", '"').replace("x4", "p"))
    text = text.replace('drag_force = "drag*v*abs(v)"', 'drag_force = "drag*v*abs(v)"\ndrag_speed = "(v - 1)/mass/2"')
    if vacuous:
        with pytest.raises(InputError, match="no state satisfies all of these conditions"):
            load(tmp_path, text)
    else:
        assert len(load(tmp_path, text).properties[1].text) == len(conditions)


def test_definitions_with_inputs_may_not_reach_a_condition(tmp_path: Path) -> None:
    defined = 'drag_force = "drag*v*abs(v)"'
    text = changed(defined, f'{defined}\npush = "a - drag_force"').replace("p <= -0.5", "push <= 0")
    with pytest.raises(InputError, match=r"'a' \(through 'push'\) is one of the inputs"):
        load(tmp_path, text)


def test_inputs_need_a_controller(tmp_path: Path) -> None:
    start, stop = EXAMPLE.index("[controller]"), EXAMPLE.index("[control]")
    with pytest.raises(InputError, match=r"need a table \[controller\]"):
        load(tmp_path, EXAMPLE[:start] + EXAMPLE[stop:])
    with pytest.raises(InputError, match="this controller has no network"):
        load(tmp_path, EXAMPLE, network_file="net.onnx")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_specification(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(InputError, match="byte 8 is not UTF-8"):
        load_specification(tmp_path / "binary.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (5 << 20))
    with pytest.raises(InputError, match="larger than"):
        load_specification(tmp_path / "large.toml")


# --- networks ----------------------------------------------------------------------------------------------

NET = "2\n1\n1\n1\nReLU\nAffine\n1\n1\n0\n2\n0\n0\n1\n"


@pytest.fixture
def with_network(tmp_path: Path) -> tuple[str, Path]:
    """The example of the manual with its network, relu(p + v/2) * 2."""
    (tmp_path / "nets" / "Cart").mkdir(parents=True)
    (tmp_path / "nets" / "Cart" / "controller.onnx").write_text(NET)
    text = re.sub("^# ", "", EXAMPLE, flags=re.MULTILINE)
    return text.replace('a = "-1.5*p - 1.2*v"', 'a = "y - 10"'), tmp_path / "nets"


def test_network_of_a_specification(with_network: tuple[str, Path], tmp_path: Path) -> None:
    text, networks = with_network
    spec = load(tmp_path, text, networks=networks)
    assert spec.network is not None
    assert float(spec.control(jnp.asarray([3.0, 2.0]))[0]) == 2 * 4 - 10
    (tmp_path / "other.txt").write_text(NET.replace("1\n1\n0\n", "1\n1\n5\n", 1))
    other = load(tmp_path, text, network_file=tmp_path / "other.txt")
    assert float(other.control(jnp.asarray([3.0, 2.0]))[0]) == 2 * 9 - 10


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Cart/controller.onnx", "Cart/none.onnx", "cannot be read"),
        ("Cart/controller.onnx", "../controller.onnx", "below the folder"),
        ("Cart/controller.onnx", "/etc/passwd", "below the folder"),
        ('outputs = ["y"]', 'outputs = ["y", "z"]', "2 outputs are given, but the network has 1"),
        ('outputs = ["y"]', 'outputs = ["p"]', "already the name of a state"),
        ('inputs = ["p", "v/2"]', 'inputs = ["p"]', "1 inputs are given, but the network has 2"),
        ('inputs = ["p", "v/2"]', 'inputs = ["p", "a"]', "'a' is one of the inputs"),
        ('outputs = ["y"]', 'outputs = ["y"]\nactivations = ["tanh", "tanh"]', "do not give others"),
    ],
)
def test_network_mistakes(with_network: tuple[str, Path], tmp_path: Path, old: str, new: str, message: str) -> None:
    text, networks = with_network
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, text.replace(old, new), networks=networks)
    assert "cart.toml, line " in str(caught.value)


# --- places in TOML ----------------------------------------------------------------------------------------


def test_places_of_every_kind_of_value() -> None:
    text = (
        "top = 1 # [no]\n'quoted key' = \"a # b\"\na.b . c = 1979-05-27T07:32:00Z\n[t.u]\nx = [1, [2, 3], # , ]\n 'c]', ]\n"
        "y = { p = 1, q.r = [ 'z' ] }\n[[m]]\nv = '''\nmulti'''\n[[m]]\nv = \"\"\"x\"y\\\"\"\"\"\n[m.n]\nk = \"\"\n[[m.o]]\nw = true\n"
    )
    document = parse_document(text, "d")
    starts = {
        ("top",): "1 #",
        ("quoted key",): '"a',
        ("a", "b", "c"): "1979",
        ("t", "u"): "[t.u]",
        ("t", "u", "x"): "[1,",
        ("t", "u", "x", 1, 1): "3]",
        ("t", "u", "x", 2): "'c]'",
        ("t", "u", "y", "q", "r", 0): "'z'",
        ("m", 0, "v"): "'''\nm",
        ("m", 1, "v"): '"""x',
        ("m", 1, "n", "k"): '""\n',
        ("m", 1, "o", 0, "w"): "true",
    }
    for keys, start in starts.items():
        assert text[document.places[keys].value :].startswith(start), keys
    assert text[document.places["m", 0, "v"].content or 0 :].startswith("multi")
    assert document.places["m", 1, "v"].content is None  # it holds an escape


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", "[a\n", "a = 'x", "x", "a = [" * 5000, "a = {b = 1, b = 2}"])
def test_no_toml(text: str) -> None:
    with pytest.raises(InputError, match=r"d.*no TOML"):
        parse_document(text, "d")
