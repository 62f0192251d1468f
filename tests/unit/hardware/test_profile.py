import pytest

from edgekd.errors import ProfileError
from edgekd.hardware.data import data_folder
from edgekd.hardware.profile import load_cost_model


@pytest.fixture
def shipped():
    return (data_folder("profiles") / "rpi4" / "cpu-fp32.toml").read_text(encoding="utf-8")


@pytest.fixture
def altered(tmp_path, shipped):
    def write(old, new):
        assert shipped.count(old) >= 1
        path = tmp_path / "rpi4" / "cpu-fp32.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(shipped.replace(old, new, 1), encoding="utf-8")
        return tmp_path

    return write


def test_what_nobody_measured_is_unknown():
    # The Cortex-A72 has no fp16 arithmetic, and there is no such board.
    assert load_cost_model("rpi4", "cpu", "fp16") is None
    assert load_cost_model("no-such-board", "cpu", "fp32") is None


def test_an_unaltered_copy_is_read_as_the_original(altered):
    folder = altered("schema_version = 1", "schema_version = 1")
    assert load_cost_model("rpi4", "cpu", "fp32", folder=folder) == load_cost_model("rpi4", "cpu", "fp32")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("schema_version = 1", "schema_version = 2", "key 'schema_version'"),
        ("\npower_w = ", "\nwatts = 1.0\npower_w = ", "key 'energy.watts'"),
        ("\npointwise_gmacs = ", "\npointwise_gmacs = -", "key 'latency.coefficients.pointwise_gmacs'"),
        ("\npointwise_gmacs = ", "\nwinograd_gmacs = ", "key 'latency.coefficients'"),
        ("\nspearman_leave_family_out = ", "\n# ", "key 'latency.error.spearman_leave_family_out'"),
        ("\ninterval_log = [-", "\ninterval_log = [", "key 'latency.error.interval_log'"),
        ("\ngmacs = [", "\ngmacs = [1e9, ", "key 'latency.coverage.gmacs'"),
        ('processor = "cpu"', 'processor = "gpu"', "keys 'target', 'processor', 'precision'"),
        ("[latency.coefficients]", "[latency.coefficients", "cpu-fp32.toml"),
    ],
    ids=[
        "other schema",
        "unknown key",
        "negative coefficient",
        "unknown feature",
        "missing field",
        "interval without 0",
        "three bounds",
        "not where it says",
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


def test_bounds_in_the_wrong_order_are_refused(altered, shipped):
    line = next(line for line in shipped.splitlines() if line.startswith("gmacs = "))
    low, high = line.removeprefix("gmacs = [").removesuffix("]").split(", ")
    folder = altered(line, f"gmacs = [{high}, {low}]")
    with pytest.raises(ProfileError, match="two positive numbers, ascending"):
        load_cost_model("rpi4", "cpu", "fp32", folder=folder)
