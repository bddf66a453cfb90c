"""Run the bundle's self-test vectors through onnxruntime on this machine and compare with the bounds in the bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tubepilot.firmware_bridge.errors import BundleError

from .bundle import Bundle
from .manifest import GRAPHS
from .session import ORT_ERRORS, bind, buffers, open_session

FILE = "selftest.npz"


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """Largest difference of one output from its stored vectors, and the bound that the bundle states for it."""

    graph: str
    output: str
    vectors: int
    difference: float
    bound: float

    @property
    def ok(self) -> bool:
        """Within the bound; not a number is not."""
        return self.difference <= self.bound


def self_test(bundle: Bundle, *, progress: bool = False) -> list[SelfTestResult]:
    """Run all vectors of all graphs.

    Args:
        bundle: Verified bundle. `selftest.npz` holds `GRAPH/in/NAME` and `GRAPH/out/NAME` (first axis: vector) and
            `GRAPH/bound/NAME` (largest absolute difference that is accepted).
        progress: Show a bar on stderr.

    Returns:
        One entry per output.

    Raises:
        BundleError: a graph cannot be loaded or run, a vector has another shape, or a difference is above its bound.
    """
    arrays = bundle.arrays(FILE)
    results: list[SelfTestResult] = []
    for graph in tqdm(GRAPHS, desc="self-test", unit="graph", disable=not progress):
        results.extend(_run(graph, bundle.files[f"{graph}.onnx"], arrays))
    return results


def require(results: list[SelfTestResult]) -> None:
    """Refuse a bundle whose self-test failed here.

    Raises:
        BundleError: a difference is above its bound.
    """
    for result in results:
        if not result.ok:
            raise BundleError(
                f"{result.graph}.onnx: self-test output {result.output} differs by {result.difference:.3g}, the bound "
                f"is {result.bound:.3g}: this machine's onnxruntime computes something else; do not fly it here"
            )


def _run(graph: str, model: bytes, arrays: dict[str, npt.NDArray[np.generic]]) -> Iterator[SelfTestResult]:
    session = open_session(model, f"{graph}.onnx")
    inputs, outputs = buffers(session, f"{graph}.onnx")
    binding = bind(session, inputs, outputs)
    given = {name: _stored(arrays, f"{graph}/in/{name}", array.shape) for name, array in inputs.items()}
    wanted = {name: _stored(arrays, f"{graph}/out/{name}", array.shape) for name, array in outputs.items()}
    counts = {len(stored) for stored in (*given.values(), *wanted.values())}
    if len(counts) != 1:
        raise BundleError(f"{FILE}: vectors of {graph} differ in number: {sorted(counts)}; export the bundle again")
    count = counts.pop()
    worst = dict.fromkeys(outputs, 0.0)
    for k in range(count):
        for name, array in inputs.items():
            np.copyto(array, given[name][k], casting="same_kind")
        try:
            session.run_with_iobinding(binding)
        except ORT_ERRORS as error:
            raise BundleError(f"{graph}.onnx: onnxruntime cannot run it: {error}; export the bundle again") from error
        for name, array in outputs.items():
            difference: npt.NDArray[np.float64] = np.abs(array.astype(np.float64) - wanted[name][k].astype(np.float64))
            worst[name] = max(worst[name], float(np.max(np.where(np.isnan(difference), np.inf, difference))))
    for name, largest in worst.items():
        bound = _stored(arrays, f"{graph}/bound/{name}", None)
        yield SelfTestResult(graph, name, count, largest, float(bound))


def _stored(
    arrays: dict[str, npt.NDArray[np.generic]], key: str, shape: tuple[int, ...] | None
) -> npt.NDArray[Any]:
    """A numeric array of the self-test, its shape checked behind the first axis; a scalar if `shape` is None."""
    array = arrays.get(key)
    if array is None or array.dtype.kind not in "fib":
        raise BundleError(f"{FILE}: {key} is missing or not numeric; export the bundle again")
    expected = () if shape is None else (len(array) if array.ndim else 0, *shape)
    if array.shape != expected:
        raise BundleError(f"{FILE}: {key} has shape {array.shape}, expected {expected}; export the bundle again")
    return array
