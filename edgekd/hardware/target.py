"""Read the descriptions of the devices that networks are compressed for.

A target says what a device can do; what a network costs on it is in `cost`. Standard library only, until a
file is really read.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.errors import TargetError, UnknownNameError
from edgekd.hardware.data import data_folder, users_profiles
from edgekd.records import Cores, Processor, Source, Target

if TYPE_CHECKING:
    from edgekd.hardware.target_schema import ProcessorEntry, TargetFile


def target_names() -> tuple[str, ...]:
    """Return the names of all targets that come with EdgeKD, in alphabetical order."""
    return tuple(sorted(path.stem for path in data_folder("targets").glob("*.toml")))


def profile_count(name: str) -> int:
    """Return how many tables there are to predict the target's costs from: EdgeKD's and the user's own."""
    return sum(len(list((folder / name).glob("*.toml"))) for folder in (data_folder("profiles"), users_profiles()))


def load_target(name_or_path: str | Path) -> Target:
    """Return the target of that name, or the one described by a TOML file of the user's own.

    Anything that ends in `.toml` or has a folder in it is taken for a path. A file with `detect = true` describes
    this machine: what it tells about itself overrules the file.

    Raises:
        UnknownNameError: There is no target of that name; the message has the nearest.
        TargetError: The file cannot be read, one of its keys is wrong, or a fact has no source; the message names it.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and len(path.parts) == 1:
        known = target_names()
        if str(name_or_path) not in known:
            raise UnknownNameError("--target", str(name_or_path), known)
        path = data_folder("targets") / f"{name_or_path}.toml"
    return read_target(path)


def read_target(path: Path) -> Target:
    """Return the target that a TOML file describes.

    Raises:
        TargetError: As of `load_target`.
    """
    from edgekd.hardware.schema import read_toml
    from edgekd.hardware.target_schema import TargetFile

    content = read_toml(path, TargetFile, TargetError)
    _check_agreement(path, content)
    _check_artifacts(path, content)
    _check_processors(path, content)
    _check_sources(path, content)
    target = _to_target(content)
    if not content.detect:
        return target
    from edgekd.hardware.host import as_detected, read_machine

    return as_detected(target, read_machine())


def _to_target(content: TargetFile) -> Target:
    return Target(
        name=content.name,
        title=content.title,
        processors=tuple(_to_processor(entry) for entry in content.processors),
        artifacts=tuple((entry.precision, entry.processor) for entry in content.artifacts),
        memory_bytes=content.memory_bytes,
        notes=tuple(content.notes),
        sources=tuple(
            Source(facts=tuple(entry.facts), cite=entry.cite, url=entry.url, note=entry.note)
            for entry in content.sources
        ),
    )


def _to_processor(entry: ProcessorEntry) -> Processor:
    items = sorted(entry.tvm_target.items())
    return Processor(
        kind=entry.kind,
        title=entry.title,
        cores=tuple(Cores(name=each.name, count=each.count, isa=tuple(each.isa)) for each in entry.cores),
        runtimes=tuple(entry.runtimes),
        fast=tuple(entry.fast),
        runs=tuple(entry.runs),
        channel_multiple=entry.channel_multiple,
        thread_counts=tuple(entry.thread_counts or ()),
        compute_capability=entry.compute_capability,
        launch_floor_us=entry.launch_floor_us,
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
    if content.detect and "cpu" not in processors:
        raise TargetError(
            f"{path}, key 'detect'",
            expected="a processor of kind 'cpu', which is what can be detected",
            found=", ".join(processors),
            hint="Add its table, or leave 'detect' out.",
        )


def _check_artifacts(path: Path, content: TargetFile) -> None:
    processors = {entry.kind: entry for entry in content.processors}
    for index, artifact in enumerate(content.artifacts):
        processor = processors.get(artifact.processor)
        if processor is None or artifact.precision not in (*processor.fast, *processor.runs):
            raise TargetError(
                f"{path}, key 'artifacts.{index}'",
                expected="a processor of this file that executes the precision",
                found=f"{artifact.precision} for the {artifact.processor}",
                hint="Add the precision to 'fast' or 'runs' of that processor, or drop the artifact.",
            )
        # A run names its files by their precision.
        if artifact.precision in [earlier.precision for earlier in content.artifacts[:index]]:
            raise TargetError(
                f"{path}, key 'artifacts.{index}'",
                expected="each precision once",
                found=f"{artifact.precision} again",
                hint="Keep the one to deploy: the same file runs on both processors.",
            )


def _check_processors(path: Path, content: TargetFile) -> None:
    for index, entry in enumerate(content.processors):
        twice = [precision for precision in entry.fast if precision in entry.runs]
        if twice:
            raise TargetError(
                f"{path}, key 'processors.{index}.runs'",
                expected="precisions that are not in 'fast'",
                found=", ".join(twice),
                hint="Keep each precision in one of the two lists.",
            )
        counts = [each.count for each in entry.cores if each.count is not None]
        most = max(entry.thread_counts or [0])
        if len(counts) == len(entry.cores) and most > sum(counts):
            raise TargetError(
                f"{path}, key 'processors.{index}.thread_counts'",
                expected=f"at most one thread a core, {sum(counts)}",
                found=str(most),
                hint="Correct the thread counts or the cores.",
            )


def _check_sources(path: Path, content: TargetFile) -> None:
    """Every fact has a source, and every source is of a fact that is there."""
    from edgekd.hardware.target_schema import facts_of

    stated = facts_of(content)
    for index, source in enumerate(content.sources):
        for fact in source.facts:
            if fact != "artifacts" and fact not in stated:
                near = difflib.get_close_matches(fact, stated, n=1, cutoff=0.5)
                suggestion = f"Did you mean '{near[0]}'? " if near else ""
                raise TargetError(
                    f"{path}, key 'sources.{index}.facts'",
                    expected="facts that this file states",
                    found=repr(fact),
                    hint=f"{suggestion}Facts here: {', '.join(stated)}.",
                )
    sourced = {fact for source in content.sources for fact in source.facts}
    for fact in stated:
        if fact not in sourced:
            raise TargetError(
                f"{path}, key '{fact}'",
                expected="a source that names it among its facts",
                found="none",
                hint="Add the fact to a [[sources]] table with 'cite' and 'url', or remove the key: what is not "
                "known stays out.",
            )
