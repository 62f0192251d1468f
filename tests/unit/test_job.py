from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import ArtifactError, InfeasibleError, InputError, OutputError, UnknownNameError
from edgekd.hardware.target import load_target
from edgekd.inputs import ModelSource
from edgekd.job import Job, open_run, run_folder, take_over, take_over_student
from edgekd.recipe import Recipe, recipe_to_toml
from edgekd.records import Budget, Plan, TensorSpec


@pytest.fixture
def job(tmp_path: Path) -> Job:
    model = tmp_path / "teacher.pt2"
    model.write_bytes(b"a model")
    return Job(
        source=ModelSource(path=model),
        data=tmp_path / "data.npz",
        target=load_target("jetson-tx2"),
        budgets=(Budget(quantity="size_bytes", limit=60_000.0, precision="int8"),),
        recipe=Recipe(),
        run=tmp_path / "run",
        with_tvm=False,
        is_resumed=False,
        cache=None,
        command="edgekd compress",
    )


def test_a_new_run_has_its_recipe_and_manifest_and_nothing_else(job: Job) -> None:
    run = open_run(job, "digest")
    assert sorted(path.name for path in run.root.iterdir()) == ["manifest.json", "recipe.toml"]
    assert (run.root / "recipe.toml").read_text() == recipe_to_toml(job.recipe)
    manifest = json.loads(run.manifest.read_text())
    assert manifest["target"] == "jetson-tx2"
    assert manifest["budgets"] == [{"quantity": "size_bytes", "limit": 60_000.0, "precision": "int8"}]


def test_the_same_job_again_needs_resume(job: Job) -> None:
    open_run(job, "digest")
    with pytest.raises(OutputError, match="a run of the same job") as caught:
        open_run(job, "digest")
    assert caught.value.where == str(job.run)
    assert "--resume" in caught.value.hint
    assert open_run(dataclasses.replace(job, is_resumed=True), "digest").root == job.run


def test_resume_without_a_run_begins_one(job: Job) -> None:
    assert open_run(dataclasses.replace(job, is_resumed=True), "digest").manifest.is_file()


def test_the_same_model_and_data_may_lie_elsewhere_when_a_run_is_resumed(job: Job, tmp_path: Path) -> None:
    open_run(job, "digest")
    moved = tmp_path / "moved.pt2"
    job.source.path.rename(moved)
    again = dataclasses.replace(
        job, source=ModelSource(path=moved), data=tmp_path / "elsewhere.npz", is_resumed=True, command="other words"
    )
    assert open_run(again, "digest").root == job.run


def _changed(job: Job, key: str) -> Job:
    changes: dict[str, Any] = {
        "arch": {"source": dataclasses.replace(job.source, arch="package:factory")},
        "inputs": {"source": dataclasses.replace(job.source, inputs=(TensorSpec(name="input", shape=(1, 8, 8)),))},
        "mean": {"source": dataclasses.replace(job.source, mean=(0.5,))},
        "std": {"source": dataclasses.replace(job.source, std=(0.5,))},
        "target": {"target": load_target("rpi4")},
        "budgets": {"budgets": (Budget(quantity="size_bytes", limit=50_000.0, precision="int8"),)},
        "recipe": {"recipe": Recipe(epochs=11)},
        "with_tvm": {"with_tvm": True},
    }
    if key == "model_sha256":
        job.source.path.write_bytes(b"another model")
    return dataclasses.replace(job, **changes.get(key, {}))


@pytest.mark.parametrize("is_resumed", [False, True], ids=["without --resume", "with --resume"])
@pytest.mark.parametrize(
    "key", ["model_sha256", "arch", "inputs", "mean", "std", "target", "budgets", "recipe", "with_tvm"]
)
def test_another_job_is_refused_by_what_differs(job: Job, key: str, *, is_resumed: bool) -> None:
    open_run(job, "digest")
    other = dataclasses.replace(_changed(job, key), is_resumed=is_resumed)
    with pytest.raises(OutputError) as caught:
        open_run(other, "digest")
    assert caught.value.found == f"a run with another {key}"
    assert "--run" in caught.value.hint


def test_a_run_is_not_gone_on_with_on_other_images(job: Job) -> None:
    open_run(job, "digest")
    with pytest.raises(OutputError) as caught:
        open_run(dataclasses.replace(job, is_resumed=True), "another digest")
    assert caught.value.found == "a run with another data_digest"


def test_every_difference_is_named(job: Job) -> None:
    open_run(job, "digest")
    with pytest.raises(OutputError, match="a run with another budgets, recipe, target"):
        open_run(_changed(_changed(_changed(job, "budgets"), "target"), "recipe"), "digest")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{}", "another budgets, "),
        ("[]", "no manifest of a run"),
        ('{"schema', "a JSON file"),
    ],
    ids=["empty", "a list", "cut"],
)
def test_a_damaged_manifest_is_an_error_of_ours(job: Job, content: str, told: str) -> None:
    run = open_run(job, "digest")
    run.manifest.write_text(content)
    with pytest.raises(InputError, match=told):
        open_run(dataclasses.replace(job, is_resumed=True), "digest")


def test_a_manifest_with_a_key_of_a_later_version_is_refused_by_that_key(job: Job) -> None:
    run = open_run(job, "digest")
    run.manifest.write_text(json.dumps(json.loads(run.manifest.read_text()) | {"surrogate": "trees"}))
    with pytest.raises(OutputError, match="another surrogate"):
        open_run(dataclasses.replace(job, is_resumed=True), "digest")


