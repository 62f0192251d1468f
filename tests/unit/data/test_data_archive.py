"""A hostile or damaged zip file is refused before anything of it is used."""

import stat
import zipfile

import pytest

from edgekd.data import archive, load_dataset
from edgekd.errors import DataError


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../cat/9.png", "leads elsewhere"),
        ("cat/../../9.png", "leads elsewhere"),
        ("cat//9.png", "leads elsewhere"),
        ("./cat/9.png", "leads elsewhere"),
        ("/cat/9.png", "absolute or foreign"),
        ("C:/cat/9.png", "absolute or foreign"),
        ("cat\\9.png", "absolute or foreign"),
    ],
)
def test_a_name_that_leaves_the_archive_is_refused(tmp_path, write_zip, two_classes, name, fault):
    path = write_zip(tmp_path / "pets.zip", two_classes | {name: b"x"})
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    assert caught.value.where == str(path)
    assert fault in caught.value.found
    assert "unless you know who made it" in caught.value.hint


@pytest.mark.parametrize(
    ("mode", "fault"),
    [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "not a plain file")],
    ids=["link", "pipe"],
)
def test_links_and_special_files_are_refused(tmp_path, write_zip, two_classes, mode, fault):
    path = write_zip(tmp_path / "pets.zip", two_classes)
    with zipfile.ZipFile(path, "a") as opened:
        info = zipfile.ZipInfo("cat/9.png")
        info.external_attr = (mode | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match=rf"member 'cat/9\.png', which is (a |){fault}"):
        load_dataset(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bz2", "lzma"])
def test_methods_that_inflate_without_a_bound_are_refused(tmp_path, two_classes, method):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w", method) as opened:
        for name, content in two_classes.items():
            opened.writestr(name, content)
    with pytest.raises(DataError, match="compressed by a method other than deflate"):
        load_dataset(tmp_path / "pets.zip")


def test_an_encrypted_member_is_refused(tmp_path, write_zip, two_classes):
    path = write_zip(tmp_path / "pets.zip", two_classes)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 8] |= 1  # general purpose flags of the first central directory entry
    path.write_bytes(content)
    with pytest.raises(DataError, match="which is encrypted"):
        load_dataset(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path, write_zip, two_classes):
    path = write_zip(tmp_path / "pets.zip", two_classes)
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("cat/0.png", b"another")
    with pytest.raises(DataError, match=r"'cat/0\.png', which is there twice"):
        load_dataset(path)


def test_a_zip_bomb_is_refused_by_its_ratio(tmp_path, write_zip, two_classes):
    # Zeros deflate about 1000 to 1: two members of 40 MB exceed the free 64 MiB and the ratio of 100.
    bomb = {f"cat/{index}.bin": bytes(40 * 10**6) for index in range(2)}
    path = write_zip(tmp_path / "pets.zip", two_classes | bomb)
    assert archive.MAX_RATIO * path.stat().st_size < 80 * 10**6
    with pytest.raises(DataError, match="looks like a zip bomb"):
        load_dataset(path)


def test_a_member_larger_than_any_image_is_refused(tmp_path, write_zip, two_classes):
    largest = max(map(len, two_classes.values()))
    path = write_zip(tmp_path / "pets.zip", two_classes | {"dog/2.png": bytes(largest + 1)})
    with pytest.raises(DataError, match=rf"'dog/2\.png', which unpacks to {largest + 1:,} bytes"):
        archive.open_archive(path, max_member_bytes=largest)


@pytest.mark.parametrize("kept", [0.5, 0.95], ids=["half", "without its end"])
def test_a_truncated_zip_is_called_damaged(tmp_path, write_zip, two_classes, kept):
    path = write_zip(tmp_path / "pets.zip", two_classes)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match=r"pets\.zip: expected a whole zip file, found a damaged"):
        load_dataset(path)


def test_a_truncated_part_in_a_folder_is_called_damaged(tmp_path, write_zip, two_classes):
    write_zip(tmp_path / "train.zip", two_classes)
    path = write_zip(tmp_path / "test.zip", two_classes)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"test\.zip: expected a whole zip file"):
        load_dataset(tmp_path)


def test_a_member_whose_checksum_is_wrong_is_named(tmp_path, two_classes):
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as opened:
        for name, content in two_classes.items():
            opened.writestr(name, content)
    content = bytearray(path.read_bytes())
    inside = content.index(two_classes["dog/0.png"]) + 40
    content[inside] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"1 that cannot be decoded: '.*pets\.zip: dog/0\.png' \(Bad CRC-32"):
        load_dataset(path)


def test_nothing_is_written_while_reading(tmp_path, write_zip, two_classes, monkeypatch):
    path = write_zip(tmp_path / "pets.zip", two_classes)
    monkeypatch.chdir(tmp_path)
    load_dataset(path)
    assert list(tmp_path.iterdir()) == [path]
