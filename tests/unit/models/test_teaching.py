from __future__ import annotations

import warnings

import pytest
import torch
from tiny import SPECIAL, make_batch, make_model
from torch import nn

from tsdtp.models import PrunedClassifier, prune, teach
from tsdtp.models.teaching import attributions
from tsdtp.packing import pack
from tsdtp.pruning import Decision, TokenPruner

BATCHES = [make_batch(seed=s) for s in range(4)]


def pair(**arguments) -> tuple[PrunedClassifier, PrunedClassifier]:
    """A model whose pruner is to learn, and its teacher."""
    model = prune(make_model("bert"), "ts_dtp", special_ids=[SPECIAL], **arguments)
    teacher = prune(make_model("bert"), "none", special_ids=[SPECIAL])
    return model, teacher.eval()


def test_a_type_that_is_slow_here_is_told_to_who_asked():
    model = prune(make_model("bert").half(), "ts_dtp", special_ids=[SPECIAL])
    with pytest.warns(UserWarning, match="dtype='float32'") as told:
        teach(model, BATCHES[:1], mask_id=3, epochs=1)
    assert [w.filename for w in told if "float16" in str(w.message)] == [__file__]


def test_the_loss_falls_and_the_model_stays_as_it_is():
    model, teacher = pair()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    losses = teach(model, BATCHES, teacher, mask_id=3, epochs=6, lr=1e-2)
    assert len(losses) == 6
    assert losses[-1] < losses[0] - 0.1
    after = model.state_dict()
    moved = {name for name, old in before.items() if not torch.equal(old, after[name])}
    taught = {name for name, _ in model.named_parameters() if name.startswith("pruner.")}
    assert moved == taught


class Remembers(TokenPruner):
    """Whose loss is of what the layer before left it."""

    needs_target = True
    search = (-1.0, 1.0)

    def __init__(self, num_layers, hidden_size, layers=None):
        super().__init__(num_layers, layers)
        self.left = nn.Parameter(torch.zeros(()))

    def decide(self, state):
        memory = self.left.expand(len(state.alive))
        loss = None if state.memory is None else (state.memory - 1).square().mean()
        return Decision(state.alive, memory=memory, loss=loss)


def test_each_layer_has_the_memory_that_the_one_before_leaves_by_now():
    model = prune(make_model("bert"), Remembers, special_ids=[SPECIAL])
    losses = teach(model, BATCHES, mask_id=3, epochs=20, lr=0.1)
    assert losses[-1] < 0.1 * losses[0]
    assert model.pruner.left.item() == pytest.approx(1, abs=0.3)


def test_teaching_needs_no_calibration_before_and_counts_for_none():
    model, teacher = pair(budget=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        teach(model, BATCHES, teacher, mask_id=3, epochs=1)
    with pytest.warns(UserWarning, match="gates learn nothing"):
        model.train()(**BATCHES[0])


def test_all_of_it_learns_under_a_callers_autocast():
    """Whose cache would give every step the first one's matrices, without a gradient."""
    model, teacher = pair()
    before = {name: p.clone() for name, p in model.pruner.named_parameters()}
    with torch.autocast("cpu", torch.bfloat16):
        losses = teach(model, BATCHES, teacher, mask_id=3, epochs=6, lr=1e-2)
    assert losses[-1] < losses[0] - 0.1
    assert not [n for n, p in model.pruner.named_parameters() if torch.equal(p, before[n])]


@pytest.mark.parametrize("training", [True, False])
def test_everything_else_is_restored(training):
    model, teacher = pair(budget=0.5, execution="packed")
    model.train(training)
    model.pruner.strictness.fill_(0.25)
    model.hf_model.bert.embeddings.requires_grad_(False)
    model.pruner.task_attention["0"].query.requires_grad_(False)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    query = model.pruner.task_attention["0"].query.clone()
    teach(model, BATCHES[:1], teacher, mask_id=3, epochs=1)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert (model.training, model.pruner.training) == (training, training)
    assert (model.execution, model.pruner.strictness.item()) == ("packed", 0.25)
    assert torch.equal(model.pruner.task_attention["0"].query, query), "frozen stays frozen"


def test_it_is_restored_after_a_failure_too():
    model, teacher = pair()
    broken = [{**BATCHES[0]}, {"input_ids": BATCHES[1]["input_ids"]}]
    model.pruner.forward = lambda state: 1 / 0
    with pytest.raises(ZeroDivisionError):
        teach(model, broken[:1], teacher, mask_id=3)
    assert all(p.requires_grad for p in model.parameters())
    assert model.execution == "packed"


@pytest.mark.parametrize(("soft_until", "progress"), [(0, 0.0), (0.5, 1.0)])
def test_whether_it_rests_in_a_training_is_no_matter(soft_until, progress):
    model, teacher = pair(soft_until=soft_until)
    model.pruner.progress = progress
    losses = teach(model, BATCHES, teacher, mask_id=3, epochs=6, lr=1e-2)
    assert losses[-1] < losses[0] - 0.1
    assert model.pruner.soft_until == soft_until and not model.train().pruner.learns


def test_the_same_seed_teaches_the_same():
    first, second, other = (
        teach(pair()[0], BATCHES, mask_id=3, epochs=2, seed=seed) for seed in (0, 0, 1)
    )
    assert first == second != other


def test_it_ranks_all_tokens_whatever_the_strictness():
    model, teacher = pair(k=-8.0)
    whole, _ = pair(budget=1.0)
    losses = [teach(m, BATCHES[:2], teacher, mask_id=3, epochs=1) for m in (model, whole)]
    assert losses[0] == pytest.approx(losses[1])


def test_a_model_is_its_own_teacher_unless_told():
    (model, teacher), (other, _) = pair(), pair()
    model.train()
    alone = teach(model, BATCHES, mask_id=3, epochs=1)
    assert alone == pytest.approx(teach(other, BATCHES, teacher, mask_id=3, epochs=1))


def test_attributions_once_computed_teach_the_same():
    (model, teacher), (other, _) = pair(), pair()
    kept = attributions(model, BATCHES, teacher, mask_id=3)
    again = teach(model, BATCHES, targets=kept, epochs=2)
    assert again == teach(other, BATCHES, teacher, mask_id=3, epochs=2)


def test_half_precision_is_taught_without_overflow():
    model = prune(make_model("bert").half(), "ts_dtp", special_ids=[SPECIAL])
    losses = teach(model, BATCHES, mask_id=3, epochs=6, lr=1e-2)
    assert losses[-1] < losses[0], "1e-8 is nothing in float16, and AdamW divides by it"
    model.pruner.task_attention["0"].query.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="the loss of teaching is nan"):
        teach(model, BATCHES, mask_id=3)


