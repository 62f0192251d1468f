"""The training loop: one phase of epochs, resumable after each, the same result whether it was interrupted or not.

All randomness of an epoch comes from the seed and the epoch's number. What an epoch leaves behind (weights, their
moving average, the optimizer's momentum) is written as safetensors before the next begins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import fx, nn

from edgekd.data import Normalization, Samples, batches, channels_last, network_inputs
from edgekd.errors import DistillError
from edgekd.models.evaluate import measure
from edgekd.prune.slicing import copy_network
from edgekd.quantize.prepare import set_observing
from edgekd.records import Metric
from edgekd.store import written_whole
from edgekd.tasks import CLASSIFICATION, Task

_WARM_UP_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """The settings of a phase.

    `soft_weight` is the distillation's share of the loss; the task's own loss has the rest, and no share where the
    targets are the teacher's outputs. With a precision of `bf16` the
    convolutions and matrix products of a forward and backward pass are in bfloat16; weights, batch norm and losses stay
    in fp32.
    """

    name: str
    epochs: int
    learning_rate: float
    seed: int
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 1e-4
    temperature: float = 4.0
    soft_weight: float = 0.7
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    augmentations: tuple[str, ...] = ()
    precision: Literal["fp32", "bf16"] = "fp32"
    teacher_precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What one epoch gave: the mean training loss and the averaged network's metric on `validation`."""

    epoch: int
    loss: float
    accuracy: Metric


EpochCallback = Callable[[str, int, int, int, int, float | None], None]


def ignore_progress(_phase: str, _epoch: int, _epochs: int, _step: int, _steps: int, _accuracy: float | None) -> None:
    """Report nothing."""


