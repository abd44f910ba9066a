from __future__ import annotations

import math
import warnings

import pytest
import torch
from tiny import make_batch, make_model

import tsdtp
from tsdtp.models import budget as budgets
from tsdtp.models.budget import packed_evaluation, spent_ratio

BATCHES = [make_batch(seed=s) for s in range(4)]


def pruned(method: str = "topk", **arguments) -> tsdtp.PrunedClassifier:
    return tsdtp.prune(make_model("bert"), method, **arguments)


@pytest.mark.parametrize("method", ["topk", "dtp"])
def test_the_budget_is_met(method):
    model = pruned(method, budget=0.6)
    spent = tsdtp.calibrate(model, BATCHES)
    assert spent == pytest.approx(0.6, abs=0.02)
    assert spent_ratio(model, BATCHES) == pytest.approx(spent)


def test_a_budget_may_be_given_in_place_of_the_pruners():
    model = pruned(budget=0.6)
    assert tsdtp.calibrate(model, BATCHES, budget=0.8) == pytest.approx(0.8, abs=0.02)
    assert model.pruner.budget == 0.6


def test_more_budget_is_less_strict():
    model = pruned("dtp", budget=0.5)
    strictness = []
    for budget in (0.5, 0.65, 0.8):
        tsdtp.calibrate(model, BATCHES, budget)
        strictness.append(model.pruner.strictness.item())
    assert strictness == sorted(strictness, reverse=True)
    assert len(set(strictness)) == 3


def test_batches_may_be_a_generator():
    assert tsdtp.calibrate(pruned(budget=0.6), (b for b in BATCHES)) < 0.63


@pytest.mark.parametrize("method", ["topk", "dtp", "ts_dtp"])
def test_the_whole_budget_keeps_all(method):
    model = pruned(method, budget=1.0)
    spent = tsdtp.calibrate(model, BATCHES)
    assert spent > spent_ratio(pruned("none"), BATCHES), "scoring costs something"
    assert model.pruner.strictness.item() == model.pruner.keep_all
    out = model.eval()(**BATCHES[0])
    assert torch.equal(out.tokens_kept[:, -1], out.tokens_entered)


@pytest.mark.parametrize("method", ["topk", "ltp"])
def test_a_budget_above_what_the_whole_model_spends_keeps_all_at_once(method, monkeypatch):
    model = pruned(method, budget=0.99)
    passes = []
    monkeypatch.setattr(budgets, "spent_ratio", lambda *a: passes.append(a) or spent_ratio(*a))
    assert tsdtp.calibrate(model, BATCHES) < 0.99
    assert model.pruner.strictness.item() == model.pruner.keep_all
    assert len(passes) < 9, "no bisection of what cannot be had"


@pytest.mark.parametrize("method", ["topk", "tome", "dtp"])
def test_of_all_that_was_tried_the_nearest_to_the_budget_is_taken(method, monkeypatch):
    """A few tokens are few steps: no strictness spends just the budget."""
    model, tried = pruned(method, budget=0.6), []
    monkeypatch.setattr(
        budgets, "spent_ratio", lambda *a: tried.append(spent_ratio(*a)) or tried[-1]
    )
    batches = [make_batch((11, 7))]
    spent = tsdtp.calibrate(model, batches, tolerance=0)
    assert spent == spent_ratio(model, batches)
    assert len(set(tried)) > 3 and abs(spent - 0.6) == min(abs(each - 0.6) for each in tried)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"tolerance": float("nan")}, "tolerance=nan, .*: valid are a fraction"),
        ({"tolerance": -1}, "tolerance=-1, .*: valid are a fraction"),
        ({"max_steps": -3}, "max_steps=-3: valid are .* and 0 or more"),
        ({"max_steps": 1.5}, "max_steps=1.5: valid are .* and 0 or more"),
        ({"tolerance": "small"}, "tolerance='small', .*: valid are a fraction"),
        ({"budget": True}, "budget=True: valid is a fraction"),
    ],
)
def test_nonsense_is_refused_before_anything_is_searched(said, message):
    model = pruned(budget=0.6)
    with pytest.raises(ValueError, match=message):
        tsdtp.calibrate(model, BATCHES, **said)
    assert not model.pruner.calibrated


def test_no_batches_spend_nothing_that_could_be_told():
    with pytest.raises(ValueError, match="no batches"):
        spent_ratio(pruned(), [])


def test_an_unreachable_budget_names_the_floor():
    model = pruned(budget=0.1, layers=[2])
    with pytest.raises(ValueError, match=r"pruning.budget=0.1: below .* TopK .* \[2\]") as error:
        tsdtp.calibrate(model, BATCHES)
    floor = float(str(error.value).split("valid: ")[1].split(" to ")[0])
    assert 0.5 < floor < 1
    assert model.pruner.strictness.item() == 0, "as before"
    assert tsdtp.calibrate(model, BATCHES, floor + 0.01) == pytest.approx(floor + 0.01, abs=0.02)


