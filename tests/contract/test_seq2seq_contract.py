"""What every method in configs/pruning promises inside an encoder-decoder of every family."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from methods import BUDGET, METHODS, build_pruner, calibrated
from tiny import LENGTHS, SEQ2SEQ_FAMILIES, SPECIAL, make_batch, make_seq2seq

from tsdtp.models import PrunedSeq2Seq
from tsdtp.models.budget import spent_ratio
from tsdtp.models.seq2seq_blocks import SEQ2SEQ_FAMILIES as KNOWN
from tsdtp.models.texts import IGNORED
from tsdtp.packing import pack, unpack

PENALTIES = {"encoder_repetition_penalty": 1.5, "encoder_no_repeat_ngram_size": 2}
SEARCHES = ({"num_beams": 1}, {"num_beams": 3}, {"num_beams": 1, **PENALTIES})


@pytest.fixture(params=METHODS)
def method(request) -> str:
    return request.param


@pytest.fixture(params=SEQ2SEQ_FAMILIES)
def family(request) -> str:
    return request.param


@pytest.fixture(params=SEARCHES, ids=["greedy", "beam", "penalties"])
def search(request) -> dict:
    return {"do_sample": False, "max_new_tokens": 6, **request.param}


@pytest.fixture
def labels() -> torch.Tensor:
    targets = make_batch((7, 12, 1, 9, 4, 12), seed=9)
    return targets["input_ids"].masked_fill(targets["attention_mask"] == 0, IGNORED)


def build(method: str, family: str) -> PrunedSeq2Seq:
    return calibrated(PrunedSeq2Seq, make_seq2seq, method, family)


def outputs(model, batch, execution, labels=None):
    model.execution = execution
    with torch.inference_mode():
        return model(**batch, labels=labels)


def test_packed_equals_masked(method, family, batch, labels):
    model = build(method, family)
    packed, masked = (outputs(model, batch, e, labels) for e in ("packed", "masked"))
    assert torch.equal(packed.kept_layers, masked.kept_layers)
    torch.testing.assert_close(packed.logits, masked.logits, atol=2e-4, rtol=0)
    torch.testing.assert_close(packed.loss, masked.loss, atol=1e-4, rtol=0)


@pytest.mark.parametrize("soft", ["ltp", "power_bert"])
def test_soft_gates_hold_without_gradients(soft, family, batch, labels):
    model = build(soft, family).train()
    model.hf_model.eval()  # no dropout
    model.execution = "masked"
    with torch.no_grad():
        blind = model(**batch, labels=labels).loss
    seeing = model(**batch, labels=labels).loss.detach()
    torch.testing.assert_close(seeing, blind, atol=1e-5, rtol=0)


def test_packed_translates_as_masked(method, family, batch, search):
    model = build(method, family)
    packed, masked = [], []
    for execution, found in (("packed", packed), ("masked", masked)):
        model.execution = execution
        found.extend(model.generate(**batch, **search).tolist())
    assert packed == masked


@pytest.mark.parametrize("merging", ["tome", "ts_dtp:fuse=similar", "ts_dtp"])
@pytest.mark.parametrize("execution", ["packed", "masked"])
def test_what_is_written_is_likeliest_under_teacher_forcing(merging, family, batch, execution):
    model = build(merging, family)
    model.execution = execution
    settings = {"do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6}
    written = model.generate(**batch, **settings)
    with torch.no_grad():
        logits = model(**batch, decoder_input_ids=written[:, :-1]).logits
    logits[..., model.config.eos_token_id] = float("-inf")  # six words were asked for
    assert torch.equal(logits.argmax(-1)[:, -6:-1], written[:, -6:-1])


def test_a_merged_token_weighs_in_cross_attention_as_many_as_it_stands_for(family, batch, labels):
    """The first token once, standing for two, or twice: the decoder sees no difference."""
    model = PrunedSeq2Seq(make_seq2seq(family), build_pruner("tome", fraction=0.0))
    read = make_seq2seq(family).prepare_decoder_input_ids_from_labels(labels)
    encoding = model.encode(**batch)
    grid, live = unpack(encoding.hidden)
    hidden = pack(*(torch.cat([x[:, :1], x], 1) for x in (grid, live)))
    twice = replace(encoding, hidden=hidden, weights=torch.ones(hidden.layout.size))
    expected = model.decode(twice, read)
    assert (model.decode(encoding, read) - expected).abs().max() > 1e-4
    encoding.weights[encoding.hidden.layout.cu_seqlens[:-1]] = 2.0
    torch.testing.assert_close(model.decode(encoding, read), expected, atol=1e-5, rtol=0)


def test_a_sentence_is_translated_the_same_in_any_batch(method, family, batch, search):
    model = build(method, family)
    together = model.generate(**batch, **search)
    assert torch.equal(model.generate(**make_batch(width=40), **search), together)
    for row in (0, 2, 3):
        n = LENGTHS[row]
        one = {k: v[row : row + 1, :n] for k, v in batch.items()}
        alone = model.generate(**one, **search)[0]
        assert torch.equal(together[row, : len(alone)], alone)


def test_full_keep_is_the_plain_model(method, family, batch, labels, search):
    model = build(method, family)
    model.pruner.strictness.fill_(model.pruner.keep_all)
    plain = make_seq2seq(family)
    with torch.inference_mode():
        expected = plain(**batch, labels=labels)
    translation = plain.generate(**batch, **search)
    for execution in ("packed", "masked", "hf"):
        out = outputs(model, batch, execution, labels)
        torch.testing.assert_close(out.logits, expected.logits, atol=5e-5, rtol=0)
        torch.testing.assert_close(out.loss, expected.loss)
        assert torch.equal(model.generate(**batch, **search), translation)


def test_the_cache_of_cross_attention_shrinks(family, batch):
    """What is dropped takes no memory while the target is written."""
    model = build("topk", family)
    widths = []
    for strictness in (model.pruner.keep_all, 0.9):
        model.pruner.strictness.fill_(strictness)
        settings = {"max_new_tokens": 3, "return_dict_in_generate": True, "use_cache": True}
        out = model.generate(**batch, **settings)
        layers = out.past_key_values.cross_attention_cache.layers
        widths.append([x.keys.shape[2] for x in layers if x.keys is not None])
    longest = int(outputs(model, batch, "packed").tokens_kept[:, -1].max())
    assert widths == [[24, 24], [longest, longest]]
    assert longest < 24


def test_the_translation_loss_alone_reaches_the_pruner(method, family, batch, labels):
    model = build(method, family).train()
    if not [p for p in model.pruner.parameters() if p.requires_grad]:
        pytest.skip(f"{method} has nothing to train")
    model.auxiliary_weight, model.execution = 0.0, None
    model(**batch, labels=labels).loss.backward()
    total = sum(p.grad.abs().sum() for p in model.pruner.parameters() if p.grad is not None)
    assert total > 0


def test_cross_attention_alone_reaches_the_pruner(family, batch, labels):
    """Dropped only after the last block's attention, tokens are missed by the decoder alone."""
    pruner = build_pruner("ts_dtp", layers=[3], k=-0.2)
    model = PrunedSeq2Seq(make_seq2seq(family), pruner, special_ids=[SPECIAL]).train()
    model.auxiliary_weight = 0.0
    out = model(**batch, labels=labels)
    assert out.tokens_kept[:, -1].sum() < out.tokens_entered.sum()
    out.loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in pruner.parameters())


