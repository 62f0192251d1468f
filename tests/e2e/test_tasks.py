"""One small compression for every task and every way of giving inputs, from files to a verified report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import zoo
from torch import nn
from zoo.adapter import call, export

from edgekd.cli.app import run

Arrays = dict[str, np.ndarray]
PARTS = (("train", 160), ("val", 32), ("test", 48))


@dataclass(frozen=True)
class Case:
    """A network, data it can learn, and the loss by which its teacher is trained for a moment."""

    task: str
    build: Callable[[], nn.Module]
    data: Callable[[int, torch.Generator], tuple[Any, torch.Tensor | None]]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None
    metric: str
    steps: int = 60


def conv_net(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(24, outputs))


def pixels(count: int, side: int, generator: torch.Generator) -> torch.Tensor:
    """Noise, with a brightness of its own in every channel."""
    levels = torch.randint(40, 216, (count, 3, 1, 1), generator=generator)
    return (levels + torch.randint(-30, 31, (count, 3, side, side), generator=generator)).to(torch.uint8)


def brightness(x: torch.Tensor) -> torch.Tensor:
    return x.float().mean((2, 3)) / 255


def labels(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    x = pixels(count, 12, generator)
    return x, (brightness(x) > 0.5).to(torch.uint8)


def values(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    x = pixels(count, 12, generator)
    level = brightness(x)
    return x, torch.stack((4 * (level[:, 0] - level[:, 1]), 4 * (level[:, 2] - 0.5)), 1)


def masks(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The class of a pixel is how bright its quarter is; a border is ignored."""
    quarters = torch.randint(0, 5, (count, 1, 4, 4), generator=generator)
    classes = F.interpolate(quarters.float(), scale_factor=8).long()[:, 0]
    noise = torch.randint(-12, 13, (count, 3, 32, 32), generator=generator)
    y = classes.to(torch.uint8)
    y[:, 0] = 255
    return (50 * classes[:, None] + 20 + noise).clamp(0, 255).to(torch.uint8), y


def unlabelled(count: int, generator: torch.Generator) -> tuple[torch.Tensor, None]:
    return pixels(count, 16, generator), None


