"""A recipe of several losses, from the command line to the file that ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from digits import Digits
from events import read_events

RECIPE = """
epochs = 4
quantized_share = 0.5

[[distill]]
loss = "task"
weight = 0.3

[[distill]]
loss = "soft-target"
weight = 0.7
temperature_schedule = { name = "cosine", end = 2.0 }

[[distill]]
loss = "hint"
weight = 0.5
schedule = "linear"
"""


@pytest.mark.slow
def test_a_recipe_of_hints_trains_both_phases_and_tells_every_term(
    digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekd.cli.app import run

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    folder = tmp_path / "run"
    job = digits.job(folder, "--recipe", str(recipe), "--max-size", "60KB", "--quiet")
    position = job.index("--epochs")
    del job[position : position + 2]
    assert run(job) == 0, capsys.readouterr().err
    curves = {phase: read_events(folder / "logs" / phase) for phase in ("distill", "quantize")}
    told = [scalars for phase in curves.values() for _, scalars in phase]
    assert len(told) == 4
    for name in ("task", "soft-target", "hint"):
        assert all(scalars[f"loss/{name}"] >= 0.0 for scalars in told)
    weights = [scalars["weight/hint"] for scalars in told]
    # One line over both phases, from 0.5 to 0.
    assert weights == pytest.approx([0.5 * 7 / 8, 0.5 * 5 / 8, 0.5 * 3 / 8, 0.5 * 1 / 8], abs=0.02)
    temperatures = [scalars["temperature/soft-target"] for scalars in told]
    assert temperatures == sorted(temperatures, reverse=True)
    assert 2.0 < temperatures[-1] < temperatures[0] < 4.0
    report = json.loads((folder / "report" / "report.json").read_text())
    assert report["verdict"] == "pass"
    # The same job is gone on with: the terms are as they were written down.
    assert run([*job, "--resume"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[distill]]\nloss = "hints"\n', "Did you mean 'hint'?"),
        ('[[distill]]\nloss = "task"\nweight = 0\n', "weights sum to more than 0"),
        ('[[distill]]\nloss = "hint"\nadapter = "conv"\n', "Known: 1x1"),
    ],
)
def test_a_wrong_recipe_ends_before_the_model_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    from edgekd.cli.app import run

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text, encoding="utf-8")
    job = ["compress", "missing.pt2", "--data", "missing.npz", "--target", "rpi4", "--recipe", str(recipe)]
    assert run([*job, "--run", str(tmp_path / "run")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
