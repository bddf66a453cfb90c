"""The compiled planner on board: it agrees with onnxruntime, is kept safely, and never keeps a flight on the ground."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_bundle import make_bundle

from tubepilot.firmware_bridge.errors import BundleError, InputError
from tubepilot.firmware_bridge.types import GRAVITY_M_S2
from tubepilot.runtime import compiler, engine_choice, engine_probe
from tubepilot.runtime.bundle import Bundle, read_bundle
from tubepilot.runtime.compiler import Library
from tubepilot.runtime.doctor import Level
from tubepilot.runtime.doctor_planner import check_planner
from tubepilot.runtime.engine import SOURCE, WEIGHTS, Compiled
from tubepilot.runtime.engine_check import compare
from tubepilot.runtime.engine_choice import choose, make_ready
from tubepilot.runtime.manifest import OPTIONAL
from tubepilot.runtime.planner import Planner
from tubepilot.runtime.replay import BOUND_M_S2, BOUND_RAD_S

FAR_NS = 10**18
HEAD = (
    "__attribute__((visibility(\"default\"))) const int tubepilot_abi = {abi};\n"
    "__attribute__((visibility(\"default\"))) const long tubepilot_weights = {weights}, tubepilot_scratch = 16;\n"
)
GRAPH = "__attribute__((visibility(\"default\"))) void tubepilot_{graph}(const float *w, float *s, void *const *p) {{ {what} }}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_bundle(tmp_path_factory.mktemp("bundle"), compiled=True)


@pytest.fixture(scope="module")
def bundle(made: tuple[Path, Path]) -> Bundle:
    return read_bundle(*made)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    """A cache folder that holds the bundle's library, compiled by the real compiler."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        first = choose(bundle, "compiled")
    assert f"kept as {folder}" in first.text
    return folder


