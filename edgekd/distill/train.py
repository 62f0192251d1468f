"""The training loop: one phase of epochs, resumable after each, the same result whether it was interrupted or not.

All randomness of an epoch comes from the seed and the epoch's number. What an epoch leaves behind (weights, their
moving average, the optimizer's momentum) is written as safetensors before the next begins.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import fx, nn

from edgekd.data import Normalization, Samples, batches, channels_last, network_inputs
from edgekd.distill.objective import Objective, Value, make_objective, own_objective
from edgekd.distill.phase import EpochRecord, Phase
from edgekd.distill.state import TrainingState
from edgekd.distill.terms import Features
from edgekd.distill.views import Fed, Feed, Inputs, same_inputs
from edgekd.errors import DistillError
from edgekd.models.evaluate import measure
from edgekd.quantize.prepare import set_observing
from edgekd.tasks import CLASSIFICATION, Task

_WARM_UP_SHARE = 0.05


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
    feed: Feed = same_inputs,
    checkpoint: Path | None = None,
    previous: Path | None = None,
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
        feed: What student and teacher see of a batch; by default the same.
        checkpoint: Where to keep the state of the last finished epoch; an existing one is gone on from.
        previous: The checkpoint of an earlier phase of the same terms, whose adapters are gone on with where they fit.
        on_progress: Called with phase, epoch, epochs, step, steps and the last value of the metric.
        on_epoch: Called after each epoch that was trained now.

    Raises:
        DistillError: The loss is not finite, or the networks do not have what a term compares.
        UnknownNameError: A term names a loss, schedule, adapter or layer that is not there.
        RecipeError: A term has an option or a place it cannot have.
    """
    objective = _objective(phase, task, has_teacher=teacher is not None)
    state = TrainingState(network, phase, objective)
    if teacher is not None:
        example = feed(_example(train_images, normalization))
        set_observing(state.network, is_observing=False)
        objective.build(state.network, teacher, partial(run, precision="fp32"), example, phase.seed)
        state.add_objective(previous)
    history = state.restore(checkpoint) if checkpoint is not None and checkpoint.is_file() else []
    full, rest = divmod(len(train_images), phase.batch_size)
    steps = full + (rest > 1)
    for epoch in range(len(history), phase.epochs):
        set_observing(state.network, is_observing=epoch < (phase.epochs + 1) // 2)
        last = history[-1].accuracy.value if history else None
        loss, seen = 0.0, defaultdict[str, list[float]](list)
        with objective.watching(state.network, teacher or state.network) as features:
            for step, (inputs, y) in enumerate(_epoch_batches(train_images, normalization, phase, epoch)):
                at = epoch * steps + step, phase.epochs * steps
                value = _evaluate(state, teacher, feed(inputs), features, y, at)
                loss += _step(state, value, phase, *at)
                for name, scalar in value.scalars().items():
                    seen[name].append(scalar)
                on_progress(phase.name, epoch + 1, phase.epochs, step + 1, steps, last)
        metric = measure(Fed(state.average, feed), validation_images, normalization, split="validation", task=task)
        means = {name: sum(values) / len(values) for name, values in sorted(seen.items())}
        history.append(EpochRecord(epoch=epoch + 1, loss=loss / steps, accuracy=metric, scalars=means))
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


def _objective(phase: Phase, task: Task, *, has_teacher: bool) -> Objective:
    if not has_teacher:
        return own_objective(task)
    return make_objective(
        phase.terms,
        phase.soft_weight,
        phase.temperature,
        task,
        balance=phase.balance,
        curriculum=phase.curriculum,
    )


def _example(images: Samples, normalization: Normalization | None) -> tuple[torch.Tensor, ...]:
    """Return the first two examples, as a network takes them."""
    x, _, _ = next(iter(batches(images, 2)))
    return channels_last(network_inputs(x, normalization))


def _evaluate(
    state: TrainingState,
    teacher: nn.Module | None,
    inputs: tuple[Inputs, Inputs],
    features: tuple[Features, Features],
    y: torch.Tensor,
    at: tuple[int, int],
) -> Value:
    """Return the loss of a batch in training; `at` is the step and how many there are."""
    phase = state.phase
    # A prepared network has no batch norm left; for a float one this makes its batch norms learn.
    state.network.train()
    outputs = run(state.network, inputs[0], phase.precision)
    targets = outputs.detach()
    if teacher is not None:
        with torch.no_grad():
            targets = run(teacher, inputs[1], phase.teacher_precision)
    first, last = phase.span
    progress = first + (last - first) * at[0] / max(1, at[1] - 1)
    parameters = [p for p in state.network.parameters() if p.requires_grad]
    return state.objective.evaluate((outputs, targets), features, y, progress, parameters)


def _step(state: TrainingState, value: Value, phase: Phase, step: int, steps: int) -> float:
    loss = float(value.total.detach())
    if not math.isfinite(loss):
        raise DistillError(
            f"training phase '{phase.name}', step {step + 1} of {steps}",
            expected="a finite loss",
            found=f"{loss} from '{value.culprit()}'",
            hint="Lower the learning rate with --learning-rate; finished epochs are kept.",
        )
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate_at(phase, step, steps)
    state.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(value.total)
    nn.utils.clip_grad_norm_(state.network.parameters(), phase.clip_norm)
    if adapters := list(state.objective.parameters()):
        nn.utils.clip_grad_norm_(adapters, phase.clip_norm)
    state.optimizer.step()
    state.update_average(min(phase.ema_decay, (1 + step) / (10 + step)))
    return loss


def run(network: nn.Module, inputs: tuple[torch.Tensor, ...], precision: str) -> torch.Tensor:
    """Return a network's outputs in fp32; with a precision of `bf16` its layers compute in that."""
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        outputs: torch.Tensor = network(*inputs)
    return outputs.float()
