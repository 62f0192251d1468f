from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest

from edgekd.cli.app import run
from edgekd.recipe import Recipe, read_recipe


def test_the_recipe_that_is_shown_is_read_as_the_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipe", "show"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "recipe.toml").write_text(text)
    assert Recipe(**read_recipe(tmp_path / "recipe.toml")) == Recipe()
    assert list(tomllib.loads(text)) == [field.name for field in dataclasses.fields(Recipe)]


def test_every_setting_stands_below_what_it_means(capsys: pytest.CaptureFixture[str]) -> None:
    run(["recipe", "show"])
    blocks = capsys.readouterr().out.strip().split("\n\n")
    assert len(blocks) == len(dataclasses.fields(Recipe))
    for block in blocks:
        *meaning, setting = block.splitlines()
        assert meaning
        assert all(line.startswith("# ") for line in meaning)
        assert " = " in setting
    by_name = {block.splitlines()[-1].partition(" ")[0]: block for block in blocks}
    assert "the task's own loss has the rest" in by_name["soft_weight"].replace("\n# ", " ")
    assert "From 0 to 10,000." in by_name["epochs"].replace("\n# ", " ")
    assert 'One of "fp32", "fp16", "int8".' in by_name["size_of"]


def test_a_recipe_of_one_s_own_is_shown_with_every_other_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text("epochs = 3\n")
    assert run(["recipe", "show", str(tmp_path / "mine.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 3


def test_a_valid_recipe_is_told_by_what_it_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('epochs = 3\nseed = 0\naugmentations = ["crop"]\n')
    assert run(["recipe", "validate", str(path)]) == 0
    assert capsys.readouterr().out == f'{path}: a valid recipe, epochs = 3, augmentations = ["crop"]\n'
    assert run(["recipe", "validate", str(path), "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["changes"] == {"epochs": 3, "augmentations": ["crop"]}


def test_terms_of_the_loss_are_shown_and_told_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, shown = tmp_path / "mine.toml", tmp_path / "shown.toml"
    first = '[[distill]]\nloss = { name = "decoupled", beta = 2.0 }\nlayers = [["a", "b"]]\n'
    path.write_text(f'{first}[[distill]]\nloss = "task"\n')
    line = 'distill = [{ loss = { name = "decoupled", beta = 2.0 }, layers = [["a", "b"]] }, { loss = "task" }]'
    assert run(["recipe", "validate", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: a valid recipe, {line}\n"
    assert run(["recipe", "show", str(path)]) == 0
    shown.write_text(capsys.readouterr().out)
    assert line in shown.read_text().splitlines()
    assert read_recipe(shown)["distill"] == read_recipe(path)["distill"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", "Did you mean 'epochs'?"),
        ("epochs = -1", "a value from 0 to 10000"),
        ("epochs = 'three'", "int"),
        ("epochs =", "a TOML file"),
    ],
)
def test_a_wrong_recipe_exits_with_2_and_says_what_is_wrong(
    tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(text)
    assert run(["recipe", "validate", str(tmp_path / "mine.toml")]) == 2
    assert words in capsys.readouterr().err
