"""The shape of profile files, and errors that name the key at fault in any file.

Loaded only when a file is read, because pydantic takes a while to import. What a valid file means is left to
`profile`; target files are in `target_schema`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekd.errors import InputError
from edgekd.records import Precision

_Kind = Literal["cpu", "gpu"]
_Text = Annotated[str, Field(min_length=1)]
_Count = Annotated[int, Field(ge=1)]
_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Correlation = Annotated[float, Field(ge=-1, le=1)]
_Range = Annotated[list[_NonNegative], Field(min_length=2, max_length=2)]
_Logs = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2, max_length=2)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ErrorEntry(_Strict):
    """How far predictions were from measurements that the fit had not seen."""

    networks: _Count
    families: _Count
    median_leave_one_out: _NonNegative
    median_leave_family_out: _NonNegative
    spearman_leave_one_out: _Correlation
    spearman_leave_family_out: _Correlation
    interval_log: _Logs
    interval_coverage: _Share
    outside_log: _Logs


class CoverageEntry(_Strict):
    """What the networks of the fit span."""

    gmacs: _Range
    latency_us: _Range
    max_share: dict[str, _Share]


class LatencyEntry(_Strict):
    """The `[latency]` table; coefficients are microseconds for each unit of their feature."""

    form: _Text
    chosen_form: _Text
    median_form_chosen_unseen: _NonNegative
    forms_tried: dict[str, _NonNegative]
    coefficients: dict[str, _NonNegative]
    coverage: CoverageEntry
    error: ErrorEntry


class EnergyEntry(_Strict):
    """The `[energy]` table."""

    includes: _Text
    measured_precision: Precision
    power_w: _NonNegative
    uj_per_gmac: _NonNegative
    uj_per_melement: _NonNegative
    median_given_measured_latency: _NonNegative
    coverage: CoverageEntry
    error: ErrorEntry


class CheckEntry(_Strict):
    """The error on measurements that the fit did not use, raw and after one common factor."""

    data: _Text
    networks: _Count
    median_error: _NonNegative
    factor: Annotated[float, Field(gt=0)]
    median_error_after_factor: _NonNegative
    spearman: _Correlation


class ProfileFile(_Strict):
    """A TOML file in `profiles/<target>/`."""

    schema_version: Literal[2]
    target: _Text
    processor: _Kind
    precision: Precision
    runtime: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    runtime_version: _Text
    threads: _Count | None = None
    preferred: bool
    origin: Literal["fitted"]
    measured_on: _Text
    notes: list[_Text]
    sources: Annotated[list[_Text], Field(min_length=1)]
    latency: LatencyEntry
    energy: EnergyEntry | None = None
    checks: list[CheckEntry] = []


_Model = TypeVar("_Model", bound=BaseModel)


def read_toml(path: Path, model: type[_Model], error: type[InputError]) -> _Model:
    """Return the file's content in the shape of `model`; the first problem raises `error`, naming the key."""
    try:
        return model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as cause:
        raise error(
            str(path), expected="a file that can be read", found=str(cause.strerror), hint="Check the path."
        ) from cause
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise error(
            str(path), expected="TOML in UTF-8", found=f"'{cause}'", hint="Correct the file at that place."
        ) from cause
    except ValidationError as cause:
        problem = cause.errors()[0]
        key = ".".join(str(part) for part in problem["loc"]) or "file"
        message = _describe(problem["type"], problem["msg"], problem["input"])
        raise error(f"{path}, key '{key}'", **message) from cause


def _describe(kind: str, message: str, value: object) -> dict[str, str]:
    if kind == "missing":
        return {
            "expected": "a value",
            "found": "no such key",
            "hint": "Add the key.",
        }
    if kind == "extra_forbidden":
        return {
            "expected": "a known key",
            "found": f"this unknown one (value {value!r})",
            "hint": "Remove it or correct its spelling.",
        }
    return {
        "expected": message.removeprefix("Input should be "),
        "found": repr(value),
        "hint": "Correct the value.",
    }
