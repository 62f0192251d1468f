from __future__ import annotations

import dataclasses
import json
import math
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from digits import rebuilt
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from edgekd.data import Images, Normalization, batches, normalize
from edgekd.distill.train import EpochRecord, Phase, learning_rate_at, train
from edgekd.errors import DistillError, ExportError
from edgekd.quantize.prepare import calibrate, prepare

NORMALIZATION = Normalization(mean=(0.5,), std=(0.25,))
PHASE = Phase(
    name="distill", epochs=4, learning_rate=0.1, seed=3, batch_size=16, ema_decay=0.5, augmentations=("crop",)
)


def separable(count: int) -> Images:
    """Dark images of class 0 and bright ones of class 1, with noise between them."""
    generator = torch.Generator().manual_seed(count)
    y = torch.arange(count) % 2
    x = 40 + 130 * y[:, None, None, None] + torch.randint(0, 80, (count, 1, 6, 6), generator=generator)
    return Images(x=x.to(torch.uint8), y=y, ids=tuple(map(str, range(count))))


TRAIN, VALIDATION = separable(60), separable(20)


@pytest.fixture
def network() -> Any:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return rebuilt(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 2)).eval(), (1, 6, 6))


@pytest.fixture
def teacher() -> nn.Module:
    """Knows the answer: the mean brightness decides."""

    class Brightness(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            level = x.mean(dim=(1, 2, 3))
            return torch.stack([-level, level], dim=1) * 5

    return Brightness()


def train_it(network: Any, teacher: nn.Module | None, phase: Phase = PHASE, **options: Any) -> Any:
    return train(
        network,
        teacher=teacher,
        train_images=TRAIN,
        validation_images=VALIDATION,
        normalization=NORMALIZATION,
        phase=phase,
        **options,
    )


def change(phase: Phase = PHASE, **changes: Any) -> Phase:
    import dataclasses

    return dataclasses.replace(phase, **changes)


def assert_equal_weights(first: nn.Module, second: nn.Module) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize(
    ("step", "steps", "share"),
    [
        (0, 40, 1 / 2),  # 5 % of 40 steps are 2 of warm-up
        (1, 40, 1.0),
        (2, 40, 1.0),  # the cosine begins at its top
        (21, 40, 0.5),  # half of the 38 steps after it
        (39, 40, 0.5 * (1 + math.cos(math.pi * 37 / 38))),
        (0, 1, 1.0),
        (9, 10, 0.5 * (1 + math.cos(math.pi * 8 / 9))),  # at least one step of warm-up
    ],
)
def test_the_learning_rate_rises_for_a_twentieth_and_then_follows_a_cosine(step: int, steps: int, share: float) -> None:
    assert learning_rate_at(change(learning_rate=0.08), step, steps) == pytest.approx(0.08 * share)


def test_the_learning_rate_never_exceeds_the_highest_and_ends_near_zero() -> None:
    rates = [learning_rate_at(change(learning_rate=0.08), step, 500) for step in range(500)]
    assert max(rates) == pytest.approx(0.08)
    assert all(rate > 0 for rate in rates)
    assert rates[-1] < 0.08 * 1e-4
    assert rates[25:] == sorted(rates[25:], reverse=True)


@pytest.mark.parametrize("with_teacher", [True, False], ids=["soft targets and labels", "labels alone"])
def test_the_loss_falls_and_separable_classes_are_learned(
    network: Any, teacher: nn.Module, *, with_teacher: bool
) -> None:
    trained, history = train_it(network, teacher if with_teacher else None, change(epochs=8))
    assert [record.epoch for record in history] == list(range(1, 9))
    assert history[-1].loss < 0.5 * history[0].loss
    assert history[-1].accuracy.value == 1.0
    assert (history[-1].accuracy.samples, history[-1].accuracy.split) == (20, "validation")
    assert not trained.training


def test_a_student_that_equals_its_teacher_in_soft_targets_alone_has_no_loss(network: Any) -> None:
    # Without momentum in batch norm's statistics, the teacher is the student in training mode: the loss is 0.
    class Mirror(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return network.train()(x)

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    phase = change(epochs=1, soft_weight=1.0, learning_rate=0.0, weight_decay=0.0)
    _, history = train_it(network, Mirror(), phase)
    assert history[0].loss == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "with fake quantization"])
