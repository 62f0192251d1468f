"""Image folders and zip files of them become the same data set, or an error that says what is wrong."""

import io
import os
import struct
import warnings
import zlib

import pytest
import torch
from PIL import Image

from edgekd.data import load_dataset
from edgekd.data.decode import MAX_PIXELS
from edgekd.errors import DataError


def under(prefix, files):
    return {f"{prefix}/{name}": content for name, content in files.items()}


def test_a_folder_of_class_folders_is_one_training_part(tmp_path, write_folder, two_classes):
    dataset = load_dataset(write_folder(tmp_path / "pets", two_classes))
    images = dataset.parts["train"]
    assert dataset.name == "pets"
    assert dataset.classes == ("cat", "dog")
    assert list(dataset.parts) == ["train"]
    assert images.ids == ("train/cat/0.png", "train/cat/1.png", "train/dog/0.png", "train/dog/1.png")
    assert images.y.tolist() == [0, 0, 1, 1]
    assert images.size == (1, 8, 8)
    assert images.x[:, 0, 0, 0].tolist() == [10, 11, 20, 21]


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_train_val_and_test_folders_become_parts(tmp_path, write_folder, two_classes, validation):
    files = under("train", two_classes) | under(validation, two_classes) | under("test", two_classes)
    dataset = load_dataset(write_folder(tmp_path, files))
    assert list(dataset.parts) == ["train", "validation", "test"]
    assert dataset.parts["validation"].ids[0] == "validation/cat/0.png"
    assert {len(images) for images in dataset.parts.values()} == {4}


@pytest.mark.parametrize("name", ["pets.zip", "pets.bin", "pets"])
def test_a_zip_has_the_digest_of_the_folder_it_was_made_of_whatever_its_suffix(
    tmp_path, write_folder, write_zip, two_classes, name
):
    files = under("train", two_classes) | under("test", two_classes)
    folder = load_dataset(write_folder(tmp_path / "folder", files))
    zipped = load_dataset(write_zip(tmp_path / "zips" / name, files))
    assert zipped.digest == folder.digest
    assert zipped.name == "pets"


@pytest.mark.parametrize("wrapping", ["", "train/", "pets/train/"], ids=["bare", "wrapped", "wrapped twice"])
def test_a_folder_may_hold_one_zip_a_part(tmp_path, write_zip, two_classes, wrapping):
    files = {f"{wrapping}{name}": content for name, content in two_classes.items()}
    write_zip(tmp_path / "train.zip", files)
    write_zip(tmp_path / "test.zip", two_classes)
    (tmp_path / "README.md").write_text("about these files")
    dataset = load_dataset(tmp_path)
    assert list(dataset.parts) == ["train", "test"]
    assert dataset.parts["train"].ids[0] == "train/cat/0.png"


def test_harmless_files_are_passed_over(tmp_path, write_zip, two_classes):
    harmless = {
        "README.md": b"x",
        "LICENSE": b"x",
        ".DS_Store": b"x",
        "cat/.DS_Store": b"x",
        "cat/Thumbs.db": b"x",
    }
    harmless |= {"__MACOSX/cat/._0.png": b"x", ".git/config": b"x"}
    plain = load_dataset(write_zip(tmp_path / "plain.zip", two_classes))
    assert load_dataset(write_zip(tmp_path / "noted.zip", two_classes | harmless)).digest == plain.digest


def test_a_class_may_be_called_train_or_notice(tmp_path, write_folder, encode_image):
    files = {"bus/0.png": encode_image(1), "train/0.png": encode_image(2), "notice/0.png": encode_image(3)}
    assert load_dataset(write_folder(tmp_path, files)).classes == ("bus", "notice", "train")


def test_another_order_or_pixel_gives_another_digest(tmp_path, write_folder, two_classes, encode_image):
    base = load_dataset(write_folder(tmp_path / "a", two_classes)).digest
    pixel = load_dataset(write_folder(tmp_path / "b", two_classes | {"dog/1.png": encode_image(22)})).digest
    renamed = dict(two_classes)
    renamed["dog/2.png"] = renamed.pop("dog/1.png")
    assert len({base, pixel, load_dataset(write_folder(tmp_path / "c", renamed)).digest}) == 3


