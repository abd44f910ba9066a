"""A plan knows what is done, what changed, what has to follow, and how long it will take."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins.tsdtp_launcher.grids import GridsSweeper
from tsdtp.cli.check import check_command, seedless
from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, config_dir, register_resolvers
from tsdtp.cli.folder import finished
from tsdtp.cli.identity import Status, identity_hash, lineage, other_teachers
from tsdtp.cli.launch import launch
from tsdtp.cli.plan import check_code, expected_seconds, make_plan, to_run
from tsdtp.provenance import code_state
from tsdtp.results import RECORD_NAME, RunRecord, write_record

NONE = ["pruning=none", "seed=0"]
PRUNED = ["pruning=topk", "pruning.budget=0.6", "model.init_from=unpruned", "seed=0"]
BESIDE = "outputs/runs/synthetic_sentence/tiny_bert"


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    register_resolvers()


def plan(*jobs: list[str], more: tuple[str, ...] = ()) -> dict:
    def config(overrides):
        return compose("train", [*overrides, *more], return_hydra_config=True)

    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        cells = make_plan(jobs, config)
    return {cell.method: cell for cell in cells}


def test_a_cell_follows_all_that_teach_it():
    others = ["pruning=none", "seed=1"], ["pruning=none", "seed=2"]
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        jobs = [[*PRUNED, "teacher.others=[0,2,1]"], *others, NONE]
        cells = make_plan(jobs, lambda job: compose("train", job, return_hydra_config=True))
    assert [cell.method for cell in cells] == ["none"] * 3 + ["topk"]
    beside = "synthetic_sentence/tiny_bert/none/seed"
    assert cells[-1].after == (f"{beside}0", f"{beside}2", f"{beside}1"), "its own start once"


def test_cells_that_differ_in_their_seed_are_composed_once_and_are_their_own():
    asked = []

    def config(overrides):
        asked.append(overrides)
        return compose("train", overrides, return_hydra_config=True)

    jobs = [[*PRUNED[:-1], f"seed={seed}"] for seed in (3, 1)]
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        cells = make_plan([*jobs, NONE], config)
        alone = [make_plan([job], config)[0] for job in (*jobs, NONE)]
    assert asked[:2] == [PRUNED[:-1], NONE[:-1]], "then each alone"
    assert cells == alone
    assert [cell.settings["seed"] for cell in cells] == [3, 1, 0]
    assert [cell.overrides[-1] for cell in cells] == ["seed=3", "seed=1", "seed=0"]


@pytest.mark.parametrize(
    "command", [["seed=0,1"], ["seed=1", "seed=2"], ["seed=one"], ["epochs=1"]]
)
def test_no_seed_is_read_where_there_is_not_one(command):
    assert seedless(command) == (command, None)


def test_a_seed_that_a_command_does_not_have_is_named():
    with pytest.raises(ConfigError, match="no such key: seed"):
        check_command("eval", ["run=somewhere", "seed=3"])


def finish(cell, date="2026-01-01", **provenance) -> None:
    """Leaves the record that a run of this cell would leave."""
    identity = {"task": "t", "pruning": cell.method, "model": "m", "seed": 0, "budget": None}
    made = {"command": "", "versions": {}, "hardware": {}, "config": cell.settings, **code_state()}
    made |= {"config_hash": identity_hash(cell.settings), "date": date, "seconds": 60.0}
    made |= {**lineage(cell.settings), **provenance}
    identity |= {"run_id": cell.name, "execution": "packed"}
    write_record(cell.folder, RunRecord(identity, made, {"accuracy": 0.5}, {}))


def test_the_start_run_comes_first_whatever_the_order():
    cells = plan(PRUNED, NONE)
    assert list(cells) == ["none", "topk"]
    assert cells["topk"].after == (cells["none"].name,)
    assert {cell.status for cell in cells.values()} == {Status.MISSING}


@pytest.mark.parametrize(
    "jobs",
    [
        [[*NONE, "model.init_from=unpruned"]],
        [[*NONE, "teacher.others=[1]"], ["pruning=none", "seed=1", "teacher.others=[0]"]],
    ],
)
def test_a_cell_that_would_wait_for_itself_is_refused(jobs):
    with pytest.raises(ConfigError, match="none/seed0 would start or learn from itself"):
        plan(*jobs)


def test_a_chain_of_starts_comes_in_its_order():
    first, second = f"{BESIDE}/topk-0.6/seed0", f"{BESIDE}/dtp-0.5/seed0"
    last = ["pruning=random", "pruning.budget=0.4", f"model.init_from={second}"]
    middle = ["pruning=dtp", "pruning.budget=0.5", f"model.init_from={first}"]
    assert list(plan(last, middle, PRUNED, NONE)) == ["none", "topk", "dtp", "random"]


def test_a_start_run_outside_the_plan_is_not_waited_for():
    assert plan(PRUNED)["topk"].after == ()


def test_only_missing_and_changed_cells_run():
    for cell in plan(PRUNED, NONE).values():
        finish(cell)
    cells = plan(PRUNED, NONE)
    assert not to_run(list(cells.values()))
    (cells["topk"].folder / RECORD_NAME).unlink()
    again = plan(PRUNED, NONE)
    assert [cell.method for cell in to_run(list(again.values()))] == ["topk"]
    finish(again["topk"])
    changed = plan([*PRUNED, "optim.lr=0.5"], NONE)
    assert changed["topk"].status is Status.CHANGED and changed["none"].status is Status.DONE


def test_what_does_not_make_the_result_does_not_make_it_another_run():
    finish(plan(NONE)["none"])
    same = plan(NONE, more=("logger=none", "callbacks=none", "changed_code=keep"))
    assert same["none"].status is Status.DONE


def test_folders_that_are_not_read_make_no_other_run(tmp_path):
    real = [*NONE, "task=sst2", "model=minilm_l6"]
    finish(plan(real)["none"])
    elsewhere = ("task.data.local_dir=x", "model.local_dir=y", "task.data.cache_dir=z")
    assert plan(real, more=elsewhere)["none"].status is Status.DONE, "it comes from the hub"
    local = [*real, "task.data.source=local", "task.data.local_dir=mine"]
    finish(plan(local)["none"])
    same = f"task.data.local_dir={tmp_path}/mine"
    assert plan(local, more=(same,))["none"].status is Status.DONE
    assert plan(local, more=("task.data.local_dir=other",))["none"].status is Status.CHANGED


def test_a_seed_of_one_cell_is_not_anothers():
    jobs = [["pruning=none", "seed=1"], ["pruning=none"]]
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        cells = make_plan(jobs, lambda job: compose("train", job, return_hydra_config=True))
    assert sorted(cell.settings["seed"] for cell in cells) == [0, 1]


def test_a_run_took_what_its_parts_took():
    finish(plan(NONE)["none"], earlier=[{"seconds": 30.0}])
    assert plan(NONE)["none"].seconds == 90.0


def test_a_setting_that_is_younger_than_a_run_does_not_make_it_another():
    cell = plan([*NONE, "task=multi30k"])["none"]
    older = copy.deepcopy(dict(cell.settings))
    del older["model"]["blocks"], older["task"]["data"]["lines_per_text"], older["warm_start"]
    older["hardware"]["num_workers"] = 0
    finish(cell, config=older, config_hash="of those settings")
    assert plan([*NONE, "task=multi30k"])["none"].status is Status.DONE
    for other in ("model.blocks=2", "task.data.lines_per_text=2", "warm_start=false"):
        assert plan([*NONE, "task=multi30k", other])["none"].status is Status.CHANGED


def test_a_callback_that_stops_early_makes_another_run():
    whole = plan(NONE)["none"]
    finish(whole, config=whole.settings)
    stopped = plan(NONE, more=("callbacks=early_stop",))["none"]
    assert stopped.status is Status.CHANGED
    with pytest.raises(ConfigError, match=r"callbacks.early_stop._target_: None -> .*EarlyStop"):
        finished(stopped.settings)


def test_pruned_runs_follow_a_start_run_that_runs_again():
    for cell in plan(PRUNED, NONE).values():
        finish(cell)
    (plan(NONE)["none"].folder / RECORD_NAME).write_text("{")
    cells = plan(PRUNED, NONE)
    assert cells["none"].status is Status.DAMAGED and cells["topk"].status is Status.RESTARTED
    finish(cells["none"], date="2026-02-02")
    later = plan(PRUNED)
    assert later["topk"].status is Status.RESTARTED, "the start was run again in another sweep"


def test_other_code_is_named_and_asked_for():
    finish(plan(NONE)["none"], code="000000000000", commit="feedfacefeed")
    cell = plan(NONE)["none"]
    assert cell.status is Status.OTHER_CODE
    with pytest.raises(ConfigError, match=r"feedface.*changed_code=keep.*changed_code=rerun"):
        check_code([cell])
    kept, rerun = (plan(NONE, more=(f"changed_code={what}",))["none"] for what in ("keep", "rerun"))
    check_code([kept, rerun])
    assert to_run([kept, rerun]) == [rerun]


def test_overwrite_runs_finished_cells_again():
    for cell in plan(PRUNED, NONE).values():
        finish(cell)
    cells = list(plan(PRUNED, NONE, more=("overwrite=true",)).values())
    assert to_run(cells) == cells
    finish(plan(NONE)["none"], code="000000000000")
    check_code(list(plan(NONE, more=("overwrite=true",)).values()))


def test_what_was_taught_by_a_cell_of_other_code_runs_again_with_it():
    for cell in plan(PRUNED, NONE).values():
        finish(cell, **({"code": "000000000000"} if cell.method == "none" else {}))
    cells = plan(PRUNED, NONE, more=("changed_code=rerun",))
    assert [cell.method for cell in to_run(list(cells.values()))] == ["none", "topk"]
    assert not to_run(list(plan(PRUNED, NONE, more=("changed_code=keep",)).values()))


def test_a_cell_runs_again_when_a_further_teacher_has():
    pupil = [*PRUNED, "teacher.others=[0,1]"]
    own, other = plan(NONE)["none"], plan(["pruning=none", "seed=1"])["none"]
    for cell in (own, other):
        finish(cell)
    finish(plan(pupil)["topk"])
    assert plan(pupil)["topk"].status is Status.DONE
    finish(other, date="2026-02-02")
    assert plan(pupil)["topk"].status is Status.RESTARTED
    finish(plan(pupil)["topk"], teachers=None)
    assert plan(pupil)["topk"].status is Status.DONE, "an older record does not say who taught"


def test_a_start_without_a_record_is_known_by_its_weights():
    mine, weights = Path("mine"), Path("mine/model.safetensors")
    mine.mkdir()
    weights.write_bytes(b"first")
    pruned = [*PRUNED, "model.init_from=mine"]
    finish(plan(pruned)["topk"])
    assert plan(pruned)["topk"].status is Status.DONE
    weights.write_bytes(b"second")
    assert plan(pruned)["topk"].status is Status.RESTARTED


def test_a_teacher_is_one_whatever_its_path():
    folders = [f"{BESIDE}/none/../none/seed0", Path(BESIDE, "none/seed0").absolute()]
    cell = plan([*PRUNED, f"teacher.others=[{folders[0]},{folders[1]}]"])["topk"]
    assert other_teachers(cell.settings) == []


def test_cells_that_a_users_value_makes_equal_are_one():
    (cell,) = plan([*NONE, "epochs=1", "epochs=2"], [*NONE, "epochs=3", "epochs=2"]).values()
    assert (cell.overrides[-2], cell.twins) == ("epochs=1", ((*NONE, "epochs=3", "epochs=2"),))


def test_two_cells_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="two cells of this sweep would be .*none/seed0"):
        plan([*NONE, "optim.lr=0.1"], [*NONE, "optim.lr=0.2"])


def test_a_value_that_nobody_gave_is_named():
    with pytest.raises(ConfigError, match="no value given for task.data.label_names"):
        plan(["task=text_classification", "task.data.local_dir=x", "task.data.text_columns=[a]"])


def test_the_estimate_goes_by_the_most_similar_cells():
    cells = plan(PRUNED, ["pruning=dtp", "pruning.budget=0.5"], NONE)
    finish(cells["topk"], seconds=100.0)
    finish(cells["none"], seconds=10.0)
    cells = plan(PRUNED, ["pruning=dtp", "pruning.budget=0.5"], NONE, [*PRUNED, "seed=1"])
    everything = list(cells.values())
    assert expected_seconds(cells["dtp"], everything) == 55.0
    other = plan(["pruning=topk", "pruning.budget=0.3"])["topk"]
    old = [cell for cell in everything if cell.seconds]
    assert expected_seconds(other, [*old, plan(PRUNED)["topk"]]) == 100.0
    assert expected_seconds(plan(["task=sst2"])["none"], everything) is None


def test_paths_are_relative_to_where_the_user_is():
    assert plan(NONE)["none"].folder == Path("outputs/runs/synthetic_sentence/tiny_bert/none/seed0")


@pytest.mark.parametrize("again", ["overwrite=true", "overwrite=false"])
def test_a_dry_run_of_one_cell_says_that_it_would_run(again):
    cell = plan(NONE, more=("dry_run=true", again))["none"]
    with pytest.raises(ConfigError, match="dry run: .*none/seed0"):
        finished(cell.settings)


def test_what_starts_from_a_failed_cell_is_blocked_whatever_the_launcher(capsys):
    class Fails:
        def launch(self, jobs, first):
            assert (first, [job[0] for job in jobs]) == (0, ["pruning=none", "pruning=dtp"])
            reason = RuntimeError("no room\nat all")
            failed = JobReturn(status=JobStatus.FAILED, _return_value=reason)
            return [failed, JobReturn(status=JobStatus.COMPLETED)]

    last = ["pruning=random", "pruning.budget=0.4", f"model.init_from={BESIDE}/topk-0.6/seed0"]
    sweeper = GridsSweeper("smoke")
    sweeper.launcher = Fails()
    other = ["pruning=dtp", "pruning.budget=0.6"]
    assert sweeper._run(list(plan(NONE, PRUNED, last, other).values()))
    said = capsys.readouterr().out.splitlines()
    assert [line.partition("tiny_bert/")[2] for line in said] == [
        "none/seed0: failed: no room",
        "topk-0.6/seed0: blocked",
        "random-0.4/seed0: blocked",
    ]


def test_nothing_is_asked_of_the_machine_where_nothing_is_left_to_run(capsys):
    finish(plan(NONE, more=("hardware=gpu",))["none"])
    for dry in ("false", "true"):
        done = plan(NONE, more=("hardware=gpu", f"dry_run={dry}"))["none"]
        assert not launch([done], Path("sweep.log"), slots=["gpu of another machine"])
        said = capsys.readouterr().out.splitlines()[-1]
        assert said == ("1 cells, 0 to run" if dry == "true" else "1 of 1 cells are done")


def test_a_dry_run_submits_nothing_whatever_the_launcher(capsys):
    class Submits:
        def launch(self, *arguments):
            raise AssertionError("submitted")

    sweeper = GridsSweeper("smoke")
    sweeper.launcher = Submits()
    assert not sweeper._run(list(plan(PRUNED, NONE, more=("dry_run=true",)).values()))
    assert "2 cells, 2 to run" in capsys.readouterr().out