def tokens(count: int, generator: torch.Generator) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The class is what the first token says; five tokens at the end are padding."""
    ids = torch.randint(5, 60, (count, 12), generator=generator)
    ids[:, 0] = torch.arange(count) % 5
    mask = (torch.arange(12)[None] < 7).long().expand(count, -1)
    return {"input_ids": ids, "attention_mask": mask}, ids[:, 0].clone()


def image_and_sensors(count: int, generator: torch.Generator) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    y = torch.arange(count) % 5
    sensors = 0.3 * torch.randn(count, 6, generator=generator)
    sensors[torch.arange(count), y] += 3.0
    return {"image": torch.randn(count, 3, 16, 16, generator=generator), "sensors": sensors}, y


def cross_entropy(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs, y.long(), ignore_index=255)


def binary(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(outputs, y.float())


CASES = {
    "multi-label": Case("multi-label", lambda: conv_net(3), labels, binary, "F1"),
    "regression": Case("regression", lambda: conv_net(2), values, F.mse_loss, "RMSE", 120),
    "segmentation": Case("segmentation", lambda: zoo.build("unet"), masks, cross_entropy, "mean IoU", 40),
    "embedding": Case("embedding", lambda: zoo.build("embedder"), unlabelled, None, "cosine"),
    "two inputs of tokens": Case("classification", lambda: zoo.build("bert"), tokens, cross_entropy, "accuracy"),
    "a dict of inputs": Case(
        "classification", lambda: zoo.build("dict_input"), image_and_sensors, cross_entropy, "accuracy"
    ),
}


def as_inputs(x: Any) -> Any:
    return x if isinstance(x, dict) else ((x.float() / 255 - 0.5) / 0.25,)


def write(folder: Path, case: Case) -> tuple[Path, Path, Arrays]:
    """Train the teacher a little, and write it and its data as a user would."""
    generator = torch.Generator().manual_seed(1)
    drawn = {part: case.data(count, generator) for part, count in PARTS}
    x, y = drawn["train"]
    network = case.build().train()
    if case.loss is not None:
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(case.steps):
            optimizer.zero_grad()
            case.loss(call(network, as_inputs(x)), y).backward()
            optimizer.step()
    program = export(network.eval(), as_inputs(x if isinstance(x, dict) else x[:2]))
    torch.export.save(program, folder / "teacher.pt2")
    names = [node.name for node in program.graph.nodes if node.op == "placeholder"][-len(x) :]
    arrays: Arrays = {}
    for part, (inputs, targets) in drawn.items():
        if isinstance(inputs, dict):
            given = {key: next(name for name in names if name.endswith(key)) for key in inputs}
            arrays |= {f"x_{part}.{given[key]}": value.numpy() for key, value in inputs.items()}
        else:
            arrays[f"x_{part}"] = inputs.numpy()
        if targets is not None:
            arrays[f"y_{part}"] = targets.numpy()
    np.savez(folder / "data.npz", **arrays)
    return folder / "teacher.pt2", folder / "data.npz", arrays


def arguments(model: Path, data: Path, case: Case, folder: Path) -> list[str]:
    quick = ["--target", "jetson-tx2", "--export", "onnx", "--epochs", "2", "--evaluations", "6", "--quiet"]
    settings = folder.with_suffix(".toml")
    settings.write_text("batch_size = 32\npopulation = 4\nlearning_rate = 0.01\n")
    where = ["--data", str(data), "--task", case.task, "--run", str(folder), "--recipe", str(settings)]
    pixel = (
        ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]
        if isinstance(case.data(1, torch.Generator())[0], torch.Tensor)
        else []
    )
    return ["compress", str(model), *where, *quick, *pixel]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_network_of_every_task_and_input_becomes_verified_artifacts(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    model, data, _ = write(tmp_path, case)
    assert run(arguments(model, data, case, tmp_path / "run")) == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"] == "pass"
    assert dict(map(tuple, report["provenance"]))["task"].startswith(f"{case.task}, measured by {case.metric}")
    assert [row["name"] for row in report["rows"] if row["name"].startswith("compressed")]
    for row in report["rows"]:
        assert row["parity"]["passed"], row
        assert row["accuracy"]["name"] == case.metric
        assert row["accuracy"]["samples"] == 48
        assert row["accuracy"]["higher_is_better"] == (case.metric != "RMSE")
    by_name = {row["name"]: row["accuracy"]["value"] for row in report["rows"]}
    markdown = (tmp_path / "run" / "report" / "report.md").read_text(encoding="utf-8")
    assert f"{case.metric[0].upper()}{case.metric[1:]}" in markdown
    capsys.readouterr()
    artifact = tmp_path / "run" / "artifacts" / "model.int8.onnx"
    assert run(["evaluate", str(artifact), "--data", str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert next(iter(list(found.values())[1:]))["value"] == pytest.approx(by_name["compressed int8"])


@pytest.mark.slow
def test_an_embedding_is_evaluated_against_the_original_beside_it_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES["embedding"]
    model, data, _ = write(tmp_path, case)
    job = arguments(model, data, case, tmp_path / "run")
    assert run([*job, "--epochs", "0", "--evaluations", "2"]) == 0
    capsys.readouterr()
    artifact = tmp_path / "run" / "artifacts" / "model.fp32.onnx"
    assert run(["evaluate", str(artifact), "--data", str(data)]) == 0
    assert "on 48 samples (test), higher is better" in capsys.readouterr().out
    assert run(["evaluate", str(artifact), "--data", str(data), "--task", "embeding"]) == 2
    assert "Did you mean 'embedding'?" in capsys.readouterr().err
    (artifact.with_name("original.fp32.onnx")).unlink()
    assert run(["evaluate", str(artifact), "--data", str(data)]) == 2
    assert "original.fp32.onnx beside the artifact" in capsys.readouterr().err
