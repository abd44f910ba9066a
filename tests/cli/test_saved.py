"""What lies beside a record agrees with it: answers, weights, attributions."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny import FAST

import tsdtp as library
from tsdtp.cli.cells import load_run
from tsdtp.cli.measure import training_batches
from tsdtp.models.budget import spent_ratio
from tsdtp.results import EXAMPLES, PREDICTIONS, read_record

RUN = "outputs/runs/synthetic_sentence/tiny_bert"
BRIEF = (*FAST, "epochs=0")


def test_the_answers_are_those_that_the_record_sums_up(trained):
    folder = trained("pruning=topk", "pruning.budget=0.6")
    record, answers = read_record(folder), pd.read_csv(folder / PREDICTIONS)
    n = record.quality["n"]
    assert answers["index"].tolist() == list(range(n)) and n > 1
    right = answers["label"] == answers["prediction"]
    assert right.mean() == pytest.approx(record.quality["accuracy"])
    kept = answers["kept"].sum() / answers["tokens"].sum()
    assert kept == pytest.approx(record.cost["tokens_kept"][-1]) and kept < 1
    shown = json.loads((folder / EXAMPLES).read_text())
    assert [each["index"] for each in shown["examples"]] == list(range(n))
    for each, row in zip(shown["examples"], answers.to_dict("records"), strict=True):
        assert each["kept"] == row["kept"] == each["kept_layers"].count(shown["layers"])
        assert len(each["tokens"]) == len(each["kept_layers"]) == row["tokens"]


def test_the_threshold_that_is_saved_is_the_one_that_was_measured(tsdtp):
    few = ("budget_schedule.examples=8", "budget_schedule.final_examples=48")
    assert tsdtp("train", *BRIEF, "pruning=topk", "pruning.budget=0.6", *few).code == 0
    folder = f"{RUN}/topk-0.6/seed0"
    record, model = read_record(folder), library.from_pretrained(folder)
    batches = training_batches(load_run(folder)[0], 48)
    assert model.pruner.strictness.item() > 0
    assert spent_ratio(model, batches) == pytest.approx(record.cost["budget_spent_train"])
    measured = (f"run={folder}", "benchmark.enabled=false", "hydra.run.dir=again")
    assert tsdtp("eval", *measured).code == 0
    assert read_record("again").cost == record.cost


def test_a_finished_run_has_done_with_what_anneals(tsdtp):
    soft = ("pruning=ltp", "pruning.budget=0.6", "pruning.soft_until=0.5", "epochs=1")
    assert tsdtp("train", *BRIEF, *soft).code == 0
    model = library.from_pretrained(f"{RUN}/ltp-0.6/seed0")
    assert model.pruner.progress == 1 and not model.train().pruner.learns
    assert tsdtp("train", *BRIEF, *soft[:-1], "epochs=0", "variant=untrained").code == 0
    assert library.from_pretrained(f"{RUN}/ltp-0.6-untrained/seed0").pruner.progress == 0


def test_a_teacher_trained_again_is_asked_again(tsdtp):
    def taught(variant: str) -> set[Path]:
        pruned = ("pruning=ts_dtp", "pruning.budget=0.7", "model.init_from=unpruned")
        assert tsdtp("train", *BRIEF, *pruned, f"variant={variant}").code == 0
        return set(Path(RUN, "none/seed0/attributions").iterdir())

    assert tsdtp("train", *BRIEF).code == 0
    first = taught("first")
    assert tsdtp("train", *BRIEF, "epochs=1", "overwrite=true").code == 0
    assert len(first) == 1 and len(taught("second")) == 2
