"""A pair of small languages made from a seed: which source words the target needs is known.

A source sentence hides a clause of two to five content words among fillers of the other synthetic
tasks; the target says the clause alone, word by word, with the verb at the end as in a German
subordinate clause. So a pruner may drop every filler, and should keep every content word.
"""

import random

from tsdtp.data.synthetic import Row, scatter


def _lexicon(pairs: str) -> dict[str, str]:
    words = [pair.partition(":") for pair in pairs.split()]
    return {source: target for source, _, target in words}


NOUNS = _lexicon("dog:hund house:haus tree:baum child:kind bread:brot water:wasser book:buch")
ADJECTIVES = _lexicon("old:alte small:kleine red:rote good:gute new:neue")
VERBS = _lexicon("sees:sieht buys:kauft finds:findet likes:mag brings:bringt")


def translation_row(rng: random.Random) -> Row:
    """A clause `[adjective] noun verb [adjective] noun` among fillers, and what it becomes."""
    noun_phrases = [_noun_phrase(rng), _noun_phrase(rng)]
    verb = rng.choice(list(VERBS))
    words = [*noun_phrases[0], verb, *noun_phrases[1]]
    lexicon = {**NOUNS, **ADJECTIVES}
    target = [lexicon[word] for phrase in noun_phrases for word in phrase] + [VERBS[verb]]
    source, decisive = scatter(rng, [[(word, 1)] for word in words], rng.randint(8, 30))
    return {"source": source, "target": " ".join(target), "decisive": decisive}


def _noun_phrase(rng: random.Random) -> list[str]:
    adjectives = rng.choices(list(ADJECTIVES), k=int(rng.random() < 0.5))
    return [*adjectives, rng.choice(list(NOUNS))]


def generate_translation(count: int, seed: int | str = 0) -> list[Row]:
    """Makes `count` rows of `source`, `target`, and `decisive`, a 0/1 per word of the source.

    Args:
        count: how many rows.
        seed: an integer or a string; the same seed gives the same rows on every machine.
    """
    rng = random.Random(f"translation-{seed}")
    return [translation_row(rng) for _ in range(count)]
