"""Arrays in .npz files: every accepted form, and a remedy for every refused one."""

import io
import zipfile

import numpy as np
import pytest

from edgekd.data import load_dataset
from edgekd.errors import DataError

Y = np.array([0, 1, 2, 0, 1, 2])


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (len(Y), *shape), dtype=np.uint8)


def save(tmp_path, **arrays):
    path = tmp_path / "digits.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_x_and_y_are_one_training_part(tmp_path, pack):
    x = images(5, 4)
    pack(tmp_path / "digits.npz", x=x, y=Y)
    dataset = load_dataset(tmp_path / "digits.npz")
    assert dataset.name == "digits"
    assert dataset.classes == ("0", "1", "2")
    assert dataset.size == (1, 5, 4)
    assert np.array_equal(dataset.parts["train"].x[:, 0].numpy(), x)
    assert dataset.parts["train"].y.tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("shape", "to_nchw"),
    [
        ((5, 4, 3), (0, 3, 1, 2)),
        ((3, 5, 4), (0, 1, 2, 3)),
        ((5, 4, 1), (0, 3, 1, 2)),
        ((1, 5, 4), (0, 1, 2, 3)),
    ],
    ids=["NHWC", "NCHW", "NHW1", "N1HW"],
)
def test_the_channel_axis_is_found(tmp_path, shape, to_nchw):
    x = images(*shape)
    dataset = load_dataset(save(tmp_path, x=x, y=Y))
    assert np.array_equal(dataset.parts["train"].x.numpy(), x.transpose(to_nchw))


def test_the_three_parts_are_found(tmp_path):
    arrays = {f"x_{part}": images(4, 4, seed=seed) for seed, part in enumerate(("train", "val", "test"))}
    arrays |= {f"y_{part}": Y for part in ("train", "val", "test")}
    dataset = load_dataset(save(tmp_path, **arrays))
    assert list(dataset.parts) == ["train", "validation", "test"]
    assert np.array_equal(dataset.parts["validation"].x[:, 0].numpy(), arrays["x_val"])


def test_an_npz_is_recognized_under_any_suffix(tmp_path):
    path = save(tmp_path, x=images(4, 4), y=Y).rename(tmp_path / "digits.dat")
    assert load_dataset(path).size == (1, 4, 4)


def test_an_input_size_scales_and_changes_channels(tmp_path):
    x = np.full((6, 4, 4), 77, dtype=np.uint8)
    dataset = load_dataset(save(tmp_path, x=x, y=Y), input_size=(3, 8, 6))
    assert dataset.parts["train"].x.shape == (6, 3, 8, 6)
    assert dataset.parts["train"].x.unique().tolist() == [77]


FLOATS = np.linspace(0, 1, 6 * 16).reshape(6, 4, 4)
WITH_NAN = np.where(FLOATS > 0.5, np.nan, FLOATS)


@pytest.mark.parametrize(
    ("arrays", "where", "hint"),
    [
        ({"x": FLOATS, "y": Y}, "x", r"Save \(x \* 255\)\.round\(\)\.astype\(numpy\.uint8\)"),
        ({"x": FLOATS * 16, "y": Y}, "x", "Scale x to 0..255"),
        ({"x": WITH_NAN, "y": Y}, "x", "Remove the images that hold NaN"),
        ({"x": images(4, 4).astype(np.int64), "y": Y}, "x", "astype"),
        ({"x": images(16).reshape(6, 16), "y": Y}, "x", "first axis"),
        ({"x": images(4, 4, 4), "y": Y}, "x", "alpha"),
        ({"x": images(3, 4, 3), "y": Y}, "x", "grayscale"),
        ({"x": images(4, 4), "y": Y[:5] * 0 + [0, 1, 2, 0, 1]}, "y", "again"),
        ({"x": images(4, 4), "y": Y.astype(float)}, "y", "astype"),
        ({"x": images(4, 4), "y": Y[:, None]}, "y", "reshape"),
        ({"x": images(4, 4), "y": Y - 1}, "y", "unique"),
        ({"x": images(4, 4), "y": Y + 1}, "y", "unique"),
        ({"x": images(4, 4), "y": Y + 2**40}, "y", "unique"),
        ({"x": images(4, 4), "y": Y * 0}, "y", "unique"),
    ],
    ids=[
        "float in 0..1",
        "float in 0..16",
        "NaN",
        "int64 pixels",
        "flat images",
        "four channels",
        "two channel axes",
        "lengths differ",
        "float labels",
        "labels as a column",
        "negative label",
        "labels from 1",
        "absurd label",
        "one class",
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_a_remedy(tmp_path, arrays, where, hint):
    path = save(tmp_path, **arrays)
    with pytest.raises(DataError, match=hint) as caught:
        load_dataset(path)
    assert caught.value.where == f"{path}: {where}"
    assert caught.value.exit_code == 2


def test_nan_is_named(tmp_path):
    with pytest.raises(DataError, match=r"float64 \[6, 4, 4\] with NaN"):
        load_dataset(save(tmp_path, x=WITH_NAN, y=Y))


def test_a_class_that_is_missing_from_the_test_part_is_named(tmp_path):
    path = save(tmp_path, x_train=images(4, 4), y_train=Y, x_test=images(4, 4), y_test=Y % 2)
    with pytest.raises(DataError, match=r"y_test: expected every class index from 0 to 2.* found '2' missing"):
        load_dataset(path)


def test_parts_of_different_sizes_need_an_input_size(tmp_path):
    path = save(tmp_path, x_train=images(4, 4), y_train=Y, x_test=images(5, 5), y_test=Y)
    with pytest.raises(DataError, match=r"x_test: expected .* \[1, 4, 4\] .* found \[1, 5, 5\]"):
        load_dataset(path)
    assert load_dataset(path, input_size=(1, 4, 4)).parts["test"].size == (1, 4, 4)


@pytest.mark.parametrize("names", [("a", "b"), ("x", "y", "z"), ("x_test", "y_test"), ("x_train", "x_test")])
def test_unknown_or_missing_names_are_listed(tmp_path, names):
    path = save(tmp_path, **dict.fromkeys(names, Y))
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    assert all(f"'{name}'" in caught.value.found for name in names)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_object_arrays_are_refused_and_not_unpickled(tmp_path):
    path = save(tmp_path, x=np.array([Bomb(tmp_path / "ran")], dtype=object), y=Y)
    with pytest.raises(DataError, match="found an array of pickled Python objects"):
        load_dataset(path)
    assert not (tmp_path / "ran").exists()


def test_a_header_that_announces_more_than_there_is_is_refused_before_allocating(tmp_path):
    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**15, 8, 8)}
    np.lib.format.write_array_header_1_0(stream, header)
    path = tmp_path / "digits.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", stream.getvalue() + bytes(64))
        archive.writestr("y.npy", b"")
    with pytest.raises(DataError, match=rf"x: expected a numpy array.*announces {64 * 10**15:,} bytes before 64"):
        load_dataset(path)


def test_a_member_that_is_no_array_is_named(tmp_path):
    path = tmp_path / "digits.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"nonsense, and more of it")
    with pytest.raises(DataError, match=r"digits\.npz: x: expected a numpy array"):
        load_dataset(path)