@pytest.mark.parametrize("method", ["ts_dtp", "ts_dtp:fuse=similar"])
def test_gates_of_kept_tokens_change_no_value(method, family, batch, labels):
    """In training mode without dropout the gates only add a gradient."""
    model = build(method, family)
    expected = outputs(model, batch, "masked", labels).logits
    model.pruner.train()
    gated = model(**batch, labels=labels).logits
    assert gated.requires_grad
    torch.testing.assert_close(gated, expected, atol=2e-4, rtol=0)


def test_budget_is_spent(method, family):
    model = build(method, family)
    if model.pruner.search is None:
        pytest.skip(f"{method} has no budget to honour")
    batches = [make_batch(seed=s) for s in range(4)]
    off = max(0.03, model.pruner.resolution)  # a block more or less is a whole step
    assert spent_ratio(model, batches) == pytest.approx(BUDGET, abs=off)


def test_weights_keep_their_names(method, family):
    plain, model = make_seq2seq(family, seed=7), build(method, family)
    missing, unexpected = plain.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    assert all(name.startswith("pruner.") for name in unexpected)


def test_a_copy_translates_alike_and_moves_whole(family, batch):
    model, settings = build("topk", family), {"do_sample": False, "max_new_tokens": 6}
    copied = copy.deepcopy(model).double()
    for tensors in (copied.hf_model.buffers(), copied.hf_model.parameters()):
        assert {x.dtype for x in tensors if x.is_floating_point()} <= {torch.float64}
    assert {p.dtype for p in model.parameters()} == {torch.float32}, "the other one stayed"
    assert torch.equal(copied.generate(**batch, **settings), model.generate(**batch, **settings))


