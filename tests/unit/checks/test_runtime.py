from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from edgekd.checks.graph import GraphSummary
from edgekd.checks.runtime import check_runtime
from edgekd.hardware.target import load_target, target_names

CHECKOUT = Path(__file__).resolve().parents[3]
LISTS = CHECKOUT / "edgekd" / "checks" / "runtimes"


def _graph(*operators: tuple[str, str], opset: int = 13) -> GraphSummary:
    counted = tuple((operator, 1) for operator in operators)
    return GraphSummary(opset=opset, opsets=(("", opset),), operators=counted, parameters=0)


@pytest.mark.parametrize("runtime", ["ONNX Runtime CPU", "TVM", "TensorRT"])
def test_what_every_network_needs_is_in_every_list(runtime: str) -> None:
    common = ("Conv", "Gemm", "MatMul", "Relu", "Add", "QuantizeLinear", "DequantizeLinear", "GlobalAveragePool")
    assert check_runtime("x", _graph(*(("", name) for name in common)), runtime) == []


@pytest.mark.parametrize("runtime", ["ONNX Runtime CPU", "TVM"])
def test_an_operator_that_a_runtime_does_not_have_is_named(runtime: str) -> None:
    (finding,) = check_runtime("x", _graph(("", "Conv"), ("acme", "Warp")), runtime)
    assert finding.code == "operator-not-supported"
    assert "acme.Warp (1 node)" in finding.message


def test_a_list_of_one_version_says_nothing_of_newer_ones() -> None:
    (finding,) = check_runtime("x", _graph(("", "LayerNormalization")), "TensorRT")
    assert (finding.level, finding.code) == ("error", "operator-not-known")
    (finding,) = check_runtime("x", _graph(("", "Conv"), opset=18), "TensorRT")
    assert (finding.level, finding.code) == ("warning", "opset-not-known")


def test_an_operator_set_that_the_runtime_does_not_know_yet_is_an_error() -> None:
    newest = json.loads((LISTS / "onnxruntime.json").read_text())["newest_opset"]
    assert check_runtime("x", _graph(opset=newest), "ONNX Runtime CPU") == []
    (finding,) = check_runtime("x", _graph(opset=newest + 1), "ONNX Runtime CPU")
    assert finding.code == "opset-not-supported"


def test_a_runtime_without_a_list_leaves_the_question_open() -> None:
    (finding,) = check_runtime("x", _graph(("", "Conv")), "ncnn")
    assert (finding.level, finding.code) == ("error", "runtime-not-known")


@pytest.mark.parametrize("name", target_names())
def test_the_deployed_runtime_of_every_target_has_a_list(name: str) -> None:
    target = load_target(name)
    for _, processor in target.artifacts:
        assert "runtime-not-known" not in {
            finding.code for finding in check_runtime("x", _graph(), target.processor(processor).runtime)
        }


@pytest.mark.parametrize("name", ["onnxruntime", "tvm"])
def test_a_list_is_what_the_installed_runtime_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (CHECKOUT / "tools" / "runtime_operators.py").is_file():
        pytest.skip("the tools are not installed with the package")
    pytest.importorskip(name)
    monkeypatch.syspath_prepend(str(CHECKOUT / "tools"))
    tool = importlib.import_module("runtime_operators")
    stored = json.loads((LISTS / f"{name}.json").read_text())
    current = json.loads(tool.text_of(name))
    if stored["version"] != current["version"]:
        pytest.skip(f"the list is of {stored['version']}, {current['version']} is installed")
    assert stored == current, "run: python tools/runtime_operators.py --write"
