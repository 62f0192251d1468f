"""Single steps of the job, for those who want no more: prune a model to a plan, or export it as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx

from edgekd.data import Samples
from edgekd.distill.stage import post_training_quantized
from edgekd.errors import ArtifactError, InputError, ParityError, PruneError
from edgekd.export.artifacts import save_student
from edgekd.export.onnx.export import export_onnx
from edgekd.inputs import Inputs
from edgekd.models.load import LoadedModel, load_model
from edgekd.models.signature import random_examples
from edgekd.prune.groups import ChannelMap, find_groups
from edgekd.prune.slicing import narrow
from edgekd.ranking import rank_groups, read_ranking
from edgekd.recipe import Recipe
from edgekd.records import Plan, Precision, Target
from edgekd.search.accuracy import recalibrate
from edgekd.search.plan_costs import widths_of
from edgekd.search.space import count_operators, width_space
from edgekd.store import read_json

# Of the largest output: how far a file may be from the network it was written from, on random inputs.
_TOLERANCES: dict[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What pruning to a plan gave: parameters and multiply-accumulates before and after."""

    plan: Plan
    network: fx.GraphModule
    parameters: tuple[int, int]
    macs: tuple[int, int]


def uniform_plan(channels: ChannelMap, ratio: float, multiple: int) -> Plan:
    """Return the plan that keeps `ratio` of every prunable group, in steps of `multiple` channels.

    Raises:
        InputError: The ratio is not above 0 and at most 1.
    """
    if not 0.0 < ratio <= 1.0:
        raise InputError("--ratio", expected="above 0 and at most 1", found=str(ratio), hint="0.5 keeps half.")
    space = width_space(channels, multiple)
    return space.plan(space.widths(space.uniform(ratio)[None])[0])


def read_plan(place: str) -> Plan:
    """Return the plan in a `plan.json`, or one of a `front.json`: of the id after `#`, else the one of least loss.

    Raises:
        ArtifactError: There is no such file or plan, or its id is not that of its widths.
    """
    name, _, wanted = place.partition("#")
    document = read_json(Path(name))
    entries = document.get("candidates", [document]) if isinstance(document, dict) else []
    listed = entries if isinstance(entries, list) else []
    known = [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("widths"), dict)]
    chosen = [entry for entry in known if not wanted or entry.get("id") == wanted]
    if not chosen:
        ids = ", ".join(str(entry.get("id")) for entry in known[:8])
        raise ArtifactError(
            place,
            expected=f"a plan of id {wanted}" if wanted else "a plan or a front of plans",
            found=f"plans {ids}" if ids else "no plan",
            hint="Give the plan.json or front.json of a run, with #ID for one plan of a front.",
        )
    try:
        first = min(chosen, key=_loss)
        plan = Plan(widths=tuple((str(group), int(width)) for group, width in first["widths"].items()))
    except (TypeError, ValueError, LookupError) as error:
        raise ArtifactError(name, expected="whole widths", found=str(error), hint="Make the plan again.") from error
    if first.get("id", plan.id) != plan.id:
        raise ArtifactError(
            name,
            expected=f"widths of plan {first['id']}",
            found=f"those of plan {plan.id}",
            hint="The file was changed after it was written; search again, or take the id out.",
        )
    return plan


def _loss(entry: dict[str, Any]) -> float:
    """The loss of a candidate of a front, for files without it the first objective; a plan alone has none."""
    loss = entry.get("loss")
    return float(entry.get("objectives", [0.0])[0] if loss is None else loss)


def ranked_for(
    model: LoadedModel, place: str | None, importance: str | None, inputs: Inputs | None
) -> tuple[ChannelMap, str]:
    """Return the ranked groups and the criterion: as kept beside the plan at `place`, unless `importance` names one.

    Raises:
        ArtifactError: What is kept there is of another network.
        InputError: The criterion is not known, or looks at data and there are none.
    """
    if place is not None and importance is None:
        kept = read_ranking(Path(place.partition("#")[0]), find_groups(model.network))
        if kept is not None:
            return kept
    criterion = importance or Recipe().importance
    samples = calibration_samples(inputs) if inputs is not None else None
    return rank_groups(model.network, criterion, inputs=inputs, samples=samples), criterion


