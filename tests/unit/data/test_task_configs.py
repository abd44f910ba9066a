from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tsdtp.data import TextClassificationData

FOLDER = Path(__file__).parents[3] / "configs" / "task"
NAMES = ["sst2", "qnli", "synthetic_sentence", "synthetic_pair", "text_classification"]


def task(name: str, **changes):
    config = OmegaConf.create({"task": OmegaConf.load(FOLDER / f"{name}.yaml")})
    for key, value in changes.items():
        OmegaConf.update(config, f"task.data.{key}", value)
    return config.task


@pytest.mark.parametrize("name", NAMES)
def test_a_task_opens_with_a_command_and_builds_its_data(name):
    text = (FOLDER / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert f"tsdtp train task={name}" in text
    needed = {"local_dir": "x", "text_columns": ["a"], "label_names": ["b", "c"]}
    changes = needed if name == "text_classification" else {}
    config = task(name, **changes)
    assert config.name == name
    assert isinstance(instantiate(config.data), TextClassificationData)


@pytest.mark.parametrize("name", ["sst2", "qnli"])
def test_a_named_task_has_a_synthetic_stand_in(name, tmp_path):
    config = task(name, source="synthetic", train_examples=8, eval_examples=4)
    rows = instantiate(config.data).load()
    assert len(rows["train"]) == 8
    assert ("text_pair" in rows["train"].column_names) == (name == "qnli")


def test_local_files_come_from_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TSDTP_DATA_DIR", str(tmp_path))
    (tmp_path / "qnli").mkdir()
    for file in ("train_subset.tsv", "validation.tsv"):
        lines = "question\tsentence\tlabel\nwhy ?\tso .\tentailment\n"
        (tmp_path / "qnli" / file).write_text(lines)
    files = {"train": ["train_subset.tsv"], "validation": "validation.tsv"}
    rows = instantiate(task("qnli", source="local", local_files=files).data).load()
    assert rows["train"][0] == {"text": "why ?", "text_pair": "so .", "label": 0}
