"""What no texts can be read from, or made of, is refused in a line that says what is valid."""

from __future__ import annotations

import pytest


def test_a_wrong_column_names_those_the_file_has(make_local):
    with pytest.raises(ValueError, match=r"train\.tsv has no column 'body'; it has: text, label"):
        make_local(text_columns=["body"]).load()


def test_a_label_out_of_range_says_where(make_local):
    with pytest.raises(ValueError, match="toy train: row 1 has the label '1'; valid: 0=only"):
        make_local(label_names=["only"]).load()


def test_names_that_yaml_took_for_truth_values_are_refused(make_local):
    with pytest.raises(ValueError, match=r"label_names \[False, True\]: yaml .*\['yes', 'no'\]"):
        make_local(label_names=[False, True])


def test_a_class_has_a_name_of_its_own(make_local):
    with pytest.raises(ValueError, match=r"label_names \['a', 'a'\] has a class twice"):
        make_local(label_names=["a", "a"])


def test_a_row_without_text_says_where(make_local, tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": 0}\n{"text": null, "label": 0}\n')
    names = {"train": "train.jsonl", "validation": "validation.tsv"}
    with pytest.raises(ValueError, match="toy train: row 1 has no text in 'text'"):
        make_local(local_files=names).load()


def test_an_empty_file_says_so(make_local, tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\n")
    with pytest.raises(ValueError, match="toy train has no rows"):
        make_local().load()


def test_a_folder_without_files_says_what_it_looked_for(make_local, tmp_path):
    (tmp_path / "train.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"no train\.\* .*TSDTP_DATA_DIR"):
        make_local().load()


def test_a_split_without_named_files_lists_the_valid_ones(make_local):
    data = make_local(evaluate_on="test", local_files={"train": "train.tsv"})
    with pytest.raises(ValueError, match="no split 'test'; valid: train, holdout"):
        data.load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "web"}, "unknown source 'web'; valid: hub, local, synthetic"),
        ({"source": "hub"}, "source=hub needs hub_path"),
        ({"text_columns": ["a", "b", "c"]}, "text_columns must list 1 or 2"),
        ({"text_columns": "text"}, "text_columns must list 1 or 2"),
        ({"holdout": 1.5}, "holdout must lie between 0 and 1, not 1.5"),
    ],
)
def test_bad_arguments_fail_at_once(make_local, changes, message):
    with pytest.raises(ValueError, match=message):
        make_local(**changes)


def test_an_unknown_synthetic_task_lists_the_valid_ones(make_synthetic):
    with pytest.raises(ValueError, match="unknown synthetic task 'poem'; valid: sentence, pair"):
        make_synthetic("poem").load()


def test_more_tokens_than_positions_is_an_error(make_local, tokenizer):
    with pytest.raises(
        ValueError, match="max_length=128 is more than the 64 positions.*max_length=64 or less"
    ):
        make_local().prepare(tokenizer, max_positions=64)


def test_loader_before_prepare_is_an_error(make_local):
    with pytest.raises(RuntimeError, match=r"call prepare\(tokenizer\) before"):
        make_local().loader("train", 4)
