"""Data and networks that do not fit the task, asked for on the command line: exit 2, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
from zoo.adapter import export

from edgekd.cli.app import run

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
IDS = np.tile(np.arange(12), (40, 1))
MASKS = np.zeros((40, 32, 32), dtype=np.uint8)
FIVE = np.arange(40) % 5


def tokens(**more: np.ndarray) -> dict[str, np.ndarray]:
    return {"x.input_ids": IDS, "x.attention_mask": np.ones_like(IDS), "y": FIVE} | more


CASES = [
    ("unet", "classification", {"x": IMAGES, "y": FIVE}, "net.pt2", "[batch, classes]"),
    ("unet", "segmentation", {"x": IMAGES, "y": MASKS + 5}, "data.npz, train", "class 5"),
    ("unet", "segmentation", {"x": IMAGES, "y": MASKS[:, :16, :16]}, "data.npz, train", "[32, 32] pixels"),
    ("unet", "segmentation", {"x": IMAGES}, "data.npz", "'x' and 'y'"),
    ("embedder", "regression", {"x": IMAGES[:, :16, :16], "y": np.ones((40, 3))}, "data.npz, train", "16 values"),
    ("embedder", "embedding", {"x": IMAGES, "y": np.ones((40, 3))}, "data.npz, train", "16 dimensions"),
    ("two_heads", "multi-label", {"x": IMAGES, "y": np.ones((40, 5))}, "net.pt2", "2: labels, regression"),
    ("bert", "classification", tokens(**{"x.input_ids": IDS + 50}), "data.npz, train, input 'input_ids'", "0 to 59"),
    ("bert", "classification", {"x": IDS, "y": FIVE}, "data.npz", "'x.input_ids', 'x.attention_mask'"),
]


@pytest.mark.parametrize(("network", "task", "arrays", "place", "told"), CASES)
def test_what_does_not_fit_the_task_exits_with_2_and_says_where(
    network: str,
    task: str,
    arrays: dict[str, np.ndarray],
    place: str,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, data = tmp_path / "net.pt2", tmp_path / "data.npz"
    torch.export.save(export(zoo.build(network), zoo.NETWORKS[network].example_inputs(2, 0)), model)
    np.savez(data, **arrays)
    job = ["--data", str(data), "--task", task, "--target", "rpi4", "--export", "onnx", "--run", str(tmp_path / "run")]
    assert run(["compress", str(model), *job]) == 2
    error = capsys.readouterr().err
    assert f"{place}\n" in error
    assert told in error
    assert not (tmp_path / "run").exists()


def test_normalization_of_inputs_that_are_no_images_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = tmp_path / "net.pt2", tmp_path / "data.npz"
    torch.export.save(export(zoo.build("bert"), zoo.NETWORKS["bert"].example_inputs(2, 0)), model)
    np.savez(data, **tokens())
    assert run(["compress", str(model), "--data", str(data), "--target", "rpi4", "--mean", "0.5", "--std", "1"]) == 2
    assert "no --mean and --std" in capsys.readouterr().err
