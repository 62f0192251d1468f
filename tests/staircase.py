"""A made-up device whose time steps with the channels, and convolutions to run on it."""

from __future__ import annotations

import numpy as np

from edgekd.hardware.operators import Operators


def convolutions(widths: list[tuple[int, int]], *, side: int = 16, op: str = "conv", kernel: int = 9) -> Operators:
    """Convolutions of a number of channels read and made, each a layer of one plan."""
    read, made = zip(*widths, strict=True)
    ones = np.ones(len(widths), dtype=int)
    return Operators.from_columns(
        [op] * len(widths),
        [""] * len(widths),
        {
            "kernel_area": kernel * ones,
            "stride": ones,
            "groups": ones,
            "inputs": ones,
            "in_pixels": side * side * ones,
            "out_pixels": side * side * ones,
            "in_channels": np.array(read),
            "out_channels": np.array(made),
        },
    )


def staircase_us(operators: Operators) -> np.ndarray:
    """A device that computes in blocks of 16 output channels, in a time of its own for each."""
    blocks = -(-operators.out_channels[0] // 16)
    return 2.0 + 0.4 * blocks * operators.in_channels[0] ** 0.9


GRID = convolutions([(read, made) for read in range(8, 72, 8) for made in range(8, 72, 8)])
