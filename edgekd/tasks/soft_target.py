"""The soft-target loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def soft_target(student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return `T^2 KL(teacher || student)` of the softened distributions, one value per example, `[batch]`.

    Zero when the distributions are equal, positive otherwise. No gradient reaches the teacher. The factor T squared
    keeps the gradient's size when the temperature changes.

    Args:
        student_logits: `[batch, classes]`.
        teacher_logits: `[batch, classes]`.
        temperature: T > 0; larger is softer.

    Source: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", section 2,
    arXiv:1503.02531. Deviation: KL divergence instead of cross-entropy, which differs by the teacher's entropy, a
    constant, so that the loss is zero at equality.
    """
    # Half precision would overflow in the product with T squared.
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student = F.log_softmax(student_logits / temperature, dim=1, dtype=dtype)
    teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=1, dtype=dtype)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    return divergence * temperature**2
