"""Tiny random models of every family, ragged batches, and where real data lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from tsdtp.packing import Layout

REPOSITORY = Path(__file__).resolve().parent.parent
FAMILIES = ("bert", "roberta", "electra", "distilbert", "modernbert", "gpt2", "llama", "qwen2")
RELATIVES = ("xlm-roberta", "camembert", "qwen3")  # of roberta and of llama
CAUSAL_FAMILIES = ("gpt2", "llama", "qwen2")
SEQ2SEQ_FAMILIES = ("marian", "bart", "mbart", "t5")
VOCABULARY, PAD, SPECIAL = 100, 1, 2  # ids 0 to 4 are no words; 2 closes a sequence
LENGTHS = (24, 3, 17, 1, 9, 15)

# Overrides of a `tsdtp train` that does everything once and leaves no more than its record; seconds
# and memory are in it where it is timed.
TIMED = ("debug=fast", "callbacks=none", "logger=none", "hardware.threads=1")
FAST = (*TIMED, "benchmark.enabled=false")


def layout_of(*lengths: int) -> Layout:
    """Of sequences of these lengths that nothing has left."""
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return Layout(offsets, max(lengths), torch.cat([torch.arange(n) for n in lengths]))


def shape_of(family: str) -> dict:
    if family == "distilbert":
        return {"dim": 32, "n_layers": 4, "n_heads": 4, "hidden_dim": 64}
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
    special = {
        "electra": {"embedding_size": 16},
        "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2},
        "gpt2": {"n_inner": 64},
        "llama": {"num_key_value_heads": 2},
        "qwen2": {"num_key_value_heads": 1},
        "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
    }
    return sizes | {"intermediate_size": 64} | special.get(family, {})


def make_seq2seq(family: str, seed: int = 0):
    """A plain Hugging Face encoder-decoder with random weights; its targets end with SPECIAL."""
    if family == "t5":
        sizes = {"num_layers": 4, "num_decoder_layers": 2, "num_heads": 4, "d_kv": 12, "d_ff": 64}
    else:
        sizes = {"encoder_layers": 4, "decoder_layers": 2, "max_position_embeddings": 64}
        sizes |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
        sizes |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    torch.manual_seed(seed)
    special = {"pad_token_id": PAD, "eos_token_id": SPECIAL, "decoder_start_token_id": PAD}
    config = AutoConfig.for_model(family, vocab_size=VOCABULARY, d_model=32, **sizes, **special)
    return larger(AutoModelForSeq2SeqLM.from_config(config).eval())


def larger(model):
    """The same model with random matrices large enough to tell tokens apart."""
    for parameter in model.parameters():
        if parameter.ndim > 1 and parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def make_model(family: str, seed: int = 0, auto=AutoModelForSequenceClassification, **settings):
    """A plain Hugging Face model with random weights large enough to tell tokens apart."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        family,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=None,
        **{"pad_token_id": PAD} | shape_of(family) | settings,
    )
    return larger(auto.from_config(config).eval())


def make_lm(family: str):
    """The same as a language model."""
    return make_model(family, auto=AutoModelForCausalLM)


def make_batch(lengths=LENGTHS, seed: int = 0, width: int | None = None) -> dict:
    """input_ids and attention_mask of sequences that begin with 0 and end with SPECIAL."""
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths)
    ids = torch.full((len(lengths), width), PAD)
    mask = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, n in enumerate(lengths):
        ids[row, :n] = torch.randint(5, VOCABULARY, (n,), generator=generator)
        ids[row, n - 1], ids[row, 0] = SPECIAL, 0
        mask[row, :n] = 1
    return {"input_ids": ids, "attention_mask": mask}


def on_the_left(batch: dict) -> dict:
    """The same sequences with their padding before them."""
    rows, width = zip(*(batch[k] for k in batch), strict=True), batch["input_ids"].shape[1]
    ids, masks = zip(*((i.roll(width - int(m.sum())), m.flip(0)) for i, m in rows), strict=True)
    return {"input_ids": torch.stack(ids), "attention_mask": torch.stack(masks)}


def shared_folder(variable: str, name: str) -> Path:
    """Real data or models: where an environment variable points, or beside the repository."""
    folder = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no real {name}: set {variable} to a folder that holds them")
    return folder
