"""Finding the labelled files: which parts, classes and samples a folder or a zip file holds.

Folders, zip files and folders of zip files all become one flat list of members first, so that the rules about
parts and classes exist once. No image is opened here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NoReturn

from edgekd.data.archive import damaged, file_kind, open_archive, unreadable
from edgekd.data.images import PART_NAMES
from edgekd.errors import DataError

_PART_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_JUNK_NAMES = {"thumbs.db", "desktop.ini"}
_NOTE_STEMS = {"readme", "license", "licence", "copying", "notice", "citation", "changelog"}
_NOTE_SUFFIXES = {"", ".md", ".txt", ".rst"}
_LAYOUT = "class folders of images, or 'train/', 'val/' and 'test/' with class folders inside"
_MAX_DEPTH = 6
MAX_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file, wherever it lies: its steps below the root, what identifies its contents, and its bytes."""

    steps: tuple[str, ...]
    source: str
    size_bytes: int
    stamp: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One labelled image file. `id` is unique in the data set and free of the place where the data lies."""

    id: str
    label: int
    member: Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Class names in index order, and the samples of each part in the order of their names."""

    classes: tuple[str, ...]
    parts: Mapping[str, tuple[Sample, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    """Files and folders below one root; an empty folder shows in `folders` only."""

    where: str
    files: tuple[Member, ...]
    folders: frozenset[tuple[str, ...]]

    def below(self, name: str) -> _Tree:
        """Return the subtree of the folder `name`, whose steps then start inside it."""
        files = tuple(
            Member(steps=f.steps[1:], source=f.source, size_bytes=f.size_bytes, stamp=f.stamp, read=f.read)
            for f in self.files
            if len(f.steps) > 1 and f.steps[0] == name
        )
        folders = frozenset(steps[1:] for steps in self.folders if len(steps) > 1 and steps[0] == name)
        return _Tree(where=f"{self.where}/{name}", files=files, folders=folders)

    def tops(self) -> list[str]:
        """Return the names of the folders directly below the root."""
        return sorted({steps[0] for steps in self.folders})


def find_samples(path: Path, stack: ExitStack) -> Layout:
    """Return the classes and samples below a folder or in a zip file.

    Zip files stay open for the members' `read` until `stack` is closed.

    Raises:
        DataError: The layout is not that of an image folder; the message names what is in the way.
    """
    is_folder = path.is_dir()
    tree = _merge_part_archives(path, _scan_folder(path), stack) if is_folder else _scan_archive(path, stack)
    roots = _part_roots(_without_wrapping(tree, kept=_PART_FOLDERS))
    classes = {part: _class_names(root) for part, root in roots.items()}
    names = classes["train"]
    for part in roots:
        _require_same_classes(str(path), names, part, classes[part])
    label = {name: index for index, name in enumerate(names)}
    parts = {part: _samples(part, roots[part], label) for part in PART_NAMES if part in roots}
    return Layout(classes=names, parts=parts)


def quoted(names: Iterable[str], *, limit: int = MAX_NAMED) -> str:
    """Return the first names in quotes, and how many more there are."""
    all_names = list(names)
    shown = ", ".join(f"'{name}'" for name in all_names[:limit])
    more = len(all_names) - limit
    return f"{shown} and {more:,} more" if more > 0 else shown


def _is_harmless_folder(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_harmless_file(name: str) -> bool:
    lower = PurePosixPath(name.lower())
    is_note = lower.stem in _NOTE_STEMS and lower.suffix in _NOTE_SUFFIXES
    return name.startswith(".") or lower.name in _JUNK_NAMES or is_note


def _scan_folder(path: Path) -> _Tree:
    files: list[Member] = []
    folders: set[tuple[str, ...]] = set()
    pending: list[tuple[str, ...]] = [()]
    while pending:
        steps = pending.pop()
        if len(steps) > _MAX_DEPTH:  # also what ends a circle of symbolic links
            _refuse(str(path), found=f"folders nested too deep: '{'/'.join(steps)}'")
        try:
            with os.scandir(path.joinpath(*steps)) as entries:
                for entry in entries:
                    below = (*steps, entry.name)
                    if entry.is_dir():
                        if not _is_harmless_folder(entry.name):
                            folders.add(below)
                            pending.append(below)
                    elif not _is_harmless_file(entry.name):
                        files.append(_file_member(entry, below))
        except OSError as error:
            raise unreadable(str(path.joinpath(*steps)), error) from error
    return _Tree(where=str(path), files=tuple(files), folders=frozenset(folders))


def _file_member(entry: os.DirEntry[str], steps: tuple[str, ...]) -> Member:
    if not entry.is_file():
        _refuse(entry.path, found="a broken link or a special file")
    status = entry.stat()
    return Member(
        steps=steps,
        source=entry.path,
        size_bytes=status.st_size,
        stamp=str(status.st_mtime_ns),
        read=Path(entry.path).read_bytes,
    )


def _scan_archive(path: Path, stack: ExitStack) -> _Tree:
    archive = stack.enter_context(open_archive(path))
    modified = path.stat().st_mtime_ns
    files: list[Member] = []
    folders: set[tuple[str, ...]] = set()
    for info in archive.infolist():
        steps = tuple(info.filename.removesuffix("/").split("/"))
        parents = steps if info.is_dir() else steps[:-1]
        if any(_is_harmless_folder(step) for step in parents):
            continue
        if not info.is_dir() and _is_harmless_file(steps[-1]):
            continue
        folders.update(parents[:depth] for depth in range(1, len(parents) + 1))
        if not info.is_dir():
            member = Member(
                steps=steps,
                source=f"{path}: {info.filename}",
                size_bytes=info.file_size,
                stamp=f"{info.CRC:08x}-{modified}",
                read=partial(archive.read, info),
            )
            files.append(member)
    return _Tree(where=str(path), files=tuple(files), folders=frozenset(folders))


def _merge_part_archives(path: Path, tree: _Tree, stack: ExitStack) -> _Tree:
    """Replace `train.zip` and its like by the folders they hold."""
    files: list[Member] = []
    folders = set(tree.folders)
    for member in tree.files:
        name = member.steps[0]
        stem = PurePosixPath(name).stem
        if len(member.steps) > 1 or stem not in _PART_FOLDERS:
            files.append(member)
            continue
        kind = file_kind(path / name)
        if kind == "damaged zip":
            raise damaged(path / name)
        if kind != "zip":
            _refuse(str(path / name), found="a file that is not a zip file")
        if (stem,) in folders:
            _refuse(str(path), found=f"'{stem}' twice, of which '{name}' is one")
        inner = _without_wrapping(_scan_archive(path / name, stack), kept=())
        folders.add((stem,))
        folders.update((stem, *steps) for steps in inner.folders)
        files.extend(
            Member(steps=(stem, *f.steps), source=f.source, size_bytes=f.size_bytes, stamp=f.stamp, read=f.read)
            for f in inner.files
        )
    return _Tree(where=tree.where, files=tuple(files), folders=frozenset(folders))


def _without_wrapping(tree: _Tree, *, kept: Container[str]) -> _Tree:
    """Step into folders that hold everything, such as the one most tools put around what they pack."""
    tops = tree.tops()
    while len(tops) == 1 and tops[0] not in kept and min((len(f.steps) for f in tree.files), default=0) > 2:
        tree = tree.below(tops[0])
        tops = tree.tops()
    return tree


def _part_folders(tree: _Tree) -> list[str]:
    """Return the top folders that are parts, not classes: a class of vehicles may be called train, too."""
    named = [name for name in tree.tops() if name in _PART_FOLDERS]
    if named == tree.tops():
        return named
    with_folders = {steps[0] for steps in tree.folders if len(steps) > 1}
    return [name for name in named if name in with_folders]


def _part_roots(tree: _Tree) -> dict[str, _Tree]:
    stray = [member.source for member in tree.files if len(member.steps) == 1]
    if stray:
        _refuse(tree.where, found=f"files outside of class folders: {quoted(stray)}")
    if not tree.files:
        _refuse(tree.where, found="no images")
    folders = _part_folders(tree)
    if not folders:
        return {"train": tree}
    others = [name for name in tree.tops() if name not in _PART_FOLDERS]
    if others:
        _refuse(tree.where, found=f"{quoted(folders)} beside {quoted(others)}")
    roots: dict[str, _Tree] = {}
    for name in tree.tops():
        part = _PART_FOLDERS[name]
        if part in roots:
            _refuse(tree.where, found="both 'val' and 'validation'")
        roots[part] = tree.below(name)
    if "train" not in roots:
        _refuse(tree.where, found=f"no 'train' beside {quoted(folders)}")
    return roots


def _class_names(root: _Tree) -> tuple[str, ...]:
    stray = [member.source for member in root.files if len(member.steps) == 1]
    if stray:
        _refuse(root.where, found=f"files outside of class folders: {quoted(stray)}")
    nested = [member.source for member in root.files if len(member.steps) > 2]
    if nested:
        _refuse(root.where, found=f"files deeper than a class folder: {quoted(nested)}")
    names = root.tops()
    filled = {member.steps[0] for member in root.files}
    empty = [name for name in names if name not in filled]
    if not filled:
        _refuse(root.where, found="no images")
    if empty:
        _refuse(root.where, found=f"empty class folders: {quoted(empty)}", hint="Fill or delete them.")
    if len(names) < 2:
        _refuse(root.where, found=f"only one class, {quoted(names)}", hint="A classifier needs two or more.")
    return tuple(names)


def _require_same_classes(where: str, names: tuple[str, ...], part: str, found: tuple[str, ...]) -> None:
    missing = sorted(set(names) - set(found))
    extra = sorted(set(found) - set(names))
    if missing or extra:
        told = [f"no {quoted(missing)}"] if missing else []
        told += [f"{quoted(extra)} in addition"] if extra else []
        raise DataError(
            where,
            expected=f"the same class folders in '{part}' as in 'train'",
            found=" and ".join(told),
            hint="Rename the folders so that they agree, or delete the classes that are not everywhere.",
        )


def _samples(part: str, root: _Tree, label: Mapping[str, int]) -> tuple[Sample, ...]:
    members = sorted(root.files, key=lambda member: member.steps)
    return tuple(
        Sample(id="/".join((part, *member.steps)), label=label[member.steps[0]], member=member) for member in members
    )


def _refuse(where: str, *, found: str, hint: str = "Rearrange the files, or move what does not belong.") -> NoReturn:
    raise DataError(where, expected=_LAYOUT, found=found, hint=hint)
