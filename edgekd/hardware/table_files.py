"""Write measured tables and read them back: a TOML of provenance and error, a CSV of operators beside it.

A user's own tables lie in a folder of their own, `data.users_profiles`, and replace those that come with EdgeKD.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.errors import ProfileError
from edgekd.hardware.interpolation import KindModel, OperatorList, kind_model
from edgekd.hardware.measured import MeasuredNetwork, MeasuredTable, Rows, TableCheck
from edgekd.hardware.profile import Bounds, Coverage
from edgekd.hardware.table_rows import rows_from_csv, rows_to_csv
from edgekd.store import write_text

if TYPE_CHECKING:
    from edgekd.hardware.table_schema import CheckEntry, TableFile

SCHEMA_VERSION = 1
_AGAIN = "Measure again with `edgekd profile ops`."


def write_table(table: MeasuredTable, folder: Path) -> Path:
    """Write both files under `folder`, each whole or not at all, and return the path of the TOML."""
    path = folder / table.target / f"{table.file_stem}.toml"
    rows = rows_to_csv(table.rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The TOML names the CSV's digest, so a table that was half replaced does not pass for a whole one.
    write_text(path.with_suffix(".csv"), rows)
    write_text(path, "\n".join(_document(table, rows)) + "\n")
    return path


def read_table(path: Path) -> MeasuredTable:
    """Return the table of a TOML file and the CSV beside it.

    Raises:
        ProfileError: One of them cannot be read, is wrong, or is not the other's; the message names key or line.
    """
    from edgekd.hardware.schema import read_toml
    from edgekd.hardware.table_schema import TableFile

    content = read_toml(path, TableFile, ProfileError)
    rows_path = path.with_suffix(".csv")
    try:
        text = rows_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(
            str(rows_path), expected=f"the operators of {path.name}", found=str(error), hint=_AGAIN
        ) from error
    rows = rows_from_csv(rows_path, text)
    _check(path, content, rows, text)
    return MeasuredTable(
        target=content.target,
        processor=content.processor,
        precision=content.precision,
        runtime=content.runtime,
        runtime_version=content.runtime_version,
        threads=content.threads,
        measured_on=content.measured_on,
        measured_at=content.measured_at,
        device=content.device,
        settings=content.settings,
        networks=content.networks,
        overhead_us=content.overhead_us,
        rows=rows,
        kinds=_kinds(content, rows),
        coverage=Coverage(
            gmacs=_pair(content.coverage.gmacs), latency_us=_pair(content.coverage.latency_us), max_share=()
        ),
        check=_to_check(content.check),
        warnings=tuple(content.warnings),
    )


def _check(path: Path, content: TableFile, rows: Rows, text: str) -> None:
    stem = "-".join((content.processor, content.precision, content.runtime, f"{content.threads}t"))
    if (path.parent.name, path.stem) != (content.target, stem):
        raise ProfileError(
            f"{path}, keys 'target', 'processor', 'precision', 'runtime', 'threads'",
            expected=f"what the path says, {path.parent.name}/{path.stem}",
            found=f"{content.target}/{stem}",
            hint="Use the table with the target and settings it was measured for.",
        )
    if len(rows) != content.rows:
        raise ProfileError(
            str(path.with_suffix(".csv")), expected=f"{content.rows} rows", found=str(len(rows)), hint=_AGAIN
        )
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != content.csv_sha256:
        raise ProfileError(
            str(path.with_suffix(".csv")),
            expected=f"the rows that were measured, SHA-256 {content.csv_sha256[:12]}",
            found=f"others, {digest[:12]}",
            hint=_AGAIN,
        )
    kinds = {str(kind) for kind in OperatorList.of(rows.operators).kind}
    if kinds != set(content.kinds):
        raise ProfileError(
            f"{path}, table 'kinds'",
            expected=f"those of the rows, {', '.join(sorted(kinds))}",
            found=", ".join(sorted(content.kinds)),
            hint=_AGAIN,
        )
    low, high = content.check.interval_log
    if not low <= 0 <= high:
        raise ProfileError(
            f"{path}, key 'check.interval_log'", expected="0 between them", found=f"{low}, {high}", hint=_AGAIN
        )


def _kinds(content: TableFile, rows: Rows) -> dict[str, KindModel]:
    found = OperatorList.of(rows.operators)
    return {
        kind: kind_model(
            found.only(found.kind == kind),
            rows.p50_us[found.kind == kind],
            rates_us=tuple(entry.rates_us),
            variance=entry.variance,
            noise=entry.noise,
            lengths=tuple(entry.lengths),
        )
        for kind, entry in content.kinds.items()
    }


def _to_check(entry: CheckEntry) -> TableCheck:
    values = entry.model_dump(exclude={"networks", "interval_log"})
    networks = tuple(MeasuredNetwork(**network.model_dump()) for network in entry.networks)
    return TableCheck(**values, interval_log=_pair(entry.interval_log), networks=networks)


def _pair(values: list[float]) -> Bounds:
    return values[0], values[1]


def _document(table: MeasuredTable, rows: str) -> Iterator[str]:
    yield "# Written by `edgekd profile ops`: what interpolates between the operators in the CSV beside it."
    yield from _entries(
        schema_version=SCHEMA_VERSION,
        origin="measured",
        target=table.target,
        processor=table.processor,
        precision=table.precision,
        runtime=table.runtime,
        runtime_version=table.runtime_version,
        threads=table.threads,
        measured_on=table.measured_on,
        measured_at=table.measured_at,
        networks=table.networks,
        rows=len(table.rows),
        csv_sha256=hashlib.sha256(rows.encode()).hexdigest(),
        overhead_us=table.overhead_us,
        warnings=list(table.warnings),
    )
    yield from _section("device", table.device)
    yield from _section("settings", table.settings)
    yield from _section("coverage", {"gmacs": table.coverage.gmacs, "latency_us": table.coverage.latency_us})
    check = table.check
    yield from _section("check", {name: getattr(check, name) for name in check.__slots__ if name != "networks"})
    for network in check.networks:
        yield from ("", "[[check.networks]]")
        yield from _entries(name=network.name, measured_us=network.measured_us, predicted_us=network.predicted_us)
    for kind, model in sorted(table.kinds.items()):
        names = ("rates_us", "variance", "noise", "lengths")
        yield from _section(f"kinds.{kind}", {name: getattr(model, name) for name in names})


def _section(name: str, values: Mapping[str, object]) -> Iterator[str]:
    yield from ("", f"[{name}]")
    yield from _entries(**values)


def _entries(**values: object) -> Iterator[str]:
    # JSON's strings, numbers and lists are TOML's too.
    return (f"{json.dumps(key)[1:-1]} = {json.dumps(value)}" for key, value in values.items())
