"""docs/networks.md is what its generator writes."""

import importlib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


def test_the_page_of_networks_is_what_the_tests_find(monkeypatch):
    if not (CHECKOUT / "tools" / "network_table.py").is_file():
        pytest.skip("the tools are not installed with the package")
    monkeypatch.syspath_prepend(str(CHECKOUT / "tools"))
    table = importlib.import_module("network_table")
    found = table.DOCUMENT.read_text(encoding="utf-8")
    assert found == table.document(), "run: python tools/network_table.py --write"