def prune_model(
    model: LoadedModel,
    channels: ChannelMap,
    plan: Plan,
    *,
    output: Path,
    inputs: Inputs | None = None,
) -> Pruned:
    """Prune to a plan and write the result as `student.pt2`, `weights.safetensors` and `plan.json`.

    What was written is opened again and compared with what was pruned.

    Args:
        model: The network.
        channels: Its ranked groups.
        plan: One width for each prunable group.
        output: The folder.
        inputs: The data that batch norms are estimated on anew; without it accuracy suffers.

    Raises:
        InputError: The plan is for another network.
        ParityError: The file computes something else.
        ExportError: It cannot be written.
    """
    try:
        network = narrow(model.network, channels, plan)
    except PruneError as error:  # here it was the user who brought model and plan together
        raise InputError("--plan", expected=error.expected, found=error.found, hint=error.hint) from error
    if inputs is not None:
        recalibrate(network, calibration_samples(inputs), inputs.normalization)
    save_student(network, output, plan, model.examples())
    saved = load_model(output / "student.pt2")
    with torch.no_grad():
        found = saved.network(*random_examples(saved.inputs))
    _require_same(network, found, saved, str(output / "student.pt2"), 1e-5)
    macs = count_operators(model.network, channels, widths_of(channels, channels.full_plan(), plan)).macs.sum(axis=1)
    before, after = (sum(p.numel() for p in net.parameters()) for net in (model.network, network))
    return Pruned(plan=plan, network=network, parameters=(before, after), macs=(int(macs[0]), int(macs[1])))


def export_model(
    model: LoadedModel,
    target: Target,
    *,
    output: Path,
    stem: str,
    inputs: Inputs | None = None,
) -> tuple[Path, ...]:
    """Write the ONNX files a target wants, run each in onnxruntime, and return their paths.

    int8 by post-training quantization needs data to calibrate on; without `inputs` it is left out.

    Raises:
        ExportError: An operator has no ONNX form, or a file cannot be written.
        ParityError: A file computes something else than the network.
    """
    paths = []
    for precision, _ in target.artifacts:
        network = model.network
        if precision == "int8":
            if inputs is None:
                continue
            network = post_training_quantized(model.network, inputs, calibration_samples(inputs))
        path = output / f"{stem}.{precision}.onnx"
        names = tuple(spec.name for spec in model.outputs)
        metadata = {"edgekd.precision": precision, "edgekd.model_sha256": model.digest}
        export_onnx(network, path, precision=precision, inputs=model.inputs, outputs=names, metadata=metadata)
        _require_same(network, _run_onnx(path, model), model, str(path), _TOLERANCES[precision])
        paths.append(path)
    return tuple(paths)


def calibration_samples(inputs: Inputs) -> Samples:
    """Return the training samples that batch norms and ranges are estimated on."""
    defaults = Recipe()
    return inputs.splits.train.sample(defaults.recalibration_samples, defaults.seed)


def _run_onnx(path: Path, model: LoadedModel) -> tuple[torch.Tensor, ...]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    examples = random_examples(model.inputs)
    feeds = {spec.name: x.numpy() for spec, x in zip(model.inputs, examples, strict=True)}
    return tuple(torch.from_numpy(value) for value in session.run(None, feeds))


def _require_same(
    network: fx.GraphModule,
    found: torch.Tensor | tuple[torch.Tensor, ...],
    model: LoadedModel,
    where: str,
    tolerance: float,
) -> None:
    with torch.no_grad():
        expected = network(*random_examples(model.inputs))
    pairs = zip(_as_tuple(found), _as_tuple(expected), strict=True)
    gap = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs)
    if not gap <= tolerance:
        raise ParityError(
            where,
            expected=f"outputs within {tolerance:.0e} of the network's",
            found=f"a difference of {gap:.1e}, on two random inputs",
            hint="Do not deploy this file; `edgekd inspect` shows what the network is made of.",
        )


def _as_tuple(value: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)
