"""`tsdtp export`: a run as a program that needs no tsdtp."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import contextmanager

import pytest
import torch

import tsdtp as library


@pytest.fixture
def run(trained):
    return trained("pruning=topk", "pruning.budget=0.6")


@pytest.mark.slow
def test_a_run_becomes_a_program(tsdtp, run):
    outcome = tsdtp("export", f"run={run}", "model.pt2", "--max-length", "32")
    assert outcome.code == 0 and outcome.out.startswith("model.pt2: input_ids"), outcome.err
    program = torch.export.load("model.pt2").module()
    ids = torch.tensor([[2, 9, 8, 7, 6, 5, 3]])
    logits, kept = program(ids, torch.zeros_like(ids))
    model = library.from_pretrained(run)
    torch.testing.assert_close(logits, model(input_ids=ids).logits, atol=1e-5, rtol=0)
    assert kept.min() < kept.max()


@pytest.mark.slow
def test_weights_beside_a_large_file_are_found_there(tsdtp, run, monkeypatch, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from torch.onnx._internal.exporter import _onnx_program

    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 0)
    outcome = tsdtp("export", f"run={run}", "new/model.onnx", "--max-length", "32")
    assert outcome.code == 0, outcome.err
    files = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert files == ["model.onnx", "model.onnx.data"]
    runtime.InferenceSession("new/model.onnx")
    outcome = tsdtp("export", f"run={run}", "other/model.onnx", "--max-length", "999")
    assert outcome.code == 2 and "max_length=999: valid is 3 to 128" in outcome.err
    assert not list(tmp_path.glob("other/*"))


def test_a_missing_package_is_named_with_its_extra(tsdtp, run, monkeypatch):
    def export(*_, **__):
        raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")

    monkeypatch.setattr(torch.onnx, "export", export)
    outcome = tsdtp("export", f"run={run}", "model.onnx", "--max-length", "32")
    assert outcome.code == 2
    assert "onnxscript is not installed: pip install -e '.[onnx]'" in outcome.err


def test_an_export_that_is_told_to_end_leaves_nothing(tsdtp, run, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        tsdtp("export", f"run={run}", "new/model.onnx", "--max-length", "32")
    assert not list(tmp_path.glob("new/*")) and not list(tmp_path.glob("new/.*"))
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_nothing(tsdtp, run, small_files, tmp_path):
    with small_files():
        outcome = tsdtp("export", f"run={run}", "new/model.pt2", "--max-length", "32")
    assert outcome.code == 2 and outcome.err.startswith("tsdtp export: ")
    assert "File too large" in outcome.err and outcome.err.count("\n") == 1
    assert not list(tmp_path.glob("new/*"))


@pytest.fixture
def small_files():
    """`with small_files():` no file may have more than a few bytes."""

    @contextmanager
    def limited():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run=nowhere", "a.onnx"), "no such folder"),
        (("run=nowhere", "a.bin"), "a.bin: valid suffixes are .pt2, .onnx"),
    ],
)
def test_what_cannot_be_exported_is_named(tsdtp, arguments, message):
    outcome = tsdtp("export", *arguments)
    assert outcome.code == 2 and message in outcome.err
