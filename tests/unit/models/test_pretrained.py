"""Saved models come back as they were, and load as the plain model; nothing else is loaded."""

from __future__ import annotations

import inspect
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from methods import METHODS, build_pruner, options_of
from tiny import FAMILIES, SEQ2SEQ_FAMILIES, SPECIAL, make_batch, make_lm, make_model, make_seq2seq
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

import tsdtp
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.models.pretrained import push_to_hub
from tsdtp.models.saving import CONFIG, saved_blocks
from tsdtp.models.weights import WEIGHTS
from tsdtp.pruning import find_method


def pruned(method: str = "ts_dtp", family: str = "bert"):
    """A calibrated model; its method as in `options_of`."""
    name, options = options_of(method)
    arguments: dict[str, Any] = {**options}
    if build_pruner(method).search is not None:
        arguments["budget"] = 0.6
    if "task_feature_dim" in inspect.signature(find_method(name)).parameters:
        arguments["task_feature_dim"] = 16
    model = tsdtp.prune(make_model(family), name, special_ids=[SPECIAL], **arguments)
    if model.pruner.search is not None:
        tsdtp.calibrate(model, [make_batch()])
    return model.eval()


def test_a_folder_without_a_tokenizer_says_so(tmp_path):
    folder = pruned().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no tokenizer is saved there"):
        tsdtp.tokenizer_of(folder)
    tokenizer = train_tokenizer(["a b c"], 20)
    pruned().save_pretrained(tmp_path, tokenizer)
    assert tsdtp.tokenizer_of(folder).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_model_comes_back(method, tmp_path, batch):
    model = pruned(method)
    again = tsdtp.from_pretrained(model.save_pretrained(tmp_path))
    assert not again.training and type(again.pruner) is type(model.pruner)
    torch.manual_seed(0)
    expected = model(**batch)
    torch.manual_seed(0)
    out = again(**batch)
    assert torch.equal(out.logits, expected.logits)
    assert torch.equal(out.kept_layers, expected.kept_layers)


@pytest.mark.parametrize("method", ["ts_dtp", "ts_dtp_notebook"])
def test_weights_frozen_one_by_one_come_back_frozen(method, tmp_path):
    model = tsdtp.prune(make_model("bert"), method, special_ids=[SPECIAL])
    for weight in model.pruner.parameters():
        weight.requires_grad = False
    assert not tsdtp.from_pretrained(model.save_pretrained(tmp_path)).pruner.trainable


def test_how_far_a_pruner_has_learnt_comes_back(tmp_path):
    model = tsdtp.prune(make_model("bert"), "ts_dtp", soft_until=0.5)
    model.pruner.requires_grad_(False)
    model.pruner.progress = 0.75
    again = tsdtp.from_pretrained(model.save_pretrained(tmp_path))
    assert again.pruner.frozen and again.pruner.progress == 0.75
    assert not any(weight.requires_grad for weight in again.pruner.parameters())


