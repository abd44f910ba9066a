"""A pruned classifier as a program without Python: for one text at a time, of any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from tsdtp.models.classifier import PrunedClassifier, check_classifies
from tsdtp.models.modes import evaluating
from tsdtp.models.pruned import PrunedModel
from tsdtp.packing import whole


class OneText(nn.Module):
    """The packed forward of a batch of one without padding; its kept lengths stay dynamic.

    A classifier that reads the last token (GPT-2, Llama, Qwen2) reads the last one that it is
    given: where the plain model's head passes over trailing padding tokens, leave these off.

    Args:
        model: whose weights are shared.
    """

    def __init__(self, model: PrunedClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Classifies one text.

        Args:
            input_ids: [1, S] int64.
            token_type_ids: [1, S] int64, of a model that has several types.

        Returns:
            logits [1, C], and [S] int64, in how many blocks each token stayed.
        """
        model, ids = self.model, whole(input_ids)
        encoder = model.packed_encoder()
        types = None if token_type_ids is None else token_type_ids[0]
        embeddings = ids.like(encoder.embed(ids, types))
        encoding = encoder(embeddings, ids.values, model.protected(ids), masked=False)
        return model.classify(encoding), encoding.kept


def program_inputs(model: PrunedModel) -> list[str]:
    """What a program of this model takes, in order: token types only where there are several."""
    types = ["token_type_ids"] if getattr(model.config, "type_vocab_size", 0) > 1 else []
    return ["input_ids", *types]


def export(model: PrunedModel, max_length: int | None = None) -> ExportedProgram:
    """The model as a `torch.export` program of `OneText`, which runs without this library.

    Tokens are really dropped in it: what a block computes depends on the text. A batch is left to
    the packed model, whose layout of several sequences no exporter can follow.

    Args:
        model: any pruned classifier; exported as in evaluation.
        max_length: in tokens; default: the model's positions, or 512.

    Raises:
        ValueError: for a model that does not classify, a length that it does not take, or a method
            that no exporter can follow (`depth`, `tome`, `ts_dtp_described`, `ts_dtp_notebook`).

    Example:
        >>> torch.export.save(tsdtp.export(model), "model.pt2")
    """
    model, longest = check_classifies(model), _longest(model, max_length)
    inputs, size = program_inputs(model), (1, min(16, longest))
    ids = tuple(torch.zeros(size, dtype=torch.long, device=model.device) for _ in inputs)
    length = Dim("tokens", min=2, max=longest)
    try:
        with evaluating(model), torch.no_grad():
            program = OneText(model.with_execution("packed")).eval()
            return torch.export.export(
                program, ids, dynamic_shapes=tuple({1: length} for _ in inputs)
            )
    except GuardOnDataDependentSymNode as error:
        raise ValueError(_refused(model, "a torch.export program")) from error


def _longest(model: PrunedModel, max_length: int | None) -> int:
    """The most tokens of a text; one length alone would be no dynamic dimension."""
    limit = model.max_positions
    if max_length is None:
        return limit or 512
    if max_length < 3 or (limit and max_length > limit):
        valid = f"3 to {limit}" if limit else "3 or more"
        raise ValueError(f"max_length={max_length}: valid is {valid}")
    return max_length


def export_onnx(model: PrunedModel, path: str | Path, max_length: int | None = None) -> Path:
    """Writes the same program as an ONNX file; needs the packages onnx and onnxscript.

    Args:
        model: see `export`.
        path: of the file, `.onnx`.
        max_length: see `export`.

    Raises:
        ImportError: a package is missing.
        ValueError: as `export`; and for `power_bert`.
    """
    exported = export(model, max_length)
    try:
        program: Any = torch.onnx.export(
            exported,
            input_names=program_inputs(model),
            output_names=["logits", "kept_layers"],
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise ValueError(_refused(model, "an ONNX file")) from error
    program.save(str(path))
    return Path(path)


def _refused(model: PrunedModel, goal: str) -> str:
    valid = "ts_dtp, dtp, ltp, transkimmer, topk, random, cls_attention"
    return f"{type(model.pruner).__name__} cannot become {goal}; valid methods: {valid}"
