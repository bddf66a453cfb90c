"""Every operator that the C emitter knows, and whole graphs, against onnxruntime on the same model."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.random_model import random_model
from onnx import TensorProto, helper, numpy_helper

from tubepilot.export import c_source
from tubepilot.export.bench_decision import Ours, make_case
from tubepilot.export.bench_planner import settings
from tubepilot.export.c_maps import CODE
from tubepilot.export.c_prelude import TANH_ERROR
from tubepilot.firmware_bridge.errors import ShapeError
from tubepilot.runtime import compiler
from tubepilot.runtime.engine import Compiled, aligned
from tubepilot.runtime.session import buffers, open_session

RNG = np.random.default_rng(0)
Shapes = dict[str, tuple[int, ...]]


def model(nodes: list[tuple[Any, ...]], given: Shapes, made: list[str], constants: dict[str, Any]) -> onnx.ModelProto:
    """A model from (operator, inputs, outputs, attributes)."""
    arrays = {
        name: np.asarray(value, np.int64 if np.asarray(value).dtype.kind == "i" else np.float32) for name, value in constants.items()
    }
    graph = helper.make_graph(
        [helper.make_node(op, taken.split(), out.split(), **(rest[0] if rest else {})) for op, taken, out, *rest in nodes],
        "case",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in given.items()],
        [onnx.ValueInfoProto(name=name) for name in made],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    whole.ir_version = 9
    inferred = onnx.shape_inference.infer_shapes(whole, strict_mode=True)
    onnx.checker.check_model(inferred, full_check=True)
    return inferred


def sparse(rows: int, columns: int, share: float) -> Any:
    return RNG.normal(size=(rows, columns)) * (RNG.random((rows, columns)) < share)


TWO = {"a": (5, 24), "b": (5, 24)}
ENTRIES = {
    op: model([(op, "a b", "y")], TWO, ["y"], {}) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max")
} | {op: model([(op, "a", "y")], {"a": (7, 13)}, ["y"], {}) for op in ("Tanh", "Ceil", "Floor", "Abs", "Neg", "Sign", "Relu")}
CASES: dict[str, onnx.ModelProto] = {
    **ENTRIES,
    "Sqrt": model([("Abs", "a", "b"), ("Sqrt", "b", "y")], {"a": (60, 4)}, ["y"], {}),
    "Clip": model([("Clip", "a l h", "y")], {"a": (5, 3)}, ["y"], {"l": -0.5, "h": 0.25}),
    "WhereEqual": model(
        [("Clip", "a l h", "c"), ("Equal", "a c", "e"), ("Where", "e b z", "y")], {"a": (5, 3), "b": (5, 3)}, ["y"],
        {"l": -0.5, "h": 0.25, "z": [0.0]},
    ),
    "WhereGreaterLess": model(
        [("Greater", "a b", "g"), ("Where", "g a b", "x"), ("Less", "a x", "l"), ("Where", "l b x", "y")], TWO, ["y"], {}
    ),
    "broadcast": model(
        [("Mul", "a r", "m"), ("Sub", "m c", "s"), ("Add", "s k", "t"), ("Mul", "t f", "y")],
        {"a": (5, 9), "r": (1, 9), "c": (5, 1)}, ["y"], {"k": RNG.normal(size=(5, 9)), "f": [0.3]},
    ),
    "chain": model(
        [("Tanh", "a", "t"), ("Mul", "t t", "q"), ("Sub", "one q", "d"), ("Mul", "d b", "y")], TWO, ["y", "q"], {"one": [[1.0]]}
    ),
    "dense": model([("Gemm", "a w b", "y")], {"a": (5, 64)}, ["y"], {"w": RNG.normal(size=(64, 64)), "b": RNG.normal(size=(1, 64))}),
    "odd": model([("MatMul", "a w", "y")], {"a": (13, 7)}, ["y"], {"w": RNG.normal(size=(7, 83))}),
    "wide": model([("Gemm", "a w c", "y")], {"a": (1, 3), "c": (1, 300)}, ["y"], {"w": sparse(3, 300, 0.3)}),
    "narrow": model([("Gemm", "a w c", "y")], {"a": (60, 160), "c": (60, 1)}, ["y"], {"w": RNG.normal(size=(160, 1))}),
    "sparse_right": model([("Gemm", "a w c", "y")], {"a": (11, 52), "c": (11, 72)}, ["y"], {"w": sparse(52, 72, 0.06)}),
    "sparse_left": model([("Gemm", "w a c", "y")], {"a": (60, 70), "c": (1, 70)}, ["y"], {"w": sparse(60, 60, 0.1)}),
    "left_column": model([("MatMul", "w a", "y")], {"a": (1, 16)}, ["y"], {"w": np.ones((5, 1))}),
    "nothing": model(
        [("MatMul", "a w", "x"), ("MatMul", "v a", "y")], {"a": (4, 4)}, ["x", "y"], {"w": np.zeros((4, 5)), "v": np.zeros((3, 4))}
    ),
    "both": model([("Gemm", "a b c", "y")], {"a": (10, 20), "b": (20, 70), "c": (1, 70)}, ["y"], {}),
    "number": model([("Gemm", "a b c", "y")], {"a": (10, 5), "b": (5, 4), "c": (1, 1)}, ["y"], {}),
    "split": model(
        [("Split", "a s", "x y z", {"axis": 1}), ("Split", "a r", "u v", {"axis": 0}), ("MatMul", "y w", "p"), ("Mul", "u u", "q")],
        {"a": (6, 20)}, ["x", "z", "v", "p", "q"], {"s": [3, 12, 5], "r": [2, 4], "w": RNG.normal(size=(12, 9))},
    ),
    "concat": model(
        [("Tanh", "a", "t"), ("MatMul", "a w", "m"), ("Concat", "t m a t k", "y", {"axis": 1}), ("Concat", "t a t", "z", {"axis": 0}),
         ("MatMul", "y v", "p")],
        {"a": (5, 4)}, ["y", "z", "p"], {"w": RNG.normal(size=(4, 7)), "k": RNG.normal(size=(5, 2)), "v": RNG.normal(size=(21, 3))},
    ),
    "nested": model(
        [("Tanh", "a", "t"), ("Concat", "t a", "c", {"axis": 1}), ("Relu", "a", "r"), ("Concat", "r r", "d", {"axis": 1}),
         ("Concat", "c d", "y", {"axis": 0})], {"a": (3, 5)}, ["y"], {},
    ),
    "gather": model(
        [("Gather", "a i", "u", {"axis": 0}), ("Gather", "a j", "v", {"axis": 0}), ("Gather", "a k", "w", {"axis": 1}),
         ("Tanh", "u", "y")],
        {"a": (9, 6)}, ["y", "u", "v", "w"], {"i": [1, 3, 5], "j": [0, 1, 8, -1], "k": [5, 0, 0]},
    ),
    "reshape": model(
        [("Tanh", "a", "t"), ("Reshape", "t s", "y"), ("Reshape", "a r", "b"), ("Transpose", "b", "c", {"perm": [1, 0, 2]}),
         ("Reshape", "c f", "z"), ("Transpose", "a", "x", {"perm": [1, 0]})],
        {"a": (6, 4)}, ["y", "z", "x"], {"s": [3, 8], "r": [3, 2, 4], "f": [2, 12]},
    ),
    "reshape_with_gaps": model(
        [("Split", "a s", "u v", {"axis": 1}), ("Reshape", "u r", "b"), ("Relu", "b", "c"), ("Concat", "b v b c", "y", {"axis": 1})],
        {"a": (6, 4)}, ["y"], {"s": [1, 3], "r": [6, 1]},
    ),
    "reshape_other_rows": model(
        [("Split", "a s", "u v", {"axis": 1}), ("Reshape", "u r", "b"), ("Concat", "b k", "y", {"axis": 1}), ("Reshape", "v f", "z")],
        {"a": (4, 5)}, ["y", "z"], {"s": [3, 2], "r": [2, 6], "f": [1, 8], "k": RNG.normal(size=(2, 1))},
    ),
    "reduce": model(
        [("ReduceSum", "a l", "x"), ("ReduceSum", "a o", "y"), ("ReduceL2", "a l", "z"),
         ("LpNormalization", "a", "n", {"axis": -1, "p": 2}), ("Mul", "z z", "q")],
        {"a": (10, 12)}, ["x", "y", "z", "n", "q"], {"l": [-1], "o": [0]},
    ),
    "best": model(
        [("ArgMax", "a", "i", {"axis": 0, "keepdims": 1}), ("Gather", "b i", "g", {"axis": 0}), ("Reshape", "g s", "y"),
         ("Gather", "a i", "z", {"axis": 0})], {"a": (5,), "b": (5, 12, 4)}, ["i", "y", "z"], {"s": [12, 4]},
    ),
}  # fmt: skip
Run = Callable[[str, list[Any], list[Any]], None]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All cases compiled as one file."""
    made = c_source.write(CASES)
    kept = compiler.compile_library(made.source.encode(), lambda _: None, [tmp_path_factory.mktemp("cases")])
    handle, weights, scratch = ctypes.CDLL(str(kept.path)), aligned(len(made.weights)), aligned(made.scratch)
    weights[:] = made.weights

    def run(name: str, given: list[Any], results: list[Any]) -> None:
        scratch.fill(np.nan)  # nothing may be read that was not written
        places = (ctypes.c_void_p * (len(given) + len(results)))(*[array.ctypes.data for array in (*given, *results)])
        function = handle[f"tubepilot_{name}"]
        function.argtypes, function.restype = [ctypes.c_void_p] * 3, None
        function(weights.ctypes.data, scratch.ctypes.data, ctypes.addressof(places))

    return run


