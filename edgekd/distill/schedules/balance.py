"""Weights that follow from what has been seen of the training: gradients of terms, difficulty of examples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

_LARGEST = 100.0


class GradientBalance(nn.Module):
    """Factors with which the gradients of all terms, before their weights, are as large as their mean.

    The norms are moving averages, measured at every `every`th step by a backward pass for each term; a term that has
    none so far keeps its weight.

    Args:
        terms: How many.
        every: Steps between measurements.
        decay: Of the moving averages.

    Source: Chen, Badrinarayanan, Lee and Rabinovich 2018, "GradNorm: Gradient Normalization for Adaptive Loss Balancing
    in Deep Multitask Networks", ICML, section 3, arXiv:1711.02257, with alpha = 0. Deviation: the factors that make the
    norms equal are set instead of learned, over all weights of the student, and are kept within 1/100 to 100.
    """

    norms: torch.Tensor
    measured: torch.Tensor

    def __init__(self, terms: int, *, every: int = 10, decay: float = 0.9) -> None:
        super().__init__()
        self.every, self.decay = every, decay
        self.register_buffer("norms", torch.zeros(terms, dtype=torch.float64))
        self.register_buffer("measured", torch.tensor(0))

    def factors(self, terms: Sequence[torch.Tensor], parameters: Sequence[torch.Tensor]) -> list[float]:
        """Return a factor for each term, a scalar with a gradient; call it once a step."""
        if int(self.measured) % self.every == 0:
            norms = torch.stack([_norm(term, parameters) for term in terms])
            averaged = torch.where(self.norms > 0, self.norms.lerp(norms, 1.0 - self.decay), norms)
            self.norms.copy_(torch.where(norms > 0, averaged, self.norms))
        self.measured += 1
        is_known = self.norms > 0
        mean = self.norms.sum() / max(1, int(is_known.sum()))
        factors = torch.where(is_known, mean / self.norms.clamp(min=1e-30), 1.0)
        return [float(factor) for factor in factors.clamp(1.0 / _LARGEST, _LARGEST)]


def curriculum_weights(difficulty: torch.Tensor, progress: float, *, start: float = 0.3) -> torch.Tensor:
    """Return weights of mean 1 for the examples of a batch, easy ones first, `[batch]`.

    A share of the batch counts, the easiest by rank, which grows in a line from `start` to all of it at half of the
    training; the others have no weight. Equal examples keep their order.

    Args:
        difficulty: Higher is harder, for instance the teacher's own loss, `[batch]`.
        progress: Share of the training that is over.
        start: Share of the batch that counts at first.

    Source: Hacohen and Weinshall 2019, "On The Power of Curriculum Learning in Training Deep Networks", ICML,
    arXiv:1904.03626: difficulty by a teacher, and a pacing function. Deviation: within each batch.
    """
    share = min(1.0, start + (1.0 - start) * 2.0 * progress)
    counted = max(1, round(share * len(difficulty)))
    weights = torch.zeros_like(difficulty)
    weights[difficulty.argsort(stable=True)[:counted]] = len(difficulty) / counted
    return weights


def _norm(term: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    if not term.requires_grad:
        return torch.tensor(0.0, dtype=torch.float64)
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    squares = [gradient.double().square().sum() for gradient in gradients if gradient is not None]
    return torch.stack(squares).sum().sqrt() if squares else torch.tensor(0.0, dtype=torch.float64)
