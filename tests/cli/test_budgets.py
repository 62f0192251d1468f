"""Which files the budgets of a job are for."""

from __future__ import annotations

import click
import pytest

from edgekd.cli.app import edgekd
from edgekd.cli.job import make_job

BUDGETS = ("--max-size", "60KB", "--max-latency", "3ms", "--max-energy", "10mJ", "--max-memory", "2MiB")


@pytest.mark.parametrize(
    ("target", "deployed", "options", "size_of"),
    [("jetson-tx2", "fp16", (), "int8"), ("rpi4", "int8", ("--size-of", "fp32"), "fp32")],
)
def test_a_size_is_of_the_file_named_and_what_is_predicted_of_the_file_that_the_target_deploys(
    target: str, deployed: str, options: tuple[str, ...], size_of: str
) -> None:
    command = edgekd.get_command(click.Context(edgekd), "compress")
    assert command is not None
    given = ["model.pt2", "--data", "images", "--target", target, "--export", "onnx", *BUDGETS, *options]
    job = make_job(command.make_context("compress", given).params)
    assert [(budget.quantity, budget.limit, budget.precision) for budget in job.budgets] == [
        ("size_bytes", 60_000, size_of),
        ("latency_us", 3000, deployed),
        ("energy_uj", 10_000, deployed),
        ("memory_bytes", 2 * 1024**2, deployed),
    ]
