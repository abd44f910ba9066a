from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tiny import (
    LENGTHS,
    SPECIAL,
    make_batch,
    make_model,
    make_seq2seq,
    on_the_left,
)

import tsdtp
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.models.classifier import PrunedClassifier
from tsdtp.packing import pack
from tsdtp.pruning.none import NoPruning
from tsdtp.pruning.rules import segment_mean
from tsdtp.pruning.ts_dtp import TsDtp

LABELS = torch.tensor([0, 1, 0, 1, 0, 1])


def test_the_library_is_one_call():
    assert isinstance(tsdtp.prune(make_model("bert")), tsdtp.PrunedClassifier)
    with pytest.raises(AttributeError, match="has no attribute 'cut'"):
        tsdtp.cut  # noqa: B018


def test_the_unknown_word_stays_where_its_token_ends_a_text():
    tokenizer = train_tokenizer(["a film not dull"], 100, max_length=64)
    tokenizer.eos_token = tokenizer.unk_token  # as GPT-2's
    model = tsdtp.prune(make_model("bert"), "topk", fraction=0.5, tokenizer=tokenizer)
    assert tokenizer.unk_token_id in model.special_ids.tolist()


def test_an_encoder_decoder_translates(batch):
    model = tsdtp.prune(make_seq2seq("marian"), "topk", fraction=0.5)
    assert isinstance(model, tsdtp.PrunedSeq2Seq)
    assert model.special_ids.tolist() == [SPECIAL]
    assert model.generate(**batch, max_new_tokens=3).shape == (6, 4)
    out = model(**batch)
    assert (out.logits, out.loss) == (None, None), "nothing to decode"
    assert out.tokens_kept[:, -1].sum() < sum(LENGTHS)


def test_the_tokenizer_says_what_is_never_dropped():
    tokenizer = train_tokenizer(["a b c"], 20)
    model = tsdtp.prune(make_model("bert"), "topk", tokenizer=tokenizer)
    words = {tokenizer.unk_token_id, tokenizer.mask_token_id}
    assert model.special_ids.tolist() == sorted(set(tokenizer.all_special_ids) - words)
    with pytest.warns(UserWarning, match="which tokens are special"):
        tsdtp.prune(make_model("bert"), "topk")


@pytest.mark.parametrize("method", ["none", "depth", NoPruning])
def test_where_none_can_be_dropped_nobody_asks_which_are_special(method, recwarn):
    tsdtp.prune(make_model("bert"), method)
    assert not recwarn.list


@pytest.mark.parametrize("execution", ["packed", "masked", "hf"])
def test_output_fields(batch, execution):
    model = tsdtp.prune(make_model("bert"), "topk", fraction=0.5, execution=execution)
    out = model(**batch)
    assert out.logits.shape == (6, 2)
    assert out.tokens_kept.shape == (6, 4)
    assert out.tokens_entered.tolist() == list(LENGTHS)
    assert out.kept_layers.shape == batch["input_ids"].shape
    assert out.loss is None
    assert out.auxiliary_loss is None
    dropped = out.tokens_kept[:, -1].sum() < sum(LENGTHS)
    assert bool(dropped) == (execution != "hf")


def test_the_mode_decides_the_execution_unless_told():
    model = tsdtp.prune(make_model("bert"), "ts_dtp")
    assert (model.training, model.execution) == (False, "packed"), "as the plain model came"
    assert model.train().execution == "masked", "gates carry gradients"
    assert model.hf_model.training
    assert tsdtp.prune(make_model("bert").train(), "ts_dtp").execution == "masked"
    model.pruner.requires_grad_(False)
    assert model.execution == "packed", "a pruner that learns nothing needs no gates"
    assert tsdtp.prune(make_model("bert"), execution="masked").execution == "masked"


