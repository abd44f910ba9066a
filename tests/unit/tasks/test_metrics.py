from __future__ import annotations

import pytest
import torch

from tsdtp.models import PrunedOutput
from tsdtp.models.cost import EncoderShape
from tsdtp.models.decoder_cost import DecoderShape
from tsdtp.pruning import find_method
from tsdtp.tasks.metrics import PruningCost, TranslationCost

SHAPE = EncoderShape(num_layers=2, hidden_size=4, intermediate_size=8, num_heads=2)


def block(entering: int, staying: int) -> int:
    """FLOPs of one block for one sequence, by hand."""
    return 8 * entering * 4**2 + 4 * entering**2 * 4 + 4 * staying * 4 * 8


def metric(method: str = "none", **arguments) -> PruningCost:
    sizes = (SHAPE.num_layers, SHAPE.hidden_size)
    return PruningCost(SHAPE, find_method(method)(*sizes, **arguments))


def output(entered, kept, kept_layers) -> PrunedOutput:
    return PrunedOutput(
        tokens_entered=torch.tensor(entered),
        tokens_kept=torch.tensor(kept),
        kept_layers=torch.tensor(kept_layers),
    )


# Two sequences of 4 and 2 tokens; the first loses two tokens, one in each block.
OUTPUT = output([4, 2], [[3, 2], [2, 2]], [[2, 2, 1, 0], [2, 2, 0, 0]])
ELIGIBLE = torch.tensor([[0, 1, 1, 1], [0, 1, 0, 0]]).bool()
FULL = 2 * block(4, 4) + 2 * block(2, 2)
SPENT = block(4, 3) + block(3, 2) + 2 * block(2, 2)


def test_flops_and_tokens():
    cost = metric()
    cost.update(OUTPUT, ELIGIBLE, None)
    assert cost.compute() == {
        "n": 2,
        "flops_per_example": SPENT / 2,
        "flops_ratio": pytest.approx(SPENT / FULL),
        "tokens_kept": pytest.approx([5 / 6, 4 / 6]),
    }


def test_batches_are_summed_not_averaged():
    cost = metric()
    cost.update(OUTPUT, ELIGIBLE, None)
    cost.update(output([1], [[1, 1]], [[2]]), torch.zeros(1, 1).bool(), None)
    result = cost.compute()
    one = 2 * block(1, 1)
    assert cost.examples == 3
    assert result["flops_ratio"] == pytest.approx((SPENT + one) / (FULL + one))
    assert result["tokens_kept"] == pytest.approx([6 / 7, 5 / 7])


def test_scoring_is_spent_too():
    cost, plain = metric("topk", layers=(0, 1)), metric()
    for each in (cost, plain):
        each.update(output([4], [[4, 4]], [[2] * 4]), ELIGIBLE[:1], None)
    extra = cost.compute()["flops_per_example"] - plain.compute()["flops_per_example"]
    assert extra == 2 * (2 * 2 * 4**2), "two layers, two heads, four tokens"


def test_how_well_the_kept_tokens_match():
    """Of the eligible tokens two stay to the end; one of the two decisive ones is among them."""
    cost = metric()
    decisive = torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0]]).bool()  # a special token does not count
    cost.update(OUTPUT, ELIGIBLE, decisive)
    result = cost.compute()
    assert result["keep_precision"] == pytest.approx(1 / 2)
    assert result["keep_recall"] == pytest.approx(1 / 2)


def test_nothing_kept_is_no_division_by_zero():
    cost = metric()
    gone = output([4], [[1, 1]], [[2, 0, 0, 0]])
    cost.update(gone, ELIGIBLE[:1], torch.tensor([[0, 1, 0, 0]]).bool())
    assert cost.compute()["keep_precision"] == 0
    assert cost.compute()["keep_recall"] == 0


def test_a_decoder_attends_to_the_tokens_that_the_last_block_leaves():
    """Targets of 2 and 1 tokens, of the sources of 4 and 2 tokens that leave 2 each."""
    decoder = DecoderShape(1, 4, 8, attention_size=4, vocab_size=10)
    cost = TranslationCost(SHAPE, decoder, find_method("none")(2, 4))
    cost.update(OUTPUT, ELIGIBLE, None)
    cost.add_targets(OUTPUT, torch.tensor([[5, 6], [7, -100]]))

    def cross(source: int, target: int) -> int:
        keys_and_values, queries_and_outputs = 2 * 2 * source * 4 * 4, 2 * 2 * target * 4 * 4
        return keys_and_values + queries_and_outputs + 2 * 2 * source * target * 4

    def own(target: int) -> int:
        pairs = target * (target + 1) // 2
        return 2 * target * (4 * 4 * 4 + 2 * 4 * 8 + 4 * 10) + 2 * 2 * pairs * 4

    written = own(2) + own(1)
    spent, full = cross(2, 2) + cross(2, 1), cross(4, 2) + cross(2, 1)
    everything = (SPENT + spent + written) / (FULL + full + written)
    found = cost.compute()
    assert found["flops_ratio"] == pytest.approx(SPENT / FULL)
    assert found["translation_flops_ratio"] == pytest.approx(everything)
    assert found["cross_attention_flops_ratio"] == pytest.approx(spent / full)


def test_reset_and_no_weights_of_its_own():
    cost = metric("ts_dtp")
    assert not list(cost.parameters())
    cost.update(OUTPUT, ELIGIBLE, None)
    spent = cost.spent.clone()
    cost.reset()
    assert (cost.examples, cost.spent) == (0, 0)
    for cast in (cost.bfloat16(), cost.to(torch.float16)):
        assert cast.spent.dtype == torch.float64
        cast.update(OUTPUT, ELIGIBLE, None)
        assert cast.spent == spent
        cast.reset()
        assert cast.spent.dtype == torch.float64
