"""What a call of the library leaves of a model: modes, gradients, what it is wrapped in."""

from __future__ import annotations

import pytest
import torch
from tiny import SPECIAL, make_batch, make_model

import tsdtp
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.models.teaching import attributions

TEXTS = ["a good film", "bad", "the the the long and winding film of the year"]
BATCHES = [make_batch(seed=seed) for seed in range(2)]


@pytest.fixture
def model() -> tsdtp.PrunedClassifier:
    """In training, but for an encoder that rests."""
    model = tsdtp.prune(make_model("bert"), "ts_dtp", budget=0.7, special_ids=[SPECIAL]).train()
    model.hf_model.bert.eval()
    return model


CALLS = {
    "calibrate": lambda model: tsdtp.calibrate(model, BATCHES),
    "teach": lambda model: tsdtp.teach(model, BATCHES, mask_id=3, epochs=1),
    "measure_speed": lambda model: tsdtp.measure_speed(model, BATCHES, rounds=2, min_time=0),
    "export": tsdtp.export,
}


@pytest.mark.parametrize("name", CALLS)
def test_every_module_is_in_its_own_mode_again(model, name):
    before = {name: module.training for name, module in model.named_modules()}
    assert before["bert"] is False and before[""] is True
    CALLS[name](model)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert model.hf_model.training and not model.hf_model.bert.training


def test_a_teacher_attributes_without_dropout_and_trains_on(model):
    teacher = tsdtp.prune(make_model("bert"), "none", special_ids=[SPECIAL]).train()
    one, two = (attributions(model, BATCHES, teacher, mask_id=3) for _ in range(2))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert all(module.training for module in teacher.modules())


def test_teaching_leaves_no_gradients(model):
    for parameter in model.pruner.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    tsdtp.teach(model, BATCHES, mask_id=3, epochs=1)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_whole_model_wakes_a_frozen_pruner(model):
    model.pruner.requires_grad_(False)
    assert model.execution == "packed" and not model.pruner.learns
    model.requires_grad_(True)
    assert model.execution == "masked" and model.pruner.learns
    model(**BATCHES[0], labels=torch.zeros(6, dtype=torch.long)).loss.backward()
    assert any(parameter.grad is not None for parameter in model.pruner.parameters())


def test_a_compiled_model_is_taught_exported_and_saved_as_the_model_it_is(model, tmp_path):
    compiled = torch.compile(model, backend="eager")
    assert tsdtp.teach(compiled, BATCHES, mask_id=3, epochs=1)
    tokenizer = train_tokenizer(TEXTS, 100)
    spent = tsdtp.calibrate(compiled, TEXTS, tokenizer=tokenizer)
    assert spent == tsdtp.calibrate(model, TEXTS, tokenizer=tokenizer) < 0.8
    tsdtp.save_pretrained(compiled, tmp_path)
    again = tsdtp.from_pretrained(tmp_path)
    torch.testing.assert_close(again(**BATCHES[0]).logits, model.eval()(**BATCHES[0]).logits)
    ids = BATCHES[0]["input_ids"][:1]
    assert tsdtp.export(compiled).module()(ids, torch.zeros_like(ids))[0].shape == (1, 2)


def test_a_module_that_rests_still_rests_once_wrapped():
    plain = make_model("bert").train()
    plain.bert.eval()
    model = tsdtp.prune(plain, "topk", special_ids=[SPECIAL])
    assert plain.training and model.training and model.pruner.training
    assert not any(module.training for module in plain.bert.modules())
