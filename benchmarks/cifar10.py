"""What benchmarks on CIFAR-10 images share: teachers, splits, a short fine-tuning, and results kept entry by entry.

The networks and images are described in benchmarks/README.md; without them nothing is run.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx

from edgekd.distill.train import Phase, train
from edgekd.inputs import Inputs, ModelSource, load_inputs
from edgekd.models.evaluate import measure
from edgekd.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "../shared/models"
DATA = ROOT / "../shared/data/cifar10"
RESULTS = ROOT / "benchmarks" / "results"
# The teachers have seen all training images.
RECIPE = Recipe(holdout="test")
TUNING_IMAGES = 10_000
TUNING = Phase(name="fine-tune", epochs=1, learning_rate=0.02, seed=0, ema_decay=0.98, augmentations=("crop", "flip"))


def load(network: str) -> Inputs:
    """Return a teacher (`resnet20`, `resnet56`) with the images.

    Raises:
        SystemExit: They are not there.
    """
    path = MODELS / f"{network}_cifar10jpeg.pt2"
    if not path.is_file() or not DATA.is_dir():
        raise SystemExit("skipped: the models and images are not there (see benchmarks/README.md)")
    cache = ROOT / "runs" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    return load_inputs(ModelSource(path=path), DATA, RECIPE, cache)


def accuracy(network: fx.GraphModule, inputs: Inputs) -> float:
    """Return the accuracy on the validation images."""
    return measure(network, inputs.splits.validation, inputs.normalization, split="validation").value


def fine_tune(network: fx.GraphModule, inputs: Inputs, seed: int) -> float:
    """Return the accuracy on the validation images after one pass over 10,000 training images, from labels alone."""
    _, history = train(
        network,
        teacher=None,
        train_images=inputs.splits.train.sample(TUNING_IMAGES, seed),
        validation_images=inputs.splits.validation,
        normalization=inputs.normalization,
        phase=dataclasses.replace(TUNING, seed=seed),
    )
    return history[-1].accuracy.value


class Entries:
    """The results of a benchmark by a key each, on disk as soon as they are measured; kept ones are not measured again.

    Args:
        name: Of the file in `results/`.
        seconds: How long to go on measuring; what is left is measured by the next call of the script.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self.path = RESULTS / f"{name}.json"
        self.ends = time.monotonic() + seconds
        document = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {}
        self.known: dict[str, dict[str, Any]] = document.get("entries", {})
        self.left = 0

    def measure(self, key: str, function: Callable[[], Mapping[str, Any]]) -> None:
        """Keep what a function returns under the key, unless there is something or the time is up."""
        if key in self.known:
            return
        if time.monotonic() > self.ends:
            self.left += 1
            return
        began = time.monotonic()
        self.known[key] = dict(function())
        print(f"{key}: {json.dumps(self.known[key])} ({time.monotonic() - began:.1f} s)", flush=True)
        self.write({})

    def write(self, summary: Mapping[str, Any]) -> None:
        """Write all entries, and what follows from them."""
        machine = f"{platform.machine()}, torch {torch.__version__}"
        document = {"machine": machine, **summary, "entries": self.known}
        RESULTS.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
