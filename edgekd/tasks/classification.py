"""One class out of several: the default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from edgekd.errors import DataError, ModelError
from edgekd.records import TensorSpec
from edgekd.tasks.meters import MeanMeter, Meter
from edgekd.tasks.reading import Array, describe_array, refuse
from edgekd.tasks.soft_target import soft_target
from edgekd.tasks.task import MetricKind, ParityRule, Targets

_RENUMBER = "Number the classes with numpy.unique(y, return_inverse=True)"


@dataclass(frozen=True, slots=True)
class Classification:
    """Cross-entropy, top-1 accuracy, soft targets; `y` is integer `[samples]`, outputs are `[batch, classes]`."""

    name: ClassVar[str] = "classification"
    source: ClassVar[Literal["classes"]] = "classes"
    output: ClassVar[str] = "logits"
    metric: ClassVar[MetricKind] = MetricKind(name="accuracy", higher_is_better=True, unit="share")
    parity: ClassVar[ParityRule] = ParityRule(measure="predictions equal", metric_tolerance=0.001)

    def read_targets(self, where: str, y: Array, train: torch.Tensor | None) -> torch.Tensor:
        """Return class indices, int64 `[samples]`, every one of which occurs in each part."""
        if y.ndim != 1 or y.dtype.kind not in "iu" or len(y) == 0:
            hint = "Save y.reshape(-1)." if y.ndim == 2 and y.shape[1] == 1 else "Save y.astype(numpy.int64)."
            refuse(where, expected="integer labels [samples]", found=describe_array(y), hint=hint)
        if y.min() < 0 or (train is None and y.max() >= len(y)):
            refuse(
                where,
                expected="class indices from 0 up without gaps",
                found=f"{y.min()} to {y.max()} on {len(y):,} samples",
                hint=f"{_RENUMBER}.",
            )
        classes = int(y.max() if train is None else train.max()) + 1
        seen = np.unique(y)
        missing = np.setdiff1d(np.arange(classes), seen).tolist()
        if seen[-1] >= classes or missing or classes < 2:
            names = ", ".join(f"'{index}'" for index in missing[:5])
            more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
            refuse(
                where,
                expected=f"every class index from 0 to {max(classes - 1, 1)}, as in training, and no other",
                found=f"{names}{more} missing" if missing else f"labels from 0 to {seen[-1]}",
                hint=f"{_RENUMBER}, the same in every part.",
            )
        return torch.from_numpy(y.astype(np.int64))

    def check(self, model: str, output: TensorSpec, targets: Targets) -> None:
        """Make sure that there is a logit for every class."""
        if len(output.shape) != 1:
            raise ModelError(
                model,
                expected="logits of shape [batch, classes]",
                found=f"an output of shape [batch, {', '.join(map(str, output.shape))}]",
                hint="Say with --task what this network is for: docs/tasks.md.",
            )
        if len(targets.classes) != output.shape[0]:
            raise DataError(
                targets.where,
                expected=f"{output.shape[0]} classes, as many as {model} has outputs",
                found=f"{len(targets.classes)}: {', '.join(targets.classes[:12])}",
                hint="Give the data this network was trained on, one folder for each class.",
            )

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy in nats, `[batch]`."""
        return F.cross_entropy(outputs, targets, reduction="none")

    def distillation(self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return the divergence from the teacher's soft targets, `[batch]`."""
        return soft_target(outputs, teacher_outputs, temperature)

    def meter(self) -> Meter:
        """Return a meter of top-1 accuracy."""
        return MeanMeter(lambda outputs, targets: outputs.argmax(1) == targets)

    def agreement(self, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        """Return 1 where both have the same largest logit, `[batch]`."""
        return (ours.argmax(1) == theirs.argmax(1)).double()


CLASSIFICATION = Classification()
