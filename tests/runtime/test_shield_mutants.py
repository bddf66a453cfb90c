"""Every small change in the shield's source must be noticed by a test of `FILES`, which run every line and branch of it.

TUBEPILOT_ALL_MUTANTS=1 also swaps plus with minus and times with over, which takes half a minute longer.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import mutants
from helpers.mutants import Library

FILES = (
    "test_shield", "test_shield_agrees", "test_shield_bundle", "test_shield_monitor", "test_shield_room", "test_shield_sequential",
)  # fmt: skip
ARITHMETIC = os.environ.get("TUBEPILOT_ALL_MUTANTS") == "1"

PAIR, SAME_LIMIT = "the last of two numbers is the second one", "the limits along x and y are the same number"
INFERRED, THIRD = "numpy infers the one size that is negative", "of four the third is the last but one"
NO_SHARE = "the box of the present state has no part of it"
EQUIVALENT = {
    "STILL: tuple[Triple, Triple] = ((<0.0>, 0.0, 0.0), (0.0, 0.0, 0.0))  0.0 -> 1": NO_SHARE,
    "STILL: tuple[Triple, Triple] = ((0.0, <0.0>, 0.0), (0.0, 0.0, 0.0))  0.0 -> 1": NO_SHARE,
    "STILL: tuple[Triple, Triple] = ((0.0, 0.0, <0.0>), (0.0, 0.0, 0.0))  0.0 -> 1": NO_SHARE,
    "STILL: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (<0.0>, 0.0, 0.0))  0.0 -> 1": NO_SHARE,
    "STILL: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (0.0, <0.0>, 0.0))  0.0 -> 1": NO_SHARE,
    "STILL: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (0.0, 0.0, <0.0>))  0.0 -> 1": NO_SHARE,
    "NO_DOUBTS = (<0.0>,) * 10  0.0 -> 1": NO_SHARE,
    "ANCHORS = ((<1>, 0.7), (1, 1.0), (0, 1.0))  1 -> -1": PAIR,
    "ANCHORS = ((1, 0.7), (<1>, 1.0), (0, 1.0))  1 -> -1": PAIR,
    "most = max(states[<1>].thrust / start, 1.0)  1 -> -1": PAIR,
    "vertical=_ramp(a.drag_1_s[<1>], t_s),  1 -> -1": PAIR,
    "return Ahead((states[0], states[<1>]), (asked[0], asked[1]), doubts)  1 -> -1": PAIR,
    "return Ahead((states[0], states[1]), (asked[0], asked[<1>]), doubts)  1 -> -1": PAIR,
    "yaw, span_s, last_s = a.yaw_rate_rad_s, t_s + a.window_s, self._instants[<1>].t_s  1 -> -1": PAIR,
    "return max(pairs, key=lambda pair: pair[0] - pair[<1>])  1 -> -1": PAIR,
    "roll, pitch = rates_rad_s[0] - model[0], rates_rad_s[<1>] - model[1]  1 -> -1": PAIR,
    "roll, pitch = rates_rad_s[0] - model[0], rates_rad_s[1] - model[<1>]  1 -> -1": PAIR,
    "self._gap_ns = gap_ns = now_ns - self._last_ns if self._last_ns > 0 else <0>  0 -> 1": "a gap of 1 ns is no gap either",
    "return 0.0, <0.0>  0.0 -> 1": "nothing that is held: nothing differs, whatever it may be",
    "self._along = <0.0>  # what that slope tends to: the backup's feedback along the thrust, while it acts  0.0 -> 1": (
        "is read only while the backup acts, which sets it"
    ),
    "x, y = anchor[0] - self.home[0], anchor[1] - self.home[<1>]  1 -> -1": PAIR,
    "self._most: Triple = (limit[<0>] + horizontal, limit[1] + horizontal, limit[2] + vertical)  0 -> 1": SAME_LIMIT,
    "states, wanted, doubts, anchors, disturbances = np.split(self._numbers, (24, 30, 40, 43), axis=<1>)  1 -> -1": PAIR,
    '(given["states"], states.reshape(n, <2>, 4, 3).transpose(3, 1, 0, 2)),  2 -> -2': INFERRED,
    '(given["states"], states.reshape(n, 2, <4>, 3).transpose(3, 1, 0, 2)),  4 -> -4': INFERRED,
    '(given["states"], states.reshape(n, 2, 4, <3>).transpose(3, 1, 0, 2)),  3 -> -3': INFERRED,
    '(given["states"], states.reshape(n, 2, 4, 3).transpose(3, 1, 0, <2>)),  2 -> -2': THIRD,
    '(given["wanted"], wanted.reshape(n, <2>, 3).transpose(2, 1, 0)),  2 -> -2': INFERRED,
    '(given["wanted"], wanted.reshape(n, 2, <3>).transpose(2, 1, 0)),  3 -> -3': INFERRED,
    '(given["doubts"], doubts.reshape(n, <5>, 2).transpose(1, 2, 0)),  5 -> -5': INFERRED,
    '(given["doubts"], doubts.reshape(n, 5, <2>).transpose(1, 2, 0)),  2 -> -2': INFERRED,
    '(given["held"][:, 0, :, <2>], disturbances.T),  2 -> -2': THIRD,
    "self._numbers[place, :40] = (*numbers, *ahead.wanted[0], *ahead.wanted[<1>], *ahead.doubts)  1 -> -1": PAIR,
    "self._instants[0, place], self._instants[<1>, place] = instants  1 -> -1": PAIR,
    "sums: list[float] = np.abs(self._numbers).sum(axis=<1>).tolist()  1 -> -1": PAIR,
    "return taking_over(ahead, self._set.anchors(ahead.states[<1>], tick.disturbance, self._held))  1 -> -1": PAIR,
    "found, other, other_margin = self._set.choose(resort.questions[<1>], answers[1])  1 -> -1": PAIR,
    "found, other, other_margin = self._set.choose(resort.questions[1], answers[<1>])  1 -> -1": PAIR,
    "share * asked[<2>] + kept * before[2] + rest * backup[2],  2 -> -2": THIRD,
    "share * asked[2] + kept * before[<2>] + rest * backup[2],  2 -> -2": THIRD,
    "share * asked[2] + kept * before[2] + rest * backup[<2>],  2 -> -2": THIRD,
    "return Course(old, older, norm(less(old, turn)), max(norm(turn), *map(norm, before)), (legs[0], legs[<1>]))  1 -> -1": PAIR,
}
"""Changes that change nothing, and why."""


def _checks() -> list[Callable[[Library], None]]:
    """The tests of the shield that take the modules as `lib`, the quick ones first."""
    tests: list[Callable[..., None]] = []
    for file in FILES:
        spec = importlib.util.spec_from_file_location(f"{file}_again", Path(__file__).with_name(f"{file}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        tests += [test for name, test in vars(module).items() if name.startswith("test_")]
    checks = [test for test in tests if "lib" in inspect.signature(test).parameters]
    return sorted(checks, key=_seconds)


def _seconds(check: Callable[[Library], None]) -> float:
    """What a test takes when it runs for the second time: what does not depend on the modules is kept from the first."""
    modules = mutants.load("shield", mutants.parsed("shield"))
    check(modules)
    start = time.perf_counter()
    check(modules)
    return time.perf_counter() - start


CHECKS = functools.cache(_checks)


def _is_noticed(library: Callable[[], Library]) -> bool:
    """Whether a test fails; that test is asked first about the next change, which is likely to be near by."""
    checks, check = CHECKS(), None
    try:
        modules = library()
        for check in checks:
            check(modules)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - whatever a mutant raises, it is noticed
        if check is not None:
            checks.remove(check)
            checks.insert(0, check)
        return True
    return False


def test_the_unchanged_source_passes() -> None:
    assert not _is_noticed(lambda: mutants.load("shield", mutants.parsed("shield")))


@pytest.mark.parametrize("name", mutants.MODULES)
def test_every_change_is_noticed(name: str) -> None:
    survivors, count = [], 0
    for description, tree in mutants.mutants(mutants.source(name), ARITHMETIC):
        count += 1
        if not _is_noticed(lambda tree=tree: mutants.load(name, tree)):  # type: ignore[misc]
            survivors.append(description)
    assert count > 5
    assert [found for found in survivors if found not in EQUIVALENT] == []


def test_every_comparison_of_the_shield_has_a_change() -> None:
    """So that none is left out: an operator that no table of changes knows would be."""
    for name in mutants.MODULES:
        compared = [node for node in ast.walk(mutants.parsed(name)) if isinstance(node, ast.Compare)]
        assert {type(operator) for node in compared for operator in node.ops} <= set(mutants.COMPARED), name
    assert {f"{name}.py" for name in mutants.MODULES} == {
        path.name for path in mutants.FOLDER.glob("*.py") if path.name.startswith("shield") or path.name == "keep_clear.py"
    }


@pytest.mark.slow
def test_the_tests_run_every_line_and_branch_of_the_shield(tmp_path: Path) -> None:
    pytest.importorskip("coverage", reason="coverage is not installed")
    data, files = str(tmp_path / "coverage"), [str(Path(__file__).with_name(f"{file}.py")) for file in FILES]
    included = ",".join(f"*/runtime/{name}.py" for name in mutants.MODULES)
    run = [sys.executable, "-m", "coverage"]
    measure = [*run, "run", "--branch", f"--data-file={data}", f"--source={mutants.FOLDER}", "-m", "pytest", "-q", "-p", "no:randomly"]
    subprocess.run([*measure, *files], check=True, capture_output=True, timeout=600)
    report = [*run, "report", f"--data-file={data}", f"--include={included}", "--fail-under=100", "--show-missing"]
    done = subprocess.run(report, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert all(name in done.stdout for name in mutants.MODULES)


def test_the_list_of_equivalent_changes_is_not_out_of_date() -> None:
    made = {found for name in mutants.MODULES for found, _ in mutants.mutants(mutants.source(name))}
    assert set(EQUIVALENT) <= made
