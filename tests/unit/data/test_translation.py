from __future__ import annotations

import re

import datasets
import pytest
from transformers import MBart50Tokenizer

from tsdtp.data import TranslationData, sources, translation
from tsdtp.data.parallel import pairs_of
from tsdtp.data.synthetic_translation import ADJECTIVES, NOUNS, VERBS, generate_translation
from tsdtp.data.tokenizer import train_bpe

LEXICON = NOUNS | ADJECTIVES | VERBS
TEXTS = {
    "train": ("a dog\na cat\n\nno target\nthe old cow\n", "ein Hund\neine Katze\nx\n\nalte Kuh\n"),
    "validation": ("A  CAT\n", "die Katze\n"),
    "test": ("a horse\ntwo\n", "ein Pferd\nzwei\n"),
}


@pytest.fixture
def files(tmp_path):
    for split, sides in TEXTS.items():
        for language, text in zip(("en", "de"), sides, strict=True):
            (tmp_path / f"{split}.{language}").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def make(tmp_path):
    def make(**arguments):
        settings = {"name": "pairs", "source": "local", "languages": ["en", "de"]}
        settings |= {"local_dir": str(tmp_path), "cache_dir": str(tmp_path / "cache")}
        return TranslationData(**{**settings, **arguments})

    return make


@pytest.fixture
def generated(make):
    data = make(source="synthetic", train_examples=200, eval_examples=30, batch_tokens=400)
    data.prepare(data.new_tokenizer(400))
    return data


def test_a_generated_target_says_the_marked_words_alone():
    for row in generate_translation(200):
        words = row["source"].split()
        marked = [w for w, flag in zip(words, row["decisive"], strict=True) if flag]
        assert all(w not in LEXICON for w in set(words) - set(marked))
        verb = next(w for w in marked if w in VERBS)
        rest = [LEXICON[w] for w in marked if w != verb]
        assert row["target"].split() == [*rest, VERBS[verb]]
    assert generate_translation(3, "a") == generate_translation(3, "a")
    assert generate_translation(3, "a") != generate_translation(3, "b")


def test_files_of_a_split_are_joined_in_order(files, make):
    rows = make(local_files={"train": ["test", "train"], "test": "validation"}).load()["train"]
    assert rows["source"][:] == ["a horse", "two", "a dog", "the old cow"]


def test_documents_are_consecutive_lines(files, make):
    more = {"en": "one\ntwo\nthree\n", "de": "eins\nzwei\ndrei\n"}
    for language, text in more.items():
        (files / f"more.{language}").write_text(text)
    data = make(lines_per_text=2, local_files={"train": ["more", "train"], "test": "validation"})
    rows = data.load()
    assert rows["train"]["source"][:] == ["one two", "three", "the old cow"], (
        "none spans two files, or has a line that is empty or held out"
    )
    assert data.left_out == {"empty": 1, "in_held_out": 1}
    documents = make(lines_per_text=2)
    assert documents.references("test") == ["ein Pferd zwei"]
    words = make(source="synthetic", lines_per_text=8, train_examples=60, eval_examples=9)
    rows = words.load()["train"]
    assert [len(row["source"].split()) for row in rows] == [len(row["decisive"]) for row in rows]
    assert 0 < rows.num_rows < 60 / 8 + 1
    for lines in (0, 1.5, True, None):
        with pytest.raises(ValueError, match=f"lines_per_text={lines}; valid: 1 or more"):
            make(lines_per_text=lines)


def test_what_is_empty_or_held_out_is_not_trained_on(files, make):
    data = make()
    rows = data.load()
    assert rows["train"]["source"][:] == ["a dog", "the old cow"]
    assert data.left_out == {"empty": 2, "in_held_out": 1}
    assert data.references("test") == ["ein Pferd", "zwei"]


def test_it_says_what_it_left_out_and_cut(files, make):
    data = make(max_length=4)
    data.prepare(train_bpe(["a dog"], 270))
    said = "; ".join(data.told)
    assert "2 training pairs with an empty side left out" in said
    assert "1 training pairs that occur in held-out text left out" in said
    assert "1 train sources cut at 4 tokens; 1 validation sources cut at 4 tokens" in said
    assert "2 train targets cut at 4 tokens" in said
    assert data.cut == {"train": 1, "validation": 1, "test": 2}
    assert data.target_cut == {"train": 2, "validation": 1, "test": 2}
    whole = [len(train_bpe(["a dog"], 270)(text)["input_ids"]) for text in data.references("test")]
    assert [data.targets_beyond(n - 1) for n in sorted(whole)] == [2, 1]
    assert data.targets_beyond(max(whole)) == 0


