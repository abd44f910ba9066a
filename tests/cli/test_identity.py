"""Which settings make a run another one, and whose change has it run again."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from planning import BESIDE, NONE, PRUNED, finish, plan
from tiny import FAST

from tsdtp.cli.config import ConfigError
from tsdtp.cli.folder import finished
from tsdtp.cli.identity import Status, other_teachers
from tsdtp.cli.planned import check_agreed, to_run
from tsdtp.provenance import file_digest
from tsdtp.results import RECORD_NAME

pytestmark = pytest.mark.usefixtures("empty_folder")


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


def test_rows_that_have_changed_make_another_run():
    local = [*NONE, "task=sst2", "task.data.source=local", "task.data.local_dir=mine"]
    file = Path("mine/train.tsv")
    file.parent.mkdir()
    file.write_text("sentence\tlabel\ngood\t1\n")
    held = {"train.tsv": file_digest(file), "gone.tsv": "0" * 12}
    finish(plan(local)["none"], data=held)
    assert plan(local)["none"].status is Status.DONE
    file.write_text("sentence\tlabel\nbad\t0\n")
    cell = plan(local)["none"]
    assert cell.status is Status.CHANGED
    said = r"other settings or data.*\(train.tsv: other rows\): changed_settings=rerun"
    with pytest.raises(ConfigError, match=said):
        check_agreed([cell])
    with pytest.raises(ConfigError, match=r"settings or data \(train.tsv: other rows\); overwrite"):
        finished(cell.settings)


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
        check_agreed([cell])
    kept, rerun = (plan(NONE, more=(f"changed_code={what}",))["none"] for what in ("keep", "rerun"))
    check_agreed([kept, rerun])
    assert to_run([kept, rerun]) == [rerun]


def test_an_edited_method_of_ones_own_is_other_code(tsdtp, monkeypatch):
    monkeypatch.syspath_prepend(Path.cwd())
    rule = "from tsdtp.pruning.topk import TopK\n\n\nclass Mine(TopK):\n    pass\n"
    Path("own_rule.py").write_text(rule)
    yaml = "_target_: own_rule.Mine\nbudget: 0.6\nfraction: 0.5\nlayers: null\n"
    (folder := Path("own/pruning")).mkdir(parents=True)
    (folder / "mine.yaml").write_text(yaml)
    command = ["train", *FAST, "epochs=0", "pruning=mine"]
    for words in ("FLOPs", ": done"):
        outcome = tsdtp(*command, "--config-dir=own")
        assert outcome.code == 0 and words in outcome.out
    Path("own_rule.py").write_text(f"{rule}    limit = 3\n")
    outcome = tsdtp(*command, "--config-dir=own")
    assert outcome.code == 2
    assert "or of your own, have changed" in outcome.err and "changed_code=rerun" in outcome.err
    assert tsdtp(*command, "changed_code=rerun", "--config-dir=own").code == 0
    assert ": done" in tsdtp(*command, "--config-dir=own").out


def test_finished_cells_of_other_settings_are_replaced_by_agreement_alone():
    for cell in plan(PRUNED, NONE).values():
        finish(cell)
    other = [*PRUNED, "optim.lr=0.5"]
    said = (
        r"^1 finished cell has .*topk-0.6/seed0 \(optim.lr: 5e-05 -> 0.5\): changed_settings=rerun"
    )
    with pytest.raises(ConfigError, match=said):
        check_agreed(list(plan(other, NONE).values()))
    for agreed in ("changed_settings=rerun", "overwrite=true"):
        cells = plan(other, NONE, more=(agreed,))
        check_agreed(list(cells.values()))
        assert cells["topk"] in to_run(list(cells.values()))
    agreed = plan(other, NONE, more=("changed_settings=rerun",))
    assert to_run(list(agreed.values())) == [agreed["topk"]], "the other one is as it was"
    assert finished(agreed["topk"].settings) is None
    dry = plan(other, NONE, more=("changed_settings=rerun", "dry_run=true"))
    with pytest.raises(ConfigError, match=r"dry run: .*topk-0.6/seed0 is to run"):
        finished(dry["topk"].settings)


def test_overwrite_runs_finished_cells_again():
    for cell in plan(PRUNED, NONE).values():
        finish(cell)
    cells = list(plan(PRUNED, NONE, more=("overwrite=true",)).values())
    assert to_run(cells) == cells
    finish(plan(NONE)["none"], code="000000000000")
    check_agreed(list(plan(NONE, more=("overwrite=true",)).values()))


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


def test_a_run_to_learn_from_is_one_however_its_path_is_written():
    for folder in ("mine", "yours", "theirs"):
        Path(folder).mkdir()
        Path(folder, "model.safetensors").write_bytes(folder.encode())
    pruned = [*PRUNED[:2], "seed=0"]
    finish(plan([*pruned, "model.init_from=mine", "teacher.others=[yours]"])["topk"])
    again = [f"model.init_from={Path('mine').absolute()}", "teacher.others=[./yours/]"]
    assert plan([*pruned, *again])["topk"].status is Status.DONE
    others = [again[0], "teacher.others=[theirs]"]
    assert plan([*pruned, *others])["topk"].status is Status.CHANGED


def test_a_teacher_is_one_whatever_its_path():
    folders = [f"{BESIDE}/none/../none/seed0", Path(BESIDE, "none/seed0").absolute()]
    cell = plan([*PRUNED, f"teacher.others=[{folders[0]},{folders[1]}]"])["topk"]
    assert other_teachers(cell.settings) == []
