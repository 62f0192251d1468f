"""Vectors that mean something by their direction, distilled from the teacher's without any label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from edgekd.records import TensorSpec
from edgekd.tasks.meters import MeanMeter, Meter
from edgekd.tasks.reading import Array, describe_array, refuse, require_vector
from edgekd.tasks.task import MetricKind, ParityRule, Targets


@dataclass(frozen=True, slots=True)
class Embedding:
    """One minus the cosine to the teacher's vector, and the mean cosine; outputs are `[batch, dimensions]`.

    The data need no `y`; one that is there holds the vectors to come near, numbers `[samples, dimensions]`.
    """

    name: ClassVar[str] = "embedding"
    source: ClassVar[Literal["teacher"]] = "teacher"
    output: ClassVar[str] = "embedding"
    metric: ClassVar[MetricKind] = MetricKind(name="cosine", higher_is_better=True, unit="number")
    parity: ClassVar[ParityRule] = ParityRule(
        measure="mean cosine of the outputs", metric_tolerance=0.001, least_agreement=0.999
    )

    def read_targets(self, where: str, y: Array, train: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG002  (protocol)
        """Return vectors as float32 `[samples, dimensions]`."""
        if y.ndim != 2 or y.dtype.kind != "f" or y.size == 0 or not np.isfinite(y).all():
            refuse(
                where,
                expected="finite vectors [samples, dimensions]",
                found=describe_array(y),
                hint="Leave y out, and the original network's vectors are the targets.",
            )
        return torch.from_numpy(y.astype(np.float32))

    def check(self, model: str, output: TensorSpec, targets: Targets) -> None:
        """Make sure that the output is a vector, of the size of the targets."""
        require_vector(
            model,
            output,
            targets,
            axis="dimensions",
            hint="Leave y out, and the original network's vectors are the targets.",
        )

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return one minus the cosine, `[batch]`."""
        return 1.0 - F.cosine_similarity(outputs, targets)

    def distillation(
        self,
        outputs: torch.Tensor,
        teacher_outputs: torch.Tensor,
        temperature: float,  # noqa: ARG002  (nothing to soften)
    ) -> torch.Tensor:
        """Return one minus the cosine to the teacher's vector, `[batch]`."""
        return self.loss(outputs, teacher_outputs.detach())

    def meter(self) -> Meter:
        """Return a meter of the mean cosine."""
        return MeanMeter(lambda outputs, targets: F.cosine_similarity(outputs.double(), targets.double()))

    def agreement(self, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        """Return the cosine of the two vectors, at least 0, `[batch]`."""
        return F.cosine_similarity(ours.double(), theirs.double()).clamp(0.0, 1.0)


EMBEDDING = Embedding()
