"""Every config composes, and every key fits what it builds; what does not is named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tiny import REPOSITORY

from tsdtp.cli.checks.command import check_command
from tsdtp.cli.config import ConfigError
from tsdtp.cli.sweep import expand, grids, load_sweep, product
from tsdtp.cli.validate import validate

CONFIGS = REPOSITORY / "configs"
EARLY_STOPPING = "pytorch_lightning.callbacks.EarlyStopping"
# file -> its text, and words of the line that names what is wrong with it
BROKEN = {
    "pruning/misspelt": (
        "_target_: tsdtp.pruning.dtp.GeneralDTP\nbudget: null\nkk: 1.0\n",
        ["no such key: pruning.kk", "log_scores"],
    ),
    "pruning/unknown": ("_target_: tsdtp.pruning.nothing.Nothing\n", ["_target_", "nothing"]),
    "callbacks/lacking": (
        f"early_stop:\n  _target_: {EARLY_STOPPING}\n  patience: 2\n",
        ["no value given for callbacks.early_stop.monitor"],
    ),
    "experiment/stray": (
        "# @package _global_\nepoch: 3\n",
        ["no such key: epoch (did you mean epochs?)"],
    ),
    "model/lacking": (
        "name: lacking\npath: null\nlocal_dir: null\nconfig: null\nvocab_size: 9\nblocks: null\n"
        "execution: null\nattention: padded\nauxiliary_weight: 0.1\ninit_from: null\n",
        ["no value given for model.pooling"],
    ),
    "model/torn": ("name: [a, b\n", ["torn.yaml", "line"]),
    "sweep/typo": (
        "common: []\ngrids:\n  - {pruning: [dtp], pruning.budgit: [0.4], seed: [0]}\n",
        ["no such key: pruning.budgit", "did you mean budget?"],
    ),
    "sweep/option": (
        "common: []\ngrids:\n  - {pruning: [none, tsdtp], seed: [0]}\n",
        ["no such option: pruning=tsdtp", "ts_dtp_notebook"],
    ),
    "sweep/twice": (
        "common: []\ngrids:\n  - {pruning: [none], epochs: [1, 2], seed: [0]}\n",
        ["two cells", "none/seed0", "variant"],
    ),
    "hparams/typo": (
        (CONFIGS / "hparams/ts_dtp.yaml").read_text().replace("pruning.gamma", "pruning.gama"),
        ["no such key: pruning.gama", "did you mean gamma?"],
    ),
    "sweep/empty": ("common: []\n", ["grids"]),
    "sweep/comon": ("comon: []\ngrids: {seed: 0}\n", ["no such key: comon", "common?"]),
    "experiment/maybe": (
        "# @package _global_\noverwrite: maybe\n",
        ["overwrite=maybe: valid are true and false"],
    ),
}


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A folder of a user's own configs, every one of them broken but two."""
    folder = tmp_path_factory.mktemp("configs")
    older = (CONFIGS / "model/tiny_bert.yaml").read_text().replace("blocks: null", "")
    sound = {"pruning/sound": ("_target_: tsdtp.pruning.dtp.GeneralDTP\nbudget: null\n", [])}
    sound |= {"model/older": (older, [])}
    for name, (text, _) in {**BROKEN, **sound}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def verdict(own):
    return validate(own)


def test_ours_are_valid_whatever_the_user_adds(verdict):
    names = {name.replace("/", "=") for name in BROKEN}
    assert [line for line in verdict.faults if line.split(":")[0] not in names] == []
    files = [p for p in CONFIGS.rglob("*.yaml") if p.name not in ("train.yaml", "eval.yaml")]
    others = ["train", "eval", "sound", "older"]
    assert verdict.valid + len(verdict.left_out) == len(files) + len(others)


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_named_in_one_line(verdict, name):
    label = name.replace("/", "=")
    lines = [line for line in verdict.faults if line.startswith(f"{label}:")]
    assert len(lines) == 1, verdict.faults
    assert "\n" not in lines[0]
    for words in BROKEN[name][1]:
        assert words in lines[0]


def test_the_command_prints_faults_and_exits_with_1(tsdtp, monkeypatch, own, verdict):
    monkeypatch.setattr("tsdtp.cli.validate.validate", lambda folder: verdict)
    outcome = tsdtp("validate", "--config-dir", str(own))
    assert outcome.code == 1
    assert [line for line in outcome.out.splitlines() if "left out" not in line] == verdict.faults
    monkeypatch.setattr(verdict, "faults", [])
    outcome = tsdtp("validate")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == f"{verdict.valid} configs are valid"
    assert tsdtp("validate", "--config-dir", "nowhere").code == 2


def test_a_command_finds_the_users_own_configs(own):
    check_command("train", [f"--config-dir={own}", "pruning=sound"])
    with pytest.raises(ConfigError, match="no such option: pruning=sound"):
        check_command("train", ["pruning=sound"])


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONFIGS / "sweep").glob("*.yaml")))
def test_every_sweep_lists_its_cells(name):
    sweep = load_sweep(name)
    size = sum(math.prod(len(values) for values in grid.values()) for grid in sweep.grids)
    cells = expand(sweep, [])
    assert len({tuple(cell) for cell in cells}) == len(cells) == size > 0
    assert len(grids(sweep, [])) == len(sweep.grids)


def test_one_value_may_stand_for_a_list(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("grids: {pruning: none, seed: 0, pruning.layers: [null, [1, 2]]}\n")
    cells = expand(load_sweep(str(path)), [])
    assert cells == [["pruning=none", "seed=0", f"pruning.layers={x}"] for x in ("null", "[1,2]")]


def test_a_pattern_cannot_be_listed_without_hydra():
    with pytest.raises(ConfigError, match="the names of options, and no pattern"):
        product(["pruning=glob(dtp*)", "seed=0"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("common: [a=1]\n", "grids is []; valid: [{KEY: [VALUE, ...], ...}]"),
        ("grids: [1]\n", "grids is [1]; valid"),
        ("common: {a: 1}\ngrids: {seed: 0}\n", "common is [{'a': 1}]; valid: [KEY=VALUE, ...]"),
        ("command: eval\ngrids: {seed: 0}\n", "command=eval: valid are train, bench"),
        ("- seed\n", "mine.yaml: a list; valid: keys with values"),
        ("grids: [{\n", "mine.yaml: while parsing"),
    ],
)
def test_a_sweep_of_another_form_is_named_in_a_line(tsdtp, tmp_path, text, words):
    (tmp_path / "mine.yaml").write_text(text)
    outcome = tsdtp("sweep", "sweep=mine.yaml")
    assert outcome.code == 2 and words in outcome.err and outcome.err.count("\n") == 1


def test_a_key_on_the_command_line_replaces_the_grid_s():
    sweep = OmegaConf.create({"common": ["a=1"], "grids": [{"seed": [0, 1], "b": [None, 2]}]})
    assert expand(sweep, ["seed=7"]) == [["a=1", "seed=7", "b=null"], ["a=1", "seed=7", "b=2"]]


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_opens_with_what_it_is(path):
    lines = path.read_text().splitlines()
    opening = [line for line in lines[:2] if line.startswith("# ") and "@package" not in line]
    assert opening, f"{path.name} does not say what it is"
    OmegaConf.load(path)
