"""Data: rows from the hub, local files or a generator, tokenised once and batched."""

from tsdtp.data.text_classification import TextClassificationData
from tsdtp.data.translation import TranslationData

__all__ = ["TextClassificationData", "TranslationData"]
