"""Composing many command lines quickly gives what Hydra gives for each."""

from __future__ import annotations

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from tsdtp.cli.checks.composing import composed, sharing
from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, config_dir
from tsdtp.cli.presets import user_folder

KIND = ["pruning=topk", "pruning.budget=0.5", "pruning.layers=[0,1]", "variant=null", "seed=1"]
ALIKE = [
    ["pruning=topk", "pruning.budget=0.3", "pruning.layers=null", "variant='a=b'", "seed=true"],
    ["pruning=topk", "pruning.budget=1", "pruning.layers=[1]", "variant=${task.name}", "seed=1.0"],
    [*KIND[:-1], "seed=1"],
]
TWICE = [["seed=1", "seed=2"], ["seed=3", "seed=1"]]
OTHER = [
    ["pruning=topk", "pruning.budget=0.5"],
    ["pruning=dtp", *KIND[1:]],
    ["pruning.budget=0.5", "pruning=topk", *KIND[2:]],
    ["+task@more=sst2", *KIND],
    ["hydra.sweep.dir=elsewhere", *KIND],
]
ONE_BY_ONE = [
    ["optim.lr=1", "optim={lr: 2}", "++optim.lr=3", "~teacher.noise"],
    ["optim.lr=4", "optim={lr: 2}", "++optim.lr=3", "~teacher.noise"],
    ["optim={lr: 2}", "optim.lr=1", "++optim.lr=3", "~teacher.noise"],
]


@pytest.fixture(autouse=True)
def hydra():
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        yield


def of_task(config) -> dict:
    return OmegaConf.to_container(
        OmegaConf.masked_copy(config, [k for k in config if k != "hydra"])
    )


@pytest.mark.parametrize(
    "lines, times", [([KIND, *ALIKE], 1), (TWICE, 1), ([KIND, *OTHER], 6), (ONE_BY_ONE, 3)]
)
def test_each_is_as_composed_alone(lines, times):
    asked = []

    def ask(line):
        asked.append(line)
        return composed("train", line)

    quickly = sharing(ask)
    for line in [*lines, lines[0]]:
        alone, shared = (of_task(config) for config in (composed("train", line), quickly(line)))
        assert repr(shared) == repr(alone), "repr: true is not 1"
    assert len(asked) == times + (lines is ONE_BY_ONE)


def test_a_key_that_is_not_there_is_named_each_time():
    quickly = sharing(lambda line: composed("train", line))
    for value in (1, 2):
        with pytest.raises(ConfigError, match="no such key: pruning.bugdet"):
            quickly([f"pruning.bugdet={value}"])


def test_options_of_a_group_of_ones_own_are_no_values(tmp_path):
    files = {
        "experiment/mine": "# @package _global_\ndefaults: [{/colour: red}]\n",
        "colour/red": "warm: true\n",
        "colour/blue": "warm: false\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    own = [*user_folder(tmp_path), "experiment=mine"]
    quickly = sharing(lambda line: composed("train", [*own, *line]))
    found = [quickly([f"colour={name}"]).colour.warm for name in ("red", "blue", "red")]
    assert found == [True, False, True]
