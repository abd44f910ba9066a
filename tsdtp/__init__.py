"""tsdtp: transformers that drop the tokens their task does not need.

The names are imported when first used, so that `tsdtp --help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsdtp.benchmark.candidates import measure_speed
    from tsdtp.models import (
        Prediction,
        PrunedCausalLM,
        PrunedClassifier,
        PrunedOutput,
        PrunedSeq2Seq,
        calibrate,
        export,
        export_onnx,
        from_pretrained,
        predict,
        prune,
        push_to_hub,
        save_pretrained,
        teach,
        tokenizer_of,
        unprune,
    )

__version__ = "0.1.0"
__all__ = [
    "Prediction",
    "PrunedCausalLM",
    "PrunedClassifier",
    "PrunedOutput",
    "PrunedSeq2Seq",
    "calibrate",
    "export",
    "export_onnx",
    "from_pretrained",
    "measure_speed",
    "predict",
    "prune",
    "push_to_hub",
    "save_pretrained",
    "teach",
    "tokenizer_of",
    "unprune",
]


def __getattr__(name: str):
    if name in __all__:
        module = "tsdtp.benchmark.candidates" if name == "measure_speed" else "tsdtp.models"
        return getattr(import_module(module), name)
    raise AttributeError(f"module 'tsdtp' has no attribute {name!r}")
