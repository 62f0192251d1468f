"""Whether a target's runtime has the operators of a file.

The lists are in `runtimes/`, one a runtime, made by `tools/runtime_operators.py` from the runtime itself or from its
documentation. A list that says it is `complete` is that of all versions from the stated one on; of the others, a newer
version may have more.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from edgekd.checks.findings import error_finding, warning_finding
from edgekd.checks.graph import GraphSummary
from edgekd.records import Finding

# What each runtime of the target files takes its operators from. ONNX Runtime's other providers leave what they do not
# have to its processor kernels.
_LISTS = {
    "ONNX Runtime CPU": "onnxruntime",
    "ONNX Runtime CUDA": "onnxruntime",
    "ONNX Runtime TensorRT": "onnxruntime",
    "TVM": "tvm",
    "TensorRT": "tensorrt",
}
_FOLDER = Path(__file__).parent / "runtimes"


def check_runtime(subject: str, graph: GraphSummary, runtime: str) -> list[Finding]:
    """Return what a runtime does not have that a file needs."""
    if runtime not in _LISTS:
        message = f"no list of the operators of {runtime} is known"
        hint = "Try the file in that runtime itself."
        return [error_finding("runtime-not-known", subject, message, hint)]
    known = _read(_LISTS[runtime])
    return [*_check_operators(subject, graph, known), *_check_opset(subject, graph, known)]


def _check_operators(subject: str, graph: GraphSummary, known: dict[str, Any]) -> list[Finding]:
    findings = []
    version = f"{known['runtime']} {known['version']}"
    for (domain, operator), count in graph.operators:
        if operator in known["operators"].get(domain, ()):
            continue
        name = f"{domain}.{operator}" if domain else operator
        message = f"{name} ({count} {'node' if count == 1 else 'nodes'}) is not among the operators of {version}"
        if known["complete"]:
            hint = "Replace the operator in the network, or deploy for another runtime."
            findings.append(error_finding("operator-not-supported", subject, message, hint))
        else:
            hint = "Newer versions may have it: try the file in that runtime itself."
            findings.append(error_finding("operator-not-known", subject, message, hint))
    return findings


def _check_opset(subject: str, graph: GraphSummary, known: dict[str, Any]) -> list[Finding]:
    newest = known["newest_opset"]
    if newest is None or graph.opset <= newest:
        return []
    message = f"operator set {graph.opset} is newer than {newest}, the newest of {known['runtime']} {known['version']}"
    if known["complete"]:
        return [error_finding("opset-not-supported", subject, message, "Export with an older operator set.")]
    return [warning_finding("opset-not-known", subject, message, "Try the file in that runtime itself.")]


@cache
def _read(name: str) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return known
