"""What every method in configs/pruning promises: a new yaml is tested unasked."""

from __future__ import annotations

import inspect

import pytest
import torch
from methods import BUDGET, METHODS, build_pruner, calibrated
from tiny import CAUSAL_FAMILIES, FAMILIES, LENGTHS, PAD, RELATIVES, SPECIAL, make_batch, make_model

from tsdtp.models import PrunedClassifier, families, prune
from tsdtp.models.budget import spent_ratio


def build(method: str, family: str, dtype=torch.float32, budget: float = BUDGET):
    return calibrated(PrunedClassifier, make_model, method, family, budget).to(dtype)


@pytest.fixture(params=METHODS)
def method(request) -> str:
    return request.param


def outputs(model, batch, execution):
    model.execution = execution
    with torch.inference_mode():
        return model(**batch)


def test_packed_equals_masked(method, family, batch):
    model = build(method, family)
    packed, masked = (outputs(model, batch, e) for e in ("packed", "masked"))
    assert torch.equal(packed.kept_layers, masked.kept_layers)
    torch.testing.assert_close(packed.logits, masked.logits, atol=1e-4, rtol=0)


def test_packed_equals_masked_where_the_head_averages(method, batch):
    model = build(method, "bert")
    model.pooling = "mean"
    packed, masked = (outputs(model, batch, e) for e in ("packed", "masked"))
    assert torch.equal(packed.kept_layers, masked.kept_layers)
    torch.testing.assert_close(packed.logits, masked.logits, atol=1e-4, rtol=0)
    drops = model.pruner.search is not None and model.pruner.layers
    assert (packed.tokens_kept[:, -1] < packed.tokens_entered).any() == bool(drops)


def test_packed_follows_masked_in_bfloat16(method, family, batch):
    """Rounding differs with a product's shape: a token on the threshold may go either way."""
    model = build(method, family, torch.bfloat16)
    packed, masked = (outputs(model, batch, e) for e in ("packed", "masked"))
    same = (packed.kept_layers == masked.kept_layers).flatten(1).all(1)
    assert packed.logits.dtype == torch.bfloat16
    assert (packed.kept_layers != masked.kept_layers).float().mean() < 0.05
    torch.testing.assert_close(packed.logits[same], masked.logits[same], atol=0.1, rtol=0.05)


@pytest.mark.parametrize("execution", ["packed", "masked"])
def test_alone_as_in_any_batch_at_any_padding(method, family, batch, execution):
    model = build(method, family)
    together = outputs(model, batch, execution)
    padded = outputs(model, make_batch(width=40), execution)
    assert torch.equal(padded.kept_layers[:, :24], together.kept_layers)
    torch.testing.assert_close(padded.logits, together.logits, atol=1e-5, rtol=0)
    for row, n in enumerate(LENGTHS):
        one = {k: v[row : row + 1, :n] for k, v in batch.items()}
        alone = outputs(model, one, execution)
        assert torch.equal(alone.kept_layers[0], together.kept_layers[row, :n])
        torch.testing.assert_close(alone.logits[0], together.logits[row], atol=1e-4, rtol=0)


def test_padding_may_stand_on_the_left(method, batch):
    model = build(method, "bert")
    right = outputs(model, batch, "packed")
    left = {k: v.clone() for k, v in batch.items()}
    for row, n in enumerate(LENGTHS):
        left["input_ids"][row] = PAD
        left["attention_mask"][row] = 0
        left["input_ids"][row, 24 - n :] = batch["input_ids"][row, :n]
        left["attention_mask"][row, 24 - n :] = 1
    torch.testing.assert_close(outputs(model, left, "packed").logits, right.logits)


def test_types_of_tokens_mean_what_they_mean_to_the_plain_model(family, batch):
    plain = make_model(family)
    if "token_type_ids" not in inspect.signature(type(plain).forward).parameters:
        pytest.skip(f"{family} knows no types")
    typed = {**batch, "token_type_ids": torch.arange(24).expand(6, 24) % 2}
    expected = plain(**typed).logits
    out = outputs(build("none", family), typed, "packed")
    torch.testing.assert_close(out.logits, expected, atol=1e-4, rtol=0)
    assert not torch.allclose(plain(**batch).logits, expected)


