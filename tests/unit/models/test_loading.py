from __future__ import annotations

import pytest
import torch
from tiny import FAMILIES, SEQ2SEQ_FAMILIES, make_batch, make_model, make_seq2seq
from transformers import AutoConfig

from tsdtp.models import loading, prune
from tsdtp.models.hub import find_source
from tsdtp.models.loading import (
    load_config,
    load_model,
    load_tokenizer,
    set_dropout,
)

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


def test_a_classifier_of_other_classes_says_which(tmp_path):
    names = {0: "bad", 1: "fair", 2: "good"}
    make_model("bert", id2label=names).save_pretrained(tmp_path)
    message = r"among 3 classes \(bad, fair, good\), the task among 2; valid: .* of 3"
    with pytest.raises(ValueError, match=message):
        load_model(str(tmp_path), load_config(str(tmp_path), None, 2))
    assert load_model(str(tmp_path), load_config(str(tmp_path), None, 3)).num_labels == 3


def test_a_task_of_classes_refuses_a_head_that_chooses_none(tmp_path):
    head = {"problem_type": "multi_label_classification"}
    make_model("bert", **head).save_pretrained(tmp_path / "each")
    for path, config in ((str(tmp_path / "each"), None), (None, TINY | head)):
        with pytest.raises(ValueError, match=r"multi_label_.*valid for a task .*: single_label_"):
            load_config(path, config, 2)
    make_model("bert", num_labels=1).save_pretrained(tmp_path / "one")
    path = str(tmp_path / "one")
    with pytest.raises(ValueError, match="one gives a number; valid: 2 classes or more"):
        load_model(path, load_config(path, None, 2))


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


def test_a_tiny_model_runs():
    model = prune(load_model(None, load_config(None, TINY, 2)), "topk", fraction=0.5)
    batch = make_batch((5, 3))
    batch["input_ids"] %= 50
    assert model(**batch).logits.shape == (2, 2)
