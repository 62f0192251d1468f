"""report.json and the files beside it: written whole or not at all, read with every field checked."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from edgekd.errors import ArtifactError
from edgekd.records import Report
from edgekd.report.decode import decode, read_object
from edgekd.report.render import render_html, render_markdown
from edgekd.store import RunFolder, write_text

SCHEMA_VERSION = 3
# 1 knew accuracy alone, so its metrics do not say which they are; 2 knew neither the memory of
# activations nor the deployment.
_READ = (1, 2, 3)
_HINT = "Make the report again with the EdgeKD that reads it; do not edit it by hand."
_RUN_FILES = ("recipe.toml", "manifest.json", "journal.jsonl", "artifacts", "student", "search")


def report_to_json(report: Report) -> str:
    """Return canonical JSON: fields in alphabetical order, ASCII only, equal reports give equal bytes."""
    return json.dumps(dataclasses.asdict(report), indent=2, sort_keys=True, allow_nan=False) + "\n"


def report_from_json(text: str, where: str) -> Report:
    """Return the report in the text of a report.json.

    Args:
        text: The contents of the file.
        where: The file, for messages.

    Raises:
        ArtifactError: It is not a report of the schema version read here, or a field is missing, unknown, of
            the wrong type or impossible.
    """
    fields = read_object(text, where, _HINT)
    version = fields.get("schema_version")
    if type(version) is not int or version not in _READ:
        found = repr(version) if "schema_version" in fields else "none"
        expected = f"schema_version {', '.join(map(str, _READ[:-1]))} or {_READ[-1]}"
        raise ArtifactError(where, expected=expected, found=found, hint=_HINT)
    return dataclasses.replace(decode(Report, fields, where, _HINT), schema_version=SCHEMA_VERSION)


def read_report(run_or_file: Path) -> Report:
    """Return the report of a run folder, of its `report/` folder, or in a report.json itself.

    Raises:
        ArtifactError: There is no report; the message lists what the run lacks and has.
    """
    path = run_or_file
    try:
        path = _report_path(path) if path.is_dir() else path
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ArtifactError(
            str(path),
            expected="a report.json, or a run folder that holds one",
            found=_reason(error),
            hint="Give the folder that `edgekd compress --run` wrote.",
        ) from error
    return report_from_json(text, str(path))


def _report_path(folder: Path) -> Path:
    """Return where the report.json of a run folder, or of its `report/` folder, is.

    Raises:
        ArtifactError: It is in neither place.
    """
    for path in (RunFolder(folder).report / "report.json", folder / "report.json"):
        if path.is_file():
            return path
    present = [name for name in _RUN_FILES if (folder / name).exists()]
    if present:
        found = f"a run without one (it has {', '.join(present)})"
        hint = f"The run did not finish: go on with `edgekd compress ... --run {folder} --resume`."
    else:
        found, hint = "a folder that is no run", "Give the folder that `edgekd compress --run` wrote."
    raise ArtifactError(str(folder), expected="report/report.json in it", found=found, hint=hint)


def write_report(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write report.html, report.md and report.json into a folder and return their paths.

    All three are rendered before the first is written, and report.json comes last: where it is new, the
    others are.

    Raises:
        ExportError: The folder cannot be written.
    """
    texts = {
        folder / "report.html": render_html(report),
        folder / "report.md": render_markdown(report),
        folder / "report.json": report_to_json(report),
    }
    for path, text in texts.items():
        write_text(path, text)
    return tuple(texts)


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or str(error)
