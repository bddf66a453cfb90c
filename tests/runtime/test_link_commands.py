"""`link`, `bench link`, `keys`, `install-service`, and what systemd is told."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tubepilot.runtime import bench_link
from tubepilot.runtime.cli import main
from tubepilot.runtime.notify import Notifier, started_again


def test_link_reports_rates_and_state_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with bench_link.peer(100.0) as device:
        status = main(["link", f"px4://{device}", "--json", "--period-s", "0.5", "--duration-s", "1.2"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert status == 0
    last = json.loads(lines[-1])
    assert last["connected"]
    assert last["mode"] == "hold"
    assert not last["armed"]
    assert last["messages_hz"]["AttitudeQuaternion"] > 20.0
    assert {"lost", "crc_errors", "state_age_ms", "state_hz", "echo_ms", "reconnects"} <= set(last)
    assert last["timesync"]["rtt_ms"] is not None


def test_link_says_who_does_not_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link", f"px4://{tmp_path}/nothing", "--timeout-s", "0.2"]) == 1
    assert "there is no such device" in capsys.readouterr().err


def test_bench_link_writes_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_link, "LEAD_S", 0.1)
    monkeypatch.setattr(bench_link.realtime, "enter", lambda: bench_link.realtime.Rights(()))
    file = tmp_path / "link.json"
    assert main(["bench", "link", "--json", str(file), "--duration-s", "1"]) == 0
    found = json.loads(file.read_text())
    assert set(found["codec_us"]) == {"p50", "p99"}
    assert 0.0 < found["codec_us"]["p50"] <= found["codec_us"]["p99"]
    assert found["ticks"] == 250
    assert 0 <= found["gaps"] <= 250
    assert found["cpu_percent"] > 0.0
    assert found["round_trip_ms"] > 0.0


def test_keys_new_trust_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert main(["keys", "new", str(tmp_path / "signing.key"), "--keys", str(here)]) == 0
    public = tmp_path / "signing.key.pub"
    fingerprint = capsys.readouterr().out.split("fingerprint ")[1].split(",")[0]
    assert (tmp_path / "signing.key").stat().st_mode & 0o077 == 0
    assert main(["keys", "list", "--keys", str(there)]) == 0
    assert "0 trusted keys" in capsys.readouterr().out
    assert main(["keys", "trust", str(public), "--keys", str(there)]) == 0
    assert main(["keys", "trust", str(public), "--keys", str(there)]) == 0
    assert "trusted already" in capsys.readouterr().out
    assert main(["keys", "list", "--keys", str(there)]) == 0
    assert fingerprint in capsys.readouterr().out
    assert main(["keys", "new", str(tmp_path / "signing.key"), "--keys", str(here)]) == 1, "a key is never overwritten"
    (tmp_path / "short.pub").write_bytes(b"x" * 31)
    assert main(["keys", "trust", str(tmp_path / "short.pub"), "--keys", str(there)]) == 1
    (tmp_path / "signing.key").write_bytes(bytes(range(32)))
    before = sorted(there.iterdir())
    assert main(["keys", "trust", str(tmp_path / "signing.key"), "--keys", str(there)]) == 1
    assert sorted(there.iterdir()) == before
    assert "31 bytes" in capsys.readouterr().err
    assert main(["keys", "trust"]) == 1


def test_the_service_asks_for_what_the_flight_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["install-service", str(tmp_path / "slots"), "--link", "px4:///dev/serial/by-id/usb-x%20y?baud=921600", "--user", "pilot"]
    words += ["--core", "3", "--units", str(tmp_path / "units"), "--rules", str(tmp_path / "rules")]
    assert main(words) == 0
    unit = (tmp_path / "units" / "tubepilot.service").read_text()
    for line in ("Type=notify", "WatchdogSec=2", "CPUSchedulingPolicy=fifo", "CPUAffinity=3", "LimitMEMLOCK=infinity", "User=pilot"):
        assert line in unit.splitlines()
    assert "%%20" in unit, "a per cent sign is a specifier in a unit"
    assert "Restart=on-abnormal" in unit.splitlines(), "after a flight that ended, well or not, nothing may take off again"
    assert "RuntimeDirectoryPreserve=restart" in unit.splitlines()
    assert f"ReadWritePaths={tmp_path}/slots" in unit.splitlines()
    pose = ["--link", "betaflight:///dev/ttyACM0?pose=/run/mo cap/pose"]
    assert main([*words, *pose]) == 0
    assert f'ReadWritePaths={tmp_path}/slots "/run/mo cap"' in (tmp_path / "units" / "tubepilot.service").read_text().splitlines()
    rule = (tmp_path / "rules" / "70-tubepilot.rules").read_text()
    assert 'ATTR{latency_timer}="1"' in rule
    capsys.readouterr()
    assert main([*words, "--print"]) == 0
    assert "ExecStart=" in capsys.readouterr().out
    assert main([*words, "--user", "pilot; rm"]) == 1
    assert main([*words, "--watchdog-s", "0.1"]) == 1
    assert main([*words, "--link", "px4://x"]) == 1


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    words = ["install-service", str(tmp_path / "slots"), "--link", "ardupilot:///dev/ttyAMA0?signing=/etc/key", "--user", "root"]
    words += ["--core", "1", "--fly-options", "--task figure-eight --resume"]
    assert main([*words, "--units", str(tmp_path), "--rules", str(tmp_path / "rules")]) == 0
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "tubepilot.service")], capture_output=True, text=True, check=False, timeout=60.0
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_start_after_an_abnormal_end_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert [started_again(), started_again()] == [False, False], "without systemd every start is the operator's"
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    assert [started_again(), started_again(), started_again()] == [False, True, True]
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path / 'absent'}:{tmp_path}")
    assert started_again(), "what cannot be known is taken for a restart"


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(path))
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    notifier = Notifier()
    notifier.ready("flying")
    notifier.alive()
    notifier.stopping()
    assert [listener.recv(100).split(b"\n")[0] for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    listener.close()
    notifier.alive()  # after the end nothing is said
    monkeypatch.delenv("NOTIFY_SOCKET")
    Notifier().alive()
