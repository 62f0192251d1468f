from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from edgekd import __version__
from edgekd.cli import app
from edgekd.errors import BudgetError, DistillError, EdgeKDError, MissingDependencyError, TargetError
from edgekd.records import Report
from edgekd.report import render_html, render_markdown, report_to_json, write_report

HEAVY = ("torch", "numpy", "onnx", "onnxruntime", "pymoo", "tvm")
PROGRAM = f"""
import sys
from edgekd.cli.app import run
code = run(sys.argv[1:])
print(code, [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture
def report() -> Report:
    return Report(
        title="a run",
        verdict="pass",
        target="jetson-tx2",
        plan_id="0123456789ab",
        rows=(),
        stages=(),
        budgets=(),
        findings=(),
        widths=(("layer1", 16, 8),),
        provenance=(),
    )


@pytest.fixture
def run_folder(tmp_path: Path, report: Report) -> Path:
    write_report(report, tmp_path / "run" / "report")
    return tmp_path / "run"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Make a function the only command of the program, under the name `it`."""

    def put(function: Callable[[], object]) -> None:
        module = types.ModuleType("edgekd_command_of_a_test")
        module.it = click.command("it")(function)  # type: ignore[attr-defined]  # a module is open
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(app, "COMMANDS", {"it": (f"{module.__name__}:it", "A command of a test.")})

    return put


def _raiser(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["check", "FILE", "--max-size", "200KB"],
        ["check", "--help"],
        ["targets", "list"],
        ["targets", "list", "--json"],
        ["targets", "show", "host"],
        ["targets", "validate", "TARGET"],
        ["report", "RUN"],
        ["report", "RUN", "--format", "html"],
        ["report", "RUN", "--json"],
        ["recipe", "show"],
        ["completion", "bash"],
    ],
    ids=" ".join,
)
def test_light_commands_never_load_torch(run_folder: Path, arguments: list[str]) -> None:
    places = {"FILE": str(run_folder / "report" / "report.json"), "RUN": str(run_folder)}
    places["TARGET"] = str(Path(__file__).resolve().parents[2] / "targets" / "rpi4.toml")
    arguments = [places.get(argument, argument) for argument in arguments]
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == "0 []\n"
    assert ended.stdout


def test_a_heavy_module_would_be_noticed() -> None:
    program = f"import numpy\n{PROGRAM}"
    ended = subprocess.run([sys.executable, "-c", program, "--version"], capture_output=True, text=True, check=True)
    assert ended.stderr == "0 ['numpy']\n"


def test_help_lists_every_command_without_importing_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = {name: ("edgekd.no.such.module:x", line) for name, (_, line) in app.COMMANDS.items()}
    monkeypatch.setattr(app, "COMMANDS", commands)
    assert app.run(["--help"]) == 0
    out = capsys.readouterr().out
    for name in ("compress", "check", "targets", "inspect", "evaluate", "report"):
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", ["check", "report", "targets"])
def test_the_help_of_a_light_command_has_an_example_for_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([name, "--help"]) == 0
    assert f"Example:\n    edgekd {name} " in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["check", "--nonsense"], ["report"], ["check", "x", "--format", "x"]]
)
def test_wrong_use_exits_with_2_and_leaves_stdout_alone(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: edgekd" in captured.err


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["chek"]) == 2
    err = capsys.readouterr().err
    assert "Did you mean 'check'?" in err
    assert "compress" in err