def test_a_text_beyond_the_positions_is_refused_before_it_is_read(family):
    model = build("topk", family)
    if model.family.rotary is not None:
        logits = outputs(model, make_batch((70,)), "packed").logits
        assert torch.isfinite(logits).all(), "angles have no end"
        return
    n = 62 if family == "roberta" else 64  # which leaves two positions to padding
    for execution in ("packed", "hf"):
        assert torch.isfinite(outputs(model, make_batch((n,)), execution).logits).all()
    with pytest.raises(ValueError, match=rf"{n + 1} tokens: valid are 1 to {n}"):
        outputs(model, make_batch((n + 1,)), "packed")


def test_what_must_stay_stays(method, family, batch):
    model = build(method, family)
    out = outputs(model, batch, "packed")
    kept = out.tokens_kept
    special = batch["attention_mask"].bool() & (batch["input_ids"] == SPECIAL)
    assert (out.kept_layers[special] == 4).all(), "a special token went"
    assert (out.kept_layers[:, 0] == 4).all(), "a first token went"
    assert (kept >= 1).all()
    assert (out.lengths.diff(dim=0) <= 0).all(), "a token came back"
    assert (out.kept_layers[~batch["attention_mask"].bool()] == 0).all()
    recount = torch.stack([(out.kept_layers > layer).sum(1) for layer in range(4)], 1)
    assert torch.equal(kept, recount)


@pytest.mark.parametrize("execution", ["packed", "masked"])
@pytest.mark.parametrize("causal", CAUSAL_FAMILIES)
def test_the_token_that_a_decoders_head_reads_stays(causal, execution, batch):
    """Whatever is strict, and whether a text ends with a special token or not."""
    model = prune(make_model(causal), "topk", fraction=0.0, special_ids=[])
    out, last = outputs(model, batch, execution), batch["attention_mask"].sum(1) - 1
    assert (out.kept_layers[torch.arange(len(last)), last] == 4).all()
    assert out.tokens_kept[:, -1].sum() < out.tokens_entered.sum()


def test_deterministic_in_evaluation(method, family, batch):
    model = build(method, family)
    first, second = outputs(model, batch, "packed"), outputs(model, batch, "packed")
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(first.kept_layers, second.kept_layers)


def check_spent(method: str, family: str, budget: float) -> None:
    model = build(method, family, budget=budget)
    if model.pruner.search is None:
        pytest.skip(f"{method} has no budget to honour")
    off = max(0.03, model.pruner.resolution)  # a block more or less is a whole step
    if method == "tome":  # each sequence loses a whole number of tokens
        off = 0.04
    batches = [make_batch(seed=s) for s in range(4)]
    assert spent_ratio(model, batches) == pytest.approx(budget, abs=off)


def test_budget_is_spent(method, family):
    check_spent(method, family, BUDGET)


@pytest.mark.parametrize("budget", [0.8, 0.5])
def test_other_budgets_too(method, budget):
    check_spent(method, "bert", budget)


def test_every_parameter_learns(method, family, batch):
    model = build(method, family).train()
    if not [p for p in model.pruner.parameters() if p.requires_grad]:
        pytest.skip(f"{method} has nothing to train")
    model.execution = None
    out = model(**batch, labels=torch.tensor([0, 1, 0, 1, 0, 1]))
    out.loss.backward()
    silent = [
        name
        for name, p in model.pruner.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0)
    ]
    assert not silent


def test_modernbert_turns_in_single_precision_and_goes_on_in_half(batch):
    """As its own code does; flash attention takes half precision alone."""
    model, seen = build("none", "modernbert"), []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model.encode(batch["input_ids"], batch["attention_mask"], cache=seen)
    assert {x.dtype for block in seen for x in (block.key, block.value)} == {torch.bfloat16}


@pytest.mark.parametrize("execution", ["packed", "masked"])
def test_trains_in_mixed_precision(method, family, batch, execution):
    """Weights in float32, products in bfloat16: a method may not mix the two in one tensor."""
    model = build(method, family).train()
    model.execution = execution
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch, labels=torch.tensor([0, 1, 0, 1, 0, 1])).loss
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert loss.isfinite() and grads and all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize("execution", ["packed", "masked"])
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_dead_rows_leave_gradients_finite_in_float16(family, batch, execution):
    """Of a row of zeros a layer norm's gradient is beyond its range."""
    assert sum(LENGTHS) % 8, "rows are rounded up"
    model = build("topk", family, torch.float16).train()
    model.execution = execution
    model(**batch, labels=torch.tensor([0, 1, 0, 1, 0, 1])).loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads and all(g.isfinite().all() for g in grads)


