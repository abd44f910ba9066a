"""What a call of `generate` settles, in the order in which transformers looks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

# These read the words of the prompt again, of which the model has dropped some.
_READ_AGAIN = ("assistant_model", "prompt_lookup_num_tokens")


def setting(name: str, model: PreTrainedModel, settings: Mapping[str, Any]) -> Any:
    """A setting: of the call, of the config that it gives, or of the model's; None: of none."""
    configs = (settings.get("generation_config"), model.generation_config)
    found = (settings.get(name), *(getattr(config, name, None) for config in configs))
    return next((value for value in found if value is not None), None)


def mask_of(input_ids: Tensor, model: PreTrainedModel, settings: Mapping[str, Any]) -> Tensor:
    """[B, S] which are tokens where the caller does not say, as the plain model takes it.

    All but padding, or all where texts end with the padding token, too.
    """
    padding, ends = (setting(f"{n}_token_id", model, settings) for n in ("pad", "eos"))
    if padding is None or padding in (ends if isinstance(ends, list) else [ends]):
        return torch.ones_like(input_ids)
    return (input_ids != padding).long()


def check_decoding(settings: Mapping[str, Any]) -> None:
    """Checks what a call of `generate` asks for; the model's own config is not asked.

    Raises:
        ValueError: for decoding without a cache, or one that reads the words given again.
    """
    given = settings.get("generation_config")
    if settings.get("use_cache", getattr(given, "use_cache", None)) is False:
        raise ValueError("use_cache=False: valid is True, which is the default")
    for name in _READ_AGAIN:
        if settings.get(name, getattr(given, name, None)) is not None:
            raise ValueError(
                f"{name}: a model that drops tokens cannot; valid: greedy, beam, sampling"
            )