@pytest.mark.parametrize("is_resumed", [False, True], ids=["without --resume", "with --resume"])
def test_a_folder_with_other_files_is_refused_and_left_alone(job: Job, *, is_resumed: bool) -> None:
    job.run.mkdir()
    (job.run / "recipe.toml").write_text("epochs = 3\n")
    with pytest.raises(OutputError, match="found other files"):
        open_run(dataclasses.replace(job, is_resumed=is_resumed), "digest")
    assert [path.name for path in job.run.iterdir()] == ["recipe.toml"]
    assert (job.run / "recipe.toml").read_text() == "epochs = 3\n"


def test_a_run_killed_before_its_recipe_was_written_can_be_resumed(job: Job) -> None:
    run = open_run(job, "digest")
    (run.root / "recipe.toml").unlink()
    open_run(dataclasses.replace(job, is_resumed=True), "digest")
    assert (run.root / "recipe.toml").read_text() == recipe_to_toml(job.recipe)


def test_what_a_killed_run_left_of_its_first_file_is_no_other_file(job: Job) -> None:
    job.run.mkdir()
    (job.run / ".manifest.json.4711.part").write_text("{")
    (job.run / ".writable-4711").write_text("")
    assert open_run(job, "digest").manifest.is_file()


def test_a_folder_that_cannot_be_written_is_refused(job: Job, tmp_path: Path) -> None:
    # Permission bits do not stop root; a file in the place of a folder does.
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a folder that can be written"):
        open_run(dataclasses.replace(job, run=tmp_path / "file" / "run"), "digest")


def test_a_size_budget_for_a_precision_the_target_does_not_ship_is_refused(job: Job) -> None:
    with pytest.raises(InputError, match="a precision that rpi4 ships") as caught:
        dataclasses.replace(job, target=load_target("rpi4"), recipe=Recipe(size_of="fp16"))
    assert caught.value.where == "--size-of"
    assert caught.value.found == "fp16"


def _with_results(job: Job, folder: Path) -> Job:
    """Make a run in `folder` that has measured a loss and trained a baseline."""
    other = dataclasses.replace(job, run=folder)
    run = open_run(other, "digest")
    for path, content in ((run.losses, b"a loss"), (run.baseline, b"a baseline")):
        path.parent.mkdir()
        path.write_bytes(content)
    return other


def test_losses_and_baseline_of_a_run_for_another_target_are_taken_over(job: Job, tmp_path: Path) -> None:
    first = _with_results(job, tmp_path / "first")
    second = dataclasses.replace(_changed(job, "target"), reuse=first.run)
    run = open_run(second, "digest")
    take_over(second, run)
    assert (run.losses.read_bytes(), run.baseline.read_bytes()) == (b"a loss", b"a baseline")


def test_only_the_parts_asked_for_are_taken_over(job: Job, tmp_path: Path) -> None:
    first = _with_results(job, tmp_path / "first")
    second = dataclasses.replace(_changed(job, "target"), reuse=first.run, reuse_parts=("baseline",))
    run = open_run(second, "digest")
    take_over(second, run)
    assert not run.losses.exists()
    assert run.baseline.read_bytes() == b"a baseline"
    with pytest.raises(UnknownNameError, match="baseline"):
        dataclasses.replace(second, reuse_parts=("base-line",))


def test_what_a_resumed_run_already_has_is_not_taken_over(job: Job, tmp_path: Path) -> None:
    first = _with_results(job, tmp_path / "first")
    second = _with_results(job, tmp_path / "second")
    run = open_run(dataclasses.replace(second, is_resumed=True), "digest")
    run.losses.write_bytes(b"more losses")
    take_over(dataclasses.replace(second, reuse=first.run), run)
    assert run.losses.read_bytes() == b"more losses"


def test_results_of_another_recipe_are_refused_and_the_new_run_is_left_empty(job: Job, tmp_path: Path) -> None:
    first = _with_results(_changed(job, "recipe"), tmp_path / "first")
    second = dataclasses.replace(job, reuse=first.run)
    with pytest.raises(ArtifactError, match="another recipe") as caught, run_folder(second, "digest") as run:
        take_over(second, run)
    assert caught.value.where == f"--reuse {first.run}"
    assert list(second.run.iterdir()) == []


def test_an_infeasible_job_leaves_its_folder_empty_unless_it_was_resumed(job: Job) -> None:
    error = InfeasibleError("budget", expected="less", found="more", hint="Raise it.")
    with pytest.raises(InfeasibleError), run_folder(job, "digest"):
        raise error
    assert list(job.run.iterdir()) == []
    open_run(job, "digest")
    with pytest.raises(InfeasibleError), run_folder(dataclasses.replace(job, is_resumed=True), "digest"):
        raise error
    assert (job.run / "manifest.json").is_file()


@pytest.mark.parametrize(("width", "copied"), [(8, True), (16, False)], ids=["same plan", "another plan"])
def test_a_trained_student_is_taken_over_if_it_has_the_same_plan(
    job: Job, tmp_path: Path, width: int, copied: bool
) -> None:
    first = _with_results(job, tmp_path / "first")
    other = open_run(dataclasses.replace(first, is_resumed=True), "digest")
    other.plan.write_text(json.dumps(Plan(widths=(("conv", 8),)).document()))
    other.distilled.write_bytes(b"a student")
    second = dataclasses.replace(_changed(job, "target"), reuse=first.run)
    run = open_run(second, "digest")
    take_over_student(second, run, Plan(widths=(("conv", width),)))
    assert run.distilled.is_file() is copied
    assert not run.quantized.exists()
