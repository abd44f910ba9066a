import copy
from functools import partial

import pandas as pd
import pytest

from tsdtp.data import TextClassificationData


def texts(rows) -> list[str]:
    return list(rows["text"])


def test_local_files_are_found_by_their_usual_names(make_local):
    rows = make_local().load()
    assert {split: len(rows[split]) for split in rows} == {"train": 60, "validation": 12}
    assert rows["train"][2] == {"text": "word word word 2", "label": 0}


@pytest.mark.parametrize("name", ["dev.csv", "test.csv.gz"])
def test_other_names_of_validation(make_local, tmp_path, name):
    (tmp_path / "validation.tsv").unlink()
    pd.DataFrame({"text": ["x"], "label": [1]}).to_csv(tmp_path / name)
    assert make_local().load()["validation"][0] == {"text": "x", "label": 1}


def test_several_files_are_joined_and_their_further_columns_ignored(make_local, tmp_path):
    more = pd.DataFrame({"source": ["m"], "label": ["yes"], "text": ["more"]})
    more.to_json(tmp_path / "more.jsonl", orient="records", lines=True)
    names = {"train": ["train.tsv", "more.jsonl"], "validation": "validation.tsv"}
    train = make_local(local_files=names).load()["train"]
    assert len(train) == 61
    assert train[60] == {"text": "more", "label": 1}


def test_holdout_is_taken_out_of_train_and_leaves_validation_alone(make_local, tmp_path):
    everything = set(texts(make_local().load()["train"]))
    (tmp_path / "validation.tsv").unlink()
    rows = make_local(evaluate_on="holdout", holdout=0.25).load()
    train, held_out = set(texts(rows["train"])), set(texts(rows["validation"]))
    assert len(held_out) == 15
    assert train | held_out == everything
    assert not train & held_out


def test_holdout_and_limits_depend_on_the_seed(make_local):
    def drawn(seed):
        rows = make_local(evaluate_on="holdout", train_limit=20, eval_limit=2, seed=seed).load()
        return texts(rows["train"]), texts(rows["validation"])

    assert [len(part) for part in drawn(0)] == [20, 2]
    assert drawn(0) == drawn(0) != drawn(1)


@pytest.mark.parametrize("key", ["train_limit", "eval_limit"])
def test_a_limit_leaves_rows(make_local, key):
    with pytest.raises(ValueError, match="eval_limit must be 1 or more, or null, not 0"):
        make_local(**{key: 0}).load()


def test_synthetic_splits_share_no_text(make_synthetic):
    rows = make_synthetic("pair").load()
    assert not set(rows["train"]["text_pair"]) & set(rows["validation"]["text_pair"])


@pytest.mark.parametrize("kind", ["local", "pair"])
def test_it_says_how_many_texts_were_cut(make_local, make_synthetic, tokenizer, kind):
    """As many as have more tokens than the limit, one of just so many not."""
    make = make_local if kind == "local" else partial(make_synthetic, kind, text_columns=["a", "b"])
    whole = make(max_length=512)
    whole.prepare(tokenizer)
    assert not whole.told and not any(whole.cut.values())
    lengths = {s: whole.loader(s, 999).dataset["length"][:] for s in ("train", "validation")}
    limit = sorted(lengths["train"])[-9]
    whole.max_length = limit
    whole.prepare(tokenizer)
    beyond = {split: sum(n > limit for n in found) for split, found in lengths.items()}
    assert beyond["train"] > 0 and whole.cut == beyond
    assert f"{beyond['train']} train texts cut at {limit} tokens" in whole.told


