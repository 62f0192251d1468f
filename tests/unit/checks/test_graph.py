from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekd.checks.graph import read_graph
from edgekd.errors import ArtifactError

BUNDLED = sorted(Path(onnx.__file__).parent.rglob("*.onnx"))


def _nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _nodes(graph.node)


def _quantized(path: Path) -> Path:
    """A matrix product of quantized 3 x 5 weights, with a bias, inside the branches of an `If`."""
    stored = [
        numpy_helper.from_array(np.zeros((3, 5), np.int8), "weight"),
        numpy_helper.from_array(np.float32(0.1), "scale"),
        numpy_helper.from_array(np.int8(0), "zero"),
        numpy_helper.from_array(np.zeros(5, np.float32), "bias"),
        numpy_helper.from_array(np.array([1, 5], np.int64), "shape"),
    ]
    branch = helper.make_graph([helper.make_node("Relu", ["s"], ["r"])], "branch", [], [_value("r", (1, 5))])
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scale", "zero"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "bias"], ["q"]),
        helper.make_node("Reshape", ["q", "shape"], ["s"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
        helper.make_node("Gelu", ["y"], ["z"], domain="com.microsoft"),
    ]
    inputs = [_value("x", (1, 3)), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", inputs, [_value("z", (1, 5))], stored)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), path)
    return path


def _value(name: str, shape: tuple[int, ...]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def test_operators_opsets_and_weights_are_those_that_were_written(tmp_path: Path) -> None:
    graph = read_graph(_quantized(tmp_path / "model.onnx"))
    assert graph.opset == 17
    assert graph.opsets == (("", 17), ("com.microsoft", 1))
    names = ("Add", "DequantizeLinear", "If", "MatMul")
    standard = {("", name): 1 for name in names} | {("", "Relu"): 2, ("", "Reshape"): 1}  # one Relu in each branch
    assert dict(graph.operators) == standard | {("com.microsoft", "Gelu"): 1}
    # 3 x 5 weights and 5 biases; neither the scale, nor the zero point, nor the shape.
    assert graph.parameters == 20


def test_every_file_of_the_onnx_package_is_read_as_the_package_reads_it() -> None:
    assert len(BUNDLED) > 50
    for path in BUNDLED[::7]:
        model = onnx.load(path, load_external_data=False)
        own = {(function.domain, function.name) for function in model.functions}
        inside = [node for function in model.functions for node in _nodes(function.node)]
        counts: Counter[tuple[str, str]] = Counter()
        for node in [*_nodes(model.graph.node), *inside]:
            key = ("" if node.domain == "ai.onnx" else node.domain, node.op_type)
            counts[key] += key not in own
        assert dict(read_graph(path).operators) == {key: count for key, count in counts.items() if count}, path.name


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 20, b"\xff" * 100, b"\x3a\x05abc"])
def test_what_is_no_onnx_file_is_refused_with_its_place(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="expected an ONNX file") as caught:
        read_graph(path)
    assert caught.value.where == str(path)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = _quantized(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError):
        read_graph(path)


@given(content=st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise_than_by_its_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.onnx"
    path.write_bytes(content)
    with contextlib.suppress(ArtifactError):
        read_graph(path)
