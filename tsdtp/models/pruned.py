"""What pruned models share: a wrapped model, a pruner, and the encoder's loop."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tsdtp.attention import SETTINGS
from tsdtp.models.blocks import Family
from tsdtp.models.cost import EncoderShape
from tsdtp.models.encoder import BlockKeyValues, Encoding, PackedEncoder
from tsdtp.models.saving import save_pretrained
from tsdtp.models.wrapped import WrappedModel
from tsdtp.packing import Packed, pack, take
from tsdtp.pruning import TokenPruner
from tsdtp.pruning.none import NoPruning

EXECUTIONS = ("masked", "packed", "hf")
POOLINGS = ("cls", "last", "mean")


class PrunedModel(WrappedModel, ABC):
    """Wraps a Hugging Face model of a known family around a pruner.

    `state_dict` is the plain model's plus `pruner.*`, and loads into the plain model with
    `strict=False`.

    Args:
        model: the Hugging Face model, see `WrappedModel`.
        pruner: what decides; takes the device and the type of the model's weights.
        execution: "masked", "packed", "hf" (the plain padded Hugging Face forward, unpruned, where
            most families count padding on the left as positions), or None: masked while the
            pruner learns, which needs its gates; packed otherwise.
        special_ids: token ids that are never dropped; the first token never is.
        backend: of attention, see `tsdtp.attention.attend`.
        auxiliary_weight: of the pruner's auxiliary loss in `loss`.

    Raises:
        ValueError: for an execution or back end that is not known, or a weight below 0.
    """

    pruner: TokenPruner
    special_ids: Tensor

    def __init__(
        self,
        model: PreTrainedModel,
        pruner: TokenPruner,
        execution: str | None,
        special_ids: Sequence[int],
        backend: str,
        auxiliary_weight: float,
    ) -> None:
        check_settings(execution, backend=backend)
        if not (isinstance(auxiliary_weight, Real) and 0 <= auxiliary_weight < math.inf):
            raise ValueError(f"auxiliary_weight={auxiliary_weight!r}: valid is 0 or more")
        super().__init__(model)
        self.pruner = pruner.to(model.device, model.dtype)
        self.backend, self.auxiliary_weight = backend, auxiliary_weight
        self._execution = execution
        ids = torch.tensor(sorted(set(special_ids)), dtype=torch.long, device=model.device)
        self.register_buffer("special_ids", ids, persistent=False)
        self.training = model.training  # its modules are in modes of their own
        self.pruner.train(model.training)

    def save_pretrained(self, folder: str | Path, tokenizer: PreTrainedTokenizerBase | None = None):
        """Writes a folder for `tsdtp.from_pretrained`, see `tsdtp.save_pretrained`."""
        return save_pretrained(self, folder, tokenizer)

    def with_pruner(self, pruner: TokenPruner) -> Self:
        """The same model around another pruner; shares every weight."""
        other = self._twin()
        other._modules = {**self._modules, "pruner": pruner}
        return other

    def with_execution(self, execution: str | None) -> Self:
        """The same model in another execution; shares every weight."""
        other = self._twin()
        other.execution = execution
        return other

    def unpruned(self) -> Self:
        """The same model that keeps every token; shares every weight."""
        return self.with_pruner(NoPruning(self.shape.num_layers, self.shape.hidden_size))

    @property
    @abstractmethod
    def family(self) -> Family:
        """How the encoder's blocks split."""

    @property
    @abstractmethod
    def base_model(self) -> nn.Module:
        """The encoder with its embeddings."""

    @property
    def read(self) -> str | None:
        """Which token of a sequence is read of the encoder: "first", "last"; None: all of them."""
        return None

    @property
    def shape(self) -> EncoderShape:
        """The sizes that the cost depends on."""
        shape = EncoderShape.of(self.config, self.family.gated)
        return replace(shape, reads_one=self.read is not None)

    @property
    def execution(self) -> str:
        """The execution in force."""
        return self._execution or ("masked" if self.pruner.learns else "packed")

    @execution.setter
    def execution(self, value: str | None) -> None:
        if value is not None:
            check_settings(execution=value)
        self._execution = value

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """As of any module; the pruner remembers it."""
        self.pruner.requires_grad_(requires_grad)
        return super().requires_grad_(requires_grad)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        target: Tensor | None = None,
        cache: list[BlockKeyValues] | None = None,
    ) -> Encoding:
        """Embeds and encodes a padded batch.

        Args:
            input_ids: [B, S] int64.
            attention_mask: [B, S], 1 for tokens.
            token_type_ids: [B, S] or None.
            target: [B, S, L] float or None, a teacher's attributions (training).
            cache: gathers what each block attends to, where somebody asks for it.

        Raises:
            ValueError: for a sequence without a token or beyond the model's positions, and for
                token types or attributions of another shape.
        """
        if token_type_ids is not None and token_type_ids.shape != input_ids.shape:
            raise ValueError(
                f"token_type_ids {tuple(token_type_ids.shape)}: valid are those of input_ids, "
                f"{tuple(input_ids.shape)}"
            )
        expected = (*input_ids.shape, self.shape.num_layers)
        if target is not None and target.shape != expected:
            raise ValueError(
                f"target [{', '.join(map(str, target.shape))}]: valid are a teacher's attributions "
                f"[{', '.join(map(str, expected))}]; answers to learn are `labels`"
            )
        if self.pruner.learns:
            self._warn_of_gates()
        ids = pack(input_ids, attention_mask)
        self._check_length(ids.layout.max_seqlen)
        taken = partial(take, mask=attention_mask.bool(), tokens=ids.layout.size)
        types = None if token_type_ids is None else taken(token_type_ids)
        encoder = self.packed_encoder()
        embeddings = ids.like(encoder.embed(ids, types))
        return encoder(
            embeddings,
            ids.values,
            self.protected(ids),
            masked=self.execution == "masked",
            target=None if target is None else taken(target).float(),
            cache=cache,
        )

    def _warn_of_gates(self) -> None:
        """Without gates a pruner learns nothing of the task, nor where they are flat."""
        name, budget = type(self.pruner).__name__, self.pruner.budget
        if self.execution == "packed":
            warnings.warn(
                f"execution='packed' has no gates, and {name} learns nothing of the task; valid: "
                "execution=None, or model.pruner.requires_grad_(False)",
                stacklevel=2,
            )
        elif self.pruner.calibrated or budget is None or budget >= 1:
            return
        elif self.pruner.strictness == self.pruner.keep_all:  # far from any threshold
            warnings.warn(
                f"{name} keeps every token until it is calibrated, and its "
                "gates learn nothing; tsdtp.calibrate(model, data) before training, and after it",
                stacklevel=2,
            )

    def read_mask(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, S] 1 for the tokens that are read: those that the caller names."""
        return attention_mask

    def _check_length(self, length: int) -> None:
        """Looks before an embedding is read out of its range; rotary positions have no end."""
        limit = self.max_positions
        if limit and length > limit and self.family.rotary is None:
            raise ValueError(f"{length} tokens: valid are 1 to {limit}, the model's positions")

    def packed_encoder(self) -> PackedEncoder:
        """The loop over this model's blocks."""
        heads = self.config.num_attention_heads
        return PackedEncoder(
            self.family, self.base_model, self.pruner, heads, self.backend, self.read
        )

    def protected(self, ids: Packed) -> Tensor:
        """[T] bool: first tokens, which a head may read, and special tokens."""
        special = (ids.values[:, None] == self.special_ids).any(1)
        return (ids.layout.positions == 0) | special

    @abstractmethod
    def goal(self, encoding: Encoding, labels: Tensor | None) -> Tensor:
        """What to explain of the model's answer: attributions are of its `certainty`."""

    @abstractmethod
    def certainty(self, encoding: Encoding, goal: Tensor) -> Tensor:
        """[B] how sure the model is of the goal, differentiable."""

    def add_auxiliary(
        self, loss: Tensor | None, encoding: Encoding
    ) -> tuple[Tensor | None, Tensor | None]:
        """A task's loss (if any) with the weighted auxiliary loss, and the latter unweighted."""
        auxiliary = torch.stack(encoding.losses).mean() if encoding.losses else None
        if loss is None or auxiliary is None:
            return loss, auxiliary
        return loss + self.auxiliary_weight * auxiliary, auxiliary


def check_settings(
    execution: str | None = None, pooling: str | None = None, backend: str = "auto"
) -> None:
    """Raises ValueError for a value that is not known; needs no model."""
    settings = {
        "execution": (execution or "packed", EXECUTIONS),
        "pooling": (pooling or "cls", POOLINGS),
        "attention": (backend, SETTINGS),
    }
    for key, (value, valid) in settings.items():
        if value not in valid:
            raise ValueError(f"model.{key}={value!r}: valid are {', '.join(valid)}")
