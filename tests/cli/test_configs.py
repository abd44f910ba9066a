"""Every config composes, and every key fits what it builds."""

from __future__ import annotations

import math

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny import REPOSITORY

from tsdtp.cli.check import check_targets
from tsdtp.cli.config import HYDRA_VERSION_BASE, config_dir, register_resolvers
from tsdtp.cli.sweep import expand, grids, load_sweep

CONFIGS = REPOSITORY / "configs"
GROUPS = [p.name for p in CONFIGS.iterdir() if p.is_dir() and p.name not in ("sweep", "hydra")]
OPTIONS = [(group, p.stem) for group in GROUPS for p in sorted((CONFIGS / group).glob("*.yaml"))]
SWEEPS = [p.stem for p in sorted((CONFIGS / "sweep").glob("*.yaml"))]


@pytest.fixture
def hydra():
    register_resolvers()
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        yield


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(hydra, group, option):
    check_targets(compose("train", [f"{group}={option}"]))


def test_eval_composes(hydra):
    check_targets(compose("eval", ["run=somewhere"]))


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_lists_its_cells(name):
    register_resolvers()
    sweep = load_sweep(name)
    size = sum(math.prod(len(values) for values in grid.values()) for grid in sweep.grids)
    cells = expand(sweep, [])
    assert len(cells) == size > 0
    assert len({tuple(cell) for cell in cells}) == size
    assert len(grids(sweep, [])) == len(sweep.grids)


def test_a_key_on_the_command_line_replaces_the_grid_s():
    sweep = OmegaConf.create({"common": ["a=1"], "grids": [{"seed": [0, 1], "b": [None, 2]}]})
    assert expand(sweep, ["seed=7"]) == [["a=1", "seed=7", "b=null"], ["a=1", "seed=7", "b=2"]]


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_opens_with_what_it_is(path):
    lines = path.read_text().splitlines()
    opening = [line for line in lines[:2] if line.startswith("# ") and "@package" not in line]
    assert opening, f"{path.name} does not say what it is"
    OmegaConf.load(path)
