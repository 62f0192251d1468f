"""The training stages of a run: distillation, then distillation with fake quantization; and the baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from torch import fx, nn

from edgekd.data import Samples, batches, network_inputs
from edgekd.distill.phase import EpochRecord, Phase
from edgekd.distill.train import EpochCallback, train
from edgekd.events import EventLog
from edgekd.inputs import Inputs
from edgekd.quantities import format_metric_value
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.recipe import Recipe

_CALIBRATION_BATCH = 128


def train_float(
    network: fx.GraphModule,
    teacher: nn.Module | None,
    inputs: Inputs,
    recipe: Recipe,
    *,
    name: str,
    epochs: int,
    checkpoint: Path,
    logs: Path,
    on_progress: Callable[[int, int, str], None],
) -> fx.GraphModule:
    """Train in float, from the teacher's outputs where one is given and from targets alone where none is."""
    span = (0.0, recipe.float_epochs / recipe.epochs if teacher is not None and recipe.epochs else 1.0)
    phase = _phase(recipe, name, epochs, recipe.learning_rate, recipe.train_precision, span)
    return _train(network, teacher, inputs, phase, checkpoint, logs, on_progress)


def train_quantized(
    student: fx.GraphModule,
    teacher: nn.Module,
    inputs: Inputs,
    recipe: Recipe,
    *,
    calibration: Samples,
    checkpoint: Path,
    previous: Path | None = None,
    logs: Path,
    on_progress: Callable[[int, int, str], None],
) -> fx.GraphModule:
    """Fold batch norm, estimate ranges, and distil with fake quantization; with 0 epochs only the first two.

    `previous` is the checkpoint of the float epochs, whose adapters are gone on with.
    """
    prepared = post_training_quantized(student, inputs, calibration)
    # Steps of 1/256 of a range would drown in bfloat16's 8 significant bits.
    span = (recipe.float_epochs / recipe.epochs if recipe.epochs else 0.0, 1.0)
    phase = _phase(recipe, "quantize", recipe.quantized_epochs, recipe.quantized_learning_rate, "fp32", span)
    return _train(prepared, teacher, inputs, phase, checkpoint, logs, on_progress, previous)


def post_training_quantized(network: fx.GraphModule, inputs: Inputs, calibration: Samples) -> fx.GraphModule:
    """Return the prepared network with ranges from the calibration samples, without any training."""
    prepared = prepare(network)
    found = (network_inputs(x, inputs.normalization) for x, _, _ in batches(calibration, _CALIBRATION_BATCH))
    calibrate(prepared, found)
    return prepared


def _phase(
    recipe: Recipe,
    name: str,
    epochs: int,
    learning_rate: float,
    precision: Literal["fp32", "bf16"],
    span: tuple[float, float] = (0.0, 1.0),
) -> Phase:
    return Phase(
        name=name,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        weight_decay=recipe.weight_decay,
        temperature=recipe.temperature,
        soft_weight=recipe.soft_weight,
        clip_norm=recipe.clip_norm,
        ema_decay=recipe.ema_decay,
        augmentations=recipe.augmentations,
        precision=precision,
        teacher_precision=recipe.train_precision,
        terms=recipe.distill,
        balance=recipe.balance,
        curriculum=recipe.curriculum,
        span=span,
    )


def _train(
    network: fx.GraphModule,
    teacher: nn.Module | None,
    inputs: Inputs,
    phase: Phase,
    checkpoint: Path,
    logs: Path,
    on_progress: Callable[[int, int, str], None],
    previous: Path | None = None,
) -> fx.GraphModule:
    if phase.epochs == 0:
        return network
    trained, _ = train(
        network,
        teacher=teacher,
        train_images=inputs.splits.train,
        validation_images=inputs.splits.validation,
        normalization=inputs.normalization,
        phase=phase,
        task=inputs.task,
        checkpoint=checkpoint,
        previous=previous,
        on_progress=_shown(on_progress, inputs.task.metric.unit),
        on_epoch=_logged(logs / phase.name),
    )
    return trained


def _logged(folder: Path) -> Callable[[EpochRecord], None]:
    events = EventLog(folder)

    def log(record: EpochRecord) -> None:
        events.write(
            {
                "training loss": record.loss,
                f"validation {record.accuracy.name}": record.accuracy.value,
                **record.scalars,
            },
            record.epoch,
        )

    return log


def _shown(on_progress: Callable[[int, int, str], None], unit: str) -> EpochCallback:
    def show(_phase: str, epoch: int, epochs: int, step: int, steps: int, last: float | None) -> None:
        text = f"epoch {epoch} of {epochs}, step {step} of {steps}"
        if last is not None:
            text += f", validation {f'{last:.2%}' if unit == 'share' else format_metric_value(last, unit)}"
        on_progress((epoch - 1) * steps + step, epochs * steps, text)

    return show