def test_a_cut_source_keeps_its_end(files, make):
    data = make(max_length=4)
    tokenizer = train_bpe(["a dog"], 270)
    data.prepare(tokenizer)
    for batch in data.loader("test", 2):
        assert batch["input_ids"].shape[1] == 4
        assert (batch["input_ids"][:, -1] == tokenizer.eos_token_id).all()


def test_of_the_hubs_millions_no_more_are_read_than_a_limit_needs(make, monkeypatch):
    def load_dataset(path, name, split):
        count = 1000 if split == "train" else 3
        pairs = [{"en": f"{split} {i}", "de": f"{split} {i}"} for i in range(count)]
        return datasets.Dataset.from_dict({"translation": pairs})

    def pairs_read(rows, languages, where):
        read[where] = len(rows)
        return pairs_of(rows, languages, where)

    read: dict[str, int] = {}
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(sources, "reach_hub", lambda: True)
    monkeypatch.setattr(translation, "pairs_of", pairs_read)
    hub = {"source": "hub", "hub_path": "org/pairs"}
    drawn = [
        make(**hub, train_limit=5, seed=seed).load()["train"]["source"][:] for seed in (0, 0, 1)
    ]
    assert read == {"pairs train": 10, "pairs validation": 3, "pairs test": 3}
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(set(each)) for each in drawn] == [5, 5, 5]
    assert len(make(**hub).load()["train"]) == 1000
    assert len(make(**hub, train_limit=5, lines_per_text=10).load()["train"]) == 5
    assert read["pairs train"] == 1000, "documents are lines that follow one another"


def test_a_set_of_the_hub_without_pairs_says_what_it_has(make, monkeypatch):
    monkeypatch.setattr(translation, "read_hub", lambda *_: {"en": ["a"], "de": ["b"]})
    message = r"pairs \w+ has no column 'translation'; it has: en, de"
    with pytest.raises(ValueError, match=message):
        make(source="hub", hub_path="org/pairs").load()


def test_an_empty_line_of_a_measured_split_is_an_error(files, make):
    (files / "test.de").write_text("ein Pferd\n\n", encoding="utf-8")
    with pytest.raises(ValueError, match="pairs test: line 2 of the target is empty"):
        make().load()


def test_other_text_is_reported_on_in_place_of_the_split(files, make):
    (files / "test.en").unlink()  # it is not looked at
    for language, text in (("en", "two\nthe old cow\n"), ("de", "zwei\nalte Kuh\n")):
        (files / f"mine.{language}").write_text(text, encoding="utf-8")
    rows = make(evaluate_file=str(files / "mine")).load()
    assert rows["test"]["source"][:] == ["two", "the old cow"]
    assert rows["train"]["source"][:] == ["a dog"], "what is measured on is not trained on"


def test_to_evaluate_nothing_else_is_read(files, make):
    for split in ("train", "validation"):
        (files / f"{split}.en").unlink()
    rows = make(evaluate_only=True).load()
    assert {split: rows[split]["source"][:] for split in rows} == {"test": ["a horse", "two"]}