def test_it_says_how_many_texts_are_empty(make_local, tokenizer, tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\nword\t1\n\t0\n \t1\n")
    data = make_local()
    data.prepare(tokenizer)
    assert data.told == ["2 train texts are empty"]


def test_the_tokenizers_own_limit_holds_as_it_does_for_predictions(make_local, tokenizer):
    short = copy.deepcopy(tokenizer)
    short.model_max_length = 6
    data = make_local()
    data.prepare(short)
    for split in ("train", "validation"):
        assert max(data.loader(split, 999).dataset["length"][:]) == 6
    assert data.told[0].endswith("train texts cut at 6 tokens")
    rows = {"text": ["word " * 9], "label": [0]}
    assert data.encode(rows, short)["input_ids"].shape == (1, 6)
    longer = make_local(max_length=600).new_tokenizer(200)
    assert longer.model_max_length == 600


@pytest.fixture
def prepared(make_local, tokenizer) -> TextClassificationData:
    data = make_local()
    data.prepare(tokenizer)
    return data


def indices(loader) -> list[int]:
    return [index for batch in loader for index in batch["index"].tolist()]


def test_batches_are_padded_to_their_own_longest_row(prepared):
    for batch in prepared.loader("train", 8):
        lengths = batch["attention_mask"].sum(1)
        assert batch["input_ids"].shape == (len(lengths), lengths.max())
        assert (batch["input_ids"][batch["attention_mask"] == 0] == 0).all()


def test_index_finds_the_row_that_was_loaded(prepared, tokenizer):
    rows = prepared.load()["train"]
    for batch in prepared.loader("train", 8, bucketed=True):
        for ids, label, index in zip(
            batch["input_ids"], batch["labels"], batch["index"].tolist(), strict=True
        ):
            expected = tokenizer(rows[index]["text"])["input_ids"]
            assert ids.tolist()[: len(expected)] == expected
            assert label == rows[index]["label"]


def test_orders(prepared):
    assert indices(prepared.loader("train", 8)) == list(range(60))
    assert indices(prepared.loader("train", 8, limit=5)) == list(range(5))
    loader = prepared.loader("train", 1, order="sorted")
    lengths = [batch["input_ids"].shape[1] for batch in loader]
    assert lengths == sorted(lengths, reverse=True)


def test_shuffling_depends_on_the_seed(prepared):
    def drawn(seed):
        return indices(prepared.loader("train", 8, shuffle=True, seed=seed))

    assert sorted(drawn(0)) == list(range(60))
    assert drawn(0) == drawn(0) != drawn(1)
    loader = prepared.loader("train", 8, shuffle=True)
    assert indices(loader) != indices(loader), "anew in each epoch"


def test_bucketed_epochs_hold_every_row_and_differ(prepared):
    loader = prepared.loader("train", 8, bucketed=True)
    first, second = indices(loader), indices(loader)
    assert len(loader) == 8
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, "unknown split 'test'; valid: train, validation"),
        ({"order": "random"}, "unknown order 'random'; valid: plain, sorted"),
        ({"order": "sorted", "shuffle": True}, "order=sorted excludes shuffle"),
    ],
)
def test_bad_loader_arguments(prepared, arguments, message):
    with pytest.raises(ValueError, match=message):
        prepared.loader(**({"split": "train", "batch_size": 4} | arguments))


def test_train_texts_hold_both_segments_of_train_only(make_synthetic):
    data = make_synthetic("pair")
    train = data.load()["train"]
    assert list(data.train_texts()) == [*train["text"], *train["text_pair"]]


def test_real_sst2_and_qnli(real_data):
    expected = {"sst2": (["sentence"], 67349, 872), "qnli": (["question", "sentence"], 12096, 5463)}
    for name, (columns, train, validation) in expected.items():
        files = {"validation": "validation.tsv.gz"}
        files["train"] = "train.tsv.gz" if name == "sst2" else "train_subset.tsv.gz"
        rows = TextClassificationData(
            name=name,
            source="local",
            local_dir=str(real_data / name),
            local_files=files,
            text_columns=columns,
            label_names=["a", "b"],
        ).load()
        assert (len(rows["train"]), len(rows["validation"])) == (train, validation)


@pytest.mark.parametrize("source", ["local", "synthetic"])
def test_another_file_is_evaluated_on_in_place_of_the_split(make_local, tmp_path, source):
    (tmp_path / "mine.csv").write_text("text,label\nx,1\ny,0\nz,1\n")
    other = {"source": source, "synthetic": "sentence", "evaluate_file": f"{tmp_path}/mine.csv"}
    before = make_local(source=source, synthetic="sentence", train_examples=50).load()["train"]
    (tmp_path / "validation.tsv").unlink()  # it is not looked at
    rows = make_local(**other, train_examples=50).load()
    assert texts(rows["validation"]) == ["x", "y", "z"]
    assert texts(rows["train"]) == texts(before)


def test_another_file_leaves_a_holdout_out_of_training(make_local, tmp_path):
    (tmp_path / "mine.csv").write_text("text,label\nx,1\n")
    other = make_local(evaluate_on="holdout", evaluate_file=f"{tmp_path}/mine.csv").load()
    assert texts(other["train"]) == texts(make_local(evaluate_on="holdout").load()["train"])
    assert texts(other["validation"]) == ["x"]


@pytest.mark.parametrize("evaluate_on", ["validation", "holdout"])
def test_to_evaluate_nothing_to_train_on_is_read(make_local, tmp_path, evaluate_on):
    (tmp_path / "mine.csv").write_text("text,label\nx,1\n")
    both = {"evaluate_on": evaluate_on, "eval_limit": 5}
    expected = make_local(**both).load()["validation"]
    if evaluate_on == "validation":
        (tmp_path / "train.tsv").unlink()
    data = make_local(**both, evaluate_only=True)
    assert {**data.load()} == {"validation": data.load()["validation"]}
    assert texts(data.load()["validation"]) == texts(expected)
    assert len(data.digests) == 1
    (tmp_path / "train.tsv").unlink(missing_ok=True)
    other = make_local(**both, evaluate_only=True, evaluate_file=f"{tmp_path}/mine.csv").load()
    assert texts(other["validation"]) == ["x"]


def test_what_its_files_held_is_known(make_local, tmp_path):
    data = make_local()
    data.load()
    before = data.digests
    assert {*before} == {"train.tsv", "validation.tsv"}
    with (tmp_path / "train.tsv").open("a") as file:
        file.write((tmp_path / "train.tsv").read_text().splitlines()[-1] + "\n")
    again = make_local()
    again.load()
    assert again.digests["train.tsv"] != before["train.tsv"]
    assert again.digests["validation.tsv"] == before["validation.tsv"]
