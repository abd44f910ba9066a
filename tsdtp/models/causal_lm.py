"""A Hugging Face decoder-only language model that drops tokens of its prompt."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tsdtp.models.classifier import PrunedClassifier
from tsdtp.models.families import FAMILIES
from tsdtp.models.generation import check_decoding, mask_of, setting
from tsdtp.models.problem import ONE_CLASS
from tsdtp.models.prompt_cache import BY_BLOCK, BlockKeyValues, prompt_cache
from tsdtp.packing import pack
from tsdtp.pruning import TokenPruner


class PrunedCausalLM(PrunedClassifier):
    """Wraps a `*ForCausalLM` model of a known family around a pruner.

    Tokens are dropped while the prompt is read; the cache of keys and values that writing goes on
    from holds in each block what that block still saw. What is written is never dropped. As a
    classifier it names the token that follows the prompt: `logits` are [B, V] of the vocabulary,
    `labels` [B] the next tokens. (What `generate` writes first may be another: there the last token
    of the prompt is read after the others have been pruned.)

    Args:
        model: the Hugging Face model, see `PrunedModel`.
        pruner: what decides.
        execution: see `PrunedModel`.
        special_ids: token ids that are never dropped; the first and the last token never are.
        backend: of attention, see `tsdtp.attention.attend`.
        auxiliary_weight: of the pruner's auxiliary loss in `loss`.

    Raises:
        ValueError: for an architecture, execution or back end that is not known.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        pruner: TokenPruner,
        execution: str | None = None,
        special_ids: Sequence[int] = (),
        backend: str = "auto",
        auxiliary_weight: float = 0.1,
    ) -> None:
        super().__init__(model, pruner, execution, "last", special_ids, backend, auxiliary_weight)
        if self.family.pooling != "last":
            valid = [name for name, family in FAMILIES.items() if family.pooling == "last"]
            raise ValueError(
                f"{type(model).__name__} writes with blocks that read to both sides; valid: a "
                f"language model of {', '.join(sorted(valid))}"
            )
        model.set_attn_implementation(BY_BLOCK)

    @property
    def problem(self) -> str:
        """Of all tokens one follows, whatever the config says of labels."""
        return ONE_CLASS

    def read_mask(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, S] as given: writing goes on from the last token, whichever it is."""
        return attention_mask

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **settings
    ) -> Tensor:
        """Goes on from padded prompts.

        Args:
            input_ids: [B, S] int64, padded on the left; two tokens or more a prompt.
            attention_mask: [B, S], 1 for tokens; default: see `mask_of`.
            **settings: of transformers' `generate`, such as num_beams and max_new_tokens.

        Returns:
            [B, N] int64 prompts and what follows, as `generate` of the plain model gives them.

        Raises:
            ValueError: for prompts that are padded on the right, or shorter than two tokens, for
                use_cache=False (what was read of the prompt is in the cache alone), a cache of
                another kind, and for a way of decoding that reads the prompt again.
        """
        check_decoding(settings)
        for other in ("cache_implementation", "past_key_values"):
            if setting(other, self.hf_model, settings) is not None:
                raise ValueError(f"{other}: what was read of a prompt has a cache of its own")
        if setting("use_cache", self.hf_model, settings) is False:  # by the model's own config
            settings["use_cache"] = True
        if attention_mask is None:
            attention_mask = mask_of(input_ids, self.hf_model, settings)
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        writer: Any = self.hf_model
        if self.execution != "hf":
            if not attention_mask[:, -2:].all() or input_ids.shape[1] < 2:
                raise ValueError(
                    "prompts to go on from need padding on the left (tokenizer.padding_side="
                    "'left') and two tokens or more"
                )
            types = settings.get("token_type_ids")
            types = None if types is None else types[:, :-1]
            cache = self.read_prompt(input_ids[:, :-1], attention_mask[:, :-1], types)
            cache.batch_repeat_interleave(self._copies(settings))
            inputs["past_key_values"], writer = cache, self._as_deep_as_read()
        return writer.generate(**inputs, **settings)

    def _as_deep_as_read(self) -> Any:
        """The plain model with the blocks alone that the pruner computes; shares every weight."""
        base, model = copy.copy(self.base_model), copy.copy(self.hf_model)
        blocks = self.family.layers(base)
        shallow = nn.ModuleList(blocks[: self.pruner.depth])
        base._modules = {k: shallow if v is blocks else v for k, v in base._modules.items()}
        old = self.base_model
        model._modules = {k: base if v is old else v for k, v in model._modules.items()}
        return model

    def _copies(self, settings: dict) -> int:
        """How many times `generate` will repeat each prompt."""
        names = ("num_beams", "num_return_sequences")
        return max(setting(name, self.hf_model, settings) or 1 for name in names)

    def read_prompt(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ):
        """The cache of a padded batch of prompts [B, S], see `prompt_cache`."""
        blocks: list[BlockKeyValues] = []
        self.encode(input_ids, attention_mask, token_type_ids, cache=blocks)
        config = self.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        return prompt_cache(blocks, heads, input_ids.shape[1])

    def _plain_logits(self, inputs: dict[str, Tensor]) -> Tensor:
        places = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        states = self.base_model(**inputs, position_ids=places, use_cache=False).last_hidden_state
        return self._head(self._pool(pack(states, inputs["attention_mask"]), None))

    def _head(self, features: Tensor) -> Tensor:
        """[B, V] logits of the token that follows what is read [B, d]."""
        head: Any = self.hf_model.get_output_embeddings()
        return head(features)
