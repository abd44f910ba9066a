"""A wrong command line gets a line or two that name the mistake and the valid choices."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from tiny import FAST, REPOSITORY

from tsdtp.cli.checks.command import check_command
from tsdtp.cli.config import ConfigError
from tsdtp.cli.folder import LOCK_NAME, take_lock
from tsdtp.results import RECORD_NAME

TRANSLATED = ["task=synthetic_translation", "model=tiny_marian"]
WRONG = {
    "unknown option": (["pruning=tsdtp"], ["pruning=tsdtp", "ts_dtp", "topk"]),
    "dashes": (["--pruning", "topk"], ["--pruning", "pruning=VALUE"]),
    "no equals sign": (["pruning", "topk"], ["'pruning'", "pruning=VALUE"]),
    "setting after an option": (
        ["--config-dir=x", "seed=1"],
        ["seed=1: after an option", "settings first"],
    ),
    "misspelt key": (["pruning=dtp", "pruning.budgit=0.4"], ["budgit", "did you mean budget?"]),
    "misspelt top key": (["epoch=3"], ["epoch", "did you mean epochs?"]),
    "impossible budget": (["pruning=dtp", "pruning.budget=1.4"], ["1.4", "(0, 1]"]),
    "budget out of reach": (
        ["pruning=dtp", "pruning.layers=[2]", "pruning.budget=0.2"],
        ["0.2", "valid: 0."],
    ),
    "budget of a method without one": (["pruning.budget=0.5"], ["NoPruning", "null"]),
    "wrong layer": (["pruning=topk", "pruning.layers=[9]"], ["9", "0 to 3"]),
    "too long": (["task.data.max_length=999"], ["999", "128"]),
    "more blocks than there are": (["model.blocks=9"], ["model.blocks=9", "1 to 4"]),
    "unknown execution": (["model.execution=fast"], ["fast", "masked, packed, hf"]),
    "missing file": (
        ["task=sst2", "task.data.source=local", "task.data.local_dir=nowhere"],
        ["nowhere", "TSDTP_DATA_DIR"],
    ),
    "no GPU": (["hardware=gpu"], ["GPU", "cpu_bf16"]),
    "no GPUs": (["hardware=fsdp"], ["GPU", "ddp_cpu"]),
    "no start run": (["model.init_from=nowhere"], ["nowhere", "no finished run"]),
    "more processes than rows": (
        ["hardware.devices=2", "batch_size=1"],
        ["2 processes", "batches of 1", "valid: 2"],
    ),
    "unknown source": (["task.data.source=web"], ["web", "hub, local, synthetic"]),
    "key of the chosen option": (["pruning=ts_dtp", "pruning.gama=1"], ["did you mean gamma?"]),
    "key of another group": (["pruning.blocks=2"], ["did you mean model.blocks?", "budget"]),
    "negative threads": (["hardware.threads=-1"], ["threads=-1", "1 or more, or null"]),
    "no threads": (["hardware.threads=0"], ["threads=0", "1 or more, or null"]),
    "no processes": (["hardware.devices=0"], ["devices=0", "1 or more"]),
    "processes by number": (["hardware.devices=[0,1]"], ["devices=[0, 1]", "1 or more processes"]),
    "no devices": (
        ["hardware=gpu", "hardware.devices=[]"],
        ["hardware.devices=[]", "1 or more, -1 for all, or the numbers"],
    ),
    "devices in words": (["hardware=ddp", "hardware.devices=auto"], ["=auto", "-1 for all"]),
    "unknown profiler": (["profiler=foo"], ["profiler=foo", "simple, advanced, pytorch, or null"]),
    "half an epoch": (["epochs=0.5"], ["epochs=0.5", "0 or more, or null"]),
    "half a step": (["max_steps=0.5"], ["max_steps=0.5", "or -1"]),
    "a rate left out": (["optim.lr=null"], ["optim.lr=None", "a number, 0 or more"]),
    "endless": (["benchmark.min_time=inf"], ["benchmark.min_time=inf", "a number, 0 or more"]),
    "a yes": (["teacher.temperature=true"], ["teacher.temperature=True", "a number above 0"]),
    "uphill": (["gradient_clip=-1"], ["gradient_clip=-1", "a norm, 0 (or null) for none"]),
    "no end": (["epochs=null", "max_steps=-1"], ["epochs=null", "max_steps"]),
    "a batch and a half": (["batch_size=1.5"], ["batch_size=1.5", "1 or more"]),
    "no room for words": (["task.data.max_length=2"], ["max_length=2", "3 or more"]),
    "true rows": (["task.data.train_limit=true"], ["train_limit=True", "1 or more"]),
    "a rate in words": (["optim.lr=abc"], ["optim.lr=abc", "a number, 0 or more"]),
    "no rate": (["optim.lr=.nan"], ["optim.lr=.nan", "a number, 0 or more"]),
    "no seed": (["seed=null"], ["seed=", "0 or more"]),
    "attributions in no steps": (["teacher.attribution_steps=0"], ["steps=0", "1 or more"]),
    "one more teacher": (["teacher.others=1"], ["teacher.others=1", "a list, as in [1]"]),
    "no batch to teach": (["teaching.batch_size=0"], ["teaching.batch_size=0", "1 or more"]),
    "taught by halves": (["teaching.epochs=0.5"], ["teaching.epochs=0.5", "0 or more"]),
    "unknown launcher": (["hydra/launcher=slurmy"], ["hydra/launcher=slurmy", "slurm"]),
    "no name of a variant": (["variant=a/b"], ["variant=a/b", "letters"]),
    "an end before the budget's": (
        ["callbacks=early_stop", "pruning=topk", "pruning.budget=0.6"],
        ["callbacks=early_stop", "budget_schedule.ramp=0"],
    ),
    "tokens without buckets": (
        ["task=synthetic_translation", "task.data.batch_tokens=512", "bucketed=false"],
        ["bucketed=false", "task.data.batch_tokens=null"],
    ),
    "other settings treated anyhow": (["changed_settings=keep"], ["=keep", "ask, rerun"]),
    "other code treated anyhow": (["changed_code=rerunn"], ["rerunn", "ask, keep, rerun"]),
    "variant like a budget": (["variant=0.5"], ["variant=0.5", "letter"]),
    "noise beyond all words": (["teacher.noise=2"], ["teacher.noise=2", "0 to 1"]),
    "more than the teacher": (["teacher.distillation=1.5"], ["distillation=1.5", "0 to 1"]),
    "no temperature": (["teacher.temperature=0"], ["teacher.temperature=0", "above 0"]),
    "warm-up in steps": (["optim.warmup=100"], ["optim.warmup=100", "a share, 0 to 1"]),
    "warm-up in words": (["optim.warmup=long"], ["optim.warmup=long", "a share, 0 to 1"]),
    "negative ramp": (["budget_schedule.ramp=-0.1"], ["ramp=-0.1", "0 to 1"]),
    "ramp beyond the end": (["budget_schedule.warmup=0.8"], ["warmup and ramp", "more than 1"]),
    "no updates": (["budget_schedule.updates=0"], ["updates=0", "1 or more"]),
    "noise without a teacher": (["teacher.noise=0.3"], ["teacher.noise", "model.init_from"]),
    "others without a teacher": (["teacher.others=[nowhere]"], ["teacher.others", "init_from"]),
    "dropout of everything": (["dropout=1"], ["dropout=1", "less than 1, or null"]),
    "validations that never come": (["validate_every=0"], ["validate_every=0", "or null"]),
    "validations in words": (["validate_every=x"], ["validate_every=x", "or null"]),
    "no order": (["benchmark.order=sortd"], ["benchmark.order=sortd", "plain, sorted"]),
    "one round": (["benchmark.rounds=1"], ["benchmark.rounds=1", "2 or more"]),
    "no time": (["benchmark.min_time=-1"], ["benchmark.min_time=-1", "a number, 0 or more"]),
    "unknown type": (["hardware.dtype=bf16"], ["hardware.dtype=bf16", "bfloat16"]),
    "nothing to calibrate by": (["budget_schedule.final_examples=0"], ["examples=0", "1 or more"]),
    "unknown schedule": (["optim.schedule=cosinee"], ["optim.schedule=cosinee", "cosine"]),
    "logs that never come": (["log_every_n_steps=0"], ["log_every_n_steps=0", "1 or more"]),
    "early stop without validations": (
        ["validate_every=null", "callbacks=early_stop"],
        ["validate_every=null", "early_stop"],
    ),
    "no truth": (["overwrite=no"], ["overwrite=no: valid are true and false"]),
    "no truth of a method's": (
        ["pruning=ts_dtp", "pruning.embedding_features=off"],
        ["pruning.embedding_features=off: valid are true and false"],
    ),
    "nothing to go on with": (["ckpt_path=last", "epochs=0"], ["nothing is trained", "above 0"]),
    "taught by itself": (
        ["model.init_from=unpruned"],
        ["would start or learn from itself", "null"],
    ),
    "unknown part of generated data": (
        ["task.data.evaluate_on=holdot"],
        ["holdot", "validation, test, holdout"],
    ),
    "no beams": (
        ["task=synthetic_translation", "model=tiny_marian", "task.generation.num_beams=0"],
        ["num_beams=0", "1 or more"],
    ),
    "misspelt setting of generate": (
        [*TRANSLATED, "+task.generation.lenght_penalty=0.6"],
        ["lenght_penalty", "did you mean length_penalty?"],
    ),
    "several translations of a text": (
        [*TRANSLATED, "+task.generation.num_return_sequences=2"],
        ["num_return_sequences=2", "valid is 1"],
    ),
    "more words than places": (
        [*TRANSLATED, "task.generation.max_new_tokens=999"],
        ["max_new_tokens=999", "up to 128"],
    ),
    "no examples": (["task.data.eval_examples=0"], ["eval_examples=0", "1 or more"]),
    "a weight below nothing": (["model.auxiliary_weight=-1"], ["auxiliary_weight=-1", "0 or more"]),
    "more words to time than places": (
        [*TRANSLATED, "benchmark.enabled=true", "benchmark.new_tokens=999"],
        ["benchmark.new_tokens=999", "up to 128"],
    ),
    "no settings of generate": ([*TRANSLATED, "task.generation=null"], ["{num_beams: 4}"]),
    "batches of no tokens": (
        [*TRANSLATED, "task.data.batch_tokens=0"],
        ["batch_tokens=0", "1 or more"],
    ),
    "too smooth": (
        [*TRANSLATED, "task.label_smoothing=1.5"],
        ["task.label_smoothing=1.5", "0 to 1"],
    ),
    "no prefix": ([*TRANSLATED, "task.data.prefix=null"], ["prefix=None", "'' for none"]),
    "resampled by halves": (
        ["task=synthetic_translation", "model=tiny_marian", "task.bootstrap=0.5"],
        ["bootstrap=0.5", "0 or more"],
    ),
    "dropout in words": (["dropout=abc"], ["dropout=abc", "valid is a probability"]),
    "mandatory value": (["task=text_classification"], ["no value given", "task.data.local_dir"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_says_what_is_wrong_and_what_is_valid(tsdtp, name):
    arguments, expected = WRONG[name]
    if name.startswith("no GPU") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    outcome = tsdtp("train", *FAST, *arguments)
    assert outcome.code == 2
    message = outcome.err.strip().splitlines()
    assert 1 <= len(message) <= 2, outcome.err
    for words in expected:
        assert words in outcome.err


def test_what_says_so_otherwise_or_nothing_at_all_is_let_through(tsdtp):
    Path("mine/hardware").mkdir(parents=True)
    older = (REPOSITORY / "configs/hardware/cpu.yaml").read_text() + "num_workers: 0\n"
    Path("mine/hardware/older.yaml").write_text(older)
    words = ["overwrite=1", "benchmark.enabled=0", "hydra.verbose=tsdtp", "dropout=null"]
    check_command("train", ["--config-dir=mine", "hardware=older", *words])
    writes = ["task=synthetic_translation", "model=tiny_marian"]
    check_command("train", [*writes, "task.generation.max_new_tokens=null"])
    Path("mine/hardware/older.yaml").write_text(older.replace("num_workers: 0", "num_workers: 4"))
    with pytest.raises(ConfigError, match="no such key: hardware.num_workers"):
        check_command("train", ["--config-dir=mine", "hardware=older"])


def test_a_run_to_measure_has_to_be_named(tsdtp):
    outcome = tsdtp("eval")
    assert outcome.code == 2 and "which run? valid: run=FOLDER of a finished run" in outcome.err
    assert "tsdtp eval" in tsdtp("eval", "-h").out


def test_a_pattern_of_options_is_read():
    check_command("train", ["-m", "pruning=glob(dtp*)"])
    with pytest.raises(ConfigError, match="pruning=glob.x.: no such option"):
        check_command("train", ["-m", "seed=1", "pruning=glob(x)"])


def test_a_value_that_a_model_file_leaves_open_is_asked_for(tsdtp):
    Path("mine/model").mkdir(parents=True)
    own = (REPOSITORY / "configs/model/tiny_bert.yaml").read_text()
    Path("mine/model/open.yaml").write_text(own.replace("path: null", "path: ???"))
    outcome = tsdtp("train", "--config-dir=mine", "model=open", *FAST)
    assert outcome.code == 2 and "no value given for model.path" in outcome.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batchsize: 8", "no such key: batchsize (did you mean batch_size?)"),
        ("teaching: {example: 10}", "no such key: teaching.example (did you mean examples?)"),
        ("teacher: {sampled: 'no'}", "teacher.sampled=no: valid are true and false"),
    ],
)
def test_an_experiment_that_would_change_nothing_is_refused(tsdtp, text, words):
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/typo.yaml").write_text(f"# @package _global_\n{text}\n")
    outcome = tsdtp("train", "--config-dir=mine", "experiment=typo", *FAST)
    assert outcome.code == 2 and words in outcome.err


def test_a_model_file_that_lacks_keys(tsdtp):
    Path("mine/model").mkdir(parents=True)
    Path("mine/model/half.yaml").write_text("name: half\nconfig: null\nblocks: null\n")
    outcome = tsdtp("train", "--config-dir=mine", "model=half", *FAST)
    assert outcome.code == 2 and "model=half: its file lacks model.path, " in outcome.err
    assert "model.init_from; valid is one like model/own.yaml" in outcome.err


def test_beams_are_a_translators(tsdtp, trained):
    outcome = tsdtp("eval", f"run={trained()}", "num_beams=4")
    assert outcome.code == 2 and "num_beams=4: valid is 1 or more" in outcome.err


def test_a_record_is_replaced_by_its_own_kind_alone(tsdtp, trained):
    folder = trained()
    run = f"run={folder}"
    again = (run, "in_place=true", "benchmark.enabled=false")
    for setting in ("in_place=true", "quality=false"):
        other = tsdtp("eval", run, setting, "execution=hf")
        assert other.code == 2 and "valid: execution=packed" in other.err and setting in other.err
    first = (folder / "metrics.json").read_text()
    assert tsdtp("eval", *again).code == 0
    assert (folder / "metrics.previous.json").read_text() == first


def test_a_run_that_is_being_measured_is_left_alone(tsdtp, trained):
    run = trained("pruning=none")
    before = (run / RECORD_NAME).read_text()
    with take_lock(run / LOCK_NAME, "busy"):
        outcome = tsdtp("eval", f"run={run}", "in_place=true", "benchmark.enabled=false")
    assert outcome.code == 2 and "another process is at work in" in outcome.err
    assert (run / RECORD_NAME).read_text() == before


def test_what_was_not_trained_is_not_evaluated(tsdtp, trained):
    folder = trained()
    (folder / "model.safetensors").unlink()  # a bench leaves none either
    outcome = tsdtp("eval", f"run={folder}")
    assert outcome.code == 2 and f"run={folder}: no trained run" in outcome.err


def test_a_missing_extra_is_named_with_the_command_that_brings_it(tsdtp, monkeypatch):
    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    Plugins.instance()  # finds what is installed, once
    monkeypatch.delitem(launchers, "submitit_slurm.yaml", raising=False)
    outcome = tsdtp("train", "-m", *FAST, "hydra/launcher=slurm", "seed=0,1")
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert line.endswith("pip install -e '.[slurm]' in the clone of tsdtp")


def test_wrong_label_column(tsdtp, tmp_path):
    (tmp_path / "train.csv").write_text("text,label\ngood,0\nbad,1\n")
    (tmp_path / "validation.csv").write_text("text,label\ngood,0\nbad,1\n")
    own = ["task=text_classification", f"task.data.local_dir={tmp_path}"]
    own += ["task.data.text_columns=[text]", "task.data.label_names=[a,b]"]
    outcome = tsdtp("train", *FAST, *own, "task.data.label_column=class")
    assert outcome.code == 2
    assert "class" in outcome.err and "label" in outcome.err


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("sweep", ["sweep=nothing"], "smoke"),
        ("sweep", [], "sweep=smoke"),
        ("eval", [], "run=FOLDER"),
        ("report", ["nowhere"], "nowhere"),
    ],
)
def test_other_commands(tsdtp, command, arguments, words):
    outcome = tsdtp(command, *arguments)
    assert outcome.code == 2
    assert words in outcome.err
