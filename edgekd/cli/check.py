"""`edgekd check`: the gate for continuous integration."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekd.checks import Checked, Known, Limit, Question, artifacts_of, exit_code
from edgekd.checks import check as check_artifacts
from edgekd.checks.config import Config, find_config, parse_tolerances, read_config
from edgekd.checks.quantities import QUANTITIES
from edgekd.checks.render import to_github, to_json, to_markdown, to_text
from edgekd.errors import DeviceError, ExportError, InputError, OutputError
from edgekd.report.escape import printable
from edgekd.store import write_text

if TYPE_CHECKING:
    from edgekd.records import Target

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FORMATS: Mapping[str, Callable[[Checked], str]] = MappingProxyType(
    {"text": to_text, "json": to_json, "markdown": to_markdown, "github": to_github}
)


def _budget_options(command: _Function) -> _Function:
    """Add an option for each quantity that can be bounded."""
    for quantity, about in reversed(tuple(QUANTITIES.items())):
        command = click.option(about.option, quantity, metavar=about.metavar, help=about.text)(command)
    return command


@click.command(epilog="\b\nExample:\n  edgekd check model.onnx --max-size 250KB")
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path(path_type=Path))
@_budget_options
@click.option("--target", "target_name", help="Device whose runtime has to have every operator of the files.")
@click.option("--baseline", type=click.Path(path_type=Path), help="Run or report.json that must not be fallen behind.")
@click.option("--tolerance", multiple=True, metavar="QUANTITY=SHARE,AMOUNT", help="As latency=5%,100us; several times.")
@click.option("--config", type=click.Path(path_type=Path), help="File of budgets. [edgekd.toml of the repository]")
@click.option("--measure", is_flag=True, help="Run the files in onnxruntime; --max-latency is for what is measured.")
@click.option("--on", "place", default="local", show_default=True, help="Where to measure: local, or ssh://USER@HOST.")
@click.option("--threads", default=1, show_default=True, help="Threads of the runtime when measuring.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Also write JUnit XML here.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(list(_FORMATS)),
    default="text",
    show_default=True,
    help="How to print the answer.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_context
def check(
    context: click.Context,
    /,
    paths: tuple[Path, ...],
    output_format: str,
    as_json: bool,
    junit: Path | None,
    config: Path | None,
    **options: Any,
) -> None:
    """Check artifact files and run folders: are they whole, and do they keep the budgets?

    PATH is an artifact, checked against the card beside it if there is one, or the folder of a run, all of whose
    artifacts are checked. Budgets may stand in edgekd.toml; options win over it. Nothing is loaded or, without
    --measure, executed.

    Exit code 0, PASS: all holds. 1, FAIL: a budget is exceeded, something became worse than the baseline, or a run's
    verdict is fail. 2, INCONCLUSIVE: something is missing, damaged or not known, or lies within the noise.
    """
    found = config or find_config(Path.cwd())
    asked = read_config(found) if found else Config()
    paths = paths or asked.paths
    if not paths:
        raise click.UsageError("Missing argument 'PATH...', and no edgekd.toml has [check] paths.", context)
    question = _question(paths, asked, options)
    checked = check_artifacts(paths, question)
    if junit is not None:
        from edgekd.checks.junit import to_junit

        _write(junit, to_junit(checked))
    chosen = "json" if as_json else output_format
    click.echo(_FORMATS[chosen](checked), nl=chosen != "markdown")
    if chosen == "github":
        _append_summary(checked)
    context.exit(exit_code(checked.findings))


def _question(paths: tuple[Path, ...], asked: Config, options: dict[str, Any]) -> Question:
    given = tuple(
        Limit(quantity=name, limit=about.parse(options[name], about.option), origin=about.option)
        for name, about in QUANTITIES.items()
        if options[name] is not None
    )
    # An option is for every file: it takes the place of the file's tables too.
    settled = {limit.quantity for limit in given}
    limits = (*(limit for limit in asked.limits if limit.quantity not in settled), *given)
    measured, unmeasured = _measured(paths, limits, options) if options["measure"] else ({}, {})
    return Question(
        limits=limits,
        target=_target(options["target_name"] or asked.target),
        baseline=options["baseline"] or asked.baseline,
        tolerances={**asked.tolerances, **parse_tolerances(options["tolerance"], "--tolerance")},
        measured=measured,
        unmeasured=unmeasured,
    )


def _target(name: str | None) -> Target | None:
    if name is None:
        return None
    from edgekd.hardware.target import load_target

    return load_target(name)


def _measured(
    paths: tuple[Path, ...], limits: tuple[Limit, ...], options: dict[str, Any]
) -> tuple[dict[Path, Known], dict[Path, str]]:
    """Return the measured latency of every file that a latency budget is for, and why others have none."""
    from edgekd.profiling.connection import connect
    from edgekd.profiling.model import Settings
    from edgekd.profiling.place import parse_place
    from edgekd.profiling.spread import measure_spread

    place = parse_place(options["place"])
    if place.kind == "rpc":
        raise InputError(
            "--on",
            expected="local, or ssh://user@host",
            found=f"'{place.name}'",
            hint="Boards of a tracker run TVM's code, not onnxruntime; `edgekd profile model` measures it there.",
        )

    files = list(artifacts_of(paths, limits, "latency_us"))
    settings = Settings(threads=options["threads"], max_s=5.0)
    found: dict[Path, Known] = {}
    failed: dict[Path, str] = {}
    if not files:
        return found, failed
    with connect(place) as device:
        for path in files:
            try:
                spread = measure_spread(device, path, settings)
            except DeviceError as error:
                failed[path] = error.found
                continue
            for warning in spread.warnings:
                click.echo(f"warning: {printable(warning)}", err=True)
            found[path] = Known(
                value=spread.median_us,
                low=spread.low_us,
                high=spread.high_us,
                how=f"measured ({spread.runtime}, {spread.runs} runs)",
                source=f"{spread.runtime} on {device.name}",
            )
    return found, failed


def _append_summary(checked: Checked) -> None:
    """Append the Markdown summary to the page of the job, where GitHub says there is one."""
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return
    try:
        with Path(place).open("a", encoding="utf-8") as stream:
            stream.write(to_markdown(checked))
    except OSError as error:
        raise OutputError(
            f"GITHUB_STEP_SUMMARY {place}",
            expected="a file that can be written",
            found=str(error.strerror),
            hint="Unset the variable, or leave --format github out.",
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except ExportError as error:
        raise OutputError(
            f"--junit {path}", expected=error.expected, found=error.found, hint="Choose another place."
        ) from error
