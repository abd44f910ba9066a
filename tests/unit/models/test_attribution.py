from __future__ import annotations

import pytest
import torch
from tiny import LENGTHS, SPECIAL, make_batch, make_model

from tsdtp.models import PrunedClassifier, prune
from tsdtp.models.attribution import integrated_gradients

MASK_ID, DECISIVE, TWIN = 3, 42, 43


def random_teacher(family: str = "bert") -> PrunedClassifier:
    return prune(make_model(family), "none", special_ids=[SPECIAL]).eval()


def teacher_that_reads_one_word() -> PrunedClassifier:
    """Blocks that only normalise, and all words but two look like [MASK]: they cannot matter."""
    model = make_model("bert")
    embeddings = model.bert.embeddings
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "output.dense" in name or "_embeddings" in name:
                parameter.zero_()
        embeddings.word_embeddings.weight[:] = torch.randn(32)
        embeddings.word_embeddings.weight[[DECISIVE, TWIN]] = torch.randn(32)
        model.bert.pooler.dense.weight.copy_(0.1 * torch.eye(32))
    return prune(model, "none", pooling="mean", special_ids=[SPECIAL]).eval()


def attribute(teacher, batch, **arguments) -> torch.Tensor:
    return integrated_gradients(teacher, **batch, mask_id=MASK_ID, **arguments)


def one(ids: list[int]) -> dict:
    return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()}


def test_all_of_it_falls_on_the_one_word_that_decides():
    teacher = teacher_that_reads_one_word()
    shares = attribute(teacher, one([0, 10, 11, DECISIVE, 12, SPECIAL]))
    assert shares[0].tolist() == pytest.approx([0, 0, 0, 1, 0, 0], abs=1e-5)


def test_two_words_of_the_same_weight_share_it():
    teacher = teacher_that_reads_one_word()
    shares = attribute(teacher, one([0, TWIN, 11, DECISIVE, 12, SPECIAL]))
    assert shares[0].tolist() == pytest.approx([0, 0.5, 0, 0.5, 0, 0], abs=1e-5)


def test_nothing_to_say_is_zero_not_a_number():
    shares = attribute(teacher_that_reads_one_word(), one([0, 10, 11, SPECIAL]))
    assert shares.tolist() == [[0, 0, 0, 0]]


def test_shares_sum_to_one_without_special_tokens_and_padding(batch):
    shares = attribute(random_teacher(), batch)
    ids, mask = batch["input_ids"], batch["attention_mask"].bool()
    assert shares.shape == ids.shape
    assert shares.dtype == torch.float32
    words = mask & (ids != SPECIAL)
    words[:, 0] = False
    assert (shares[~words] == 0).all()
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), words.any(1).float())


def test_the_same_alone_and_in_a_batch(batch):
    teacher = random_teacher()
    together = attribute(teacher, batch)
    for row, n in enumerate(LENGTHS):
        alone = attribute(teacher, {k: v[row : row + 1, :n] for k, v in batch.items()})
        torch.testing.assert_close(alone[0], together[row, :n], atol=1e-4, rtol=0)


def test_more_steps_converge(batch):
    teacher = random_teacher()
    exact = attribute(teacher, batch, steps=64)
    errors = [(attribute(teacher, batch, steps=n) - exact).abs().sum() for n in (1, 4, 16)]
    assert errors[2] < errors[0]


def test_segments_reach_the_model():
    batch = make_batch((8, 6))
    types = torch.ones_like(batch["input_ids"])
    teacher = random_teacher()
    plain, typed = attribute(teacher, batch), attribute(teacher, {**batch, "token_type_ids": types})
    assert not torch.allclose(plain, typed)


def test_the_callers_gradient_mode_does_not_matter(batch):
    teacher = random_teacher()
    expected = attribute(teacher, batch)
    with torch.no_grad():
        assert torch.equal(attribute(teacher, batch), expected)
    assert not expected.requires_grad
    assert all(p.grad is None for p in teacher.parameters())
