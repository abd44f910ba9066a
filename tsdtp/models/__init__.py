"""Pruned transformers around Hugging Face models."""

from tsdtp.models.budget import calibrate
from tsdtp.models.causal_lm import PrunedCausalLM
from tsdtp.models.classifier import PrunedClassifier
from tsdtp.models.export import export, export_onnx
from tsdtp.models.output import PrunedOutput
from tsdtp.models.prediction import Prediction, predict
from tsdtp.models.pretrained import from_pretrained, push_to_hub, tokenizer_of
from tsdtp.models.prune import prune, unprune
from tsdtp.models.pruned import PrunedModel
from tsdtp.models.saving import save_pretrained
from tsdtp.models.seq2seq import PrunedSeq2Seq
from tsdtp.models.teaching import teach

__all__ = [
    "Prediction",
    "PrunedCausalLM",
    "PrunedClassifier",
    "PrunedModel",
    "PrunedOutput",
    "PrunedSeq2Seq",
    "calibrate",
    "export",
    "export_onnx",
    "from_pretrained",
    "predict",
    "prune",
    "push_to_hub",
    "save_pretrained",
    "teach",
    "tokenizer_of",
    "unprune",
]
