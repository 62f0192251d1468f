from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.checks.baseline import Tolerance
from edgekd.checks.config import find_config, parse_tolerances, read_config
from edgekd.errors import InputError, UnknownNameError


def _write(folder: Path, text: str) -> Path:
    path = folder / "edgekd.toml"
    path.write_text(text)
    return path


def test_the_nearest_file_up_to_the_root_of_the_repository_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "repository" / "models" / "small"
    inner.mkdir(parents=True)
    _write(tmp_path, "")
    (tmp_path / "repository" / ".git").mkdir()
    assert find_config(inner) is None  # the one above the repository is not its own
    of_the_root = _write(tmp_path / "repository", "")
    assert find_config(inner) == of_the_root
    nearer = _write(inner.parent, "")
    assert find_config(inner) == nearer


def test_everything_the_table_can_say_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    (tmp_path / "b.onnx").touch()
    config = read_config(
        _write(
            tmp_path,
            """
            [check]
            paths = ["*.onnx", "gone/*.onnx"]
            target = "rpi4"
            baseline = "baseline/report.json"
            max_size = "250KB"
            min_accuracy = 0.92
            max_opset = 17
            max_memory = "2MB"
            tolerance = { latency = "5%, 100us", memory = "2%, 4KB" }

            [check.artifacts."*.fp16.onnx"]
            max_size = "500KB"
            """,
        )
    )
    assert config.paths == (tmp_path / "a.onnx", tmp_path / "b.onnx", tmp_path / "gone" / "*.onnx")
    assert config.target == "rpi4"
    assert config.baseline == tmp_path / "baseline" / "report.json"
    assert config.tolerances == {
        "latency_us": Tolerance(relative=0.05, absolute=100.0),
        "memory_bytes": Tolerance(relative=0.02, absolute=4000.0),
    }
    limits = {(limit.quantity, limit.files): (limit.limit, limit.origin) for limit in config.limits}
    assert limits == {
        ("size_bytes", None): (250_000, "edgekd.toml, check.max_size"),
        ("accuracy", None): (0.92, "edgekd.toml, check.min_accuracy"),
        ("opset", None): (17, "edgekd.toml, check.max_opset"),
        ("memory_bytes", None): (2_000_000, "edgekd.toml, check.max_memory"),
        ("size_bytes", "*.fp16.onnx"): (500_000, 'edgekd.toml, check.artifacts."*.fp16.onnx".max_size'),
    }


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'max_size'"):
        read_config(_write(tmp_path, '[check]\nmaxsize = "1KB"'))
    with pytest.raises(UnknownNameError, match="Did you mean 'max_macs'"):
        read_config(_write(tmp_path, '[check.artifacts."*"]\nmax_mac = 1'))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[check", "edgekd.toml"),
        ("check = 1", "check"),
        ('[check]\nmax_size = "5 apples"', "check.max_size"),
        ("[check]\nmax_size = true", "check.max_size"),
        ('[check]\nmax_latency = "3"', "check.max_latency"),
        ("[check]\nmin_accuracy = 92", "check.min_accuracy"),
        ('[check]\npaths = "x"', "check.paths"),
        ('[check]\npaths = ["/etc/*"]', "check.paths"),
        ('[check]\ntolerance = { latency = "5%" }', "check.tolerance"),
        ("[check.artifacts]\nx = 1", 'check.artifacts."x"'),
    ],
)
def test_a_value_that_cannot_be_used_names_its_place(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(InputError) as caught:
        read_config(_write(tmp_path, text))
    assert caught.value.where.endswith(place)


def test_a_tolerance_names_a_quantity_that_is_known() -> None:
    assert parse_tolerances(["size=1%,2KB"], "--tolerance") == {"size_bytes": Tolerance(relative=0.01, absolute=2000)}
    with pytest.raises(UnknownNameError, match="Did you mean 'latency'"):
        parse_tolerances(["latencies=5%,1us"], "--tolerance")