def test_fewer_blocks_of_version_1_come_back(tmp_path, batch):
    model = pruned("depth")
    config = model.save_pretrained(tmp_path) / CONFIG
    saved = json.loads(config.read_text())
    saved["tsdtp"] |= {"version": 1, "method_arguments": {"blocks": 2, "budget": 0.6}}
    del saved["tsdtp"]["blocks"]
    config.write_text(json.dumps(saved))
    again = tsdtp.from_pretrained(tmp_path)
    assert again.pruner.depth == model.pruner.depth < 4
    assert torch.equal(again(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_comes_back_also_as_the_plain_model(family, tmp_path, batch):
    model = pruned(family=family)
    model.save_pretrained(tmp_path)
    assert torch.equal(tsdtp.from_pretrained(tmp_path)(**batch).logits, model(**batch).logits)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(plain(**batch).logits, tsdtp.unprune(model)(**batch).logits)


@pytest.mark.parametrize("family", SEQ2SEQ_FAMILIES)
def test_a_translator_comes_back(family, tmp_path, batch):
    model = tsdtp.prune(make_seq2seq(family), "topk", budget=0.7, special_ids=[SPECIAL])
    tsdtp.calibrate(model, [batch])
    model.save_pretrained(tmp_path)
    again = tsdtp.from_pretrained(tmp_path)
    settings = {**batch, "max_new_tokens": 5}
    assert torch.equal(again.generate(**settings), model.generate(**settings))


@pytest.mark.parametrize("make", [partial(make_seq2seq, "marian"), partial(make_lm, "gpt2")])
def test_what_writes_comes_back_with_its_habits(make, tmp_path):
    model = tsdtp.prune(make(), "topk", fraction=1.0, special_ids=[SPECIAL])
    habits = {"num_beams": 4, "max_new_tokens": 5, "bad_words_ids": [[9]]}
    model.hf_model.generation_config.update(**habits, forced_bos_token_id=7)
    written = tsdtp.from_pretrained(model.save_pretrained(tmp_path)).hf_model.generation_config
    assert {name: getattr(written, name) for name in habits} == habits
    assert written.forced_bos_token_id == 7


def test_what_a_half_precision_model_keeps_in_single_stays_so(tmp_path):
    """T5's feed-forwards overflow in float16, and transformers leaves them in float32."""
    make_seq2seq("t5").save_pretrained(tmp_path)
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float16)
    model = tsdtp.prune(plain, "topk", fraction=0.5, special_ids=[SPECIAL])
    kinds = {name: weight.dtype for name, weight in model.state_dict().items()}
    assert {torch.float16, torch.float32} <= set(kinds.values())
    again = tsdtp.from_pretrained(model.save_pretrained(tmp_path)).state_dict()
    assert {name: weight.dtype for name, weight in again.items()} == kinds
    assert all(torch.equal(again[name], weight) for name, weight in model.state_dict().items())


def test_weights_that_the_config_does_not_describe_are_not_saved(tmp_path):
    model = pruned()
    model.classifier = torch.nn.Linear(32, 5)
    with pytest.raises(ValueError, match=r"classifier.bias is \(5,\), and by the config .*\(2,\)"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    model.config.num_labels = 5
    assert tsdtp.from_pretrained(model.save_pretrained(tmp_path)).classifier.out_features == 5
    model.classifier = torch.nn.Sequential(model.classifier)
    with pytest.raises(ValueError, match="classifier.0.bias is .* not there"):
        model.save_pretrained(tmp_path)


def test_where_the_plain_model_came_from_stays_at_home(tmp_path):
    make_model("bert").save_pretrained(tmp_path / "mine")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "mine")
    folder = tsdtp.prune(plain, "topk", special_ids=[SPECIAL]).save_pretrained(tmp_path / "saved")
    assert str(tmp_path) not in (folder / CONFIG).read_text()


def test_layers_may_be_a_range(tmp_path):
    layers = range(1, 3)
    model = tsdtp.prune(make_model("bert"), "topk", layers=layers, special_ids=[SPECIAL])
    assert tsdtp.from_pretrained(model.save_pretrained(tmp_path)).pruner.layers == [1, 2]


def test_arguments_may_be_numpys(tmp_path):
    arguments = {"layers": np.arange(1, 3), "fraction": np.float32(0.5)}
    model = tsdtp.prune(make_model("bert"), "topk", **arguments, special_ids=[SPECIAL])
    again = tsdtp.from_pretrained(model.save_pretrained(tmp_path))
    assert again.pruner.layers == [1, 2] and again.pruner.arguments["fraction"] == 0.5


def test_unprune_gives_the_plain_model_back(batch):
    plain = make_model("bert")
    expected = plain(**batch).logits
    model = tsdtp.prune(plain, "topk", budget=0.6, special_ids=[SPECIAL])
    tsdtp.calibrate(model, [batch])
    model(**batch)
    assert tsdtp.unprune(model) is plain
    assert torch.equal(plain(**batch).logits, expected)
    assert not any("pruner" in name for name in plain.state_dict())


def test_threads_share_a_model():
    model, batches = pruned(), [make_batch(seed=s) for s in range(8)]
    with torch.inference_mode():
        expected = [model(**b).logits for b in batches]

    def run(b):
        with torch.inference_mode():
            return model(**b).logits

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(run, batches * 3))
    assert all(torch.equal(a, b) for a, b in zip(found, expected * 3, strict=True))


def test_what_is_no_pruned_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"/nowhere: no such folder, and no hub id"):
        tsdtp.from_pretrained("/nowhere")
    with pytest.raises(ValueError, match="no config.json"):
        tsdtp.from_pretrained(tmp_path)
    make_model("bert").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"a plain bert model; tsdtp.prune\(\) prunes it"):
        tsdtp.from_pretrained(tmp_path)


def test_the_plain_model_of_a_pruned_folder_saved_again_is_a_plain_one(tmp_path):
    tsdtp.prune(make_model("bert"), "topk", blocks=3).save_pretrained(tmp_path / "pruned")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "pruned")
    plain.save_pretrained(tmp_path / "plain")
    assert [saved_blocks(tmp_path / name) for name in ("pruned", "plain")] == [3, None]
    with pytest.raises(ValueError, match=r"a plain bert model; tsdtp.prune\(\) prunes it"):
        tsdtp.from_pretrained(tmp_path / "plain")


def test_pickled_weights_are_refused_unopened(tmp_path):
    pruned().save_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(ValueError, match="pytorch_model.bin may run code"):
        tsdtp.from_pretrained(tmp_path)


def test_a_config_of_another_version_or_method_is_refused(tmp_path):
    pruned().save_pretrained(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    config["tsdtp"]["version"] = 99
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"another version of tsdtp \(99, not 2\)"):
        tsdtp.from_pretrained(tmp_path)
    config["tsdtp"] = {"version": 2, "method": "topk"}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"is damaged: tsdtp.method_arguments is missing"):
        tsdtp.from_pretrained(tmp_path)
    config["tsdtp"] = {"version": 2, "method": "topk", "method_arguments": {"budget": 0.5}}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit BertForSequenceClassification"):
        tsdtp.from_pretrained(tmp_path)
    (tmp_path / CONFIG).write_text("{")
    with pytest.raises(ValueError, match=f"cannot load a pretrained model from {tmp_path}"):
        tsdtp.from_pretrained(tmp_path)


def test_uploads_what_it_saved(tmp_path):
    calls = []

    class Api:
        def create_repo(self, name, exist_ok):
            calls.append(name)

        def upload_folder(self, repo_id, folder_path):
            calls.append(sorted(p.name for p in folder_path.iterdir()))
            return "address"

    assert push_to_hub(pruned(), "me/mine", tmp_path, card="# Mine", api=Api()) == "address"
    assert calls == ["me/mine", ["README.md", CONFIG, WEIGHTS]]
