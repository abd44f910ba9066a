"""An exported program drops tokens, text by text, and answers as the model does."""

from __future__ import annotations

import pytest
import torch
from tiny import FAMILIES, SPECIAL, make_batch, make_model, make_seq2seq

import tsdtp
from tsdtp.models.export import export, export_onnx, program_inputs

LENGTHS = (24, 2, 17, 60)
BLOCKS = 3  # two that prune: exporting takes seconds for each


def pruned(family: str = "bert", method: str = "ts_dtp", **options):
    torch.manual_seed(0)
    plain = make_model(family, num_hidden_layers=BLOCKS)
    model = tsdtp.prune(plain, method, budget=0.6, special_ids=[SPECIAL], **options)
    tsdtp.calibrate(model, [make_batch(seed=s) for s in range(3)])
    return model


def check(model, run) -> None:
    dropped = 0
    for n in LENGTHS:
        ids = make_batch((n,), seed=n)["input_ids"]
        inputs = {name: ids.clone() % 2 for name in program_inputs(model)} | {"input_ids": ids}
        logits, kept = run(*inputs.values())
        with torch.inference_mode():
            out = model(**inputs)
        torch.testing.assert_close(logits, out.logits, atol=1e-5, rtol=0)
        assert torch.equal(kept, out.kept_layers[0])
        dropped += int((kept < BLOCKS).sum())
    assert dropped > sum(LENGTHS) / 4


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_program_answers_as_the_model(family):
    model = pruned(family)
    model.train()
    program = export(model, max_length=62)  # RoBERTa has two positions less than it says
    assert model.training, "the model stays as it was"
    check(model.eval(), program.module())


def test_a_program_takes_token_types_where_there_are_several():
    models = {family: tsdtp.prune(make_model(family), special_ids=[SPECIAL]) for family in FAMILIES}
    typed = {family for family, model in models.items() if len(program_inputs(model)) > 1}
    assert typed == {"bert", "roberta", "electra"}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["topk", "dtp", "random", "transkimmer", "cls_attention"])
def test_other_methods_too(method, tmp_path):
    model = pruned(method=method)
    path = tmp_path / "model.pt2"
    torch.export.save(export(model, max_length=64), path)
    check(model, torch.export.load(path).module())


@pytest.mark.slow
@pytest.mark.parametrize(("method", "goal"), [("depth", "torch.export"), ("power_bert", "ONNX")])
def test_what_no_exporter_follows_is_refused_in_a_line(method, goal, tmp_path):
    pytest.importorskip("onnxscript")
    with pytest.raises(ValueError, match=f"cannot become .*{goal}.*valid methods: ts_dtp"):
        export_onnx(pruned(method=method), tmp_path / "model.onnx", max_length=64)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_program_of_half_precision_answers_as_its_model():
    model = tsdtp.prune(
        make_model("bert").to(torch.bfloat16), "topk", fraction=0.5, special_ids=[SPECIAL]
    )
    program = export(model, max_length=64).module()
    for n in LENGTHS:
        ids = make_batch((n,), seed=n)["input_ids"]
        with torch.inference_mode():
            expected = model.eval()(input_ids=ids).logits
        torch.testing.assert_close(program(ids, torch.zeros_like(ids))[0], expected)


def test_what_writes_and_lengths_that_no_text_has_are_refused():
    with pytest.raises(ValueError, match="PrunedSeq2Seq is no classifier"):
        export(tsdtp.prune(make_seq2seq("marian"), "topk", budget=0.6))
    for length in (-3, 0, 2, 65):
        with pytest.raises(ValueError, match=f"max_length={length}: valid is 3 to 64"):
            export(pruned(method="topk"), length)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "method", "options"),
    [
        ("bert", "ts_dtp", {"fuse": "similar"}),
        ("llama", "topk", {}),  # whose attention is causal
    ],
)
def test_an_onnx_file_answers_as_the_model(tmp_path, family, method, options):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = pruned(family, method, **options)
    path = export_onnx(model, tmp_path / "model.onnx", max_length=64)
    session = runtime.InferenceSession(str(path))

    def run(*inputs):
        named = zip(program_inputs(model), (x.numpy() for x in inputs), strict=True)
        return [torch.from_numpy(x) for x in session.run(None, dict(named))]

    check(model, run)
