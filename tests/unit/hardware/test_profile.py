import shutil

import pytest

from edgekd.errors import ProfileError
from edgekd.hardware.cost import load_cost_model
from edgekd.hardware.data import data_folder

NAME = "cpu-fp32-tflite.toml"


@pytest.fixture
def shipped():
    return (data_folder("profiles") / "rpi4" / NAME).read_text(encoding="utf-8")


@pytest.fixture
def altered(tmp_path, shipped):
    def write(old, new, name=NAME):
        assert shipped.count(old) >= 1
        path = tmp_path / "rpi4" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(shipped.replace(old, new, 1), encoding="utf-8")
        return tmp_path

    return write


def test_what_nobody_measured_is_unknown():
    # The Cortex-A72 has no fp16 arithmetic, and there is no such board.
    assert load_cost_model("rpi4", "cpu", "fp16") is None
    assert load_cost_model("no-such-board", "cpu", "fp32") is None


def test_an_unaltered_copy_is_read_as_the_original(altered):
    folder = altered("schema_version = 2", "schema_version = 2")
    assert load_cost_model("rpi4", "cpu", "fp32", folder=folder) == load_cost_model("rpi4", "cpu", "fp32")


def test_without_a_wish_the_preferred_profile_is_loaded():
    model = load_cost_model("rpi4", "cpu", "fp32")
    assert model is not None
    assert model.is_preferred
    assert model.runtime == "tflite"


def test_runtime_and_threads_can_be_asked_for():
    one = load_cost_model("rpi4", "cpu", "fp32", runtime="ncnn", threads=1)
    assert one is not None
    assert (one.runtime, one.threads) == ("ncnn", 1)
    assert load_cost_model("rpi4", "cpu", "fp32", threads=1) == one
    assert load_cost_model("rpi4", "cpu", "fp32", runtime="tensorrt") is None


def test_of_several_that_are_not_preferred_the_one_of_most_threads_is_loaded():
    model = load_cost_model("rpi4", "cpu", "fp32", runtime="ncnn")
    assert model is not None
    assert model.threads == 4


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("schema_version = 2", "schema_version = 1", "key 'schema_version'"),
        ("\npower_w = ", "\nwatts = 1.0\npower_w = ", "key 'energy.watts'"),
        ("\npointwise_gmacs = ", "\npointwise_gmacs = -", "key 'latency.coefficients.pointwise_gmacs'"),
        ("\npointwise_gmacs = ", "\nquick_gmacs = ", "key 'latency.coefficients'"),
        ("\nspearman_leave_family_out = ", "\n# ", "key 'latency.error.spearman_leave_family_out'"),
        ("\ninterval_log = [-", "\ninterval_log = [", "key 'latency.error.interval_log'"),
        ("\ngmacs = [", "\ngmacs = [1e9, ", "key 'latency.coverage.gmacs'"),
        ('form = "linear"', 'form = "cubic"', "key 'latency.form'"),
        ('chosen_form = "linear', 'chosen_form = "cubic', "key 'latency.chosen_form'"),
        ('runtime = "tflite"', 'runtime = "TF Lite"', "key 'runtime'"),
        ("preferred = true", "preferred = 1", "key 'preferred'"),
        ("preferred = true", "preferred = false", "key 'preferred'"),
        ('target = "rpi4"', 'target = "rpi3"', "keys 'target', 'processor'"),
        ('processor = "cpu"', 'processor = "gpu"', "keys 'target', 'processor'"),
        ('runtime = "tflite"', 'runtime = "ncnn"', "keys 'target', 'processor'"),
        ("preferred = true", "threads = 4\npreferred = true", "keys 'target', 'processor'"),
        ("[latency.coefficients]", "[latency.coefficients", NAME),
    ],
    ids=[
        "other schema",
        "unknown key",
        "negative rate",
        "unknown feature",
        "missing field",
        "interval without 0",
        "three bounds",
        "unknown form",
        "form that was not tried",
        "runtime that is no file name",
        "preferred is no truth value",
        "none is preferred",
        "of another target",
        "of another processor",
        "of another runtime",
        "of other threads",
        "not TOML",
    ],
)
def test_a_wrong_profile_is_refused_with_its_place(altered, old, new, place):
    folder = altered(old, new)
    with pytest.raises(ProfileError) as caught:
        load_cost_model("rpi4", "cpu", "fp32", folder=folder)
    assert str(folder) in caught.value.where
    assert place in caught.value.where
    assert caught.value.hint


def test_two_preferred_profiles_are_refused_by_name(altered, tmp_path):
    folder = altered('runtime = "tflite"', 'runtime = "armnn"', name="cpu-fp32-armnn.toml")
    shutil.copy(data_folder("profiles") / "rpi4" / NAME, tmp_path / "rpi4" / NAME)
    with pytest.raises(ProfileError, match="cpu-fp32-armnn, cpu-fp32-tflite") as caught:
        load_cost_model("rpi4", "cpu", "fp32", folder=folder)
    assert "preferred" in caught.value.where


def test_bounds_in_the_wrong_order_are_refused(altered, shipped):
    line = next(line for line in shipped.splitlines() if line.startswith("gmacs = "))
    low, high = line.removeprefix("gmacs = [").removesuffix("]").split(", ")
    folder = altered(line, f"gmacs = [{high}, {low}]")
    with pytest.raises(ProfileError, match="two positive numbers, ascending"):
        load_cost_model("rpi4", "cpu", "fp32", folder=folder)
