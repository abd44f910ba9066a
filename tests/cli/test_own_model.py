"""A classifier and texts of one's own: its start, its classes, what it can spend."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import FAST, VOCABULARY, make_model
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from tsdtp.results import read_record

OWN = (
    *FAST,
    *("task=text_classification", "task.data.local_dir=my_data", "model=own"),
    *("task.data.text_columns=[text]", "task.data.label_names=[no,yes]"),
    "task.data.max_length=32",
)


def test_a_run_may_start_afresh_and_still_be_taught(tsdtp, own):
    words = (*OWN, "model.path=my_classifier")
    alone = tsdtp("train", *words, "model.init_from=null", "warm_start=false")
    assert alone.code == 2 and "valid where model.init_from names a teacher" in alone.err
    assert tsdtp("train", *words, "optim.lr=1e-2").code == 0
    pruned = ("model.init_from=unpruned", "pruning=ts_dtp", "pruning.budget=0.7", "optim.lr=0")
    for warm in ("true", "false"):
        outcome = tsdtp("train", *words, *pruned, f"warm_start={warm}", f"variant=warm_{warm}")
        assert outcome.code == 0 and "teaching: auxiliary loss" in outcome.out, outcome.err
    begun = load_file("my_classifier/model.safetensors")
    folder = Path("outputs/runs/text_classification/own")
    unpruned, warm, afresh = (
        load_file(folder / name / "seed0/model.safetensors")
        for name in ("none", "ts_dtp-0.7-warm_true", "ts_dtp-0.7-warm_false")
    )
    key = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(afresh[key], begun[key]) and torch.equal(warm[key], unpruned[key])
    assert not torch.equal(warm[key], afresh[key])
    scorer = "pruner.task_attention.0.query"
    assert torch.equal(warm[scorer], afresh[scorer]), "both were taught alike, before"


def test_other_rows_in_the_same_files_are_not_taken_for_those_learnt(tsdtp, own):
    words = (*OWN, "model.path=my_classifier", "epochs=0")
    assert tsdtp("train", *words).code == 0
    made = read_record("outputs/runs/text_classification/own/none/seed0").provenance["data"]
    assert {*made} == {path.name for path in Path("my_data").iterdir()}
    assert "done" in tsdtp("train", *words).out
    name = "validation.csv"
    text = Path("my_data", name).read_text()
    Path("my_data", name).write_text("\n".join(text.splitlines()[:-1]) + "\n")
    outcome = tsdtp("train", *words)
    assert outcome.code == 2 and f"({name}: other rows)" in outcome.err
    run = ("run=outputs/runs/text_classification/own/none/seed0", "benchmark.enabled=false")
    assert f"{name}: other rows than the run was made with" in tsdtp("eval", *run).out
    mixed = tsdtp("eval", *run, "in_place=true")
    assert mixed.code == 2 and f"{name}: other rows than the run was made with; val" in mixed.err
    brief = ("benchmark.examples=4", "benchmark.rounds=2", "benchmark.min_time=0.001")
    again = tsdtp("eval", run[0], "in_place=true", "quality=false", *brief)
    assert again.code == 0 and read_record(run[0][4:]).provenance["data"] == made
    assert read_record(run[0][4:]).provenance["measured"]["data"][name] != made[name]
    taught = (*words, "variant=taught", f"model.init_from={run[0][4:]}")
    assert f"made with other rows ({name}: other rows)" in tsdtp("train", *taught).out
    assert tsdtp("train", *words, "changed_settings=rerun").code == 0
    assert "other rows" not in tsdtp("train", *taught, "changed_settings=rerun").out


def test_a_training_does_not_go_on_with_other_rows(tsdtp, own):
    words = (*OWN, "model.path=my_classifier", "callbacks=default", "max_steps=-1")
    assert tsdtp("train", *words, "epochs=1").code == 0
    rows = Path("my_data/train.csv")
    rows.write_text(rows.read_text() + "one more,yes\n")
    longer = (*words, "epochs=2", "ckpt_path=last", "overwrite=true")
    outcome = tsdtp("train", *longer)
    assert outcome.code == 2 and "or data (train.csv: other rows)" in outcome.err
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    assert tsdtp("train", *longer).code == 0


@pytest.mark.parametrize(
    ("auto", "called"), [(AutoModel, "an encoder"), (AutoModelForMaskedLM, "a model")]
)
def test_a_model_without_a_classifiers_head_is_called_so(tsdtp, own, auto, called):
    make_model("bert", auto=auto).save_pretrained("my_classifier")
    words = (*OWN, "model.path=my_classifier", "epochs=0")
    outcome = tsdtp("train", *words)
    assert outcome.code == 2 and f"{called} without this head (" in outcome.err
    assert "; valid: a fine-tuned model, or model.init_from=null" in outcome.err
    assert tsdtp("train", *words, "model.init_from=null").code == 0


def test_a_classifier_without_a_tokenizer_is_not_read_as_unknown_words(tsdtp, own):
    for file in Path("my_classifier").glob("*token*"):
        file.unlink()
    outcome = tsdtp("train", *OWN, "model.path=my_classifier")
    assert outcome.code == 2
    assert "no tokenizer is saved in my_classifier; valid: tokenizer.save_pre" in outcome.err


def test_tokens_that_the_model_does_not_embed_are_named(tsdtp, own):
    tokenizer = AutoTokenizer.from_pretrained("my_classifier")
    tokenizer.add_tokens([f"new{n}" for n in range(VOCABULARY)])
    tokenizer.save_pretrained("my_classifier")
    outcome = tsdtp("train", *OWN, "model.path=my_classifier")
    assert outcome.code == 2
    assert f"the model embeds {VOCABULARY}; valid: a model saved after resize" in outcome.err


def test_numbers_are_names_too(tsdtp, own):
    words = (*OWN, "model.path=my_classifier", "epochs=0", "model.name=2", "task.name=2024")
    outcome = tsdtp("train", *words)
    assert outcome.code == 0, outcome.err
    identity = read_record("outputs/runs/2024/2/none/seed0").identity
    assert (identity["task"], identity["model"]) == ("2024", "2")


def test_numbers_that_name_classes_are_words(tsdtp, own):
    words = (*OWN, "model.path=my_classifier", "epochs=0", "task.data.label_names=[1,2]")
    data = Path("my_data")
    for path in data.iterdir():
        path.write_text(path.read_text().replace(",no", ",1").replace(",yes", ",2"))
    assert tsdtp("train", *words).code == 0
    run = "outputs/runs/text_classification/own/none/seed0"
    said = tsdtp("predict", f"run={run}", "a film")
    assert said.code == 0, said.err
    row = json.loads(said.out)
    assert row["label"] in ("1", "2") and row["label"] in row["probabilities"]


def test_classes_in_another_order_are_refused(tsdtp, own):
    def train(*names: str):
        config = json.loads(Path("my_classifier/config.json").read_text())
        config["id2label"] = dict(enumerate(names))
        Path("my_classifier/config.json").write_text(json.dumps(config))
        words = (*OWN, "model.path=my_classifier", "epochs=0", f"variant={''.join(names)}")
        return tsdtp("train", *words)

    outcome = train("YES", "No")
    assert outcome.code == 2
    assert "model=own has the classes YES, No, the task no, yes; valid: a model" in outcome.err
    for names in (("No", "YES"), ("LABEL_1", "LABEL_0")):
        assert train(*names).code == 0


@pytest.mark.parametrize("padding", [None, "[PAD]"])
def test_a_model_without_padding_trains_too(tsdtp, own, padding):
    tokenizer = AutoTokenizer.from_pretrained("my_classifier")
    tokenizer.pad_token = padding
    tokenizer.add_special_tokens({"eos_token": "[EOS]"})
    model = make_model("gpt2")
    model.config.pad_token_id = None
    for part in (model, tokenizer):
        part.save_pretrained("my_gpt2")
    outcome = tsdtp("train", *OWN, "model.path=my_gpt2", "benchmark.enabled=true")
    assert outcome.code == 0, outcome.err
    run = "run=outputs/runs/text_classification/own/none/seed0"
    assert tsdtp("predict", run, "good film", "bad").code == 0
    shutil.rmtree("my_gpt2")
    outcome = tsdtp("eval", run, "benchmark.enabled=false")
    assert outcome.code == 0, "a run needs nothing but its own folder and the data"


def test_a_budget_between_the_steps_of_short_texts_is_named(tsdtp, own):
    words = (*OWN, "model.path=my_classifier", "epochs=0")
    outcome = tsdtp("train", *words, "pruning=topk", "pruning.budget=0.7")
    assert outcome.code == 0, outcome.err
    assert re.search(r"budget=0.7: 0.6\d* is the nearest that texts of these", outcome.out)
    assert "nothing dropped" not in outcome.out
