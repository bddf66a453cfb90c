"""onnxruntime sessions as the vehicle runs them: one thread, sequential, no spinning, fixed buffers."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as _native

from tubepilot.firmware_bridge.errors import BundleError

ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    kind
    for kind in vars(_native).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
)
"""Every error that onnxruntime raises; they share no base below Exception."""

DISABLED_OPTIMIZERS = ("MatmulTransposeFusion",)
"""onnxruntime 1.24 fuses float64 products by it into a node that has only a float32 kernel, and the shield does not load."""

DTYPES: dict[str, type] = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
DTYPES["tensor(bool)"] = np.bool_
Buffer = npt.NDArray[np.float32] | npt.NDArray[np.float64] | npt.NDArray[np.int64] | npt.NDArray[np.bool_]


def open_session(model: bytes, name: str, options: int | None = 4) -> onnxruntime.InferenceSession:
    """Load a graph.

    Args:
        model: Bytes of an ONNX file, already checked against their hash.
        name: File name, for the message.
        options: What the size of that name is fixed to, if the graph leaves it open (the shield's does). None: it stays open, and
            each binding has its own, so that few options and many share one session, which is warm then.

    Raises:
        BundleError: onnxruntime refuses it.
    """
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Every intermediate result keeps a place of its own in the block that is laid out once: nothing is given back between
    # nodes, which takes 8 to 10 % off graphs of many small ones (measured, 1.32.0), for some 100 kB a graph.
    settings.enable_mem_reuse = False
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if options is not None:
        settings.add_free_dimension_override_by_name("options", options)
    settings.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model, settings, providers=["CPUExecutionProvider"], disabled_optimizers=list(DISABLED_OPTIMIZERS)
        )
    except ORT_ERRORS as error:
        raise BundleError(
            f"{name}: onnxruntime {onnxruntime.__version__} cannot load it: {error}; export the bundle again"
        ) from error


def buffers(session: onnxruntime.InferenceSession, name: str) -> tuple[dict[str, Buffer], dict[str, Buffer]]:
    """Zeroed input and output arrays of the shapes and types that a graph states.

    Raises:
        BundleError: a shape is not fixed, or a type is none of float32, float64, int64 and bool.
    """

    def make(kind: str, arguments: list[onnxruntime.NodeArg]) -> dict[str, Buffer]:
        result: dict[str, Buffer] = {}
        for argument in arguments:
            if argument.type not in DTYPES or not all(isinstance(size, int) for size in argument.shape):
                raise BundleError(
                    f"{name}: {kind} {argument.name} is {argument.type} of shape {argument.shape}; "
                    f"on board only fixed shapes of {', '.join(DTYPES)} run: export again"
                )
            result[argument.name] = np.zeros(argument.shape, DTYPES[argument.type])
        return result

    return make("input", session.get_inputs()), make("output", session.get_outputs())


def bind(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]
) -> onnxruntime.IOBinding:
    """Tie a session to arrays, so that a run reads and writes them in place and allocates nothing.

    It is run twice, on whatever the arrays hold: onnxruntime asks for memory in the first run and lays it out in the second, by
    the MiB and session, and a graph that is needed for the first time in flight (the backup policy's) must not do so there.
    The caller keeps the arrays alive and contiguous for as long as the binding is used.
    """
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
    with contextlib.suppress(*ORT_ERRORS):  # what is wrong shows when it is run in earnest
        for _ in range(2):
            session.run_with_iobinding(binding)
    return binding
