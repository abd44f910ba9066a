"""One training step by hand: what is learnt from whom, and which gradients are left."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from learning import examples, loss_of, model_of, stepping, task_of
from tiny import LENGTHS, SPECIAL, make_model

from tsdtp.models import prune
from tsdtp.models.attribution import layer_conductance
from tsdtp.tasks.classification import ClassificationTask
from tsdtp.tasks.distillation import TRUSTED, altered


def test_the_loss_without_a_teacher():
    model, batch = model_of("none"), examples(1, 4)[0]
    model.eval()
    logits = model(batch["input_ids"], batch["attention_mask"]).logits
    expected = F.cross_entropy(logits, batch["labels"])
    torch.testing.assert_close(loss_of(task_of(model), batch), expected)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_with_a_teacher(weight):
    model, batch = model_of("none").eval(), examples(1, 4)[0]
    teacher = prune(make_model("bert", seed=3), "none").eval()
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    student, goal = ((m(**inputs).logits / 2).softmax(-1) for m in (model, teacher))
    divergence = (goal * (goal / student).log()).sum(-1).mean()
    task_loss = F.cross_entropy(model(**inputs).logits, batch["labels"])
    expected = (1 - weight) * task_loss + weight * 2**2 * divergence
    task = task_of(model, teacher, distillation=weight, temperature=2.0)
    torch.testing.assert_close(loss_of(task, batch), expected)


def test_the_auxiliary_loss_is_weighted_in():
    model, batch = model_of(budget=1.0).eval(), examples(1, 4)[0]
    plain = loss_of(task_of(model), batch)
    model.pruner.train()
    model.auxiliary_weight = 0.0
    torch.testing.assert_close(loss_of(task_of(model), batch), plain)
    model.auxiliary_weight = 0.5
    out = model(batch["input_ids"], batch["attention_mask"])
    expected = plain + 0.5 * out.auxiliary_loss
    torch.testing.assert_close(loss_of(task_of(model), batch), expected)


def test_the_teachers_attributions_come_when_they_are_due():
    batch = examples(1, 4)[0]
    teacher = model_of("none").eval()
    assert task_of(model_of(), None)._target(batch) is None
    assert task_of(model_of("topk"), teacher)._target(batch) is None, "it does not ask"
    assert task_of(model_of(), teacher, attribution_every=0)._target(batch) is None
    due = task_of(model_of(), teacher)._target(batch)
    torch.testing.assert_close(due[..., :3].sum(1), torch.ones(16, 3))
    second = (stepping(task_of(model_of(), teacher, attribution_every=2), at) for at in range(3))
    assert [bool(task._target(batch).any()) for task in second] == [True, False, True]
    frozen = model_of()
    frozen.pruner.requires_grad_(False)
    assert task_of(frozen, teacher)._target(batch) is None, "it learns no more"


def clippable(gradient: float, **plugin) -> ClassificationTask:
    """A task whose gradients are one number, under a trainer with this precision plugin."""
    task = task_of(model_of())
    for parameter in task.model.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    task.trainer = SimpleNamespace(
        strategy=SimpleNamespace(model=task), precision_plugin=SimpleNamespace(**plugin)
    )
    return task


def norm_of(task: ClassificationTask) -> float:
    return torch.stack([p.grad.norm() for p in task.model.parameters()]).norm().item()


def test_clipping_bounds_the_norm():
    task = clippable(1.0)
    task.configure_gradient_clipping(None, None)
    assert next(task.model.parameters()).grad.max() == 1
    task.configure_gradient_clipping(None, 0.5)
    assert norm_of(task) == pytest.approx(0.5, rel=1e-3)


def test_what_is_clipped_is_not_the_scaled_gradient_of_float16():
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(torch.ones(()))  # sets it up
    task = clippable(1024.0, scaler=scaler)
    optimizer = torch.optim.AdamW(task.model.parameters(), fused=True)
    task.configure_gradient_clipping(optimizer, 0.5)
    assert norm_of(task) == pytest.approx(0.5, rel=1e-3)
    before = [p.clone() for p in task.model.parameters()]
    scaler.step(optimizer)
    assert norm_of(task) == pytest.approx(0.5, rel=1e-3), "and is not scaled down again"
    assert any(not torch.equal(a, b) for a, b in zip(before, task.model.parameters(), strict=True))


def test_several_teachers_are_averaged():
    model, batch = model_of("none").eval(), examples(1, 4)[0]
    teachers = [prune(make_model("bert", seed=s), "none").eval() for s in (3, 4)]
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    goal = torch.stack([t(**inputs).logits.softmax(-1) for t in teachers]).mean(0)
    student = model(**inputs).logits.softmax(-1)
    expected = (goal * (goal / student).log()).sum(-1).mean()
    task = task_of(model, teachers[0], others=teachers[1:], distillation=1.0)
    torch.testing.assert_close(loss_of(task, batch), expected)


def test_of_altered_texts_the_teacher_alone_is_learnt():
    """With the student as its own teacher nothing is left but the labels of whole texts."""
    model, batch = model_of("none").eval(), examples(1, 4)[0]
    torch.manual_seed(0)
    loss = loss_of(task_of(model, model, distillation=0.5, noise=0.5), batch)
    torch.manual_seed(0)
    out = altered(batch, model.special_ids, 0.5)
    rows = out[TRUSTED]
    assert 0 < rows.sum() < len(rows)
    logits = model(batch["input_ids"][rows], batch["attention_mask"][rows]).logits
    expected = F.cross_entropy(logits, batch["labels"][rows])
    torch.testing.assert_close(loss, 0.5 * expected)


@pytest.mark.parametrize("sampled", [False, True])
def test_a_teacher_is_asked_once_about_rows_that_have_a_number(sampled):
    teacher, asked = model_of("none").eval(), []
    teacher.register_forward_hook(lambda *_: asked.append(1))
    task = task_of(model_of("none"), teacher, sampled=sampled)
    assert task.teachers.sampled == sampled
    batch = examples(1, 4)[0]
    for known, times in (({}, 2), ({"index": torch.arange(16)}, 1)):
        asked.clear()
        for _ in range(2):
            loss_of(task, {**batch, **known})
        assert len(asked) == times


def test_of_a_pruner_that_rests_no_gradient_is_left():
    task = task_of(model_of(soft_until=0.5))
    for parameter in task.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for progress, left in ((0.4, True), (0.5, False)):
        task.model.pruner.progress = progress
        task.on_before_optimizer_step(None)
        assert all((p.grad is not None) == left for p in task.model.pruner.parameters())
    assert all(p.grad is not None for p in task.model.hf_model.parameters())


def test_which_tokens_are_kept_is_judged_by_those_that_may_go(batch):
    """Not by first and special ones; here all tokens are kept and called decisive."""
    task = task_of(prune(make_model("bert"), "none", special_ids=[SPECIAL]).eval())
    task.count(task.model(**batch), {**batch, "decisive": batch["attention_mask"]})
    words = sum(max(n - 2, 0) for n in LENGTHS)
    assert task.cost.kept == task.cost.decisive == words


def test_the_teachers_attributions_are_those_that_the_task_asks_for():
    batch, teacher, model = examples(1, 4)[0], model_of("none").eval(), model_of(layers=[1, 2])
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    found = task_of(model, teacher, attribution_steps=1)._target(batch)
    expected = layer_conductance(teacher, **inputs, mask_id=3, layers=[1, 2], steps=1)
    torch.testing.assert_close(found, expected)