class TestImages:
    def test_colour_anywhere_makes_all_images_three_channels(self, tmp_path, write_folder, two_classes, encode_image):
        files = two_classes | {"dog/1.png": encode_image((1, 2, 3))}
        images = load_dataset(write_folder(tmp_path, files)).parts["train"]
        assert images.size == (3, 8, 8)
        assert images.x[0, :, 0, 0].tolist() == [10, 10, 10]
        assert images.x[3, :, 0, 0].tolist() == [1, 2, 3]

    def test_the_input_size_decides_the_channels(self, tmp_path, write_folder, two_classes, encode_image):
        # Luma of ITU-R 601: 0.299 * 100 + 0.587 * 200 + 0.114 * 50 = 153.
        files = two_classes | {"dog/1.png": encode_image((100, 200, 50))}
        folder = write_folder(tmp_path, files)
        assert load_dataset(folder, input_size=(1, 8, 8)).parts["train"].x[3, 0, 0, 0].item() == 153
        assert load_dataset(folder, input_size=(3, 8, 8)).parts["train"].size == (3, 8, 8)

    def test_a_wide_image_is_scaled_by_its_height_and_cut_to_its_centre(self, tmp_path, write_folder, two_classes):
        # 32x8 with the outer quarters white: scaled to 8x8 by its height alone, the middle 8 columns stay.
        wide = Image.new("L", (32, 8), 0)
        wide.paste(255, (0, 0, 12, 8))
        wide.paste(255, (20, 0, 32, 8))
        stream = io.BytesIO()
        wide.save(stream, "PNG")
        folder = write_folder(tmp_path, two_classes | {"cat/0.png": stream.getvalue()})
        x = load_dataset(folder, input_size=(1, 8, 8)).parts["train"].x
        assert x[0].max().item() == 0
        smaller = load_dataset(folder, input_size=(1, 4, 8)).parts["train"].x
        assert smaller.shape == (4, 1, 4, 8)
        assert smaller[1].unique().tolist() == [11]

    def test_transparency_is_dropped_and_palettes_resolved(self, tmp_path, write_folder, encode_image):
        palette = Image.new("P", (8, 8), 1)
        palette.putpalette([0, 0, 0, 7, 8, 9])
        stream = io.BytesIO()
        palette.save(stream, "PNG", transparency=b"\x00\x80")
        files = {"a/0.png": stream.getvalue(), "b/0.png": encode_image((4, 5, 6, 0))}
        x = load_dataset(write_folder(tmp_path, files)).parts["train"].x
        assert x[:, :, 3, 3].tolist() == [[7, 8, 9], [4, 5, 6]]

    def test_progress_ends_at_the_number_of_images(self, tmp_path, write_folder, encode_image):
        files = {f"{name}/{index:03}.png": encode_image(1) for name in "ab" for index in range(150)}
        calls = []
        load_dataset(write_folder(tmp_path, files), on_progress=lambda done, total: calls.append((done, total)))
        assert calls[-1] == (300, 300)
        assert calls == sorted(calls)

    def test_large_files_decoded_in_threads_keep_their_order(self, tmp_path, write_folder):
        generator = torch.Generator().manual_seed(0)
        files = {}
        expected = []
        for index in range(6):
            x = torch.randint(0, 256, (160, 160), generator=generator, dtype=torch.uint8)
            stream = io.BytesIO()
            Image.fromarray(x.numpy()).save(stream, "PNG")  # noise does not compress: above 16 KiB a file
            files[f"{'ab'[index // 3]}/{index}.png"] = stream.getvalue()
            expected.append(x)
        assert min(map(len, files.values())) > 16 * 2**10
        images = load_dataset(write_folder(tmp_path, files)).parts["train"]
        assert torch.equal(images.x[:, 0], torch.stack(expected))


