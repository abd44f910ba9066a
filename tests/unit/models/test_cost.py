from __future__ import annotations

import pytest
import torch
from tiny import FAMILIES, LENGTHS, SEQ2SEQ_FAMILIES, make_batch, make_model, make_seq2seq
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from tsdtp.models import prune
from tsdtp.models.cost import EncoderShape, encoder_flops, unpruned_flops
from tsdtp.models.decoder_cost import DecoderShape

SHAPE = EncoderShape(num_layers=2, hidden_size=4, intermediate_size=8, num_heads=2)


def counted(model, batch) -> int:
    """What torch counts in the blocks: the head is outside, embeddings multiply nothing.

    On a CPU torch counts 0 for fused attention, hence the reference back end.
    """
    model.backend = "reference"
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.encode(batch["input_ids"], batch["attention_mask"])
    return counter.get_total_flops()


def lengths_of(model, batch) -> torch.Tensor:
    with torch.no_grad():
        out = model(**batch)
    return out.lengths


@pytest.mark.parametrize("family", sorted({*FAMILIES, "qwen3"} - {"electra"}))  # it projects
def test_no_pruning_costs_what_torch_counts(family, batch):
    model = prune(make_model(family), "none")
    lengths = lengths_of(model, batch)
    analytic = encoder_flops(model.shape, lengths, model.pruner)
    assert analytic.sum().item() == counted(model, batch)
    model.pooling = "mean"
    everything = encoder_flops(model.shape, lengths, model.pruner)
    assert everything.sum().item() == counted(model, batch)
    assert torch.equal(everything, unpruned_flops(model.shape, lengths))
    spared = model.shape.output_flops(lengths[0] - 1)
    spared = spared + model.shape.feed_forward_flops(lengths[0] - 1)
    assert torch.equal(everything - analytic, spared.double()), "a head that reads one token"


def test_packed_pruning_costs_what_torch_counts(batch):
    model = prune(make_model("bert"), "ts_dtp", k=0.0)
    lengths = lengths_of(model, batch)
    assert lengths[-1].sum() < 0.5 * lengths[0].sum(), "much has to go for this to say much"
    analytic = encoder_flops(model.shape, lengths, model.pruner).sum().item()
    features, scored = 32, lengths[:3].sum().item()
    uncounted = 2 * features * scored  # torch has no formula for a matrix times a vector
    assert analytic == counted(model, batch) + uncounted


def test_a_block_by_hand():
    """3 tokens enter each block and 1 goes: attention sees those that enter, the rest the kept."""
    lengths = torch.tensor([[3], [2], [2]])
    attention = [8 * n * 16 + 4 * n**2 * 4 for n in (3, 2)]
    feed_forward = [4 * n * 4 * 8 for n in (2, 2)]
    total = encoder_flops(SHAPE, lengths, None)
    assert total.dtype == torch.float64
    assert total.item() == sum(attention) + sum(feed_forward)
    full = 2 * (8 * 3 * 16 + 4 * 9 * 4 + 4 * 3 * 4 * 8)
    assert unpruned_flops(SHAPE, lengths).item() == full


def test_scoring_is_counted_where_it_happens():
    model = prune(make_model("bert"), "topk", layers=[1])
    lengths = torch.full((5, 1), 10)
    unpruned = prune(make_model("bert"), "none").pruner
    extra = encoder_flops(model.shape, lengths, model.pruner)
    extra -= encoder_flops(model.shape, lengths, unpruned)
    assert extra.item() == 2 * 4 * 10**2, "attention received, of four heads, in one layer"


def test_padding_costs_nothing():
    model = prune(make_model("bert"), "none")
    wide = lengths_of(model, make_batch(width=60))
    assert torch.equal(wide, lengths_of(model, make_batch()))
    assert wide[0].tolist() == list(LENGTHS)


def test_the_shape_is_the_models():
    for family in ("bert", "distilbert"):
        shape = prune(make_model(family), "none").shape
        assert shape == EncoderShape(4, 32, 64, 4, reads_one=True)


def test_a_marian_with_two_vocabularies_chooses_among_the_targets():
    sizes = {"vocab_size": 100, "decoder_vocab_size": 1000}
    config = AutoConfig.for_model("marian", **sizes, share_encoder_decoder_embeddings=False)
    assert DecoderShape.of(config).vocab_size == 1000
    assert DecoderShape.of(AutoConfig.for_model("marian", **sizes)).vocab_size == 100


@pytest.mark.parametrize("family", SEQ2SEQ_FAMILIES)
def test_a_translations_flops_are_those_that_torch_counts(family):
    """One source, its target given at once: a decoder then computes all pairs of target tokens."""
    model = prune(make_seq2seq(family), "none", execution="hf")
    batch, labels = make_batch((11,)), make_batch((7,), seed=1)["input_ids"]
    model.hf_model.set_attn_implementation("eager")  # of fused attention torch counts nothing
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(**batch, labels=labels)
    decoder, source, target = DecoderShape.of(model.config), torch.tensor(11), torch.tensor(7)
    pairs = 4 * 7 * 7 * decoder.attention_size - 2 * 7 * 8 * decoder.attention_size
    expected = encoder_flops(model.shape, torch.full((5, 1), 11), None).item()
    expected += decoder.cross_attention_flops(source, target).item()
    expected += decoder.own_flops(target).item() + decoder.num_layers * pairs
    assert counter.get_total_flops() == expected


def test_roberta_numbers_positions_from_its_padding_on():
    for padding in (1, 3):
        model = prune(make_model("roberta", pad_token_id=padding), "none")
        assert model.max_positions == 64 - padding - 1
        ids = torch.full((1, model.max_positions), 7)
        assert model(ids).logits.isfinite().all()
