"""A Hugging Face sequence classifier that drops tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from tsdtp.attention import SETTINGS
from tsdtp.models.blocks import find_family
from tsdtp.models.cost import EncoderShape
from tsdtp.models.encoder import Encoding, PackedEncoder
from tsdtp.packing import Packed, pack, unpack
from tsdtp.pruning import TokenPruner
from tsdtp.pruning.rules import segment_sum

EXECUTIONS = ("masked", "packed", "hf")
POOLINGS = ("cls", "mean")


@dataclass
class PrunedOutput(ModelOutput):
    """What a pruned classifier returns.

    Attributes:
        loss: scalar, cross-entropy plus the weighted auxiliary loss; with labels only.
        logits: [B, C].
        tokens_kept: [L, B] int64, live tokens that left each block's dropping.
        tokens_entered: [B] int64, tokens that entered the first block.
        kept_layers: [B, S] int64, in how many blocks each token stayed; 0 for padding.
        auxiliary_loss: scalar, unweighted; only while the pruner trains.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    tokens_kept: Tensor | None = None
    tokens_entered: Tensor | None = None
    kept_layers: Tensor | None = None
    auxiliary_loss: Tensor | None = None


class PrunedClassifier(nn.Module):
    """Wraps a `*ForSequenceClassification` model of a known family around a pruner.

    The wrapped model's modules are registered here under their own names: `state_dict` is the
    plain model's plus `pruner.*`, and loads into the plain model with `strict=False`.

    Args:
        model: the Hugging Face classifier; its modules are shared, not copied, and whether it is
            in training or evaluation mode stays as it is.
        pruner: what decides.
        execution: "masked", "packed", "hf" (the plain padded Hugging Face forward, unpruned), or
            None: masked in training, packed in evaluation.
        pooling: what the head reads, "cls" (the first token, as Hugging Face does) or "mean".
        special_ids: token ids that are never dropped; the first token never is.
        backend: of attention, see `tsdtp.attention.attend`.
        auxiliary_weight: of the pruner's auxiliary loss in `loss`.

    Raises:
        ValueError: for an architecture, execution, pooling or back end that is not known.
    """

    hf_model: PreTrainedModel
    pruner: TokenPruner
    special_ids: Tensor

    def __init__(
        self,
        model: PreTrainedModel,
        pruner: TokenPruner,
        execution: str | None = None,
        pooling: str = "cls",
        special_ids: Sequence[int] = (),
        backend: str = "auto",
        auxiliary_weight: float = 0.1,
    ) -> None:
        super().__init__()
        check_settings(execution, pooling, backend)
        self.family = find_family(model.config.model_type)
        for name, child in model.named_children():
            self.add_module(name, child)
        self.pruner = pruner
        self.__dict__["hf_model"] = model  # not a submodule: its children already are
        self.config, self.pooling, self.backend = model.config, pooling, backend
        self.auxiliary_weight = auxiliary_weight
        self.execution = execution
        ids = torch.tensor(sorted(set(special_ids)), dtype=torch.long)
        self.register_buffer("special_ids", ids, persistent=False)
        self.train(model.training)

    @property
    def shape(self) -> EncoderShape:
        """The sizes that the cost depends on."""
        config = self.config
        sizes = [getattr(config, n, None) for n in ("intermediate_size", "hidden_dim")]
        return EncoderShape(
            num_layers=config.num_hidden_layers,
            hidden_size=config.hidden_size,
            intermediate_size=next(n for n in sizes if n is not None),
            num_heads=config.num_attention_heads,
        )

    @property
    def execution(self) -> str:
        """The execution in force."""
        return self._execution or ("masked" if self.training else "packed")

    @execution.setter
    def execution(self, value: str | None) -> None:
        if value is not None:
            check_settings(execution=value)
        self._execution = value

    def train(self, mode: bool = True) -> PrunedClassifier:
        """Sets the mode here and on the wrapped model, whose own flag no parent reaches."""
        self.hf_model.training = mode
        return super().train(mode)

    @property
    def base_model(self) -> nn.Module:
        """The encoder with its embeddings."""
        return self.hf_model.base_model

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
            labels: [B] int64 or None.
            target: [B, S] float or None, a teacher's attributions (training).

        Raises:
            ValueError: for a sequence without a token or beyond the model's positions.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if self.execution == "hf":
            return self._plain(input_ids, attention_mask, token_type_ids, labels)
        encoding = self.encode(input_ids, attention_mask, token_type_ids, target)
        logits = self.head(encoding)
        loss, auxiliary = self._loss(logits, labels, encoding)
        kept_layers = torch.zeros_like(input_ids)
        kept_layers[attention_mask.bool()] = encoding.kept
        return PrunedOutput(
            loss=loss,
            logits=logits,
            tokens_kept=encoding.lengths[1:],
            tokens_entered=encoding.lengths[0],
            kept_layers=kept_layers,
            auxiliary_loss=auxiliary,
        )

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Encoding:
        """Embeds and encodes a padded batch; arguments as for `forward`."""
        ids = pack(input_ids, attention_mask)
        valid = attention_mask.bool()
        types = None if token_type_ids is None else token_type_ids[valid]
        encoder = self.encoder()
        embeddings = ids.like(encoder.embed(ids, types))
        return encoder(
            embeddings,
            ids.values,
            self.protected(ids),
            masked=self.execution == "masked",
            target=None if target is None else target[valid].float(),
        )

    def encoder(self) -> PackedEncoder:
        """The loop over this model's blocks."""
        heads = self.config.num_attention_heads
        return PackedEncoder(self.family, self.base_model, self.pruner, heads, self.backend)

    def protected(self, ids: Packed) -> Tensor:
        """[T] bool: first tokens, which the head reads, and special tokens."""
        return (ids.positions == 0) | torch.isin(ids.values, self.special_ids)

    def head(self, encoding: Encoding) -> Tensor:
        """[B, C] logits from the encoded tokens."""
        hidden = encoding.hidden
        if self.pooling == "cls":
            features = hidden.values[hidden.cu_seqlens[:-1]]
        else:
            weights = encoding.weights if len(encoding.weights) == len(hidden.values) else None
            features = _mean(hidden, weights)
        return self.family.head(self.hf_model, features[:, None])

    def _plain(self, input_ids, attention_mask, token_type_ids, labels) -> PrunedOutput:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None and self.config.model_type != "distilbert":
            inputs["token_type_ids"] = token_type_ids
        if self.pooling == "cls":
            logits = self.hf_model(**inputs).logits
        else:
            hidden = pack(self.base_model(**inputs).last_hidden_state, attention_mask)
            logits = self.family.head(self.hf_model, _mean(hidden, None)[:, None])
        lengths = attention_mask.sum(1)
        return PrunedOutput(
            loss=None if labels is None else F.cross_entropy(logits, labels),
            logits=logits,
            tokens_kept=lengths.expand(self.config.num_hidden_layers, -1),
            tokens_entered=lengths,
            kept_layers=attention_mask.long() * self.config.num_hidden_layers,
        )

    def _loss(self, logits, labels, encoding) -> tuple[Tensor | None, Tensor | None]:
        auxiliary = torch.stack(encoding.losses).mean() if encoding.losses else None
        if labels is None:
            return None, auxiliary
        loss = F.cross_entropy(logits, labels)
        return loss if auxiliary is None else loss + self.auxiliary_weight * auxiliary, auxiliary


def _mean(hidden: Packed, weights: Tensor | None) -> Tensor:
    """[B, d] weighted mean of each sequence's tokens."""
    grid, _ = unpack(hidden)
    if weights is None:
        return grid.sum(1) / hidden.lengths[:, None]
    total = segment_sum(weights, hidden.cu_seqlens)
    return (grid * unpack(hidden.like(weights))[0][..., None]).sum(1) / total[:, None]


def check_settings(
    execution: str | None = None, pooling: str = "cls", backend: str = "auto"
) -> None:
    """Raises ValueError for a value that is not known; needs no model."""
    settings = {
        "execution": (execution or "packed", EXECUTIONS),
        "pooling": (pooling, POOLINGS),
        "attention": (backend, SETTINGS),
    }
    for key, (value, valid) in settings.items():
        if value not in valid:
            raise ValueError(f"model.{key}={value!r}: valid are {', '.join(valid)}")
