"""Small networks and data for tests: the digits example as a user would bring it, and networks made on the spot."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Digits:
    """A teacher (`teacher.pt2` with its card) and its data (`digits.npz`)."""

    model: Path
    data: Path

    def job(self, run: Path, *options: str) -> list[str]:
        """Return the arguments of a compression that takes seconds; later options win over earlier ones."""
        quick = ["--target", "jetson-tx2", "--export", "onnx", "--epochs", "3", "--evaluations", "48"]
        return ["compress", str(self.model), "--data", str(self.data), "--run", str(run), *quick, *options]


@dataclass(frozen=True)
class FinishedRun:
    """The folder of one whole compression, the arguments it was asked with, and how it ended."""

    folder: Path
    digits: Digits
    arguments: tuple[str, ...]
    exit_code: int
    has_tvm: bool


def example() -> ModuleType:
    """Return `examples/digits/teacher.py` as a module."""
    spec = importlib.util.spec_from_file_location("edgekd_digits_example", ROOT / "examples" / "digits" / "teacher.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_digits(folder: Path, *, epochs: int = 4) -> Digits:
    """Write the data, train a teacher for a few epochs, and write it."""
    import torch

    module = example()
    digits = Digits(model=folder / "teacher.pt2", data=folder / "digits.npz")
    generator_state = torch.get_rng_state()
    x, y = module.write_digits(digits.data)
    module.save_teacher(module.train_teacher(x, y, epochs=epochs), digits.model)
    torch.set_rng_state(generator_state)
    return digits


def rebuilt(module: Any, input_shape: tuple[int, int, int]) -> Any:
    """Return a module as `load_model` would give it: an fx graph of real modules."""
    import torch

    from edgekd.models.exported import export_program
    from edgekd.models.rewrite import rebuild

    return rebuild(export_program(module, (torch.zeros(2, *input_shape),)))
