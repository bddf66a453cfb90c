"""`tubepilot reach` and `tubepilot bench reach`: exit status, JSON, pictures, mistakes with their place, and the kinds of PATH."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tubepilot.firmware_bridge.errors import InputError, MissingExtraError
from tubepilot.runtime.cli import main
from tubepilot.train import bench_reach, workstation

ROOT = Path(__file__).resolve().parents[3]
SPEC = """\
name = "Oscillator"
source = "tests"

[system]
kind = "continuous"
states = ["x", "v"]
inputs = ["u"]

[system.equations]
x = "v"
v = "u - sin(x)"

[controller.law]
u = "-v"

[control]
period_s = 0.25
steps = 4

[initial]
x = [0.5, 0.6]
v = [0.0, 0.0]

[[property]]
kind = "stay"
window_s = [0.0, 1.0]
conditions = ["0 <= x <= LIMIT"]
"""
KEYS = {
    "case", "verdict", "reason", "seconds", "compile_seconds", "peak_mb", "end_box", "width_over_sampling", "step", "float", "tube",
    "settings", "tubes", "boxes",
}  # fmt: skip


def write(folder: Path, limit: str = "0.7") -> Path:
    path = folder / "oscillator.toml"
    path.write_text(SPEC.replace("LIMIT", limit), "utf-8")
    return path


class Ran:
    """One run of the command."""

    def __init__(self, folder: Path, limit: str, *options: str) -> None:
        self.json, self.plot = folder / "outcome.json", folder / ("tube.png" if limit == "0.7" else "tube.html")
        self.status = main(["reach", str(write(folder, limit)), "--json", str(self.json), "--plot", str(self.plot), *options])
        self.table = json.loads(self.json.read_text("utf-8"))


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("verified"), "0.7")


@pytest.fixture(scope="module")
def falsified(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("falsified"), "0.55", "--samples", "10", "--substeps", "2")


def test_verified(verified: Ran) -> None:
    table = verified.table
    assert verified.status == 0
    assert set(table) == KEYS
    assert (table["case"], table["verdict"], table["reason"], table["float"]) == ("Oscillator", "verified", "", "float64")
    assert table["step"] * table["settings"]["substeps"] == pytest.approx(0.25)
    assert 0.0 < table["seconds"] < table["compile_seconds"]
    assert table["peak_mb"] > 50
    assert (table["tubes"], table["boxes"]) == (1, 1)
    assert all(1.0 - 1e-6 <= ratio < 1.2 for ratio in table["width_over_sampling"])


def test_tube_is_a_list_of_steps_without_gap(verified: Ran) -> None:
    tube = verified.table["tube"]
    assert all(set(step) == {"t", "lo", "hi"} for step in tube)
    assert tube[0]["t"][0] == 0.0
    assert tube[-1]["t"][1] == pytest.approx(1.0)
    assert all(a["t"][1] == b["t"][0] for a, b in pairwise(tube))
    assert all(len(step["lo"]) == len(step["hi"]) == 2 and step["hi"][0] <= 0.7 for step in tube)
    end = verified.table["end_box"]
    assert all(tube[-1]["lo"][i] - 1e-9 <= end[i][0] <= end[i][1] <= tube[-1]["hi"][i] + 1e-9 for i in range(2))


def test_falsified(falsified: Ran) -> None:
    table = falsified.table
    assert falsified.status == 1
    assert set(table) == KEYS | {"counterexample"}
    assert table["verdict"] == "falsified"
    found = table["counterexample"]
    assert set(found) == {"x0", "time", "condition", "margin", "proven"}
    assert found["proven"] is True
    assert 0.55 < found["x0"][0] <= 0.6
    assert found["margin"] > 0


def test_pictures_are_written(verified: Ran, falsified: Ran) -> None:
    assert verified.plot.read_bytes().startswith(b"\x89PNG")
    page = falsified.plot.read_text("utf-8")
    assert "data:image/png;base64," in page
    assert "falsified" in page
    assert "http" not in page, "the page loads nothing"


def test_unknown_is_status_1_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["reach", str(write(tmp_path, "0.55")), "--boxes", "1", "--no-attack", "--samples", "0"])
    said = capsys.readouterr().out
    assert status == 1
    assert "guess: " in said
    assert "Oscillator: unknown: stay: the bound of " in said
    assert "--boxes" in said.splitlines()[-1]


def test_mistake_in_a_specification_is_status_2_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text("utf-8").replace("sin(x)", "sin(y)"), "utf-8")
    assert main(["reach", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("tubepilot reach: ")
    assert "oscillator.toml, line 11, column 14: the name 'y' is not declared" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot", "tube.jpeg"], "the suffix must be one of .png, .html"),
        (["--json", "nowhere/a.json"], "make the folder nowhere first"),
        (["--order", "0"], "--order is 0; it must be at least 1"),
        (["--seconds", "-1"], "--seconds is -1.0"),
        (["--seconds", "nan"], "--seconds is nan"),
        (["--samples", "-3"], "--samples is -3"),
        (["--scale", "1.5"], "scale 1.5"),
        (["--network", "a.onnx"], "the network a.onnx was given"),
        (["--horizon-s", "2"], "--horizon-s belongs to a certificate"),
    ],
)
def test_options_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    law = write(tmp_path).read_text("utf-8").replace('[controller.law]\nu = "-v"\n', "").replace('inputs = ["u"]\n', "")
    (tmp_path / "oscillator.toml").write_text(law.replace("u - sin(x)", "-v - sin(x)"), "utf-8")
    assert main(["reach", str(tmp_path / "oscillator.toml"), *options]) == 2
    assert words in capsys.readouterr().err


def test_path_is_a_specification_or_the_folder_of_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reach", str(tmp_path / "absent")]) == 2
    assert "neither a specification" in capsys.readouterr().err
    assert main(["reach", str(tmp_path / "absent.toml")]) == 2
    assert "absent.toml" in capsys.readouterr().err
    assert main(["reach", str(tmp_path), "--networks", str(tmp_path)]) == 1
    assert "--networks belongs to a specification" in capsys.readouterr().err
    assert main(["reach", str(tmp_path)]) == 1, "a folder without certificate, as before"


def test_network(archcomp: Path, tmp_path: Path) -> None:
    spec, out = ROOT / "benchmarks" / "specs" / "SinglePendulum.toml", tmp_path / "outcome.json"
    assert main(["reach", str(spec), "--networks", str(archcomp), "--json", str(out), "--samples", "100", "--scale", "0.5"]) == 0
    table = json.loads(out.read_text("utf-8"))
    assert table["verdict"] == "verified"
    assert all(1.0 < ratio < 1.5 for ratio in table["width_over_sampling"])


# --- bench ---------------------------------------------------------------------------------------------------


def outcome(verdict: str, scale: float = 1.0) -> dict[str, object]:
    return {"verdict": verdict, "reason": "", "seconds": 0.1, "compile_seconds": 1.0, "peak_mb": 100.0, "step": 0.1,
            "width_over_sampling": [1.0, None, scale]}  # fmt: skip


@pytest.mark.parametrize("limit", [0, 1, 7, 19, 20])
def test_largest_scale(limit: int) -> None:
    asked = []

    def single(options: list[str]) -> dict[str, object]:
        scale = float(options[options.index("--scale") + 1])
        asked.append(scale)
        assert options[options.index("--boxes") + 1] == "1"
        return outcome("verified" if scale <= limit / 20 else "unknown", scale)

    found = bench_reach.largest_scale(single)
    assert found["scale"] == limit / 20
    assert found["width_over_sampling"][2] == max(limit, 1) / 20, "the figures are those at that scale"
    assert found["verdict"] == ("verified" if limit else "unknown")
    assert len(asked) <= 5


def test_scale_stops_at_an_error() -> None:
    assert bench_reach.largest_scale(lambda _options: {"verdict": "error"})["verdict"] == "error"


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench_reach.add_arguments(parser)
    return parser.parse_args(given)


def test_bench_writes_after_every_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out, seen = tmp_path / "bench.json", []

    def caller(spec: Path, _arguments: object) -> Callable[[list[str]], dict[str, object]]:
        assert spec.is_file(), "every case has a specification"
        if spec.stem == "ACC":
            raise KeyboardInterrupt
        seen.append(spec.stem)
        return lambda _options: outcome("verified")

    monkeypatch.setattr(bench_reach, "_caller", caller)
    options = ("--networks", str(tmp_path), "--json", str(out))
    with pytest.raises(KeyboardInterrupt):
        bench_reach.run(arguments(*options))
    assert [case["case"] for case in json.loads(out.read_text("utf-8"))["cases"]] == seen == list(bench_reach.CASES[:6])
    assert bench_reach.run(arguments(*options, "--case", "Docking", "QUAD_scale")) == 0
    cases = json.loads(out.read_text("utf-8"))["cases"]
    assert [case["case"] for case in cases] == [*bench_reach.CASES[:6], "QUAD_scale", "Docking"]
    assert cases[-2]["scale"] == 1.0
    assert "QUAD_scale           verified" in capsys.readouterr().out


def test_bench_runs_a_case_in_a_process(tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "TORA_tanh.toml").write_text(SPEC.replace("LIMIT", "0.7").replace("sin(x)", "sin(x"), "utf-8")
    options = ("--networks", str(tmp_path), "--json", str(tmp_path / "b.json"), "--specs", str(specs), "--case", "TORA_tanh")
    assert bench_reach.run(arguments(*options)) == 1
    (case,) = json.loads((tmp_path / "b.json").read_text("utf-8"))["cases"]
    assert case["verdict"] == "error"
    assert "exit status 2" in case["reason"]


def test_bench_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--networks", str(tmp_path), "--json", str(tmp_path / "b.json")]
    with pytest.raises(InputError, match="--specs"):
        bench_reach.run(arguments(*given, "--specs", str(tmp_path / "absent")))
    with pytest.raises(InputError, match="--networks"):
        bench_reach.run(arguments("--networks", str(tmp_path / "absent"), *given[2:]))
    (tmp_path / "b.json").write_text("[]", "utf-8")
    with pytest.raises(InputError, match="delete it"):
        bench_reach.run(arguments(*given))
    with pytest.raises(MissingExtraError, match=r"no_such_package.*workstation"):
        workstation.require("bench reach", ("json", "no_such_package"))
    with pytest.raises(SystemExit):
        main(["bench", "reach", *given, "--case", "Nothing"])
    assert "invalid choice: 'Nothing'" in capsys.readouterr().err


def test_every_specification_is_a_case() -> None:
    assert {path.stem for path in (ROOT / "benchmarks" / "specs").glob("*.toml")} == set(bench_reach.CASES)
