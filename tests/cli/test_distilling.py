"""What a run learns from unpruned ones: from several, on altered texts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny import FAST

from tsdtp.cli import training
from tsdtp.cli.cells import load_run
from tsdtp.models.texts import inputs_of
from tsdtp.results import RECORD_NAME, read_record

RUN = "outputs/runs/synthetic_sentence/tiny_bert"
PRUNED = ("pruning=ts_dtp", "pruning.budget=0.7", "model.init_from=unpruned")


@pytest.fixture
def teachers(trained) -> list[Path]:
    """Folders of two unpruned runs."""
    return [trained(f"seed={seed}") for seed in (0, 1)]


def test_several_teachers_and_altered_texts(tsdtp, teachers):
    given = ("teacher.others=[1]", "teacher.noise=0.3")  # the run of seed 1 beside this one
    assert tsdtp("train", *FAST, *PRUNED, *given).code == 0
    config = read_record(f"{RUN}/ts_dtp-0.7/seed0").provenance["config"]["teacher"]
    assert config["others"] == [1] and config["noise"] == 0.3
    shutil.rmtree(teachers[1])
    assert load_run(f"{RUN}/ts_dtp-0.7/seed0")[1].pruner.layers == [0, 1, 2]


def test_those_that_teach_are_the_runs_that_were_named(tsdtp, teachers, monkeypatch):
    tasks = []
    monkeypatch.setattr(training, "fit", lambda task, *_: tasks.append(task) or task.model)
    named = ("teacher.others=[1]", "teacher.distillation=0.7", "teacher.noise=0.3")
    pruned = ("pruning=topk", "pruning.budget=0.7", "model.init_from=unpruned")
    assert tsdtp("train", *FAST, *pruned, *named).code == 0
    (task,) = tasks
    assert (task.distillation, task.noise) == (0.7, 0.3)
    batch = inputs_of(next(iter(load_run(str(teachers[0]))[0].data.loader("validation", 8))))
    found = [teacher(**batch).logits for teacher in task.teachers.models]
    expected = [load_run(str(run))[1].unpruned()(**batch).logits for run in teachers]
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(*found, atol=1e-3)


def test_a_teacher_that_is_not_there(tsdtp, teachers):
    for named, folder in (("nowhere", "nowhere"), ("7", f"{RUN}/none/seed7")):
        outcome = tsdtp("train", *FAST, *PRUNED, f"teacher.others=[{named}]")
        assert outcome.code == 2 and f"teacher.others={folder}: no finished run" in outcome.err


def test_a_training_whose_teachers_have_changed_is_not_gone_on_with(tsdtp, teachers):
    kept = ("debug=fast", "max_steps=-1", "logger=none", "hardware.threads=1", "overwrite=true")
    pruned = ("pruning=topk", "pruning.budget=0.7", "model.init_from=unpruned")
    given = (*kept, *pruned, "teacher.others=[1]", "benchmark.enabled=false")
    assert tsdtp("train", *given).code == 0
    record = teachers[1] / RECORD_NAME
    record.write_text(record.read_text().replace('"date": "2', '"date": "3'))
    outcome = tsdtp("train", *given, "ckpt_path=last")
    assert outcome.code == 2 and "its start or teachers have been run again since" in outcome.err


def test_nothing_is_validated_before_the_end_where_nobody_wants_it(tsdtp):
    outcome = tsdtp("train", *FAST, "validate_every=null")
    assert outcome.code == 0 and "epoch 1/" not in outcome.out
    assert "epoch 1/" in tsdtp("train", *FAST, "seed=1").out
