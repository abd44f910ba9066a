"""What torch's variable-length kernel is given, and what it is spared; it needs a GPU to run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tsdtp.attention import attend, varlen
from tsdtp.packing import Layout


@pytest.mark.parametrize("one_split", [{"num_splits": 1}, {}])  # torch 2.12 and later, and before
@pytest.mark.parametrize("causal", [False, True])
def test_the_kernel_gets_live_rows_and_offsets(monkeypatch, one_split, causal):
    """A stand-in with its signature shows what it would be given."""

    def kernel(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, **more):
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
        behind = {"window_size": (-1, 0)} if causal else {}
        assert (max_q, max_k, more) == (5, 5, {**one_split, **behind})
        like = Layout(cu_seq_q.long(), max_q, layout.positions)
        return attend(query, key, value, like, causal=causal, backend="reference")[0]

    torch.manual_seed(0)
    layout = Layout(torch.tensor([0, 5, 6, 9]), 5, torch.tensor([*range(5), 0, *range(3)]))
    qkv = torch.randn(3, 9, 2, 4)
    expected, _ = attend(*qkv, layout, causal=causal, backend="reference")
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    monkeypatch.setattr(varlen, "_ONE_SPLIT", one_split)
    monkeypatch.setattr(varlen, "_CAUSAL", {"window_size": (-1, 0)})
    monkeypatch.setattr(varlen, "obstacle", lambda *_: None)
    more = [torch.cat([x, torch.zeros_like(x[:3])]) for x in qkv]
    context, _ = attend(*more, layout, causal=causal, backend="varlen")
    torch.testing.assert_close(context[:9], expected)
    assert (context[9:] == 0).all()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"device": "cpu"}, "not torch.bfloat16 on cpu"),
        ({"dtype": torch.float32}, "not torch.float32 on cuda"),
        ({"size": 60}, "head size 60"),
        ({"size": 264}, "head size 264"),
        ({"capability": (7, 5)}, "older than compute capability 8.0"),
        ({"gate": torch.ones(4)}, "probabilities"),
        ({"received": True}, "probabilities"),
        ({"dropout": 0.1}, "probabilities"),
        ({"bias": torch.ones(7, 1)}, "no bias"),
        ({"causal": True}, None),
        ({"causal": True, "behind": {}}, "hides no key"),
        ({"kernel": None}, "no torch.nn.attention.varlen"),
    ],
)
def test_what_stands_in_the_way_is_said(monkeypatch, changes, why):
    has = {"device": "cuda", "dtype": torch.bfloat16, "size": 64, "capability": (8, 0)}
    has |= {"kernel": print, "gate": None, "received": False, "dropout": 0.0, "bias": None}
    has |= {"causal": False, "behind": {"window_size": (-1, 0)}} | changes
    monkeypatch.setattr(varlen, "varlen_attn", has["kernel"])
    monkeypatch.setattr(varlen, "_CAUSAL", has["behind"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: has["capability"])
    query = SimpleNamespace(
        device=SimpleNamespace(type=has["device"]), dtype=has["dtype"], shape=(4, 2, has["size"])
    )
    asked = (has[key] for key in ("gate", "received", "dropout", "bias", "causal"))
    found = varlen.obstacle(query, *asked)
    assert found is None if why is None else why in str(found)