def test_an_encoding_from_elsewhere_is_refused(family, batch):
    with pytest.raises(ValueError, match="encoder_outputs: a pruned translator encodes input_ids"):
        build("topk", family).generate(**batch, encoder_outputs=(torch.zeros(6, 24, 32),))


@pytest.mark.parametrize("method", ["ts_dtp", "transkimmer", "ts_dtp_described"])
def test_t5_in_half_precision_adds_in_single(method, batch):
    """As transformers loads it in float16: some of its matrices stay float32."""
    plain = make_seq2seq("t5").half()
    for name, module in plain.named_modules():
        if name.endswith(".wo"):
            module.float()
    pruner = build_pruner(method).eval()
    pruner.strictness.fill_(0.0)
    model = PrunedSeq2Seq(plain, pruner, special_ids=[SPECIAL]).eval()
    assert model.generate(**batch, max_new_tokens=2).shape[0] == len(LENGTHS)
    out = outputs(model, batch, "packed")
    assert out.tokens_kept[:, -1].sum() < out.tokens_entered.sum()


@pytest.mark.parametrize("family", ["t5", "mbart"])
@pytest.mark.parametrize("execution", ["packed", "masked"])
def test_sums_beyond_float16_are_cut_off_as_in_the_plain_model(family, batch, labels, execution):
    plain = make_seq2seq(family)
    for name, weight in plain.get_encoder().named_parameters():
        if name.endswith(("wo.weight", "fc2.weight")):
            weight.data.mul_(20000).clamp_(-6e4, 6e4)
    model = PrunedSeq2Seq(plain.half(), build_pruner("none"), special_ids=[SPECIAL]).eval()
    for each in ("hf", execution):
        assert model.with_execution(each)(**batch, labels=labels).logits.isfinite().all(), each


def test_every_family_is_here():
    assert sorted(KNOWN) == sorted(SEQ2SEQ_FAMILIES)


@pytest.mark.parametrize("execution", ["masked", "packed"])
def test_full_keep_learns_as_the_plain_model(family, batch, labels, execution):
    """The same gradient for every weight, so that training may take either execution."""
    plain, model = make_seq2seq(family), build("none", family)
    model.execution = execution
    plain(**batch, labels=labels).loss.backward()
    model(**batch, labels=labels).loss.backward()
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert len(expected) > 20
    for name, parameter in model.hf_model.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", ["marian", "bart", "mbart"])
@pytest.mark.parametrize("part", ["", "layers.1", "layers.1.self_attn"])
def test_an_encoder_drops_out_wherever_the_plain_one_does(family, part, batch):
    plain, names = make_seq2seq(family), {"dropout", "activation_dropout"}
    for module in plain.modules():
        vars(module).update(dict.fromkeys(names & {*vars(module)}, 0.0))
    model = PrunedSeq2Seq(plain, build_pruner("none"), special_ids=[SPECIAL]).train()
    expected = model.encode(**batch).hidden.values
    assert torch.equal(model.encode(**batch).hidden.values, expected)
    chosen = plain.get_encoder().get_submodule(part)
    for name in names & {*vars(chosen)}:
        setattr(chosen, name, 0.5)
        assert not torch.allclose(model.encode(**batch).hidden.values, expected, atol=1e-3), name
        setattr(chosen, name, 0.0)
