"""The documentation says what the program does: phase diagram, commands with their options, sections, links."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tubepilot.runtime.cli import COMMANDS
from tubepilot.runtime.phases import mermaid

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def command_lines(text: str) -> Iterator[list[str]]:
    """Every `tubepilot ...` in code blocks, and in code spans that name files of the demo, as arguments."""
    blocks = re.findall(r"^ *```[a-z]*\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    spans = [span for span in re.findall(r"`([^`\n]+)`", text) if " demo/" in span]
    for line in "\n".join([*blocks, *spans]).replace("\\\n", " ").splitlines():
        code = line.removeprefix("$ ").strip()
        if code.startswith("tubepilot "):
            yield shlex.split(code, comments=True)[1:]


def every_command() -> list[tuple[str, list[str]]]:
    return [
        (str(path.relative_to(ROOT)), words)
        for path in DOCUMENTS
        for words in command_lines(path.read_text(encoding="utf-8"))
    ]


def test_phase_diagram_is_the_table_of_the_program() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{mermaid()}```" in text, "paste the output of tubepilot.runtime.phases.mermaid()"


def test_readme_shows_commands() -> None:
    shown = {words[0] for name, words in every_command() if name == "README.md"}
    assert set(COMMANDS) - {"reach", "doctor", "bench"} <= shown


@pytest.mark.parametrize(("name", "words"), every_command(), ids=lambda value: value if isinstance(value, str) else "")
def test_documented_command_is_understood(name: str, words: list[str]) -> None:
    assert words[0] in COMMANDS, f"{name}: no command {words[0]}"
    module = importlib.import_module(COMMANDS[words[0]].module)
    parser = argparse.ArgumentParser(prog=f"{name}: tubepilot {words[0]}", exit_on_error=False)
    module.add_arguments(parser)
    assert parser.parse_args(words[1:]) is not None


def sections(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"^## (\d+)\. ", text, flags=re.MULTILINE)}


def test_sections_of_the_certificate_that_the_code_names_exist() -> None:
    present = sections((ROOT / "docs" / "certificate.md").read_text(encoding="utf-8"))
    named: set[int] = set()
    for part in ("train", "export", "runtime", "firmware_bridge"):
        for path in (ROOT / part).rglob("*.py"):
            for listed in re.findall(r"docs/certificate\.md, sections? ([\d, and]+)", path.read_text(encoding="utf-8")):
                named |= {int(number) for number in re.findall(r"\d+", listed)}
    assert named, "no file names a section any more"
    assert named <= present == set(range(1, 13))


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "#")):
            assert (path.parent / target.split("#")[0]).exists(), f"{name} links to {target}, which is not there"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
