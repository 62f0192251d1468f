"""docs/distillation.md against the code: every name, every option with its default, every example."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from edgekd.distill.adapters import ADAPTERS
from edgekd.distill.losses import LOSSES
from edgekd.distill.objective import make_objective
from edgekd.distill.schedules import SCHEDULES, TEMPERATURES
from edgekd.recipe import Recipe, read_recipe
from edgekd.tasks import CLASSIFICATION

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "distillation.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| `")]
EXAMPLES = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
CLASSES: list[tuple[str, type[Any]]] = [
    *ADAPTERS.items(),
    *(
        (name, registry.load(name, "test"))
        for registry in (LOSSES, SCHEDULES, TEMPERATURES)
        for name in registry.names()
    ),
]


@pytest.mark.parametrize(("name", "kind"), CLASSES, ids=lambda value: getattr(value, "__name__", value))
def test_every_name_has_a_row_with_its_options_and_their_defaults(name: str, kind: type[Any]) -> None:
    rows = [row for row in ROWS if f"`{name}`" in row.split("|")[1]]
    options = [p for p in inspect.signature(kind).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert any(all(f"`{option.name}` {option.default:g}" in row for option in options) for row in rows)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_recipe(tmp_path: Path, example: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(example, encoding="utf-8")
    recipe = Recipe(**read_recipe(path))
    objective = make_objective(
        recipe.distill,
        recipe.soft_weight,
        recipe.temperature,
        CLASSIFICATION,
        balance=recipe.balance,
        curriculum=recipe.curriculum,
    )
    assert len(objective.placed()) == example.count("[[distill]]")


def test_the_first_example_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(EXAMPLES[0], encoding="utf-8")
    assert Recipe(**read_recipe(path)) == Recipe()
