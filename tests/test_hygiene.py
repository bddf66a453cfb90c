"""What must hold of the whole source: light on-board imports, one direction of imports, packaging, units in help."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepilot.runtime.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("train", "export", "runtime", "firmware_bridge")
HEAVY = ("jax", "jaxlib", "flax", "optax", "onnx", "scipy", "matplotlib", "rotorpy", "pandas")
NOT_ON_BOARD = re.compile(r"simulator.*|sim_.*|autopilot|cli_sim_fc|report.*|cli_report|cli_bench.*|bench.*")
"""The simulated flight controller, the report and the benchmarks run on a workstation."""

MAY_IMPORT = {
    "firmware_bridge": {"firmware_bridge"},
    "runtime": {"runtime", "firmware_bridge"},
    "train": {"train", "firmware_bridge"},
    "export": {"export", "train", "runtime", "firmware_bridge"},
}


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def imported_modules(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Absolute names of everything a file imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def on_board_modules() -> list[str]:
    names = []
    for part in ("firmware_bridge", "runtime"):
        for path in sources(part):
            relative = path.relative_to(ROOT / part).with_suffix("")
            if path.name != "__init__.py" and not NOT_ON_BOARD.fullmatch(relative.parts[0]):
                names.append(".".join(("tubepilot", part, *relative.parts)))
    return names


PROBE = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
    loaded = sorted(set(sys.argv[1].split(",")) & set(sys.modules))
    if loaded:
        sys.exit(f"importing {name} loads {', '.join(loaded)}")
"""


def test_on_board_parts_load_nothing_heavy() -> None:
    names = on_board_modules()
    assert len(names) > 10
    command = [sys.executable, "-c", PROBE, ",".join(HEAVY), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_probe_notices_a_heavy_import() -> None:
    command = [sys.executable, "-c", PROBE, "scipy", "scipy.linalg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "importing scipy.linalg loads scipy" in done.stderr


@pytest.mark.parametrize("part", PARTS)
def test_imports_run_one_way(part: str) -> None:
    wrong = []
    for path in sources(part):
        for name, line in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            words = name.split(".")
            if words[0] == "tubepilot" and len(words) > 1 and words[1] in PARTS and words[1] not in MAY_IMPORT[part]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
            if words[0] in PARTS:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports the folder {words[0]}, not tubepilot.{words[0]}")
    assert wrong == []


def forbidden(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Constructs that have no place in the product: asserts on input, pickles, evaluation of text, silent excepts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield node.lineno, "assert"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}:
            yield node.lineno, node.func.id
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", None) is True:
            yield node.value.lineno, "allow_pickle=True"
    for name, line in imported_modules(tree):
        if name.split(".")[0] in {"pickle", "dill", "cloudpickle"}:
            yield line, name


def test_no_asserts_pickles_or_evaluated_text() -> None:
    found = []
    for path in sources(*PARTS, "benchmarks"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(ROOT)}:{line} {what}" for line, what in forbidden(tree)]
    assert found == []


def test_the_forbidden_constructs_are_noticed() -> None:
    code = "import pickle\nassert x\ntry:\n  eval('1')\nexcept:\n  load(f, allow_pickle=True)\n"
    assert sorted({what for _, what in forbidden(ast.parse(code))}) == [
        "allow_pickle=True",
        "assert",
        "bare except",
        "eval",
        "pickle",
    ]


def texts() -> Iterator[Path]:
    """Every text file of the project, this one excepted."""
    skipped = {".git", ".venv", "build", "dist", "demo", "__pycache__", "tubepilot.egg-info"}
    for path in sorted(ROOT.rglob("*")):
        relative = path.relative_to(ROOT)
        hidden = any(part in skipped or part.endswith("_cache") or part == ".hypothesis" for part in relative.parts)
        text = path.suffix in {".py", ".md", ".toml", ".lock", ".txt", ".sh", ""}
        if path.is_file() and text and not hidden and path != Path(__file__).resolve():
            yield path


def test_no_unfinished_work_and_no_paths_of_a_machine() -> None:
    unwanted = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|(?<![\w.])/(work|root|home)/\w|--(extra-)?index-url|--hash=")
    found = []
    for path in texts():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if unwanted.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}")
    assert found == []


def test_a_build_holds_only_tubepilot(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(site), str(source)]
    done = subprocess.run([*pip, *options], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in site.iterdir() if path.name != "bin" and path.suffix != ".dist-info"}
    assert names == {"tubepilot"}
    installed = {path.relative_to(site / "tubepilot") for path in (site / "tubepilot").rglob("*.py")}
    assert installed == {path.relative_to(ROOT) for path in sources(*PARTS)}
    assert all((site / "tubepilot" / part / "py.typed").is_file() for part in PARTS)


def parser_of(name: str) -> argparse.ArgumentParser:
    module = importlib.import_module(COMMANDS[name].module)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_says_units(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"tubepilot {name}" in capsys.readouterr().out
    for action in parser_of(name)._actions:
        assert action.help, f"{name}: {action.dest} has no help"
        if action.type is float:
            unit = re.search(r"\[[^\]]+\]|probability|ratio|rate of", action.help)
            assert unit, f"{name}: {action.option_strings} lacks its unit in [ ]"


def test_wrong_usage_and_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert main(["no-such-command"]) == 2
    output = capsys.readouterr()
    assert all(name in output.out for name in COMMANDS)
    assert "no-such-command" in output.err