@pytest.fixture
def kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that cache, in use; the folder of the libraries."""
    shutil.copytree(cache, tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tubepilot" / "planner"


def forbid(*_: object) -> Library:
    raise BundleError("it was compiled again")


def flights(count: int, seed: int = 0) -> list[tuple[Any, Any, Any, int]]:
    rng, result = np.random.default_rng(seed), []
    for _ in range(count):
        state, rows = np.zeros(14), np.zeros((5, 9))
        state[:6], state[6:10], state[13] = rng.normal(size=6), (1.0, *0.2 * rng.normal(size=3)), GRAVITY_M_S2
        rows[:, :3] = rng.normal(size=3) + np.linspace(0.0, 1.0, 5)[:, None] * rng.normal(size=3)
        result.append((state, rows, 0.3 * rng.normal(size=3), FAR_NS))
    return result


def plans(planner: Planner, seed: int = 0) -> Any:
    planner.reset()
    made = [planner.plan(*flight) for flight in flights(12, seed)]
    assert all(plan.ok for plan in made)
    return np.array([[*plan.setpoint.rates_rad_s, plan.setpoint.thrust_m_s2] for plan in made])


def test_both_engines_plan_the_same_and_each_the_same_every_time(bundle: Bundle, kept: Path) -> None:
    choice = choose(bundle)
    assert choice.engine.name == "compiled"
    assert compare(bundle.files, choice.engine) <= 1.0
    compiled, reference = choice.planner(bundle), Planner(bundle)
    found, wanted = plans(compiled), plans(reference)
    np.testing.assert_array_equal(found, plans(choice.planner(bundle)))
    assert np.abs(found - wanted)[:, :3].max() <= BOUND_RAD_S
    assert np.abs(found - wanted)[:, 3].max() <= BOUND_M_S2
    assert not np.array_equal(found, wanted), "it is another implementation"


def test_two_planners_on_one_library_do_not_disturb_each_other(bundle: Bundle, kept: Path) -> None:
    engine = choose(bundle).engine
    alone = [plans(Planner(bundle, engine=engine), seed) for seed in (0, 1)]
    both = [Planner(bundle, engine=engine) for _ in range(2)]
    turns = [[], []]  # type: ignore[var-annotated]
    for first, second in zip(flights(12, 0), flights(12, 1), strict=True):
        for taken, planner, flight in zip(turns, both, (first, second), strict=True):
            plan = planner.plan(*flight)
            taken.append([*plan.setpoint.rates_rad_s, plan.setpoint.thrust_m_s2])
    np.testing.assert_array_equal(np.array(turns), np.array(alone))


def test_deadlines_and_pre_warm_are_as_with_onnxruntime(bundle: Bundle, kept: Path) -> None:
    planner = choose(bundle).planner(bundle)
    planner.warm_up()
    wanted = plans(planner)
    planner.reset()
    for flight, row in zip(flights(12), wanted, strict=True):
        planner.pre_warm(FAR_NS)
        plan = planner.plan(*flight)
        assert plan.steps == planner.steps_max
        np.testing.assert_array_equal([*plan.setpoint.rates_rad_s, plan.setpoint.thrust_m_s2], row)
    late = planner.plan(*flights(1)[0][:3], 0)
    assert not late.ok
    bad = flights(1)[0]
    bad[0][0] = np.nan
    assert not planner.plan(*bad).ok


def test_a_kept_library_is_used_again_also_without_its_compiler(bundle: Bundle, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_choice, "compile_library", forbid)
    assert choose(bundle).engine.name == "compiled"
    assert "kept as" in choose(bundle, may_compile=False).text
    monkeypatch.setenv("CC", "/no/such/compiler")
    assert choose(bundle).engine.name == "compiled"


def test_another_compiler_another_processor_or_another_source_compiles_anew(
    bundle: Bundle, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bundle.files[SOURCE]
    here = compiler.find_compiler()
    assert here is not None
    assert compiler.find(source, compiler.version(here)) is not None
    assert compiler.find(source, "cc 99.1") is None
    assert compiler.find(source + b"\n", None) is None
    monkeypatch.setattr(compiler, "processor", lambda: "another")
    assert compiler.find(source, None) is None


def test_a_crash_at_any_byte_never_leaves_a_library_that_counts(bundle: Bundle, kept: Path) -> None:
    source, (library,), (note,) = bundle.files[SOURCE], kept.glob("*.so"), kept.glob("*.json")
    whole = {path: path.read_bytes() for path in (library, note)}
    assert compiler.find(source, None) is not None
    for path, content in whole.items():
        for length in {0, 1, len(content) // 3, len(content) - 2, len(content) - 1}:
            path.write_bytes(content[:length])
            assert compiler.find(source, None) is None, f"{path.name} of {length} bytes"
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
        path.write_bytes(damaged)
        found = compiler.find(source, None)
        assert found is None or path == note, "a changed byte of the library"
        path.write_bytes(content)
    assert compiler.find(source, None) is not None
    note.unlink()
    assert compiler.find(source, None) is None
    note.write_bytes(whole[note])
    library.chmod(0o666)
    assert compiler.find(source, None) is None, "anybody could have changed it"
    library.chmod(0o600)
    library.rename(kept / "elsewhere")
    library.symlink_to(kept / "elsewhere")
    assert compiler.find(source, None) is None, "a link may lead anywhere"


def simple(tmp_path: Path, source: str, probe: Callable[[Path], None] = lambda _: None) -> Library:
    return compiler.compile_library(source.encode(), probe, [tmp_path / "planner"])


def test_what_is_kept_is_ours_alone_and_what_crashes_left_goes(tmp_path: Path) -> None:
    folder = tmp_path / "planner"
    (folder / "build-old").mkdir(parents=True)
    os.utime(folder / "build-old", (0, 0))
    (folder / "build-now").mkdir()
    for number in range(compiler.KEPT + 3):
        library = simple(tmp_path, f"int x{number};")
    assert not (folder / "build-old").exists()
    assert (folder / "build-now").exists(), "somebody compiles in it"
    assert len(list(folder.glob("*.so"))) <= compiler.KEPT + 1
    assert stat.S_IMODE(library.path.stat().st_mode) == 0o600
    assert json.loads(library.path.with_suffix(".json").read_text())["sha256"] == hashlib.sha256(library.path.read_bytes()).hexdigest()


def test_a_compiler_that_fails_hangs_or_is_missing_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match=r"refuses planner\.c: .*error"):
        simple(tmp_path, "this is no C")
    monkeypatch.setattr(compiler, "COMPILE_S", 0.01)
    with pytest.raises(BundleError, match="does not end well"):
        simple(tmp_path, "int x;")
    monkeypatch.setenv("CC", "false")
    with pytest.raises(BundleError, match="does not run"):
        simple(tmp_path, "int x;")
    monkeypatch.setenv("CC", "/no/such/compiler")
    with pytest.raises(BundleError, match="apt install gcc"):
        simple(tmp_path, "int x;")


def test_folders_that_cannot_be_written_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    library = compiler.compile_library(b"int x;", lambda _: None, [tmp_path / "file" / "a", tmp_path / "b"])
    assert library.path.parent == tmp_path / "b"
    with pytest.raises(BundleError, match="cannot be kept"):
        compiler.compile_library(b"int x;", lambda _: None, [tmp_path / "file" / "a"])
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/tubepilot")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert compiler.folders() == [Path("/var/cache/tubepilot/planner"), Path.home() / ".cache/tubepilot/planner"]


def broken(bundle: Bundle, what: str, abi: int = 1, weights: int | None = None) -> Bundle:
    """The bundle with C code that does something else."""
    count = len(bundle.files[WEIGHTS]) // 4 if weights is None else weights
    source = HEAD.format(abi=abi, weights=count) + "".join(GRAPH.format(graph=g, what=what) for g in ("rollout", "refine", "rank"))
    return replace(bundle, files={**bundle.files, SOURCE: f"#include <stdlib.h>\n{source}".encode()})


@pytest.mark.parametrize(
    ("what", "abi", "weights", "message"),
    [
        ("abort();", 1, None, "status -6"),
        ("*(volatile int *)0 = 0;", 1, None, "status -11"),
        ("", 1, None, "differs from onnxruntime"),
        ("", 2, None, "interface 2"),
        ("", 1, 7, "for 7 weights"),
    ],
)
def test_a_library_that_crashes_or_computes_something_else_does_not_fly(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, abi: int, weights: int | None, message: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    other = broken(bundle, what, abi, weights)
    choice = choose(other)
    assert choice.engine.name == "onnxruntime"
    assert message in choice.refused
    assert choice.refused in choice.text
    assert not list((tmp_path / "tubepilot" / "planner").iterdir()), "nothing of it is kept"
    assert np.isfinite(plans(choice.planner(other))).all()
    with pytest.raises(InputError, match="--planner-engine compiled"):
        choose(other, "compiled")


def test_a_probe_that_hangs_is_ended(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(engine_probe, "PROBE_S", 0.5)
    assert "probe does not end well" in choose(broken(bundle, "for (;;);")).refused


def test_without_compiler_without_time_or_without_code_onnxruntime_flies(
    bundle: Bundle, made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "no time to compile" in choose(bundle, may_compile=False).refused
    assert choose(bundle, "onnxruntime").refused == ""
    monkeypatch.setenv("CC", "/no/such/compiler")
    assert "no C compiler here" in choose(bundle).text
    assert "no C compiler here" in make_ready(*made)
    without = replace(bundle, files={name: content for name, content in bundle.files.items() if name not in OPTIONAL})
    assert "brings no planner.c" in choose(without).refused
    engine, _ = check_planner(*made, None)
    assert (engine.name, engine.level) == ("planner engine", Level.WARN)
    assert "no C compiler here" in engine.remedy


def test_the_doctor_names_engine_compiler_and_both_times(made: tuple[Path, Path], kept: Path, tmp_path: Path) -> None:
    engine, planner = check_planner(*made, tmp_path / "here.json")
    assert engine.level is Level.OK
    assert "compiled by" in engine.found
    assert "by onnxruntime" in engine.found
    assert "predicted" in planner.found
    assert json.loads((tmp_path / "here.json").read_text())["engine"] == "compiled"


def test_a_manifest_with_one_of_the_two_files_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    from nacl.signing import SigningKey

    from tubepilot.runtime import keys

    folder = tmp_path / "bundle"
    shutil.copytree(made[0], folder)
    text = (folder / "manifest.toml").read_text()
    parts = text.split("[[file]]")
    (folder / "manifest.toml").write_text("[[file]]".join(part for part in parts if f'"{WEIGHTS}"' not in part))
    key = SigningKey(bytes(range(32)))
    (folder / "manifest.sig").write_bytes(key.sign((folder / "manifest.toml").read_bytes()).signature)
    keys.trust(key.verify_key, tmp_path / "trusted")
    with pytest.raises(BundleError, match=f"missing: {WEIGHTS}"):
        read_bundle(folder, tmp_path / "trusted")


def test_a_compiled_engine_refuses_buffers_with_gaps(bundle: Bundle, kept: Path) -> None:
    from tubepilot.runtime.engine_check import sessions_of

    engine = choose(bundle).engine
    assert isinstance(engine, Compiled)
    make = engine.maker(sessions_of(bundle.files))
    with pytest.raises(BundleError, match="not contiguous"):
        make("rank", {"plans": np.zeros((12, 8), np.float32)[:, ::2]}, {})
