"""Promises about the source itself: who imports whom, what is documented, which errors are tested."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgekd import errors
from edgekd.cli import app

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "edgekd").rglob("*.py"))
DOCUMENTS = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.is_file()]

# Lowest first. A part of the package imports from the layers below its own, and from itself.
LAYERS = (
    {"errors", "records", "agent"},
    {"quantities", "store", "recipe", "events", "registry"},
    {"tasks", "budgets", "progress"},
    {"journal", "data", "hardware", "report"},
    {"checks", "models", "doctor", "following"},
    {"prune"},
    {"quantize", "inputs"},
    {"export", "job", "ranking"},
    {"search", "distill"},
    {"profiling"},
    {"stages", "steps", "inspection"},
    {"pipeline"},
    {"cli"},
)
LIGHT = (
    *("errors", "records", "store", "quantities", "budgets", "checks", "journal", "progress", "recipe", "report"),
    "hardware",
)
HEAVY = {"torch", "onnx", "onnxruntime", "onnxscript", "tvm", "torch_pruning", "pymoo", "matplotlib", "plotly"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(path: Path) -> str:
    """Return the module or package directly below `edgekd` that a file belongs to."""
    return path.relative_to(ROOT / "edgekd").parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of imported modules, also those imported inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)


def loaded_at_once(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported, leaving out what only type checkers see."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        statement = pending.pop()
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            continue
        yield statement
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            pending += [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_down_the_layers(path: Path) -> None:
    own = part_of(path)
    if own == "__init__":
        assert not [name for name in imports_of(parse(path)) if name.startswith("edgekd")]
        return
    height = {part: index for index, layer in enumerate(LAYERS) for part in layer}
    assert own in height, f"give {own} a place in LAYERS"
    for name in imports_of(parse(path)):
        steps = name.split(".")
        if steps[0] != "edgekd" or len(steps) == 1 or steps[1] == own:
            continue
        assert height[steps[1]] < height[own] or {own, steps[1]} == {"errors", "records"}, f"{own} imports {name}"


@pytest.mark.parametrize("module", ["errors", "records", "store", "quantities", "progress", "journal"])
def test_the_vocabulary_needs_the_standard_library_alone(module: str) -> None:
    folder = ROOT / "edgekd" / module
    paths = sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    for name in (name for path in paths for name in imports_of(parse(path))):
        top = name.split(".")[0]
        assert top in sys.stdlib_module_names or top == "edgekd", name


@pytest.mark.parametrize("path", [path for path in SOURCES if part_of(path) in LIGHT], ids=name_of)
def test_light_parts_never_import_a_heavy_library_not_even_inside_a_function(path: Path) -> None:
    assert not HEAVY & {name.split(".")[0] for name in imports_of(parse(path))}


@pytest.mark.parametrize("path", [path for path in SOURCES if part_of(path) == "cli"], ids=name_of)
def test_commands_load_heavy_parts_inside_functions_only(path: Path) -> None:
    heavy_parts = {"data", "models", "prune", "quantize", "inputs", "export", "job", "search", "distill", "stages"}
    heavy_parts |= {"pipeline", "hardware", "tasks", "ranking"}
    for statement in loaded_at_once(parse(path)):
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            for name in imports_of(statement):
                steps = name.split(".")
                assert steps[0] not in HEAVY | {"numpy", "PIL", "pydantic"}, name
                assert steps[0] != "edgekd" or len(steps) == 1 or steps[1] not in heavy_parts, name


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_library_never_prints_and_never_validates_with_a_bare_except(path: Path) -> None:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "breakpoint", "input"), f"line {node.lineno}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=name_of)
def test_package_files_re_export_and_hold_no_logic(path: Path) -> None:
    for statement in parse(path).body:
        assert isinstance(statement, (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign))


@pytest.mark.parametrize("path", [p for p in SOURCES if "__all__" in p.read_text(encoding="utf-8")], ids=name_of)
def test_every_public_name_is_there_once_and_documented(path: Path) -> None:
    import importlib

    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name), name


def leaf_commands() -> dict[str, click.Command]:
    """Return the commands that do something, by their words: `targets list`."""
    context = click.Context(app.edgekd)
    found: dict[str, click.Command] = {}
    for name in app.COMMANDS:
        command = app.edgekd.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": child for inner, child in command.commands.items()}
        else:
            found[name] = command
    return found


def options_of(command: click.Command) -> set[str]:
    names = (name for option in command.params if isinstance(option, click.Option) for name in option.opts)
    return {name for name in names if name.startswith("--")}


@pytest.fixture(scope="module")
def sections() -> dict[str, str]:
    """The text of docs/cli.md by the commands that each heading names."""
    path = ROOT / "docs" / "cli.md"
    if not path.is_file():
        pytest.skip("docs/cli.md has not been written yet")
    by_command: dict[str, str] = {}
    for section in path.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading = section.partition("\n")[0]
        for quoted in re.findall(r"`edgekd ([^`]+)`", heading):
            words = [word for word in quoted.split() if word.islower()]
            by_command[" ".join(words[:2] if words[0] in ("targets", "profile", "recipe") else words[:1])] = section
    return by_command


@pytest.mark.parametrize("name", sorted(leaf_commands()))
def test_every_command_and_option_is_documented(name: str, sections: dict[str, str]) -> None:
    assert name in sections
    everything = "\n".join(sections.values())
    options = options_of(leaf_commands()[name])
    assert not {option for option in options if not re.search(rf"`[^`]*{option}\b[^`]*`", everything)}


@pytest.mark.parametrize("name", sorted(leaf_commands()))
def test_no_option_is_documented_that_the_command_does_not_have(name: str, sections: dict[str, str]) -> None:
    commands = {other: command for other, command in leaf_commands().items() if sections[other] == sections[name]}
    known = set().union(*(options_of(command) for command in commands.values()))
    assert set(re.findall(r"`(--[a-z-]+)", sections[name])) <= known


@pytest.mark.parametrize("name", sorted(leaf_commands()))
def test_the_example_of_every_help_text_parses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    example = shlex.split(shown[shown.index("Example:") :].splitlines()[1])
    words = ["edgekd", *name.split()]
    assert example[: len(words)] == words
    leaf_commands()[name].make_context(name, example[len(words) :])


def commands_shown() -> list[tuple[str, str]]:
    """Return the command lines in indented or fenced blocks of the documents, without those with placeholders."""
    lines = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^(?:    |\$ |)(edgekd [a-z].*)$", text, flags=re.MULTILINE):
            if not re.search(r"\[|\.\.\.|\||^edgekd [a-z]+ +[A-Z]+\b", line):
                lines.append((path.name, line.partition(" #")[0]))
    return lines


@pytest.mark.parametrize(("document", "line"), commands_shown())
def test_every_command_that_a_document_shows_parses(document: str, line: str) -> None:
    words = shlex.split(line)[1:]
    commands = leaf_commands()
    name = " ".join(words[:2]) if " ".join(words[:2]) in commands else words[0]
    commands[name].make_context(name, words[len(name.split()) :])


def test_every_setting_of_a_recipe_is_documented() -> None:
    from dataclasses import fields

    from edgekd.recipe import Recipe

    path = ROOT / "docs" / "recipe.md"
    if not path.is_file():
        pytest.skip("docs/recipe.md has not been written yet")
    text = path.read_text(encoding="utf-8")
    assert not {field.name for field in fields(Recipe) if f"`{field.name}`" not in text}


def error_classes() -> list[type[errors.EdgeKDError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    ours = [value for value in found if issubclass(value, errors.EdgeKDError)]
    # The classes that others derive from only sort them by exit code.
    return [kind for kind in ours if not kind.__subclasses__()]


def errors_in_tests() -> set[str]:
    """Return the names that the tests use, besides importing them."""
    names: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        names |= {node.id for node in ast.walk(parse(path)) if isinstance(node, ast.Name)}
    return names


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_every_error_is_raised_by_some_test(kind: type[errors.EdgeKDError]) -> None:
    assert kind.__name__ in errors_in_tests()


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_every_error_is_raised_somewhere_in_the_library(kind: type[errors.EdgeKDError]) -> None:
    used = [path for path in SOURCES if path.name != "errors.py" and kind.__name__ in path.read_text(encoding="utf-8")]
    assert used


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_exit_codes_are_those_of_the_four_families(kind: type[errors.EdgeKDError]) -> None:
    families = {errors.VerdictError: 1, errors.InputError: 2, errors.SetupError: 3, errors.StageError: 4}
    assert [code for family, code in families.items() if issubclass(kind, family)] == [kind.exit_code]
