"""Compare an imported network with the ONNX file it came from, as onnxruntime runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekd.errors import ModelError
from edgekd.models.exported import first_line
from edgekd.models.onnx.reader import OnnxFile
from edgekd.models.quiet import quiet_torch
from edgekd.models.signature import random_examples
from edgekd.records import Finding, TensorSpec

# Of the largest logit. Two runtimes differ by about 1e-6; float16 arithmetic by some 1e-3.
_TOLERANCE = 1e-3
_HALF_TOLERANCE = 5e-2
_KINDS = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(double)": torch.float64}


def verify(path: Path, file: OnnxFile, network: nn.Module, inputs: tuple[TensorSpec, ...]) -> tuple[Finding, ...]:
    """Make sure that the network computes what the file does, for two random inputs; note if that cannot be tried.

    Raises:
        ModelError: It computes something else, or nothing at all.
    """
    examples = random_examples(inputs)
    try:
        expected, kind = _run(path, file, examples)
    # onnxruntime's exceptions have no common root of its own; a file it refuses may still be one that imports.
    except Exception as error:  # noqa: BLE001
        message = f"the import was not compared with onnxruntime, which refuses the file: {first_line(error)}"
        return (Finding(level="warning", code="import-not-verified", subject=str(path), message=message),)
    try:
        with quiet_torch(), torch.no_grad():
            found = network(*examples)
    except Exception as error:
        raise _failed(path, f"{type(error).__name__}: {first_line(error)}") from error
    found = (found[0] if isinstance(found, tuple) else found).double()
    if found.shape != expected.shape:
        raise _failed(path, f"an output of shape {list(found.shape)}, not {list(expected.shape)}")
    gap = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
    if not gap <= (_TOLERANCE if kind == torch.float32 else _HALF_TOLERANCE):
        raise _failed(path, f"logits that differ by {gap:.0e} of the largest")
    return ()


def _run(path: Path, file: OnnxFile, examples: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = {value.name: _KINDS.get(value.type) for value in session.get_inputs()}
    kind = next((kind for kind in kinds.values() if kind is not None), torch.float32)
    batch = file.inputs[0][1][0]
    # A file for one batch size gets each example as often as it wants.
    batches = (
        [examples] if batch is None else [tuple(x[i].expand(batch, *x.shape[1:]) for x in examples) for i in (0, 1)]
    )
    answers = []
    for xs in batches:
        feeds = {name: x.to(kinds[name] or x.dtype).numpy() for (name, _), x in zip(file.inputs, xs, strict=True)}
        answers.append(torch.from_numpy(session.run(None, feeds)[0]))
    joined = answers[0] if batch is None else torch.cat([answer[:1] for answer in answers])
    return joined.double(), kind


def _failed(path: Path, found: str) -> ModelError:
    return ModelError(
        str(path),
        expected="an import that computes what the file does in onnxruntime",
        found=found,
        hint="Export the network from PyTorch as .pt2, or show the file in an issue.",
    )
