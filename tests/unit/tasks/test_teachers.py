from __future__ import annotations

import pytest
import torch
from tiny import make_batch, make_model

from tsdtp.models import prune
from tsdtp.tasks.teachers import Teachers

CPU = torch.device("cpu")


class Asked:
    """A teacher that notes of how many rows it was asked."""

    def __init__(self, seed: int) -> None:
        self.model, self.rows = prune(make_model("bert", seed=seed), "none").eval(), []

    def __call__(self, **inputs):
        """As the model."""
        self.rows.append(len(inputs["input_ids"]))
        return self.model(**inputs)


@pytest.fixture
def models() -> list[Asked]:
    return [Asked(seed) for seed in (3, 4, 5)]


@pytest.fixture
def batch() -> dict:
    return make_batch((8, 6, 5, 7) * 4)


LABELS = torch.arange(16) % 2
INDEX = torch.randperm(40, generator=torch.Generator().manual_seed(0))[:16]


def single(models: list[Asked], batch: dict) -> torch.Tensor:
    """[B, 3, C] probabilities of each."""
    return torch.stack([asked.model(**batch).logits.softmax(-1) for asked in models], 1).detach()


def asked_of(models: list[Asked]) -> list[int]:
    """Rows that each was asked about since the last time."""
    counts = [sum(asked.rows) for asked in models]
    for asked in models:
        asked.rows.clear()
    return counts


def test_they_say_their_mean_and_are_asked_once(models, batch):
    teachers = Teachers(models)
    expected = single(models, batch).mean(1)
    for counts in ([16] * 3, [0] * 3):
        torch.testing.assert_close(teachers.goal(batch, LABELS, INDEX).exp(), expected)
        assert asked_of(models) == counts
    other = {k: v[:4] for k, v in make_batch((9, 9, 4, 6), seed=1).items()}
    beyond = torch.tensor([INDEX[0], 70, 41, INDEX[3]])
    goal = teachers.goal(other, LABELS[:4], beyond).exp()
    assert asked_of(models) == [2] * 3, "the new ones"
    torch.testing.assert_close(goal[[0, 3]], expected[[0, 3]])
    torch.testing.assert_close(goal[[1, 2]], single(models, other).mean(1)[[1, 2]])


def test_of_altered_texts_nothing_is_remembered(models, batch):
    teachers, trusted = Teachers(models), torch.arange(16) % 4 > 0
    altered = {**batch, "input_ids": batch["input_ids"].flip(0)}
    goal = teachers.goal(altered, LABELS, INDEX, trusted)
    torch.testing.assert_close(goal.exp(), single(models, altered).mean(1))
    asked_of(models)
    goal = teachers.goal(batch, LABELS, INDEX, trusted)
    assert asked_of(models) == [4] * 3, "the altered ones again"
    torch.testing.assert_close(goal[~trusted].exp(), single(models, batch).mean(1)[~trusted])
    torch.testing.assert_close(goal[trusted].exp(), single(models, altered).mean(1)[trusted])
    teachers.goal(batch, LABELS, INDEX)
    assert asked_of(models) == [4] * 3, "of which nothing is known"


def test_one_is_drawn_for_each_altered_text_and_all_say_their_mean_of_the_others(models, batch):
    torch.manual_seed(0)
    teachers, trusted = Teachers(models, sampled=True), torch.arange(16) % 2 > 0
    each = single(models, batch)
    drawn = [teachers.goal(batch, LABELS, INDEX, trusted).exp() for _ in range(300)]
    assert sum(asked_of(models)) == 3 * 8 + 300 * 8
    for goal in drawn[:20]:
        torch.testing.assert_close(goal[trusted], each.mean(1)[trusted])
        assert (goal[:, None] - each)[~trusted].abs().sum(-1).amin(1).max() < 1e-5, "somebody's"
    error = (torch.stack(drawn).mean(0) - each.mean(1))[~trusted].abs()
    assert (error < 4 * each.std(1, correction=0)[~trusted] / 300**0.5).all(), "their mean, drawn"


def test_without_an_index_nothing_is_remembered(models, batch):
    teachers = Teachers(models, sampled=True)
    for _ in range(2):
        teachers.goal(batch, LABELS)
        assert sum(asked_of(models)) == 16


def test_texts_without_a_label_have_no_row(models, batch):
    labels = LABELS.where(LABELS > 0, -100)
    expected = single(models, batch).mean(1)[labels > 0]
    for index in (INDEX, None):
        torch.testing.assert_close(Teachers(models).goal(batch, labels, index).exp(), expected)


def test_a_new_training_asks_again(batch):
    model = prune(make_model("bert"), "none").train()
    teachers = Teachers([model])
    teachers.start(CPU)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    before = teachers.goal(batch, LABELS, INDEX)
    for parameter in model.parameters():
        parameter.mul_(1.5)
    torch.testing.assert_close(teachers.goal(batch, LABELS, INDEX), before)
    teachers.start(CPU)
    assert not torch.allclose(teachers.goal(batch, LABELS, INDEX), before)
