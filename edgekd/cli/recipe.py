"""`edgekd recipe`: the settings of a run, with their defaults and what they mean."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from edgekd.recipe import Recipe, commented_toml, read_recipe, toml_values
from edgekd.report.escape import printable


@click.group(epilog="\b\nExample:\n  edgekd recipe show")
def recipe() -> None:
    """Show every setting of a recipe, or check a recipe of your own."""


@recipe.command("show", epilog="\b\nExample:\n  edgekd recipe show")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show_recipe(file: Path | None, as_json: bool) -> None:
    """Print a recipe with every setting and what it means, ready to be edited: that of FILE, or the default one."""
    shown = _read(file) if file is not None else Recipe()
    click.echo(json.dumps(dataclasses.asdict(shown), indent=2) if as_json else commented_toml(shown), nl=as_json)


@recipe.command("validate", epilog="\b\nExample:\n  edgekd recipe validate recipe.toml")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def validate_recipes(files: tuple[Path, ...], as_json: bool) -> None:
    """Check recipes: names of settings, types and ranges; say which settings differ from the defaults."""
    read = {path: _read(path) for path in files}
    if as_json:
        entries = [{"file": str(path), "changes": _changes(recipe)} for path, recipe in read.items()]
        click.echo(json.dumps(entries, indent=2))
        return
    for path, recipe in read.items():
        values = toml_values(recipe)
        told = ", ".join(f"{name} = {values[name]}" for name in _changes(recipe))
        click.echo(printable(f"{path}: a valid recipe, {told or 'all settings at their defaults'}"))


def _read(path: Path) -> Recipe:
    return Recipe(**read_recipe(path))


def _changes(recipe: Recipe) -> dict[str, object]:
    default = dataclasses.asdict(Recipe())
    return {name: value for name, value in dataclasses.asdict(recipe).items() if value != default[name]}
