from __future__ import annotations

import pytest
import torch
from tiny import LENGTHS, SPECIAL, make_batch, make_model

from tsdtp.models import PrunedClassifier, prune
from tsdtp.models.attribution import layer_conductance, signed_conductance
from tsdtp.packing import pack

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


def attribute(teacher, batch, layer: int = 0, **arguments) -> torch.Tensor:
    """[B, S] of one layer."""
    settings = {"mask_id": MASK_ID, "layers": [layer], **arguments}
    return layer_conductance(teacher, **batch, **settings)[..., layer]


def one(ids: list[int]) -> dict:
    return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()}


def test_a_path_has_parts(batch):
    with pytest.raises(ValueError, match="steps=0: valid is 1 or more"):
        attribute(random_teacher(), batch, steps=0)


def test_all_of_it_falls_on_the_one_word_that_decides():
    teacher = teacher_that_reads_one_word()
    shares = attribute(teacher, one([0, 10, 11, DECISIVE, 12, SPECIAL]))
    assert shares[0].tolist() == pytest.approx([0, 0, 0, 1, 0, 0], abs=1e-5)


def test_two_words_of_the_same_weight_share_it():
    teacher = teacher_that_reads_one_word()
    shares = attribute(teacher, one([0, TWIN, 11, DECISIVE, 12, SPECIAL]))
    assert shares[0].tolist() == pytest.approx([0, 0.5, 0, 0.5, 0, 0], abs=1e-5)


def test_blocks_are_told_apart_and_those_not_asked_for_hold_nothing(batch):
    teacher = random_teacher()
    flow = layer_conductance(teacher, **batch, mask_id=MASK_ID, layers=[0, 2])
    assert flow.shape == (*batch["input_ids"].shape, 4)
    assert not torch.allclose(flow[..., 0], flow[..., 2], atol=0.01)
    assert (flow[..., [1, 3]] == 0).all()
    torch.testing.assert_close(flow[..., 2], attribute(teacher, batch, layer=2))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_what_flows_through_all_tokens_is_what_the_path_changes(layer):
    """Completeness: the parts, protected tokens' included, sum to the change of the margin."""
    teacher, batch = random_teacher(), one([0, 10, 11, DECISIVE, 12, SPECIAL])
    ids = pack(batch["input_ids"], batch["attention_mask"])
    parts = signed_conductance(teacher, ids, None, None, MASK_ID, [layer], steps=200)
    masked = torch.tensor([[0, *[MASK_ID] * 4, SPECIAL]])
    logits = [teacher(input_ids=x).logits[0] for x in (batch["input_ids"], masked)]
    goal = logits[0].argmax()
    margins = [(x[goal] - x[1 - goal]).item() for x in logits]
    assert parts[:, layer].sum().item() == pytest.approx(margins[0] - margins[1], rel=0.02)


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


def test_what_a_classifier_says_is_explained_whatever_the_labels(batch):
    # Of two classes both have the same margin but for the sign.
    teacher = prune(make_model("bert", num_labels=3), "none", special_ids=[SPECIAL]).eval()
    expected = attribute(teacher, batch)
    for label in range(3):
        labels = torch.full((len(LENGTHS),), label)
        assert torch.equal(attribute(teacher, {**batch, "labels": labels}), expected)


def test_more_steps_converge_as_trapezoids_do(batch):
    """Rectangles have a fifth of the error left at sixteen steps."""
    teacher = random_teacher()
    exact = attribute(teacher, batch, steps=64)
    errors = [(attribute(teacher, batch, steps=n) - exact).abs().sum() for n in (1, 16)]
    assert errors[1] < errors[0] / 20


def test_a_padding_token_that_ends_a_text_is_none_of_it():
    teacher = random_teacher("gpt2")
    teacher.config.pad_token_id = SPECIAL
    batch = make_batch((9, 6))
    text = {name: rows[:1, :8] for name, rows in batch.items()}
    expected = attribute(teacher, text, layer=1)
    ended = attribute(teacher, batch, layer=1)[:1]
    torch.testing.assert_close(ended[:, :8], expected)
    assert (ended[:, 8:] == 0).all() and expected.sum() > 0


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


def test_certainty_of_several_classes_is_the_log_odds_of_the_goal(batch):
    model = prune(make_model("bert", num_labels=4), "none", special_ids=[SPECIAL]).eval()
    goal = torch.arange(len(batch["input_ids"]))[:, None] % 4
    odds = model(**batch).logits.softmax(-1).gather(-1, goal).squeeze(-1).logit()
    torch.testing.assert_close(model.certainty(model.encode(**batch), goal), odds)
