from __future__ import annotations

import math

import pytest
import torch

from tsdtp.pruning import find_method, method_names

THRESHOLDS = ("dtp", "ts_dtp", "ts_dtp_described", "ltp", "power_bert", "transkimmer")
WITH_BUDGET = ("random", "topk", "cls_attention", *THRESHOLDS)
METHODS = ("none", "ts_dtp_notebook", "depth", "tome", *WITH_BUDGET)


def kept(decision) -> list[int]:
    return decision.keep.int().tolist()


def test_methods_are_found_by_their_names():
    assert set(METHODS) <= set(method_names())
    assert not {"base", "fraction", "rules", "scores", "task_attention"} & set(method_names())
    assert find_method("ts_dtp").__name__ == "TsDtp"


@pytest.mark.parametrize("name", ["tsdtp", "base", "fraction"])
def test_an_unknown_method_lists_the_valid_ones(name):
    with pytest.raises(ValueError, match=f"unknown pruning method '{name}'; valid: cls_.*, dtp, "):
        find_method(name)


def test_a_class_that_is_no_whole_method_is_none():
    with pytest.raises(ValueError, match=r"unknown pruning method 'tsdtp.pruning.hybrid.HybridPr"):
        find_method("tsdtp.pruning.hybrid.HybridPruner")


def test_a_method_whose_module_cannot_be_imported_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_method.py").write_text("import nothing_of_that_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = r"pruning method 'broken_method.Mine': .*No module named 'nothing_of_that_name'"
    with pytest.raises(ValueError, match=message):
        find_method("broken_method.Mine")


