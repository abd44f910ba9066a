"""Loggers get config, curves and record, without an account, and end as the run ends."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from offline_wandb import offline_runs
from omegaconf import OmegaConf
from pytorch_lightning.utilities import rank_zero_only
from tiny import REPOSITORY

from tsdtp.cli import measure
from tsdtp.cli.checks.command import check_command
from tsdtp.cli.config import register_resolvers, wandb_offline
from tsdtp.cli.loggers import open_loggers
from tsdtp.results import read_record

RUN = Path("outputs/runs/synthetic_sentence/tiny_bert/none/seed0")
SETTINGS = ["debug=fast", "hardware.threads=1", "benchmark.enabled=false"]
KEPT = [f"tokens_kept/layer{i}" for i in range(4)]


def test_csv_holds_curves_and_record(tsdtp):
    assert tsdtp("train", *SETTINGS, "callbacks=none").code == 0
    frame = pd.read_csv(RUN / "csv" / "metrics.csv")
    assert {"val/accuracy", *(f"val/{key}" for key in KEPT)} <= set(frame.columns)
    record = read_record(RUN)
    assert frame["record/quality/accuracy"].dropna().tolist() == [record.quality["accuracy"]]
    assert frame["record/cost/tokens_kept/layer3"].dropna().tolist() == [1.0]


def test_csv_goes_on_where_a_training_is_resumed(tsdtp):
    settings = [*SETTINGS, "max_steps=-1"]
    assert tsdtp("train", *settings, "epochs=2").code == 0
    before = pd.read_csv(RUN / "csv" / "metrics.csv")
    again = tsdtp("train", *settings, "epochs=3", "ckpt_path=last", "overwrite=true")
    assert again.code == 0 and "epoch 3/3" in again.out and "epoch 2/3" not in again.out
    after = pd.read_csv(RUN / "csv" / "metrics.csv")
    curve = before.dropna(subset=["epoch"])
    assert after.head(len(curve))[curve.columns].equals(curve)
    assert after["epoch"].dropna().unique().tolist() == [0, 1, 2]
    assert after["val/accuracy"].count() == 3 and after["record/quality/n"].count() == 1
    (RUN / "checkpoints" / "last.ckpt").unlink()  # the one before: the third epoch comes again
    again = tsdtp("train", *settings, "epochs=3", "ckpt_path=last", "overwrite=true")
    assert "epoch 3/3" in again.out
    repeated = pd.read_csv(RUN / "csv" / "metrics.csv")
    assert repeated["step"].tolist() == after["step"].tolist()
    assert tsdtp("train", *settings, "epochs=1", "overwrite=true").code == 0
    assert pd.read_csv(RUN / "csv" / "metrics.csv")["val/accuracy"].count() == 1, "a fresh start"


@pytest.mark.parametrize("left", [0, 40])
def test_torn_curves_do_not_hinder_a_training_from_going_on(tsdtp, left):
    settings = [*SETTINGS, "max_steps=-1"]
    assert tsdtp("train", *settings, "epochs=1").code == 0
    curves = RUN / "csv" / "metrics.csv"
    curves.write_bytes(curves.read_bytes()[:left])
    again = tsdtp("train", *settings, "epochs=2", "ckpt_path=last", "overwrite=true")
    assert again.code == 0 and f"{curves}: cannot be read" in again.out
    assert pd.read_csv(curves)["val/accuracy"].count() == 1, "of the second epoch"


def test_rows_of_other_callbacks_stay_where_a_training_is_resumed(tsdtp):
    watched = "+callbacks.rate._target_=pytorch_lightning.callbacks.LearningRateMonitor"
    settings = [*SETTINGS, "max_steps=-1", "log_every_n_steps=1", watched]
    assert tsdtp("train", *settings, "epochs=1").code == 0
    rates = [_rates()]
    for resumed in (["ckpt_path=last"], []):
        assert tsdtp("train", *settings, "epochs=2", "overwrite=true", *resumed).code == 0
        rates.append(_rates())
    before, after, at_once = rates
    assert before and after[: len(before)] == before and len(after) > len(before)
    assert after[len(before) :] == at_once[len(before) :], "of the training that it is now"


def _rates() -> list[float]:
    return pd.read_csv(RUN / "csv" / "metrics.csv")["lr-AdamW/pg1"].dropna().tolist()


def test_checkpoints_of_ones_own_need_none_of_ours(tsdtp):
    own = "+callbacks.best._target_=pytorch_lightning.callbacks.ModelCheckpoint"
    place = "+callbacks.best.dirpath=kept"
    assert tsdtp("train", *SETTINGS, "callbacks=none", own, place).code == 0
    assert [*Path("kept").glob("*.ckpt")]


@pytest.mark.slow
def test_all_loggers_get_config_curves_and_record(tsdtp, wandb, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TSDTP_SWEEP", "mine")
    outcome = tsdtp("train", *SETTINGS[:2], "callbacks=none", "logger=many")
    assert outcome.code == 0, outcome.err
    record = read_record(RUN)
    accuracy, latency = record.quality["accuracy"], (record.speed or {})["latency_ms"]

    [found] = offline_runs(RUN)
    assert (found.run.run_group, found.run.job_type) == ("mine", "synthetic_sentence")
    assert found.run.display_name == record.identity["run_id"]
    assert list(found.run.tags) == ["none"] and found.exit_code == 0
    assert found.config["method"] == "none" and found.config["optim"]["lr"] == 5e-5
    [row] = [row for row in found.history if "val/accuracy" in row]
    assert row["val/accuracy"] == pytest.approx(accuracy)
    assert [row[f"val/{key}"] for key in KEPT] == record.cost["tokens_kept"]
    assert found.summary["record/quality/accuracy"] == accuracy
    assert found.summary["record/speed/latency_ms"] == pytest.approx(latency)
    assert found.summary["record/memory/peak_mib"] > 0
    assert [found.summary[f"record/cost/{key}"] for key in KEPT] == record.cost["tokens_kept"]
    assert "record.json" in found.files
    uploaded = found.folder / "files" / "record.json"
    assert uploaded.read_bytes() == (RUN / "metrics.json").read_bytes()
    assert len(list(RUN.rglob("metrics.json"))) == 1, "a report would count the run twice"

    events = EventAccumulator(str(RUN / "tensorboard")).Reload()
    values = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
    assert values["val/accuracy"] == values["record/quality/accuracy"] == pytest.approx(accuracy)
    assert values["record/speed/latency_ms"] == pytest.approx(latency)
    csv = pd.read_csv(RUN / "csv" / "metrics.csv")
    assert csv["record/speed/latency_ms"].dropna().tolist() == pytest.approx([latency])


@pytest.mark.slow
def test_a_crash_marks_its_own_run_alone_as_failed(tsdtp, wandb, monkeypatch):
    def crash(*_):
        raise RuntimeError("out of luck")

    settings = [*SETTINGS, "callbacks=none", "logger=wandb"]
    with monkeypatch.context() as patch:
        patch.setattr(measure, "evaluate", crash)  # after training: the run must still be open
        assert tsdtp("train", *settings).code != 0
    assert tsdtp("train", *settings).code == 0
    failed, good = offline_runs(RUN)
    assert (failed.exit_code, good.exit_code) == (1, 0)
    assert failed.run.run_id != good.run.run_id, "the second run logged into the first"
    assert "record/quality/accuracy" not in failed.summary
    assert good.summary["record/quality/accuracy"] == read_record(RUN).quality["accuracy"]


@pytest.mark.slow
def test_resuming_goes_on_in_the_same_run(tsdtp, wandb):
    settings = [*SETTINGS, "max_steps=-1", "logger=wandb"]
    assert tsdtp("train", *settings).code == 0
    again = tsdtp("train", *settings, "epochs=2", "ckpt_path=last", "overwrite=true")
    assert again.code == 0 and "epoch 2/2" in again.out
    first, second = offline_runs(RUN)
    assert second.run.run_id == first.run.run_id
    assert second.run.resume, "wandb sync must append, not replace"
    steps = [r["trainer/global_step"] for f in (first, second) for r in f.history]
    assert steps == sorted(steps) and steps[0] < steps[-1]
    assert tsdtp("train", *settings, "overwrite=true").code == 0
    assert offline_runs(RUN)[-1].run.run_id != first.run.run_id, "a fresh start is a new run"


@pytest.mark.slow
def test_a_run_made_again_has_curves_of_its_own(tsdtp):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    again = ("logger=tensorboard", "callbacks=none", "overwrite=true", "max_steps=-1", "epochs=1")
    for _ in range(2):
        assert tsdtp("train", *SETTINGS, *again).code == 0
    events = EventAccumulator(str(RUN / "tensorboard")).Reload()
    assert len(events.Scalars("val/accuracy")) == 1


@pytest.mark.slow
def test_tensorboard_has_one_record_where_a_training_is_resumed(tsdtp):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = [*SETTINGS, "logger=tensorboard", "max_steps=-1"]
    for epochs, *resumed in (["1"], ["2", "ckpt_path=last", "overwrite=true"]):
        assert tsdtp("train", *settings, f"epochs={epochs}", *resumed).code == 0
    events = EventAccumulator(str(RUN / "tensorboard")).Reload()
    [record] = events.Scalars("record/quality/n")
    validated = [event.step for event in events.Scalars("val/accuracy")]
    assert len(validated) == 2 and validated[0] < validated[1] < record.step


def test_other_processes_of_a_training_log_nothing(tmp_path, monkeypatch, wandb):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    nodes = {}
    for name in ("csv", "tensorboard", "wandb"):
        [node] = OmegaConf.load(REPOSITORY / f"configs/logger/{name}.yaml").values()
        keep = {"_target_": node["_target_"], "save_dir": str(tmp_path / "run"), "name": name}
        nodes[name] = keep
    config = {"output_dir": str(tmp_path / "run"), "ckpt_path": None, "logger": nodes}
    with open_loggers(OmegaConf.create(config), {"seed": 0}) as loggers:
        for logger in loggers:
            logger.log_metrics({"val/accuracy": 0.5}, 1)
    assert len(loggers) == 3
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_a_key_online_is_refused_in_a_line(tsdtp, wandb, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    outcome = tsdtp("train", *SETTINGS, "callbacks=none", "logger=wandb")
    assert outcome.code == 2
    assert "Weights & Biases" in outcome.err.strip().splitlines()[-1]
    assert outcome.err.strip().endswith("logger.wandb.offline=true writes for a later `wandb sync`")


def test_offline_where_there_is_no_key(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert wandb_offline()
    (tmp_path / "netrc").write_text("machine github.com login me password secret\n")
    assert wandb_offline(), "the key of another service"
    for host in ("api.forge.coreweave.com", "api.wandb.ai"):
        (tmp_path / "netrc").write_text(f"machine {host} login user password secret\n")
        assert not wandb_offline()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert wandb_offline()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert not wandb_offline()


def test_commands_of_the_wandb_agent_are_accepted():
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    register_resolvers()
    sweep = yaml.safe_load((REPOSITORY / "scripts" / "wandb_sweep.yaml").read_text())
    ends = {"value": lambda p: [p["value"]], "values": lambda p: p["values"]}
    ends["min"] = lambda p: [p["min"], p["max"], 3.0517578125e-05]
    tried = 0
    for key, parameter in sweep["parameters"].items():
        for value in next(values(parameter) for kind, values in ends.items() if kind in parameter):
            chosen = {"pruning": {"value": "dtp"}, key: {"value": value}}
            overrides = create_sweep_command_args({"args": chosen})["args_no_hyphens"]
            command = []
            for part in create_sweep_command(list(sweep["command"])):
                command += overrides if part == "${args_no_hyphens}" else [part]
            assert command[:2] == ["tsdtp", "train"]
            check_command("train", command[2:])
            tried += 1
    assert tried > len(sweep["parameters"])
    assert json.dumps(sweep["metric"]) == '{"name": "record/quality/accuracy", "goal": "maximize"}'
