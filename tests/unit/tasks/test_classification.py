from __future__ import annotations

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from tiny import SPECIAL, make_batch, make_model
from torch.utils.data import DataLoader

from tsdtp.models import PrunedClassifier, prune
from tsdtp.tasks.callbacks import BudgetSchedule
from tsdtp.tasks.classification import ClassificationTask
from tsdtp.tasks.distillation import TRUSTED, altered
from tsdtp.tasks.optim import AdamW

WORD = 50


def examples(batches: int, seed: int) -> list[dict]:
    """Batches whose label is whether WORD is there, and which token decides that."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for i in range(batches):
        batch = make_batch((8, 6) * 8, seed=seed * 1000 + i)
        ids = batch["input_ids"]
        ids[ids == WORD] = 51
        labels = torch.randint(2, (len(ids),), generator=generator)
        ids[labels == 1, 3] = WORD
        made.append({**batch, "labels": labels, "decisive": (ids == WORD).long()})
    return made


def model_of(method: str = "ts_dtp", **arguments) -> PrunedClassifier:
    model = make_model("bert")
    for parameter in model.parameters():
        parameter.data.mul_(0.4 if parameter.ndim > 1 else 1)
    return prune(model, method, special_ids=[SPECIAL], **arguments).train()


def task_of(model: PrunedClassifier, teacher=None, **arguments) -> ClassificationTask:
    return ClassificationTask(
        model, 2, AdamW(lr=3e-3, pruner_lr=1e-2), teacher, mask_id=3, **arguments
    )


def trainer_of(steps: int, **arguments) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "accelerator": "cpu",
    }
    return pl.Trainer(max_steps=steps, **{**quiet, **arguments})


def loader(batches: int, seed: int) -> DataLoader:
    return DataLoader(examples(batches, seed), batch_size=None)


@pytest.fixture
def validation() -> DataLoader:
    return loader(8, 9)


@pytest.mark.filterwarnings("ignore")
def test_a_fit_learns_and_spends_its_budget(validation):
    pl.seed_everything(0, verbose=False)
    task = task_of(model_of(budget=0.8))
    trainer = trainer_of(60, gradient_clip_val=1.0, callbacks=[BudgetSchedule(examples(4, 3))])
    trainer.validate(task, validation, verbose=False)
    before = task.summary["quality"]["accuracy"]
    trainer.fit(task, loader(60, 1))
    trainer.validate(task, validation, verbose=False)
    quality, cost = task.summary["quality"], task.summary["cost"]
    assert quality["accuracy"] > max(0.8, before)
    assert quality["n"] == 128
    p = quality["accuracy"]
    assert quality["stderr"] == pytest.approx((p * (1 - p) / 128) ** 0.5)
    assert cost["flops_ratio"] == pytest.approx(0.8, abs=0.03)
    assert len(cost["tokens_kept"]) == 4
    assert 0 <= quality["keep_precision"] <= 1
    assert 0 <= quality["keep_recall"] <= 1


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_is_plain_and_goes_on(tmp_path):
    teacher = model_of("none").eval()
    task, path = task_of(model_of(), teacher), tmp_path / "some.ckpt"
    trainer = trainer_of(3)
    trainer.fit(task, loader(10, 1))
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["global_step"] == 3
    assert not [k for k in checkpoint["state_dict"] if "teacher" in k]
    resumed = task_of(model_of(), teacher)
    goes_on = trainer_of(5)
    goes_on.fit(resumed, loader(10, 1), ckpt_path=path)
    assert goes_on.global_step == 5
    steps = {s["step"].item() for s in goes_on.optimizers[0].state.values()}
    assert steps == {5}, "the optimizer went on, too"


def loss_of(task: ClassificationTask, batch: dict) -> torch.Tensor:
    """The training step without a trainer."""
    task.log = lambda *args, **kwargs: None
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}])
    trainer = {"optimizers": [optimizer], "global_step": 0, "world_size": 1}
    task.trainer = SimpleNamespace(**trainer, estimated_stepping_batches=1)
    return task.training_step(batch, 0)


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


class Watched(pl.Callback):
    """Notes how every step was executed, and what the pruner weighed after it."""

    def __init__(self) -> None:
        self.executions, self.weights = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        """After the optimizer's step."""
        pruner = pl_module.model.pruner
        self.executions.append(pl_module.model.execution)
        self.weights.append(torch.cat([p.detach().flatten() for p in pruner.parameters()]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["ts_dtp", "transkimmer", "ltp", "power_bert"])
def test_after_soft_until_the_pruner_rests_and_tokens_are_gone(method):
    pl.seed_everything(0, verbose=False)
    watched = Watched()
    task = task_of(model_of(method, budget=0.8, soft_until=0.5))
    trainer = trainer_of(8, callbacks=[BudgetSchedule(examples(2, 3)), watched])
    trainer.fit(task, loader(8, 1))
    assert watched.executions == ["masked"] * 4 + ["packed"] * 4
    first, last_soft, last = (watched.weights[i] for i in (0, 3, 7))
    assert not torch.equal(first, last_soft) and torch.equal(last_soft, last)


@pytest.mark.filterwarnings("ignore")
def test_the_part_of_the_training_is_counted_over_all_epochs():
    watched = Watched()
    task = task_of(model_of("transkimmer", budget=0.8, soft_until=0.5))
    trainer = trainer_of(-1, max_epochs=2, callbacks=[BudgetSchedule(examples(2, 3)), watched])
    trainer.fit(task, loader(4, 1))
    assert watched.executions == ["masked"] * 4 + ["packed"] * 4
