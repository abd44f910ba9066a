import datasets
import pytest

from tsdtp.data import sources
from tsdtp.data.sources import label_ids


@pytest.mark.parametrize("labels", [[1, 0], ["1", "0"], ["yes", "no"], [1.0, "no"], [True, False]])
def test_labels_may_be_numbers_or_names(labels):
    assert label_ids(labels, ["no", "yes"], "toy") == [1, 0]


@pytest.mark.parametrize("names", [["true", "false"], ["False", "True"], ["no", "TRUE", "false"]])
def test_a_bool_is_the_name_that_is_spelt_like_it(names):
    by_text = [names.index(next(n for n in names if n.lower() == x)) for x in ("true", "false")]
    assert label_ids([True, False], names, "toy") == by_text
    assert label_ids([1, 0], names, "toy") == [1, 0], "numbers are numbers"


def test_a_bool_that_no_name_spells_where_another_does_is_refused():
    with pytest.raises(ValueError, match="row 1 has the label 'False'; valid: 0=true, 1=maybe"):
        label_ids([True, False], ["true", "maybe"], "toy")


def test_names_win_over_numbers():
    assert label_ids(["1", "2", "0"], ["0", "2", "1"], "toy") == [2, 1, 0]
    for labels in ([1, 2], ["1", "2"]):  # a file of text holds strings
        assert label_ids(labels, [1, 2], "toy") == [0, 1]
        assert label_ids(labels, [2, 1], "toy") == [1, 0]


def test_names_that_look_like_numbers_of_others_are_taken_alone():
    for stars in (list(range(1, 6)), list("12345")):
        assert label_ids([stars[4], stars[0]], stars, "toy") == [4, 0]
        with pytest.raises(ValueError, match=r"row 0 has the label 0; valid: the names '?1'?, "):
            label_ids([0, 1, 2, 3, 4], stars, "toy")


@pytest.mark.parametrize("bad", [2, -1, "maybe", None, [1]])
def test_an_unknown_label_is_shown_with_the_valid_ones(bad):
    with pytest.raises(ValueError, match=r"toy: row 1 has the label .*; valid: 0=no, 1=yes"):
        label_ids([0, bad], ["no", "yes"], "toy")


def test_an_unreachable_hub_is_not_asked_again_and_the_ways_out_are_named(monkeypatch):
    monkeypatch.setattr(sources, "reach_hub", lambda: False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with pytest.raises(FileNotFoundError, match="cannot load org/nothing from the hub") as error:
        sources.read_hub("org/nothing", None, "train")
    assert datasets.config.HF_HUB_OFFLINE
    for words in ("task.data.source=local", "TSDTP_DATA_DIR", "task.data.local_dir"):
        assert words in str(error.value)
    assert "\n" not in str(error.value)
