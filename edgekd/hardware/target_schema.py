"""The shape of target files, and which of their keys are facts that need a source.

Loaded only when a file is read, because pydantic takes a while to import. What a valid file means is left to
`target`; profile files are in `schema`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgekd.records import Precision

_Kind = Literal["cpu", "gpu"]
_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[list[_Text], Field(min_length=1)]
_Count = Annotated[int, Field(ge=1)]

# What names a thing or follows from other keys is no fact of its own.
_NAMES = frozenset({"kind", "title"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ArtifactEntry(_Strict):
    """A precision to ship and the processor that runs it."""

    precision: Precision
    processor: _Kind


class CoresEntry(_Strict):
    """Equal cores of one processor."""

    name: _Text
    count: _Count | None = None
    isa: list[_Text] = []


class ProcessorEntry(_Strict):
    """One `[[processors]]` table."""

    kind: _Kind
    title: _Text
    cores: Annotated[list[CoresEntry], Field(min_length=1)]
    runtimes: _Texts
    fast: list[Precision]
    runs: list[Precision]
    channel_multiple: _Count
    thread_counts: Annotated[list[_Count], Field(min_length=1)] | None = None
    compute_capability: Annotated[str, Field(pattern=r"^\d+\.\d$")] | None = None
    launch_floor_us: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    tvm_target: dict[str, str | int | list[str]] = {}
    cross_compiler: _Text | None = None


class SourceEntry(_Strict):
    """One `[[sources]]` table: where the facts that it names come from."""

    facts: _Texts
    cite: _Text
    url: Annotated[str, Field(pattern=r"^https://\S+$")]
    note: _Text | None = None


class TargetFile(_Strict):
    """A file in `targets/`. With `detect`, this machine is read and overrules what the file says of its CPU."""

    schema_version: Literal[2]
    name: _Text
    title: _Text
    detect: bool = False
    memory_bytes: _Count | None = None
    artifacts: Annotated[list[ArtifactEntry], Field(min_length=1)]
    processors: Annotated[list[ProcessorEntry], Field(min_length=1)]
    notes: list[_Text]
    sources: Annotated[list[SourceEntry], Field(min_length=1)]


def facts_of(content: TargetFile) -> tuple[str, ...]:
    """Return the facts that a file states, in its order; each needs a source.

    With `detect`, the memory is one even where the file is silent. The choice of artifacts is EdgeKD's own; a source
    may be given for it all the same.
    """
    states_memory = "memory_bytes" in content.model_fields_set or content.detect
    return (*(("memory_bytes",) if states_memory else ()), *_processor_facts(content))


def _processor_facts(content: TargetFile) -> Iterator[str]:
    for entry in content.processors:
        for key in ProcessorEntry.model_fields:
            if key in entry.model_fields_set and key not in _NAMES:
                yield f"processors.{entry.kind}.{key}"
