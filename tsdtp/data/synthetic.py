"""Tasks made from a seed, with the words that decide each label known.

Both hide a few decisive words among fillers, so that a pruner can be scored against the truth: a
good one keeps the decisive words. A row is a dict of `text`, `label`, `decisive` (one 0/1 per
whitespace word of `text`), and for pairs also `text_pair` and `decisive_pair`. The same seed gives
the same rows on every machine.
"""
# ruff: noqa: SIM905 (word lists read better as one line)

import itertools
import random
from collections.abc import Callable

FILLERS = [
    a + b
    for a in "ba ko lu mi ne po ra su ti vo ze du ga hi".split()
    for b in "dal fen gor hul jin kas lem mor nad pel rit sov tak wun".split()
]
FILLER_WEIGHTS = list(itertools.accumulate(1 / rank for rank in range(1, len(FILLERS) + 1)))

POSITIVE = "good great lovely bright clever warm".split()
NEGATIVE = "bad awful dull weak boring cold".split()
NEGATORS = "not never hardly".split()

KEYS = "colour size price".split()
VALUES = "red small cheap heavy north anna iron long".split()
# How often the sentence tells the key asked for, by key. Without this weak cue no single word says
# anything about the label, and a small model with random weights stays at chance for thousands of
# steps before it starts to compare words.
TOLD = (0.56, 0.5, 0.44)

Row = dict[str, str | int | list[int]]
Span = list[tuple[str, int]]


def scatter(rng: random.Random, spans: list[Span], length: int) -> tuple[str, list[int]]:
    """Puts the spans, in their order, at random places among fillers, `length` words in all."""
    fillers = length - sum(len(span) for span in spans)
    words = rng.choices(FILLERS, cum_weights=FILLER_WEIGHTS, k=fillers)
    places = sorted(rng.randint(0, fillers) for _ in spans)
    marked: Span = []
    start = 0
    for place, span in zip(places, spans, strict=True):
        marked += [(word, 0) for word in words[start:place]] + span
        start = place
    marked += [(word, 0) for word in words[start:]]
    return " ".join(word for word, _ in marked), [flag for _, flag in marked]


def _opinion(rng: random.Random, sign: int) -> Span:
    """A polarity word of the given sign, one time in five the opposite word behind a negator."""
    negated = rng.random() < 1 / 5
    word = rng.choice(POSITIVE if (sign > 0) != negated else NEGATIVE)
    return [(rng.choice(NEGATORS), 1), (word, 1)] if negated else [(word, 1)]


def sentence_row(rng: random.Random) -> Row:
    """A sentence whose label is the majority of one or three opinions, some of them negated."""
    signs = [rng.choice((-1, 1)) for _ in range(rng.choice((1, 1, 3)))]
    spans = [_opinion(rng, sign) for sign in signs]
    text, decisive = scatter(rng, spans, rng.randint(8, 40))
    return {"text": text, "label": int(sum(signs) > 0), "decisive": decisive}


def pair_row(rng: random.Random) -> Row:
    """A question for one key and a sentence that makes three key-value mentions.

    Label 0 (entailment) if a mention is of the key asked for, else 1 (not_entailment). A key may be
    mentioned more than once, and each is asked for equally often, so that word counts say next to
    nothing: the two parts must be compared. Decisive are the key asked for and its mentions, or,
    where it has none, all keys mentioned.
    """
    asked = rng.randrange(len(KEYS))
    label = int(rng.random() >= TOLD[asked])
    others = [key for key in KEYS if key != KEYS[asked]]
    told = rng.choices(others, k=3) if label else [KEYS[asked], *rng.choices(KEYS, k=2)]
    rng.shuffle(told)
    flags = [int(label or key == KEYS[asked]) for key in told]
    spans = [[(key, flag), (rng.choice(VALUES), 0)] for key, flag in zip(told, flags, strict=True)]
    text, decisive = scatter(rng, [[(KEYS[asked], 1)]], rng.randint(4, 7))
    text_pair, decisive_pair = scatter(rng, spans, rng.randint(12, 30))
    return {
        "text": text,
        "text_pair": text_pair,
        "label": label,
        "decisive": decisive,
        "decisive_pair": decisive_pair,
    }


GENERATORS: dict[str, Callable[[random.Random], Row]] = {"sentence": sentence_row, "pair": pair_row}


def generate(kind: str, count: int, seed: int | str = 0) -> list[Row]:
    """Makes `count` rows of one kind.

    Args:
        kind: `sentence` or `pair`.
        count: how many rows.
        seed: an integer or a string; the same seed gives the same rows.

    Raises:
        ValueError: if the kind is not known.
    """
    if kind not in GENERATORS:
        raise ValueError(f"unknown synthetic task {kind!r}; valid: {', '.join(GENERATORS)}")
    rng = random.Random(f"{kind}-{seed}")
    return [GENERATORS[kind](rng) for _ in range(count)]