@pytest.mark.parametrize(
    ("kind", "code"), [(BudgetError, 1), (TargetError, 2), (MissingDependencyError, 3), (DistillError, 4)]
)
def test_an_error_of_ours_is_told_in_four_lines_and_by_its_code(
    kind: type[EdgeKDError],
    code: int,
    install: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(_raiser(kind("a place\x1b[2J", expected="this", found="that\nother", hint="Do so.")))
    assert app.run(["it"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        r"error: a place\x1b[2J",
        "  expected: this",
        "  found:    that other",
        "  hint:     Do so.",
    ]


@pytest.mark.parametrize("error", [ValueError("odd"), EOFError("odd"), OSError("odd"), RecursionError("odd")], ids=repr)
def test_a_bug_shows_its_traceback_on_stderr_and_exits_with_70(
    error: Exception, install: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install(_raiser(error))
    assert app.run(["it"]) == 70
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" in captured.err
    assert f"{type(error).__name__}: odd" in captured.err


def test_a_command_that_is_not_there_is_a_bug_not_a_wrong_argument(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "COMMANDS", {"it": ("edgekd.errors:EXIT_OK", "No command.")})
    assert app.run(["it"]) == 70
    assert "edgekd.errors:EXIT_OK is not a click command" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()], ids=["ctrl-c", "abort"])
def test_an_interrupted_command_exits_with_130(
    error: BaseException, install: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install(_raiser(error))
    assert app.run(["it"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_ends_the_program_with_130() -> None:
    program = f"import os\nos.kill(os.getpid(), {int(signal.SIGINT)})"
    wrapped = (
        # A program that a shell started in the background inherits an ignored SIGINT.
        "import signal, sys, types, click\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from edgekd.cli import app\n"
        f"module = types.ModuleType('m'); module.it = click.command()(lambda: exec({program!r}))\n"
        "sys.modules['m'] = module; app.COMMANDS = {'it': ('m:it', '')}\n"
        "sys.argv = ['edgekd', 'it']; app.main()"
    )
    ended = subprocess.run([sys.executable, "-c", wrapped], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (130, "", "")


@pytest.mark.parametrize("outcome", [0, 1, 2, 70])
def test_the_exit_code_a_command_asks_for_is_kept(
    outcome: int, install: Callable[[Callable[[], object]], None]
) -> None:
    install(lambda: click.get_current_context().exit(outcome))
    assert app.run(["it"]) == outcome


def test_completion_imports_no_command() -> None:
    context = click.Context(app.edgekd)
    names = [item.value for item in app.edgekd.shell_complete(context, "c")]
    assert names == ["compress", "check", "completion"]


def test_a_terminal_that_lacks_a_letter_gets_its_code(run_folder: Path, report: Report) -> None:
    program = [sys.executable, "-W", "error", "-c", "from edgekd.cli.app import main; main()"]
    command = [*program, "report", str(run_folder), "--format", "md"]
    write_report(dataclasses.replace(report, title="r\u0142"), run_folder / "report")
    ended = subprocess.run(command, capture_output=True, check=True, env={"PYTHONIOENCODING": "latin-1"})
    assert ended.stdout.startswith(rb"# r\u0142")


@pytest.mark.parametrize(
    ("option", "render"),
    [
        ([], render_markdown),
        (["--format", "md"], render_markdown),
        (["--format", "html"], render_html),
        (["--format", "json"], report_to_json),
        (["--json"], report_to_json),
    ],
)
def test_a_report_is_printed_in_the_form_asked_for(
    run_folder: Path,
    report: Report,
    option: list[str],
    render: Callable[[Report], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert app.run(["report", str(run_folder), *option]) == 0
    captured = capsys.readouterr()
    assert captured.out == render(report)
    assert captured.err == ""


def test_a_report_is_written_to_the_file_asked_for(
    run_folder: Path, report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "page.html"
    assert app.run(["report", str(run_folder), "--format", "html", "-o", str(place)]) == 0
    assert place.read_text(encoding="utf-8") == render_html(report)
    assert capsys.readouterr().out == ""


def test_a_report_that_cannot_be_written_names_the_place(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["report", str(run_folder), "-o", str(run_folder)]) == 2
    assert capsys.readouterr().err.startswith(f"error: --output {run_folder}\n")


def test_a_run_without_a_report_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["report", str(tmp_path)]) == 2
    assert "report/report.json" in capsys.readouterr().err


def test_targets_are_listed_and_each_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["targets", "list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert "jetson-tx2" in {entry["name"] for entry in entries}
    assert app.run(["targets", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [entry["name"] for entry in entries]
    for entry in entries:
        assert app.run(["targets", "show", entry["name"]]) == 0
        assert capsys.readouterr().out.startswith(f"{entry['name']}: {entry['title']}\n")
        assert app.run(["targets", "show", entry["name"], "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["title"] == entry["title"]


def test_an_unknown_target_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["targets", "show", "jetson-tx3"]) == 2
    assert "jetson-tx2" in capsys.readouterr().err
