"""What a compression is asked for, and the run folder that belongs to it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import __version__
from edgekd.data import Normalization
from edgekd.errors import (
    ArtifactError,
    InfeasibleError,
    InputError,
    OutputError,
    RecipeError,
    TargetError,
    UnknownNameError,
)
from edgekd.inputs import Inputs, ModelSource
from edgekd.recipe import Recipe, recipe_to_toml
from edgekd.records import Budget, Plan, Target
from edgekd.store import RunFolder, create_run, file_digest, read_json, write_json, write_text, written_whole

REUSABLE = ("losses", "baseline", "student")
_LIBRARIES = ("torch", "onnx", "onnxruntime", "apache-tvm", "pymoo", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What `edgekd compress` is asked for.

    `command` is how to ask for it again. `reuse` is a run of the same network, data and recipe, of which `reuse_parts`
    are taken over: measured losses, the baseline and, if it has the same plan, the student.
    """

    source: ModelSource
    data: Path
    target: Target
    budgets: tuple[Budget, ...]
    recipe: Recipe
    run: Path
    with_tvm: bool
    is_resumed: bool
    cache: Path | None
    command: str
    reuse: Path | None = None
    reuse_parts: tuple[str, ...] = REUSABLE

    def __post_init__(self) -> None:
        precisions = [precision for precision, _ in self.target.artifacts]
        if self.recipe.size_of not in precisions:
            raise InputError(
                "--size-of",
                expected=f"a precision that {self.target.name} ships: {', '.join(precisions)}",
                found=self.recipe.size_of,
                hint="Choose one of these.",
            )
        unknown = [part for part in self.reuse_parts if part not in REUSABLE]
        if unknown:
            raise UnknownNameError("--reuse-parts", unknown[0], REUSABLE)


@contextlib.contextmanager
def run_folder(job: Job, data_digest: str) -> Iterator[RunFolder]:
    """Open the run folder for the block (see `open_run`); a job that cannot be done as asked leaves it empty.

    Nothing in the folder of such a job is worth resuming, and it would stand in the way of the job asked rightly.
    """
    run = open_run(job, data_digest)
    try:
        yield run
    except (InfeasibleError, ArtifactError, RecipeError, TargetError):
        if job.is_resumed:
            raise
        for path in run.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def open_run(job: Job, data_digest: str) -> RunFolder:
    """Make the run folder with its recipe and manifest, or check that the one there is of the same job.

    Raises:
        OutputError: It cannot be written, holds another job, or holds this one and `is_resumed` is not set.
    """
    run = create_run(job.run)
    manifest = _manifest(job, data_digest)
    if run.manifest.is_file():
        found = read_json(run.manifest)
        if not isinstance(found, dict):
            raise OutputError(
                str(run.manifest),
                expected="the manifest of a run",
                found="no manifest of a run",
                hint="Choose another folder with --run.",
            )
        differing = sorted(key for key in {*found, *manifest} if found.get(key) != manifest.get(key))
        if differing:
            raise OutputError(
                str(job.run),
                expected="an empty folder, or one of the same job",
                found=f"a run with another {', '.join(differing)}",
                hint="Choose another folder with --run.",
            )
        if not job.is_resumed:
            raise OutputError(
                str(job.run),
                expected="an empty folder",
                found="a run of the same job",
                hint="Add --resume to go on with it, or choose another folder with --run.",
            )
        if not (job.run / "recipe.toml").is_file():  # killed between the two files
            write_text(job.run / "recipe.toml", recipe_to_toml(job.recipe))
        return run
    # Hidden files are those that a killed run left half written, or that belong to the file system.
    if any(not path.name.startswith(".") for path in job.run.iterdir()):
        raise OutputError(
            str(job.run),
            expected="an empty folder, or a run of the same job",
            found="other files",
            hint="Choose another folder with --run.",
        )
    write_json(run.manifest, manifest)
    write_text(job.run / "recipe.toml", recipe_to_toml(job.recipe))
    return run


