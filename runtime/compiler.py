"""Compile the planner of a bundle on this machine, once, and keep the library.

A library is found again by what it was made from: source, flags and kind of processor. It is used only if its bytes have the hash
that was noted after it had run, it is ours or root's, and nobody else may write it; anything else is compiled anew. Each file is
written beside its place and renamed, so that a crash leaves the old state, the new one, or a library without a note, which does
not count.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tubepilot.firmware_bridge.errors import BundleError

from .slots_pointer import sync_directory

FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-fvisibility=hidden")
TARGETS = ("-march=native", "-mcpu=native", "")
"""How compilers are told to use all that this processor has: the first that is accepted."""
COMPILE_S = 120.0
IDENTIFY_S = 10.0
KEPT = 16
"""Libraries that are kept; the oldest go."""
ABANDONED_S = 3600.0
"""A folder that a crash left behind is removed after this time [s]."""


@dataclass(frozen=True, slots=True)
class Library:
    """A compiled planner.

    Attributes:
        path: Of the shared library.
        sha256: Of its bytes.
        compiler: What made it, with version and flags.
        seconds: How long that took [s].
        fresh: It was compiled just now.
    """

    path: Path
    sha256: str
    compiler: str
    seconds: float
    fresh: bool = False


def folders() -> list[Path]:
    """Where libraries are looked for: the folder that systemd gives a service, then the user's; the first writable one is filled."""
    given = [Path(text) / "planner" for text in os.environ.get("CACHE_DIRECTORY", "").split(":") if text]
    base = os.environ.get("XDG_CACHE_HOME", "")
    with contextlib.suppress(RuntimeError):  # a user without a home
        given.append((Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "tubepilot" / "planner")
    return given


def find_compiler() -> list[str] | None:
    """The command of a C compiler: $CC, else cc, gcc or clang; None if there is none."""
    named = shlex.split(os.environ.get("CC", ""))
    for words in ([named] if named else [["cc"], ["gcc"], ["clang"]]):
        program = shutil.which(words[0])
        if program is not None:
            return [program, *words[1:]]
    return None


def _run(words: list[str], folder: Path | None, timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
    )


def version(command: list[str]) -> str:
    """First line of what the compiler says of itself.

    Raises:
        BundleError: it does not run.
    """
    try:
        done = _run([*command, "--version"], None, IDENTIFY_S)
        done.check_returncode()
    except (OSError, subprocess.SubprocessError) as error:
        raise BundleError(f"the C compiler {shlex.join(command)} does not run: {error}") from error
    return (done.stdout.strip().splitlines() or ["?"])[0]


def processor() -> str:
    """What code for this processor may use: its kind, and the instructions that the kernel names."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        wanted = ("flags", "Features", "model name", "CPU part", "CPU variant", "isa")
        lines = sorted({line for line in text.splitlines() if line.split(":")[0].strip() in wanted})
    return "\n".join([platform.machine(), *lines])


def key(source: bytes) -> str:
    """Name of the library of a source on this processor."""
    parts = (source, repr((FLAGS, TARGETS)).encode(), processor().encode())
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:32]


def find(source: bytes, compiler: str | None, places: list[Path] | None = None) -> Library | None:
    """The kept library of a source.

    Args:
        source: Bytes of `planner.c`.
        compiler: Version of the compiler that is here now; another one's library does not count. None: any compiler's does.
        places: Where to look; `folders()` if None.

    Returns:
        None if there is none, or it is not whole, or not safe.
    """
    for folder in folders() if places is None else places:
        found = _kept(folder, key(source))
        if found is not None and (compiler is None or found.compiler.startswith(f"{compiler} -O")):
            return found
    return None


def _kept(folder: Path, name: str) -> Library | None:
    path = folder / f"{name}.so"
    try:
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        library = Library(path, str(note["sha256"]), str(note["compiler"]), float(note["seconds"]))
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            safe = stat.S_ISREG(status.st_mode) and status.st_uid in {0, os.geteuid()} and not status.st_mode & 0o022
            whole = safe and hashlib.sha256(file.read()).hexdigest() == library.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return library if whole else None


def compile_library(source: bytes, probe: Callable[[Path], None], places: list[Path] | None = None) -> Library:
    """Compile, let the probe run what came out, and keep it.

    Args:
        source: Bytes of `planner.c`.
        probe: Raises BundleError if the library is not usable; it is not kept then.
        places: Where it may be kept, the first that can be written; `folders()` if None.

    Raises:
        BundleError: no compiler, no folder to write, the compiler or the probe refuses; the text says what to do.
    """
    command = find_compiler()
    if command is None:
        raise BundleError("no C compiler here: install one, e.g. `sudo apt install gcc`")
    said = version(command)
    refused = []
    for folder in folders() if places is None else places:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _tidy(folder)
            with _workshop(folder) as place:
                return _make(command, said, source, folder, place, probe)
        except OSError as error:
            refused.append(f"{folder}: {error.strerror or error}")
    tried = "; ".join(refused) or "no home"
    raise BundleError(f"the library cannot be kept ({tried}): give the right to write there, or set XDG_CACHE_HOME")


@contextlib.contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(dir=folder, prefix="build-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _make(command: list[str], said: str, source: bytes, folder: Path, place: Path, probe: Callable[[Path], None]) -> Library:
    (place / "planner.c").write_bytes(source)
    start_s = time.monotonic()
    flags = _compile(command, place)
    seconds = time.monotonic() - start_s
    made = place / "planner.so"
    made.chmod(0o600)
    probe(made)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    library = Library(folder / f"{key(source)}.so", digest, f"{said} {' '.join(flags)}", seconds, fresh=True)
    note = {name: value for name, value in asdict(library).items() if name not in {"path", "fresh"}}
    (place / "note").write_text(json.dumps(note), encoding="utf-8")
    for name, target in (("planner.so", library.path), ("note", library.path.with_suffix(".json"))):
        with (place / name).open("rb") as file:
            os.fsync(file.fileno())
        os.replace(place / name, target)
    sync_directory(folder)
    return library


def _compile(command: list[str], place: Path) -> list[str]:
    """Run the compiler in a folder; returns the flags that it took.

    Raises:
        BundleError: it refuses, or takes too long.
    """
    text = ""
    for target in TARGETS:
        flags = [FLAGS[0], *([target] if target else []), *FLAGS[1:]]
        words = [*command, *flags, "-o", "planner.so", "planner.c", "-lm"]
        try:
            done = _run(words, place, COMPILE_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise BundleError(f"{shlex.join(words)} does not end well: {error}") from error
        if done.returncode == 0 and (place / "planner.so").is_file():
            return flags
        text = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
    raise BundleError(f"the C compiler {shlex.join(command)} refuses planner.c: {text[:200]}")


def _tidy(folder: Path) -> None:
    """Remove what crashes left behind, and the oldest libraries."""
    for place in folder.glob("build-*"):
        with contextlib.suppress(OSError):
            if time.time() - place.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):
        for path in sorted(folder.glob("*.so"), key=lambda p: p.stat().st_mtime)[: -KEPT]:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
