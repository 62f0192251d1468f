from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import RecipeError, UnknownNameError
from edgekd.recipe import Recipe, read_recipe, recipe_to_toml
from edgekd.records.distillation import Choice, Term


def recipe_file(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


OTHER = Recipe(
    seed=9,
    epochs=1,
    quantized_share=0.5,
    learning_rate=1e-6,
    quantized_learning_rate=2e-5,
    batch_size=2,
    weight_decay=0.0,
    temperature=1.0,
    soft_weight=1.0,
    ema_decay=0.0,
    clip_norm=1e9,
    train_precision="bf16",
    augmentations=(),
    holdout="test",
    importance="fisher",
    freeze=("layer1.*",),
    tie=("a,b", "c,d"),
    min_width=0.25,
    search_samples=1,
    recalibration_samples=2,
    algorithm="random",
    objectives=("loss", "size"),
    surrogate=False,
    evaluations=1,
    population=4,
    search_seconds=1200.0,
    patience=5,
    min_search_accuracy=0.5,
    baseline=True,
    size_of="fp32",
    task="regression",
    curriculum=True,
    balance=True,
    distill=(
        Term(loss=Choice("decoupled", (("beta", 2.0),)), weight=0.5, temperature=2.0),
        Term(loss=Choice("soft-target"), temperature_schedule=Choice("cosine", (("end", 2),))),
        Term(loss=Choice("hint"), schedule=Choice("linear"), adapter=Choice("1x1"), layers=(("a.b", "c"), ("d", "e"))),
    ),
)


@pytest.mark.parametrize("recipe", [Recipe(), OTHER], ids=["the defaults", "everything else"])
def test_a_recipe_written_as_toml_is_read_back_the_same(tmp_path: Path, recipe: Recipe) -> None:
    values = read_recipe(recipe_file(tmp_path, recipe_to_toml(recipe)))
    assert set(values) == {field.name for field in dataclasses.fields(Recipe)}
    assert Recipe(**values) == recipe


def test_the_two_recipes_of_that_test_differ_in_every_setting() -> None:
    assert all(value != getattr(OTHER, name) for name, value in dataclasses.asdict(Recipe()).items())


def test_settings_left_out_keep_their_defaults(tmp_path: Path) -> None:
    values = read_recipe(recipe_file(tmp_path, "epochs = 3\ntemperature = 2\n"))
    assert values == {"epochs": 3, "temperature": 2.0}
    assert type(values["temperature"]) is float
    assert Recipe(**values) == dataclasses.replace(Recipe(), epochs=3, temperature=2.0)


def test_an_unknown_setting_names_the_nearest_known_one(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, "learningrate = 0.1\n")
    with pytest.raises(UnknownNameError) as caught:
        read_recipe(path)
    assert str(path) in caught.value.where
    assert caught.value.found == "'learningrate'"
    assert "Did you mean 'learning_rate'?" in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("setting", "near"),
    [({"algorithm": "nsga"}, "nsga"), ({"objectives": ("loss", "energi")}, "energy")],
    ids=["algorithm", "objective"],
)
def test_an_unknown_algorithm_or_objective_names_the_nearest_known_one(setting: dict[str, Any], near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean '{near}") as caught:
        Recipe(**setting)
    assert caught.value.where == f"recipe, {next(iter(setting))}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('epochs = "3"', "int"),
        ("epochs = 3.0", "int"),
        ("epochs = true", "int"),
        ('learning_rate = "0.1"', "float"),
        ("learning_rate = true", "float"),
        ("baseline = 1", "bool"),
        ('holdout = "validation"', "'train' or 'test'"),
        ("holdout = [1]", "'train' or 'test'"),
        ('size_of = "int4"', "'fp32' or 'fp16' or 'int8'"),
        ('augmentations = "crop"', "a list of names"),
        ("augmentations = [1]", "a list of names"),
        ('freeze = "layer1.*"', "a list of names"),
        ('tie = [["a", "b"]]', "a list of names"),
        ("min_width = [0.5]", "float"),
        ("seed = 1979-05-27", "int"),
    ],
)
def test_a_value_of_the_wrong_kind_names_setting_kind_and_value(tmp_path: Path, line: str, expected: str) -> None:
    path = recipe_file(tmp_path, line)
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert caught.value.where == f"{path}, {line.split()[0]}"
    assert caught.value.expected == expected
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("min_width", 1.01),
        ("epochs", -1),
        ("batch_size", 1),
        ("temperature", 0.0),
        ("soft_weight", 1.01),
        ("ema_decay", -0.1),
        ("clip_norm", 0.0),
        ("evaluations", 0),
        ("population", 3),
        ("quantized_share", float("nan")),
        ("learning_rate", float("inf")),
    ],
)
def test_a_value_out_of_range_names_setting_range_and_value(name: str, value: float) -> None:
    with pytest.raises(RecipeError, match=r"a value from .* to ") as caught:
        Recipe(**{name: value})
    assert caught.value.where == f"recipe, {name}"
    assert caught.value.found == str(value)


