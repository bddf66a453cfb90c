"""Whether the compiled planner computes what onnxruntime computes here, on the bundle's self-test vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from tubepilot.firmware_bridge.errors import BundleError

from .bundle import read_arrays
from .engine import GRAPHS, Engine
from .self_test import FILE
from .session import ORT_ERRORS, buffers, open_session

Array = npt.NDArray[Any]


ALLOWED = 4.0
"""Largest difference, over the bound of the bundle's vectors for another build of onnxruntime (256 ulps): 1.2e-4 of an action."""
NEEDED = (FILE, *(f"{graph}.onnx" for graph in GRAPHS))
"""Files of the bundle that a comparison reads."""


def sessions_of(files: Mapping[str, bytes]) -> dict[str, onnxruntime.InferenceSession]:
    """Sessions of the planner's graphs by name."""
    return {name: open_session(files[f"{name}.onnx"], f"{name}.onnx") for name in GRAPHS}


def compare(files: Mapping[str, bytes], engine: Engine) -> float:
    """Largest difference of any output, over what is allowed: `ALLOWED` times the bound that the bundle states for it.

    Compared with the vectors in the bundle, and with what onnxruntime gives here. Where `rank` takes another candidate, its return
    must be within twice the bound of the best; plan and disagreement are that candidate's then and are not compared.

    Args:
        files: `NEEDED` of a verified bundle.
        engine: To be compared.

    Raises:
        BundleError: a difference is above its bound or not a number, or the vectors do not fit.
    """
    arrays, sessions = read_arrays(files[FILE], FILE), sessions_of(files)
    make, worst = engine.maker(sessions), 0.0
    for graph in GRAPHS:
        given, made = buffers(sessions[graph], f"{graph}.onnx")
        stage = make(graph, given, made)
        feeds = {name: _vectors(arrays, f"{graph}/in/{name}", array) for name, array in given.items()}
        stored = {name: _vectors(arrays, f"{graph}/out/{name}", array) for name, array in made.items()}
        bounds = {name: ALLOWED * float(_vectors(arrays, f"{graph}/bound/{name}", None)) for name in made}
        for k in range(min(len(vectors) for vectors in feeds.values())):
            for name, array in given.items():
                np.copyto(array, feeds[name][k], casting="same_kind")
            for array in made.values():
                array.fill(0)
            stage.run()
            try:
                here = dict(zip(made, sessions[graph].run(list(made), given), strict=True))
            except ORT_ERRORS as error:
                raise BundleError(f"{graph}.onnx: onnxruntime cannot run it: {error}; export the bundle again") from error
            for wanted in (here, {name: vectors[k] for name, vectors in stored.items()}):
                worst = max(worst, *(_share(graph, name, made, wanted, bounds) for name in made))
    return worst


def _vectors(arrays: dict[str, npt.NDArray[np.generic]], key: str, port: Array | None) -> Array:
    """Vectors for a port, or a single number."""
    found = arrays.get(key)
    if found is None or (found.shape != () if port is None else found.shape[1:] != port.shape or len(found) == 0):
        raise BundleError(f"{FILE}: {key} is missing or of another shape; export the bundle again")
    return found


def _share(graph: str, name: str, made: dict[str, Array], wanted: dict[str, Array], bounds: dict[str, float]) -> float:
    """Difference of one output over its bound.

    Raises:
        BundleError: it is above 1 or not a number.
    """
    bound = bounds[name]
    difference = float(np.max(np.abs(made[name].astype(np.float64) - wanted[name].astype(np.float64)), initial=0.0))
    if "best" in made and int(made["best"][0]) != int(wanted["best"][0]):
        returns, bound = wanted["returns"], bounds["returns"]
        place = int(made["best"][0])
        if name == "best":
            difference = 0.5 * float(returns.max() - returns[place]) if 0 <= place < len(returns) else np.inf
        elif name != "returns":
            return 0.0
    share = difference / bound if bound > 0.0 else (0.0 if difference == 0.0 else np.inf)
    if not share <= 1.0:
        raise BundleError(
            f"the compiled {graph} differs from onnxruntime by {difference:.3g} in {name}, the bound is {bound:.3g}: its compiler "
            "or this processor computes something else"
        )
    return share