def test_labels_give_the_loss(batch):
    model = tsdtp.prune(make_model("bert"), "ts_dtp", auxiliary_weight=0.5)
    out = model(**batch, labels=LABELS)
    torch.testing.assert_close(out.loss, F.cross_entropy(out.logits, LABELS))
    model.pruner.train()
    out = model(**batch, labels=LABELS)
    expected = F.cross_entropy(out.logits, LABELS) + 0.5 * out.auxiliary_loss
    torch.testing.assert_close(out.loss, expected)


@pytest.mark.parametrize("execution", ["packed", "hf"])
def test_labels_may_stand_in_a_column_but_are_one_each(batch, execution):
    model = tsdtp.prune(make_model("bert"), "none", execution=execution)
    expected = model(**batch, labels=LABELS).loss
    assert torch.equal(model(**batch, labels=LABELS[:, None]).loss, expected)
    assert torch.equal(model(**batch, labels=LABELS.int()).loss, expected)
    soft = F.one_hot(LABELS, 2).float()
    torch.testing.assert_close(model(**batch, labels=soft).loss, expected)
    with pytest.raises(ValueError, match=r"labels of shape \[6, 2\]: valid is \[6\], one each"):
        model(**batch, labels=LABELS[:, None].expand(-1, 2))


def test_the_plain_forward_of_a_decoder_keeps_no_keys_and_values(batch):
    model, kept = tsdtp.prune(make_model("gpt2"), "none", execution="hf"), []
    base = model.base_model
    base.register_forward_hook(lambda _, __, output: kept.append(output.past_key_values))
    model(**batch)
    assert kept == [None], "or the baseline's memory would be that of writing"


def test_weights_are_shared():
    plain = make_model("bert")
    model = tsdtp.prune(plain)
    ours = {id(p) for name, p in model.named_parameters() if not name.startswith("pruner.")}
    assert ours == {id(p) for p in plain.parameters()}


def test_a_head_that_is_replaced_answers_and_learns(batch):
    model = tsdtp.prune(make_model("bert"), "topk", fraction=0.5)
    old, model.classifier = model.classifier, torch.nn.Linear(32, 5)
    out = model(**batch, labels=LABELS)
    assert out.logits.shape[1] == 5 and model.hf_model.classifier is model.classifier
    out.loss.backward()
    assert model.classifier.weight.grad.abs().sum() > 0 and old.weight.grad is None


