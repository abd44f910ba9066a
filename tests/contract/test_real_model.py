"""The real MiniLM on real sentences: what the tiny random models promise holds there too."""

from __future__ import annotations

import pytest
import torch
from tiny import shared_folder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tsdtp
from tsdtp.data import TextClassificationData


@pytest.fixture(scope="module")
def real():
    folder = str(shared_folder("TSDTP_MODEL_DIR", "models") / "all-MiniLM-L6-v2")
    data = TextClassificationData(
        name="sst2",
        source="local",
        local_dir=str(shared_folder("TSDTP_DATA_DIR", "data") / "sst2"),
        local_files={"train": "validation.tsv.gz", "validation": "validation.tsv.gz"},
        text_columns=["sentence"],
        label_names=["negative", "positive"],
        eval_limit=64,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    data.prepare(tokenizer)
    torch.manual_seed(0)
    plain = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    batches = [
        {k: b[k] for k in ("input_ids", "attention_mask", "token_type_ids")}
        for b in data.loader("validation", 16)
    ]
    return plain, tokenizer, batches


@pytest.mark.slow
def test_packed_is_the_plain_model(real):
    plain, tokenizer, batches = real
    model = tsdtp.prune(plain, "none", special_ids=tokenizer.all_special_ids)
    with torch.inference_mode():
        for batch in batches:
            expected = plain(**batch).logits
            torch.testing.assert_close(model(**batch).logits, expected, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["topk", "dtp", "ts_dtp"])
def test_budget_and_both_executions(real, method):
    plain, tokenizer, batches = real
    model = tsdtp.prune(plain, method, budget=0.5, special_ids=tokenizer.all_special_ids)
    assert tsdtp.calibrate(model, batches) == pytest.approx(0.5, abs=0.03)
    with torch.inference_mode():
        model.execution = "packed"
        packed = model(**batches[0])
        model.execution = "masked"
        masked = model(**batches[0])
    assert torch.equal(packed.kept_layers, masked.kept_layers)
    torch.testing.assert_close(packed.logits, masked.logits, atol=1e-4, rtol=0)
