from __future__ import annotations

import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tiny import FAMILIES, SEQ2SEQ_FAMILIES, make_batch, make_model, make_seq2seq
from transformers import AutoConfig

from tsdtp.models import loading, prune, saving
from tsdtp.models.hub import find_source
from tsdtp.models.loading import (
    check_weights,
    load_config,
    load_model,
    load_tokenizer,
    load_weights,
    set_dropout,
)
from tsdtp.models.saving import WEIGHTS, save_weights

TINY = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def folder_with_config(path):
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def test_a_source_is_a_folder_where_there_is_one(tmp_path):
    local = folder_with_config(tmp_path / "models" / "name")
    folder = folder_with_config(tmp_path / "name")
    models = str(tmp_path / "models")
    assert find_source("org/name", models) == str(local)
    assert find_source("org/name", None) == "org/name"
    assert find_source("org/other", models) == "org/other"
    assert find_source(str(folder), None) == str(folder)
    assert find_source(str(folder), models) == str(local), "the local folder goes first"
    assert find_source(str(tmp_path / "models"), None) == models, "no config, no model"


@pytest.mark.parametrize(("path", "config"), [(None, None), ("org/name", TINY)])
def test_a_model_is_pretrained_or_random(path, config):
    with pytest.raises(ValueError, match=r"one of model.path \(pretrained\) and model.config"):
        load_config(path, config, num_labels=2)


@pytest.mark.parametrize("family", [*FAMILIES, *SEQ2SEQ_FAMILIES])
def test_dropout_is_set_whatever_a_family_calls_it(family):
    make = make_seq2seq if family in SEQ2SEQ_FAMILIES else make_model
    config, inputs = make(family).config, make_batch((24,))
    if family in SEQ2SEQ_FAMILIES:
        inputs["labels"] = inputs["input_ids"]
    for probability in (0.3, 0.0):
        set_dropout(config, probability)
        model = load_model(None, config).train()
        first, again = (model(**inputs).logits for _ in range(2))
        assert torch.equal(first, again) is (probability == 0)


def test_a_model_that_is_nowhere_says_where_it_was_sought(tmp_path, monkeypatch):
    def refuse(source, **_):
        raise OSError(f"{source} cannot be reached")

    monkeypatch.setattr(AutoConfig, "from_pretrained", refuse)
    with pytest.raises(ValueError, match="model.path=org/name: nothing found") as error:
        load_config("org/name", None, 2, str(tmp_path))
    assert f"folder {tmp_path} and the hub id org/name" in str(error.value)
    assert "set TSDTP_MODEL_DIR or model.local_dir to a folder that holds name/" in str(error.value)


def test_a_random_model_from_a_config():
    settings = dict(TINY)
    config = load_config(None, settings, num_labels=3)
    assert settings == TINY, "the caller's settings stay"
    model = load_model(None, config)
    assert (config.model_type, model.num_labels, model.config.hidden_size) == ("bert", 3, 8)


def test_pretrained_weights_come_in_float32(tmp_path):
    plain = make_model("bert").bfloat16()
    plain.save_pretrained(tmp_path / "name")
    config = load_config("org/name", None, 2, str(tmp_path))
    model = load_model("org/name", config, str(tmp_path))
    assert model.dtype == torch.float32
    assert torch.equal(model.bert.pooler.dense.weight, plain.bert.pooler.dense.weight.float())


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


def test_a_classifier_of_other_classes_says_which(tmp_path):
    names = {0: "bad", 1: "fair", 2: "good"}
    make_model("bert", id2label=names).save_pretrained(tmp_path)
    message = r"among 3 classes \(bad, fair, good\), the task among 2; valid: .* of 3"
    with pytest.raises(ValueError, match=message):
        load_model(str(tmp_path), load_config(str(tmp_path), None, 2))
    assert load_model(str(tmp_path), load_config(str(tmp_path), None, 3)).num_labels == 3


def test_a_tokenizer_that_needs_a_package_says_which(tmp_path, monkeypatch):
    def load(source):
        raise ImportError("MarianTokenizer requires the SentencePiece library. Check it out")

    make_model("bert").save_pretrained(tmp_path)
    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", load)
    with pytest.raises(ValueError, match=r"cannot load the tokenizer of .*SentencePiece library$"):
        load_tokenizer(str(tmp_path))


def test_an_encoder_decoder_from_its_config():
    sizes = {"vocab_size": 50, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    model = load_model(None, load_config(None, {"model_type": "t5", **sizes}, None))
    assert type(model).__name__ == "T5ForConditionalGeneration"


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
    small = load_model(None, load_config(None, TINY, 2))
    with pytest.raises(ValueError, match="does not fit BertForSequenceClassification"):
        load_weights(prune(small, "none"), tmp_path, strict=False)


def test_a_tiny_model_runs():
    model = prune(load_model(None, load_config(None, TINY, 2)), "topk", fraction=0.5)
    batch = make_batch((5, 3))
    batch["input_ids"] %= 50
    assert model(**batch).logits.shape == (2, 2)


def test_a_full_disk_leaves_the_old_weights_and_no_temporary_file(tmp_path, monkeypatch):
    model = prune(make_model("bert"), "none")
    before = save_weights(model, tmp_path).read_bytes()

    def full(tensors, path):
        path.write_bytes(b"a part")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(OSError, match=f"cannot write .*{WEIGHTS}: .*No space left"):
        save_weights(model, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [WEIGHTS]
    assert (tmp_path / WEIGHTS).read_bytes() == before


@pytest.mark.parametrize("size", [0, 5, 1000])
def test_damaged_weights_are_found_by_their_header(tmp_path, size):
    os.truncate(save_weights(prune(make_model("bert"), "none"), tmp_path), size)
    with pytest.raises(ValueError, match=f"{WEIGHTS} is damaged"):
        check_weights(tmp_path)
