"""A plan knows what is done, what changed, what has to follow, and how long it will take."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus
from planning import BESIDE, NONE, PRUNED, finish, plan

from hydra_plugins.tsdtp_launcher.grids import GridsSweeper
from tsdtp.cli.checks.command import check_command
from tsdtp.cli.checks.pruner import check_pruners
from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, config_dir
from tsdtp.cli.folder import LOCK_NAME, finished, take_lock
from tsdtp.cli.identity import Status
from tsdtp.cli.launch import choose_slots, launch
from tsdtp.cli.plan import make_plan
from tsdtp.cli.planned import expected_seconds
from tsdtp.jobs.job import State

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_a_cell_on_all_gpus_has_them_beside_cells_on_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    kinds = [("gpu", -1), ("gpu", 1), ("cpu", 2)]
    hardware = [{"accelerator": a, "devices": n, "threads": None} for a, n in kinds]
    assert [slot.name for slot in choose_slots(hardware, None)] == ["gpu 0,1"]
    assert [slot.name for slot in choose_slots(hardware[1:], None)] == ["gpu 0", "gpu 1"]


def test_a_cell_follows_all_that_teach_it():
    others = ["pruning=none", "seed=1"], ["pruning=none", "seed=2"]
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        jobs = [[*PRUNED, "teacher.others=[0,2,1]"], *others, NONE]
        cells = make_plan(jobs, lambda job: compose("train", job, return_hydra_config=True))
    assert [cell.method for cell in cells] == ["none"] * 3 + ["topk"]
    beside = "synthetic_sentence/tiny_bert/none/seed"
    assert cells[-1].after == (f"{beside}0", f"{beside}2", f"{beside}1"), "its own start once"


def test_cells_that_differ_in_values_are_composed_once_and_are_their_own():
    asked = []

    def config(overrides):
        asked.append(overrides)
        return compose("train", overrides, return_hydra_config=True)

    jobs = [[*PRUNED[:-1], f"seed={seed}"] for seed in (3, 1)]
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        cells = make_plan([*jobs, NONE], config)
        assert asked == [jobs[0], NONE]
        assert cells == [make_plan([job], config)[0] for job in (*jobs, NONE)]
    assert [cell.settings["seed"] for cell in cells] == [3, 1, 0]
    assert [cell.overrides[-1] for cell in cells] == ["seed=3", "seed=1", "seed=0"]


def test_a_folder_of_the_users_own_is_one_for_each_cell():
    jobs = [["seed=3"], ["seed=1"]]

    def folders(subdir: str) -> list[str]:
        own = [f"hydra.sweep.subdir={subdir}"]
        cells = make_plan(
            jobs, lambda job: compose("train", [*job, *own], return_hydra_config=True)
        )
        return [cell.folder.name for cell in cells]

    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        assert folders("${hydra.job.override_dirname}") == ["seed=3", "seed=1"]
        with pytest.raises(ConfigError, match=r"seed3 and \S+seed1 would both be in .*same"):
            folders("same")


def test_a_lock_ends_where_its_context_does():
    with take_lock(Path(LOCK_NAME), "busy") as held, pytest.raises(ConfigError, match="busy"):
        take_lock(Path(LOCK_NAME), "busy")
    assert not held.is_locked


def test_a_seed_that_a_command_does_not_have_is_named():
    with pytest.raises(ConfigError, match="no such key: seed"):
        check_command("eval", ["run=somewhere", "seed=3"])


def test_the_start_run_comes_first_whatever_the_order():
    cells = plan(PRUNED, NONE)
    assert list(cells) == ["none", "topk"]
    assert cells["topk"].after == (cells["none"].name,)
    assert {cell.status for cell in cells.values()} == {Status.MISSING}


@pytest.mark.parametrize(
    "jobs",
    [
        [[*NONE, "model.init_from=unpruned"]],
        [
            [*NONE, f"model.init_from={BESIDE}/none/seed1"],
            ["pruning=none", "seed=1", f"model.init_from={BESIDE}/none/seed0"],
        ],
    ],
)
def test_a_cell_that_would_wait_for_itself_is_refused(jobs):
    with pytest.raises(ConfigError, match="none/seed0 would start or learn from itself"):
        plan(*jobs)


@pytest.mark.parametrize("fault", ["teacher.temperature=0", "task.metric=f1"])
def test_a_fault_of_a_cell_is_named_before_the_one_that_it_waits_for(fault):
    with pytest.raises(ConfigError, match=fault):
        plan(NONE, [*PRUNED, fault])


def test_a_chain_of_starts_comes_in_its_order():
    first, second = f"{BESIDE}/topk-0.6/seed0", f"{BESIDE}/dtp-0.5/seed0"
    last = ["pruning=random", "pruning.budget=0.4", f"model.init_from={second}"]
    middle = ["pruning=dtp", "pruning.budget=0.5", f"model.init_from={first}"]
    assert list(plan(last, middle, PRUNED, NONE)) == ["none", "topk", "dtp", "random"]


def test_a_start_run_outside_the_plan_is_not_waited_for():
    assert plan(PRUNED)["topk"].after == ()


def test_a_seed_of_one_cell_is_not_anothers():
    jobs = [["pruning=none", "seed=1"], ["pruning=none"]]
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        cells = make_plan(jobs, lambda job: compose("train", job, return_hydra_config=True))
    assert sorted(cell.settings["seed"] for cell in cells) == [0, 1]


def test_a_run_took_what_its_parts_took():
    finish(plan(NONE)["none"], earlier=[{"seconds": 30.0}])
    assert plan(NONE)["none"].seconds == 90.0


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
        assert said == ("1 cell, 0 to run" if dry == "true" else "1 of 1 cells are done")


def test_what_another_process_ends_while_a_sweep_is_planned_is_done():
    """Its record is of this very run, or the cell itself would have refused."""
    cell = plan(NONE, more=("dry_run=true",))["none"]
    finish(cell)
    [job] = launch([cell], Path("sweep.log"))
    job.settle(0)
    assert job.state is State.DONE


def test_a_dry_run_submits_nothing_whatever_the_launcher(capsys):
    class Submits:
        def launch(self, *arguments):
            raise AssertionError("submitted")

    sweeper = GridsSweeper("smoke")
    sweeper.launcher = Submits()
    assert not sweeper._run(list(plan(PRUNED, NONE, more=("dry_run=true",)).values()))
    assert "2 cells, 2 to run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["pruning.layers=[7]"], r"topk-0.6/seed0: pruning.layers=\[7\]: valid are 0 to 3"),
        (["model.blocks=2", "pruning.layers=[2]"], r"pruning.layers=\[2\]: valid are 0 to 1"),
        (["model.blocks=9"], "model.blocks=9: valid are 1 to 4"),
        (["pruning=dtp", "pruning.k=-1", "pruning.fuse=glue"], "fuse=.*glue.*valid"),
        (["optim.schedule=cosin"], "optim.schedule=cosin: valid are linear"),
        (["optim.betas=[0.9,1.5]"], "optim.betas=.*: valid are two numbers"),
        (["model.execution=fast"], "model.execution='fast': valid are"),
    ],
)
def test_what_a_method_refuses_is_said_before_the_run_that_it_would_wait_for(settings, said):
    cells = list(plan(NONE, [*PRUNED, *settings]).values())
    with pytest.raises(ConfigError, match=said):
        launch(cells, Path("sweep.log"))
    assert not list(Path().rglob("*")), "nothing has been begun"


def test_a_model_that_is_not_here_and_a_cell_that_waits_for_nothing_say_it_themselves():
    absent = ("model=minilm_l6", "model.path=nobody/nothing", "model.local_dir=null")
    check_pruners(list(plan(NONE, [*PRUNED, "pruning.layers=[7]"], more=absent).values()))
    check_pruners(list(plan([*PRUNED, "pruning.layers=[7]"]).values()))


def test_a_cell_that_another_process_runs_is_left_alone_with_its_log():
    cell = plan(NONE)["none"]
    with take_lock(cell.folder / LOCK_NAME, "busy"):
        (cell.folder / "run.log").write_text("epoch 2\n")
        with pytest.raises(ConfigError, match="another process is at work in .*none/seed0"):
            launch([cell], Path("sweep.log"))
    assert (cell.folder / "run.log").read_text() == "epoch 2\n"
