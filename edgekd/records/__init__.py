"""The nouns of EdgeKD: frozen values that one stage hands to the next.

Standard library only, so that commands that never load torch can use them. Quantities end in their unit;
what is not known is `None`, never zero.
"""

from edgekd.records.device import VALUE_BYTES, Cores, Cost, Origin, Precision, Prediction, Processor, Source, Target
from edgekd.records.plans import Candidate, ChannelGroup, Generation, ParetoFront, Plan, SurrogateQuality, TensorSpec
from edgekd.records.results import (
    Artifact,
    Budget,
    Deployment,
    Finding,
    Level,
    Metric,
    OperatorCost,
    Parity,
    Quantity,
    Report,
    Row,
    StageResult,
)

__all__ = [
    "VALUE_BYTES",
    "Artifact",
    "Budget",
    "Candidate",
    "ChannelGroup",
    "Cores",
    "Cost",
    "Deployment",
    "Finding",
    "Generation",
    "Level",
    "Metric",
    "OperatorCost",
    "Origin",
    "ParetoFront",
    "Parity",
    "Plan",
    "Precision",
    "Prediction",
    "Processor",
    "Quantity",
    "Report",
    "Row",
    "Source",
    "StageResult",
    "SurrogateQuality",
    "Target",
    "TensorSpec",
]