@pytest.mark.parametrize("name", CASES)
def test_every_operator_gives_what_onnxruntime_gives(library: Run, name: str) -> None:
    session = open_session(CASES[name].SerializeToString(), name)
    given, made = buffers(session, name)
    for _ in range(3):
        for array in given.values():
            array[...] = RNG.normal(size=array.shape)
        if name == "best":
            given["a"][3] = given["a"][1] = given["a"].max() + 1.0  # the first of equal ones
        guarded = {label: np.full(array.size + 32, 7, array.dtype) for label, array in made.items()}
        library(name, list(given.values()), [array[16:] for array in guarded.values()])
        for label, wanted in zip(made, session.run(list(made), given), strict=True):
            found = guarded[label]
            np.testing.assert_allclose(found[16:-16].reshape(wanted.shape), wanted, rtol=2e-6, atol=2e-5 if name != "best" else 0)
            assert (np.concatenate([found[:16], found[-16:]]) == 7).all(), f"{label}: wrote outside its buffer"


def test_every_entrywise_operator_is_among_the_cases() -> None:
    used = {node.op_type for case in CASES.values() for node in case.graph.node}
    assert set(CODE) <= used


def test_what_is_no_number_stays_none(library: Run) -> None:
    for name in ("Clip", "Relu", "Tanh", "Add"):
        given, made = buffers(open_session(CASES[name].SerializeToString(), name), name)
        for array in given.values():
            array.fill(np.nan)
        library(name, list(given.values()), list(made.values()))
        assert np.isnan(made["y"]).all()


