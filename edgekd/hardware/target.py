"""Read the descriptions of the devices that networks are compressed for.

A target says what a device can do; what a network costs on it is in `cost`. Standard library only, until a
file is really read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.errors import TargetError, UnknownNameError
from edgekd.hardware.data import data_folder
from edgekd.records import Processor, Target

if TYPE_CHECKING:
    from edgekd.hardware.schema import ProcessorEntry, TargetFile


def target_names() -> tuple[str, ...]:
    """Return the names of all targets that come with EdgeKD, in alphabetical order."""
    return tuple(sorted(path.stem for path in data_folder("targets").glob("*.toml")))


def load_target(name_or_path: str | Path) -> Target:
    """Return the target of that name, or the one described by a TOML file of the user's own.

    Anything that ends in `.toml` or has a folder in it is taken for a path.

    Raises:
        UnknownNameError: There is no target of that name; the message has the nearest.
        TargetError: The file cannot be read, or one of its keys is wrong; the message names it.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and len(path.parts) == 1:
        known = target_names()
        if str(name_or_path) not in known:
            raise UnknownNameError("--target", str(name_or_path), known)
        path = data_folder("targets") / f"{name_or_path}.toml"
    from edgekd.hardware.schema import TargetFile, read_toml

    content = read_toml(path, TargetFile, TargetError)
    _check_agreement(path, content)
    return Target(
        name=content.name,
        title=content.title,
        processors=tuple(_to_processor(entry) for entry in content.processors),
        artifacts=tuple((entry.precision, entry.processor) for entry in content.artifacts),
        memory_bytes=content.memory_bytes,
        notes=tuple(content.notes),
        sources=tuple(content.sources),
    )


def _to_processor(entry: ProcessorEntry) -> Processor:
    items = sorted(entry.tvm_target.items())
    return Processor(
        kind=entry.kind,
        title=entry.title,
        runtime=entry.runtime,
        fast=tuple(entry.fast),
        runs=tuple(entry.runs),
        channel_multiple=entry.channel_multiple,
        threads=entry.threads,
        tvm_target=tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in items),
        cross_compiler=entry.cross_compiler,
    )


def _check_agreement(path: Path, content: TargetFile) -> None:
    if content.name != path.stem:
        raise TargetError(
            f"{path}, key 'name'",
            expected=f"the file's name, '{path.stem}'",
            found=repr(content.name),
            hint="Rename the file or correct the key.",
        )
    processors = {entry.kind: entry for entry in content.processors}
    if len(processors) != len(content.processors):
        raise TargetError(
            f"{path}, key 'processors'",
            expected="each kind once",
            found=", ".join(entry.kind for entry in content.processors),
            hint="Merge the tables of the same kind.",
        )
    for index, artifact in enumerate(content.artifacts):
        processor = processors.get(artifact.processor)
        if processor is None or artifact.precision not in (*processor.fast, *processor.runs):
            raise TargetError(
                f"{path}, key 'artifacts.{index}'",
                expected="a processor of this file that executes the precision",
                found=f"{artifact.precision} for the {artifact.processor}",
                hint="Add the precision to 'fast' or 'runs' of that processor, or drop the artifact.",
            )
