"""What goes wrong in practice: each mistake has its exit code and message, and leaves nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from digits import ROOT, Digits, FinishedRun, example
from onnx import TensorProto, helper
from PIL import Image
from torch import nn

from edgekd.cli.app import run


@dataclass(frozen=True)
class Place:
    """Where one mistake is made: the digits, an empty folder for files, and the folder the run would have."""

    digits: Digits
    folder: Path
    run: Path

    def job(self, *options: str, model: Path | None = None, data: Path | None = None) -> list[str]:
        digits = Digits(model=model or self.digits.model, data=data or self.digits.data)
        return digits.job(self.run, "--quiet", *options)


@pytest.fixture
def place(digits: Digits, tmp_path: Path) -> Place:
    folder = tmp_path / "files"
    folder.mkdir()
    return Place(digits=digits, folder=folder, run=tmp_path / "run")


def message_of(err: str) -> tuple[str, str, str, str]:
    """Return place, expectation, finding and remedy of the one message on stderr."""
    lines = err.splitlines()
    starts = ("error: ", "  expected: ", "  found:    ", "  hint:     ")
    assert len(lines) == 4, err
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start), err
        assert len(line) > len(start), err
    parts = [line[len(start) :] for line, start in zip(lines, starts, strict=True)]
    return parts[0], parts[1], parts[2], parts[3]


def assert_nothing_half_written(folder: Path) -> None:
    """No temporary file, no report, and no compressed artifact."""
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    assert not [name for name in left if name.endswith(".part") or Path(name).name.startswith(".")]
    assert not [name for name in left if name.startswith(("report", "artifacts/model"))]


# Each returns the arguments; the message's place and what else it must tell are beside it in the table.
Mistake = Callable[[Place], list[str]]


def missing_model(place: Place) -> list[str]:
    return place.job(model=place.folder / "gone.pt2")


def model_is_text(place: Place) -> list[str]:
    path = place.folder / "readme.pt2"
    path.write_text("This is not a model.\n")
    return place.job(model=path)


def model_is_empty(place: Place) -> list[str]:
    path = place.folder / "empty.pt2"
    path.write_bytes(b"")
    return place.job(model=path)


def model_is_truncated(place: Place) -> list[str]:
    path = place.folder / "half.pt2"
    content = place.digits.model.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return place.job(model=path)


def model_is_pickled(place: Place) -> list[str]:
    path = place.folder / "pickled.pt"
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), path)
    return place.job("--input-size", "1,8,8", model=path)


def _weights(place: Place) -> Path:
    path = place.folder / "weights.pt"
    torch.save(example().DigitsNet().state_dict(), path)
    return path


def weights_without_arch(place: Place) -> list[str]:
    return place.job("--input-size", "1,8,8", model=_weights(place))


def arch_that_is_not_there(place: Place) -> list[str]:
    return place.job("--input-size", "1,8,8", "--arch", "no_such_package:net", model=_weights(place))


def arch_without_factory(place: Place) -> list[str]:
    return place.job("--input-size", "1,8,8", "--arch", "torch.nn", model=_weights(place))


def arch_of_another_network(place: Place) -> list[str]:
    return place.job("--input-size", "1,8,8", "--arch", "torch.nn:Identity", model=_weights(place))


def _onnx(place: Place, *nodes: onnx.NodeProto, inputs: tuple[str, ...] = ("x",)) -> Path:
    shape = ("batch", 1, 8, 8)
    entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(list(nodes), "net", entries, [output]))
    path = place.folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def onnx_with_an_unknown_operator(place: Place) -> list[str]:
    return place.job(model=_onnx(place, helper.make_node("Unique", ["x"], ["y"], name="odd/node")))


def onnx_of_two_inputs(place: Place) -> list[str]:
    return place.job(model=_onnx(place, helper.make_node("Add", ["a", "b"], ["y"]), inputs=("a", "b")))


def onnx_without_its_data(place: Place) -> list[str]:
    path = _onnx(place, helper.make_node("Add", ["x", "w"], ["y"]))
    model = onnx.load(path)
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[64])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="net.data")
    path.write_bytes(model.SerializeToString())
    return place.job(model=path)


def archive_with_a_bomb(place: Place) -> list[str]:
    path = place.folder / "bomb.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", bytes(200 * 2**20))
    return place.job(model=path)


def archive_that_points_outside(place: Place) -> list[str]:
    path = place.folder / "outside.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escape", b"x")
    return place.job(model=path)


def checkpoint_without_that_entry(place: Place) -> list[str]:
    path = place.folder / "checkpoint.pt"
    torch.save({"state_dict": example().DigitsNet().state_dict(), "epoch": 3}, path)
    return place.job("--input-size", "1,8,8", "--arch", "torch.nn:Identity", "--checkpoint-key", "model", model=path)


def too_few_classes(place: Place) -> list[str]:
    with np.load(place.digits.data) as arrays:
        kept = {part: arrays[f"y_{part}"] < 7 for part in ("train", "test")}
        np.savez(
            place.folder / "seven.npz",
            **{f"{axis}_{part}": arrays[f"{axis}_{part}"][mask] for part, mask in kept.items() for axis in "xy"},
        )
    return place.job(data=place.folder / "seven.npz")


def _class_folders(root: Path, images: int = 12) -> Path:
    generator = np.random.default_rng(0)
    for label in range(10):
        folder = root / f"class{label}"
        folder.mkdir(parents=True)
        for index in range(images):
            pixels = generator.integers(0, 256, size=(8, 8), dtype=np.uint8)
            Image.fromarray(pixels, "L").save(folder / f"{index:03d}.jpg")
    return root


def empty_class_folder(place: Place) -> list[str]:
    root = _class_folders(place.folder / "images")
    for path in (root / "class4").iterdir():
        path.unlink()
    return place.job(data=root)


def corrupt_jpeg(place: Place) -> list[str]:
    root = _class_folders(place.folder / "images")
    path = root / "class5" / "007.jpg"
    path.write_bytes(path.read_bytes()[:100])
    return place.job(data=root)


def missing_data(place: Place) -> list[str]:
    return place.job(data=place.folder / "gone.npz")


def board_without_table(*budget: str) -> Mistake:
    def arguments(place: Place) -> list[str]:
        text = (ROOT / "targets" / "rpi4.toml").read_text(encoding="utf-8")
        path = place.folder / "my-board.toml"
        path.write_text(text.replace('name = "rpi4"', 'name = "my-board"'), encoding="utf-8")
        return place.job("--target", str(path), *budget)

    return arguments


def recipe_with(text: str) -> Mistake:
    def arguments(place: Place) -> list[str]:
        path = place.folder / "my.toml"
        path.write_text(text)
        return place.job("--recipe", str(path))

    return arguments


def run_below_a_file(place: Place) -> list[str]:
    (place.folder / "file").write_text("")
    return place.job("--run", str(place.folder / "file" / "run"))


def run_is_a_file(place: Place) -> list[str]:
    (place.folder / "file").write_text("")
    return place.job("--run", str(place.folder / "file"))


def options(*given: str) -> Mistake:
    return lambda place: place.job(*given)


@pytest.mark.parametrize(
    ("mistake", "where", "told"),
    [
        (missing_model, "gone.pt2", ("nothing there",)),
        (model_is_text, "readme.pt2", ("a text file", ".safetensors")),
        (model_is_empty, "empty.pt2", ("an empty file",)),
        (model_is_truncated, "half.pt2", ("truncated or damaged", "again")),
        (model_is_pickled, "pickled.pt", ("runs code", "--trust-pickle")),
        (weights_without_arch, "weights.pt", ("weights without a network", "--arch package.module:factory")),
        (arch_that_is_not_there, "--arch no_such_package:net", ("ModuleNotFoundError",)),
        (arch_without_factory, "--arch torch.nn", ("package.module:factory",)),
        (arch_of_another_network, "--arch torch.nn:Identity", ("unknown conv.weight", "more")),
        (onnx_with_an_unknown_operator, "net.onnx", ("Unique", "odd/node")),
        (onnx_of_two_inputs, "digits.npz", ("2 inputs: 'x_train.a', 'x_train.b'", "'x_train'")),
        (onnx_without_its_data, "net.onnx", ("no file 'net.data'", "Copy")),
        (archive_with_a_bomb, "bomb.pt2", ("a zip bomb",)),
        (archive_that_points_outside, "outside.pt", ("'../../escape'",)),
        (checkpoint_without_that_entry, "--checkpoint-key", ("'model'", "state_dict")),
        (too_few_classes, "seven.npz", ("10 classes", "7: 0, 1, 2")),
        (empty_class_folder, "images", ("class4",)),
        (corrupt_jpeg, "class5/007.jpg", ("Truncated", "Replace or delete")),
        (missing_data, "gone.npz", ("nothing there",)),
        (options("--target", "jetson-tx3"), "--target", ("'jetson-tx3'", "Did you mean 'jetson-tx2'?")),
        (options("--target", "gone.toml"), "gone.toml", ()),
        (options("--max-size", "5 apples"), "--max-size", ("'5 apples'", "Write it like")),
        (options("--max-size", "0KB"), "--max-size", ()),
        (options("--max-latency", "3 kg"), "--max-latency", ("'3 kg'",)),
        (options("--max-energy", "-1mJ"), "--max-energy", ("'-1mJ'",)),
        (options("--max-memory", "0"), "--max-memory", ("'0'", "Write it like")),
        (options("--max-memory", "3ms"), "--max-memory", ("'3ms'", "KiB")),
        (board_without_table("--max-energy", "10mJ"), "my-board", ("a table of energy", "none")),
        (
            board_without_table("--max-latency", "3ms"),
            "my-board",
            ("a table of latency", "none", "edgekd targets list"),
        ),
        (recipe_with("learningrate = 0.1\n"), "my.toml", ("'learningrate'", "Did you mean 'learning_rate'?")),
        (recipe_with('epochs = "ten"\n'), "my.toml, epochs", ("int", "'ten'")),
        (recipe_with("temperature = 0\n"), "temperature", ("0.1 to 1000",)),
        (options("--recipe", "gone.toml"), "gone.toml", ("a TOML file",)),
        (options("--mean", "0.5,0.5,0.5", "--std", "1,1,1"), "teacher.pt2", ("1 channels", "--mean")),
        (options("--mean", "0.5,x"), "--mean", ("'0.5,x'",)),
        (options("--mean", "nan"), "--mean", ("'nan'",)),
        (options("--std", "0"), "teacher.pt2", ("positive std",)),
        (options("--std", "inf"), "--std", ("'inf'",)),
        (options("--input-size", "8,8"), "--input-size", ("(1, 8, 8)", "(8, 8)")),
        (options("--input-size", "1,8.5,8"), "--input-size", ("'1,8.5,8'",)),
        (options("--input-size", "1,nan,8"), "--input-size", ("'1,nan,8'",)),
        (options("--input-size", "1,inf,8"), "--input-size", ("'1,inf,8'",)),
        (options("--input-size", "3,32,32"), "--input-size", ("(1, 8, 8)", "(3, 32, 32)")),
        (options("--task", "regresion"), "--task", ("Did you mean 'regression'?",)),
        (options("--task", "segmentation"), "digits.npz: y_train", ("integer masks", "int64 [1437]")),
        (options("--task", "multi-label"), "digits.npz: y_train", ("labels of 0 and 1",)),
        (options("--task", "regression"), "digits.npz, train", ("10 values", "1")),
        (options("--task", "embedding", "--baseline"), "recipe, baseline", ("the original network answers",)),
        (options("--importance", "tailor"), "--importance", ("Did you mean 'taylor'?",)),
        (recipe_with('importance = "tailor"\n'), "my.toml, importance", ("Did you mean 'taylor'?",)),
        (options("--freeze", "blocks.0.conv3"), "--freeze", ("Did you mean 'blocks.0.conv", "Known:")),
        (options("--freeze", "*"), "--freeze", ("none of the", "edgekd inspect")),
        (options("--min-width", "1"), "--min-width", ("may get narrower",)),
        (options("--min-width", "1.5"), "min_width", ("from 0.0 to 1.0",)),
        (options("--tie", "blocks.0.conv1"), "--tie blocks.0.conv1", ("two groups",)),
        (options("--epochs", "-1"), "epochs", ("a value from 0",)),
        (options("--learning-rate", "nan"), "learning_rate", ("nan",)),
        (options("--augment", "crop,rotate"), "rotate", ("flip",)),
        (options("--export", "tvm"), "--export", ("onnx, or onnx,tvm", "'tvm'")),
        (options("--target", "rpi4", "--size-of", "fp16"), "--size-of", ("int8, fp32", "fp16")),
        (run_below_a_file, "file/run", ("a folder that can be written", "--run")),
        (run_is_a_file, "file", ("a folder that can be written", "--run")),
    ],
    ids=lambda value: getattr(value, "__name__", None) if callable(value) else None,
)
def test_a_mistake_exits_with_2_and_a_message_before_anything_is_written(
    place: Place, capsys: pytest.CaptureFixture[str], mistake: Mistake, where: str, told: tuple[str, ...]
) -> None:
    arguments = mistake(place)
    before = {path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file()}
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    parts = message_of(captured.err)
    assert where in f"{parts[0]} {parts[2]}"
    for text in told:
        assert text in captured.err
    assert not place.run.exists()
    assert {path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file()} == before


def test_a_pickled_module_does_not_run_its_code(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    witness = place.folder / "it-ran"

    path = place.folder / "evil.pt"
    torch.save(_Evil(str(witness)), path)
    assert run(place.job("--input-size", "1,8,8", model=path)) == 2
    assert "--trust-pickle" in capsys.readouterr().err
    assert not witness.exists()


class _Evil:
    def __init__(self, witness: str) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.witness, "w"))


def test_a_memory_budget_that_nobody_can_meet_exits_with_1_and_tells_the_smallest_peak(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place.job("--max-memory", "1KB")) == 1
    where, expected, found, _ = message_of(capsys.readouterr().err)
    assert (where, expected) == ("budget on memory_bytes", "a network of at most 1 KB")
    # The file to deploy is fp16. Of the widths in steps of 8 channels the smallest have a shortcut, and a convolution's
    # input and output beside it, of 8 x 8 pixels.
    assert f"the smallest reachable is {3 * 8 * 64 * 2 / 1000:.2f} KB (plan " in found
    assert_nothing_half_written(place.run)


def test_a_budget_that_nobody_can_meet_exits_with_1_and_tells_the_smallest_size_and_its_accuracy(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place.job("--max-size", "1KB")) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    where, expected, found, hint = message_of(captured.err)
    assert where == "budget on size_bytes"
    assert expected == "a network of at most 1 KB"
    assert "the smallest reachable is " in found
    assert " KB (plan " in found
    assert " % on 144 validation images before any training" in found
    assert hint.startswith("Raise the budget")
    assert_nothing_half_written(place.run)


@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["without --resume", "with --resume"])
def test_a_run_of_another_model_is_not_gone_on_with(
    finished: FinishedRun, place: Place, capsys: pytest.CaptureFixture[str], resume: list[str]
) -> None:
    report = (finished.folder / "report" / "report.json").read_bytes()
    other = place.folder / "other.pt2"
    module = example()
    torch.manual_seed(1)
    module.save_teacher(module.DigitsNet().eval(), other)
    arguments = [str(other) if argument == str(finished.digits.model) else argument for argument in finished.arguments]
    assert run([*arguments, *resume]) == 2
    where, _, found, hint = message_of(capsys.readouterr().err)
    assert where == str(finished.folder)
    assert found == "a run with another model_sha256"
    assert "--run" in hint
    assert (finished.folder / "report" / "report.json").read_bytes() == report


def test_a_finished_run_is_not_overwritten_without_resume(
    finished: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(finished.arguments) == 2
    _, _, found, hint = message_of(capsys.readouterr().err)
    assert found == "a run of the same job"
    assert "--resume" in hint


def _on_a_disk_of(limit_bytes: int, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the program where no file can grow beyond a limit. Python ignores SIGXFSZ, so that writing fails instead."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))"
    program = f"{limit}; from edgekd.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments], capture_output=True, text=True, check=False
    )


def test_a_full_disk_exits_with_4_leaves_no_partial_file_and_the_run_goes_on_when_there_is_room(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    job = place.job("--epochs", "0", "--evaluations", "12")
    # The teacher's fp32 file has about 300 KB and its fp16 file 150; recipe, manifest and journal are far smaller.
    ended = _on_a_disk_of(100_000, job)
    assert ended.returncode == 4, ended.stderr
    assert ended.stdout == ""
    where, expected, found, hint = message_of(ended.stderr)
    assert where in (str(place.run / "artifacts" / f"original.{precision}.onnx") for precision in ("fp16", "fp32"))
    assert (expected, found) == ("room for the file", "File too large")
    assert "--resume" in hint
    assert_nothing_half_written(place.run)
    assert not list(place.run.glob("artifacts/*"))

    assert run([*job, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"
