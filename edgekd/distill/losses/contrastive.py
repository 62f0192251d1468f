"""The same example in both networks told from other examples."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from edgekd.distill.features import channels_of, vectors
from edgekd.distill.losses.base import LOSSES, Depth, Loss, Reads, Seen
from edgekd.distill.losses.queue import Queue


@LOSSES.register
class Contrastive(Loss):
    """The cross-entropy of finding an example's own teacher vector among those of other examples.

    Both networks' vectors pass through a trained linear head. The other examples are those of the batch and of a queue
    of earlier ones; where targets are class indices, those of the same class are left out. With no other example, as
    in a first batch of one, it is 0.

    Args:
        width: Of the vectors that are compared.
        queue: Vectors of earlier batches to compare with; 0 for those of the batch alone.
        temperature: Of the cosines.

    Source: Tian, Krishnan and Isola 2020, "Contrastive Representation Distillation", ICLR, section 3.1,
    arXiv:1910.10699, with student anchors. Deviation: InfoNCE (van den Oord et al. 2018, equation 4, arXiv:1807.03748)
    over a queue instead of noise-contrastive estimation over a memory of all examples, which needs an estimate of its
    normalization and a vector for each image; no term with teacher anchors.
    """

    name: ClassVar[str] = "contrastive"
    reads: ClassVar[Reads] = "last"
    suits: ClassVar[Depth] = "deep"
    is_zero_at_equality: ClassVar[bool] = False

    def __init__(self, *, width: int = 128, queue: int = 4096, temperature: float = 0.07) -> None:
        super().__init__()
        if width < 1 or queue < 0 or temperature <= 0:
            raise ValueError("a width of at least 1, a queue of at least 0 and a temperature above 0")
        self.width, self.size, self.temperature = width, queue, temperature

    def build(self, student: tuple[torch.Tensor, ...], teacher: tuple[torch.Tensor, ...]) -> None:
        """Make the heads, which begin equal where the features are as wide, and the queue."""
        self.student_head = nn.Linear(channels_of(student[0]), self.width)
        self.teacher_head = nn.Linear(channels_of(teacher[0]), self.width)
        if channels_of(student[0]) == channels_of(teacher[0]):
            self.teacher_head.load_state_dict(self.student_head.state_dict())
        self.queue = Queue(max(1, self.size), self.width)

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the cross-entropy in nats, `[batch]`."""
        ours = F.normalize(self.student_head(vectors(seen.student.features[0])), dim=1)
        theirs = F.normalize(self.teacher_head(vectors(seen.teacher.features[0])), dim=1)
        classes = seen.targets if seen.task.source == "classes" else None
        earlier, classes_earlier = self.queue.filled()
        scores = torch.cat((ours @ theirs.T, ours @ earlier.T.to(ours.dtype)), 1) / self.temperature
        own = torch.eye(len(ours), scores.shape[1], dtype=torch.bool, device=ours.device)
        if classes is not None:
            alike = classes[:, None] == torch.cat((classes, classes_earlier))[None]
            scores = scores.masked_fill(alike & ~own, -torch.inf)
        if self.training and self.size:
            self.queue.push(theirs, classes)
        return scores.logsumexp(1) - scores[own]
