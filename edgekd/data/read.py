"""Loading a data set from whatever form it has: an image folder, zip files, or arrays.

What a path is, is found by looking into it; its suffix is not believed.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from edgekd.data.archive import damaged, file_kind
from edgekd.data.arrays import load_arrays
from edgekd.data.cache import cache_key, cache_path, read_cache, write_cache
from edgekd.data.decode import InputSize, OnProgress, decode
from edgekd.data.images import Dataset, Images, Samples, content_digest
from edgekd.data.layout import Layout, find_samples
from edgekd.errors import DataError
from edgekd.records import TensorSpec
from edgekd.tasks import CLASSIFICATION, Task


def load_dataset(
    path: Path,
    *,
    input_size: InputSize | None = None,
    cache_dir: Path | None = None,
    on_progress: OnProgress | None = None,
    task: Task = CLASSIFICATION,
    inputs: tuple[TensorSpec, ...] = (),
) -> Dataset:
    """Return a data set with all its images decoded in memory.

    Args:
        path: A folder of class folders, or of `train/`, `val/` and `test/` with class folders inside; a zip
            file of either; a folder with `train.zip` and perhaps `val.zip` and `test.zip`; or an `.npz` file.
        input_size: Channels (1 or 3), height and width to bring all images to. By default they keep theirs,
            and have to be of one size.
        cache_dir: Where to keep decoded images for the next time; by default they are not kept.
        on_progress: Called with the number of images decoded and the number of all.
        task: Reads the targets. Folders hold classes, which other tasks cannot use; a task whose targets are the
            teacher's outputs ignores them.
        inputs: What the network takes, if it is more or something else than one image.

    Raises:
        DataError: There is nothing usable at `path`; the message says what and where.
        OutputError: `cache_dir` cannot be written to.
    """
    _check_input_size(input_size)
    if not path.exists():
        raise DataError(
            str(path),
            expected="a folder, a zip file or an .npz file",
            found="nothing there",
            hint="Check the path.",
        )
    name = path.resolve().name if path.is_dir() else path.resolve().stem
    kind = "folder" if path.is_dir() else file_kind(path)
    if kind == "damaged zip":
        raise damaged(path)
    if kind == "other":
        raise DataError(
            str(path),
            expected="a folder, a zip file or an .npz file",
            found="a file of another kind",
            hint="Convert it to a folder with one subfolder of images for each class.",
        )
    if kind == "arrays":
        classes, parts = load_arrays(path, input_size, task, inputs)
        return Dataset(name=name, classes=classes, parts=parts, digest=content_digest(classes, parts))
    if task.source == "values" or (inputs and input_size is None):
        raise DataError(
            str(path),
            expected=f"an .npz file, with what the network takes as x and the {task.name} targets as y",
            found=f"a {kind}, which can only hold images in class folders",
            hint="Save the arrays with numpy.savez: docs/tasks.md.",
        )
    with ExitStack() as stack:
        layout = find_samples(path, stack)
        kept = None if cache_dir is None else cache_path(cache_dir, cache_key(layout, input_size))
        dataset = None if kept is None else read_cache(kept, name)
        if dataset is None:
            parts = _decode_parts(str(path), layout, input_size, on_progress)
            digest = content_digest(layout.classes, parts)
            dataset = Dataset(name=name, classes=layout.classes, parts=parts, digest=digest)
            if kept is not None:
                write_cache(kept, dataset)
    return dataset if task.source == "classes" else _without_classes(dataset)


def _without_classes(dataset: Dataset) -> Dataset:
    parts: dict[str, Samples] = {
        name: samples.with_targets(torch.zeros(len(samples), 0)) for name, samples in dataset.parts.items()
    }
    return Dataset(name=dataset.name, classes=(), parts=parts, digest=dataset.digest)


def _decode_parts(
    where: str, layout: Layout, input_size: InputSize | None, on_progress: OnProgress | None
) -> dict[str, Samples]:
    # All parts at once, so that they agree in size and channels.
    samples = [sample for part in layout.parts.values() for sample in part]
    x: Tensor = decode(where, samples, input_size, on_progress)
    parts: dict[str, Samples] = {}
    start = 0
    for part, part_samples in layout.parts.items():
        labels = torch.tensor([sample.label for sample in part_samples], dtype=torch.int64)
        ids = tuple(sample.id for sample in part_samples)
        parts[part] = Images(x=x[start : start + len(ids)], y=labels, ids=ids)
        start += len(ids)
    return parts


def _check_input_size(input_size: InputSize | None) -> None:
    if input_size is None:
        return
    if len(input_size) != 3 or input_size[0] not in (1, 3) or min(input_size) < 1:
        raise DataError(
            "input size",
            expected="1 or 3 channels, height and width",
            found=f"{tuple(input_size)}",
            hint="Image data fits networks that take grayscale or RGB images.",
        )
