"""What the shield reads from a bundle.

Each test takes the modules of the shield as `lib`, so that `test_shield_mutants` can hand it changed ones.
"""

from __future__ import annotations

import math
import types

import onnx
import pytest
from helpers import mutants
from helpers.mutants import Library
from helpers.shield_checks import Clock, same
from helpers.small_shield import HOVER, certificate, graphs, setpoint

from tubepilot.firmware_bridge.errors import BundleError
from tubepilot.runtime.shield import Reason, Verdict, assumed_from


@pytest.fixture(name="lib")
def _lib() -> Library:
    return mutants.real()


def test_a_shield_comes_from_a_bundle(lib: Library) -> None:
    backup, graph = graphs()
    files = {"backup.onnx": backup, "shield.onnx": graph, "certificate.toml": certificate()}
    shield = lib.shield.Shield.from_bundle(types.SimpleNamespace(files=files, manifest=types.SimpleNamespace(tick_hz=100.0)))
    for tick_hz in (50.0, 100.001, 99.999, -100.0, math.nan):
        with pytest.raises(BundleError, match="the certificate is for 100"):
            lib.shield.Shield.from_bundle(types.SimpleNamespace(files=files, manifest=types.SimpleNamespace(tick_hz=tick_hz)))
    assert shield.lead_s == pytest.approx(0.5 * (2 * 0.01 + 0.005))
    shield.engage(HOVER)
    same(Clock(shield)(candidate=setpoint()), Verdict.ACCEPT, Reason.OK)
    assert shield._set.clear.fence_m == 30.0


def test_numbers_of_the_certificate(lib: Library) -> None:
    given, wanted = lib.assumed.assumed_from(certificate()), assumed_from(certificate())
    for name in wanted.__slots__:
        assert getattr(given, name) == getattr(wanted, name), name
    assert given.window_s == 0.0125
    assert given.missed_ticks == 1
    swift, calm = ((-1.21, -0.83, 0.04), (-1.45, -0.52, 0.02)), ((-1.37, -2.29, 0.09), (-1.62, -1.31, 0.03))
    assert given.anchors == (swift, calm)
    assert given.estimate_limit_m_s2 == (1.1 / math.sqrt(2.0), 1.1 / math.sqrt(2.0), 0.4)


def test_a_certificate_that_cannot_be_used_is_refused(lib: Library) -> None:
    with pytest.raises(BundleError, match="lacks 'tick_s'"):
        lib.assumed.assumed_from(certificate().replace(b"tick_s", b"tock_s"))
    for change in (
        {"tick_s": ("assumptions", "soon")},
        {"tick_s": ("assumptions", math.nan)},
        {"tick_s": ("assumptions", math.inf)},
        {"missed_ticks": ("assumptions", [1])},
        {"drag_1_s": ("assumptions", [0.1])},
        {"drag_1_s": ("assumptions", [0.1, 0.1, 0.1])},
        {"drag_1_s": ("assumptions", 0.1)},
        {"rate_gain": ("backup", [1.0, 1.0])},
        {"anchor": ("set", [[[1.0, 2.0, 3.0]] * 2])},
        {"anchor": ("set", [[[1.0, 2.0, 3.0]]] * 2)},
        {"anchor": ("set", [[1.0, 2.0, 3.0]] * 2)},
    ):
        with pytest.raises(BundleError, match="cannot be used"):
            lib.assumed.assumed_from(certificate(**change))


def renamed(graph: bytes, old: str, new: str) -> bytes:
    """The graph with an input or output of another name."""
    model = onnx.load_from_string(graph)
    for port in (*model.graph.input, *model.graph.output):
        port.name = new if port.name == old else port.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    return model.SerializeToString()


def test_graphs_of_other_forms_are_refused(lib: Library) -> None:
    backup, graph = graphs()
    assumed = lib.assumed.assumed_from(certificate())
    for pair in (
        (backup, renamed(graph, "wanted", "desired")),
        (backup, renamed(graph, "margin", "space")),
        (renamed(backup, "slope", "ramp"), graph),
        (renamed(backup, "slope_next", "ramp"), graph),
    ):
        with pytest.raises(BundleError, match="has other inputs or outputs"):
            lib.shield.Shield(*pair, assumed)
    with pytest.raises(BundleError, match="cannot load"):
        lib.shield.Shield(b"", graph, assumed)
