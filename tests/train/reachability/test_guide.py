"""docs/reachability.md is run as it stands: programs and files, named in the first line of their block, commands, what they print."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "reachability.md"
BLOCK = re.compile(r"^```(python|toml|sh|text)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def ran(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def test_guide(tmp_path: Path) -> None:
    blocks = BLOCK.findall(GUIDE.read_text("utf-8"))
    assert [kind for kind, _ in blocks] == ["python", "toml", "sh", "text", "python", "sh", "text", "python"]
    said, status = "", 0
    for kind, text in blocks:
        if kind == "text":  # the verdict that the guide shows
            assert text.strip() in said
            assert status == (0 if "verified" in text else 1)
        elif kind == "sh":
            words = shlex.split(text, comments=True)
            assert words[0] == "tubepilot"
            done = ran(tmp_path, [sys.executable, "-m", "tubepilot.runtime.cli", *words[1:]])
            said, status = done.stdout, done.returncode
            assert status in (0, 1), done.stderr
        else:
            path = tmp_path / text.splitlines()[0].removeprefix("# ")
            path.write_text(text, "utf-8")
            if kind == "python":
                done = ran(tmp_path, [sys.executable, path.name])
                assert done.returncode == 0, done.stderr
                said = done.stdout
    assert said.startswith("verified")
    outcome = json.loads((tmp_path / "outcome.json").read_text("utf-8"))
    assert f"rate at the end: {outcome['end_box'][1][0]:.4f} to {outcome['end_box'][1][1]:.4f}" in said
    assert (tmp_path / "tube.png").stat().st_size > 10_000
    assert "falsified" in (tmp_path / "narrow.html").read_text("utf-8")
