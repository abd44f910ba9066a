"""Texts in, answers out: whatever the batch, the same; and what cannot be read is refused."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny import make_model, make_seq2seq
from transformers import AutoModelForCausalLM

import tsdtp
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.models.texts import tokenised

TEXTS = ["a good film", "bad", "the the the long and winding film of the year", "good bad"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 100)


@pytest.fixture(scope="module")
def model(tokenizer):
    model = tsdtp.prune(make_model("bert"), "topk", 0.5, special_ids=tokenizer.all_special_ids)
    tsdtp.calibrate(model, TEXTS, tokenizer=tokenizer)
    return model


def test_a_text_has_the_same_answer_in_any_batch(model, tokenizer):
    alone = list(tsdtp.predict(model, tokenizer, TEXTS, batch_size=1))
    together = list(tsdtp.predict(model, tokenizer, iter(TEXTS), batch_size=3))
    for one, other in zip(alone, together, strict=True):
        assert one.label == other.label and one.kept_layers == other.kept_layers
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert sum(one.probabilities.values()) == pytest.approx(1)


def test_an_answer_says_what_was_kept(model, tokenizer):
    (answer,) = tsdtp.predict(model, tokenizer, [TEXTS[2]])
    assert answer.tokens[0] == tokenizer.cls_token == answer.kept[0]
    assert len(answer.kept) == answer.tokens_kept[-1] < len(answer.tokens)
    stayed = torch.tensor(answer.kept_layers)
    assert answer.tokens_kept == [int((stayed > layer).sum()) for layer in range(4)]


def test_what_is_too_long_is_cut_and_says_so(model, tokenizer):
    answers = list(tsdtp.predict(model, tokenizer, TEXTS, max_length=6))
    assert [len(a.tokens) <= 6 for a in answers] == [True] * 4
    assert [a.truncated for a in answers] == [
        len(tokenizer(text)["input_ids"]) > 6 for text in TEXTS
    ]
    (huge,) = tsdtp.predict(model, tokenizer, ["film " * 100_000])
    assert huge.truncated and len(huge.tokens) == 64, "no more than the model's positions"


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_limit_without_room_for_words_is_refused(model, tokenizer, limit):
    with pytest.raises(ValueError, match=f"max_length={limit}: valid is 4 or more"):
        tsdtp.predict(model, tokenizer, TEXTS, max_length=limit)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "empty"), (" \n", "empty"), ("a\0b", "NUL"), (7, "not int"), (("a", ""), "empty")]
    + [(("a",), "a tuple of 1 texts; valid: a str, or a pair"), (("a", "b", "c"), "of 3 texts")],
)
def test_what_is_no_text_is_refused(model, tokenizer, text, message):
    with pytest.raises(ValueError, match=message):
        list(tsdtp.predict(model, tokenizer, [text]))


def test_one_text_is_not_taken_for_a_list_of_letters(model, tokenizer):
    for use in (
        lambda: tsdtp.predict(model, tokenizer, "a film"),
        lambda: tsdtp.calibrate(model, "a film", tokenizer=tokenizer),
    ):
        with pytest.raises(ValueError, match="a list of str .*, not one str"):
            use()


def test_one_batch_is_not_taken_for_a_list_of_words(tokenizer):
    model = tsdtp.prune(make_model("bert"), "ts_dtp", 0.8, tokenizer=tokenizer)
    for one in (tokenizer(TEXTS, padding=True, return_tensors="pt"), {"text": TEXTS}):
        for call in (tsdtp.calibrate, tsdtp.teach, tsdtp.measure_speed):
            with pytest.raises(ValueError, match=r"not one dict; valid: \[batch\]"):
                call(model, one, tokenizer=tokenizer)
        with pytest.raises(ValueError, match="not one dict"):
            next(tsdtp.predict(model, tokenizer, one))
    for size in (0, 1.5):
        with pytest.raises(ValueError, match=f"batch_size={size}: valid is 1 or more"):
            tsdtp.predict(model, tokenizer, TEXTS, batch_size=size)  # pyright: ignore


def test_a_tokenizer_without_a_limit_leaves_it_to_the_model(tokenizer):
    endless, text = copy.deepcopy(tokenizer), "film " * 700
    endless.model_max_length = 10**30
    lengths = [
        next(tokenised([text], endless, 1, limit))["input_ids"].shape[1]
        for limit in (None, 600, 1000)
    ]
    assert lengths == [512, 600, 702]


def test_token_types_that_a_translator_does_not_read_are_left_out(tokenizer):
    typed = copy.deepcopy(tokenizer)
    typed.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    assert "token_type_ids" in typed("good")
    model = tsdtp.prune(make_seq2seq("bart"), "topk", 0.8, tokenizer=typed)
    assert tsdtp.calibrate(model, TEXTS, tokenizer=typed) < 0.9
    assert tsdtp.measure_speed(model, TEXTS, typed, rounds=2, min_time=0)["speed"]


def test_classes_of_a_new_head_have_names(tokenizer):
    model = tsdtp.prune(make_model("bert"), "none", tokenizer=tokenizer)
    model.classifier = torch.nn.Linear(32, 3)
    answers = list(tsdtp.predict(model, tokenizer, TEXTS))
    assert all([*answer.probabilities] == ["LABEL_0", "LABEL_1", "LABEL_2"] for answer in answers)
    assert all(answer.probabilities[answer.label] >= 1 / 3 for answer in answers)
    model.config.id2label = None
    assert list(tsdtp.predict(model, tokenizer, TEXTS)) == answers


def test_classes_of_one_name_share_a_probability(tokenizer):
    model = tsdtp.prune(make_model("bert"), "none", tokenizer=tokenizer)
    apart = [answer.probabilities for answer in tsdtp.predict(model, tokenizer, TEXTS)]
    model.config.id2label = {0: "same", 1: "same"}
    for answer, each in zip(tsdtp.predict(model, tokenizer, TEXTS), apart, strict=True):
        assert answer.probabilities == {"same": sum(each.values())}


def test_a_model_that_was_not_calibrated_says_so_where_it_is_asked(tokenizer):
    model = tsdtp.prune(make_model("bert"), "topk", 0.5, tokenizer=tokenizer)
    with pytest.warns(UserWarning, match="not calibrated yet") as told:
        answers = tsdtp.predict(model, tokenizer, [TEXTS[2]])
    assert [warning.filename for warning in told] == [__file__]
    (answer,) = answers
    assert answer.kept == answer.tokens


def test_a_whole_budget_is_no_lack_of_calibration(tokenizer, recwarn):
    model = tsdtp.prune(make_model("bert"), "topk", 1.0, tokenizer=tokenizer)
    tsdtp.calibrate(model, TEXTS, tokenizer=tokenizer)
    list(tsdtp.predict(model, tokenizer, TEXTS))
    assert not [w for w in recwarn if "calibrated" in str(w.message)]


def test_texts_beyond_the_positions_are_cut_to_teach_and_to_calibrate(tokenizer):
    model = tsdtp.prune(make_model("bert"), "ts_dtp", 0.8, tokenizer=tokenizer)
    long = [*TEXTS, "film " * 200]
    tsdtp.teach(model, long, tokenizer=tokenizer, epochs=1)
    assert tsdtp.calibrate(model, long, tokenizer=tokenizer) <= 0.9


def test_threads_share_a_model_and_leave_its_execution(model, tokenizer):
    def labels(_) -> list[str]:
        return [answer.label for answer in tsdtp.predict(model, tokenizer, TEXTS * 4)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(labels, range(8)))
    assert answers == [answers[0]] * 8
    assert model._execution is None


def test_what_writes_is_no_classifier(tokenizer):
    model = tsdtp.prune(make_model("gpt2", auto=AutoModelForCausalLM), "topk", tokenizer=tokenizer)
    with pytest.raises(ValueError, match=r"PrunedCausalLM is no classifier; .* generate\(\)"):
        list(tsdtp.predict(model, tokenizer, TEXTS))


def test_calibration_on_texts_meets_the_budget_as_on_batches(model, tokenizer):
    model = copy.deepcopy(model)
    with pytest.raises(ValueError, match="batch_size=0: valid is 1 or more"):
        next(tokenised(TEXTS, tokenizer, batch_size=0))
    batches = list(tokenised(TEXTS * 8, tokenizer))
    on_batches = tsdtp.calibrate(model, batches, 0.6)
    assert tsdtp.calibrate(model, TEXTS * 8, 0.6, tokenizer=tokenizer) == on_batches
    assert on_batches == pytest.approx(0.6, abs=0.08), "few short texts leave few choices"


def test_texts_are_enough_to_teach(tokenizer):
    model = tsdtp.prune(make_model("bert"), "ts_dtp", special_ids=tokenizer.all_special_ids)
    losses = tsdtp.teach(model, TEXTS * 8, tokenizer=tokenizer, epochs=8, lr=1e-2)
    assert losses[-1] < losses[0]


def test_batches_may_come_with_the_tokenizer_that_says_which_token_is_masked(tokenizer):
    model = tsdtp.prune(make_model("bert"), "ts_dtp", 0.8, tokenizer=tokenizer)
    batch = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    given = tsdtp.teach(model, [batch], tokenizer=tokenizer, epochs=1)
    assert len(given) == 1
    assert tsdtp.calibrate(model, [batch], tokenizer=tokenizer) == tsdtp.calibrate(model, [batch])


def test_calibration_says_what_it_lacks(model, tokenizer):
    with pytest.raises(ValueError, match="texts need their tokenizer"):
        tsdtp.calibrate(model, TEXTS)
    with pytest.raises(ValueError, match="no data"):
        tsdtp.calibrate(model, [], tokenizer=tokenizer)
    with pytest.raises(ValueError, match="budget=1.5: valid is a fraction"):
        tsdtp.calibrate(model, TEXTS, 1.5, tokenizer=tokenizer)
