"""What several folders of tests share: a trained teacher, and one finished run of it."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest
from digits import Digits, FinishedRun, make_digits

# Tables that somebody measured on this machine would change what is predicted.
os.environ["EDGEKD_PROFILES"] = os.devnull


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all tests of the finished run to one process, so that it is made once."""
    for item in items:
        if "finished" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("finished"))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """Train the teacher of the digits example for four epochs (about 95 % on the test part)."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    return make_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def finished(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Compress the teacher to 60 KB once, with TVM where it can be built. Nothing may change the folder."""
    from edgekd.cli.app import run

    has_tvm = importlib.util.find_spec("tvm") is not None and shutil.which("aarch64-linux-gnu-g++") is not None
    folder = tmp_path_factory.mktemp("runs") / "finished"
    options = ("--max-size", "60KB", "--export", "onnx,tvm" if has_tvm else "onnx", "--quiet")
    arguments = tuple(digits.job(folder, *options))
    return FinishedRun(folder=folder, digits=digits, arguments=arguments, exit_code=run(arguments), has_tvm=has_tvm)
