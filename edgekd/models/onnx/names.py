"""Readable module paths for the nodes of an ONNX graph."""

from __future__ import annotations

import re

from edgekd.models.onnx.values import OnnxNode

_TENSOR_PATH = re.compile(r"([A-Za-z_0-9][\w-]*(?:\.[\w-]+)*)\.(weight|bias|running_mean|running_var)")
_STRANGE = re.compile(r"[^\w-]+")


class Names:
    """Gives every node a path, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def path(self, node: OnnxNode) -> str:
        """Return `layer1.0` for what has the weight `layer1.0.weight` or is called `/layer1/layer1.0/Conv`."""
        wanted = _path_of_weight(node) or _path_of_node(node) or node.kind.lower()
        path, count = wanted, 1
        while path in self._taken:
            count += 1
            path = f"{wanted}_{count}"
        self._taken.add(path)
        return path


def _path_of_weight(node: OnnxNode) -> str | None:
    matches = (_TENSOR_PATH.fullmatch(name) for name in node.inputs[1:])
    found = next((match.group(1) for match in matches if match), None)
    return None if found is None else ".".join(_clean(part) for part in found.split("."))


def _path_of_node(node: OnnxNode) -> str | None:
    """Turn `/layer1/layer1.0/conv1/Conv` into `layer1.0.conv1`: scopes repeat what they are in."""
    parts = [part for part in node.name.split("/") if part]
    if len(parts) > 1 and parts[-1].partition("_")[0] == node.kind:
        parts, last = parts[:-1], parts[-1].lower()
    else:
        last = ""
    path: list[str] = []
    for part in parts:
        if path and part.startswith(".".join(path) + "."):
            path = part.split(".")
        else:
            path += part.split(".")
    cleaned = [_clean(part) for part in path if part]
    if last and node.kind not in ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"):
        cleaned.append(_clean(last))
    return ".".join(cleaned) or None


def _clean(part: str) -> str:
    return _STRANGE.sub("_", part) or "_"
