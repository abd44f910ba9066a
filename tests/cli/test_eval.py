"""`tsdtp eval`: a finished run measured again, whole or in part, and on other rows."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tiny import FAST

from tsdtp.cli import measure
from tsdtp.results import read_record

RUN = "outputs/runs/synthetic_sentence/tiny_bert"
QUICK = ("benchmark.examples=8", "benchmark.rounds=2", "benchmark.min_time=0.001")


def test_eval_may_measure_speed_alone(tsdtp, monkeypatch):
    assert tsdtp("train", *FAST, "hydra.run.dir=run").code == 0
    before = read_record("run")
    other = tsdtp("eval", "run=run", "quality=false", *QUICK, "hydra.run.dir=elsewhere")
    assert other.code == 0 and read_record("elsewhere").quality == before.quality
    for name in ("predictions.csv.gz", "examples.json"):
        assert Path("elsewhere", name).read_bytes() == Path("run", name).read_bytes()
    monkeypatch.delattr(measure, "evaluate")
    assert tsdtp("eval", "run=run", "in_place=true", "quality=false", *QUICK).code == 0
    after = read_record("run")
    assert before.speed is None and after.speed["vs_packed"] > 0
    assert after.speed["examples"] == 8
    assert (after.quality, after.cost) == (before.quality, before.cost)
    assert after.speed["order"] == "plain"
    assert "quality=false" in after.provenance["measured"]["command"]
    kept = after.provenance["measured"]["kept"]
    assert kept["sections"] == ["quality", "cost"] and "tsdtp train" in kept["command"]
    assert tsdtp("eval", "run=run", "in_place=true", "quality=false", *QUICK).code == 0
    record = read_record("run")
    assert record.provenance["measured"]["kept"] == kept, "the training's still"
    nothing = tsdtp("eval", "run=run", "in_place=true", "quality=false", "benchmark.enabled=false")
    assert nothing.code == 2 and "nothing to measure" in nothing.err
    assert read_record("run") == record


def test_a_job_leaves_no_threads_to_the_next(tsdtp, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(2)
    try:
        assert tsdtp("train", *FAST, "hydra.run.dir=run").code == 0
        brief = ("run=run", "quality=false", *QUICK, "hardware.threads=1,null")
        assert tsdtp("eval", "-m", *brief, "hydra.sweep.dir=each").code == 0
        records = [read_record(path.parent) for path in Path("each").rglob("metrics.json")]
        assert sorted(record.speed["threads"] for record in records) == [1, 2]
    finally:
        torch.set_num_threads(1)


def test_of_several_the_others_are_measured_where_one_fails(tsdtp):
    assert tsdtp("train", *FAST, "hydra.run.dir=run").code == 0
    fails, both = "run=nowhere,run", ("in_place=true", "benchmark.enabled=false")
    outcome = tsdtp("eval", "-m", fails, *both)
    assert outcome.code != 0 and "nowhere: no such record" in outcome.err
    assert "eval" in read_record("run").provenance["measured"]["command"]


def test_quality_alone_keeps_the_speed_that_was_measured(tsdtp):
    assert tsdtp("train", *FAST, "benchmark.enabled=true", *QUICK, "hydra.run.dir=run").code == 0
    before = read_record("run")
    assert tsdtp("eval", "run=run", "in_place=true", "benchmark.enabled=false").code == 0
    after = read_record("run")
    assert after.speed == before.speed is not None and after.memory == before.memory
    kept = after.provenance["measured"]["kept"]
    assert kept["sections"] == ["speed", "memory"] and kept["date"] == before.provenance["date"]
    other = (*QUICK, "benchmark.enabled=false", "execution=masked", "hydra.run.dir=masked")
    assert tsdtp("eval", "run=run", *other).code == 0
    assert read_record("masked").speed is None, "packed seconds are not those of a mask"


def test_a_measurement_that_fails_leaves_record_and_answers_as_they_were(
    tsdtp, trained, monkeypatch
):
    folder = trained()
    names = ("metrics.json", "predictions.csv.gz")
    before = [(folder / name).read_bytes() for name in names]
    (folder / names[1]).write_bytes(b"the old answers")

    def fail(*_):
        raise RuntimeError("no clock\nat all")

    monkeypatch.setattr(measure, "benchmark", fail)
    outcome = tsdtp("eval", f"run={folder}", "in_place=true")
    assert outcome.code == 2 and "Traceback" not in outcome.err
    assert "\ntsdtp eval: the benchmark failed (no clock); " in outcome.err
    assert (folder / names[0]).read_bytes() == before[0]
    assert (folder / names[1]).read_bytes() == b"the old answers"


def test_eval_on_other_rows_is_a_task_of_its_own(tsdtp, trained):
    folder = trained()
    Path("here").mkdir()
    Path("here/my.own.csv").write_text("text,label\ngood,positive\nbad,0\nso so,0\n")
    other = (f"run={folder}", "data=here/my.own.csv", "benchmark.enabled=false")
    outcome = tsdtp("eval", *other, "hydra.run.dir=outputs/runs/other")
    assert outcome.code == 0, outcome.err
    record = read_record("outputs/runs/other")
    assert record.identity["task"] == "synthetic_sentence_on_here_my.own"
    assert (record.quality["n"], record.quality["split"]) == (3, "here/my.own.csv")
    assert "synthetic_sentence_on_here_my.own" in tsdtp("report", "outputs/runs").out
    mixed = tsdtp("eval", *other, "in_place=true")
    assert mixed.code == 2 and "data=null" in mixed.err
    generated = tsdtp("eval", f"run={folder}", "data_dir=here")
    assert generated.code == 2 and "data_dir=here: valid for a run of local files" in generated.err
    missing = tsdtp("eval", f"run={folder}", "data=nowhere.csv")
    assert missing.code == 2 and "data=nowhere.csv: no such file" in missing.err


def test_eval_needs_no_training_data_and_finds_the_others_where_they_are_now(
    tsdtp, own, monkeypatch
):
    mine = ("task=text_classification", "task.data.local_dir=my_data", "model=own")
    labels = ("task.data.text_columns=[text]", "task.data.label_names=[no,yes]", "epochs=0")
    words = (*mine, *labels, "model.path=my_classifier", "task.data.max_length=32")
    assert tsdtp("train", *FAST, *words, "hydra.run.dir=run").code == 0
    here = read_record("run")
    Path("my_data/train.csv").unlink()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    run = ("run=../run", "benchmark.enabled=false", "hydra.run.dir=again")
    lost = tsdtp("eval", *run)
    assert lost.code == 2 and "my_data" in lost.err and "valid: data_dir=FOLDER" in lost.err
    outcome = tsdtp("eval", *run, "data_dir=../my_data")
    assert outcome.code == 0, outcome.err
    assert read_record("again").quality == here.quality
    held = read_record("again").provenance["measured"]["data"]
    assert held == {"validation.csv": here.provenance["data"]["validation.csv"]}
    assert tsdtp("eval", *run, "data=../my_data/validation.csv").code == 0
    nowhere = tsdtp("eval", *run, "data_dir=nowhere")
    assert nowhere.code == 2 and "nowhere" in nowhere.err


def test_eval_measures_the_same_model(tsdtp, monkeypatch):
    few = "task.data.eval_examples=16"  # two threads wait for each other on a busy machine
    assert tsdtp("train", *FAST, "pruning=topk", "pruning.budget=0.6", few).code == 0
    folder = f"{RUN}/topk-0.6/seed0"
    trained = read_record(folder)
    arguments = [f"run={folder}", "benchmark.rounds=2", "benchmark.min_time=0.001"]
    arguments += ["hardware.threads=2"]
    real, threads = measure.evaluate, []
    monkeypatch.setattr(
        measure, "evaluate", lambda *a: threads.append(torch.get_num_threads()) or real(*a)
    )
    outcome = tsdtp("eval", *arguments, "hydra.run.dir=again")
    measured = json.loads(outcome.out[outcome.out.index("{") :])
    assert measured["quality"]["accuracy"] == trained.quality["accuracy"]
    assert measured["cost"]["tokens_kept"] == trained.cost["tokens_kept"]
    assert threads == [2], "of quality as well as of speed"
    plain = tsdtp("eval", *arguments, "execution=hf", "hydra.run.dir=plain")
    assert plain.code == 0
    assert read_record("plain").identity["execution"] == "hf"
    assert read_record("plain").cost["flops_ratio"] == 1, "the plain model neither scores nor drops"
    assert tsdtp("eval", "run=nowhere").code == 2
