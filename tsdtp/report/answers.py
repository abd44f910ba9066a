"""Answers to single examples, beside the records."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd
from sacrebleu.metrics.bleu import BLEU

from tsdtp.report.frame import cell_name
from tsdtp.results import (
    EXAMPLES,
    PREDICTIONS,
    TRANSLATIONS,
    RunRecord,
    main_metric,
    read_translations,
    target_language,
)

CELL = ("task", "model", "pruning", "budget", "variant")


@dataclass(frozen=True)
class Run:
    """One run's identity and its answers: columns index, label, prediction, ...

    `data`: what the files held that were asked, where the record says so.
    """

    identity: dict[str, Any]
    answers: pd.DataFrame
    data: Mapping[str, str] = field(default_factory=dict)

    @property
    def cell(self) -> tuple:
        """What the seeds of one row of a table share."""
        return tuple(map(self.key, CELL))

    @property
    def place(self) -> tuple:
        """Task and model."""
        return self.cell[:2]

    @property
    def name(self) -> str:
        """Method, budget and variant."""
        return cell_name(self.identity)

    @property
    def examples(self) -> frozenset[tuple[int, Any]]:
        """Index and label of every example."""
        return frozenset(zip(self.answers["index"], self.answers["label"], strict=True))

    @property
    def metric(self) -> str:
        """What its answers are judged by."""
        return "bleu" if "counts" in self.answers else "accuracy"

    def asked_like(self, other: Run) -> bool:
        """Whether it is judged alike, and no file held other rows for the other run."""
        common = {*self.data} & {*other.data}
        alike = all(self.data[name] == other.data[name] for name in common)
        return alike and self.metric == other.metric

    @property
    def names(self) -> tuple[str, str]:
        """What it may be called: of its budget, or of any."""
        return self.name, cell_name({**self.identity, "budget": None})

    def key(self, name: str) -> Any:
        """What its identity says, so that equal budgets meet: 0.1 + 0.2 and 0.3."""
        value = self.identity.get(name)
        return round(value, 9) if isinstance(value, float) else value


def read_runs(records: Mapping[Path, RunRecord], folder: str | Path) -> tuple[list[Run], list[str]]:
    """The runs that left their answers beside their records.

    Args:
        records: by their paths.
        folder: in which they lie.

    Returns:
        The runs, and a line for each whose answers cannot be read or are of other examples than
        most of its task's, so that it is not compared with them.
    """
    runs, warnings, lost = [], [], []
    for path, record in records.items():
        path = path.with_name(TRANSLATIONS if "bleu" in record.quality else PREDICTIONS)
        if not path.is_file():
            lost += [path] if main_metric(record) is not None else []
            continue
        try:
            runs.append(_run(path, record))
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zlib.error) as error:
            warnings.append(f"{path.relative_to(folder)}: no answers can be read ({error})")
    if runs:  # a folder without any has no comparisons
        warnings += [
            f"{path.relative_to(folder)}: not there; its run is not compared" for path in lost
        ]
    return runs, [*warnings, *_of_other_examples(runs), *_of_other_texts(runs)]


def _run(path: Path, record: RunRecord) -> Run:
    """A run with what it answered."""
    if path.name == PREDICTIONS:
        answers = pd.read_csv(path).astype({"index": int, "label": int, "prediction": int})
        return Run(record.identity, answers, _asked(record))
    languages = _settings(record).get("languages") or ("", "")
    answers = judged(*read_translations(path.parent), target_language(languages))
    return Run(record.identity, answers, _asked(record))


def judged(translations: list[str], references: list[str], language: str = "") -> pd.DataFrame:
    """Translations as answers, whose labels are the references.

    Returns:
        index, label, prediction and counts, from whose sums BLEU is computed: n-grams of 1 to 4
        words that match, n-grams written, and two lengths.
    """
    bleu = BLEU(trg_lang=language, effective_order=True)  # which alters no count
    scores = map(bleu.sentence_score, translations, [[right] for right in references])
    counts = [(*score.counts, *score.totals, score.sys_len, score.ref_len) for score in scores]
    columns = {"label": references, "prediction": translations, "counts": counts}
    return pd.DataFrame(columns).reset_index()


def _settings(record: RunRecord) -> dict[str, Any]:
    """Of its data."""
    return ((record.provenance.get("config") or {}).get("task") or {}).get("data") or {}


def _asked(record: RunRecord) -> dict[str, str]:
    """What the files held that the answers are of: all but those to train on."""
    made = record.provenance
    settings = _settings(record)
    data = (made.get("measured") or {}).get("data") or made.get("data") or {}
    if settings.get("evaluate_on") == "holdout":  # cut from those
        return data
    named = (settings.get("local_files") or {}).get("train") or ()
    train = [named] if isinstance(named, str) else named
    return {
        name: held
        for name, held in data.items()
        if name not in train and not Path(name).name.startswith("train.")
    }


def _by_place(runs: list[Run]) -> Iterator[list[Run]]:
    """The runs of each task and model."""
    by_place = attrgetter("place")
    for _, several in groupby(sorted(runs, key=by_place), key=by_place):
        yield list(several)


def _of_other_texts(runs: list[Run]) -> Iterator[str]:
    """A line for each run whose data file differs from that of most runs under the same name."""
    for place in _by_place(runs):
        for name in sorted({name for run in place for name in run.data}):
            known = [run for run in place if name in run.data]
            for run, _ in _unlike_most([(run, run.data[name]) for run in known]):
                yield (
                    f"{run.identity.get('run_id')}: {name} held other rows than for most runs "
                    "of its task and model, and it is not compared with those"
                )


def _of_other_examples(runs: list[Run]) -> Iterator[str]:
    """A line for each run that did not answer what most of its task and model did."""
    for place in _by_place(runs):
        for run, most in _unlike_most([(run, run.examples) for run in place]):
            yield (
                f"{run.identity.get('run_id')}: answered other examples ({len(run.examples)}) than "
                f"most runs of its task and model ({len(most)}), and is not compared with those"
            )


def _unlike_most(asked: list[tuple[Run, Any]]) -> Iterator[tuple[Run, Any]]:
    """The runs whose item is not the commonest one, each with the commonest."""
    (most, _), *_ = Counter(what for _, what in asked).most_common()
    return ((run, most) for run, what in asked if what != most)


def read_examples(records: Mapping[Path, RunRecord]) -> list[dict[str, Any]]:
    """Examples with tokens: `{"run": record, "labels", "layers", "examples"}`; see `read_runs`."""
    found = []
    for path, record in records.items():
        try:
            shown = json.loads(path.with_name(EXAMPLES).read_text(encoding="utf-8"))
            found.append({"run": record, **{k: shown[k] for k in ("labels", "layers", "examples")}})
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found
