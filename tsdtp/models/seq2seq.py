"""A Hugging Face encoder-decoder whose encoder drops tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from tsdtp.models.blocks import Family, find_family
from tsdtp.models.cross_attention import WEIGHED, WeighedSource, weigh_source
from tsdtp.models.encoder import Encoding
from tsdtp.models.output import PrunedOutput, counts, full_counts
from tsdtp.models.pruned import PrunedModel
from tsdtp.models.seq2seq_blocks import SEQ2SEQ_FAMILIES
from tsdtp.models.texts import IGNORED
from tsdtp.packing import unpack
from tsdtp.pruning import TokenPruner


class PrunedSeq2Seq(PrunedModel):
    """Wraps a `*ForConditionalGeneration` (or `*MTModel`) of a known family around a pruner.

    The decoder stays whole, but what the encoder dropped is gone from its cross-attention, too:
    packed execution hands over a grid no wider than the longest of the kept sources, so that the
    cache of cross-attention shrinks; masked execution removes it from every softmax. A token that
    others were merged into weighs there as many as it stands for, as in the encoder.

    Args:
        model: the Hugging Face model, see `PrunedModel`.
        pruner: what decides.
        execution: see `PrunedModel`.
        special_ids: token ids that are never dropped; the first token never is.
        backend: of the encoder's attention, see `tsdtp.attention.attend`.
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
        find_family(model.config, SEQ2SEQ_FAMILIES)  # or it is refused
        super().__init__(model, pruner, execution, special_ids, backend, auxiliary_weight)
        model.set_attn_implementation(WEIGHED)
        model.register_forward_pre_hook(weigh_source, with_kwargs=True)

    @property
    def family(self) -> Family:
        """How the encoder's blocks split."""
        return find_family(self.config, SEQ2SEQ_FAMILIES)

    @property
    def base_model(self) -> nn.Module:
        """The encoder with its embeddings."""
        return self.hf_model.get_encoder()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        target: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
    ) -> PrunedOutput:
        """Encodes a padded batch, and with labels decodes it under teacher forcing.

        Args:
            input_ids: [B, S] int64.
            attention_mask: [B, S], 1 for tokens; default: all ones.
            labels: [B, N] int64, the target's tokens, `IGNORED` for padding; or None.
            target: [B, S, L] float or None, a teacher's attributions (training).
            decoder_input_ids: [B, N] int64, what the decoder reads; default: the labels, shifted.

        Raises:
            ValueError: for a source without a token or beyond the model's positions.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        read = decoder_input_ids
        if read is None and labels is not None:
            read = self.prepare_decoder_input_ids_from_labels(labels)
        if self.execution == "hf":
            return self._plain(input_ids, attention_mask, read, labels)
        encoding = self.encode(input_ids, attention_mask, target=target)
        logits = None if read is None else self.decode(encoding, read)
        loss, auxiliary = self.add_auxiliary(translation_loss(logits, labels), encoding)
        return PrunedOutput(
            loss=loss,
            logits=logits,
            auxiliary_loss=auxiliary,
            **counts(encoding, attention_mask),
        )

    def decode(self, encoding: Encoding, decoder_input_ids: Tensor) -> Tensor:
        """[B, N, V] logits of what follows each of the tokens that the decoder reads."""
        source, mask = self.source(encoding)
        decoder: Any = self.hf_model
        return decoder(
            encoder_outputs=source,
            attention_mask=mask,
            decoder_input_ids=decoder_input_ids,
            use_cache=False,
        ).logits

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """[B, N] what the decoder reads where it should write the labels; a collator asks."""
        decoder: Any = self.hf_model
        return decoder.prepare_decoder_input_ids_from_labels(labels)

    def source(self, encoding: Encoding) -> tuple[WeighedSource, Tensor]:
        """What the decoder sees: the source, and a mask [B, K] int64 of its live tokens."""
        hidden = encoding.hidden
        grid, _ = unpack(hidden.like(self.family.finish(self.base_model, hidden.values)))
        weights, _ = unpack(hidden.like(encoding.weights))
        uneven = encoding.masked or self.pruner.proportional_attention
        states = cast(torch.FloatTensor, grid)
        source = WeighedSource(last_hidden_state=states, weights=weights if uneven else None)
        return source, (weights.detach() > 0).long()

    def goal(self, encoding: Encoding, labels: Tensor | None) -> Tensor:
        """[B, N] the labels.

        Raises:
            ValueError: without any.
        """
        if labels is None:
            raise ValueError("attributions of a translation need its target: give labels")
        return labels

    def certainty(self, encoding: Encoding, goal: Tensor) -> Tensor:
        """[B] log-probability of the target."""
        read = self.prepare_decoder_input_ids_from_labels(goal)
        logs = self.decode(encoding, read).float().log_softmax(-1)
        chosen = logs.gather(-1, goal.clamp(min=0)[..., None]).squeeze(-1)
        return chosen.masked_fill(goal == IGNORED, 0).sum(-1)

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **settings
    ) -> Tensor:
        """Translates a padded batch.

        Args:
            input_ids: [B, S] int64.
            attention_mask: [B, S], 1 for tokens; default: all ones.
            **settings: of transformers' `generate`, such as num_beams and max_new_tokens.

        Returns:
            [B, N] int64 as `generate` of the plain model gives it.

        Raises:
            ValueError: for encoder_outputs: which tokens were dropped is not in there.
        """
        if settings.get("encoder_outputs") is not None:
            raise ValueError("encoder_outputs: a pruned translator encodes input_ids itself")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        decoder: Any = self.hf_model
        inputs: dict[str, Any] = {"attention_mask": attention_mask}
        if self.execution != "hf":
            source, mask = self.source(self.encode(input_ids, attention_mask))
            inputs = {"encoder_outputs": source, "attention_mask": mask}
        # The ids are for penalties on words of the source; they are not encoded again.
        return decoder.generate(input_ids, **inputs, **settings)

    def _plain(self, input_ids, attention_mask, read, labels) -> PrunedOutput:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if read is None:
            logits = None
            self.base_model(**inputs)  # whoever times this execution wants the encoder's work
        else:
            logits = self.hf_model(**inputs, decoder_input_ids=read, use_cache=False).logits
        return PrunedOutput(
            loss=translation_loss(logits, labels),
            logits=logits,
            **full_counts(attention_mask, self.config.num_hidden_layers),
        )


def translation_loss(logits: Tensor | None, labels: Tensor | None) -> Tensor | None:
    """Cross-entropy per target token of logits [B, N, V] and labels [B, N]; None without any."""
    if logits is None or labels is None:
        return None
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)
