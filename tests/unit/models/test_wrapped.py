"""What becomes of a wrapper's buffers becomes of the wrapped model's."""

from __future__ import annotations

import pytest
import torch
from tiny import FAMILIES, SEQ2SEQ_FAMILIES, SPECIAL, make_batch, make_model, make_seq2seq

import tsdtp

BIAS = "final_logits_bias"  # a buffer of the whole model, which its own forward reads


@pytest.fixture
def translator():
    return tsdtp.prune(make_seq2seq("bart"), "topk", special_ids=[SPECIAL]).eval()


def test_a_buffer_that_is_replaced_is_read_by_the_plain_model(translator):
    bias = torch.randn_like(translator.final_logits_bias)
    translator.final_logits_bias = bias
    assert translator.hf_model.final_logits_bias is bias


def test_buffers_that_are_assigned_when_loading_are_read_by_the_plain_model(translator):
    state = {name: weight.clone() for name, weight in translator.state_dict().items()}
    state[BIAS] += 1
    parent = torch.nn.ModuleDict({"translator": translator})
    parent.load_state_dict({f"translator.{k}": v for k, v in state.items()}, assign=True)
    assert translator.hf_model.final_logits_bias is translator.final_logits_bias
    assert (translator.hf_model.final_logits_bias == state[BIAS]).all()


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_model_without_data_becomes_one_with(family):
    model = tsdtp.prune(make_model(family), "topk", special_ids=[SPECIAL]).eval()
    batch, state = make_batch(), {k: v.clone() for k, v in model.state_dict().items()}
    expected = model(**batch).logits
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.to("meta").to_empty(device="cpu")
    assert model.pruner.strictness.dtype == torch.float64
    model.load_state_dict(state)
    for name, buffer in model.named_buffers():  # those that no state holds
        buffer.copy_(kept[name])
    torch.testing.assert_close(model(**batch).logits, expected)


@pytest.mark.parametrize("family", [*FAMILIES, *SEQ2SEQ_FAMILIES])
def test_a_model_that_answers_by_tuples_is_read_by_name(family):
    plain = (make_model if family in FAMILIES else make_seq2seq)(family)
    plain.config.return_dict = False
    model, batch = tsdtp.prune(plain, "none", special_ids=[SPECIAL]).eval(), make_batch()
    if family in SEQ2SEQ_FAMILIES:
        batch["decoder_input_ids"] = batch["input_ids"][:, :4]
    logits = model.with_execution("hf")(**batch).logits
    torch.testing.assert_close(model(**batch).logits, logits, atol=1e-4, rtol=0)