def test_tanh_keeps_its_stated_error(library: Run) -> None:
    near = np.concatenate([np.linspace(-10.0, 10.0, 400_000), np.geomspace(1e-30, 9.5, 55_000), [1e30, -1e30, 0.0]])
    points = np.resize(near.astype(np.float32), (len(near) // 91 + 1, 7, 13))
    found = np.empty_like(points)
    for point, result in zip(points, found, strict=True):
        library("Tanh", [np.ascontiguousarray(point)], [result])
    assert np.abs(found - np.tanh(points.astype(np.float64))).max() <= TANH_ERROR


@pytest.mark.parametrize(
    ("nodes", "given", "constants", "message"),
    [
        ([("Sin", "a", "y")], {"a": (2, 2)}, {}, "Sin is not written in C"),
        ([("Gemm", "a w b", "y", {"transB": 1})], {"a": (2, 3)}, {"w": np.ones((4, 3)), "b": np.ones((1, 4))}, "plain ones only"),
        ([("MatMul", "a b", "y")], {"a": (2, 3, 4), "b": (2, 4, 5)}, {}, "matrices only"),
        ([("Add", "a b", "y")], {"a": (2, 3, 4), "b": (2, 1, 4)}, {}, "does not broadcast"),
        ([("Mul", "a k", "y")], {"a": (2, 2)}, {"k": [np.inf]}, "finite ones only"),
        ([("ReduceSum", "a k", "y")], {"a": (2, 3, 4)}, {"k": [1]}, "not written in C"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_at_export(nodes: Any, given: Shapes, constants: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        c_source.write({"case": model(nodes, given, ["y"], constants)})


def test_a_whole_decision_is_that_of_onnxruntime_and_the_same_every_time() -> None:
    from dataclasses import replace

    case = make_case(random_model(1, members=2, width=12, policy_width=16), replace(settings(), candidates=3, horizon=5, steps=2), 3)
    compiled, reference = Ours(case, compiled=True), Ours(case)
    assert isinstance(compiled.engine, Compiled)
    np.testing.assert_allclose(compiled(), reference(), atol=2e-6)
    first = compiled().copy()
    for _ in range(3):
        np.testing.assert_array_equal(compiled(), first)


def test_the_same_graphs_give_the_same_file() -> None:
    first, second = (c_source.write(CASES) for _ in range(2))
    assert first.source == second.source
    np.testing.assert_array_equal(first.weights, second.weights)
    assert str(Path(__file__).parent) not in first.source
