from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekd.errors import ArtifactError, ExportError, OutputError
from edgekd.store import RunFolder, create_run, file_digest, read_json, write_json, write_text, written_whole


def test_a_file_appears_only_when_its_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with written_whole(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent  # beside it, so that the move is one step
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_whoever_reads_the_old_file_goes_on_reading_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with path.open() as reader:
        write_text(path, "newer")
        assert reader.read() == "old"
    assert path.read_text() == "newer"


@pytest.mark.parametrize("error", [ValueError("ours"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize("old", [None, "old"], ids=["no file before", "a file before"])
def test_a_block_that_fails_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, error: BaseException, old: str | None
) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)
    with pytest.raises(type(error)), written_whole(path) as temporary:  # noqa: PT012  # both belong to the block
        temporary.write_text("half")
        raise error
    assert [p.read_text() for p in tmp_path.iterdir()] == ([old] if old is not None else [])


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let no file grow beyond 1 KB, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_told_by_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ExportError) as caught:
        write_text(path, "x" * 2000)
    error = caught.value
    assert (error.where, error.expected, error.exit_code) == (str(path), "room for the file", 4)
    assert "--resume" in error.hint
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="a place that can be written"):
        write_text(tmp_path / "file" / "x.txt", "text")


@dataclass(frozen=True)
class Point:
    x: int
    names: tuple[str, ...]


@pytest.mark.parametrize(
    ("value", "plain"),
    [(Point(1, ("a", "b")), {"x": 1, "names": ["a", "b"]}), ({"ü": [None, 1.5]}, {"ü": [None, 1.5]})],
    ids=["a record", "plain"],
)
def test_json_is_read_back_as_it_was_written(tmp_path: Path, value: object, plain: object) -> None:
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == plain
    assert (tmp_path / "value.json").read_text().endswith("}\n")


def _write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    "prepare",
    [lambda _path: None, _write(b""), _write(b'{"a": 1'), _write(b"\xff\xfe\x00"), lambda path: path.mkdir()],
    ids=["missing", "empty", "cut", "no text", "a folder"],
)
def test_json_that_cannot_be_read_is_refused_by_name(tmp_path: Path, prepare: Callable[[Path], object]) -> None:
    path = tmp_path / "value.json"
    prepare(path)
    with pytest.raises(ArtifactError, match="a JSON file") as caught:
        read_json(path)
    assert caught.value.where == str(path)
    assert caught.value.hint


def test_a_run_folder_is_made_with_its_parents_and_is_empty(tmp_path: Path) -> None:
    run = create_run(tmp_path / "runs" / "first")
    assert run.root.is_dir()
    assert list(run.root.iterdir()) == []
    assert create_run(run.root) == run


def test_the_layout_of_a_run_is_the_documented_one() -> None:
    run = RunFolder(Path("run"))
    names = [run.artifacts, run.search, run.student, run.report, run.manifest, run.journal]
    assert [str(path.relative_to("run")) for path in names] == [
        "artifacts",
        "search",
        "student",
        "report",
        "manifest.json",
        "journal.jsonl",
    ]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_run_folder_that_cannot_be_made_names_the_place_and_the_option(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError, match="a folder that can be written") as caught:
        create_run(tmp_path / place)
    assert caught.value.where == str(tmp_path / place)
    assert "--run" in caught.value.hint
    assert (tmp_path / "file").read_text() == "kept"


def test_the_digest_is_the_sha_256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"edge" * 100_000)
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"edge" * 100_000).hexdigest()


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    write_text(tmp_path / "text", "± µs")
    assert (tmp_path / "text").read_bytes() == "± µs".encode()
    write_json(tmp_path / "json", {"a": "±"})
    assert json.loads((tmp_path / "json").read_bytes()) == {"a": "±"}