@pytest.mark.parametrize("finished_epochs", [1, 3])
def test_training_interrupted_after_any_epoch_ends_in_the_same_bits(
    network: Any, teacher: nn.Module, tmp_path: Path, finished_epochs: int, *, quantized: bool
) -> None:
    if quantized:
        network = prepare(network)
        calibrate(network, (normalize(x, NORMALIZATION) for x, _, _ in batches(TRAIN, 32)))
    whole, history = train_it(network, teacher)

    def interrupt(_phase: str, epoch: int, _epochs: int, step: int, _steps: int, _last: float | None) -> None:
        if (epoch, step) == (finished_epochs + 1, 2):
            raise KeyboardInterrupt

    checkpoint = tmp_path / "student" / "distill.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_it(network, teacher, checkpoint=checkpoint, on_progress=interrupt)
    steps: list[int] = []
    resumed, again = train_it(
        network, teacher, checkpoint=checkpoint, on_progress=lambda *shown: steps.append(shown[1])
    )
    assert set(steps) == set(range(finished_epochs + 1, 5))
    assert again == history
    assert_equal_weights(whole, resumed)
    x = normalize(VALIDATION.x, NORMALIZATION)
    with torch.no_grad():
        assert torch.equal(whole(x), resumed(x))


def test_a_finished_phase_is_given_back_without_training(network: Any, teacher: nn.Module, tmp_path: Path) -> None:
    checkpoint = tmp_path / "distill.safetensors"
    whole, history = train_it(network, teacher, checkpoint=checkpoint)

    def fail(*_shown: object) -> None:
        raise AssertionError("nothing is left to train")

    again, same = train_it(network, teacher, checkpoint=checkpoint, on_progress=fail)
    assert same == history
    assert_equal_weights(whole, again)


def test_a_seed_gives_the_same_bits_and_another_seed_others(network: Any, teacher: nn.Module) -> None:
    first, _ = train_it(network, teacher)
    second, _ = train_it(network, teacher)
    assert_equal_weights(first, second)
    other, _ = train_it(network, teacher, change(seed=4))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_the_network_and_the_teacher_are_left_as_they_were(network: Any) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained, _ = train_it(network, network, change(epochs=1, soft_weight=0.5))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not torch.equal(next(trained.parameters()), next(network.parameters()))


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own(network: Any) -> None:
    class Recorder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[float] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen += x.double().sum(dim=(1, 2, 3)).tolist()
            return torch.zeros(len(x), 2)

    recorder = Recorder()
    train_it(network, recorder, change(epochs=2, augmentations=()))
    first, second = recorder.seen[:60], recorder.seen[60:]
    assert sorted(first) == sorted(second) == sorted(normalize(TRAIN.x, NORMALIZATION).double().sum((1, 2, 3)).tolist())
    assert first != second


def tensors_of(checkpoint: Path, kind: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(f"{kind}/"): t for n, t in load_file(checkpoint).items() if n.startswith(f"{kind}/")}


def test_the_moving_average_starts_fast_and_follows_the_network_by_hand(
    network: Any, teacher: nn.Module, tmp_path: Path
) -> None:
    # Two epochs of one step. The decay of step s is the smaller of 0.998 and (1 + s) / (10 + s): 1/10, then 2/11.
    checkpoint, first = tmp_path / "now.safetensors", tmp_path / "first.safetensors"

    def keep_first(_phase: str, epoch: int, *_rest: object) -> None:
        if epoch == 2 and not first.exists():
            shutil.copy(checkpoint, first)

    phase = change(epochs=2, batch_size=60, ema_decay=0.998)
    trained, _ = train_it(network, teacher, phase, checkpoint=checkpoint, on_progress=keep_first)
    after_one, after_two = tensors_of(first, "network"), tensors_of(checkpoint, "network")
    final = dict(trained.named_parameters())
    for name, start in network.named_parameters():
        average = 1 / 10 * start + 9 / 10 * after_one[name]
        assert torch.allclose(tensors_of(first, "average")[name], average, atol=1e-6), name
        average = 2 / 11 * average + 9 / 11 * after_two[name]
        assert torch.allclose(final[name], average, atol=1e-6), name
    # Statistics are not averaged but taken over.
    for name, buffer in trained.named_buffers():
        assert torch.equal(buffer, after_two[name]), name


