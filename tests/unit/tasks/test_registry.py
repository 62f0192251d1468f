"""Tasks of other packages: found, refused when they collide, named when they are broken; and the documented one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import packages
import pytest
import torch

from edgekd.cli.app import run
from edgekd.errors import DataError, MissingDependencyError, UnknownNameError
from edgekd.tasks import load_task, task_names

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "tasks.md"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, entry: str, code: str) -> None:
    """Install a package that offers a task."""
    packages.install(folder, monkeypatch, package, f"[edgekd.tasks]\n{entry}\n", code)


@pytest.fixture
def durations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the example of the documentation."""
    text = DOCUMENT.read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
    assert 'durations = "my_package.tasks:Durations"' in text
    install(tmp_path / "packages", monkeypatch, "tasks_of_mine", "durations = tasks_of_mine:Durations", code)


@pytest.mark.usefixtures("durations")
def test_the_documented_task_is_found_and_computes_what_it_says() -> None:
    task = load_task("durations")
    assert "durations" in task_names()
    y = task.read_targets("data.npz: y", np.array([2.0, 4.0]), None)
    outputs = torch.tensor([[1.0], [5.0]])
    torch.testing.assert_close(task.loss(outputs, y), torch.tensor([0.5, 0.25]))
    meter = task.meter()
    meter.update(outputs, y)
    assert meter.value() == pytest.approx(0.375)
    with pytest.raises(DataError, match="times above 0"):
        task.read_targets("data.npz: y", np.array([0.0, 4.0]), None)


@pytest.mark.slow
@pytest.mark.usefixtures("durations")
def test_the_documented_task_compresses_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(6, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1), torch.nn.Softplus()]
    network = torch.nn.Sequential(*layers).eval()
    x = torch.randn(80, 6)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, tmp_path / "net.pt2")
    with torch.no_grad():
        y = network(x)[:, 0] * (1 + 0.1 * torch.rand(80))
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    job = ["--task", "durations", "--target", "rpi4", "--export", "onnx", "--epochs", "0", "--evaluations", "4"]
    where = ["--data", str(tmp_path / "data.npz"), "--run", str(tmp_path / "run"), "--quiet"]
    assert run(["compress", str(tmp_path / "net.pt2"), *job, *where]) == 0, capsys.readouterr().err
    assert "Relative error (lower is better) (test)" in capsys.readouterr().out


def test_a_name_that_edgekd_has_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "collides", "regression = collides:Task", "class Task: ...")
    with pytest.raises(MissingDependencyError) as caught:
        load_task("regression")
    assert "'collides:Task', EdgeKD itself" in caught.value.found


def test_a_name_that_two_packages_offer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("first", "second"):
        install(tmp_path / package, monkeypatch, f"{package}_tasks", f"depth = {package}_tasks:Task", "class Task: ...")
    with pytest.raises(MissingDependencyError, match="one task of that name"):
        load_task("depth")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("Other = 1", "AttributeError"),
        ("class Task:\n    name = 'depth'", "an object without source, output"),
        ("from edgekd.tasks import REGRESSION as Task", "a task that calls itself 'regression'"),
    ],
    ids=["raises", "empty", "no task", "another name"],
)
def test_a_package_that_gives_no_task_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    install(tmp_path, monkeypatch, "broken_tasks", "depth = broken_tasks:Task", code)
    with pytest.raises(MissingDependencyError) as caught:
        load_task("depth")
    assert told in caught.value.found
    assert "broken_tasks:Task" in caught.value.expected


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'multi-label'"):
        load_task("multilabel")
