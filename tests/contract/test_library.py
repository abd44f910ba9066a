"""A pruned model in the hands of transformers: its pipeline, its Trainer, a plain loop."""

from __future__ import annotations

import copy

import pytest
import torch
from accelerate import Accelerator
from tiny import make_lm, make_model, make_seq2seq
from transformers import (
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    GenerationConfig,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
    pipeline,
)

import tsdtp
from tsdtp.data.synthetic import generate
from tsdtp.data.tokenizer import train_tokenizer

ROWS = generate("sentence", 64)
TEXTS = [row["text"] for row in ROWS]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 100, max_length=64)


@pytest.fixture
def model(tokenizer):
    arguments = {"special_ids": tokenizer.all_special_ids, "task_feature_dim": 16}
    model = tsdtp.prune(make_model("bert"), "ts_dtp", 0.6, **arguments)
    tsdtp.calibrate(model, TEXTS, tokenizer=tokenizer)
    return model


@pytest.fixture
def examples(tokenizer):
    encoded = [tokenizer(text, truncation=True) for text in TEXTS]
    return [{**e, "label": row["label"]} for e, row in zip(encoded, ROWS, strict=True)]


def test_prepared_by_accelerate_it_can_still_be_compared_with_itself_unpruned(model, tokenizer):
    batch = tokenizer(TEXTS[:6], padding=True, truncation=True, return_tensors="pt")
    whole = model.eval().unpruned()(**batch).tokens_kept
    prepared = Accelerator(mixed_precision="bf16", cpu=True).prepare(model)
    assert torch.equal(prepared.unpruned()(**batch).tokens_kept, whole)
    assert torch.equal(prepared.with_execution("hf")(**batch).tokens_kept, whole)


def test_the_pipeline_classifies_with_it(model, tokenizer):
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
    found = classify(TEXTS[:6], batch_size=6, truncation=True)  # more texts than blocks
    expected = list(tsdtp.predict(model, tokenizer, TEXTS[:6]))
    assert [f["label"] for f in found] == [e.label for e in expected]
    scores = [max(e.probabilities.values()) for e in expected]
    assert [f["score"] for f in found] == pytest.approx(scores, abs=1e-5)


def test_the_pipeline_writes_with_it(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side, tokenizer.eos_token = "left", tokenizer.sep_token
    model = tsdtp.prune(make_lm("gpt2"), "topk", 0.6, special_ids=tokenizer.all_special_ids)
    tsdtp.calibrate(model, TEXTS, tokenizer=tokenizer)
    settings = {"max_new_tokens": 5, "do_sample": False}
    prompts = [text[: 40 + 10 * place] for place, text in enumerate(TEXTS[:6])]
    write = pipeline("text-generation", model=model, tokenizer=tokenizer)
    found = write(prompts, batch_size=3, return_tensors=True, **settings)
    for prompt, (continued,) in zip(prompts, found, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        alone = model.generate(ids, **settings)[0].tolist()
        assert continued["generated_token_ids"][-5:] == alone[-5:]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_trainer_trains_a_translator_and_writes_with_it(tokenizer, tmp_path, smoothing):
    model = tsdtp.prune(make_seq2seq("marian"), "topk", 0.6, special_ids=tokenizer.all_special_ids)
    ids = [tokenizer(text, truncation=True)["input_ids"][:20] for text in TEXTS[:16]]
    rows = [{"input_ids": x, "attention_mask": [1] * len(x), "labels": x[1:6]} for x in ids]
    settings = {"use_cpu": True, "max_steps": 2, "report_to": "none", "save_strategy": "no"}
    trainer = Seq2SeqTrainer(
        model,
        Seq2SeqTrainingArguments(
            tmp_path, predict_with_generate=True, label_smoothing_factor=smoothing, **settings
        ),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model),
    )
    assert trainer.train().training_loss > 0
    written = trainer.predict(rows, num_beams=2, max_new_tokens=4).predictions
    alone = model.generate(torch.tensor([ids[0]]), num_beams=2, max_new_tokens=4)[0].tolist()
    assert written[0].tolist()[: len(alone)] == alone
    model.generation_config = GenerationConfig(max_new_tokens=2, decoder_start_token_id=1)
    assert model.generate(torch.tensor([ids[0]])).shape[1] == 3


def test_the_trainer_trains_it_pruned(model, tokenizer, examples, tmp_path):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    settings = {"max_steps": 4, "per_device_train_batch_size": 16, "report_to": "none"}
    trainer = Trainer(
        model,
        TrainingArguments(tmp_path, use_cpu=True, disable_tqdm=True, seed=0, **settings),
        train_dataset=examples,
        eval_dataset=examples,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    assert trainer.train().training_loss > 0
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert {"pruner.task_attention.0.query", "classifier.weight"} <= changed
    predicted = trainer.predict(examples)
    logits = predicted.predictions[0]
    assert logits.shape == (len(examples), model.config.num_labels)
    assert torch.isfinite(torch.tensor(trainer.evaluate()["eval_loss"]))


def test_a_plain_loop_trains_it_to_its_budget(model, tokenizer, examples):
    batch = DataCollatorWithPadding(tokenizer)(examples[:16])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    before = model(**batch).loss.item()
    for _ in range(60):
        loss = model.train()(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss = model.eval()(**batch).loss.item()  # packed and without dropout
    assert loss < before / 2
    assert tsdtp.calibrate(model, TEXTS, tokenizer=tokenizer) == pytest.approx(0.6, abs=0.03)