def take_over(job: Job, run: RunFolder) -> None:
    """Copy what another run measured and trained that does not depend on the target, where this run has none yet.

    These are the measured losses of plans and the fine-tuned-only baseline; see `take_over_student` for the rest.

    Raises:
        ArtifactError: The other run is of another network, other data or another recipe.
    """
    if job.reuse is None:
        return
    other = RunFolder(job.reuse)
    theirs, ours = read_json(other.manifest), read_json(run.manifest)
    known = theirs if isinstance(theirs, dict) else {}
    keys = ("model_sha256", "data_digest", "arch", "inputs", "mean", "std", "recipe")
    differing = [key for key in keys if known.get(key) != ours[key]]
    if differing:
        raise ArtifactError(
            f"--reuse {job.reuse}",
            expected="a run of the same model, data and recipe",
            found=f"another {', '.join(differing)}",
            hint="Leave the option out, and everything is measured again.",
        )
    parts = {"losses": (other.losses, run.losses), "baseline": (other.baseline, run.baseline)}
    _copy_missing(*(pair for part, pair in parts.items() if part in job.reuse_parts))


def take_over_student(job: Job, run: RunFolder, plan: Plan) -> None:
    """Copy the other run's trained student if it was built from the same plan: then it is the same network."""
    if job.reuse is None or "student" not in job.reuse_parts:
        return
    other = RunFolder(job.reuse)
    if other.plan.is_file() and read_json(other.plan) == plan.document():
        _copy_missing((other.distilled, run.distilled), (other.quantized, run.quantized))


def _copy_missing(*pairs: tuple[Path, Path]) -> None:
    for source, copy in pairs:
        if source.is_file() and not copy.is_file():
            with written_whole(copy) as temporary:
                shutil.copyfile(source, temporary)


def provenance(job: Job, inputs: Inputs) -> tuple[tuple[str, str], ...]:
    """Return what a reader needs to judge the numbers and to make them again."""
    normalization, task = inputs.normalization, inputs.task
    noun = "samples" if normalization is None else "images"
    direction = "higher" if task.metric.higher_is_better else "lower"
    entries = [
        ("command", job.command),
        ("edgekd", __version__),
        ("model", f"{job.source.path.name}, SHA-256 {inputs.model.digest}"),
        ("data", f"{inputs.dataset.name}, digest {inputs.dataset.digest}"),
        ("task", f"{task.name}, measured by {task.metric.name}, {direction} is better"),
        ("splits", inputs.splits.rule),
        *((f"split {r.name}", f"{r.samples:,} {noun}, digest {r.digest}") for r in inputs.splits.records),
        ("normalization", _told(normalization)),
        ("recipe", ", ".join(line.replace(" = ", "=") for line in recipe_to_toml(job.recipe).splitlines() if line)),
        ("machine", f"{platform.machine()}, Python {platform.python_version()}"),
        ("libraries", ", ".join(f"{name} {version}" for name in _LIBRARIES if (version := _version(name)))),
    ]
    return tuple(entries)


def _told(normalization: Normalization | None) -> str:
    if normalization is None:
        return "none: inputs are passed as the data hold them"
    return f"mean {normalization.mean}, std {normalization.std}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _manifest(job: Job, data_digest: str) -> dict[str, Any]:
    """What must be equal for a run to be gone on with, as JSON gives it back; paths may change, contents may not."""
    digest = file_digest(job.source.path) if job.source.path.is_file() else None
    budgets = [dataclasses.asdict(budget) for budget in job.budgets]
    recipe = dataclasses.asdict(job.recipe)
    return {
        "schema_version": 1,
        "edgekd": __version__,
        "model_sha256": digest,
        "data_digest": data_digest,
        "arch": job.source.arch,
        "checkpoint_key": job.source.checkpoint_key,
        "inputs": [f"{list(spec.shape)} {spec.dtype}" for spec in job.source.inputs],
        "mean": _listed(job.source.mean),
        "std": _listed(job.source.std),
        "target": job.target.name,
        "budgets": budgets,
        "recipe": json.loads(json.dumps(recipe)),
        "with_tvm": job.with_tvm,
    }


def _listed(values: tuple[float, ...] | None) -> list[float] | None:
    """As JSON gives it back."""
    return None if values is None else list(values)
