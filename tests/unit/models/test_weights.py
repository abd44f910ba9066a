"""A file of weights gives back what was written, or says why it does not."""

from __future__ import annotations

import copy
import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tiny import SEQ2SEQ_FAMILIES, SPECIAL, make_lm, make_model, make_seq2seq

from tsdtp.models import from_pretrained, prune, weights
from tsdtp.models.weights import WEIGHTS, check_weights, load_weights, save_weights


def test_weights_round_trip(tmp_path, batch):
    model = prune(make_model("bert"), "ts_dtp").eval()
    model.pruner.strictness.fill_(0.123456789)
    assert save_weights(model, tmp_path) == tmp_path / WEIGHTS
    assert [p.name for p in tmp_path.iterdir()] == [WEIGHTS], "nothing half written"
    other = prune(make_model("bert", seed=5), "ts_dtp").eval()
    load_weights(other, tmp_path)
    assert other.pruner.strictness.item() == 0.123456789
    with torch.no_grad():
        assert torch.equal(other(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("family", SEQ2SEQ_FAMILIES)
def test_a_translator_as_hugging_face_saves_it_is_read(tmp_path, family):
    """Marian's positions are in no file: a formula makes them."""
    plain = make_seq2seq(family)
    plain.save_pretrained(tmp_path)
    other = prune(make_seq2seq(family, seed=5), "none")
    load_weights(other, tmp_path, strict=False)
    for name, weight in plain.state_dict().items():
        assert torch.equal(other.state_dict()[name], weight), name


def test_weights_may_start_another_method(tmp_path):
    plain = prune(make_model("bert"), "none")
    save_weights(plain, tmp_path)
    other = prune(make_model("bert", seed=5), "ts_dtp")
    before = {k: v.clone() for k, v in other.pruner.state_dict().items()}
    load_weights(other, tmp_path, strict=False)
    assert all(torch.equal(before[k], v) for k, v in other.pruner.state_dict().items())
    assert torch.equal(other.hf_model.classifier.weight, plain.hf_model.classifier.weight)


@pytest.mark.parametrize("family", SEQ2SEQ_FAMILIES)
def test_tied_weights_are_written_once_and_stay_tied(family, batch, tmp_path):
    model = prune(make_seq2seq(family), "topk", fraction=0.5)
    path = save_weights(model, tmp_path)
    embeddings = model.hf_model.get_input_embeddings().weight
    names = [k for k, v in load_file(path).items() if torch.equal(v, embeddings)]
    assert len(names) == 1
    other = prune(make_seq2seq(family, seed=5), "topk")
    load_weights(other, tmp_path)
    assert other.hf_model.lm_head.weight is other.hf_model.get_input_embeddings().weight
    settings = {"max_new_tokens": 5}
    assert torch.equal(other.generate(**batch, **settings), model.generate(**batch, **settings))


def untied(family: str, seed: int = 0):
    """A translator or language model whose head has gone another way than its embeddings."""
    plain = make_seq2seq(family, seed) if family in SEQ2SEQ_FAMILIES else make_lm(family)
    plain.lm_head = copy.deepcopy(plain.lm_head)
    plain.lm_head.weight.data += 1
    return prune(plain, "topk", fraction=0.5, special_ids=[SPECIAL]).eval()


@pytest.mark.parametrize("family", ["marian", "bart", "t5", "gpt2"])
def test_a_head_that_was_parted_from_the_embeddings_comes_back(family, batch, tmp_path):
    """Its config goes on saying that they are tied."""
    model = untied(family)
    assert model.config.tie_word_embeddings
    other = from_pretrained(model.save_pretrained(tmp_path))
    ours, theirs = model.state_dict(), other.state_dict()
    assert all(torch.equal(theirs[name], weight) for name, weight in ours.items())
    assert other.hf_model.lm_head.weight is other.lm_head.weight
    assert other.lm_head.weight is not other.hf_model.get_input_embeddings().weight


def test_weights_that_were_tied_by_hand_come_back(tmp_path):
    plain = make_lm("llama")
    assert not plain.config.tie_word_embeddings
    plain.lm_head.weight = plain.get_input_embeddings().weight
    model = prune(plain, "topk", fraction=0.5, special_ids=[SPECIAL])
    other = from_pretrained(model.save_pretrained(tmp_path))
    assert torch.equal(other.lm_head.weight, plain.get_input_embeddings().weight)
    assert torch.equal(other.hf_model.get_input_embeddings().weight, other.lm_head.weight)


def test_an_unfinished_run_has_no_weights(tmp_path):
    with pytest.raises(ValueError, match=f"no {WEIGHTS} in .*: not a finished run"):
        load_weights(prune(make_model("bert"), "none"), tmp_path)


def test_weights_of_another_architecture(tmp_path):
    save_weights(prune(make_model("bert"), "none"), tmp_path)
    for strict in (True, False):
        with pytest.raises(ValueError, match="does not fit Distil|lacks distilbert"):
            load_weights(prune(make_model("distilbert"), "none"), tmp_path, strict=strict)
    with pytest.raises(ValueError, match="does not fit BertForSequenceClassification"):
        load_weights(prune(make_model("bert"), "ts_dtp"), tmp_path)
    small = make_model("bert", hidden_size=16)
    with pytest.raises(ValueError, match="does not fit BertForSequenceClassification"):
        load_weights(prune(small, "none"), tmp_path, strict=False)


def test_a_full_disk_leaves_the_old_weights_and_no_temporary_file(tmp_path, monkeypatch):
    model = prune(make_model("bert"), "none")
    before = save_weights(model, tmp_path).read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(b"a part")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(OSError, match=f"cannot write .*{WEIGHTS}: .*No space left"):
        save_weights(model, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [WEIGHTS]
    assert (tmp_path / WEIGHTS).read_bytes() == before


@pytest.mark.parametrize("size", [0, 5, 1000])
def test_damaged_weights_are_found_by_their_header(tmp_path, size):
    os.truncate(save_weights(prune(make_model("bert"), "none"), tmp_path), size)
    with pytest.raises(ValueError, match=f"{WEIGHTS} is damaged"):
        check_weights(tmp_path)