def train(
    network: fx.GraphModule,
    *,
    teacher: nn.Module | None,
    train_images: Samples,
    validation_images: Samples,
    normalization: Normalization | None,
    phase: Phase,
    task: Task = CLASSIFICATION,
    checkpoint: Path | None = None,
    on_progress: EpochCallback = ignore_progress,
    on_epoch: Callable[[EpochRecord], None] = lambda _record: None,
) -> tuple[fx.GraphModule, tuple[EpochRecord, ...]]:
    """Return the moving average of `network` trained for one phase, and what each epoch gave.

    The last epoch's average is returned: nothing is selected, since the cosine schedule ends where it should.

    Args:
        network: The network to start from; left as it was. A prepared one is trained with fake quantization.
        teacher: What is distilled from; without one the loss is the task's alone.
        train_images: What is learned from.
        validation_images: What the metric of each epoch is measured on.
        normalization: How pixels become inputs; none where inputs are no images.
        phase: The settings.
        task: The losses and the metric.
        checkpoint: Where to keep the state of the last finished epoch; an existing one is gone on from.
        on_progress: Called with phase, epoch, epochs, step, steps and the last value of the metric.
        on_epoch: Called after each epoch that was trained now.

    Raises:
        DistillError: The loss is not finite.
    """
    state = _State(network, phase)
    history = state.restore(checkpoint) if checkpoint is not None and checkpoint.is_file() else []
    full, rest = divmod(len(train_images), phase.batch_size)
    steps = full + (rest > 1)
    for epoch in range(len(history), phase.epochs):
        set_observing(state.network, is_observing=epoch < (phase.epochs + 1) // 2)
        last = history[-1].accuracy.value if history else None
        loss = 0.0
        for step, (inputs, y) in enumerate(_epoch_batches(train_images, normalization, phase, epoch)):
            objective = _objective(state.network, teacher, inputs, y, phase, task)
            loss += _step(state, objective, phase, epoch * steps + step, phase.epochs * steps)
            on_progress(phase.name, epoch + 1, phase.epochs, step + 1, steps, last)
        metric = measure(state.average, validation_images, normalization, split="validation", task=task)
        history.append(EpochRecord(epoch=epoch + 1, loss=loss / steps, accuracy=metric))
        on_progress(phase.name, epoch + 1, phase.epochs, steps, steps, metric.value)
        on_epoch(history[-1])
        if checkpoint is not None:
            state.save(checkpoint, history)
    set_observing(state.average, is_observing=False)
    return state.average.eval(), tuple(history)


def learning_rate_at(phase: Phase, step: int, steps: int) -> float:
    """Return the rate of a step: a short linear warm-up, then a cosine to zero.

    Source: Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR, equation 5,
    arXiv:1608.03983, without restarts; the warm-up is ours.
    """
    warm_up = max(1, int(steps * _WARM_UP_SHARE))
    if step < warm_up:
        return phase.learning_rate * (step + 1) / warm_up
    return phase.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _epoch_batches(
    images: Samples, normalization: Normalization | None, phase: Phase, epoch: int
) -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
    generator = torch.Generator().manual_seed(phase.seed * 1_000_003 + epoch)
    for x, y, _ in batches(images, phase.batch_size, generator=generator, augmentations=phase.augmentations):
        if len(y) == 1:
            return  # batch norm has no statistics of a last batch of one
        yield channels_last(network_inputs(x, normalization)), y


def _objective(
    network: nn.Module,
    teacher: nn.Module | None,
    inputs: tuple[torch.Tensor, ...],
    y: torch.Tensor,
    phase: Phase,
    task: Task,
) -> torch.Tensor:
    """Return the loss of a batch in training."""
    # A prepared network has no batch norm left; for a float one this makes its batch norms learn.
    network.train()
    outputs = _forward(network, inputs, phase.precision)
    if teacher is None:
        return task.loss(outputs, y).mean()
    with torch.no_grad():
        targets = _forward(teacher, inputs, phase.teacher_precision)
    soft = task.distillation(outputs, targets, phase.temperature)
    if task.source == "teacher":
        return soft.mean()
    return ((1.0 - phase.soft_weight) * task.loss(outputs, y) + phase.soft_weight * soft).mean()


def _step(state: _State, mean: torch.Tensor, phase: Phase, step: int, steps: int) -> float:
    value = float(mean.detach())
    if not math.isfinite(value):
        raise DistillError(
            f"training phase '{phase.name}', step {step + 1} of {steps}",
            expected="a finite loss",
            found=str(value),
            hint="Lower the learning rate with --learning-rate; finished epochs are kept.",
        )
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate_at(phase, step, steps)
    state.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(mean)
    nn.utils.clip_grad_norm_(state.network.parameters(), phase.clip_norm)
    state.optimizer.step()
    state.update_average(min(phase.ema_decay, (1 + step) / (10 + step)))
    return value


def _forward(network: nn.Module, inputs: tuple[torch.Tensor, ...], precision: str) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        outputs: torch.Tensor = network(*inputs)
    return outputs.float()


class _State:
    """The network in training, its moving average and the optimizer, as one thing to save and restore."""

    def __init__(self, network: fx.GraphModule, phase: Phase) -> None:
        self.phase = phase
        self.network = copy_network(network)
        nn.Module.to(self.network, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
        self.average = copy_network(self.network).eval()
        decayed = [p for p in self.network.parameters() if p.dim() > 1]
        others = [p for p in self.network.parameters() if p.dim() <= 1]
        self.optimizer = torch.optim.SGD(
            [
                {"params": decayed, "weight_decay": phase.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=phase.learning_rate,
            momentum=phase.momentum,
            nesterov=True,
        )
        set_observing(self.average, is_observing=False)

    def update_average(self, decay: float) -> None:
        with torch.no_grad():
            own: list[torch.Tensor] = list(self.network.parameters())
            average: list[torch.Tensor] = list(self.average.parameters())
            torch._foreach_lerp_(average, own, 1.0 - decay)
            for copied, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
                copied.copy_(buffer)

    def save(self, path: Path, history: list[EpochRecord]) -> None:
        from safetensors.torch import save

        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            buffer = self.optimizer.state[parameter].get("momentum_buffer")
            if buffer is not None:
                tensors[f"momentum/{name}"] = buffer
        metadata = {
            "phase": json.dumps(asdict(self.phase)),
            "history": json.dumps([asdict(e) for e in history]),
        }
        with written_whole(path) as temporary:
            # Not `save_file`, whose errors of a full disk are no OSError, and whose files only the owner can read.
            temporary.write_bytes(save({name: value.contiguous() for name, value in tensors.items()}, metadata))

    def restore(self, path: Path) -> list[EpochRecord]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        except (SafetensorError, OSError) as error:
            raise self._foreign(path, str(error)) from error
        if metadata.get("phase") != json.dumps(asdict(self.phase)):
            raise self._foreign(path, "one made with other settings")
        try:
            history = [
                EpochRecord(epoch=e["epoch"], loss=e["loss"], accuracy=Metric(**e["accuracy"]))
                for e in json.loads(metadata["history"])
            ]
            for kind, module in (("network", self.network), ("average", self.average)):
                prefix = f"{kind}/"
                module.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
        # `load_state_dict` raises RuntimeError for names and shapes that do not fit.
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise self._foreign(path, "one of another network, or a damaged one") from error
        for name, parameter in self.network.named_parameters():
            if f"momentum/{name}" in tensors:
                self.optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum/{name}"].to(
                    memory_format=torch.channels_last if parameter.dim() == 4 else torch.preserve_format
                )
        return history

    @staticmethod
    def _foreign(path: Path, found: str) -> DistillError:
        return DistillError(
            str(path), expected="a checkpoint of this phase", found=found, hint="Use another --run folder."
        )
