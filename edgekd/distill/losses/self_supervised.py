"""Which earlier examples an example is like, for data without labels."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from edgekd.distill.features import channels_of, vectors
from edgekd.distill.losses.base import LOSSES, Depth, Loss, Reads, Seen
from edgekd.distill.losses.queue import Queue


@LOSSES.register
class SelfSupervised(Loss):
    """The divergence of the softmax of an example's cosines to the teacher's vectors of this and earlier batches.

    No target is read. A trained linear head gives the student's vectors the teacher's width.

    Args:
        queue: Vectors of earlier batches to compare with.
        temperature: Of both networks' cosines.

    Source: Fang, Wang, Wang, Zhang, Yang and Liu 2021, "SEED: Self-supervised Distillation for Visual Representation",
    ICLR, section 3.2, arXiv:2101.04731. Deviations: KL divergence instead of cross-entropy and one temperature
    instead of two (0.2 and 0.01), so that the loss is zero at equality; the whole batch's vectors, not only the
    example's own, stand beside the queue.
    """

    name: ClassVar[str] = "self-supervised"
    reads: ClassVar[Reads] = "last"
    suits: ClassVar[Depth] = "deep"

    def __init__(self, *, queue: int = 4096, temperature: float = 0.07) -> None:
        super().__init__()
        if queue < 1 or temperature <= 0:
            raise ValueError("a queue of at least 1 and a temperature above 0")
        self.size, self.temperature = queue, temperature

    def build(self, student: tuple[torch.Tensor, ...], teacher: tuple[torch.Tensor, ...]) -> None:
        """Make the head, which begins as the identity where the features are as wide, and the queue."""
        self.head = nn.Linear(channels_of(student[0]), channels_of(teacher[0]))
        if self.head.in_features == self.head.out_features:
            nn.init.eye_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        self.queue = Queue(self.size, channels_of(teacher[0]))

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the divergence, `[batch]`."""
        ours = F.normalize(self.head(vectors(seen.student.features[0])), dim=1)
        theirs = F.normalize(vectors(seen.teacher.features[0]), dim=1)
        anchors = torch.cat((theirs, self.queue.filled()[0].to(theirs.dtype)))
        student, teacher = (F.log_softmax(x @ anchors.T / self.temperature, 1) for x in (ours, theirs))
        if self.training:
            self.queue.push(theirs, None)
        return F.kl_div(student, teacher, reduction="none", log_target=True).sum(1).clamp(min=0.0)
