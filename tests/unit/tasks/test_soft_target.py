from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekd.tasks.soft_target import soft_target


def logits(seed: int, *, batch: int = 6, classes: int = 5, scale: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, classes, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_it_is_t_squared_times_the_divergence_of_the_softened_distributions_by_hand(temperature: float) -> None:
    student, teacher = logits(0), logits(1)

    def softened(z: torch.Tensor) -> np.ndarray:
        e = np.exp(z.numpy() / temperature)
        return e / e.sum(axis=1, keepdims=True)

    p, q = softened(teacher), softened(student)
    by_hand = temperature**2 * (p * np.log(p / q)).sum(axis=1)
    assert soft_target(student, teacher, temperature).numpy() == pytest.approx(by_hand, rel=1e-10)
    single = soft_target(student.float(), teacher.float(), temperature)
    assert single.numpy() == pytest.approx(by_hand, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_it_gives_one_value_per_example_that_is_never_negative(temperature: float) -> None:
    loss = soft_target(logits(0, batch=200), logits(1, batch=200), temperature)
    assert loss.shape == (200,)
    assert (loss > 0).all()


@pytest.mark.parametrize("shift", [0.0, 7.0])
def test_it_is_zero_for_equal_distributions(shift: float) -> None:
    teacher = logits(0)
    # Adding a constant to all logits of an example changes no distribution.
    assert soft_target(teacher + shift, teacher, 4.0).abs().max() < 1e-12


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = logits(0).requires_grad_(), logits(1).requires_grad_()
    soft_target(student, teacher, 4.0).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().max() > 0


@pytest.mark.parametrize("temperature", [100.0, 1000.0])
def test_the_gradient_at_high_temperature_is_that_of_matched_logits_whatever_the_temperature(
    temperature: float,
) -> None:
    # Hinton et al. 2015, section 2.1: T^2 times the gradient, (q - p) / T, tends to the difference of the centred
    # logits over the number of classes.
    student, teacher = logits(0).requires_grad_(), logits(1)
    soft_target(student, teacher, temperature).sum().backward()
    difference = student.detach() - teacher
    limit = (difference - difference.mean(dim=1, keepdim=True)) / 5
    assert student.grad is not None
    assert torch.allclose(student.grad, limit, atol=30 / temperature)
    assert limit.abs().max() > 0.5


def test_the_size_of_the_gradient_does_not_fall_with_the_temperature() -> None:
    norms = []
    for temperature in (8.0, 64.0):
        student = logits(0).requires_grad_()
        soft_target(student, logits(1), temperature).sum().backward()
        assert student.grad is not None
        norms.append(float(student.grad.norm()))
    # Without T squared the second would be 64 times smaller.
    assert norms[1] == pytest.approx(norms[0], rel=0.2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=["half", "single"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_extreme_logits_give_finite_losses_and_gradients(temperature: float, dtype: torch.dtype) -> None:
    student = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype).requires_grad_()
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype)
    loss = soft_target(student, teacher, temperature)
    assert torch.isfinite(loss).all()
    # The teacher is sure of the second class, to which the student gives exp(-2e4 / T): T^2 * 2e4 / T.
    assert float(loss[0].detach()) == pytest.approx(2e4 * temperature, rel=1e-3)
    assert float(loss[1].detach()) == 0.0
    loss.sum().backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
