"""Prove the artifacts: each is run in its runtime on the test samples and compared with its network in torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx

from edgekd.data import Normalization, Samples, network_inputs
from edgekd.export.parity import Comparison, answers_of_onnx, compare
from edgekd.export.tvm.compile import run_on_host
from edgekd.models.evaluate import answers, predict
from edgekd.records import Artifact, Cost, Metric, Parity, Row
from edgekd.report.collect import make_row
from edgekd.tasks import CLASSIFICATION, Task

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
    samples: Samples,
    normalization: Normalization | None,
    on_progress: Callable[[int, int, str], None],
    task: Task = CLASSIFICATION,
) -> tuple[Row, ...]:
    """Return the table's rows, with the metric of each file on `samples` and its parity with its network.

    A TVM library for another machine cannot run here: its metric stays unknown, and its parity is that of the same
    network compiled by TVM for this machine, on the first samples.
    """
    rows = []
    for done, item in enumerate(exported):
        on_progress(done, len(exported), item.artifact.path)
        accuracy: Metric | None = None
        trained_accuracy: Metric | None = None
        if item.source is not None:
            parity = _tvm_parity(item.network, run / item.source, samples, normalization, task)
        else:
            comparison = Comparison(task)
            ours = answers(item.network, samples, normalization)
            theirs = answers_of_onnx(run / item.artifact.path, samples, normalization)
            for (student, y), artifact in zip(ours, theirs, strict=True):
                comparison.update(student, artifact, y)
            parity = comparison.parity(samples.ids)
            trained_accuracy, accuracy = comparison.metrics("test")
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


def _tvm_parity(
    network: fx.GraphModule, onnx_path: Path, samples: Samples, normalization: Normalization | None, task: Task
) -> Parity:
    some = samples.select(torch.arange(min(TVM_SAMPLES, len(samples))))
    inputs = network_inputs(some.inputs_at(torch.arange(len(some))), normalization)
    theirs = torch.from_numpy(run_on_host(onnx_path, *(x.numpy() for x in inputs)))
    ours = predict(network, some, normalization)
    parity = compare(ours, theirs, some, task)
    limit = _TVM_TOLERANCE * float(ours.abs().max())
    if parity.passed and parity.max_logit_difference > limit:
        detail = f"logits differ by up to {parity.max_logit_difference:.2g}, more than {limit:.2g}"
        return dataclasses.replace(parity, passed=False, detail=detail)
    return parity
