"""What torch's variable-length kernel is given, and what it is spared; it needs a GPU to run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny import layout_of

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
    layout = layout_of(5, 1, 3)
    qkv = torch.randn(3, 9, 2, 4)
    expected, _ = attend(*qkv, layout, causal=causal, backend="reference")
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    monkeypatch.setattr(varlen, "_ONE_SPLIT", one_split)
    monkeypatch.setattr(varlen, "_CAUSAL", {"window_size": (-1, 0)})
    monkeypatch.setattr(varlen, "serves", lambda *_: True)
    more = [torch.cat([x, torch.zeros_like(x[:3])]) for x in qkv]
    context, _ = attend(*more, layout, causal=causal, backend="varlen")
    torch.testing.assert_close(context[:9], expected)
    assert (context[9:] == 0).all()


SERVED = {"device": "cuda", "dtype": torch.bfloat16, "size": 64, "capability": (8, 0)}
SERVED |= {"gate": None, "received": False, "dropout": 0.0, "bias": None, "causal": False}
SERVED |= {"behind": {"window_size": (-1, 0)}}


def served(monkeypatch, **changes) -> bool:
    has = SERVED | changes
    monkeypatch.setattr(varlen, "_CAUSAL", has["behind"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: has["capability"])
    query = SimpleNamespace(
        device=SimpleNamespace(type=has["device"]), dtype=has["dtype"], shape=(4, 2, has["size"])
    )
    asked = (has[key] for key in ("gate", "received", "dropout", "bias", "causal"))
    return varlen.serves(query, *asked)


@pytest.mark.parametrize("changes", [{}, {"causal": True}, {"dtype": torch.float16}, {"size": 256}])
def test_it_serves_half_precision_on_a_gpu(monkeypatch, changes):
    assert served(monkeypatch, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "cpu"},
        {"dtype": torch.float32},
        {"size": 60},
        {"size": 264},
        {"capability": (7, 5)},
        {"gate": torch.ones(4)},
        {"received": True},
        {"dropout": 0.1},
        {"bias": torch.ones(7, 1)},
        {"causal": True, "behind": {}},
    ],
)
def test_what_it_does_not_know_is_left_to_others(monkeypatch, changes):
    assert not served(monkeypatch, **changes)
