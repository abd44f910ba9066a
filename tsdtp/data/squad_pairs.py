"""More training pairs for QNLI, made from SQuAD the way QNLI was made.

GLUE (Wang et al., 2018, https://arxiv.org/abs/1804.07461, section 3.3) pairs each question with the
sentences of its paragraph; the label is entailment if the sentence holds the answer, and pairs with
little lexical overlap are filtered out. Here the pair with the answer and the negative that
overlaps most with the question are kept, one to one.
"""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tsdtp.atomic import write_atomic
from tsdtp.data.files import read_columns

ENTAILMENT, NOT_ENTAILMENT = 0, 1
COLUMNS = ("question", "sentence", "label", "idx", "source")
# Not after an initial (`J. Cavanaugh`) or a short title: those stops end no sentence.
SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!\b[DMSJF]r)(?<!\bSt)(?<!\bMrs)[.!?][\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])"
)
BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "``": '"', "''": '"'}
STOP_WORDS = """a an the of in on at to for and or is are was were be by with as did do does what
which who whom whose when where why how that this it its"""
STOP = frozenset(STOP_WORDS.split())


class Pair(NamedTuple):
    """A question, a sentence, and whether the sentence answers it (0) or not (1)."""

    question: str
    sentence: str
    label: int
    source: str


def squeeze(text: str) -> str:
    """Letters and digits only, in lower case: equal for texts that differ in spacing or tokens."""
    return re.sub(r"[\W_]+", "", re.sub(r"-[lr][rs]b-", "", text.lower()))


@lru_cache(maxsize=100_000)
def words(text: str) -> frozenset[str]:
    """The different words of a text, in lower case."""
    return frozenset(re.findall(r"\w+", text.lower()))


def overlap(question: str, sentence: str) -> float:
    """Share of the question's content words that the sentence holds, from 0 to 1."""
    content = words(question) - STOP
    return len(content & words(sentence)) / max(1, len(content))


def split_sentences(text: str) -> Iterator[tuple[int, str]]:
    """Yields the sentences of a paragraph with the offset at which each starts."""
    start = 0
    for match in SENTENCE_END.finditer(text):
        yield start, text[start : match.end()].rstrip()
        start = match.end()
    if text[start:].strip():
        yield start, text[start:].rstrip()


def closest(question: str, sentences: Iterable[str]) -> str | None:
    """The sentence that overlaps most with the question, the first of equals; None if none."""
    return max(sentences, key=lambda sentence: overlap(question, sentence), default=None)


def squad_pairs(path: Path) -> Iterator[Pair]:
    """Yields a positive and a negative for each question of a SQuAD file (`.json` or `.json.gz`).

    A question is left out if it has no answer, or one that runs over a sentence end, or if no
    sentence is without it.

    Raises:
        FileNotFoundError: if the file is not there.
        ValueError: if it is none of SQuAD's.
    """
    for context, questions in _paragraphs(path):
        sentences = list(split_sentences(context))
        for question, answer, start in questions:
            end = start + len(answer)
            holds = [s for at, s in sentences if at <= start and end <= at + len(s)]
            others = [s for _, s in sentences if answer.lower() not in s.lower()]
            negative = closest(question, others)
            if holds and negative:
                yield Pair(question, " ".join(holds[0].split()), ENTAILMENT, "squad")
                yield Pair(question, " ".join(negative.split()), NOT_ENTAILMENT, "squad")


def _paragraphs(path: Path) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """The contexts of a SQuAD file, each with its questions, first answers and where they begin."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            articles = json.load(file)["data"]
        return [
            (paragraph["context"], [*_answered(paragraph["qas"])])
            for article in articles
            for paragraph in article["paragraphs"]
        ]
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, zlib.error, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a file of SQuAD's ({error})") from None


def _answered(questions: list[dict]) -> Iterator[tuple[str, str, int]]:
    """Those that have an answer; some of SQuAD 2.0 have none."""
    for question in questions:
        for answer in question["answers"][:1]:
            yield " ".join(question["question"].split()), answer["text"], answer["answer_start"]


def detokenise(text: str) -> str:
    """Puts back the brackets and quotes that tokenising spelt out."""
    return " ".join(BRACKETS.get(word, word) for word in text.split())


def questions_and_sentences(path: Path) -> list[tuple[str, str]]:
    """The (question, sentence) pairs of a file of QNLI's kind.

    Raises:
        FileNotFoundError, ValueError: as `files.read_columns`.
    """
    frame = read_columns(path, ("question", "sentence"))
    return list(zip(frame["question"], frame["sentence"], strict=True))


def positive_pairs(path: Path, window: int = 20) -> Iterator[Pair]:
    """Yields each pair of a file of positives, and a negative from the sentences around it.

    Neighbouring lines come from the same paragraph or article, so the sentence of another question
    within `window` lines is a negative of the kind QNLI has. A sentence that some line gives as an
    answer to the same question is no negative.

    Raises:
        FileNotFoundError, ValueError: as `files.read_columns`.
    """
    rows = [(detokenise(q), detokenise(s)) for q, s in questions_and_sentences(path)]
    keys = [(squeeze(question), squeeze(sentence)) for question, sentence in rows]
    answers: dict[str, set[str]] = {}
    for asked, key in keys:
        answers.setdefault(asked, set()).add(key)
    name = path.name.split(".")[0]
    for number, (question, sentence) in enumerate(rows):
        known = answers[keys[number][0]]
        near = range(max(0, number - window), min(len(rows), number + window + 1))
        negative = closest(question, [rows[n][1] for n in near if keys[n][1] not in known])
        if negative:
            yield Pair(question, sentence, ENTAILMENT, name)
            yield Pair(question, negative, NOT_ENTAILMENT, name)


def without_leaks(
    pairs: Iterable[Pair], validation: Iterable[tuple[str, str]], train: Iterable[tuple[str, str]]
) -> Iterator[Pair]:
    """Drops whole questions that validation or train know, and pairs with a validation sentence.

    Texts are compared by letters and digits only. Of a question that comes twice, the first counts.

    Args:
        pairs: a positive and a negative in turn.
        validation: (question, sentence) pairs never to be trained on.
        train: pairs that the new ones are to be joined with.
    """
    validation = list(validation)
    questions = {squeeze(question) for question, _ in validation} | {squeeze(q) for q, _ in train}
    sentences = {squeeze(sentence) for _, sentence in validation}
    pairs = iter(pairs)
    for positive, negative in zip(pairs, pairs, strict=True):
        known = squeeze(positive.question) in questions
        leaked = {squeeze(positive.sentence), squeeze(negative.sentence)} & sentences
        if not known and not leaked:
            questions.add(squeeze(positive.question))
            yield from (positive, negative)


def write_pairs(pairs: Iterable[Pair], path: Path) -> Counter[str]:
    """Writes pairs to a `.tsv.gz`, complete or not at all; the same pairs give the same bytes.

    Returns:
        Number of pairs by `source/label`.
    """
    counts: Counter[str] = Counter()
    lines = ["\t".join(COLUMNS)]
    for number, (question, sentence, label, source) in enumerate(pairs):
        lines.append(f"{question}\t{sentence}\t{label}\t{number}\t{source}")
        counts[f"{source}/{label}"] += 1
    text = "".join(f"{line}\n" for line in lines)
    write_atomic(path, gzip.compress(text.encode(), mtime=0))
    return counts
