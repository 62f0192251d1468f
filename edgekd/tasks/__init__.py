"""What "loss" and "accuracy" mean: classification by default, others by name or by entry point."""

from edgekd.tasks.classification import CLASSIFICATION
from edgekd.tasks.embedding import EMBEDDING
from edgekd.tasks.meters import MeanMeter, Meter
from edgekd.tasks.multi_label import MULTI_LABEL
from edgekd.tasks.reading import Array, describe_array, refuse
from edgekd.tasks.registry import load_task, task_names
from edgekd.tasks.regression import REGRESSION
from edgekd.tasks.segmentation import IGNORED, SEGMENTATION
from edgekd.tasks.task import MetricKind, ParityRule, Targets, Task, make_metric

__all__ = [
    "CLASSIFICATION",
    "EMBEDDING",
    "IGNORED",
    "MULTI_LABEL",
    "REGRESSION",
    "SEGMENTATION",
    "Array",
    "MeanMeter",
    "Meter",
    "MetricKind",
    "ParityRule",
    "Targets",
    "Task",
    "describe_array",
    "load_task",
    "make_metric",
    "refuse",
    "task_names",
]
