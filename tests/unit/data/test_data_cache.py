"""Decoded images are kept on disk and used again only while they are what the files would give."""

import os

import pytest
import torch

from edgekd.data import load_dataset
from edgekd.errors import OutputError


@pytest.fixture
def pets(tmp_path, write_folder, two_classes):
    files = {f"{part}/{name}": content for part in ("train", "test") for name, content in two_classes.items()}
    return write_folder(tmp_path / "pets", files)


@pytest.fixture
def load(tmp_path):
    """Return a function that loads with a cache, and tells whether images were decoded."""

    def load(path, **settings):
        calls = []
        dataset = load_dataset(
            path, cache_dir=tmp_path / "cache", on_progress=lambda *call: calls.append(call), **settings
        )
        return dataset, bool(calls)

    return load


def test_the_second_load_decodes_nothing_and_gives_the_same(pets, load):
    first, is_first_decoded = load(pets)
    second, is_second_decoded = load(pets)
    assert (is_first_decoded, is_second_decoded) == (True, False)
    assert second.digest == first.digest
    assert second.classes == first.classes
    assert list(second.parts) == ["train", "test"]
    for part, images in first.parts.items():
        assert torch.equal(second.parts[part].x, images.x)
        assert torch.equal(second.parts[part].y, images.y)
        assert second.parts[part].ids == images.ids


def test_one_file_remains_in_the_cache_folder(pets, load, tmp_path):
    load(pets)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".safetensors"]


def test_another_input_size_has_a_cache_of_its_own(pets, load):
    load(pets)
    resized, is_decoded = load(pets, input_size=(3, 4, 4))
    assert is_decoded
    assert resized.size == (3, 4, 4)
    assert load(pets)[0].size == (1, 8, 8)


def test_a_changed_file_is_decoded_again(pets, load, encode_image):
    changed = pets / "train" / "cat" / "0.png"
    before = changed.stat()
    load(pets)
    changed.write_bytes(encode_image(99))
    # As coarse a clock as there may be: the same size, one nanosecond later.
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    dataset, is_decoded = load(pets)
    assert is_decoded
    assert dataset.parts["train"].x[0, 0, 0, 0].item() == 99


def test_a_renamed_file_is_decoded_again(pets, load):
    load(pets)
    (pets / "train" / "cat" / "0.png").rename(pets / "train" / "cat" / "5.png")
    assert load(pets)[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not a cache",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content.replace(b"train/cat/0.png", b"train/cat/9.png"),
        lambda content: content.replace(b'about"', b'abaut"'),
    ],
    ids=["empty", "other", "truncated", "one bit", "another id", "no description"],
)
def test_a_damaged_cache_is_rebuilt(pets, load, tmp_path, damage):
    first, _ = load(pets)
    (kept,) = (tmp_path / "cache").iterdir()
    whole = kept.read_bytes()
    assert damage(whole) != whole
    kept.write_bytes(damage(whole))
    again, is_decoded = load(pets)
    assert is_decoded
    assert again.digest == first.digest
    assert not load(pets)[1]


def test_a_cache_folder_that_cannot_be_written_is_named(pets, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file: expected a folder to keep decoded images in.*another folder"):
        load_dataset(pets, cache_dir=tmp_path / "file")


def test_a_failed_write_leaves_nothing_behind(pets, tmp_path, monkeypatch):
    def fail(tensors, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgekd.data.cache.save_file", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        load_dataset(pets, cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
