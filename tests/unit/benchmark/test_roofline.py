"""Arithmetic of the bound; the machine's own limits are only asked to be there."""

from dataclasses import replace

import pytest
import torch

from tsdtp.benchmark import roofline
from tsdtp.benchmark.activations import activation_bytes
from tsdtp.benchmark.roofline import Limits, Work, bound, encoder_work, measure_limits
from tsdtp.models.cost import EncoderShape, encoder_flops
from tsdtp.pruning import find_method

SHAPE = EncoderShape(num_layers=3, hidden_size=8, intermediate_size=32, num_heads=2)
LENGTHS = torch.tensor([[10, 4], [6, 3], [3, 2], [3, 2]])


def test_an_operation_takes_the_longer_of_arithmetic_and_traffic():
    limits = Limits(flops_per_second=100.0, bytes_per_second=10.0)
    assert Work(flops=200, bytes=10).seconds(limits) == 2
    assert Work(flops=200, bytes=50).seconds(limits) == 5
    assert bound([Work(200, 10), Work(200, 50)], limits) == (7, 60)


@pytest.mark.parametrize(
    "sizes",
    [{"feed_forward_products": 3}, {"attention_size": 12}, {"key_value_share": 0.5}],
    ids=["gated", "other head size", "shared keys and values"],
)
def test_the_work_is_what_the_flops_say_of_any_shape(sizes):
    shape = replace(SHAPE, **sizes)
    work = list(encoder_work(shape, LENGTHS, None, 4))
    assert sum(w.flops for w in work) == encoder_flops(shape, LENGTHS, None).sum()


@pytest.mark.parametrize("method", [None, "topk", "ts_dtp", "depth"])
def test_the_work_is_what_the_flops_say(method):
    pruner = method and find_method(method)(3, 8)
    if method == "depth":
        pruner.strictness.fill_(1 / 3)
    work = list(encoder_work(SHAPE, LENGTHS, pruner, 4))
    assert sum(w.flops for w in work) == encoder_flops(SHAPE, LENGTHS, pruner).sum()


def test_bytes_of_one_layer():
    shape = EncoderShape(num_layers=1, hidden_size=8, intermediate_size=32, num_heads=2)
    lengths = torch.tensor([[3], [2]])
    moved = [w.bytes / 2 for w in encoder_work(shape, lengths, None, 2)]
    assert moved == [
        3 * 8 + 8 * 24 + 3 * 24,  # query, key and value
        4 * 3 * 8,  # attention
        3 * 8 + 8 * 8 + 3 * 8,
        2 * 8 + 8 * 32 + 2 * 32,  # of the two that stay
        2 * 32 + 32 * 8 + 2 * 8,
    ]


def test_activations_shrink_with_the_tokens():
    packed = activation_bytes(SHAPE, LENGTHS, 4)
    assert packed == 14 * 5 * 8 * 4  # around the first attention
    whole = LENGTHS[:1].expand_as(LENGTHS)
    assert activation_bytes(SHAPE, whole, 4) == 14 * (2 * 8 + 32) * 4  # around a feed-forward
    assert activation_bytes(SHAPE, torch.full_like(LENGTHS, 10), 2) == 20 * (2 * 8 + 32) * 2


def test_a_wider_head_or_a_gate_needs_more():
    wide = replace(SHAPE, attention_size=96)
    assert activation_bytes(wide, LENGTHS, 4) == 14 * (8 + 4 * 96) * 4
    gated = replace(SHAPE, feed_forward_products=3)
    assert activation_bytes(gated, LENGTHS, 4) == 9 * (2 * 8 + 64) * 4


def test_a_machine_has_limits():
    limits = measure_limits(SHAPE, torch.device("cpu"), torch.float32, threads=1)
    assert limits.flops_per_second > 0
    assert limits.bytes_per_second > 0


def test_limits_count_two_flops_a_weight_and_bytes_both_read_and_written(monkeypatch):
    seconds = iter([2.0, 4.0])
    monkeypatch.setattr(roofline, "_best", lambda *_: next(seconds))
    monkeypatch.setattr(roofline, "_COPY", 1000)
    limits = measure_limits(SHAPE, torch.device("cpu"), torch.float32, threads=1)
    assert limits.flops_per_second == 2 * 4096 * 8 * 32 / 2
    assert limits.bytes_per_second == 2 * 1000 / 4
