"""Run an artifact in its runtime and compare it with the network it was exported from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgekd.data import Images, Normalization, Samples, batches, network_inputs
from edgekd.errors import ArtifactError
from edgekd.records import Metric, Parity
from edgekd.tasks import CLASSIFICATION, Task, make_metric

# The largest difference of top-1 accuracy between student and artifact, as a share: 0.1 points.
TOP1_TOLERANCE = CLASSIFICATION.parity.metric_tolerance
_BATCH = 256


def answers_of_onnx(path: Path, samples: Samples, normalization: Normalization | None) -> Iterator[torch.Tensor]:
    """Yield the outputs that onnxruntime computes from the file at `path`, in batches of 256.

    Raises:
        ArtifactError: The file is missing or damaged, or does not take these samples.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]
        for x, _, _ in batches(samples, _BATCH):
            inputs = [tensor.numpy() for tensor in network_inputs(x, normalization)]
            found = session.run(None, dict(zip(names, inputs, strict=True)))[0]
            yield torch.from_numpy(np.asarray(found))
    # onnxruntime's exceptions have no common base class but Exception.
    except Exception as error:
        raise ArtifactError(
            str(path),
            expected=f"an ONNX file that takes inputs of shape {_shapes(samples)}",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
            hint="Check the path and the data's image size, or export the artifact again.",
        ) from error


def run_onnx(path: Path, samples: Samples, normalization: Normalization | None) -> torch.Tensor:
    """Return the outputs `[samples, ...]` that onnxruntime computes from the file at `path`.

    Raises:
        ArtifactError: The file is missing or damaged, or does not take these samples.
    """
    return torch.cat(list(answers_of_onnx(path, samples, normalization)))


class Comparison:
    """What the student and an artifact answer to the same samples, taken in batch by batch."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._ours, self._theirs = task.meter(), task.meter()
        self._agreement: list[torch.Tensor] = []
        self._largest = 0.0
        self._is_finite = True

    def update(self, student: torch.Tensor, artifact: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a batch of outputs in."""
        self._ours.update(student, targets)
        self._theirs.update(artifact, targets)
        self._agreement.append(self._task.agreement(student, artifact))
        self._largest = max(self._largest, float((student - artifact).abs().max()))
        self._is_finite = self._is_finite and bool(torch.isfinite(artifact).all())

    def metrics(self, split: str) -> tuple[Metric, Metric]:
        """Return the student's metric and the artifact's."""
        samples = sum(map(len, self._agreement))
        ours, theirs = (make_metric(self._task, m, samples=samples, split=split) for m in (self._ours, self._theirs))
        return ours, theirs

    def parity(self, ids: tuple[str, ...]) -> Parity:
        """Return whether the artifact passes the task's rule.

        If it does not, `detail` names the batch with the most different predictions.
        """
        rule, kind = self._task.parity, self._task.metric
        ours, difference = self._ours.value(), self._theirs.value() - self._ours.value()
        agreement = float(torch.cat(self._agreement).mean())
        tolerance = rule.metric_tolerance * (abs(ours) if rule.is_relative else 1.0) + 1e-12
        # Written so that NaN fails.
        passed = self._is_finite and abs(difference) <= tolerance and agreement >= rule.least_agreement
        return Parity(
            samples=len(ids),
            equal_predictions=agreement,
            top1_difference=difference,
            max_logit_difference=self._largest,
            passed=passed,
            detail=None if passed else self._worst_batch(ids),
            measure=rule.measure,
            metric=kind.name,
            metric_unit=kind.unit,
        )

    def _worst_batch(self, ids: tuple[str, ...]) -> str:
        least = self._task.parity.least_agreement or 1.0
        different = [(agreement < least).double() for agreement in self._agreement]
        worst = max(range(len(different)), key=lambda i: float(different[i].sum()))
        first = sum(map(len, different[:worst])) + int(different[worst].argmax())
        text = (
            f"batch {worst + 1} of {len(different)}: {int(different[worst].sum())} of {len(different[worst])} "
            f"predictions differ, the first at '{ids[first]}'"
        )
        return text if self._is_finite else f"{text}; the artifact's logits are not all finite"


def compare(student: torch.Tensor, artifact: torch.Tensor, samples: Samples, task: Task = CLASSIFICATION) -> Parity:
    """Return how the artifact's outputs agree with the student's on the same samples, by the task's rule.

    A classifier passes when the top-1 accuracies differ by at most 0.1 points.
    """
    comparison = Comparison(task)
    for ours, theirs, y in zip(*(torch.split(t, _BATCH) for t in (student, artifact, samples.y)), strict=True):
        comparison.update(ours, theirs, y)
    return comparison.parity(samples.ids)


def _shapes(samples: Samples) -> Any:
    if isinstance(samples, Images):
        return list(samples.size)
    return " and ".join(str(list(x.shape[1:])) for x in samples.x)
