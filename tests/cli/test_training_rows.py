"""Which rows the stages before, in and after a training see."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import FAST, VOCABULARY, make_model

from tsdtp.cli import measure, teaching
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.tasks import callbacks

ALPHA = [f"{a}{b} {c}a {b}{c}" for a in "abc" for b in "abc" for c in "abc"]
BETA = [f"{a}{b} {c}x {b}{c}" for a in "xyz" for b in "xyz" for c in "xyz"]


@pytest.fixture
def tokenizer():
    return train_tokenizer([*ALPHA, *BETA], VOCABULARY, max_length=64)


@pytest.fixture
def own(tokenizer):
    """The overrides of a model and of data: words of a, b and c to train on, others to validate."""
    for part in (make_model("bert"), tokenizer):
        part.save_pretrained("my_classifier")
    Path("my_data").mkdir()
    for split, texts in (("train", ALPHA), ("validation", BETA)):
        rows = [f"{text},{('no', 'yes')[i % 2]}" for i, text in enumerate(texts)]
        Path("my_data", f"{split}.csv").write_text("\n".join(["text,label", *rows, ""]))
    mine = ("task=text_classification", "task.data.local_dir=my_data", "model=own")
    labels = ("task.data.text_columns=[text]", "task.data.label_names=[no,yes]")
    return (*mine, *labels, "model.path=my_classifier", "task.data.max_length=32")


@pytest.fixture
def seen(monkeypatch) -> dict[str, set[int]]:
    """The ids in the batches that each of these functions was given."""
    ids = {}

    def watch(module, name: str) -> None:
        real, key = getattr(module, name), f"{module.__name__}.{name}"

        def watched(model, batches, *args, **kwargs):
            words = [i for batch in batches for i in batch["input_ids"].flatten().tolist()]
            ids.setdefault(key, set()).update(words)
            return real(model, batches, *args, **kwargs)

        monkeypatch.setattr(module, name, watched)

    for module, name in (
        (measure, "check_reachable"),
        (teaching, "teach"),
        (callbacks, "calibrate"),
        (measure, "calibrate"),
    ):
        watch(module, name)
    return ids


def test_calibration_and_teaching_see_what_is_trained_on_and_nothing_else(
    tsdtp, own, tokenizer, seen
):
    fast = (*FAST, *own)
    assert tsdtp("train", *fast, "epochs=0").code == 0
    pruned = ("pruning=ts_dtp", "pruning.budget=0.7", "model.init_from=unpruned")
    outcome = tsdtp("train", *fast, *pruned)
    assert outcome.code == 0, outcome.err
    alpha, beta = ({i for ids in tokenizer(t)["input_ids"] for i in ids} for t in (ALPHA, BETA))
    own_words, others = alpha - beta, beta - alpha
    assert len(seen) == 4
    for function, ids in seen.items():
        assert ids & own_words and not ids & others, function
