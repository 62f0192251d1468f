"""Numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from edgekd.records import TensorSpec
from edgekd.tasks.meters import Meter, RootMeanMeter
from edgekd.tasks.reading import Array, describe_array, refuse, require_vector
from edgekd.tasks.task import MetricKind, ParityRule, Targets

_CLOSE = 0.05


@dataclass(frozen=True, slots=True)
class Regression:
    """Smooth L1 to the targets and to the teacher, root mean squared error.

    `y` is of numbers, `[samples]` or `[samples, values]`; outputs are `[batch, values]`. The loss turns from square
    to absolute at a distance of 1, so targets are best in units in which they vary by about 1.
    """

    name: ClassVar[str] = "regression"
    source: ClassVar[Literal["values"]] = "values"
    output: ClassVar[str] = "values"
    metric: ClassVar[MetricKind] = MetricKind(name="RMSE", higher_is_better=False, unit="number")
    parity: ClassVar[ParityRule] = ParityRule(
        measure="outputs within 5 % of their root mean square",
        least_agreement=0.99,
        metric_tolerance=0.01,
        is_relative=True,
    )

    def read_targets(self, where: str, y: Array, train: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG002  (protocol)
        """Return numbers as float32 `[samples, values]`."""
        if y.ndim not in (1, 2) or y.dtype.kind not in "iuf" or y.size == 0 or not np.isfinite(y).all():
            refuse(
                where,
                expected="finite numbers [samples, values]",
                found=describe_array(y),
                hint="Leave samples without a value out, and save y with the samples as first axis.",
            )
        return torch.from_numpy(y.astype(np.float32).reshape(len(y), -1))

    def check(self, model: str, output: TensorSpec, targets: Targets) -> None:
        """Make sure that there is an output for every value."""
        require_vector(model, output, targets, axis="values", hint="Give the data this network was trained on.")

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean over values of the smooth L1 distance, `[batch]`."""
        return F.smooth_l1_loss(outputs, targets, reduction="none").mean(1)

    def distillation(
        self,
        outputs: torch.Tensor,
        teacher_outputs: torch.Tensor,
        temperature: float,  # noqa: ARG002  (nothing to soften)
    ) -> torch.Tensor:
        """Return the smooth L1 distance from the teacher's values, `[batch]`."""
        return self.loss(outputs, teacher_outputs.detach())

    def meter(self) -> Meter:
        """Return a meter of the root mean squared error over all values."""
        return RootMeanMeter(lambda outputs, targets: (outputs.double() - targets.double()).square().mean(1))

    def agreement(self, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        """Return 1 where every value differs by at most 5 % of its root mean square in the batch, `[batch]`."""
        ours, theirs = ours.double(), theirs.double()
        scale = ours.square().mean(0, keepdim=True).sqrt()
        return ((ours - theirs).abs() <= _CLOSE * scale + 1e-12).all(1).double()


REGRESSION = Regression()
