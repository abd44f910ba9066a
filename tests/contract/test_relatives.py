"""Families that are another one under a name of their own, or but for a normalisation."""

from __future__ import annotations

import pytest
import torch
from tiny import SPECIAL, make_batch, make_lm, make_model, on_the_left

import tsdtp
from tsdtp.models.blocks import ROBERTA_LIKE


@pytest.fixture(params=[name for name in ROBERTA_LIKE if name != "roberta"])
def relative(request):
    plain = make_model(request.param)
    plain.load_state_dict(make_model("roberta").state_dict())
    return plain


def test_it_answers_as_the_plain_model(relative, batch):
    typed = {**batch, "token_type_ids": torch.zeros_like(batch["input_ids"])}
    expected = relative(**typed).logits
    model = tsdtp.prune(relative, "none", special_ids=[SPECIAL])
    torch.testing.assert_close(model(**typed).logits, expected, atol=1e-4, rtol=0)


def test_it_is_pruned_as_the_other(relative, batch):
    own, other = (
        tsdtp.prune(plain, "dtp", 0.6, special_ids=[SPECIAL])
        for plain in (relative, make_model("roberta"))
    )
    spent = [tsdtp.calibrate(m, [make_batch(seed=s) for s in range(3)]) for m in (own, other)]
    assert spent[0] == spent[1] < 0.7
    assert torch.equal(own(**batch).logits, other(**batch).logits)
    assert own.max_positions == other.max_positions == 62


def test_it_comes_back(relative, batch, tmp_path):
    model = tsdtp.prune(relative, "topk", fraction=0.5, special_ids=[SPECIAL])
    model.save_pretrained(tmp_path)
    assert torch.equal(tsdtp.from_pretrained(tmp_path)(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("method", ["topk", "ts_dtp", "tome"])
def test_packed_equals_masked_where_heads_are_normalised(method, batch):
    torch.manual_seed(0)
    model = tsdtp.prune(make_model("qwen3"), method, 0.6, special_ids=[SPECIAL])
    tsdtp.calibrate(model, [make_batch(seed=s) for s in range(3)])
    packed, masked = (model.with_execution(name)(**batch) for name in ("packed", "masked"))
    assert torch.equal(packed.kept_layers, masked.kept_layers)
    assert (packed.tokens_kept[:, -1] < packed.tokens_entered).any()
    torch.testing.assert_close(packed.logits, masked.logits, atol=1e-4, rtol=0)


def test_normalised_heads_answer_and_write_as_the_plain_model(batch):
    model = tsdtp.prune(make_model("qwen3"), "none", special_ids=[SPECIAL])
    plain = make_model("qwen3")
    for layer in (*plain.base_model.layers, *model.base_model.layers):
        for name in ("q_norm", "k_norm"):  # ones would say nothing of where they belong
            weight = getattr(layer.self_attn, name).weight
            weight.data = torch.linspace(0.5, 2, len(weight)).roll(int(name == "k_norm"))
    torch.testing.assert_close(model(**batch).logits, plain(**batch).logits, atol=1e-4, rtol=0)
    prompts = on_the_left({name: rows[[0, 2, 4]] for name, rows in batch.items()})
    settings = {"max_new_tokens": 8, "do_sample": False}
    writer = tsdtp.prune(make_lm("qwen3"), "none", special_ids=[SPECIAL])
    expected = make_lm("qwen3").generate(**prompts, **settings)
    assert torch.equal(writer.generate(**prompts, **settings), expected)
