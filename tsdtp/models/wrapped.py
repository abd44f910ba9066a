"""A Hugging Face model wrapped in a module that goes wherever a module goes."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel

from tsdtp.models.cost import max_positions
from tsdtp.models.modes import uncompiled


class WrappedModel(nn.Module):
    """Has a model's modules and buffers under their own names, and its answers to questions.

    So `state_dict` is the plain model's and whatever a subclass adds; what becomes of this one
    (device, type, mode, a replaced head) becomes of the plain one, too. Not the other way round:
    what is done to the plain model alone (a new head, larger embeddings, another type) is not
    followed; wrap it afterwards.

    Args:
        model: the Hugging Face model; its modules are shared, not copied, and whether it is in
            training or evaluation mode stays as it is. Its answers have names (`return_dict`) from
            then on.
    """

    hf_model: PreTrainedModel

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, buffer in model.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        object.__setattr__(self, "hf_model", model)  # not a submodule: its children already are
        model.config.return_dict = True
        self.config = model.config
        self.register_load_state_dict_post_hook(_hand_buffers_on)  # it may assign them

    @classmethod
    def check(cls, model: nn.Module) -> Self:
        """The model itself, or what was compiled of it; raises ValueError for a plain one."""
        own = uncompiled(model)
        if not isinstance(own, cls):
            raise ValueError(f"a plain {type(own).__name__}; valid: what tsdtp.prune() makes of it")
        return own

    def __setattr__(self, name: str, value: Any) -> None:
        """What is replaced, as a head may be, is replaced in the wrapped model, too."""
        super().__setattr__(name, value)
        plain = vars(self).get("hf_model")
        if plain is not None and (name in plain._modules or name in plain._buffers):
            setattr(plain, name, value)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def gradient_checkpointing_enable(self, *_, **__) -> None:
        """What the Trainer calls for `gradient_checkpointing=True`.

        Raises:
            ValueError: always; blocks are not computed anew here.
        """
        raise ValueError("gradient checkpointing is not supported; valid: it is left off")

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

    def train(self, mode: bool = True) -> Self:
        """Sets the mode here and on the wrapped model, whose own flag no parent reaches."""
        self.hf_model.training = mode
        return super().train(mode)

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
            if not buffer.is_meta:  # there was nothing in it
                setattr(module, name, buffer.to(getattr(module, name).device))
        _hand_buffers_on(self)
        return self

    def _twin(self) -> Self:
        """A shallow copy; without the forward that Accelerate binds to the one it prepares."""
        other = copy.copy(self)
        vars(other).pop("forward", None)
        return other

    def _replicate_for_data_parallel(self):
        """Replicas would go on with the weights of the first device, which `hf_model` holds."""
        raise RuntimeError(
            "a pruned model cannot be replicated by torch.nn.DataParallel, which transformers' "
            "Trainer uses where one process sees several GPUs; valid: a process for each "
            "(torchrun), or CUDA_VISIBLE_DEVICES=0"
        )


def _hand_buffers_on(model: WrappedModel, *_) -> None:
    """The wrapped model's own buffers are this one's again."""
    for name in model.hf_model._buffers:
        setattr(model.hf_model, name, getattr(model, name))
