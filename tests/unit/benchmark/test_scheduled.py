from __future__ import annotations

import pytest
import torch
from tiny import SPECIAL, make_batch, make_model

from tsdtp.benchmark.scheduled import Scheduled
from tsdtp.models import PrunedClassifier
from tsdtp.pruning import find_method

SCHEDULE = (1.0, 0.5, 0.5, 0.25)


def scheduled(method, schedule=SCHEDULE, **arguments):
    torch.manual_seed(0)
    pruner = Scheduled(find_method(method)(4, 32, layers=(1, 2, 3), **arguments), schedule)
    return PrunedClassifier(make_model("bert"), pruner, special_ids=[SPECIAL]).eval()


@pytest.mark.parametrize("method", ["topk", "dtp", "ts_dtp", "tome", "ltp", "cls_attention"])
def test_as_many_tokens_stay_as_the_schedule_says(method):
    batch = make_batch((40, 20, 2, 1))
    with torch.inference_mode():
        out = scheduled(method)(**batch)
    assert out.tokens_kept.T.tolist() == [
        [40, 20, 2, 1],
        [20, 10, 2, 1],
        [20, 10, 2, 1],
        [10, 5, 2, 1],
    ]
    assert out.logits.isfinite().all()


def test_the_scoring_is_paid_for_in_the_layers_that_drop():
    model = scheduled("ts_dtp", own_attention=True)
    assert [model.pruner.prunes(layer) for layer in range(4)] == [False, True, False, True]
    assert model.pruner.needs_attention
    lengths = torch.tensor([10])
    assert model.pruner.flops(1, lengths) == model.pruner.method.flops(1, lengths) > 0


def test_what_the_schedule_drops_is_fused_where_the_method_fuses():
    batch = make_batch((40, 20))
    with torch.inference_mode():
        lost, fused = (scheduled("ts_dtp", fuse=way)(**batch) for way in (None, "similar"))
    assert torch.equal(lost.tokens_kept, fused.tokens_kept)
    assert not torch.allclose(lost.logits, fused.logits, atol=1e-4)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ((1.0, 0.5), "valid are 4 fractions, one a block"),
        ((1.0, 0.5, 0.6, 0.5), r"valid are fractions in \(0, 1\], none larger"),
        ((1.0, 0.5, 0.5, 0.0), r"valid are fractions in \(0, 1\]"),
        ((0.5, 0.5, 0.5, 0.5), r"drop after \[1, 2, 3\], as TopK does, not \[0\]"),
    ],
)
def test_other_schedules_say_what_is_valid(schedule, message):
    with pytest.raises(ValueError, match=message):
        scheduled("topk", schedule)