@pytest.mark.parametrize(
    "content", [b"epochs = ", b"\xff\xfe", b"epochs = 1\nepochs = 2"], ids=["cut", "no text", "twice"]
)
def test_what_is_no_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match="a TOML file") as caught:
        read_recipe(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("name", ["missing.toml", "."], ids=["missing", "a folder"])
def test_a_recipe_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="a TOML file"):
        read_recipe(tmp_path / name)


@pytest.mark.parametrize(
    ("epochs", "share", "quantized"),
    [(10, 0.3, 3), (1, 0.3, 1), (0, 0.3, 0), (10, 0.0, 1), (10, 1.0, 10), (3, 0.3, 1), (7, 0.5, 4)],
)
def test_float_and_quantized_epochs_add_up_and_at_least_one_is_quantized(
    epochs: int, share: float, quantized: int
) -> None:
    recipe = Recipe(epochs=epochs, quantized_share=share)
    assert recipe.quantized_epochs == quantized
    assert recipe.float_epochs + recipe.quantized_epochs == epochs


@pytest.mark.parametrize(
    ("text", "where", "found"),
    [
        ("distill = []", "distill", "an empty list"),
        ('distill = "hint"', "distill", "'hint'"),
        ("[[distill]]\nweight = 1.0", "distill 1", "none"),
        ("[[distill]]\nloss = 3", "distill 1, loss", "3"),
        ("[[distill]]\nloss = { beta = 2 }", "distill 1, loss", "{'beta': 2}"),
        ('[[distill]]\nloss = "task"\n[[distill]]\nloss = "hint"\nweight = "much"', "distill 2, weight", "'much'"),
        ('[[distill]]\nloss = "hint"\nlayers = ["relu"]', "distill 1, layers", "['relu']"),
        ('[[distill]]\nloss = "hint"\nschedule = ["linear"]', "distill 1, schedule", "['linear']"),
    ],
)
def test_a_wrong_distill_table_names_table_setting_and_value(tmp_path: Path, text: str, where: str, found: str) -> None:
    path = recipe_file(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert caught.value.where == f"{path}, {where}"
    assert caught.value.found == found
    assert "docs/distillation.md" in caught.value.hint


def test_an_unknown_setting_of_a_distill_table_names_the_nearest(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, '[[distill]]\nloss = "hint"\nweigth = 0.5\n')
    with pytest.raises(UnknownNameError, match="Did you mean 'weight'"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ((), "no term"),
        ((Term(loss=Choice("task"), weight=0.0), Term(loss=Choice("hint"), weight=0.0)), "weights 0, 0"),
    ],
)
def test_terms_that_weigh_nothing_are_refused(terms: tuple[Term, ...], found: str) -> None:
    with pytest.raises(RecipeError, match="sum to more than 0") as caught:
        Recipe(distill=terms)
    assert caught.value.found == found


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_a_weight_that_is_none_is_refused_with_its_term(weight: float) -> None:
    with pytest.raises(RecipeError, match="'hint', weight"):
        Term(loss=Choice("hint"), weight=weight)
