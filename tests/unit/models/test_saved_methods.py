"""Methods of other packages are saved by their names, or refused before anything is written."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from tiny import SPECIAL, make_model

import tsdtp
from tsdtp.pruning import Decision, TokenPruner, TokenState


def test_a_method_that_would_not_be_found_again_is_not_saved(tmp_path):
    class Mine(EveryOther):
        """A method of this function's own."""

    model = tsdtp.prune(make_model("bert"), Mine, special_ids=[SPECIAL])
    with unchanged(tmp_path):
        message = r"Mine of .* not be found again .*top level of a module"
        with pytest.raises(ValueError, match=message):
            model.save_pretrained(tmp_path)


def test_a_method_with_an_argument_that_no_file_holds_is_not_saved(tmp_path):
    model = tsdtp.prune(make_model("bert"), EveryOther, special_ids=[SPECIAL], start=frozenset({1}))
    message = r"frozenset.*an argument of a method that cannot be written to config.json"
    with unchanged(tmp_path), pytest.raises(ValueError, match=message):
        model.save_pretrained(tmp_path)


@contextmanager
def unchanged(folder):
    """A model lies there and still does, every byte."""
    tsdtp.prune(make_model("bert"), "ts_dtp", special_ids=[SPECIAL]).save_pretrained(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    yield
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


class EveryOther(TokenPruner):
    """A method of another package: its tests are no part of ours."""

    def __init__(self, num_layers: int, hidden_size: int, start: int = 0) -> None:
        super().__init__(num_layers)
        self.start = start

    def decide(self, state: TokenState) -> Decision:
        return Decision(keep=torch.arange(len(state.alive)) % 2 == self.start)


def test_a_method_of_another_package_comes_back(tmp_path, batch):
    model = tsdtp.prune(make_model("bert"), EveryOther, start=1)
    again = tsdtp.from_pretrained(model.save_pretrained(tmp_path))
    assert isinstance(again.pruner, EveryOther) and again.pruner.start == 1
    assert torch.equal(again(**batch).kept_layers, model(**batch).kept_layers)
    with pytest.raises(ValueError, match=r"EveryOther has no argument k; valid: start"):
        tsdtp.prune(make_model("bert"), EveryOther, k=1)


class Every(EveryOther):
    """Passes on what it does not know itself."""

    def __init__(self, *sizes: int, nth: int = 2, **others) -> None:
        super().__init__(*sizes, **others)
        self.nth = nth


def test_a_method_that_passes_its_arguments_on_comes_back(tmp_path):
    model = tsdtp.prune(make_model("bert"), Every, start=1)
    again = tsdtp.from_pretrained(model.save_pretrained(tmp_path)).pruner
    assert isinstance(again, Every) and (again.start, again.nth) == (1, 2)
    with pytest.raises(ValueError, match="Every: .*unexpected keyword argument 'strat'"):
        tsdtp.prune(make_model("bert"), Every, strat=1)