def test_nothing_left_to_train_on_is_an_error(files, make):
    for language in ("en", "de"):
        (files / f"train.{language}").write_text("\n\n", encoding="utf-8")
    with pytest.raises(ValueError, match="pairs: no pair is left to train on"):
        make().load()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "web"}, "unknown source 'web'; valid: hub, local, synthetic"),
        ({"source": "hub"}, "source=hub needs hub_path"),
        ({"languages": ["en"]}, r"languages must list 2, not ['en']"),
        ({"evaluate_on": "train"}, "evaluate_on='train'; valid: validation, test"),
    ],
)
def test_wrong_arguments_say_what_is_valid(make, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(**arguments)


def test_more_tokens_than_the_model_has_positions(make):
    with pytest.raises(ValueError, match="max_length=128 is more than the 64 positions"):
        make(source="synthetic", train_examples=5, eval_examples=5).prepare(None, 64)


def test_before_prepare_there_is_no_loader(make):
    with pytest.raises(RuntimeError, match="call prepare"):
        make().loader("train", 2)


def test_a_new_tokenizer_takes_texts_as_long_as_the_task_has(files, make):
    lengths = {n: make(max_length=n).new_tokenizer(400).model_max_length for n in (128, 600)}
    assert lengths == {128: 512, 600: 600}


def test_batches_carry_both_sides_and_the_truth(generated):
    tokenizer = generated.new_tokenizer(400)
    rows, references = generated.load()["test"], generated.references("test")
    for batch in generated.loader("test", 8, order="sorted"):
        for n, index in enumerate(batch["index"].tolist()):
            text = tokenizer.decode(batch["input_ids"][n], skip_special_tokens=True)
            assert text.strip() == rows["source"][index]
            target = batch["labels"][n][batch["labels"][n] >= 0]
            assert tokenizer.decode(target, skip_special_tokens=True).strip() == references[index]
            marked = tokenizer.decode(batch["input_ids"][n][batch["decisive"][n] == 1])
            assert sorted(marked.split()) == sorted(
                word
                for word, flag in zip(
                    rows["source"][index].split(), rows["decisive"][index], strict=True
                )
                if flag
            )


def test_training_batches_count_tokens(generated):
    sizes = set()
    for batch in generated.loader("train", 8, shuffle=True, bucketed=True):
        rows, width = batch["input_ids"].shape
        assert rows * (width + batch["labels"].shape[1]) <= 400
        sizes.add(rows)
    assert len(sizes) > 1
    assert {len(b["index"]) for b in generated.loader("validation", 10)} == {10}


def test_a_prefix_comes_before_each_source(make):
    data = make(source="synthetic", train_examples=20, eval_examples=5, prefix="to German: ")
    tokenizer = data.new_tokenizer(400)
    data.prepare(tokenizer)
    row = data._encoded["test"][0]
    assert tokenizer.decode(row["input_ids"]).strip().startswith("to German: ")
    assert len(row["decisive"]) == len(row["input_ids"])
    words = tokenizer.decode(
        [t for t, f in zip(row["input_ids"], row["decisive"], strict=True) if f]
    )
    assert all(word in LEXICON for word in words.split())


def mbart_tokenizer() -> MBart50Tokenizer:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    return MBart50Tokenizer(vocab=[(piece, -1.0) for piece in pieces])


def test_languages_are_told_also_where_the_rows_are_in_the_cache(make, tmp_path):
    rows = {"source": "synthetic", "train_examples": 20, "eval_examples": 3}
    cached = []
    for _ in range(2):
        tokenizer = mbart_tokenizer()
        make(**rows, language_tokens=["de_DE", "en_XX"]).prepare(tokenizer)
        assert (tokenizer.src_lang, tokenizer.tgt_lang) == ("de_DE", "en_XX")
        cached.append(sorted(tmp_path.rglob("*.arrow")))
    assert cached[0] == cached[1] != []


def test_language_tokens_tell_a_multilingual_model(make):
    tokenizer = mbart_tokenizer()
    arguments = {"source": "synthetic", "train_examples": 20, "eval_examples": 3}
    firsts = []
    for target in ("de_DE", "fr_XX"):
        data = make(**arguments, language_tokens=["en_XX", target])
        data.prepare(tokenizer)
        row = data._encoded["test"][0]
        firsts += [row["input_ids"][0], row["labels"][0]]
    names = ["en_XX", "de_DE", "en_XX", "fr_XX"]
    assert firsts == tokenizer.convert_tokens_to_ids(names)
    with pytest.raises(ValueError, match="pairs: unknown language token 'xx_YY'; valid: .*de_DE"):
        make(**arguments, language_tokens=["en_XX", "xx_YY"]).prepare(tokenizer)
    with pytest.raises(ValueError, match="valid: none, this tokenizer has no languages"):
        make(**arguments, language_tokens=["en_XX", "de_DE"]).prepare(train_bpe(["a"], 270))


def test_the_tokenizer_is_repeatable_and_loses_nothing():
    texts = [row["source"] for row in generate_translation(100)]
    first, again = train_bpe(texts, 300), train_bpe(texts, 300)
    assert first.get_vocab() == again.get_vocab()
    assert len(first) == 300
    text = "Zwölf Boxkämpfer – 日本 jagen „Viktor“ quer!"
    assert first.decode(first(text)["input_ids"], skip_special_tokens=True).strip() == text
    assert first(text)["input_ids"][-1] == first.eos_token_id
    with pytest.raises(ValueError, match="texts are empty"):
        train_bpe([""])


def test_what_its_files_held_is_known(files, make):
    data = make()
    data.load()
    known = {name.removesuffix(".gz") for name in data.digests}
    assert {"validation.en", "validation.de", "test.en", "test.de"} <= known
    assert all((files / name).is_file() for name in data.digests)