@pytest.mark.parametrize("method", ["ts_dtp", "tome"])
def test_it_may_be_pickled_whole(method, batch, tmp_path):
    model = tsdtp.prune(make_model("bert"), method)
    torch.save(model, tmp_path / "whole.pt")
    again = torch.load(tmp_path / "whole.pt", weights_only=False)
    assert torch.equal(again(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2"])
@pytest.mark.parametrize("execution", ["packed", "masked"])
def test_a_text_that_ends_with_the_padding_token_is_read_as_by_the_plain_model(family, execution):
    plain, batch = make_model(family), make_batch()
    plain.config.pad_token_id = SPECIAL
    batch["input_ids"][-1] = SPECIAL  # a text of nothing else
    batch["input_ids"].masked_fill_(batch["attention_mask"] == 0, SPECIAL)
    model = tsdtp.prune(plain, "topk", fraction=1.0, execution=execution)
    for each in (batch, on_the_left(batch)):
        places = (each["attention_mask"].cumsum(1) - 1).clamp(min=0)
        expected = plain(**each, position_ids=places).logits
        rows = slice(None) if each is batch else slice(0, -1)  # there plain reads the padding
        torch.testing.assert_close(model(**each).logits[rows], expected[rows], atol=1e-5, rtol=0)
        found = model(each["input_ids"], each["attention_mask"].bool()).logits
        torch.testing.assert_close(found[rows], expected[rows], atol=1e-5, rtol=0)


def test_special_tokens_come_from_the_config_unless_told(batch):
    plain = make_model("bert")
    assert tsdtp.prune(plain).special_ids.tolist() == []
    plain.config.eos_token_id = SPECIAL
    assert tsdtp.prune(plain).special_ids.tolist() == [SPECIAL]
    plain.config.eos_token_id = [9, SPECIAL]  # as Llama 3 has it
    assert tsdtp.prune(plain).special_ids.tolist() == [SPECIAL, 9]
    model = tsdtp.prune(plain, "topk", fraction=0.0, special_ids=[7, SPECIAL, 7])
    assert model.special_ids.tolist() == [SPECIAL, 7]
    stays = (batch["input_ids"] == SPECIAL) | (batch["input_ids"] == 7)
    stays[:, 0] = True
    assert torch.equal(
        model(**batch).tokens_kept[:, -1], (stays & batch["attention_mask"] > 0).sum(1)
    )


@pytest.mark.parametrize("family", ["llama", "modernbert"])
def test_half_precision_does_not_move_far_tokens(family):
    model = tsdtp.prune(make_model(family), "topk", special_ids=[SPECIAL])

    def turns() -> dict:
        return {name: b.clone() for name, b in model.named_buffers() if name.endswith("inv_freq")}

    before = turns()
    model.bfloat16()
    assert before and next(model.parameters()).dtype == torch.bfloat16
    assert all(torch.equal(turns()[name], value) for name, value in before.items())


def test_a_missing_mask_means_all_tokens(batch):
    model = tsdtp.prune(make_model("bert"), "none")
    rows = {"input_ids": batch["input_ids"][:1]}
    assert model(**rows).tokens_entered.tolist() == [24]


@pytest.mark.parametrize("method", ["ts_dtp", "transkimmer", "ts_dtp_described"])
def test_a_half_precision_model_gets_a_pruner_of_its_type(method, batch, tmp_path):
    model = tsdtp.prune(make_model("bert").bfloat16(), method, special_ids=[SPECIAL])
    assert {p.dtype for p in model.pruner.parameters()} == {torch.bfloat16}
    assert model.pruner.strictness.dtype == torch.float64
    logits = model.eval()(**batch).logits
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(tsdtp.from_pretrained(tmp_path)(**batch).logits, logits)


def test_a_mean_of_many_large_tokens_is_a_number_in_half_precision():
    lengths = [512, 3]
    hidden = torch.full((2, 512, 4), 200.0, dtype=torch.float16)
    packed = pack(hidden, torch.arange(512) < torch.tensor(lengths)[:, None])
    mean = segment_mean(packed.values, torch.ones(515), packed.layout)
    assert mean.tolist() == [[200.0] * 4] * 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_mean_is_taken_in_half_precision_too(dtype, batch):
    whole, half = (
        tsdtp.prune(make_model("bert").to(kind), "topk", pooling="mean", special_ids=[SPECIAL])
        for kind in (torch.float32, dtype)
    )
    logits = half(**batch).logits
    assert logits.dtype == dtype
    torch.testing.assert_close(logits.float(), whole(**batch).logits, atol=0.1, rtol=0.1)


def test_a_pruner_built_by_hand_is_saved_with_its_arguments(batch, tmp_path):
    pruner = TsDtp(4, 32, 2.0, decay=0.0, own_attention=True, k=-0.5)
    given = {"gamma": 2.0, "decay": 0.0, "own_attention": True, "k": -0.5, "budget": None}
    assert given.items() <= pruner.arguments.items()
    assert copy.deepcopy(pruner).arguments == pruner.arguments
    model = PrunedClassifier(make_model("bert"), pruner, special_ids=[SPECIAL]).eval()
    model.save_pretrained(tmp_path)
    kept = tsdtp.from_pretrained(tmp_path)(**batch).tokens_kept
    assert torch.equal(kept, model(**batch).tokens_kept) and kept.sum() < 4 * sum(LENGTHS)


@pytest.mark.parametrize("execution", ["packed", "masked"])
def test_attention_is_dropped_out_in_training_alone(execution, batch):
    plain = make_model("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    model = tsdtp.prune(plain, "none", execution=execution)
    assert torch.equal(model(**batch).logits, model(**batch).logits)
    model.train()
    assert not torch.allclose(model(**batch).logits, model(**batch).logits, atol=1e-3)
