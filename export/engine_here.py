"""The compiled planner on the machine that exports: for parity and benches. On board, `runtime.engine_choice` does this."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from tubepilot.firmware_bridge.errors import BundleError
from tubepilot.runtime import compiler
from tubepilot.runtime.engine import Compiled

from .c_source import Compiled as Source
from .c_source import write


def load(source: Source) -> Compiled:
    """Compile, or take the library that was kept; it lies apart from those that fly, since nothing has probed it.

    Raises:
        BundleError: no compiler here, or it refuses.
    """
    text = source.source.encode()
    command = compiler.find_compiler()
    if command is None:
        raise BundleError("no C compiler here: install one, e.g. `sudo apt install gcc`")
    places = [folder.with_name("unprobed") for folder in compiler.folders()]
    library = compiler.find(text, compiler.version(command), places) or compiler.compile_library(text, lambda _: None, places)
    return Compiled(library.path, source.weights.astype("<f4").tobytes(), library.sha256)


def compiled_engine(models: Mapping[str, onnx.ModelProto]) -> Compiled:
    """Engine of the graphs rollout, refine and rank; see `load`."""
    return load(write(models))
