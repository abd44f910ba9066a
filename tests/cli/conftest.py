"""Runs commands in this process: one import of torch serves them all."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest
import torch
from tiny import FAST, REPOSITORY, VOCABULARY, make_lm, make_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tsdtp.cli.config import register_resolvers
from tsdtp.cli.launch import IMPORTS
from tsdtp.data.synthetic import generate
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.jobs.warm import Forked, prepare
from tsdtp.results import read_record


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def tsdtp(monkeypatch, capsys, tmp_path):
    """`tsdtp("train", ...)` as from a shell in an empty folder; threads are as before after it."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()

    def run(command: str, *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["tsdtp", *arguments])
        capsys.readouterr()
        try:
            code = import_module(f"tsdtp.cli.{command}").main() or 0
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return Outcome(int(code), captured.out, captured.err)

    with patch.dict(os.environ):
        yield run
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def finished() -> dict[tuple[str, ...], Path]:
    """The runs of `trained`, by their overrides."""
    return {}


@pytest.fixture
def trained(tsdtp, finished, tmp_path_factory):
    """`trained("pruning=topk")` is the folder of such a run, at its place and trained only once."""

    def folder(*overrides: str) -> Path:
        if overrides not in finished:
            place = tmp_path_factory.mktemp("trained")
            outcome = tsdtp("train", *FAST, *overrides, f"hydra.run.dir={place}")
            assert outcome.code == 0, outcome.err
            finished[overrides] = place
        config = read_record(finished[overrides]).provenance["config"]
        return shutil.copytree(finished[overrides], Path("outputs/runs", config["run_id"]))

    return folder


@pytest.fixture(scope="session")
def forked():
    """`forked("tsdtp.cli.train", log, ...)` as by `python -m` in this folder, all imports done."""
    prepare(IMPORTS)
    sys.path.append(str(Path(__file__).parent))  # what is forked looks for modules there, too
    started = []

    def start(module: str, log: Path, *arguments: str, **environment: str) -> Forked:
        started.append(Forked(module, arguments, log, {**os.environ, **environment}))
        return started[-1]

    yield start
    for process in started:  # of tests that failed
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def script():
    """`script("name")` is the module `scripts/name.py`."""

    def load(name: str):
        path = REPOSITORY / "scripts" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def own(tmp_path):
    """`my_classifier` and `my_data`, as the README takes them for granted."""
    texts = [f"{word} film about {thing}" for word in ("good", "bad") for thing in "abcdefghij"]
    tokenizer = train_tokenizer(texts, VOCABULARY, max_length=64)
    make_model("bert").save_pretrained(tmp_path / "my_classifier")
    tokenizer.save_pretrained(tmp_path / "my_classifier")
    rows = [f"{text},{'yes' if 'good' in text else 'no'}\n" for text in texts]
    (tmp_path / "my_data").mkdir()
    for split in ("train", "validation"):
        (tmp_path / "my_data" / f"{split}.csv").write_text("text,label\n" + "".join(rows))


@pytest.fixture
def no_hub(monkeypatch, tmp_path) -> None:
    """Tiny models in place of those that pages name on the hub, and `texts.txt` in the folder."""
    texts = [row["text"] for row in generate("sentence", 32)]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    reranker = make_model("bert", num_labels=1)
    stand_ins = {
        AutoModelForSequenceClassification: make_model("bert"),
        AutoModelForCausalLM: make_lm("gpt2"),
        AutoTokenizer: train_tokenizer(texts, 100, max_length=64),
    }

    def load(name: str, auto, real, **settings):
        if Path(name).exists():
            return real(name, **settings)
        ranks = name.startswith("cross-encoder/") and auto is AutoModelForSequenceClassification
        return reranker if ranks else stand_ins[auto]

    for auto in stand_ins:
        own = partial(load, auto=auto, real=auto.from_pretrained)
        monkeypatch.setattr(auto, "from_pretrained", own)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    """W&B writes for a later upload, and nowhere but in the test's folder."""
    for name in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb_home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    if module := sys.modules.get("wandb"):
        module.teardown()  # its service process keeps this test's folder and environment


@pytest.fixture
def empty_folder(monkeypatch, tmp_path):
    """Where a plan finds no run yet."""
    monkeypatch.chdir(tmp_path)
    register_resolvers()
