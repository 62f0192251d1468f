"""Every distillation loss keeps the promises that training relies on."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from edgekd.distill.losses import LOSSES, Loss, Seen, Side
from edgekd.errors import DistillError

NAMES = LOSSES.names()
BATCH, CLASSES = 6, 5


def feature(seed: int, *shape: int, batch: int = BATCH, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *shape, generator=generator, dtype=torch.float64).to(dtype)


def made(name: str, student: Side, teacher: Side, **options: Any) -> Loss:
    loss = LOSSES.load(name, "test")(**options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss.build(student.features, teacher.features)
    return loss


def side(seed: int, name: str, *, batch: int = BATCH, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Side:
    """Outputs, and as many features as the loss reads, the second of half the resolution."""
    count = {"outputs": 0, "consecutive": 2}.get(LOSSES.load(name, "test").reads, 1)
    features = [feature(seed + i, 4, 4 // (i + 1), 4 // (i + 1), batch=batch, dtype=dtype) for i in range(count)]
    outputs = 2.0 * feature(seed, CLASSES, batch=batch, dtype=dtype)
    return Side(outputs=scale * outputs, features=tuple(scale * x for x in features))


def seen(student: Side, teacher: Side, temperature: float = 2.0) -> Seen:
    targets = torch.arange(len(student.outputs)) % CLASSES
    return Seen(student=student, teacher=teacher, targets=targets, temperature=temperature)


def read(side: Side) -> tuple[torch.Tensor, ...]:
    """What a loss compares: the features if it reads any, else the outputs."""
    return side.features or (side.outputs,)


def leaves(side: Side) -> Side:
    return Side(
        outputs=side.outputs.clone().requires_grad_(), features=tuple(x.clone().requires_grad_() for x in side.features)
    )


@pytest.fixture(autouse=True)
def quiet_pot() -> Any:
    """POT says when Sinkhorn's algorithm has not converged, which is no news at an extreme."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="ot")
        yield


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_one_finite_value_an_example_that_is_not_negative(name: str) -> None:
    student, teacher = side(0, name), side(10, name)
    loss = made(name, student, teacher).double()
    for _ in range(3):  # queues fill
        values = loss(seen(student, teacher))
        assert values.shape == (BATCH,)
        assert torch.isfinite(values).all()
        assert (values >= 0).all()
        assert values.max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_it_is_smallest_where_the_student_gives_what_the_teacher_gives(name: str) -> None:
    teacher = side(10, name)
    loss = made(name, teacher, teacher).double().eval()
    equal = loss(seen(teacher, teacher))
    if loss.is_zero_at_equality:
        assert equal.abs().max() < 1e-7
    for seed in range(20, 25):
        assert equal.mean() < 0.9 * loss(seen(side(seed, name), teacher)).mean() + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_a_step_down_the_gradient_brings_the_student_nearer(name: str) -> None:
    student, teacher = leaves(side(0, name)), side(10, name)
    loss = made(name, student, teacher).double().eval()
    before = loss(seen(student, teacher)).mean()
    before.backward()
    step = 1e-4 / max(float(x.grad.abs().max()) for x in read(student) if x.grad is not None)
    moved = tuple((x - step * x.grad).detach() for x in read(student) if x.grad is not None)
    nearer = Side(outputs=student.outputs.detach(), features=moved) if student.features else Side(outputs=moved[0])
    assert loss(seen(nearer, teacher)).mean() < before


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_reaches_the_teacher_and_every_part_of_the_student_gets_one(name: str) -> None:
    student, teacher = leaves(side(0, name)), leaves(side(10, name))
    made(name, student, teacher).double()(seen(student, teacher)).mean().backward()
    assert all(x.grad is None for x in (teacher.outputs, *teacher.features))
    for x in read(student):
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
        assert (x.grad.flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_is_computed_in_single(name: str, dtype: torch.dtype) -> None:
    student, teacher = leaves(side(0, name, dtype=dtype, scale=40.0)), side(10, name, dtype=dtype, scale=40.0)
    loss = made(name, student, teacher)
    values = loss(seen(student, teacher))
    assert values.dtype == torch.float32
    assert torch.isfinite(values).all()
    values.mean().backward()
    assert all(x.grad is not None and torch.isfinite(x.grad).all() for x in read(student))
    single = made(name, student, teacher)(seen(*(_cast(side, torch.float32) for side in (student, teacher))))
    torch.testing.assert_close(values, single)


def _cast(side: Side, dtype: torch.dtype) -> Side:
    return Side(outputs=side.outputs.to(dtype), features=tuple(x.to(dtype) for x in side.features))


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_finite_differences_in_double_precision(name: str) -> None:
    student, teacher = leaves(side(0, name, batch=3)), side(10, name, batch=3)
    # The gradient at the plan is that of the divergence once the plan is reached.
    options = {"iterations": 3000, "regularization": 0.3} if name == "wasserstein-sinkhorn" else {}
    loss = made(name, student, teacher, **options).double().eval()

    def value(*inputs: torch.Tensor) -> torch.Tensor:
        given = Side(outputs=student.outputs, features=inputs) if student.features else Side(outputs=inputs[0])
        return loss(seen(given, teacher))

    assert torch.autograd.gradcheck(value, read(student), atol=1e-5, rtol=1e-3, fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_is_handled(name: str) -> None:
    student, teacher = leaves(side(0, name, batch=1)), side(10, name, batch=1)
    values = made(name, student, teacher).double()(seen(student, teacher))
    assert values.shape == (1,)
    assert torch.isfinite(values).all()
    values.mean().backward()
    assert all(x.grad is None or torch.isfinite(x.grad).all() for x in read(student))


@pytest.mark.parametrize("name", NAMES)
def test_what_an_example_is_worth_does_not_depend_on_the_order_of_the_batch(name: str) -> None:
    student, teacher = side(0, name), side(10, name)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    loss = made(name, student, teacher).double().eval()
    given = seen(student, teacher)
    moved = Seen(
        student=Side(outputs=student.outputs[order], features=tuple(x[order] for x in student.features)),
        teacher=Side(outputs=teacher.outputs[order], features=tuple(x[order] for x in teacher.features)),
        targets=given.targets[order],
        temperature=given.temperature,
    )
    torch.testing.assert_close(loss(moved), loss(given)[order])


@pytest.mark.parametrize("name", [name for name in NAMES if LOSSES.load(name, "test").reads == "outputs"])
def test_outputs_of_other_class_counts_are_refused(name: str) -> None:
    student, teacher = side(0, name), Side(outputs=feature(1, CLASSES + 2))
    with pytest.raises(DistillError) as caught:
        made(name, student, teacher)(seen(student, teacher))
    assert (caught.value.expected, caught.value.found) == ("outputs of the teacher's shape [batch, 7]", "[batch, 5]")
    assert "docs/distillation.md" in caught.value.hint


@pytest.mark.parametrize("name", ["soft-target", "decoupled"])
def test_the_gradient_keeps_its_size_when_the_temperature_changes(name: str) -> None:
    norms = []
    for temperature in (16.0, 64.0):
        student = leaves(side(0, name))
        made(name, student, student)(seen(student, side(10, name), temperature)).mean().backward()
        norms.append(float(read(student)[0].grad.norm()))  # type: ignore[union-attr]
    # Without T squared the second would be 16 times smaller.
    assert norms[1] == pytest.approx(norms[0], rel=0.2)


@pytest.mark.parametrize("name", [n for n in NAMES if LOSSES.load(n, "test").reads != "outputs"])
def test_features_of_other_spatial_size_are_resized(name: str) -> None:
    student, teacher = side(0, name), side(10, name)
    larger = Side(
        outputs=teacher.outputs,
        features=tuple(x.repeat_interleave(2, 2).repeat_interleave(2, 3) for x in teacher.features),
    )
    loss = made(name, student, larger).double().eval()
    values = loss(seen(student, larger))
    assert torch.isfinite(values).all()
    if loss.reads == "each":
        # The average of equal pixels is the pixel.
        torch.testing.assert_close(values, loss(seen(student, teacher)))


@pytest.mark.parametrize("name", [n for n in NAMES if LOSSES.load(n, "test").aligned])
def test_other_channel_counts_ask_for_an_adapter(name: str) -> None:
    teacher = side(10, name)
    wider = Side(outputs=teacher.outputs, features=tuple(torch.cat((x, x), 1) for x in teacher.features))
    with pytest.raises(DistillError, match="8 channels in the student's feature") as caught:
        made(name, side(0, name), wider).double()(seen(side(0, name), wider))
    assert 'adapter = "1x1"' in caught.value.hint


@pytest.mark.parametrize("name", ["hint", "attention", "gram"])
def test_a_map_against_tokens_is_refused_and_the_adapter_for_it_named(name: str) -> None:
    student = side(0, name)
    tokens = Side(outputs=student.outputs, features=(feature(1, 9, 4),))
    with pytest.raises(DistillError, match="tokens \\[9, 4\\], found a map \\[4, 4, 4\\]") as caught:
        made(name, student, tokens).double()(seen(student, tokens))
    assert "cross-attention" in caught.value.hint


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_names_its_source(name: str) -> None:
    text = LOSSES.load(name, "test").__doc__ or ""
    assert "Source:" in text