def test_a_pruned_teacher_teaches_with_every_token():
    model, teacher = pair()
    drops = prune(make_model("bert"), "topk", fraction=0.5, special_ids=[SPECIAL]).eval()
    whole, found = (attributions(model, BATCHES, t, mask_id=3) for t in (teacher, drops))
    for expected, given in zip(whole, found, strict=True):
        assert torch.equal(expected, given)


def test_columns_beside_the_inputs_and_the_callers_gradient_mode_do_not_matter():
    model, teacher = pair()
    other, _ = pair()
    expected = teach(model, BATCHES, teacher, mask_id=3)
    batches = [{**batch, "index": torch.arange(len(batch["input_ids"]))} for batch in BATCHES]
    with torch.inference_mode():
        assert teach(other, batches, teacher, mask_id=3) == expected


def test_what_cannot_be_taught_says_why():
    model, _ = pair()
    with pytest.raises(ValueError, match="no data"):
        teach(model, [], mask_id=3)
    with pytest.raises(ValueError, match="texts need their tokenizer"):
        teach(model, ["a film"], mask_id=3)
    with pytest.raises(ValueError, match="no batch: {text, label}; valid: .* its column of texts"):
        teach(model, [{"text": "a film", "label": 1}], mask_id=3)
    with pytest.raises(ValueError, match="mask_id: needed"):
        teach(model, BATCHES)
    with pytest.raises(ValueError, match="teacher: BertForSequenceClassification; valid: a model"):
        teach(model, BATCHES, make_model("bert"), mask_id=3)  # pyright: ignore
    small = prune(make_model("bert", num_hidden_layers=2), "none")
    with pytest.raises(ValueError, match="a teacher of 2 blocks; valid: one of 4, as the model"):
        teach(model, BATCHES, small, mask_id=3)
    last = prune(make_model("bert"), "ts_dtp", layers=[3])
    with pytest.raises(ValueError, match=r"no attributions in blocks \[3\]: what they leave is"):
        teach(last, BATCHES, mask_id=3)
    with pytest.raises(ValueError, match="or the texts hold special tokens alone"):
        teach(prune(make_model("bert"), "ts_dtp"), [make_batch((1, 1))], mask_id=3)
    with pytest.raises(ValueError, match="0 targets for 4 batches"):
        teach(model, BATCHES, targets=[])
    with pytest.raises(ValueError, match="TopK learns nothing from attributions; valid: ts_dtp"):
        teach(prune(make_model("bert"), "topk"), BATCHES, mask_id=3)
    model.pruner.requires_grad_(False)
    with pytest.raises(ValueError, match="the pruner is frozen"):
        teach(model, BATCHES, mask_id=3)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"epochs": -1}, {"epochs": 1.5}, {"steps": 2.0}])
def test_what_would_teach_nothing_is_refused(wrong):
    [(name, value)] = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}: valid is"):
        teach(pair()[0], BATCHES, mask_id=3, **wrong)


def test_a_rate_that_is_none_is_refused_before_attributions_are_sought(monkeypatch):
    monkeypatch.setattr("tsdtp.models.teaching.attributions", None)
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        teach(pair()[0], BATCHES, mask_id=3, lr=-1)


def test_double_precision_teaches_the_same():
    model, teacher = pair()
    single = attributions(model, BATCHES[:1], teacher, mask_id=3)
    double = attributions(model.double(), BATCHES[:1], teacher.double(), mask_id=3)
    torch.testing.assert_close(single[0].double(), double[0].double(), atol=1e-4, rtol=1e-3)


def test_each_block_learns_from_its_own_attributions_and_the_mean_counts(batch):
    (model, _), seen, losses = pair(), [], []

    def note(_, states, decision) -> None:
        seen.append(states[0].target)
        losses.append(decision.loss)

    model.pruner.train().register_forward_hook(note)
    target = torch.rand(*batch["input_ids"].shape, 4)
    out = model(**batch, target=target)
    expected = pack(target, batch["attention_mask"]).values[:, :3].unbind(1)
    assert all(torch.equal(*each) for each in zip(seen, expected, strict=True))
    torch.testing.assert_close(out.auxiliary_loss, sum(losses) / 3)


def test_the_rate_of_teaching_falls_linearly(monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def noted(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    teach(pair()[0], BATCHES, mask_id=3, epochs=5, lr=1.0)
    assert rates == pytest.approx([1 - 0.95 * i / 20 for i in range(20)])
