"""Runs a library that was compiled just now on the self-test vectors, in a process of its own: a crash there is a refusal here.

The working folder holds `planner.so`, `planner.bin` and what `engine_check` needs. Status 0 if it agrees with onnxruntime; 1, with the
reason on stderr, if not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tubepilot.firmware_bridge.errors import BundleError, TubepilotError

from .engine import WEIGHTS, Compiled
from .engine_check import NEEDED, compare

PROBE_S = 60.0


def probe(library: Path, files: Mapping[str, bytes]) -> None:
    """Run the probe on a library.

    Args:
        library: `planner.so` in a folder of ours, where the other files are put.
        files: Of the verified bundle.

    Raises:
        BundleError: the library does not agree with onnxruntime, crashes or hangs.
    """
    for name in (*NEEDED, WEIGHTS):
        (library.parent / name).write_bytes(files[name])
    words = [sys.executable, "-P", "-m", __name__]
    try:
        done = subprocess.run(
            words, cwd=library.parent, capture_output=True, text=True, errors="replace", timeout=PROBE_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise BundleError(f"the compiled planner's probe does not end well: {error}") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise BundleError(f"the compiled planner is refused: {reason[:300]}")


def main() -> int:
    """The probe itself."""
    files = {name: Path(name).read_bytes() for name in NEEDED}
    try:
        compare(files, Compiled(Path("planner.so").absolute(), Path(WEIGHTS).read_bytes(), "probe"))
    except TubepilotError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
