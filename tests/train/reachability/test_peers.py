"""The comparison with a peer, as far as it runs without one: options, the problem that is handed over, the table."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

from tubepilot.firmware_bridge.errors import InputError
from tubepilot.train.reachability.network import Layer, checked_network
from tubepilot.train.reachability.specification import Specification

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports a module of the folder of the peers."""
    monkeypatch.syspath_prepend(str(PEERS))
    return importlib.import_module


def oscillator(scale: float = 3.0, **changes: object) -> Specification:
    """A driven oscillator under a small network with the law u = scale y - 0.5."""
    network = checked_network([Layer(np.array([[1.0, -2.0]]), np.array([0.1]), "tanh")])
    given: dict[str, object] = {
        "name": "Oscillator", "source": "here", "states": ("a", "b"), "inputs": ("u",), "disturbances": (), "parameters": (),
        "dynamics": lambda x, u, w, p: jnp.array([x[1], -jnp.sin(x[0]) + u[0]]), "discrete": False,
        "disturbance_box": np.zeros((0, 2)), "parameter_box": np.zeros((0, 2)), "initial_box": np.array([[0.0, 0.1], [0.2, 0.3]]),
        "period_s": 0.1, "steps": 5, "delay_s": (0.0, 0.0), "missed": 0, "network": network, "network_input": lambda x: x,
        "law": lambda y, x: scale * y - 0.5, "properties": (),
    }  # fmt: skip
    return Specification(**(given | changes))  # type: ignore[arg-type]


def test_problem_survives_the_file(load: Load, tmp_path: Path) -> None:
    peer_problem = load("peer_problem")
    spec = oscillator()
    problem = load("problem_of").problem_of(spec)
    peer_problem.write_problem(tmp_path / "p.npz", problem)
    back = peer_problem.read_problem(tmp_path / "p.npz")
    assert (back.name, back.activations, back.period_s, back.steps) == ("Oscillator", ("tanh", "linear"), 0.1, 5)
    for name in ("lo", "hi", "probe_x", "probe_u", "probe_dx"):
        np.testing.assert_array_equal(getattr(back, name), getattr(problem, name))
    x = np.array([0.05, 0.25])
    hidden = np.tanh(back.weights[0] @ x + back.biases[0])
    np.testing.assert_allclose(back.weights[1] @ hidden + back.biases[1], spec.control(jnp.asarray(x)), rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(back.probe_dx[:, 1], back.probe_u[:, 0] - np.sin(back.probe_x[:, 0]), atol=1e-15)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"disturbances": ("w",)}, "disturbances"),
        ({"delay_s": (0.0, 0.01)}, "delay"),
        ({"network": None}, "no network"),
        ({"law": lambda y, x: y * y}, "not affine"),
        ({"law": lambda y, x: y + x[:1]}, "not affine"),
        ({"network_input": lambda x: 2.0 * x}, "something else"),
    ],
)
def test_what_the_peers_are_not_given_is_refused(load: Load, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=f"Oscillator.*{said}.*another case"):
        load("problem_of").problem_of(oscillator(**changes))


def test_bad_options_are_named(load: Load, tmp_path: Path) -> None:
    compare = load("compare")
    python = tmp_path / "python"
    python.touch()
    good = ["--networks", str(tmp_path), "--immrax-python", str(python)]
    assert compare.parsed(good).case == list(compare.CASES)
    for words, said in (
        (["--networks", str(tmp_path / "none")], "is no folder"),
        (["--immrax-python", str(tmp_path)], "is no file"),
        (["--diffreach", str(tmp_path)], "needed together"),
        (["--diffreach", str(tmp_path), "--diffreach-python", str(python)], "has no src/reachability.py"),
        (["--case", "Unknown"], "known are SinglePendulum"),
        (["--repeats", "0"], "--repeats 0: more than 0"),
        (["--timeout-s", "nan"], "--timeout-s nan"),
        (["--json", str(tmp_path)], "in a folder that exists"),
    ):
        with pytest.raises(InputError, match=said):
            compare.parsed([*good, *words])


def test_table_of_recorded_outcomes(load: Load) -> None:
    peer_outcome, compare = load("peer_outcome"), load("compare")
    row = peer_outcome.Outcome(
        "TORA_tanh",
        "immrax 0.3.8",
        "continuous",
        0.06,
        27.64,
        (0.0926, -0.8174),
        (0.1174, -0.7898),
        "instants",
        "float64",
        "not bounded",
    )
    row = compare.compared(row, np.array([[0.1, -0.8], [0.08, -0.8]]))
    failed = peer_outcome.Outcome("TORA_tanh", "immrax", "sampled", failure="exit status 1: no module")
    assert compare.compared(failed, np.zeros((1, 2))) is failed
    lines = peer_outcome.table([row, failed]).splitlines()
    assert len({len(line) for line in lines}) == 1
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert found[0] == list(peer_outcome.COLUMNS)
    assert found[2] == [
        "TORA_tanh", "immrax 0.3.8", "continuous", "0.0600", "27.6", "0.0248 0.0276", "1/2", "instants", "float64", "not bounded",
    ]  # fmt: skip
    assert found[3] == ["TORA_tanh", "immrax", "sampled", "-", "-", "exit status 1: no module", "-", "-", "-", "-"]


def test_a_program_that_says_why_it_fails(load: Load, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no module named immrax >&2\nexit 1\n")
    python.chmod(0o755)
    compare = load("compare")
    chosen = compare.parsed(["--networks", str(tmp_path), "--immrax-python", str(python)])
    assert [row.failure for row in compare.peers(tmp_path / "TORA_tanh.npz", chosen, 0.5)] == [
        "exit status 1: no module named immrax"
    ] * 2
