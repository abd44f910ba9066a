from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from sacrebleu.metrics.bleu import BLEU
from tiny import SPECIAL, make_batch, make_seq2seq
from torch.utils.data import DataLoader

from tsdtp.models import prune, teach
from tsdtp.models.attribution import layer_conductance
from tsdtp.models.texts import IGNORED
from tsdtp.results import TRANSLATIONS
from tsdtp.tasks.optim import AdamW
from tsdtp.tasks.translation import (
    TranslationTask,
    baseline_translations,
    paired_p_value,
    translation_quality,
)


class Words:
    """A tokenizer that writes each token as a word; special tokens are silent."""

    def batch_decode(self, tokens, skip_special_tokens):
        return [" ".join(f"w{i}" for i in row if i > 4) for row in tokens.tolist()]


def batch_of(seed: int = 0, rows: int = 8) -> dict:
    """A batch whose target repeats the source's first words."""
    batch = make_batch((9,) * rows, seed)
    labels = torch.full((rows, 5), IGNORED)
    labels[:, :3] = batch["input_ids"][:, 1:4]
    labels[:, 3] = SPECIAL
    return {**batch, "labels": labels, "index": torch.arange(rows)}


def model_of(method: str = "ts_dtp", **arguments):
    model = make_seq2seq("marian")
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.mul_(0.4 if parameter.ndim > 1 else 1)
    return prune(model, method, special_ids=[SPECIAL], **arguments).train()


def task_of(model, teacher=None, **arguments) -> TranslationTask:
    settings = {"generation": {"max_new_tokens": 5}, "distillation": 0.0, **arguments}
    references = Words().batch_decode(batch_of()["labels"], True)
    return TranslationTask(model, Words(), references, AdamW(lr=1e-2), teacher, **settings)


def trainer(steps: int = 0) -> pl.Trainer:
    names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return pl.Trainer(max_steps=steps, accelerator="cpu", **dict.fromkeys(names, False))


def loader(*batches: dict) -> DataLoader:
    return DataLoader(list(batches), batch_size=None)


def test_quality_is_that_of_the_corpus_and_says_how():
    texts = ["a b c d e", "f g h i"], ["a b c d e", "f g x i"]
    quality = translation_quality(*texts)
    assert quality["bleu"] == BLEU().corpus_score(texts[0], [texts[1]]).score
    sentences = [translation_quality([h], [r])["bleu"] for h, r in zip(*texts, strict=True)]
    assert quality["bleu"] != pytest.approx(sum(sentences) / 2)
    assert "tok:13a" in quality["signature"] and 0 < quality["chrf"] < 100
    assert "stderr" not in quality
    assert translation_quality(*texts, bootstrap=50)["stderr"] > 0
    assert translation_quality(texts[1], texts[1])["bleu"] == pytest.approx(100)


def test_a_language_without_spaces_has_words_of_its_own():
    references = ["一只白猫坐在垫子上", "两条狗在街上跑", "三个人看书", "天上有很多星星"]
    better = ["一只黑猫坐在垫子上", "两条狗在街上走", "三个人看报", "天上有很多月亮"]
    worse = ["一只黑猫坐在垫子里", "两条狗在路上走", "三个男人看报", "天上有许多月亮"]
    for language, low, high in (("", -1, 0.1), ("zh", 50, 90)):
        assert low < translation_quality(better, references, language=language)["bleu"] < high
    assert paired_p_value(better, worse, references, 100) == 1, "each is one unknown word"
    assert paired_p_value(better, worse, references, 100, "zh") < 0.05


def test_validation_translates_and_scores_each_row_by_its_own_reference(tmp_path):
    """In whatever order the rows come."""
    model = model_of("topk", fraction=0.5).eval()
    batch = batch_of()
    long = {"min_new_tokens": 12, "max_new_tokens": 12}
    expected = Words().batch_decode(model.generate(batch["input_ids"], **long), True)
    assert len(set(expected)) > 1
    task = task_of(model, bootstrap=20, generation=long)
    task.references = expected
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    halves = [{k: v[part] for k, v in batch.items()} for part in order.split(4)]
    trainer().validate(task, loader(*halves), verbose=False)
    assert task.summary["quality"]["bleu"] == pytest.approx(100)
    assert task.summary["quality"]["n"] == 8
    assert 0 < task.summary["cost"]["flops_ratio"] < 1
    task.save_outputs(tmp_path)
    assert (tmp_path / TRANSLATIONS).read_text().splitlines() == expected


