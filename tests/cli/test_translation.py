"""Translation from the command line: generated and local text, records, wrong pairings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import FAST, make_seq2seq
from transformers import MBart50Tokenizer, MBartTokenizer

import tsdtp as tsdtp_library
from tsdtp.cli.cells import TranslationCell
from tsdtp.data.synthetic_translation import generate_translation
from tsdtp.data.tokenizer import train_bpe
from tsdtp.results import read_record

TRANSLATE = (*FAST, "task=synthetic_translation", "model=tiny_marian", "task.bootstrap=20")
RUN = "outputs/runs/synthetic_translation/tiny_marian"


def test_a_pruned_translator_leaves_a_whole_record_and_its_translations(tsdtp):
    assert tsdtp("train", *TRANSLATE).code == 0
    prune = ("pruning=topk", "pruning.budget=0.6", "model.init_from=unpruned")
    outcome = tsdtp("train", *TRANSLATE, *prune, "benchmark.enabled=true")
    assert outcome.code == 0 and "bleu" in outcome.out
    folder = Path(f"{RUN}/topk-0.6/seed0")
    record = read_record(folder)
    wanted = {"bleu", "chrf", "signature", "stderr", "n", "split", "keep_precision", "keep_recall"}
    assert wanted <= set(record.quality)
    assert record.quality["split"] == "test"
    assert record.cost["budget_spent_train"] == pytest.approx(0.6, abs=0.03)
    cost = record.cost
    assert cost["flops_ratio"] < cost["translation_flops_ratio"] < 1, "the decoder stays whole"
    assert 0 < cost["cross_attention_flops_ratio"] < 1
    assert record.speed is not None and record.speed["vs_hf"] > 0.01
    written = record.speed["generation"]
    assert written["tokens_per_second"] == written["new_tokens"] * written["examples_per_second"]
    assert record.memory is not None and record.memory["generation"]["peak_mib"] > 0
    lines = (folder / "translations.txt").read_text().split("\n")
    assert len(lines) == record.quality["n"] + 1
    assert 0 < record.quality["p_vs_start"] <= 1
    again = tsdtp("eval", f"run={folder}", "in_place=true", "benchmark.enabled=false")
    assert again.code == 0
    assert read_record(folder).quality == record.quality, "compared with the same run as before"
    beams = ("num_beams=2", "benchmark.enabled=false", "hydra.run.dir=beams")
    assert tsdtp("eval", f"run={folder}", *beams).code == 0
    beam = read_record(Path("beams"))
    assert beam.identity["variant"] == "beam2"
    assert "p_vs_start" not in beam.quality, "the start was read with one beam"
    timed = tsdtp("eval", f"run={folder}", "quality=false", "benchmark.new_tokens=999")
    assert timed.code == 2 and "benchmark.new_tokens=999: valid are up to 128" in timed.err
    for language in ("en", "de"):
        Path(f"mine.{language}").write_text("one\ntwo\n")
    other = ("data=mine", "benchmark.enabled=false", "hydra.run.dir=other")
    assert tsdtp("eval", f"run={folder}", *other).code == 0
    found = read_record(Path("other"))
    assert found.identity["task"] == "synthetic_translation_on_mine"
    assert found.quality["n"] == 2 and "p_vs_start" not in found.quality


def test_an_mbart_of_random_weights_writes_from_where_it_learnt_to_begin(tsdtp):
    """Its targets are turned round, so that their end is what it first reads."""
    mbart = ("model=mbart_small", "model.vocab_size=300", "benchmark.enabled=false")
    outcome = tsdtp("train", *FAST, "task=synthetic_translation", "task.bootstrap=0", *mbart)
    assert outcome.code == 0, outcome.err
    (folder,) = Path("outputs/runs/synthetic_translation/mbart_small").rglob("config.json")
    model = tsdtp_library.from_pretrained(folder.parent)
    labels = torch.tensor([[7, 8, model.config.eos_token_id]])
    read = model.prepare_decoder_input_ids_from_labels(labels)[0, 0].item()
    assert read == model.hf_model.generation_config.decoder_start_token_id
    record = read_record(folder.parent)
    wanted = record.provenance["config"]["task"]["generation"]
    assert wanted == {name: getattr(model.hf_model.generation_config, name) for name in wanted}


@pytest.mark.parametrize(
    ("kind", "key"),
    [(MBart50Tokenizer, "forced_bos_token_id"), (MBartTokenizer, "decoder_start_token_id")],
)
def test_a_multilingual_model_begins_as_its_targets_do(kind, key):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = kind(vocab=[(piece, -1.0) for piece in pieces])
    tokenizer.src_lang, tokenizer.tgt_lang = languages = ("en_XX", "de_DE")
    task = SimpleNamespace(generation={"num_beams": 2})
    data = SimpleNamespace(language_tokens=languages)
    cell: Any = SimpleNamespace(config=SimpleNamespace(task=task), data=data, tokenizer=tokenizer)
    german = tokenizer.convert_tokens_to_ids("de_DE")
    assert TranslationCell.writing(cell) == {key: german, "num_beams": 2}


def test_a_task_attention_is_taught_to_translate(tsdtp):
    assert tsdtp("train", *TRANSLATE).code == 0
    method = ("pruning=ts_dtp", "pruning.budget=0.6", "model.init_from=unpruned")
    outcome = tsdtp("train", *TRANSLATE, *method)
    assert outcome.code == 0 and "teaching: auxiliary loss" in outcome.out


@pytest.mark.parametrize(("ends", "how"), [("zh_CN", "tok:zh|"), ("xx", "tok:13a|")])
def test_bleu_splits_a_language_as_it_is_written(tsdtp, tmp_path, ends, how):
    for split in ("train", "validation", "test"):
        for language, text in (("en", "a cat {}\n"), (ends, "一只猫{}\n")):
            lines = (text.format(f"{split} {i}") for i in range(8))
            (tmp_path / f"{split}.{language}").write_text("".join(lines))
    own = (f"task.data.local_dir={tmp_path}", f"task.data.languages=[en,{ends}]")
    settings = ("task=translation", *own, "model=tiny_marian", "task.generation.max_new_tokens=2")
    outcome = tsdtp("train", *FAST, *settings, "epochs=0")
    assert outcome.code == 0, outcome.err
    assert (
        how
        in read_record(next(Path("outputs/runs").rglob("metrics.json")).parent).quality["signature"]
    )


@pytest.mark.skipif(find_spec("MeCab") is not None, reason="Japanese is split here")
def test_a_language_that_bleu_cannot_split_is_refused_before_training(tsdtp, tmp_path):
    for split in ("train", "validation", "test"):
        for language in ("en", "ja"):
            (tmp_path / f"{split}.{language}").write_text(
                "".join(f"{split} {i}\n" for i in range(8))
            )
    own = (f"task.data.local_dir={tmp_path}", "task.data.languages=[en,ja]")
    train = ("train", *FAST, "task=translation", *own, "model=tiny_marian", "epochs=0")
    outcome = tsdtp(*train)
    assert outcome.code == 2 and "pip install sacrebleu[ja]" in outcome.err
    for file in tmp_path.glob("*.ja"):
        file.with_suffix(".xx").write_text(file.read_text())
    again = tsdtp(*train, "task.data.languages=[en,xx]", "hydra.run.dir=run")
    assert again.code == 0, again.err
    record = Path("run/metrics.json")
    record.write_text(record.read_text().replace('"xx"', '"ja"'))
    outcome = tsdtp("eval", "run=run", "hydra.run.dir=evaluated")
    assert outcome.code == 2 and "pip install sacrebleu[ja]" in outcome.err


def test_files_of_ones_own(tsdtp, tmp_path):
    for split, count in (("train", 80), ("validation", 8), ("test", 8)):
        rows = generate_translation(count, split)
        for side, language in (("source", "en"), ("target", "xx")):
            text = "".join(f"{row[side]}\n" for row in rows)
            (tmp_path / f"{split}.{language}").write_text(text)
    own = ("task=translation", f"task.data.local_dir={tmp_path}", "task.data.languages=[en,xx]")
    few = ("model=tiny_marian", "benchmark.enabled=false", "task.generation.max_new_tokens=2")
    outcome = tsdtp("train", *FAST, *own, *few)
    assert outcome.code == 0, outcome.err
    said = "8 test references are longer than task.generation.max_new_tokens=2"
    assert f"translation: {said}\n" in outcome.out
    (tmp_path / "test.xx").write_text("one\n")
    outcome = tsdtp("train", *FAST, *own, "model=tiny_marian", "overwrite=true")
    assert outcome.code == 2 and "test.en has 8 lines" in outcome.err
    (tmp_path / "test.xx").unlink()
    outcome = tsdtp("train", *FAST, *own, "model=tiny_marian", "overwrite=true")
    assert outcome.code == 2 and "needs both sides" in outcome.err


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("task=synthetic_translation", "model=tiny_bert"), "needs an encoder-decoder"),
        (("task=synthetic_sentence", "model=tiny_marian"), "needs an encoder, model=tiny_marian"),
    ],
)
def test_a_task_and_a_model_that_do_not_meet(tsdtp, pair, message):
    outcome = tsdtp("train", *FAST, *pair)
    assert outcome.code == 2 and message in outcome.err and "valid are" in outcome.err


def test_a_pretrained_translator_is_told_its_task(tsdtp, tmp_path):
    """A T5 from a folder: its own tokenizer, a prefix, no limit of positions."""
    texts = [row["source"] for row in generate_translation(50)]
    train_bpe(texts, 300).save_pretrained(tmp_path / "t5-small")
    plain = make_seq2seq("t5")
    plain.resize_token_embeddings(300)
    plain.save_pretrained(tmp_path / "t5-small")
    model = ("model=t5_small", f"model.local_dir={tmp_path}", "model.name=tiny_t5", "epochs=0")
    task = ("task=synthetic_translation", "task.data.prefix='translate: '", "task.bootstrap=0")
    outcome = tsdtp("train", *FAST, *task, *model, "pruning=dtp", "pruning.budget=0.7")
    assert outcome.code == 0, outcome.err
    record = read_record("outputs/runs/synthetic_translation/tiny_t5/dtp-0.7/seed0")
    assert "stderr" not in record.quality
    assert record.cost["budget_spent_train"] == pytest.approx(0.7, abs=0.03)
