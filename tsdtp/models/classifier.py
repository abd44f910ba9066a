"""A Hugging Face sequence classifier that drops tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tsdtp.models.blocks import ClassifierFamily, find_family
from tsdtp.models.encoder import Encoding
from tsdtp.models.families import FAMILIES
from tsdtp.models.modes import takes
from tsdtp.models.output import PrunedOutput, counts, full_counts
from tsdtp.models.problem import answer_of, certainty_of, loss_of, problem_of
from tsdtp.models.pruned import PrunedModel, check_settings
from tsdtp.packing import Packed, one_each, pack
from tsdtp.pruning import TokenPruner
from tsdtp.pruning.rules import segment_mean


def check_classifies(model: PrunedModel) -> PrunedClassifier:
    """The model itself.

    Raises:
        ValueError: it writes, or is a plain model.
    """
    model = PrunedModel.check(model)
    if not isinstance(model, PrunedClassifier) or model.can_generate():
        raise ValueError(
            f"{type(model).__name__} is no classifier; a model that writes has generate()"
        )
    return model


class PrunedClassifier(PrunedModel):
    """Wraps a `*ForSequenceClassification` model of a known family around a pruner.

    Args:
        model: the Hugging Face classifier, see `PrunedModel`.
        pruner: what decides.
        execution: see `PrunedModel`.
        pooling: what the head reads: "cls" (the first token), "last" (the last one) or "mean";
            None: what it reads in the plain model.
        special_ids: token ids that are never dropped; the first token never is, nor a last one
            that the head reads.
        backend: of attention, see `tsdtp.attention.attend`.
        auxiliary_weight: of the pruner's auxiliary loss in `loss`.

    Raises:
        ValueError: for an architecture, execution, pooling or back end that is not known, or a
            head that `problem_of` refuses.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        pruner: TokenPruner,
        execution: str | None = None,
        pooling: str | None = None,
        special_ids: Sequence[int] = (),
        backend: str = "auto",
        auxiliary_weight: float = 0.1,
    ) -> None:
        family = find_family(model.config, FAMILIES)
        own_pooling: str = getattr(model.config, "classifier_pooling", family.pooling)
        pooling = pooling or own_pooling
        check_settings(pooling=pooling)
        if not model.can_generate():
            problem_of(model.config)  # or it is refused
        super().__init__(model, pruner, execution, special_ids, backend, auxiliary_weight)
        self.pooling, self.own_pooling = pooling, own_pooling

    @property
    def family(self) -> ClassifierFamily:
        """How the encoder's blocks and the head split."""
        return find_family(self.config, FAMILIES)

    @property
    def problem(self) -> str:
        """What the head answers, a `problem_type` of transformers."""
        return problem_of(self.config)

    @property
    def base_model(self) -> nn.Module:
        """The encoder with its embeddings."""
        return self.hf_model.base_model

    @property
    def read(self) -> str | None:
        """The one token that the head reads, unless it averages."""
        return {"cls": "first", "last": "last"}.get(self.pooling)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        target: Tensor | None = None,
    ) -> PrunedOutput:
        """Classifies a padded batch.

        Args:
            input_ids: [B, S] int64.
            attention_mask: [B, S], 1 for tokens; default: all ones.
            token_type_ids: [B, S] or None.
            labels: [B] integers or [B, C] float, the probabilities of the classes; of a model that
                answers each class by itself, or numbers, [B, C]; or None.
            target: [B, S, L] float or None, a teacher's attributions (training).

        Raises:
            ValueError: for labels that `loss_of` refuses, and, packed or masked, for a sequence
                without a token or beyond the model's positions. In `execution="hf"` the plain
                model is asked and says what it says; it takes no target.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if self.execution == "hf":
            return self._plain(input_ids, attention_mask, token_type_ids, labels)
        attention_mask = self.read_mask(input_ids, attention_mask)
        encoding = self.encode(input_ids, attention_mask, token_type_ids, target)
        logits = self.classify(encoding)
        loss, auxiliary = self.add_auxiliary(loss_of(logits, labels, self.problem), encoding)
        return PrunedOutput(
            loss=loss,
            logits=logits,
            auxiliary_loss=auxiliary,
            **counts(encoding, attention_mask),
        )

    def read_mask(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, S] as given, up to the last word where the plain model's head reads that."""
        if not self.own_pooling == self.pooling == "last":
            return attention_mask
        return _to_the_last_word(input_ids, attention_mask, self.config.pad_token_id)

    def classify(self, encoding: Encoding) -> Tensor:
        """[B, C] logits from the encoded tokens."""
        hidden = encoding.hidden
        weights = None if self.read else encoding.weights
        finished = hidden.like(self.family.finish(self.base_model, hidden.values))
        return self._head(self._pool(finished, weights))

    def _head(self, features: Tensor) -> Tensor:
        """[B, C] logits of what is read [B, d]."""
        return self.family.head(self.hf_model, features[:, None])

    def _pool(self, hidden: Packed, weights: Tensor | None) -> Tensor:
        """[B, d] what the head reads."""
        if self.pooling == "mean":
            even = hidden.values.new_ones(hidden.layout.size, dtype=torch.float32)
            return segment_mean(hidden.values, even if weights is None else weights, hidden.layout)
        assert self.read is not None
        return one_each(hidden, self.read)[0].values

    def protected(self, ids: Packed) -> Tensor:
        """[T] bool: what no encoder may drop, and the last tokens where the head reads them."""
        protected = super().protected(ids)
        if self.pooling == "last":
            protected[ids.layout.cu_seqlens[1:] - 1] = True
        return protected

    def goal(self, encoding: Encoding, labels: Tensor | None = None) -> Tensor:
        """[B, 1] the class predicted, or what `answer_of` says, whatever the labels."""
        return answer_of(self.classify(encoding).float(), self.problem)

    def certainty(self, encoding: Encoding, goal: Tensor) -> Tensor:
        """[B] margin of the goal's logit over those of the other classes, see `certainty_of`."""
        return certainty_of(self.classify(encoding).float(), goal, self.problem)

    def _plain(self, input_ids, attention_mask, token_type_ids, labels) -> PrunedOutput:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None and takes(self.hf_model, "token_type_ids"):
            inputs["token_type_ids"] = token_type_ids
        logits = self._plain_logits(inputs)
        full = full_counts(attention_mask, self.config.num_hidden_layers)
        return PrunedOutput(loss=loss_of(logits, labels, self.problem), logits=logits, **full)

    def _plain_logits(self, inputs: dict[str, Tensor]) -> Tensor:
        settings = {"use_cache": False} if takes(self.hf_model, "use_cache") else {}
        if self.pooling == self.own_pooling:
            return self.hf_model(**inputs, **settings).logits
        states = self.base_model(**inputs, **settings).last_hidden_state
        return self._head(self._pool(pack(states, inputs["attention_mask"]), None))


def _to_the_last_word(ids: Tensor, mask: Tensor, padding: int | None) -> Tensor:
    """[B, S] the mask without the padding token where a text ends with it.

    A tokenizer may have one token for both; the head of a plain model reads what stands before.
    """
    mask = mask.long()
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    words = mask.bool() & (ids != padding) if padding is not None else mask.bool()
    last = (places * words).amax(1).maximum(mask.argmax(1) + 1)  # a text of nothing else has one
    return mask * (places <= last[:, None])
