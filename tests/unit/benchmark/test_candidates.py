"""A model made in Python is measured as a cell of the command line is; no wall time is asserted."""

from __future__ import annotations

import pytest
import torch
from tiny import make_batch, make_model

import tsdtp
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.models.budget import spent_ratio

TEXTS = ["a film with a plot", "so so", "dull and long and dull", "fine"]
QUICK = {"rounds": 2, "min_time": 0, "threads": 1}


@pytest.mark.parametrize("training", [True, False])
def test_three_candidates_are_measured_and_the_model_stays_as_it_was(training):
    model = tsdtp.prune(make_model("bert"), "topk", fraction=0.5, execution="masked")
    model.train(training)
    batches = [make_batch(), make_batch((40, 5), seed=1)]
    measured = tsdtp.measure_speed(model, batches, **QUICK)
    assert measured["flops_ratio"] == spent_ratio(model, batches)
    assert measured["speed"]["examples"] == 8 and measured["speed"]["vs_hf"] > 0
    assert measured["speed"]["batch_size"] == 6, "of the larger batch"
    memory = measured["memory"]
    assert memory["peak_mib"] < memory["hf_peak_mib"] and memory["vs_packed"] > 1
    assert model.training is training and model.execution == "masked"


def test_texts_come_in_batches_of_the_size_asked_for():
    tokenizer = train_tokenizer(TEXTS, 100)
    model = tsdtp.prune(make_model("bert"), "topk", fraction=0.5, tokenizer=tokenizer)
    speed = tsdtp.measure_speed(model, TEXTS, tokenizer, batch_size=2, **QUICK)["speed"]
    assert (speed["examples"], speed["batch_size"], speed["dtype"]) == (4, 2, "float32")
    per_batch = 1e-3 * speed["latency_ms"] * speed["examples_per_second"]
    assert per_batch == pytest.approx(2), "two batches of two texts"
    with pytest.raises(ValueError, match="texts need their tokenizer"):
        tsdtp.measure_speed(model, TEXTS)
    with pytest.raises(ValueError, match="batch_size=0: valid is 1 or more"):
        tsdtp.measure_speed(model, TEXTS, tokenizer, batch_size=0)
    with pytest.raises(ValueError, match="a compiled model cannot be taken apart"):
        tsdtp.measure_speed(torch.compile(model), TEXTS, tokenizer)  # pyright: ignore
