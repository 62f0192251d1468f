from __future__ import annotations

import json

import pytest
from digits import FinishedRun

from edgekd.cli.app import run


def test_with_json_stdout_is_exactly_the_report(finished: FinishedRun, capsys: pytest.CaptureFixture[str]) -> None:
    # Resuming a finished run makes every figure again.
    capsys.readouterr()
    assert run([*finished.arguments, "--resume", "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["verdict"] == "pass"
    assert captured.err.splitlines()[-1] == f"report: {finished.folder / 'report' / 'report.html'}"


@pytest.mark.parametrize("missing", ["--data", "--target"])
def test_what_is_required_is_asked_for(finished: FinishedRun, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = list(finished.arguments)
    index = arguments.index(missing)
    del arguments[index : index + 2]
    assert run(arguments) == 2
    assert f"Missing option '{missing}'" in capsys.readouterr().err
