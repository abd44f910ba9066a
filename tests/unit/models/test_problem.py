"""Heads that answer one class, each class by itself, or numbers: as transformers has them."""

from __future__ import annotations

import pytest
import torch
from tiny import SPECIAL, make_batch, make_model

import tsdtp
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.models.attribution import layer_conductance
from tsdtp.models.problem import EACH_CLASS, NUMBERS, ONE_CLASS, loss_of, problem_of

TEXTS = ["a good film", "bad", "the the the long and winding film of the year", "good bad"]
HEADS = {
    "one class": ({"num_labels": 3}, torch.tensor([0, 2, 1, 1, 0, 2])),
    "each class": (
        {"num_labels": 3, "problem_type": EACH_CLASS},
        torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1]]),
    ),
    "one class by itself": ({"num_labels": 1, "problem_type": EACH_CLASS}, torch.ones(6, 1)),
    "a number": ({"num_labels": 1}, torch.linspace(-1, 2, 6)),
    "numbers": ({"num_labels": 2, "problem_type": NUMBERS}, torch.linspace(-1, 2, 12).view(6, 2)),
}


@pytest.fixture
def tokenizer():
    return train_tokenizer(TEXTS, 100)


@pytest.mark.parametrize("execution", ["packed", "hf"])
@pytest.mark.parametrize("head", HEADS)
def test_the_loss_is_the_plain_models(head, execution):
    settings, labels = HEADS[head]
    batch = {**make_batch(), "labels": labels}
    model = tsdtp.prune(make_model("bert", **settings), "none", special_ids=[SPECIAL])
    model.execution = execution
    loss = model(**batch).loss
    torch.testing.assert_close(loss, make_model("bert", **settings)(**batch).loss)
    if settings["num_labels"] == 1:
        torch.testing.assert_close(loss, model(**batch | {"labels": labels.view(-1)}).loss)


@pytest.mark.parametrize("problem", [EACH_CLASS, NUMBERS])
def test_labels_of_another_shape_are_refused(problem):
    for wrong in (torch.zeros(4), torch.zeros(3, 4)):
        with pytest.raises(ValueError, match=r"labels of shape \[.*4\]: valid is \[4, 3\]"):
            loss_of(torch.zeros(4, 3), wrong, problem)
    whole = torch.tensor([[1, 0, 1]])
    assert loss_of(torch.zeros(1, 3), whole, problem) == loss_of(
        torch.zeros(1, 3), whole.float(), problem
    )


def test_half_precision_does_not_reach_the_loss():
    logits = torch.tensor([[300.0], [1.0]], dtype=torch.float16)
    assert loss_of(logits, torch.tensor([0.0, 1.0]), NUMBERS) == 45_000, "90,000 is no float16"


def test_what_a_config_does_not_say_is_told_by_its_labels():
    assert problem_of(make_model("bert", num_labels=1).config) == NUMBERS
    assert problem_of(make_model("bert", num_labels=2).config) == ONE_CLASS
    assert problem_of(make_model("bert", problem_type=EACH_CLASS).config) == EACH_CLASS


def test_a_number_is_explained_as_a_class_against_one_of_logit_0():
    """Which of two classes is likelier is a question of one number."""
    one, two = (make_model("bert", num_labels=n) for n in (1, 2))
    with torch.no_grad():
        two.load_state_dict(one.state_dict() | two.classifier.state_dict(prefix="classifier."))
        for name in ("weight", "bias"):
            of_two, of_one = getattr(two.classifier, name), getattr(one.classifier, name)
            of_two.copy_(torch.cat([torch.zeros_like(of_one), of_one]))
    by_itself = make_model("bert", num_labels=1, problem_type=EACH_CLASS)
    by_itself.load_state_dict(one.state_dict())
    found = [
        layer_conductance(
            tsdtp.prune(plain, "none", special_ids=[SPECIAL]).eval(),
            **make_batch(),
            mask_id=3,
            layers=[0, 1, 2],
        )
        for plain in (two, one, by_itself)
    ]
    torch.testing.assert_close(found[1], found[0])
    assert torch.equal(found[2], found[1])
    assert found[0].sum() > 0


def test_each_class_by_itself_has_a_say_in_what_is_explained():
    plain = make_model("bert", num_labels=2, problem_type=EACH_CLASS)
    model = tsdtp.prune(plain, "none", special_ids=[SPECIAL]).eval()
    encoding = model.encode(**make_batch())
    answer = model.goal(encoding)
    assert torch.equal(answer, model.classify(encoding).sign()) and answer.shape == (6, 2)
    torch.testing.assert_close(
        model.certainty(encoding, answer), model.classify(encoding).abs().sum(1)
    )


@pytest.mark.parametrize("head", ["each class", "a number"])
def test_it_is_taught_calibrated_saved_and_loaded(head, tmp_path, tokenizer):
    plain = make_model("bert", **HEADS[head][0])
    model = tsdtp.prune(plain, "ts_dtp", 0.7, special_ids=tokenizer.all_special_ids)
    losses = tsdtp.teach(model, TEXTS * 8, tokenizer=tokenizer, epochs=8, lr=1e-2)
    assert losses[-1] < losses[0]
    tsdtp.calibrate(model, TEXTS * 8, tokenizer=tokenizer)
    model.save_pretrained(tmp_path, tokenizer)
    answers = list(tsdtp.predict(model, tokenizer, TEXTS))
    assert list(tsdtp.predict(tsdtp.from_pretrained(tmp_path), tokenizer, TEXTS)) == answers
    assert any(answer.kept != answer.tokens for answer in answers)


def test_each_class_has_a_probability_of_its_own(tokenizer):
    model = tsdtp.prune(make_model("bert", **HEADS["each class"][0]), "none", tokenizer=tokenizer)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    expected = model(**batch).logits.sigmoid()
    for answer, row in zip(tsdtp.predict(model, tokenizer, TEXTS), expected, strict=True):
        assert [*answer.probabilities.values()] == pytest.approx(row.tolist(), abs=1e-5)
        assert answer.label == f"LABEL_{row.argmax()}" and answer.numbers == {}


def test_a_number_is_told_as_it_is(tokenizer):
    model = tsdtp.prune(make_model("bert", num_labels=1), "none", tokenizer=tokenizer)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    answers = list(tsdtp.predict(model, tokenizer, TEXTS))
    found = [answer.numbers["LABEL_0"] for answer in answers]
    assert found == pytest.approx(model(**batch).logits.view(-1).tolist(), abs=1e-5)
    assert {answer.label for answer in answers} == {"LABEL_0"}
    assert not any(answer.probabilities for answer in answers)