def test_a_decay_of_zero_returns_the_network_itself(network: Any, teacher: nn.Module, tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    trained, _ = train_it(network, teacher, change(ema_decay=0.0, epochs=1), checkpoint=checkpoint)
    for name, value in tensors_of(checkpoint, "network").items():
        assert torch.equal(trained.state_dict()[name], value), name


@pytest.fixture
def checkpoint(network: Any, teacher: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "distill.safetensors"
    train_it(network, teacher, checkpoint=path)
    return path


def _another_network(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({"network/other": torch.zeros(3)}, path, metadata)


def _without_history(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        phase = file.metadata()["phase"]
    save_file(load_file(path), path, {"phase": phase, "history": "[{"})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_text("no checkpoint"),
        lambda path: path.write_bytes(b""),
        lambda path: save_file({"weight": torch.zeros(3)}, path),
        lambda path: save_file(load_file(path), path, {"phase": json.dumps({"name": "distill"})}),
        _another_network,
        _without_history,
    ],
    ids=["truncated", "text", "empty", "other tensors", "other settings", "another network", "damaged history"],
)
def test_a_foreign_or_damaged_checkpoint_is_refused_by_name_and_left_there(
    network: Any, teacher: nn.Module, checkpoint: Path, spoil: Callable[[Path], Any]
) -> None:
    spoil(checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(DistillError, match="a checkpoint of this phase") as caught:
        train_it(network, teacher, checkpoint=checkpoint)
    assert caught.value.where == str(checkpoint)
    assert "--run" in caught.value.hint
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_other_settings_is_refused(network: Any, teacher: nn.Module, checkpoint: Path) -> None:
    with pytest.raises(DistillError, match="other settings"):
        train_it(network, teacher, change(learning_rate=0.2), checkpoint=checkpoint)


def test_a_loss_that_is_not_finite_names_phase_and_step_and_keeps_earlier_epochs(
    network: Any, teacher: nn.Module, tmp_path: Path
) -> None:
    whole, history = train_it(network, teacher)

    class Breaks(nn.Module):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return teacher(x) * (math.nan if self.calls == 6 else 1.0)

    checkpoint = tmp_path / "distill.safetensors"
    # 60 images in batches of 16 are 4 steps an epoch: call 6 is in the second of 4 epochs.
    with pytest.raises(DistillError, match=r"'distill', step 6 of 16.*found nan") as caught:
        train_it(network, Breaks(), checkpoint=checkpoint)
    assert "--learning-rate" in caught.value.hint
    with safe_open(checkpoint, framework="pt") as file:
        assert [entry["epoch"] for entry in json.loads(file.metadata()["history"])] == [1]
    resumed, again = train_it(network, teacher, checkpoint=checkpoint)
    assert again == history
    assert_equal_weights(whole, resumed)


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let no file grow beyond 1 KB, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_ends_training_with_the_place_and_leaves_no_partial_file(
    network: Any, teacher: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="room for the file") as caught:
        train_it(network, teacher, change(epochs=1), checkpoint=tmp_path / "distill.safetensors")
    assert "--resume" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_can_be_read_by_whoever_can_read_the_folder(
    network: Any, teacher: nn.Module, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    checkpoint = tmp_path / "distill.safetensors"
    train_it(network, teacher, change(epochs=1), checkpoint=checkpoint)
    assert checkpoint.stat().st_mode == plain.stat().st_mode


def test_each_epoch_is_told_once_also_over_an_interruption(network: Any, teacher: nn.Module, tmp_path: Path) -> None:
    told: list[int] = []
    checkpoint = tmp_path / "checkpoint.safetensors"

    def stop_after_two(record: EpochRecord) -> None:
        told.append(record.epoch)

    def interrupt(_phase: str, epoch: int, *_rest: Any) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_it(network, teacher, checkpoint=checkpoint, on_epoch=stop_after_two, on_progress=interrupt)
    train_it(network, teacher, checkpoint=checkpoint, on_epoch=stop_after_two)
    assert told == [1, 2, 3, 4]


def test_bfloat16_learns_the_same_task_with_other_bits_and_leaves_fp32_weights(
    network: Any, teacher: nn.Module
) -> None:
    exact, _ = train_it(network, teacher)
    rough, history = train_it(network, teacher, dataclasses.replace(PHASE, precision="bf16", teacher_precision="bf16"))
    assert {parameter.dtype for parameter in rough.parameters()} == {torch.float32}
    x = normalize(VALIDATION.x, NORMALIZATION)
    difference = (exact(x) - rough(x)).abs().max()
    assert 0 < difference < 0.25 * exact(x).abs().max()
    assert history[-1].accuracy.value == 1.0
