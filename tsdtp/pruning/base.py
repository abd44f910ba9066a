"""What a pruning method is: from what is known about each token to which tokens stay."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from tsdtp.pruning.fusing import FUSES, check_fuse
from tsdtp.pruning.merging import similarity_flops
from tsdtp.pruning.state import Decision, TokenState


class TokenPruner(nn.Module, ABC):
    """Decides layer by layer which tokens stay. A method is one subclass in one file.

    One number, `strictness`, says how much goes: larger drops more. A budget on FLOPs is met by
    calibrating that number (`tsdtp.models.budget`), so every method honours it in the same way.

    Attributes, of which a method declares its own as class attributes:
        needs_attention: wants `TokenState.attention` in the layers that it prunes.
        needs_embeddings: wants `TokenState.embeddings` in the layers that it prunes.
        needs_projections: wants `TokenState.query` and `key` in the layers that it prunes.
        needs_target: learns from `TokenState.target` in training.
        proportional_attention: a merged token weighs the sum of `Decision.mass`, the number of
            tokens in it, in every softmax, cross-attention included, and in a mean that a head
            reads; while a language model generates it weighs 1.
        arguments: what it was built with, beyond the sizes of the model.
        progress: the part of the training that is done, 0 to 1, for methods that anneal.
        frozen: what it has learnt stays as it is.
        calibrated: whether a calibration has set its strictness, in this process.
        resolution: half the step between the FLOPs ratios that it can spend, of the blocks that it
            knows of; 0: any can be met.
        ramps: a training may come down to the budget little by little; False: it starts there.
        keep_all: the strictness at which nothing is dropped.
        search: the range of strictness that calibration searches, and beyond it where keep_all is
            infinite and it does not suffice; None: no budget can be set.

    Args:
        num_layers: blocks of the encoder.
        layers: blocks (from 0) after whose attention tokens are dropped; default: all but the
            last, whose feed-forward no other token reads any more.
        budget: fraction of the plain encoder's FLOPs that may be spent, or None.
        strictness: where there is no budget; with one, nothing goes until it is calibrated.
        fuse: what becomes of dropped tokens: lost (None), averaged into one "summary" token a
            sequence, or each into the most "similar" token that stays, see `tsdtp.pruning.fusing`.
        soft_until: the part of the training, 0 to 1, that it learns in, through gates or soft
            masks; in the rest its decisions are hard, and training runs packed.

    Raises:
        ValueError: for a budget outside (0, 1], one the method cannot honour, a layer that the
            encoder does not have, an unknown way to fuse, or a part of the training that is none.
    """

    needs_attention: bool = False
    needs_embeddings: bool = False
    needs_projections: bool = False
    needs_target: bool = False
    proportional_attention: bool = False
    arguments: Mapping[str, Any] = MappingProxyType({})
    progress: float = 0.0
    frozen: bool = False
    calibrated: bool = False
    soft_until: float
    resolution: float = 0.0
    ramps: bool = True
    keep_all: float = -math.inf
    search: tuple[float, float] | None = None
    strictness: Tensor

    def __new__(cls, *args, **kwargs):
        """Remembers what it is built with, so that it can be saved."""
        pruner = super().__new__(cls)
        if args or kwargs:  # a copy is made without, and has them from its original
            given = inspect.signature(cls.__init__).bind_partial(pruner, *args, **kwargs)
            given.apply_defaults()  # they may be others in a later version
            sizes = ("self", "num_layers", "hidden_size")
            own = {name: value for name, value in given.arguments.items() if name not in sizes}
            for name, parameter in given.signature.parameters.items():
                if parameter.kind is parameter.VAR_KEYWORD:  # what a class passes on to its base
                    own |= own.pop(name)
                if parameter.kind is parameter.VAR_POSITIONAL:  # the sizes
                    own.pop(name)
            if own.get("layers") is not None:
                own["layers"] = _listed(own["layers"])  # json knows no range
            object.__setattr__(pruner, "arguments", own)
        return pruner

    def __init__(
        self,
        num_layers: int,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
        strictness: float | None = None,
        fuse: str | None = None,
        soft_until: float = 1.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if budget is not None and not (is_number(budget) and 0 < budget <= 1):
            raise ValueError(f"pruning.budget={budget!r}: valid is a fraction in (0, 1], or null")
        if budget is not None and self.search is None:
            raise ValueError(f"{name} has no budget to set; valid: pruning.budget=null")
        if not (is_number(soft_until) and 0 <= soft_until <= 1):
            raise ValueError(f"pruning.soft_until={soft_until!r}: valid is 0 to 1")
        check_fuse(fuse)
        layers = range(num_layers - 1) if layers is None else _listed(layers)
        if wrong := [i for i in layers if not _is_block(i, num_layers)]:
            raise ValueError(f"pruning.layers={wrong}: valid are 0 to {num_layers - 1}")
        self.num_layers, self.layers = num_layers, sorted(set(layers))
        self.budget, self.fuse, self.soft_until = budget, fuse, soft_until
        self.proportional_attention |= fuse == "similar"
        start = self.keep_all if strictness is None or budget is not None else strictness
        self.register_buffer("strictness", torch.tensor(start, dtype=torch.float64))

    @property
    def trainable(self) -> bool:
        """Whether it has weights that train."""
        return not self.frozen and any(p.requires_grad for p in self.parameters())

    @property
    def learns(self) -> bool:
        """Whether they train now: in training mode, and in this part of the training."""
        return self.training and self.trainable and self.progress < self.soft_until

    def requires_grad_(self, requires_grad: bool = True):
        """As of any module; remembered, for sharded weights forget it in a forward."""
        self.frozen = not requires_grad
        return super().requires_grad_(requires_grad)

    def prunes(self, layer: int) -> bool:
        """Whether this method looks at that layer at all."""
        return layer in self.layers

    @property
    def depth(self) -> int:
        """How many blocks are computed; the head reads what the last of them leaves."""
        return self.num_layers

    def forward(self, state: TokenState) -> Decision:
        """Decides for one layer; dropped and protected tokens are respected whatever `decide` says.

        Args:
            state: T tokens at a layer that this method prunes.
        """
        own = next(self.parameters(), None)
        if own is not None and own.dtype.itemsize == 2:  # T5's states may be float32 even then
            state = replace(state, hidden=state.hidden.to(own.dtype))
        decision = self.decide(state)
        decision.keep = (decision.keep | state.protected) & state.alive
        if self.fuse:
            FUSES[self.fuse](decision, state)
        return decision

    @abstractmethod
    def decide(self, state: TokenState) -> Decision:
        """The method itself."""

    def _apply(self, fn, recurse=True):
        """Moves and casts like any module, but strictness stays float64: bfloat16 would move it."""
        strictness = self.strictness
        try:
            super()._apply(fn, recurse)
        except TypeError as error:
            if "float64" not in str(error):
                raise
            raise ValueError(f"thresholds are float64; valid: cpu, cuda ({error})") from error
        if not strictness.is_meta:  # there was nothing in it
            self.strictness = strictness.to(self.strictness.device)
        return self

    def flops(self, layer: int, lengths: Tensor) -> Tensor:
        """FLOPs of the scoring for sequences of these lengths [...], matrix products only."""
        return torch.zeros_like(lengths)

    def fusing_flops(self, lengths: Tensor, hidden_size: int) -> Tensor:
        """FLOPs of what `fuse` does, at most, for sequences of these lengths [...]."""
        if self.fuse != "similar":
            return torch.zeros_like(lengths)
        return similarity_flops(lengths, hidden_size)


def check_positive(name: str, value: float) -> None:
    """Raises ValueError for a setting that is no finite number above 0."""
    if not (is_number(value) and 0 < value < math.inf):
        raise ValueError(f"pruning.{name}={value!r}: valid is > 0")


def check_count(name: str, value: int, least: int = 1, of: str = "pruning.") -> None:
    """Raises ValueError for a setting that is no whole number, or too small."""
    if not is_count(value, least):
        raise ValueError(f"{of}{name}={value!r}: valid is {least} or more")


def is_count(value: object, least: int = 1) -> bool:
    """Whether it is a whole number, and not too small."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def check_fraction(name: str, value: float) -> None:
    """Raises ValueError for a setting that is no fraction."""
    if not (is_number(value) and 0 <= value <= 1):
        raise ValueError(f"pruning.{name}={value!r}: valid is a fraction in [0, 1]")


def finite(name: str, value: float) -> float:
    """The setting itself; raises ValueError for what is no finite number."""
    if not (is_number(value) and math.isfinite(value)):
        raise ValueError(f"pruning.{name}={value!r}: valid is a finite number")
    return float(value)


def is_number(value: object) -> TypeGuard[float]:
    """Whether one can reckon with it: true and false are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_block(i: object, num_layers: int) -> bool:
    return isinstance(i, Integral) and not isinstance(i, bool) and 0 <= int(i) < num_layers


def _listed(layers: Sequence[int]) -> list[int]:
    """Blocks as a list; an iterator could be read but once."""
    if not hasattr(layers, "__len__"):
        raise ValueError(f"pruning.layers={layers!r}: valid is a list of blocks")
    return list(layers)
