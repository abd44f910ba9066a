"""Pruned transformers around Hugging Face models."""

from tsdtp.models.budget import calibrate
from tsdtp.models.classifier import PrunedClassifier
from tsdtp.models.prune import prune
from tsdtp.models.pruned import PrunedModel, PrunedOutput
from tsdtp.models.seq2seq import PrunedSeq2Seq

__all__ = [
    "PrunedClassifier",
    "PrunedModel",
    "PrunedOutput",
    "PrunedSeq2Seq",
    "calibrate",
    "prune",
]
