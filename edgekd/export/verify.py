"""Prove the artifacts: each is run in its runtime on the test images and compared with its network in torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import fx

from edgekd.data import Images, Normalization, normalize
from edgekd.export.parity import compare, run_onnx
from edgekd.export.tvm_backend import run_on_host
from edgekd.models.evaluate import metric_of, predict
from edgekd.records import Artifact, Cost, Parity, Row
from edgekd.report.collect import make_row

# Untuned TVM code runs one image at a time, tens of times slower than onnxruntime.
TVM_SAMPLES = 32
_TVM_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An artifact with the network it was exported from. `source` is the ONNX file a TVM library was made from."""

    name: str
    artifact: Artifact
    network: fx.GraphModule
    cost: Cost
    parameters: int
    source: str | None = None


def verify(
    exported: Sequence[Exported],
    run: Path,
    images: Images,
    normalization: Normalization,
    on_progress: Callable[[int, int, str], None],
) -> tuple[Row, ...]:
    """Return the table's rows, with the accuracy of each file on `images` and its parity with its network.

    A TVM library for another machine cannot run here: its accuracy stays unknown, and its parity is that of the same
    network compiled by TVM for this machine, on the first images.
    """
    trained: dict[int, torch.Tensor] = {}
    rows = []
    for done, item in enumerate(exported):
        on_progress(done, len(exported), item.artifact.path)
        if id(item.network) not in trained:
            trained[id(item.network)] = predict(item.network, images, normalization)
        ours = trained[id(item.network)]
        if item.source is not None:
            parity = _tvm_parity(run / item.source, ours, images, normalization)
            accuracy, trained_accuracy = None, None
        else:
            theirs = run_onnx(run / item.artifact.path, images, normalization)
            parity = compare(ours, theirs, images)
            accuracy = metric_of(theirs, images, split="test")
            trained_accuracy = metric_of(ours, images, split="test")
        rows.append(
            make_row(
                item.name,
                item.artifact,
                cost=item.cost,
                parameters=item.parameters,
                accuracy=accuracy,
                trained=trained_accuracy,
                parity=parity,
            )
        )
    return tuple(rows)


def _tvm_parity(onnx_path: Path, trained: torch.Tensor, images: Images, normalization: Normalization) -> Parity:
    some = images.select(torch.arange(min(TVM_SAMPLES, len(images))))
    theirs = torch.from_numpy(run_on_host(onnx_path, normalize(some.x, normalization).numpy().astype(np.float32)))
    ours = trained[: len(some)]
    parity = compare(ours, theirs, some)
    limit = _TVM_TOLERANCE * float(ours.abs().max())
    if parity.passed and parity.max_logit_difference > limit:
        detail = f"logits differ by up to {parity.max_logit_difference:.2g}, more than {limit:.2g}"
        return dataclasses.replace(parity, passed=False, detail=detail)
    return parity
