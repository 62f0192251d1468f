"""The teacher's vectors of earlier batches."""

from __future__ import annotations

import torch
from torch import nn

NO_CLASS = -1


class Queue(nn.Module):
    """The last `size` vectors of the teacher with the classes of their examples; part of a checkpoint.

    Source: He, Fan, Wu, Xie and Girshick 2020, "Momentum Contrast for Unsupervised Visual Representation Learning",
    CVPR, section 3.2, arXiv:1911.05722.
    """

    vectors: torch.Tensor
    classes: torch.Tensor
    pushed: torch.Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, width))
        self.register_buffer("classes", torch.full((size,), NO_CLASS))
        self.register_buffer("pushed", torch.tensor(0))

    def filled(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the vectors that are there, `[count, width]`, and their classes; copies, which later batches leave."""
        count = min(int(self.pushed), len(self.vectors))
        return self.vectors[:count].clone(), self.classes[:count].clone()

    def push(self, vectors: torch.Tensor, classes: torch.Tensor | None) -> None:
        """Put a batch in the place of the oldest."""
        vectors = vectors.detach()[-len(self.vectors) :]
        places = (int(self.pushed) + torch.arange(len(vectors))) % len(self.vectors)
        self.vectors[places] = vectors.to(self.vectors.dtype)
        self.classes[places] = NO_CLASS if classes is None else classes[-len(vectors) :]
        self.pushed += len(vectors)
