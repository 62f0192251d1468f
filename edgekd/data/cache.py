"""Keeping decoded images on disk, so that a data set is decoded once and not in every run.

A cache file is trusted only if its contents have the digest that it names; anything else counts as no file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgekd.data.decode import DECODER_VERSION, InputSize
from edgekd.data.images import Dataset, Images, content_digest
from edgekd.data.layout import Layout
from edgekd.errors import OutputError

_log = logging.getLogger(__name__)

_FORMAT = 1
_ABOUT = "about"


def cache_key(layout: Layout, input_size: InputSize | None) -> str:
    """Return a digest of the file list with sizes and times, of the input size and of the decoder.

    Where the data lies is not part of it: a copy that keeps its modification times shares the cache.
    """
    digest = hashlib.sha256(json.dumps([_FORMAT, DECODER_VERSION, input_size, layout.classes]).encode())
    for samples in layout.parts.values():
        for sample in samples:
            digest.update(json.dumps([sample.id, sample.member.size_bytes, sample.member.stamp]).encode())
    return digest.hexdigest()


def cache_path(cache_dir: Path, key: str) -> Path:
    """Return where the data set with this key is kept."""
    return cache_dir / f"images-{key[:32]}.safetensors"


def read_cache(path: Path, name: str) -> Dataset | None:
    """Return the data set kept at `path`, or nothing if there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        about = json.loads(tensors.pop(_ABOUT).numpy().tobytes())
        parts = {
            part: Images(x=tensors[f"{part}.x"], y=tensors[f"{part}.y"], ids=tuple(ids))
            for part, ids in about["ids"].items()
        }
        classes = tuple(about["classes"])
        dataset = Dataset(name=name, classes=classes, parts=parts, digest=content_digest(classes, parts))
        is_whole = dataset.digest == about["digest"]
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
        _log.info("cache file %s is rebuilt: %s", path, error)
        return None
    if not is_whole:
        _log.info("cache file %s is rebuilt: its contents are not those it was written with", path)
        return None
    return dataset


def write_cache(path: Path, dataset: Dataset) -> None:
    """Keep a data set at `path`, whole or not at all.

    Raises:
        OutputError: The folder cannot be written to, or is full.
    """
    about = {
        "classes": dataset.classes,
        "ids": {part: images.ids for part, images in dataset.parts.items()},
        "digest": dataset.digest,
    }
    tensors: dict[str, Tensor] = {
        _ABOUT: torch.from_numpy(np.frombuffer(json.dumps(about).encode(), dtype=np.uint8).copy())
    }
    for part, images in dataset.parts.items():
        if not isinstance(images, Images):
            raise TypeError("only decoded images are kept")  # a programmer's mistake
        # Parts may be views of one tensor, which safetensors refuses as shared memory.
        tensors[f"{part}.x"] = images.x.clone()
        tensors[f"{part}.y"] = images.y.clone()
    beside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        beside = Path(beside_name)
        save_file(tensors, beside)
        beside.replace(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            str(path.parent),
            expected="a folder to keep decoded images in",
            found=str(error),
            hint="Make room or give another folder.",
        ) from error
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)
