"""Data sets: read once into tensors, divided into splits, fed in batches."""

from edgekd.data.augment import AUGMENTATIONS, augment
from edgekd.data.batches import (
    Batch,
    Normalization,
    batches,
    channels_last,
    estimate_normalization,
    network_inputs,
    normalize,
)
from edgekd.data.images import Dataset, Images, Samples, Tensors
from edgekd.data.read import load_dataset
from edgekd.data.splits import Holdout, SplitRecord, Splits, make_splits
from edgekd.data.tensors import takes_image

__all__ = [
    "AUGMENTATIONS",
    "Batch",
    "Dataset",
    "Holdout",
    "Images",
    "Normalization",
    "Samples",
    "SplitRecord",
    "Splits",
    "Tensors",
    "augment",
    "batches",
    "channels_last",
    "estimate_normalization",
    "load_dataset",
    "make_splits",
    "network_inputs",
    "normalize",
    "takes_image",
]
