"""Which engine plans: the compiled planner where the bundle brings it and it works here, onnxruntime otherwise.

Nothing that goes wrong with the compiled planner keeps a flight on the ground: onnxruntime flies then, and the reason is said.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tubepilot.firmware_bridge.errors import BundleError, InputError, TubepilotError

from .bundle import Bundle, read_bundle
from .compiler import Library, compile_library, find, find_compiler, version
from .engine import SOURCE, WEIGHTS, Compiled, Engine, Onnxruntime
from .engine_check import compare
from .engine_probe import probe
from .planner import Planner

WISHES = ("auto", "compiled", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that plans.

    Attributes:
        engine: For `Planner`.
        text: One line for the user: which, why, what it cost.
        refused: Why the compiled planner does not fly; empty if it does, or was not wanted.
        meta: For the flight log.
    """

    engine: Engine
    text: str
    refused: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)

    def planner(self, bundle: Bundle) -> Planner:
        """A planner on this engine."""
        return Planner(bundle, engine=self.engine)


def add_argument(parser: argparse.ArgumentParser) -> None:
    """The option `--planner-engine`."""
    parser.add_argument(
        "--planner-engine", choices=WISHES, default="auto",
        help="what runs the planner's graphs: the C code of the bundle, compiled here once, or onnxruntime; auto compiles if it can; "
        "compiled refuses to go on without; auto if not given",
    )  # fmt: skip


def _onnxruntime(text: str, refused: str = "") -> Choice:
    engine = Onnxruntime()
    return Choice(engine, f"planner engine: onnxruntime {engine.identity}{text}", refused, {"planner_engine": engine.name})


def choose(bundle: Bundle, wish: str = "auto", *, may_compile: bool = True) -> Choice:
    """Decide, compiling if need be.

    Args:
        bundle: Verified.
        wish: One of `WISHES`.
        may_compile: False: take a library that is kept, but do not spend seconds on a new one (a vehicle is in the air).

    Raises:
        InputError: the compiled planner is asked for, and does not work here.
    """
    if wish == "onnxruntime":
        return _onnxruntime(", as asked for")
    try:
        return _compiled(bundle, may_compile)
    except (TubepilotError, OSError) as error:
        if wish == "compiled":
            raise InputError(f"--planner-engine compiled: {error}") from error
        return _onnxruntime(f"; not compiled, which is several times faster: {error}", str(error))


def prepare(bundle: Bundle, *, may_compile: bool = True) -> Library:
    """The library of a bundle's planner, compiled and probed if it is not kept already.

    Raises:
        BundleError: the bundle brings no C code, or it cannot be compiled here.
    """
    if SOURCE not in bundle.files:
        raise BundleError(f"the bundle brings no {SOURCE}: export it again with this version")
    command = find_compiler()
    found = find(bundle.files[SOURCE], None if command is None or not may_compile else version(command))
    if found is not None:
        return found
    if not may_compile:
        raise BundleError("none is kept, and there is no time to compile one now: `tubepilot doctor --bundle BUNDLE` does it")
    return compile_library(bundle.files[SOURCE], lambda path: probe(path, bundle.files))


def _compiled(bundle: Bundle, may_compile: bool) -> Choice:
    library = prepare(bundle, may_compile=may_compile)
    engine = Compiled(library.path, bundle.files[WEIGHTS], library.sha256)
    share = compare(bundle.files, engine)
    how = f"in {library.seconds:.1f} s, kept as {library.path}" if library.fresh else f"kept as {library.path.name}"
    made = library.compiler.partition(" -O")[0]
    text = f"planner engine: compiled by {made}, {how}; differs from onnxruntime by {100 * share:.0f} % of what is allowed"
    meta = {"planner_engine": engine.name, "planner_library_sha256": library.sha256, "planner_compiler": library.compiler}
    return Choice(engine, text, "", meta)


def make_ready(path: Path, keys: Path | None) -> str:
    """Compile the planner of a flashed bundle now, so that the first flight need not; says what came of it, whatever that is.

    Args:
        path: Bundle directory, already checked.
        keys: Directory of trusted public keys; the default one if None.
    """
    try:
        bundle = read_bundle(path, keys)
        return choose(bundle).text if SOURCE in bundle.files else ""
    except TubepilotError as error:
        return f"planner engine: not prepared: {error}"
