"""The shape of the TOML file of a measured table."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgekd.hardware.interpolation import DIMENSIONS, LAW
from edgekd.records import Precision

_Text = Annotated[str, Field(min_length=1)]
_Count = Annotated[int, Field(ge=1)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class KindEntry(_Strict):
    """A `[kinds.NAME]` table; rows and their residuals follow from the CSV."""

    rates_us: Annotated[list[_NonNegative], Field(min_length=len(LAW), max_length=len(LAW))]
    variance: _Positive
    noise: _Positive
    lengths: Annotated[list[_Positive], Field(min_length=len(DIMENSIONS), max_length=len(DIMENSIONS))]


class NetworkEntry(_Strict):
    """One of `[[check.networks]]`."""

    name: _Text
    measured_us: _Positive
    predicted_us: _NonNegative


class CheckEntry(_Strict):
    """The `[check]` table."""

    median_error: _NonNegative
    within_15_percent: _Share
    spearman: Annotated[float, Field(ge=-1, le=1)]
    cross_validation_median: _NonNegative
    interval_log: Annotated[list[_Finite], Field(min_length=2, max_length=2)]
    interval_coverage: _Share
    networks: Annotated[list[NetworkEntry], Field(min_length=1)]


class CoverageEntry(_Strict):
    """The `[coverage]` table: sizes of the networks that the rows come from."""

    gmacs: Annotated[list[_Positive], Field(min_length=2, max_length=2)]
    latency_us: Annotated[list[_Positive], Field(min_length=2, max_length=2)]


class TableFile(_Strict):
    """A TOML file in a folder of tables, `<target>/<processor>-<precision>-<runtime>-<threads>t.toml`."""

    schema_version: Literal[1]
    origin: Literal["measured"]
    target: _Text
    processor: Literal["cpu", "gpu"]
    precision: Precision
    runtime: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    runtime_version: _Text
    threads: _Count
    measured_on: _Text
    measured_at: _Text
    networks: _Count
    rows: _Count
    csv_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    overhead_us: _NonNegative
    warnings: list[_Text]
    device: dict[str, str]
    settings: dict[str, str]
    coverage: CoverageEntry
    check: CheckEntry
    kinds: Annotated[dict[str, KindEntry], Field(min_length=1)]
