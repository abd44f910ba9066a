"""The life of a run: trained, recorded, found again, resumed, evaluated."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny import FAST, TIMED

from tsdtp.cli import run
from tsdtp.cli.cells import load_run
from tsdtp.results import read_record

RUN = "outputs/runs/synthetic_sentence/tiny_bert"
KEYS = {
    "quality": {"accuracy", "stderr", "n", "keep_precision", "keep_recall"},
    "cost": {"flops_per_example", "flops_ratio", "tokens_kept", "budget_spent_train"},
    "speed": {
        *("device", "dtype", "batch_size", "threads", "examples_per_second", "latency_ms"),
        *("vs_packed", "vs_hf", "spread"),
    },
    "memory": {"peak_mib", "vs_packed"},
}


def test_a_run_leaves_a_whole_record(tsdtp):
    assert tsdtp("train", *TIMED, "pruning=dtp", "pruning.budget=0.6").code == 0
    record = read_record(f"{RUN}/dtp-0.6/seed0")
    for section, keys in KEYS.items():
        assert keys <= set(getattr(record, section)), section
    assert record.identity["budget"] == 0.6
    assert record.cost["budget_spent_train"] == pytest.approx(0.6, abs=0.03)
    assert record.provenance["command"].startswith("tsdtp train debug=fast")
    assert record.provenance["config"]["method"] == "dtp"
    assert len(record.cost["tokens_kept"]) == 4
    assert not list(Path(RUN).rglob("*.tmp"))


def test_the_budget_has_come_down_before_the_training_ends(tsdtp):
    logged = ("debug=fast", "callbacks=none", "logger=csv", "hardware.threads=1")
    pruned = ("pruning=topk", "pruning.budget=0.6", "benchmark.enabled=false")
    assert tsdtp("train", *logged, *pruned).code == 0
    curve = pd.read_csv(f"{RUN}/topk-0.6/seed0/csv/metrics.csv")["val/flops_ratio"].dropna()
    assert curve.tolist() == pytest.approx([0.6], abs=0.05)


def test_a_record_names_the_code_that_ran(tsdtp, monkeypatch):
    states, train = [{"commit": "a" * 40, "dirty": False, "code": "before"}], run.train
    monkeypatch.setattr(run, "code_state", lambda: states[-1])

    def edited(*given):
        states.append({"commit": "b" * 40, "dirty": True, "code": "after"})
        return train(*given)

    monkeypatch.setattr(run, "train", edited)
    assert tsdtp("train", *FAST).code == 0
    made = read_record("outputs/runs/synthetic_sentence/tiny_bert/none/seed0").provenance
    assert {key: made[key] for key in states[0]} == states[0]


def test_a_finished_run_is_not_repeated_nor_overwritten(tsdtp):
    assert tsdtp("train", *FAST).code == 0
    first = read_record(f"{RUN}/none/seed0").provenance["date"]
    again = tsdtp("train", *FAST)
    assert again.code == 0 and "done" in again.out
    assert read_record(f"{RUN}/none/seed0").provenance["date"] == first
    other = tsdtp("train", *FAST, "batch_size=16")
    assert other.code == 2 and "overwrite=true" in other.err
    assert "(batch_size: 32 -> 16)" in other.err, "the setting that differs is named, and no other"
    assert tsdtp("train", *FAST, "batch_size=16", "overwrite=true").code == 0


def test_fewer_blocks_and_fewer_tokens(tsdtp, trained):
    trained()
    both = ["model.init_from=unpruned", "pruning=ts_dtp", "pruning.budget=0.3", "model.blocks=2"]
    assert tsdtp("train", *FAST, *both).code == 0
    folder = f"{RUN}/ts_dtp-0.3/seed0"
    record = read_record(folder)
    assert record.cost["flops_ratio"] == pytest.approx(0.3, abs=0.03)
    kept = record.cost["tokens_kept"]
    assert 1 > kept[0] == pytest.approx(kept[1]) == kept[3], "the second block is the last"
    assert tsdtp("eval", f"run={folder}", "benchmark.enabled=false").code == 0
    assert "0.3" in tsdtp("report", "outputs/runs").out


def test_a_run_of_fewer_blocks_teaches_as_it_answers(tsdtp, trained):
    trained()
    shallow = ["model.init_from=unpruned", "model.blocks=1", "variant=shallow"]
    assert tsdtp("train", *FAST, *shallow).code == 0
    cell, model = load_run(f"{RUN}/none-shallow/seed0")
    teacher = cell.teacher()
    assert teacher is not None and teacher.pruner.depth == model.pruner.depth == 1
    start = [f"model.init_from={RUN}/none-shallow/seed0", "pruning=topk", "pruning.budget=0.2"]
    deeper = tsdtp("train", *FAST, *start)
    assert deeper.code == 2 and "the run to start from computes 1 blocks" in deeper.err


def test_pruned_runs_start_from_the_unpruned_one(tsdtp, trained):
    start = ["model.init_from=unpruned", "pruning=ts_dtp", "pruning.budget=0.6"]
    missing = tsdtp("train", *FAST, *start)
    assert missing.code == 2 and "no finished run" in missing.err
    alone = tsdtp("train", *FAST, *start[1:], "variant=alone")
    assert alone.code == 0 and "no teacher" in alone.out
    trained()
    outcome = tsdtp("train", *FAST, *start)
    assert outcome.code == 0 and "teaching" in outcome.out


def test_teaching_in_half_precision_learns_as_much(tsdtp, trained):
    trained()
    pruned = ["model.init_from=unpruned", "pruning=ts_dtp", "pruning.budget=0.6"]
    longer = ["teaching.examples=64", "teaching.batch_size=8", "teaching.epochs=8"]
    last = {}
    for precision in ("bf16-mixed", "32-true"):
        half = [f"hardware.precision={precision}", f"variant=in_{precision[:2]}"]
        outcome = tsdtp("train", *FAST, *pruned, *longer, *half)
        assert outcome.code == 0, outcome.err
        losses = re.search(r"auxiliary loss ([\d.]+) to ([\d.]+)", outcome.out)
        assert losses is not None
        first, last[precision] = map(float, losses.groups())
        assert last[precision] < first - 0.1
    assert last["bf16-mixed"] == pytest.approx(last["32-true"], abs=0.03)


def test_the_batches_of_evaluation_do_not_change_what_is_taught(tsdtp, trained):
    trained()
    pruned = ["model.init_from=unpruned", "pruning=ts_dtp", "pruning.budget=0.6"]
    pruned += ["teaching.examples=48", "teaching.batch_size=16", "budget_schedule.examples=20"]
    found = []
    for size in (8, 64):
        outcome = tsdtp("train", *FAST, *pruned, f"eval_batch_size={size}", f"variant=by_{size}")
        assert outcome.code == 0, outcome.err
        folder = Path(RUN, f"ts_dtp-0.6-by_{size}/seed0")
        found.append((load_file(folder / "model.safetensors"), read_record(folder)))
    (one, first), (other, second) = found
    torch.testing.assert_close(one, other)
    assert first.cost["budget_spent_train"] == pytest.approx(second.cost["budget_spent_train"])


def test_attributions_are_computed_once_for_all_budgets(tsdtp, trained):
    pruned = ["model.init_from=unpruned", "pruning=ts_dtp"]
    kept = Path(RUN, "none/seed0/attributions")
    trained()
    assert not kept.exists()
    first = tsdtp("train", *FAST, *pruned, "pruning.budget=0.6")
    (file,) = kept.iterdir()
    written = file.stat().st_mtime_ns
    second = tsdtp("train", *FAST, *pruned, "pruning.budget=0.8")
    taught = [re.search("teaching: .*", outcome.out) for outcome in (first, second)]
    assert taught[0] and taught[1] and taught[0][0] == taught[1][0]
    assert list(kept.iterdir()) == [file] and file.stat().st_mtime_ns == written
    file.write_bytes(b"damaged")
    third = tsdtp("train", *FAST, *pruned, "pruning.budget=0.9")
    assert taught[0][0] in third.out and file.stat().st_size > 7, "computed and kept again"
    for key in ("teacher.attribution_steps=4", "model.pooling=mean"):
        variant = f"variant={key.partition('=')[0]}"
        assert tsdtp("train", *FAST, *pruned, "pruning.budget=0.9", variant, key).code == 0
    assert len(list(kept.iterdir())) == 3, "others for another path, and for what the head reads"


def test_held_out_rows_are_unknown_to_the_runs_that_teach(tsdtp, trained):
    folder = trained()
    held, pruned = "task.data.evaluate_on=holdout", ("pruning=topk", "pruning.budget=0.6")
    for start in (f"model.init_from={folder}", "model.init_from=unpruned"):
        outcome = tsdtp("train", *FAST, *pruned, held, start)
        assert outcome.code == 2 and "was trained on rows held out here" in outcome.err
        assert "(task.data.evaluate_on: validation, here holdout)" in outcome.err
    place = "hydra.run.dir=outputs/held/none/seed0"
    assert tsdtp("train", *FAST, held, place).code == 0
    start = "model.init_from=outputs/held/none/seed0"
    other = tsdtp("train", *FAST, *pruned, held, start, f"teacher.others=[{folder}]")
    assert other.code == 2 and f"{folder} was trained on rows held out here" in other.err
    fewer = tsdtp("train", *FAST, *pruned, held, start, "task.data.holdout=0.1")
    assert fewer.code == 2 and "(task.data.holdout: 0.05, here 0.1)" in fewer.err
    assert tsdtp("train", *FAST, *pruned, held, start, "seed=3").code == 0


def test_a_variant_has_a_folder_and_a_row_of_its_own(tsdtp, trained):
    trained()
    pruned = ["model.init_from=unpruned", "pruning=ts_dtp", "pruning.budget=0.6"]
    changed = ["variant=untaught", "teaching.epochs=0", "teacher.attribution_every=0"]
    outcome = tsdtp("train", *FAST, *pruned, *changed)
    assert outcome.code == 0, outcome.err
    assert "teaching" not in outcome.out
    assert read_record(f"{RUN}/ts_dtp-0.6-untaught/seed0").identity["variant"] == "untaught"
    report = tsdtp("report", "outputs/runs")
    assert "untaught" in report.out


def test_resumes_from_its_checkpoint(tsdtp):
    settings = ["debug=fast", "logger=none", "max_steps=-1", "benchmark.enabled=false"]
    assert tsdtp("train", *settings).code == 0
    folder = f"{RUN}/none/seed0"
    torch.load(f"{folder}/checkpoints/last.ckpt", weights_only=True)
    resumed = tsdtp("train", *settings, "epochs=2", "ckpt_path=last", "overwrite=true")
    assert resumed.code == 0
    assert "epoch 2/2" in resumed.out and "epoch 1/2" not in resumed.out
    lost = tsdtp("train", *settings, "ckpt_path=nowhere.ckpt", "seed=3")
    assert lost.code == 2 and "no such checkpoint" in lost.err


def test_without_a_warm_start_all_begin_with_the_weights_that_their_start_began_with(tsdtp):
    brief = (
        *FAST,
        "epochs=0",
        "warm_start=false",
        "model.init_from=start",
        "hardware.precision=32",
    )
    assert tsdtp("train", *FAST, "epochs=0", "hydra.run.dir=start").code == 0
    began = load_file("start/model.safetensors")
    for method in ("topk", "ts_dtp"):
        words = (f"pruning={method}", "pruning.budget=0.7", f"hydra.run.dir={method}")
        outcome = tsdtp("train", *brief, *words)
        assert outcome.code == 0, outcome.err
        weights = load_file(f"{method}/model.safetensors")
        names = [name for name in began if not name.startswith("pruner.")]
        assert len(names) > 20 and all(torch.equal(weights[name], began[name]) for name in names)


def test_a_budget_that_is_refused_at_the_end_is_refused_before(tsdtp):
    """The last calibration has a narrower tolerance than those on the way."""
    run = ["train", *FAST, "pruning=dtp"]
    said = re.compile(r"pruning.budget=.*: below what GeneralDTP can reach.*valid: ([\d.]+) to 1")
    floor = said.search(tsdtp(*run, "pruning.budget=0.1").err)
    budget = round(float(floor[1]) - 0.004, 3)
    outcome = tsdtp(*run, f"pruning.budget={budget}")
    assert outcome.code != 0 and said.search(outcome.err)[1] == floor[1]
    assert "epoch" not in outcome.out


def test_multirun_with_budgets_and_methods(tsdtp):
    outcome = tsdtp("train", "-m", *FAST, "pruning=random,topk", "pruning.budget=0.7", "seed=0,1")
    assert outcome.code == 0
    for method in ("random", "topk"):
        for seed in (0, 1):
            assert read_record(f"{RUN}/{method}-0.7/seed{seed}").identity["seed"] == seed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["save_model", "write_record"])
def test_a_killed_run_leaves_no_half_record(tsdtp, forked, name):
    """Nor a record of before, which is not of the weights that lie there now."""
    arguments = [*FAST, "hydra.run.dir=run"]
    assert tsdtp("train", *arguments, "epochs=0").code == 0
    weights = Path("run/model.safetensors")
    before = weights.read_bytes()
    killed = forked("killed_train", Path("log"), name, *arguments, "overwrite=true")
    assert killed.wait(120) == -signal.SIGKILL, Path("log").read_text()
    assert not list(Path().rglob("metrics.json"))
    assert (weights.read_bytes() != before) == (name == "write_record")
    again = tsdtp("train", *arguments)
    assert again.code == 0 and "done" not in again.out
    assert read_record("run").provenance["config"]["epochs"] == 1


def test_a_budget_beyond_what_the_blocks_can_spend_is_named(tsdtp):
    wide = ("pruning=topk", "pruning.budget=0.9")
    few = tsdtp("train", *FAST, *wide, "model.blocks=2")
    assert few.code == 0
    assert "pruning.budget=0.9: more than 2 blocks spend with every token" in few.out
    enough = tsdtp("train", *FAST, "pruning=topk", "pruning.budget=0.7")
    assert enough.code == 0 and "more than" not in enough.out
