"""Pruned transformers around Hugging Face models."""

from tsdtp.models.budget import calibrate
from tsdtp.models.classifier import PrunedClassifier, PrunedOutput
from tsdtp.models.prune import prune

__all__ = ["PrunedClassifier", "PrunedOutput", "calibrate", "prune"]