@pytest.mark.parametrize("budget", [0, -0.5, 1.01, 40, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_budget_is_a_fraction(make, method, budget):
    with pytest.raises(ValueError, match=rf"pruning.budget={budget}: .*\(0, 1\]"):
        make(method, budget=budget)


def test_true_is_no_count(make):
    with pytest.raises(ValueError, match="pruning.task_feature_dim=True: valid is 1 or more"):
        make("ts_dtp", task_feature_dim=True)


@pytest.mark.parametrize("method", ["none", "ts_dtp_notebook"])
def test_a_method_without_a_knob_refuses_a_budget(make, method):
    with pytest.raises(ValueError, match="no budget to set; valid: pruning.budget=null"):
        make(method, budget=0.5)


@pytest.mark.parametrize("method", ["ts_dtp", "transkimmer", "ltp", "power_bert"])
def test_a_part_of_the_training_is_a_fraction(make, method):
    for wrong in (1.5, -0.1, "half", None):
        with pytest.raises(ValueError, match=f"pruning.soft_until={wrong!r}: valid is 0 to 1"):
            make(method, soft_until=wrong)
    assert make(method).learns and not make(method, soft_until=0).learns
    assert not make(method).eval().learns


@pytest.mark.parametrize("method", [*WITH_BUDGET, "ts_dtp_notebook"])
def test_layers(make, method):
    with pytest.raises(ValueError, match=r"pruning.layers=\[-1, 4\]: valid are 0 to 3"):
        make(method, layers=[-1, 2, 4])
    assert make(method, layers=[3, 1, 1]).layers == [1, 3]
    assert make(method).layers == [0, 1, 2], "nobody reads the tokens after the last block"
    assert not make(method).prunes(3)


def test_other_arguments_say_what_is_valid(make):
    with pytest.raises(ValueError, match=r"pruning.fraction=1.5: .*\[0, 1\]"):
        make("topk", fraction=1.5)
    with pytest.raises(ValueError, match="pruning.gamma=0: valid is > 0"):
        make("ts_dtp", gamma=0)


@pytest.mark.parametrize(
    "method, argument, wrong, valid",
    [
        ("ts_dtp", "gamma", float("inf"), "> 0"),
        ("ts_dtp", "gamma", None, "> 0"),
        ("ts_dtp", "task_feature_dim", 2.5, "1 or more"),
        ("ts_dtp", "fuse", ["similar"], "null, "),
        ("ts_dtp_notebook", "gamma", "a", "a finite number"),
        ("ltp", "threshold", float("inf"), "> 0"),
        ("ltp", "rate", "fast", "> 0"),
        ("power_bert", "rate", None, "> 0"),
        ("power_bert", "bins", 2.5, "2 or more"),
        ("transkimmer", "predictor_size", 1.5, "1 or more"),
    ],
)
def test_an_argument_of_another_kind_is_named(make, method, argument, wrong, valid):
    with pytest.raises(ValueError, match=rf"pruning.{argument}=.*: valid (is|are) {valid}"):
        make(method, **{argument: wrong})


@pytest.mark.parametrize("method", WITH_BUDGET)
def test_with_a_budget_nothing_goes_before_calibration(make, state_of, method):
    pruner = make(method, budget=0.5).eval()
    assert pruner.strictness.item() == pruner.keep_all
    assert kept(pruner(state_of([0.4, 0.1, 0.0, 0.3, 0.2]))) == [1] * 5


@pytest.mark.parametrize("method", WITH_BUDGET)
def test_strictness_survives_a_cast(make, method):
    pruner = make(method)
    pruner.strictness.fill_(0.123456789)
    for cast in (pruner.bfloat16(), pruner.half(), pruner.to(torch.float32)):
        assert cast.strictness.dtype == torch.float64
        assert cast.strictness.item() == 0.123456789
    assert all(p.dtype == torch.float32 for p in pruner.parameters())
    assert "strictness" in pruner.state_dict()


@pytest.mark.parametrize("method", WITH_BUDGET)
def test_dropped_tokens_stay_dropped_and_protected_ones_alive(make, state_of, method):
    pruner = make(method).eval()
    pruner.strictness.fill_(1.0 if pruner.keep_all == 0 else math.inf)
    state = state_of([0.3, 0.2, 0.4, 0.1], protected=(0, 3), alive=[1, 1, 0, 1])
    assert kept(pruner(state)) == [1, 0, 0, 1]


def test_topk_keeps_the_best_by_attention(make, state_of):
    attention = [0.0, 0.4, 0.1, 0.3, 0.2]
    assert kept(make("topk", fraction=0.5)(state_of(attention))) == [1, 1, 0, 1, 0]
    assert kept(make("topk", fraction=0.0)(state_of(attention))) == [1, 0, 0, 0, 0]


def test_random_cuts_one_order_further_and_further(make, state_of):
    state = state_of([0.1] * 40)
    first = make("random", seed=1, fraction=0.5)(state)
    assert sum(kept(first)) == 1 + 20
    state.memory, state.alive = first.memory, first.keep
    second = make("random", seed=1, fraction=0.5)(state)
    best = state.memory.masked_fill(~state.eligible, -1).topk(10).indices
    assert set(second.keep.nonzero().flatten().tolist()) == {0, *best.tolist()}
    other = make("random", seed=2, fraction=0.5)(state_of([0.1] * 40))
    assert kept(first) != kept(other)


def test_dtp_compares_cumulative_attention_with_mean_minus_k_deviations(make, state_of):
    attention = [0.9, 1.0, 2.0, 3.0]  # of the last three: mean 2, deviation 0.816
    pruner = make("dtp", k=1, log_scores=False)
    decision = pruner(state_of(attention))
    assert kept(decision) == [1, 0, 1, 1]
    assert kept(make("dtp", k=-1, log_scores=False)(state_of(attention))) == [1, 0, 0, 1]
    late = state_of([0.9, 3.0, 2.0, 0.5], memory=decision.memory)  # sums 4, 4, 3.5
    assert kept(pruner(late)) == [1, 1, 1, 0]
    assert pruner(late).memory.tolist() == pytest.approx([1.8, 4, 4, 3.5])


def test_dtp_thresholds_logarithms_by_default(make, state_of):
    attention = [0.01, 1.0, 1.0, 1.0, 1.0, 40.0]
    skewed = state_of(attention, protected=())
    assert kept(make("dtp", k=1, log_scores=False)(skewed)) == [1] * 6
    assert kept(make("dtp", k=1)(skewed)) == [0, 1, 1, 1, 1, 1]


def test_the_notebooks_importance_is_a_constant(make, state_of):
    decision = make("ts_dtp_notebook")(state_of([0.7, 0.1, 0.1, 0.1]))
    assert decision.memory.tolist() == pytest.approx([1.5 / 4] * 4)
    assert kept(decision) == [1] * 4
