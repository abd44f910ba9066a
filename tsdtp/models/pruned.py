"""What pruned models share: a Hugging Face model's modules, a pruner, and the encoder's loop."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from tsdtp.attention import SETTINGS
from tsdtp.models.blocks import Family
from tsdtp.models.cost import EncoderShape, max_positions
from tsdtp.models.encoder import Encoding, Entering, PackedEncoder
from tsdtp.models.saving import save_pretrained
from tsdtp.packing import Packed, pack
from tsdtp.pruning import TokenPruner
from tsdtp.pruning.none import NoPruning

EXECUTIONS = ("masked", "packed", "hf")
POOLINGS = ("cls", "last", "mean")


class PrunedModel(nn.Module, ABC):
    """Wraps a Hugging Face model of a known family around a pruner.

    The wrapped model's modules and buffers are registered here under their own names: `state_dict`
    is the plain model's plus `pruner.*`, and loads into the plain model with `strict=False`.

    Args:
        model: the Hugging Face model; its modules are shared, not copied, and whether it is in
            training or evaluation mode stays as it is.
        pruner: what decides; takes the device and the type of the model's weights.
        execution: "masked", "packed", "hf" (the plain padded Hugging Face forward, unpruned; a
            GPT-2 classifier counts padding on the left as positions there), or None: masked while
            the pruner learns, which needs its gates; packed otherwise.
        special_ids: token ids that are never dropped; the first token never is.
        backend: of attention, see `tsdtp.attention.attend`.
        auxiliary_weight: of the pruner's auxiliary loss in `loss`.

    Raises:
        ValueError: for an execution or back end that is not known.
    """

    hf_model: PreTrainedModel
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
        super().__init__()
        check_settings(execution, backend=backend)
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, buffer in model.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        self.pruner = pruner.to(model.device, model.dtype)
        object.__setattr__(self, "hf_model", model)  # not a submodule: its children already are
        self.config, self.backend = model.config, backend
        self.auxiliary_weight = auxiliary_weight
        self.execution = execution
        ids = torch.tensor(sorted(set(special_ids)), dtype=torch.long, device=model.device)
        self.register_buffer("special_ids", ids, persistent=False)
        self.train(model.training)

    def __setattr__(self, name: str, value: Any) -> None:
        """A module that is replaced, as a head may be, is replaced in the wrapped model, too."""
        super().__setattr__(name, value)
        if "hf_model" in vars(self) and name in self.hf_model._modules:
            setattr(self.hf_model, name, value)

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

    def _replicate_for_data_parallel(self):
        """Replicas would go on with the weights of the first device, which `hf_model` holds."""
        raise RuntimeError(
            "a pruned model cannot be replicated by torch.nn.DataParallel, which transformers' "
            "Trainer uses where one process sees several GPUs; valid: a process for each "
            "(torchrun), or CUDA_VISIBLE_DEVICES=0"
        )

    def _twin(self) -> Self:
        """A shallow copy; without the forward that Accelerate binds to the one it prepares."""
        other = copy.copy(self)
        vars(other).pop("forward", None)
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
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def can_generate(self) -> bool:
        """Whether it writes text; a pipeline asks."""
        return self.hf_model.can_generate()

    @property
    def generation_config(self) -> GenerationConfig:
        """The wrapped model's; a pipeline and the Trainer ask, and may replace it."""
        return self.hf_model.generation_config

    @generation_config.setter
    def generation_config(self, config: GenerationConfig) -> None:
        self.hf_model.generation_config = config

    @property
    def max_positions(self) -> int | None:
        """How long a sequence may be; None: T5's positions are relative, and do not end."""
        return max_positions(self.config)

    @property
    def read(self) -> str | None:
        """Which token of a sequence is read of the encoder: "first", "last"; None: all of them."""
        return None

    @property
    def shape(self) -> EncoderShape:
        """The sizes that the cost depends on."""
        return replace(EncoderShape.of(self.config), reads_one=self.read is not None)

    @property
    def execution(self) -> str:
        """The execution in force."""
        return self._execution or ("masked" if self.pruner.learns else "packed")

    @execution.setter
    def execution(self, value: str | None) -> None:
        if value is not None:
            check_settings(execution=value)
        self._execution = value

    def train(self, mode: bool = True) -> Self:
        """Sets the mode here and on the wrapped model, whose own flag no parent reaches."""
        self.hf_model.training = mode
        return super().train(mode)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """As of any module; the pruner remembers it."""
        self.pruner.requires_grad_(requires_grad)
        return super().requires_grad_(requires_grad)

    def _apply(self, fn, recurse=True):
        """Moves and casts like any module; the wrapped model's own buffers follow.

        But the frequencies of rotary positions are not cast: in half precision far tokens would
        stand elsewhere.
        """
        turns = [
            (module, name, buffer)
            for module in self.modules()
            for name, buffer in module.named_buffers(recurse=False)
            if name.endswith("inv_freq")
        ]
        super()._apply(fn, recurse)
        for module, name, buffer in turns:
            setattr(module, name, buffer.to(getattr(module, name).device))
        for name, _ in self.hf_model.named_buffers(recurse=False):
            setattr(self.hf_model, name, getattr(self, name))
        return self

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        target: Tensor | None = None,
        cache: list[Entering] | None = None,
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
                attributions of another shape.
        """
        expected = (*input_ids.shape, self.shape.num_layers)
        if target is not None and target.shape != expected:
            raise ValueError(
                f"target [{', '.join(map(str, target.shape))}]: valid are a teacher's attributions "
                f"[{', '.join(map(str, expected))}]; answers to learn are `labels`"
            )
        ids = pack(input_ids, attention_mask)
        self._check_length(ids.layout.max_seqlen)
        valid = attention_mask.bool()
        types = None if token_type_ids is None else token_type_ids[valid]
        encoder = self.packed_encoder()
        embeddings = ids.like(encoder.embed(ids, types))
        return encoder(
            embeddings,
            ids.values,
            self.protected(ids),
            masked=self.execution == "masked",
            target=None if target is None else target[valid].float(),
            cache=cache,
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
