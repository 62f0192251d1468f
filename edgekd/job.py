"""What a compression is asked for, and the run folder that belongs to it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd import __version__
from edgekd.errors import InputError, OutputError
from edgekd.inputs import Inputs, ModelSource
from edgekd.recipe import Recipe, recipe_to_toml
from edgekd.records import Budget, Target
from edgekd.store import RunFolder, create_run, file_digest, read_json, write_json, write_text

_LIBRARIES = ("torch", "onnx", "onnxruntime", "apache-tvm", "pymoo", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What `edgekd compress` is asked for. `command` is how to ask for it again."""

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

    def __post_init__(self) -> None:
        precisions = [precision for precision, _ in self.target.artifacts]
        if self.recipe.size_of not in precisions:
            raise InputError(
                "--size-of",
                expected=f"a precision that {self.target.name} ships: {', '.join(precisions)}",
                found=self.recipe.size_of,
                hint="Choose one of these.",
            )


def open_run(job: Job) -> RunFolder:
    """Make the run folder with its recipe and manifest, or check that the one there is of the same job.

    Raises:
        OutputError: It cannot be written, holds another job, or holds this one and `is_resumed` is not set.
    """
    run = create_run(job.run)
    manifest = _manifest(job)
    if run.manifest.is_file():
        found = read_json(run.manifest)
        if found != manifest:
            differing = sorted(key for key in manifest if found.get(key) != manifest[key])
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
        return run
    if any(job.run.iterdir()):
        raise OutputError(
            str(job.run),
            expected="an empty folder, or a run of the same job",
            found="other files",
            hint="Choose another folder with --run.",
        )
    write_text(job.run / "recipe.toml", recipe_to_toml(job.recipe))
    write_json(run.manifest, manifest)
    return run


def provenance(job: Job, inputs: Inputs) -> tuple[tuple[str, str], ...]:
    """Return what a reader needs to judge the numbers and to make them again."""
    normalization = inputs.normalization
    entries = [
        ("command", job.command),
        ("edgekd", __version__),
        ("model", f"{job.source.path.name}, SHA-256 {inputs.model.digest}"),
        ("data", f"{inputs.dataset.name}, digest {inputs.dataset.digest}"),
        ("splits", inputs.splits.rule),
        *((f"split {r.name}", f"{r.samples:,} images, digest {r.digest}") for r in inputs.splits.records),
        ("normalization", f"mean {normalization.mean}, std {normalization.std}"),
        ("recipe", ", ".join(f"{k}={v}" for k, v in dataclasses.asdict(job.recipe).items())),
        ("machine", f"{platform.machine()}, Python {platform.python_version()}"),
        ("libraries", ", ".join(f"{name} {version}" for name in _LIBRARIES if (version := _version(name)))),
    ]
    return tuple(entries)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _manifest(job: Job) -> dict[str, Any]:
    """What must be equal for a run to be gone on with; the paths may change, the contents may not."""
    digest = file_digest(job.source.path) if job.source.path.is_file() else None
    budgets = [dataclasses.asdict(budget) for budget in job.budgets]
    recipe = dataclasses.asdict(job.recipe)
    return {
        "schema_version": 1,
        "edgekd": __version__,
        "model_sha256": digest,
        "arch": job.source.arch,
        "target": job.target.name,
        "budgets": budgets,
        "recipe": {key: list(value) if isinstance(value, tuple) else value for key, value in recipe.items()},
        "with_tvm": job.with_tvm,
    }