def bomb_png(side):
    """Return a PNG that is all header: it claims side x side pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "found"),
        [
            ({"cat/notes.csv": b"a,b"}, "'{root}/cat/notes.csv' (not an image)"),
            ({"labels.csv": b"a,b"}, "files outside of class folders: '{root}/labels.csv'"),
            ({"cat/more/0.png": b"x"}, "files deeper than a class folder: '{root}/cat/more/0.png'"),
            ({"val/a/0.png": b"x"}, "'val' beside 'cat', 'dog'"),
        ],
        ids=["text among images", "stray file", "nested", "parts beside classes"],
    )
    def test_what_does_not_belong_is_named(self, tmp_path, write_folder, two_classes, change, found):
        root = write_folder(tmp_path / "pets", two_classes | change)
        with pytest.raises(DataError) as caught:
            load_dataset(root)
        assert found.format(root=root) in caught.value.found
        assert caught.value.where == str(root)
        assert caught.value.hint

    def test_a_missing_path_is_named(self, tmp_path):
        with pytest.raises(DataError, match=r"missing: expected a folder.*nothing there.*Check the path"):
            load_dataset(tmp_path / "missing")

    @pytest.mark.parametrize("content", [b"", b"PAR1 and so on"], ids=["empty", "parquet"])
    def test_a_file_of_another_kind_is_refused_whatever_its_suffix(self, tmp_path, content):
        (tmp_path / "data.zip").write_bytes(content)
        with pytest.raises(DataError, match=r"data\.zip: expected .* found a file of another kind"):
            load_dataset(tmp_path / "data.zip")

    def test_an_empty_folder_has_no_images(self, tmp_path):
        with pytest.raises(DataError, match="found no images"):
            load_dataset(tmp_path)

    def test_an_empty_class_folder_is_named(self, tmp_path, write_folder, two_classes):
        (tmp_path / "emu").mkdir()
        with pytest.raises(DataError, match="empty class folders: 'emu'"):
            load_dataset(write_folder(tmp_path, two_classes))

    def test_an_empty_class_folder_in_a_zip_is_named(self, tmp_path, write_zip, two_classes):
        with pytest.raises(DataError, match="empty class folders: 'emu'"):
            load_dataset(write_zip(tmp_path / "pets.zip", two_classes | {"emu/": b""}))

    def test_a_single_class_is_refused(self, tmp_path, write_folder, encode_image):
        with pytest.raises(DataError, match="only one class, 'cat'"):
            load_dataset(write_folder(tmp_path, {"cat/0.png": encode_image(1)}))

    def test_classes_that_differ_between_parts_are_named(self, tmp_path, write_folder, two_classes, encode_image):
        test = {"test/cat/0.png": encode_image(1), "test/cow/0.png": encode_image(1)}
        with pytest.raises(DataError) as caught:
            load_dataset(write_folder(tmp_path, under("train", two_classes) | test))
        assert caught.value.expected == "the same class folders in 'test' as in 'train'"
        assert caught.value.found == "no 'dog' and 'cow' in addition"

    def test_a_test_part_alone_is_not_taken_for_training_data(self, tmp_path, write_folder, two_classes):
        with pytest.raises(DataError, match="no 'train' beside 'test'"):
            load_dataset(write_folder(tmp_path, under("test", two_classes)))

    def test_parts_without_class_folders_are_not_taken_for_classes(self, tmp_path, write_folder, encode_image):
        files = {"train/0.png": encode_image(1), "test/0.png": encode_image(1)}
        with pytest.raises(DataError, match="files outside of class folders"):
            load_dataset(write_folder(tmp_path, files))

    @pytest.mark.parametrize("second", ["validation", "train.zip"])
    def test_a_part_given_twice_is_refused(self, tmp_path, write_folder, write_zip, two_classes, second):
        root = write_folder(tmp_path, under("train", two_classes) | under("val", two_classes))
        if second == "train.zip":
            write_zip(root / second, two_classes)
        else:
            write_folder(root, under(second, two_classes))
        with pytest.raises(DataError, match=r"found (both 'val' and 'validation'|'train' twice)"):
            load_dataset(root)

    def test_a_part_that_is_no_zip_is_refused(self, tmp_path, two_classes, write_zip):
        write_zip(tmp_path / "train.zip", two_classes)
        (tmp_path / "test.zip").write_bytes(b"not a zip")
        with pytest.raises(DataError, match=r"test\.zip: .* found a file that is not a zip file"):
            load_dataset(tmp_path)

    def test_a_broken_link_is_named(self, tmp_path, write_folder, two_classes):
        root = write_folder(tmp_path, two_classes)
        (root / "cat" / "2.png").symlink_to(root / "gone.png")
        with pytest.raises(DataError, match=r"cat/2\.png: .* found a broken link"):
            load_dataset(root)

    def test_a_circle_of_links_ends(self, tmp_path, write_folder, two_classes):
        root = write_folder(tmp_path, two_classes)
        (root / "cat" / "again").symlink_to(root)
        with pytest.raises(DataError, match="nested too deep"):
            load_dataset(root)

    def test_an_unreadable_folder_is_named(self, tmp_path, write_folder, two_classes, monkeypatch):
        root = write_folder(tmp_path, two_classes)

        def refuse(path):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match="expected a readable file or folder, found Permission denied"):
            load_dataset(root)

    def test_truncated_images_inside_a_zip_are_named_five_at_most_with_their_count(
        self, tmp_path, write_zip, two_classes, encode_image
    ):
        whole = encode_image((200, 10, 10), size=(64, 64), kind="JPEG")
        cut = {f"cat/cut{index}.jpg": whole[: len(whole) // 2] for index in range(7)}
        path = write_zip(tmp_path / "pets.zip", two_classes | cut)
        with pytest.raises(DataError) as caught:
            load_dataset(path, input_size=(3, 8, 8))
        assert caught.value.expected == "11 files that are images"
        assert caught.value.found.startswith(f"7 that cannot be decoded: '{path}: cat/cut0.jpg' (")
        assert "cut4.jpg" in caught.value.found
        assert "cut5.jpg" not in caught.value.found
        assert caught.value.found.endswith(" and 2 more")

    def test_images_of_several_sizes_need_an_input_size(self, tmp_path, write_folder, two_classes, encode_image):
        root = write_folder(tmp_path, two_classes | {"dog/1.png": encode_image(1, size=(9, 7))})
        with pytest.raises(DataError) as caught:
            load_dataset(root)
        assert caught.value.expected == "images of one size, 8x8 as the first"
        assert caught.value.found == f"1 of another size: '{root}/dog/1.png' (9x7)"
        assert load_dataset(root, input_size=(1, 8, 8)).parts["train"].size == (1, 8, 8)

    # Pillow warns above 89 million pixels and refuses twice that; below, the limit is ours.
    @pytest.mark.parametrize("side", [int(MAX_PIXELS**0.5) + 1, 10_000, 20_000, 2**31 - 1])
    def test_an_image_that_claims_too_many_pixels_is_not_decoded(self, tmp_path, write_folder, two_classes, side):
        root = write_folder(tmp_path, two_classes | {"cat/0.png": bomb_png(side)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with pytest.raises(DataError, match=r"1 that cannot be decoded: '.*cat/0\.png'.*pixels"):
                load_dataset(root, input_size=(1, 8, 8))

    def test_sixteen_bit_images_are_refused(self, tmp_path, write_folder, two_classes):
        stream = io.BytesIO()
        Image.new("I;16", (8, 8), 40_000).save(stream, "PNG")
        root = write_folder(tmp_path, two_classes | {"cat/0.png": stream.getvalue()})
        with pytest.raises(DataError, match=r"cat/0\.png' \(more than 8 bits a channel\)"):
            load_dataset(root)

    @pytest.mark.parametrize("input_size", [(2, 8, 8), (3, 0, 8), (3, 8)])
    def test_an_impossible_input_size_is_refused(self, tmp_path, input_size):
        with pytest.raises(DataError, match="input size: expected 1 or 3 channels"):
            load_dataset(tmp_path, input_size=input_size)