def test_a_difference_to_the_baseline_is_tested_in_pairs(tmp_path):
    model, long = model_of("none").eval(), {"min_new_tokens": 12, "max_new_tokens": 12}
    batch = batch_of()
    task = task_of(model, bootstrap=100, generation=long)
    task.references = Words().batch_decode(model.generate(batch["input_ids"], **long), True)
    trainer().validate(task, loader(batch), verbose=False)
    assert "p_vs_start" not in task.summary["quality"], "there is nothing to compare with"
    task.save_outputs(tmp_path)
    worse = task_of(
        model_of("topk", fraction=0.2).eval(), bootstrap=100, generation=long, baseline=tmp_path
    )
    worse.references = task.references
    trainer().validate(worse, loader(batch), verbose=False)
    assert worse.summary["quality"]["p_vs_start"] < 0.05
    references = task.references
    assert paired_p_value(references, references, references, 100) == 1
    spaced = [text.replace(" ", "  ") for text in references]
    assert paired_p_value(spaced, references, references, 100) == 1, "BLEU sees no spaces"
    first, last = ["w1 w2 w3 w4", *references[1:]], [*references[:-1], "w1 w2 w3 w4"]
    assert paired_p_value(first, last, references, 100) > 0.05
    assert baseline_translations(tmp_path, references) == references
    assert baseline_translations(tmp_path, references[::-1]) is None, "other sentences"
    assert baseline_translations(tmp_path / "none", references) is None


def test_training_learns_to_translate_pruned():
    """Trained masked, measured packed."""
    task, batches = task_of(model_of("topk", fraction=0.9)), [batch_of(seed) for seed in range(2)]
    before = losses(task.model.eval(), batches)
    task.model.train()
    trainer(120).fit(task, loader(*batches * 60))
    assert max(losses(task.model.eval(), batches)) < 0.3 * min(before)


def losses(model, batches: list[dict]) -> list[float]:
    with torch.inference_mode():
        return [model(**inputs(b), labels=b["labels"]).loss.item() for b in batches]


def inputs(batch: dict) -> dict:
    return {k: batch[k] for k in ("input_ids", "attention_mask")}


def test_the_loss_is_smoothed_and_distilled_over_the_target_alone():
    batch, model, teacher = batch_of(), model_of("none"), model_of("none").eval()
    teacher.lm_head.weight.data += 0.1
    logits = model.eval()(**inputs(batch), labels=batch["labels"]).logits
    goal = teacher(**inputs(batch), labels=batch["labels"]).logits
    valid = batch["labels"] != IGNORED
    labels = batch["labels"][valid]
    smooth = F.cross_entropy(logits[valid], labels, label_smoothing=0.1)
    match = F.kl_div(logits[valid].log_softmax(-1), goal[valid].softmax(-1), reduction="batchmean")
    task = task_of(model, teacher, label_smoothing=0.1, distillation=0.25)
    loss = task._task_loss(logits, batch)
    torch.testing.assert_close(loss, 0.75 * smooth + 0.25 * match)


def test_attributions_are_of_the_target():
    batch, teacher = batch_of(), model_of("none").eval()
    given = {**inputs(batch), "mask_id": 3, "layers": [0, 1]}
    first = layer_conductance(teacher, **given, labels=batch["labels"])
    torch.testing.assert_close(first[..., :2].sum(1), torch.ones(8, 2))
    assert (first[:, 0] == 0).all() and (first[:, 8] == 0).all(), "protected tokens"
    other = layer_conductance(teacher, **given, labels=batch["labels"].flip(0))
    assert not torch.allclose(first, other)
    with pytest.raises(ValueError, match="attributions of a translation need its target"):
        layer_conductance(teacher, **given)


def test_a_pruner_is_taught_by_attributions():
    batches = [{k: v for k, v in batch_of(s).items() if k != "index"} for s in range(3)]
    history = teach(model_of().eval(), batches, model_of("none").eval(), mask_id=3, epochs=8)
    assert history[-1] < history[0]


def test_attributions_do_not_depend_on_the_padding_of_the_target():
    batch, teacher = batch_of(), model_of("none").eval()
    given = {**inputs(batch), "mask_id": 3, "layers": [0, 1]}
    tight = layer_conductance(teacher, **given, labels=batch["labels"][:, :4])
    wide = F.pad(batch["labels"], (0, 6), value=IGNORED)
    torch.testing.assert_close(layer_conductance(teacher, **given, labels=wide), tight)


def test_the_standard_error_is_the_deviation_of_resampled_scores():
    ours, theirs = ([f"a b c d {i % n} e f g" for i in range(60)] for n in (7, 5))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(60, (200, 60), generator=generator).tolist()
    scores = torch.tensor(
        [BLEU().corpus_score([ours[i] for i in d], [[theirs[i] for i in d]]).score for d in drawn]
    )
    stderr = translation_quality(ours, theirs, bootstrap=400)["stderr"]
    assert stderr == pytest.approx(scores.std().item(), rel=0.25)


def test_nothing_is_sampled_though_the_model_was_saved_to_do_so():
    model, batch = model_of("none").eval(), batch_of()
    model.hf_model.generation_config.update(do_sample=True, temperature=99.0)
    task = task_of(model)
    task.references = [""] * 8
    written = []
    for seed in range(2):
        torch.manual_seed(seed)
        trainer().validate(task, loader(batch), verbose=False)
        written.append(task.written)
    assert written[0] == written[1] and any(written[0].values())
