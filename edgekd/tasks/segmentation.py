"""A class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from edgekd.errors import DataError, ModelError
from edgekd.records import TensorSpec
from edgekd.tasks.meters import Meter
from edgekd.tasks.reading import Array, describe_array, refuse
from edgekd.tasks.soft_target import soft_target
from edgekd.tasks.task import MetricKind, ParityRule, Targets

IGNORED = 255


class _IoUMeter:
    """Pixels of each class that both say, and that either says; ignored pixels count nowhere."""

    def __init__(self) -> None:
        self._both = torch.zeros(IGNORED, dtype=torch.int64)
        self._ours, self._true = self._both.clone(), self._both.clone()

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take a batch in."""
        counted = targets != IGNORED
        ours, true = outputs.argmax(1)[counted], targets[counted]
        self._both += torch.bincount(ours[ours == true], minlength=IGNORED)
        self._ours += torch.bincount(ours, minlength=IGNORED)
        self._true += torch.bincount(true, minlength=IGNORED)

    def value(self) -> float:
        """Return the mean over the classes that either says; 1 if every pixel is ignored."""
        either = self._ours + self._true - self._both
        present = either > 0
        return float((self._both[present].double() / either[present]).mean()) if bool(present.any()) else 1.0

    def standard_error(self) -> float | None:
        """Return nothing: pixels of one image depend on each other."""
        return None


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Cross-entropy, soft targets and mean intersection over union, over all pixels but those marked 255.

    `y` is of integers, `[samples, height, width]`; outputs are logits `[batch, classes, height, width]`.
    """

    name: ClassVar[str] = "segmentation"
    source: ClassVar[Literal["values"]] = "values"
    output: ClassVar[str] = "logits"
    metric: ClassVar[MetricKind] = MetricKind(name="mean IoU", higher_is_better=True, unit="share")
    parity: ClassVar[ParityRule] = ParityRule(measure="pixels equal", metric_tolerance=0.005, least_agreement=0.99)

    def read_targets(self, where: str, y: Array, train: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG002  (protocol)
        """Return masks as int64 `[samples, height, width]`."""
        if y.ndim != 3 or y.dtype.kind not in "iu" or y.size == 0:
            refuse(
                where,
                expected="integer masks [samples, height, width]",
                found=describe_array(y),
                hint="Save y.astype(numpy.uint8) with a class index for every pixel.",
            )
        if y.min() < 0 or y.max() > IGNORED:
            refuse(
                where,
                expected=f"class indices from 0 to {IGNORED - 1}, or {IGNORED} for pixels to be ignored",
                found=f"{y.min()} to {y.max()}",
                hint=f"Mark pixels without a class with {IGNORED}.",
            )
        return torch.from_numpy(y.astype(np.int64))

    def check(self, model: str, output: TensorSpec, targets: Targets) -> None:
        """Make sure that there is a logit for every class and pixel."""
        if len(output.shape) != 3 or not 2 <= output.shape[0] < IGNORED:
            raise ModelError(
                model,
                expected=f"logits of shape [batch, classes, height, width] of 2 to {IGNORED - 1} classes",
                found=f"an output of shape [batch, {', '.join(map(str, output.shape))}]",
                hint="Choose another --task: docs/tasks.md.",
            )
        classes = output.shape[0]
        for part, y in targets.parts.items():
            if y.shape[1:] != output.shape[1:]:
                raise DataError(
                    f"{targets.where}, {part}",
                    expected=f"masks of {list(output.shape[1:])} pixels, as {model} answers",
                    found=str(list(y.shape[1:])),
                    hint="Scale the masks (nearest neighbour) to the network's output.",
                )
            largest = int(y[y != IGNORED].max()) if bool((y != IGNORED).any()) else 0
            if largest >= classes:
                raise DataError(
                    f"{targets.where}, {part}",
                    expected=f"masks with classes from 0 to {classes - 1}, as {model} has {classes}",
                    found=f"class {largest}",
                    hint=f"Mark pixels of other classes with {IGNORED}.",
                )

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy in nats over the pixels that count, `[batch]`; 0 if none does."""
        pixels = F.cross_entropy(outputs, targets, reduction="none", ignore_index=IGNORED)
        return pixels.sum((1, 2)) / (targets != IGNORED).sum((1, 2)).clamp(min=1)

    def distillation(self, outputs: torch.Tensor, teacher_outputs: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return the mean over pixels of the divergence from the teacher's soft targets, `[batch]`."""
        return soft_target(outputs, teacher_outputs, temperature).mean((1, 2))

    def meter(self) -> Meter:
        """Return a meter of mean intersection over union."""
        return _IoUMeter()

    def agreement(self, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        """Return the share of pixels with the same largest logit, `[batch]`."""
        return (ours.argmax(1) == theirs.argmax(1)).double().mean((1, 2))


SEGMENTATION = Segmentation()
