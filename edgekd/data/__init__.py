"""Data sets: read once into uint8 tensors, divided into splits, fed in batches."""

from edgekd.data.augment import AUGMENTATIONS, augment
from edgekd.data.batches import Normalization, batches, estimate_normalization, normalize
from edgekd.data.images import Dataset, Images
from edgekd.data.read import load_dataset
from edgekd.data.splits import Holdout, SplitRecord, Splits, make_splits

__all__ = [
    "AUGMENTATIONS",
    "Dataset",
    "Holdout",
    "Images",
    "Normalization",
    "SplitRecord",
    "Splits",
    "augment",
    "batches",
    "estimate_normalization",
    "load_dataset",
    "make_splits",
    "normalize",
]
