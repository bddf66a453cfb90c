"""Doctor: every line has a remedy unless it is OK, and the exit status says whether the machine can fly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tubepilot.runtime import cli_doctor, doctor
from tubepilot.runtime.cli import main
from tubepilot.runtime.doctor import Check, Level


def rights(obtained: bool) -> list[list[object]]:
    return [["SCHED_FIFO", obtained, "detail", "" if obtained else "remedy"]]


def test_every_check_on_this_machine_has_a_remedy_unless_it_is_ok(tmp_path: Path) -> None:
    checks = doctor.examine(tmp_path, tmp_path)
    assert len({check.name for check in checks}) == len(checks) >= 14
    for check in checks:
        assert check.found
        assert bool(check.remedy) == (check.level is not Level.OK), check


@pytest.mark.parametrize(("level", "status"), [(Level.OK, 0), (Level.WARN, 0), (Level.FAIL, 1)])
def test_exit_status_is_that_of_the_worst_line(
    level: Level, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [Check("first", Level.OK, "fine"), Check("second", level, "found", "" if level is Level.OK else "do this")]
    monkeypatch.setattr(cli_doctor, "examine", lambda logs, keys: checks)
    assert main(["doctor", "--json", str(tmp_path / "checks.json")]) == status
    written = json.loads((tmp_path / "checks.json").read_text())
    assert [entry["level"] for entry in written] == ["OK", level.value]
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert "next:" in last
    assert ("not ready" in last) == (status == 1)


def test_json_to_standard_output_is_nothing_but_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json", "-"])
    assert {"name", "level", "found", "remedy"} == set(json.loads(capsys.readouterr().out)[0])


@pytest.mark.parametrize(
    ("p99_us", "level"), [(499.0, Level.OK), (500.0, Level.WARN), (4999.0, Level.WARN), (5000.0, Level.FAIL)]
)
def test_lateness_limits(p99_us: float, level: Level) -> None:
    answer: dict[str, object] = {"rights": rights(True), "lateness_us": [50.0, p99_us, p99_us], "error": ""}
    assert list(doctor.check_realtime(answer))[-1].level is level


def test_refused_rights_warn_with_their_remedy() -> None:
    answer: dict[str, object] = {"rights": rights(False), "lateness_us": [50.0, 60.0, 70.0], "error": ""}
    check = next(iter(doctor.check_realtime(answer)))
    assert (check.level, check.remedy) == (Level.WARN, "remedy")


def test_a_probe_that_fails_is_reported() -> None:
    checks = list(doctor.check_realtime({"rights": [], "lateness_us": [], "error": "it broke"}))
    assert [(check.level, check.found) for check in checks] == [(Level.WARN, "it broke")]


@pytest.mark.parametrize(
    ("governors", "level"),
    [([], Level.OK), (["performance"] * 2, Level.OK), (["performance", "powersave"], Level.WARN)],
)
def test_governor(governors: list[str], level: Level, tmp_path: Path) -> None:
    for core, governor in enumerate(governors):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(governor + "\n")
    assert doctor.check_governor(tmp_path).level is level


@pytest.mark.parametrize(("source", "level"), [("tsc", Level.OK), ("arch_sys_counter", Level.OK), ("hpet", Level.WARN)])
def test_clock_source(source: str, level: Level, tmp_path: Path) -> None:
    (tmp_path / "current_clocksource").write_text(source + "\n")
    assert doctor.check_clock(tmp_path).level is level


def test_keys_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_keys(tmp_path / "none").level is Level.FAIL
    (tmp_path / "a.pub").write_bytes(bytes(32))
    assert doctor.check_keys(tmp_path).level is Level.OK
    (tmp_path / "b.pub").write_bytes(bytes(31))
    assert doctor.check_keys(tmp_path).level is Level.FAIL
    assert doctor.check_disk(tmp_path / "not" / "yet").found.endswith(str(tmp_path))
    monkeypatch.setattr(doctor, "DISK_FAIL_BYTES", 1 << 62)
    monkeypatch.setattr(doctor, "DISK_WARN_BYTES", 1 << 62)
    assert doctor.check_disk(tmp_path).level is Level.FAIL


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ONBOARD", ("numpy", "no-such-distribution"))
    check = next(iter(doctor.check_packages()))
    assert check.level is Level.FAIL
    assert "no-such-distribution" in check.found
    assert "numpy" not in check.found


def test_serial_ports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Port:
        device = str(tmp_path / "port")

    monkeypatch.setattr(doctor.glob, "glob", lambda pattern: [])
    monkeypatch.setattr(doctor.list_ports, "comports", list)
    assert doctor.check_serial().level is Level.WARN
    monkeypatch.setattr(doctor.list_ports, "comports", lambda: [Port])
    assert doctor.check_serial().level is Level.FAIL
    Path(Port.device).touch()
    assert doctor.check_serial().level is Level.OK


def test_every_right_of_the_tick_is_verified_and_none_is_skipped() -> None:
    names = {check.name for check in doctor.check_realtime(doctor.probe())}
    wanted = {"SCHED_FIFO", "core", "cores kept awake", "locked memory", "heap in reserve", "garbage collector off",
              "onnxruntime threads", "onnxruntime telemetry off", "wake-up lateness"}  # fmt: skip
    assert names == wanted