@pytest.mark.parametrize("drift", [100, -100])
def test_a_threshold_follows_scores_that_have_drifted(drift):
    model = pruned("transkimmer", budget=0.6)
    for predictor in model.pruner.predictors.values():
        torch.nn.init.constant_(predictor[-1].bias, drift)
    assert tsdtp.calibrate(model, BATCHES) == pytest.approx(0.6, abs=0.02)
    assert model.pruner.strictness.item() == pytest.approx(drift, abs=2)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("none", "NoPruning has no budget to calibrate to"),
        ("topk", r"TopK was made without a budget; valid: calibrate\(..., budget=0.5\)"),
    ],
)
def test_without_a_budget_there_is_nothing_to_calibrate(method, message):
    with pytest.raises(ValueError, match=message):
        tsdtp.calibrate(pruned(method), BATCHES)
    with pytest.raises(ValueError, match="a plain BertForSequenceClassification; valid: what tsdt"):
        tsdtp.calibrate(make_model("bert"), BATCHES)  # pyright: ignore


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("execution", [None, "masked"])
def test_mode_and_execution_are_restored(training, execution):
    model = pruned(budget=0.6, execution=execution).train(training)
    tsdtp.calibrate(model, BATCHES)
    assert (model.training, model._execution) == (training, execution)
    with pytest.raises(RuntimeError), packed_evaluation(model) as evaluated:
        assert (evaluated.training, evaluated.execution) == (False, "packed")
        assert (model.pruner.training, model._execution) == (False, execution)
        raise RuntimeError
    assert (model.training, model._execution) == (training, execution)


def test_a_calibrated_model_can_still_be_trained():
    """The strictness set under inference mode is no inference tensor."""
    model = pruned("ts_dtp", budget=0.6).train()
    tsdtp.calibrate(model, BATCHES)
    model(**BATCHES[0], labels=torch.zeros(6, dtype=torch.long)).loss.backward()
    model.pruner.strictness.fill_(-math.inf)


@pytest.mark.parametrize("method", ["transkimmer", "ltp", "power_bert"])
def test_what_would_learn_nothing_before_it_is_calibrated_says_so(method):
    labels = torch.zeros(6, dtype=torch.long)

    def most(model) -> float:
        model(**BATCHES[0], labels=labels).loss.backward()
        return max(p.grad.abs().max().item() for p in model.pruner.parameters())

    model = pruned(method, budget=0.6).train()
    with pytest.warns(UserWarning, match="its gates learn nothing; tsdtp.calibrate"):
        assert most(model) == 0
    tsdtp.calibrate(model, BATCHES)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*gates learn nothing")
        assert most(model) > 0
        pruned("topk", budget=0.6).train()(**BATCHES[0])
        pruned(method).train()(**BATCHES[0])
        pruned(method, budget=0.6).eval()(**BATCHES[0])


def test_who_learns_without_gates_is_warned():
    labels = torch.zeros(6, dtype=torch.long)
    model = pruned("transkimmer", execution="packed").train()
    with pytest.warns(UserWarning, match="execution='packed' has no gates, and Transkimmer learns"):
        model(**BATCHES[0], labels=labels)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*has no gates")
        pruned("topk", execution="packed").train()(**BATCHES[0], labels=labels)
        model.pruner.requires_grad_(False)
        model(**BATCHES[0], labels=labels)


def test_totals_weigh_long_sequences_more():
    model = pruned("topk", fraction=0.5).eval()
    short, long = make_batch((4,)), make_batch((40,))
    ratios = [spent_ratio(model, [b]) for b in (short, long)]
    both = spent_ratio(model, [short, long])
    assert abs(both - ratios[1]) < abs(both - ratios[0])


@pytest.mark.parametrize("part", ["pruner.task_attention.0.query", "classifier.weight"])
def test_what_is_no_number_is_no_threshold(part):
    model = pruned("ts_dtp", budget=0.6)
    before = model.pruner.strictness.clone()
    torch.nn.init.constant_(model.get_parameter(part), math.nan)
    with pytest.raises(ValueError, match="no finite numbers|answers are NaN"):
        tsdtp.calibrate(model, BATCHES)
    assert torch.equal(model.pruner.strictness, before)


def test_scores_that_drop_tokens_at_any_threshold_meet_no_budget():
    model = pruned("ts_dtp", budget=0.6)
    with torch.no_grad():
        for weight in model.pruner.parameters():
            weight.fill_(1e30)
    with pytest.raises(ValueError, match="TsDtp drops tokens at any threshold: its scores overf"):
        tsdtp.calibrate(model, BATCHES)


def test_the_strictness_survives_a_batch_that_fails():
    model = pruned("ts_dtp", budget=0.6)
    tsdtp.calibrate(model, BATCHES)
    before = model.pruner.strictness.clone()
    empty = {**BATCHES[0], "attention_mask": torch.zeros_like(BATCHES[0]["attention_mask"])}
    with pytest.raises(ValueError, match="needs at least one token"):
        tsdtp.calibrate(model, [*BATCHES, empty])
    with pytest.raises(ValueError, match="needs at least one token"):
        tsdtp.calibrate(model, [*BATCHES, empty], budget=1.0)
    assert torch.equal(model.pruner.strictness, before)


def test_a_budget_is_met_to_half_a_percent_unless_told():
    batches = [make_batch((40, 31, 22, 37), seed=s) for s in range(4)]
    spent = tsdtp.calibrate(pruned("dtp", budget=0.5), batches)
    assert spent == pytest.approx(0.5, abs=0.005)
