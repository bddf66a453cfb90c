"""What runs the planner's graphs: onnxruntime, or the library compiled from the bundle's `planner.c`.

Both are given the same buffers once and run on them tick after tick. The shield's graphs are not run here: its proof speaks of
onnxruntime's arithmetic.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from tubepilot.firmware_bridge.errors import BundleError

from .session import Buffer, bind

ABI = 1
ALIGN_BYTES = 64
SOURCE, WEIGHTS = "planner.c", "planner.bin"
GRAPHS = ("rollout", "refine", "rank")

Sessions = Mapping[str, onnxruntime.InferenceSession]
Buffers = Mapping[str, Buffer]


class Stage(Protocol):
    """One graph on fixed buffers."""

    def run(self) -> None:
        """Compute the outputs from the inputs."""


Maker = Callable[[str, Buffers, Buffers], Stage]
"""Stage of a graph on those of the inputs and outputs given that the graph has."""


class Engine(Protocol):
    """Something that runs the planner's graphs.

    Attributes:
        name: `onnxruntime` or `compiled`.
        identity: What decides about the last bit: the version, or the hash of the library.
    """

    name: str
    identity: str

    def maker(self, sessions: Sessions) -> Maker:
        """Stages for one planner; `sessions` say which ports a graph has, in which order."""


def _ports(session: onnxruntime.InferenceSession, inputs: Buffers, outputs: Buffers) -> tuple[dict[str, Buffer], dict[str, Buffer]]:
    taken, made = (tuple(port.name for port in ports) for ports in (session.get_inputs(), session.get_outputs()))
    return {name: inputs[name] for name in taken if name in inputs}, {name: outputs[name] for name in made if name in outputs}


class _Bound:
    """A session on fixed buffers."""

    def __init__(self, session: onnxruntime.InferenceSession, inputs: Buffers, outputs: Buffers) -> None:
        self._session = session
        self._held = _ports(session, inputs, outputs)  # the binding holds addresses only: the arrays live here
        self._binding = bind(session, *self._held)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)


class Onnxruntime:
    """The graphs as they are in the bundle."""

    name = "onnxruntime"

    def __init__(self) -> None:
        """Nothing to load."""
        self.identity = onnxruntime.__version__

    def maker(self, sessions: Sessions) -> Maker:
        """See `Engine`."""
        return lambda graph, inputs, outputs: _Bound(sessions[graph], inputs, outputs)


def aligned(count: int) -> npt.NDArray[np.float32]:
    """Zeroed float32 numbers, the first at a multiple of 64 bytes."""
    room = np.zeros(count + ALIGN_BYTES // 4, np.float32)
    start = -(room.ctypes.data // 4) % (ALIGN_BYTES // 4)
    return room[start : start + count]


class _Call:
    """A function of the library on fixed buffers; ctypes lets other threads run meanwhile."""

    def __init__(self, function: Callable[..., None], weights: Buffer, scratch: Buffer, ports: list[Buffer]) -> None:
        for array in ports:
            if not array.flags.c_contiguous:
                raise BundleError(f"a buffer of shape {array.shape} is not contiguous, which {SOURCE} expects")
        self._held = weights, scratch, ports
        self._places = (ctypes.c_void_p * len(ports))(*[array.ctypes.data for array in ports])
        self._function = function
        self._arguments = weights.ctypes.data, scratch.ctypes.data, ctypes.addressof(self._places)

    def run(self) -> None:
        self._function(*self._arguments)


class Compiled:
    """The library of `planner.c`. Every planner gets scratch memory of its own; the library itself keeps nothing."""

    name = "compiled"

    def __init__(self, path: Path, weights: bytes, identity: str) -> None:
        """Load it.

        Args:
            path: Of the shared library.
            weights: Bytes of `planner.bin`.
            identity: Hash of the library.

        Raises:
            BundleError: it cannot be loaded, or is not made for these weights or this version.
        """
        self.identity = identity
        try:
            self._library = ctypes.CDLL(str(path))
            abi = ctypes.c_int.in_dll(self._library, "tubepilot_abi").value
            count = ctypes.c_long.in_dll(self._library, "tubepilot_weights").value
            self._scratch = ctypes.c_long.in_dll(self._library, "tubepilot_scratch").value
            self._functions = {graph: self._library[f"tubepilot_{graph}"] for graph in GRAPHS}
        except (OSError, ValueError, AttributeError) as error:
            raise BundleError(f"the compiled planner {path} cannot be loaded: {error}") from error
        if abi != ABI or 4 * count != len(weights) or not 0 <= self._scratch <= 1 << 28:
            raise BundleError(
                f"{SOURCE} is of interface {abi} for {count} weights and {self._scratch} numbers of scratch memory; this version has "
                f"interface {ABI}, {WEIGHTS} {len(weights) / 4:g} weights: export the bundle again"
            )
        self._weights = aligned(count)
        np.copyto(self._weights, np.frombuffer(weights, "<f4"))
        for function in self._functions.values():
            function.argtypes, function.restype = [ctypes.c_void_p] * 3, None

    def maker(self, sessions: Sessions) -> Maker:
        """See `Engine`."""
        scratch = aligned(self._scratch)

        def make(graph: str, inputs: Buffers, outputs: Buffers) -> Stage:
            taken, made = _ports(sessions[graph], inputs, outputs)
            return _Call(self._functions[graph], self._weights, scratch, [*taken.values(), *made.values()])

        return make
