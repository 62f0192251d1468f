"""The soft target split into what it says of the true class and what it says of all others."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from edgekd.distill.losses.base import LOSSES, Loss, Seen, mismatch


@LOSSES.register
class Decoupled(Loss):
    """`T^2 (alpha KL(true or not) + beta KL(among the other classes))` of the softened distributions.

    Args:
        alpha: Weight of the divergence of the true class's probability.
        beta: Weight of the divergence among the other classes.

    Source: Zhao, Cui, Song, Qiu and Liang 2022, "Decoupled Knowledge Distillation", CVPR, equation 7,
    arXiv:2203.08679; T squared on both parts as in the authors' code. No deviation; their warm-up is a schedule.
    """

    name: ClassVar[str] = "decoupled"

    def __init__(self, *, alpha: float = 1.0, beta: float = 8.0) -> None:
        super().__init__()
        if min(alpha, beta) < 0 or alpha + beta == 0:
            raise ValueError("alpha and beta of at least 0, not both 0")
        self.alpha, self.beta = alpha, beta

    def distance(self, seen: Seen) -> torch.Tensor:
        """Return the two divergences, weighted, `[batch]`."""
        outputs, targets = seen.student.outputs, seen.targets
        if outputs.ndim != 2 or targets.shape != outputs.shape[:1] or targets.is_floating_point():
            found = f"outputs {list(outputs.shape)} and targets {list(targets.shape)}"
            raise mismatch(self.name, "logits [batch, classes] and a class index for each example", found)
        true = F.one_hot(targets, outputs.shape[1]).bool()
        ours, theirs = (F.log_softmax(side.outputs / seen.temperature, 1) for side in (seen.student, seen.teacher))
        divergence = self.alpha * _divergence(_is_true(ours, true), _is_true(theirs, true))
        if outputs.shape[1] > 2:
            divergence = divergence + self.beta * _divergence(_others(ours, true), _others(theirs, true))
        return divergence * seen.temperature**2


def _is_true(log_probabilities: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Return the logarithms of the probabilities of the true class and of any other, `[batch, 2]`."""
    rest = log_probabilities.masked_fill(true, -torch.inf).logsumexp(1)
    return torch.stack((log_probabilities[true], rest), 1)


def _others(log_probabilities: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Return the log distribution over the other classes, `[batch, classes - 1]`."""
    return F.log_softmax(log_probabilities[~true].reshape(len(true), -1), 1)


def _divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
