import random

import pytest
import torch

from tsdtp.data.synthetic import FILLERS, KEYS, NEGATIVE, NEGATORS, POSITIVE, generate


def decisive_words(row, text="text", flags="decisive") -> list[str]:
    words = zip(row[text].split(), row[flags], strict=True)
    return [word for word, flag in words if flag]


@pytest.mark.parametrize("kind", ["sentence", "pair"])
def test_rows_depend_on_the_seed_alone(kind):
    random.seed(1)
    rows = generate(kind, 20, seed=5)
    random.seed(2)
    assert generate(kind, 20, seed=5) == rows != generate(kind, 20, seed=6)
    assert generate(kind, 10, seed=5) == rows[:10]


@pytest.mark.parametrize("kind", ["sentence", "pair"])
def test_labels_are_balanced_and_lengths_make_pruning_matter(kind):
    rows = generate(kind, 4000)
    assert 0.47 < sum(row["label"] for row in rows) / 4000 < 0.53
    words = sum(len(f"{row['text']} {row.get('text_pair', '')}".split()) for row in rows) / 4000
    assert 23 < words < 38


def test_a_sentence_is_decided_by_its_decisive_words():
    for row in generate("sentence", 500):
        total, sign = 0, 1
        for word in decisive_words(row):
            sign = -sign if word in NEGATORS else sign
            if word not in NEGATORS:
                total += sign * (1 if word in POSITIVE else -1)
                sign = 1
        assert row["label"] == int(total > 0)
        assert 8 <= len(row["text"].split()) <= 40


def test_the_other_words_of_a_sentence_are_fillers():
    polar = {*POSITIVE, *NEGATIVE, *NEGATORS}
    for row in generate("sentence", 500):
        words = row["text"].split()
        assert [word for word in words if word not in FILLERS] == decisive_words(row)
        assert set(decisive_words(row)) <= polar


def test_a_pair_is_decided_by_its_decisive_words():
    for row in generate("pair", 500):
        (asked,) = decisive_words(row)
        mentioned = decisive_words(row, "text_pair", "decisive_pair")
        assert (set(mentioned) == {asked}) == (row["label"] == 0)
        told = [word for word in row["text_pair"].split() if word in KEYS]
        assert len(told) == 3
        if row["label"]:
            assert mentioned == told


def counts(rows, apart: bool) -> torch.Tensor:
    """Word counts [N, words] of whole pairs, or [N, 2 * words] with the segments apart."""
    segments = [[row["text"].split(), row["text_pair"].split()] for row in rows]
    vocabulary: dict[tuple[int, str], int] = {}
    places = [
        [vocabulary.setdefault((apart * number, word), len(vocabulary)) for word in words]
        for pair in segments
        for number, words in enumerate(pair)
    ]
    table = torch.zeros(len(rows), len(vocabulary))
    for number, found in enumerate(places):
        table[number // 2].index_add_(0, torch.tensor(found), torch.ones(len(found)))
    return table


def logistic_accuracy(inputs: torch.Tensor, labels: torch.Tensor, train: int) -> float:
    """Accuracy on the rows after `train` of a logistic regression on those before it."""
    inputs = (inputs - inputs.mean(0)) / inputs.std(0).clamp(min=1e-6)
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    weight = torch.zeros(inputs.shape[1])
    for _ in range(300):
        error = torch.sigmoid(inputs[:train] @ weight) - labels[:train]
        weight -= 0.3 * inputs[:train].T @ error / train
    return ((inputs[train:] @ weight > 0) == labels[train:].bool()).float().mean().item()


@pytest.mark.parametrize("apart", [False, True])
def test_word_counts_hardly_tell_the_label_of_a_pair(apart):
    rows = generate("pair", 8000)
    labels = torch.tensor([float(row["label"]) for row in rows])
    accuracy = logistic_accuracy(counts(rows, apart), labels, 5000)
    assert accuracy < 0.6


def test_the_regression_would_find_a_word_that_tells_the_label():
    labels = torch.arange(400.0) % 2
    inputs = torch.stack([torch.ones(400), 3 - labels, torch.arange(400.0)], 1)
    assert logistic_accuracy(inputs, labels, 300) == 1


def test_an_unknown_kind_lists_the_valid_ones():
    with pytest.raises(ValueError, match="'poem'; valid: sentence, pair"):
        generate("poem", 1)