def test_the_task_loss_alone_reaches_the_pruner(method, batch):
    """The gates are differentiable: no auxiliary loss is needed for a gradient."""
    model = build(method, "bert").train()
    if not [p for p in model.pruner.parameters() if p.requires_grad]:
        pytest.skip(f"{method} has nothing to train")
    model.auxiliary_weight, model.execution = 0.0, None
    model(**batch, labels=torch.tensor([0, 1, 0, 1, 0, 1])).loss.backward()
    total = sum(p.grad.abs().sum() for p in model.pruner.parameters() if p.grad is not None)
    assert total > 0


@pytest.mark.parametrize("pooling", [None, "mean"])
def test_full_keep_is_the_plain_model(method, family, batch, pooling):
    """In float64: float32 products differ by as much as 1e-5 where a CPU has shorter vectors."""
    model = build(method, family, torch.float64)
    model.pooling = pooling or model.own_pooling
    model.pruner.strictness.fill_(model.pruner.keep_all)
    plain = outputs(model, batch, "hf").logits
    if pooling is None:
        with torch.inference_mode():
            torch.testing.assert_close(model.hf_model(**batch).logits, plain)
    for execution in ("packed", "masked"):
        logits = outputs(model, batch, execution).logits
        torch.testing.assert_close(logits, plain, atol=1e-5, rtol=0)


def test_a_padding_token_within_a_text_stands_where_the_plain_model_has_it(family):
    """As a tokenizer gives one for the word itself, "<pad>"."""
    model, batch = build("none", family), make_batch((9, 6, 9))
    batch["input_ids"][1:, 3] = PAD
    assert batch["attention_mask"][1, 3] == 1
    plain, packed = (outputs(model, batch, execution).logits for execution in ("hf", "packed"))
    torch.testing.assert_close(packed, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("length", range(4, 9))
def test_a_window_as_long_as_the_text_is_the_plain_models(length):
    """Of ModernBERT's local blocks, which see four tokens to either side here."""
    model, batch = build("none", "modernbert"), make_batch((length,))
    packed, plain = (outputs(model, batch, e).logits for e in ("packed", "hf"))
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=0)


def test_state_dict_round_trip(method, family, batch, tmp_path):
    model = build(method, family)
    expected = outputs(model, batch, "packed").logits
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = PrunedClassifier(make_model(family, seed=7), build_pruner(method), special_ids=[2])
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(outputs(other.eval(), batch, "packed").logits, expected)


def test_weights_keep_their_names(method, family):
    plain, model = make_model(family), build(method, family)
    missing, unexpected = plain.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    assert all(name.startswith("pruner.") for name in unexpected)


@pytest.mark.parametrize("lengths", [(12,), (1,), (2, 1), (2, 2)])
def test_small_batches(method, family, lengths):
    """A batch of one, a sequence of one, and sequences of special tokens alone."""
    batch = make_batch(lengths)
    model = build(method, family)
    packed, masked = (outputs(model, batch, e) for e in ("packed", "masked"))
    assert torch.isfinite(packed.logits).all()
    torch.testing.assert_close(packed.logits, masked.logits, atol=1e-4, rtol=0)
    if max(lengths) <= 2:
        assert torch.equal(packed.tokens_kept[:, -1], torch.tensor(lengths))


def test_notebook_prunes_nothing(family):
    model = build("ts_dtp_notebook", family)
    batch = make_batch((60, 33, 5, 48), seed=3)
    out = outputs(model, batch, "packed")
    assert torch.equal(out.tokens_kept[:, -1], out.tokens_entered)
    assert spent_ratio(model, [batch]) > 1, "its scoring is not free"


def test_reference_attention_agrees(method, batch):
    model = build(method, "bert")
    padded = outputs(model, batch, "packed")
    model.backend = "reference"
    loop = outputs(model, batch, "packed")
    assert torch.equal(padded.kept_layers, loop.kept_layers)
    torch.testing.assert_close(padded.logits, loop.logits, atol=1e-5, rtol=0)


def test_every_family_is_here():
    assert sorted(families.FAMILIES) == sorted((*FAMILIES, *RELATIVES))  # test_relatives.py
