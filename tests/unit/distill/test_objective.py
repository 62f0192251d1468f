"""The losses of a recipe in training: exact weights, places, adapters, interruption, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from digits import rebuilt
from safetensors.torch import load_file
from torch import fx, nn

from edgekd.data import Images, Normalization, Tensors, batches, normalize
from edgekd.distill.phase import Phase
from edgekd.distill.train import train
from edgekd.distill.views import chosen_inputs
from edgekd.errors import DistillError, RecipeError, UnknownNameError
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.records.distillation import Choice, Term
from edgekd.tasks.soft_target import soft_target

NORMALIZATION = Normalization(mean=(0.5,), std=(0.25,))
PHASE = Phase(name="distill", epochs=3, learning_rate=0.05, seed=3, batch_size=16, ema_decay=0.5)


def term(loss: str, weight: float | None = None, /, **settings: Any) -> Term:
    options = tuple(settings.pop("options", {}).items())
    return Term(loss=Choice(loss, options), weight=weight, **settings)


def images(count: int) -> Images:
    generator = torch.Generator().manual_seed(count)
    y = torch.arange(count) % 2
    x = 40 + 130 * y[:, None, None, None] + torch.randint(0, 80, (count, 1, 8, 8), generator=generator)
    return Images(x=x.to(torch.uint8), y=y, ids=tuple(map(str, range(count))))


TRAIN, VALIDATION = images(48), images(16)


def network(width: int, seed: int = 0) -> fx.GraphModule:
    """Two stages, of 8 and of 4 pixels."""
    torch.manual_seed(seed)
    layers = [
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
    ]
    return rebuilt(nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width, 2)).eval(), (1, 8, 8))


@pytest.fixture
def student() -> fx.GraphModule:
    return network(4)


@pytest.fixture
def teacher() -> fx.GraphModule:
    return network(6, seed=1)


def train_it(student: Any, teacher: Any, *terms: Term, **options: Any) -> Any:
    changes = {name: options.pop(name) for name in list(options) if name in Phase.__dataclass_fields__}
    phase = dataclasses.replace(PHASE, **({"terms": terms} if terms else {}), **changes)
    return train(
        student,
        teacher=teacher,
        train_images=options.pop("train_images", TRAIN),
        validation_images=options.pop("validation_images", VALIDATION),
        normalization=options.pop("normalization", NORMALIZATION),
        phase=phase,
        **options,
    )


def assert_equal_weights(first: nn.Module, second: nn.Module) -> None:
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


EVERYTHING = (
    term("task", 0.5),
    term("soft-target", 0.5, temperature_schedule=Choice("adaptive")),
    term("hint", 0.3, schedule=Choice("cosine")),
    term("contrastive", 0.2, options={"width": 4, "queue": 32}),
    term("wasserstein-sliced", 0.1),
    term("flow", 0.1, adapter=Choice("channel-attention")),
)


def test_the_plain_recipe_is_the_weighted_sum_of_cross_entropy_and_soft_targets_to_the_bit(
    student: fx.GraphModule, teacher: fx.GraphModule
) -> None:
    # One epoch of one batch, computed here as it was before there were terms.
    _, (record,) = train_it(student, teacher, epochs=1, batch_size=48)
    generator = torch.Generator().manual_seed(3 * 1_000_003)
    x, y, _ = next(iter(batches(TRAIN, 48, generator=generator)))
    x = normalize(x, NORMALIZATION).contiguous(memory_format=torch.channels_last)
    trained = nn.Module.to(network(4), memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    with torch.no_grad():
        outputs, targets = trained(x), teacher(x)
    soft = soft_target(outputs, targets, 4.0)
    expected = ((1.0 - 0.7) * F.cross_entropy(outputs, y, reduction="none") + 0.7 * soft).mean()
    assert record.loss == float(expected)


def test_the_plain_recipe_written_out_is_the_default(student: fx.GraphModule, teacher: fx.GraphModule) -> None:
    plain, history = train_it(student, teacher)
    written, same = train_it(student, teacher, term("task", 1.0 - 0.7), term("soft-target", 0.7, temperature=4.0))
    assert history == same
    assert_equal_weights(plain, written)


def test_every_term_weight_and_temperature_is_recorded_for_every_epoch(
    student: fx.GraphModule, teacher: fx.GraphModule
) -> None:
    _, history = train_it(student, teacher, *EVERYTHING)
    labels = [t.loss.name for t in EVERYTHING]
    for record in history:
        assert {f"loss/{label}" for label in labels} | {f"weight/{label}" for label in labels} <= set(record.scalars)
        assert {n for n in record.scalars if n.startswith("temperature/")} == {"temperature/soft-target"}
        total = sum(record.scalars[f"weight/{n}"] * record.scalars[f"loss/{n}"] for n in labels if n != "hint")
        assert total < record.loss  # the hint has the rest
    # 9 steps; the cosine is 1 at the first and 0 at the last.
    cosine = [0.3 * 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(9)]
    means = [record.scalars["weight/hint"] for record in history]
    assert means == pytest.approx([sum(cosine[i : i + 3]) / 3 for i in (0, 3, 6)])


def test_schedules_go_on_over_the_span_of_a_phase(student: fx.GraphModule, teacher: fx.GraphModule) -> None:
    terms = (term("soft-target", 1.0, schedule=Choice("linear")),)
    _, (record,) = train_it(student, teacher, *terms, epochs=1, span=(0.6, 1.0))
    # Three steps, at 0.6, 0.8 and 1 of the whole training.
    assert record.scalars["weight/soft-target"] == pytest.approx((0.4 + 0.2 + 0.0) / 3)


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "with fake quantization"])
def test_adapters_queues_and_averages_survive_an_interruption_to_the_bit(
    student: fx.GraphModule, teacher: fx.GraphModule, tmp_path: Path, *, quantized: bool
) -> None:
    if quantized:
        student = prepare(student)
        calibrate(student, (normalize(x, NORMALIZATION) for x, _, _ in batches(TRAIN, 32)))
    whole, history = train_it(student, teacher, *EVERYTHING, balance=True, curriculum=True)

    def interrupt(_phase: str, epoch: int, _epochs: int, step: int, _steps: int, _last: float | None) -> None:
        if (epoch, step) == (3, 1):
            raise KeyboardInterrupt

    checkpoint = tmp_path / "distill.safetensors"
    options = {"balance": True, "curriculum": True, "checkpoint": checkpoint}
    with pytest.raises(KeyboardInterrupt):
        train_it(student, teacher, *EVERYTHING, on_progress=interrupt, **options)
    kept = load_file(checkpoint)
    assert any(name.startswith("objective/") and "queue" in name for name in kept)
    assert any(name.startswith("momentum/objective/") for name in kept)
    resumed, again = train_it(student, teacher, *EVERYTHING, **options)
    assert again == history
    assert_equal_weights(whole, resumed)


def test_adapters_go_on_from_the_phase_before_and_are_not_part_of_the_student(
    student: fx.GraphModule, teacher: fx.GraphModule, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    trained, _ = train_it(student, teacher, term("hint", 1.0), checkpoint=first)
    assert set(trained.state_dict()) == set(student.state_dict())
    still = {"learning_rate": 0.0, "weight_decay": 0.0, "epochs": 1}
    train_it(prepare(trained), teacher, term("hint", 1.0), checkpoint=second, previous=first, **still)
    adapters = {name: value for name, value in load_file(first).items() if name.startswith("objective/")}
    assert adapters
    assert all(torch.equal(value, load_file(second)[name]) for name, value in adapters.items())


def test_a_hint_reaches_the_layers_before_it_and_no_others(student: fx.GraphModule, teacher: fx.GraphModule) -> None:
    shallow = term("hint", 1.0, layers=(("relu", "relu"),))
    trained, _ = train_it(student, teacher, shallow, weight_decay=0.0, ema_decay=0.0, epochs=1)
    changed = {
        name for name, value in trained.named_parameters() if not torch.equal(value, student.get_parameter(name))
    }
    assert changed == {"0.weight", "1.weight", "1.bias"}


@pytest.mark.parametrize("adapter", ["1x1", "channel-attention", "cross-attention"])
def test_a_hint_brings_the_students_features_to_the_teachers(
    student: fx.GraphModule, teacher: fx.GraphModule, adapter: str
) -> None:
    _, history = train_it(student, teacher, term("hint", 1.0, adapter=Choice(adapter)), epochs=6)
    assert history[-1].loss < 0.8 * history[0].loss


def test_by_depth_leaves_each_loss_the_layers_of_its_depth(
    student: fx.GraphModule, teacher: fx.GraphModule, tmp_path: Path
) -> None:
    # Three weighted layers: the first stage ends at 1/3, which is shallow, the second at 2/3, which is in the middle.
    by_depth = Choice("by-depth")
    checkpoint = tmp_path / "c.safetensors"
    terms = (term("hint", 1.0, schedule=by_depth), term("attention", 1.0, schedule=by_depth))
    train_it(student, teacher, *terms, checkpoint=checkpoint, epochs=1)
    adapters = [n for n in load_file(checkpoint) if n.startswith("objective/terms.0.adapters") and "weight" in n]
    assert len(adapters) == 1
    with pytest.raises(RecipeError, match=r"similarity.*at the depth"):
        train_it(student, teacher, term("similarity", 1.0, schedule=by_depth), epochs=1)


def test_two_networks_of_other_class_counts_share_features_but_not_outputs(student: fx.GraphModule) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(3, 5, 1), nn.ReLU()]
    other = rebuilt(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 7)).eval(), (1, 8, 8))
    with pytest.raises(DistillError, match=r"\[batch, 7\], found \[batch, 2\]"):
        train_it(student, other)
    _, history = train_it(student, other, term("task"), term("hint"))
    assert math.isfinite(history[-1].loss)


def test_the_term_that_is_not_finite_is_named(student: fx.GraphModule, teacher: fx.GraphModule) -> None:
    with torch.no_grad():
        teacher.get_parameter("3.weight").fill_(math.inf)
    with pytest.raises(DistillError, match="found nan from 'hint'"):
        train_it(student, teacher, term("task", 1.0), term("hint", 1.0))


def test_a_layer_that_is_not_there_names_the_nearest(student: fx.GraphModule, teacher: fx.GraphModule) -> None:
    with pytest.raises(UnknownNameError, match=r"student layer.*Did you mean 'relu'"):
        train_it(student, teacher, term("hint", 1.0, layers=(("relu", "relus"),)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (term("soft-target", 1.0, layers="outputs"), "compares outputs"),
        (term("decoupled", 1.0, adapter=Choice("1x1")), "compares outputs"),
        (term("hint", 1.0, adapter=Choice("cross-attention", (("heads", 0),))), "at least 1 head"),
        (term("contrastive", 1.0, options={"width": 0}), "a width of at least 1"),
    ],
)
def test_a_term_that_cannot_be_is_refused_before_training(
    student: fx.GraphModule, teacher: fx.GraphModule, wrong: Term, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        train_it(student, teacher, wrong)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        (term("hints", 1.0), "hint"),
        (term("hint", 1.0, adapter=Choice("1x2")), "1x1"),
        (term("hint", 1.0, schedule=Choice("cosin")), "cosine"),
        (term("decoupled", 1.0, options={"betta": 1.0}), "beta"),
    ],
)
def test_an_unknown_name_in_a_term_suggests_the_nearest(
    student: fx.GraphModule, teacher: fx.GraphModule, wrong: Term, near: str
) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean '{near}'"):
        train_it(student, teacher, wrong)


def test_a_student_learns_from_a_teacher_that_sees_another_sensor() -> None:
    """The teacher sees the sign; the student sees noise that the sign was added to, and no label counts."""
    generator = torch.Generator().manual_seed(0)

    def samples(count: int) -> Tensors:
        y = torch.arange(count) % 2
        sign = (2.0 * y - 1.0)[:, None]
        noisy = torch.randn(count, 6, generator=generator) + 2.0 * sign
        return Tensors(x=(noisy, sign), y=y, ids=tuple(map(str, range(count))))

    torch.manual_seed(0)
    student = fx.symbolic_trace(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)))

    class Sign(nn.Module):
        def forward(self, sign: torch.Tensor) -> torch.Tensor:
            return 4.0 * torch.cat((-sign, sign), 1)

    _, history = train_it(
        student,
        Sign(),
        term("soft-target", 1.0),
        epochs=8,
        train_images=samples(64),
        validation_images=samples(32),
        normalization=None,
        feed=chosen_inputs((0,), (1,)),
    )
    assert history[-1].accuracy.value == 1.0
    assert history[-1].loss < 0.5 * history[0].loss
