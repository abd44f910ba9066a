"""On a GPU the same answers as on a CPU, and everything trains there."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from methods import METHODS, calibrated
from tiny import (
    FAMILIES,
    SEQ2SEQ_FAMILIES,
    SPECIAL,
    layout_of,
    make_batch,
    make_model,
    make_seq2seq,
)

from tsdtp.attention import attend, fastest, varlen
from tsdtp.models import PrunedClassifier, PrunedSeq2Seq, calibrate, prune, teach
from tsdtp.models.budget import spent_ratio
from tsdtp.packing import pack
from tsdtp.pruning.rules import segment_sum
from tsdtp.results import read_record

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
LENGTHS = (24, 3, 17, 1, 9, 15)


def on_gpu(batch: dict) -> dict:
    return {k: v.cuda() for k, v in batch.items()}


def answers(model, batch: dict):
    with torch.inference_mode():
        return model(**batch)


def qkv(dtype: torch.dtype) -> tuple:
    """query, key, value [72, 4, 32] with dead rows at their end, and a layout of 69 tokens."""
    torch.manual_seed(0)
    mask = torch.tensor([[i < n for i in range(max(LENGTHS))] for n in LENGTHS]).cuda()
    layout = pack(torch.zeros(mask.shape, device="cuda"), mask).layout
    return *(torch.randn(72, 4, 32, device="cuda", dtype=dtype) for _ in range(3)), layout


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
def test_flash_attention_is_the_reference(dtype, causal):
    *tensors, layout = qkv(dtype)
    assert varlen.serves(tensors[0], None, False, 0.0, None, causal)
    assert fastest(tensors[0], layout, None, False, 0.0, None, causal) == "varlen"
    context, _ = attend(*tensors, layout, causal=causal)
    single = (t.float() for t in tensors)
    expected, _ = attend(*single, layout, causal=causal, backend="reference")
    torch.testing.assert_close(context.float(), expected, atol=2e-2, rtol=2e-2)
    assert not context[69:].any(), "dead rows hold nothing"


def test_flash_attention_knows_no_batch_mates():
    *tensors, layout = qkv(torch.bfloat16)
    together, _ = attend(*tensors, layout)
    for start, end in layout.bounds:
        one = pack(torch.zeros(1, end - start, device="cuda"), torch.ones(1, end - start).cuda())
        alone, _ = attend(*(t[start:end] for t in tensors), one.layout)
        assert torch.equal(alone, together[start:end])


@pytest.mark.parametrize("method", METHODS)
def test_a_method_answers_as_on_the_cpu(method, batch):
    model = calibrated(PrunedClassifier, make_model, method, "bert")
    expected = answers(model, batch)
    model = model.cuda()
    for execution in ("packed", "masked"):
        model.execution = execution
        out = answers(model, on_gpu(batch))
        assert torch.equal(out.kept_layers.cpu(), expected.kept_layers)
        torch.testing.assert_close(out.logits.cpu(), expected.logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_as_on_the_cpu(family, batch):
    model = calibrated(PrunedClassifier, make_model, "ts_dtp", family)
    expected = answers(model, batch)
    out = answers(model.cuda(), on_gpu(batch))
    assert torch.equal(out.kept_layers.cpu(), expected.kept_layers)
    torch.testing.assert_close(out.logits.cpu(), expected.logits, atol=1e-3, rtol=1e-3)
    half = answers(model.bfloat16(), on_gpu(batch))
    close = (half.logits.float().cpu() - expected.logits).abs() < 0.25
    assert close.float().mean() > 0.8, "a token on the threshold may go either way"


@pytest.mark.parametrize("family", SEQ2SEQ_FAMILIES)
def test_a_translator_writes_on_the_gpu(family, batch):
    model = calibrated(PrunedSeq2Seq, make_seq2seq, "ts_dtp", family)
    settings = {"max_new_tokens": 6, "do_sample": False}
    expected = model.generate(**batch, **settings)
    assert torch.equal(model.cuda().generate(**on_gpu(batch), **settings).cpu(), expected)


@pytest.mark.parametrize("execution", ["packed", "masked"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_in_mixed_precision(method, batch, execution):
    model = calibrated(PrunedClassifier, make_model, method, "bert").cuda().train()
    model.execution = execution
    with torch.autocast("cuda", torch.bfloat16):
        labels = torch.tensor([0, 1, 0, 1, 0, 1], device="cuda")
        loss = model(**on_gpu(batch), labels=labels).loss
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert loss.isfinite() and grads and all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize("columns", [1, 3, 40])
def test_sums_over_sequences_are_those_of_the_cpu(columns):
    values = torch.randn(70, columns, dtype=torch.float64)
    layout = layout_of(24, 3, 0, 17, 26)
    there = segment_sum(values.cuda(), replace(layout, cu_seqlens=layout.cu_seqlens.cuda()))
    torch.testing.assert_close(there.cpu(), segment_sum(values, layout))


def test_a_benchmark_runs_there(tmp_path):
    arguments = ["hardware=gpu_bf16", "pruning.layers=[1]", "keep_schedule=[1,0.5,0.5,0.5]"]
    arguments += ["tokens=[8,40]", "benchmark.rounds=2", "benchmark.examples=16"]
    command = [sys.executable, "-m", "tsdtp.cli.bench", *arguments, f"hydra.run.dir={tmp_path}"]
    subprocess.run(command, check=True, timeout=300)
    record = read_record(tmp_path)
    assert record.speed["device"] == "cuda" and record.cost["flops_ratio"] < 1


def test_it_is_taught_and_calibrated_there():
    model = prune(make_model("bert"), "ts_dtp", budget=0.6, special_ids=[SPECIAL]).cuda()
    batches = [on_gpu(make_batch((24, 17, 9, 15), seed=s)) for s in range(6)]
    losses = teach(copy.deepcopy(model), batches, mask_id=3, epochs=6)
    assert losses[-1] < losses[0]
    teach(model, batches, mask_id=3)
    assert calibrate(model, batches) == pytest.approx(0.6, abs=0.02)
    assert spent_ratio(model, batches) == pytest.approx(0.6, abs=0.02)
