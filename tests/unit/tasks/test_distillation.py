from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import PAD, SPECIAL, make_batch

from tsdtp.tasks.distillation import (
    TRUSTED,
    altered,
    cross_entropy,
    divergence,
    mean_prediction,
)

STRUCTURE = torch.tensor([0, PAD, SPECIAL])


def wide_batch(rows: int = 400) -> dict:
    torch.manual_seed(0)
    return make_batch((20, 6) * (rows // 2))


def test_half_of_the_texts_are_altered_and_they_alone():
    batch = wide_batch()
    out = altered(batch, STRUCTURE, 0.3)
    changed = (out["input_ids"] != batch["input_ids"]).any(1)
    assert not changed[out[TRUSTED]].any()
    assert (~out[TRUSTED]).float().mean() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(out["attention_mask"], batch["attention_mask"])


def test_so_many_words_of_an_altered_text_change():
    batch = wide_batch()
    out = altered(batch, STRUCTURE, 0.3)
    words = batch["attention_mask"].bool() & ~torch.isin(batch["input_ids"], STRUCTURE)
    row = ~out[TRUSTED]
    different = (out["input_ids"] != batch["input_ids"])[row][words[row]]
    assert different.float().mean() == pytest.approx(0.3, abs=0.03)


def test_structure_stays_and_words_come_from_the_batch():
    batch = wide_batch(40)
    out = altered(batch, STRUCTURE, 1.0)
    fixed = torch.isin(batch["input_ids"], STRUCTURE)
    assert torch.equal(out["input_ids"][fixed], batch["input_ids"][fixed])
    assert not torch.isin(out["input_ids"][~fixed], STRUCTURE).any()
    assert torch.isin(out["input_ids"], batch["input_ids"].unique()).all()


@pytest.mark.parametrize("lengths", [(2, 1), (1,)])
def test_texts_without_a_word_stay_as_they_are(lengths):
    batch = make_batch(lengths)
    out = altered(batch, STRUCTURE, 1.0)
    assert torch.equal(out["input_ids"], batch["input_ids"]) and out[TRUSTED].all()


@pytest.mark.parametrize("shape", [(4,), (4, 5)])
def test_labels_of_altered_rows_do_not_count(shape):
    torch.manual_seed(0)
    logits, labels = torch.randn(*shape, 3), torch.randint(3, shape)
    labels.view(-1)[1] = -100
    trusted = torch.tensor([True, False, True, False])
    chosen = (labels >= 0) & trusted.view(-1, *[1] * (len(shape) - 1))
    expected = F.cross_entropy(logits[chosen], labels[chosen], label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy(logits, labels, trusted, 0.1), expected)
    whole = F.cross_entropy(logits[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(cross_entropy(logits, labels, None, 0.0), whole)
    assert cross_entropy(logits, labels, torch.zeros(4).bool(), 0.0) == 0


def test_several_teachers_say_what_they_say_on_average():
    logits = torch.randn(3, 5, 4)
    mean = mean_prediction(list(logits), 2.0).exp()
    torch.testing.assert_close(mean, (logits / 2).softmax(-1).mean(0))
    torch.testing.assert_close(mean.sum(-1), torch.ones(5))


def test_there_is_no_divergence_of_nothing():
    assert divergence(torch.zeros(0, 4), torch.zeros(0, 4), 2.0) == 0


def test_there_is_no_divergence_from_oneself():
    logits = torch.randn(5, 4)
    assert divergence(logits, mean_prediction([logits], 2.0), 2.0) == pytest.approx(0, abs=1e-6)
    assert divergence(logits, mean_prediction([-logits], 2.0), 2.0) > 0.1
