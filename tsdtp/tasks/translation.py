"""Lightning module for a pruned translator, judged by BLEU over the whole corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest
from transformers import PreTrainedTokenizerBase

from tsdtp.atomic import write_atomic
from tsdtp.models import PrunedSeq2Seq
from tsdtp.models.decoder_cost import DecoderShape
from tsdtp.models.texts import inputs_of
from tsdtp.results import REFERENCES, TRANSLATIONS, read_translations
from tsdtp.tasks.metrics import TranslationCost
from tsdtp.tasks.optim import AdamW
from tsdtp.tasks.pruning_task import PruningTask


class TranslationTask(PruningTask[PrunedSeq2Seq]):
    """Trains with teacher forcing and evaluates by writing translations.

    Args:
        model: the pruned encoder-decoder.
        tokenizer: turns token ids into text.
        references: target texts of the split to validate on, in the order of `index`.
        optim: how to optimise.
        teacher: an unpruned model of the same task, or None.
        generation: settings of transformers' `generate`, such as num_beams and max_new_tokens.
        bootstrap: resamplings of the corpus for the standard error of BLEU; 0: none is given.
        baseline: folder of a run to compare with; looked at only where it translated the same.
        language: of the references, see `translation_quality`.
        **settings: see `PruningTask`.
    """

    metric = "bleu"

    def __init__(
        self,
        model: PrunedSeq2Seq,
        tokenizer: PreTrainedTokenizerBase,
        references: Sequence[str],
        optim: AdamW,
        teacher: PrunedSeq2Seq | None = None,
        generation: dict | None = None,
        bootstrap: int = 0,
        baseline: Path | None = None,
        language: str = "",
        **settings,
    ) -> None:
        super().__init__(model, optim, teacher, **settings)
        self.tokenizer, self.references = tokenizer, references
        self.generation = {"do_sample": False, **(generation or {})}
        self.bootstrap, self.baseline, self.language = bootstrap, baseline, language
        self.written: dict[int, str] = {}
        decoder = DecoderShape.of(model.config)
        self.cost = TranslationCost(model.shape, decoder, self.scoring)

    def teacher_forcing(self, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The decoder reads the right words so far."""
        return {"decoder_input_ids": self.model.prepare_decoder_input_ids_from_labels(labels)}

    def on_validation_epoch_start(self) -> None:
        """Forgets the translations of the validation before."""
        self.written = {}

    def validation_step(self, batch: dict, batch_index: int) -> None:
        """Translates a batch."""
        inputs = inputs_of(batch)
        output = self.model(**inputs)
        self.count(output, batch)
        self.cost.add_targets(output, batch["labels"])
        tokens = self.model.generate(**inputs, **self.generation)
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        rows = batch["index"].tolist()
        self.written |= {row: text.strip() for row, text in zip(rows, texts, strict=True)}

    def on_validation_epoch_end(self) -> None:
        """Sums up over the corpus."""
        if self.trainer.world_size > 1:
            shares: list = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(shares, self.written)
            self.written = {row: text for share in shares for row, text in share.items()}
        self.written = dict(sorted(self.written.items()))
        references = [self.references[row] for row in self.written]
        hypotheses = list(self.written.values())
        how = (references, self.bootstrap, self.language)
        quality = translation_quality(hypotheses, *how)
        known = baseline_translations(self.baseline, references)
        if known and self.bootstrap > 1:
            quality["p_vs_start"] = paired_p_value(hypotheses, known, *how)
        self.summarise(quality)

    def save_outputs(self, folder: Path) -> None:
        """Writes the translations and their references, one a line."""
        references = [self.references[row] for row in self.written]
        for name, texts in ((TRANSLATIONS, self.written.values()), (REFERENCES, references)):
            write_atomic(folder / name, "".join(f"{_line(text)}\n" for text in texts))


def translation_quality(
    hypotheses: Sequence[str], references: Sequence[str], bootstrap: int = 0, language: str = ""
) -> dict:
    """BLEU and chrF of a whole corpus, as sacrebleu computes them.

    Post, "A Call for Clarity in Reporting BLEU Scores", WMT 2018.

    Args:
        hypotheses: translations, as text.
        references: one for each.
        bootstrap: resamplings for the standard error (Koehn, EMNLP 2004); 0: none.
        language: of the references, such as `de`; those written without spaces have a tokenizer of
            their own in sacrebleu.

    Returns:
        bleu and chrf (0 to 100), signature, and stderr of BLEU where there are resamplings.

    Raises:
        RuntimeError: where sacrebleu lacks what splits the language into words.
    """
    bleu, chrf = BLEU(trg_lang=language), CHRF()
    score = bleu.corpus_score(hypotheses, [references], n_bootstrap=max(bootstrap, 1))
    quality = {
        "bleu": score.score,
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
        "signature": str(bleu.get_signature()),
    }
    if bootstrap > 1:
        quality["stderr"] = score._ci / 1.96  # sacrebleu gives half of a 95 % interval
    return quality


def baseline_translations(folder: Path | None, references: Sequence[str]) -> list[str] | None:
    """What a run wrote for these very references; None if it did not translate them."""
    if folder is None:
        return None
    try:
        written, known = read_translations(folder)
    except (OSError, ValueError):
        return None
    return written if known == [_line(text) for text in references] else None


def paired_p_value(
    hypotheses: Sequence[str],
    baseline: Sequence[str],
    references: Sequence[str],
    samples: int,
    language: str = "",
) -> float:
    """Probability of a difference in BLEU as large as this one if there were none.

    Paired bootstrap resampling, Koehn, "Statistical Significance Tests for Machine Translation
    Evaluation", EMNLP 2004, as sacrebleu implements it.

    Args:
        hypotheses: translations to judge.
        baseline: those of the system to compare with.
        references: one for each.
        samples: resamplings.
        language: see `translation_quality`.
    """
    bleu = BLEU(trg_lang=language, references=[list(references)])
    systems: list[tuple[str, Sequence[str]]] = [("baseline", baseline), ("judged", hypotheses)]
    scores = {bleu.corpus_score(list(texts), None).score for _, texts in systems}
    if len(scores) == 1:
        return 1.0  # sacrebleu counts resamplings beyond the difference, and finds none
    metrics = {"BLEU": bleu}
    test = PairedTest(systems, metrics, references=None, test_type="bs", n_samples=samples)
    judged: Any = test()[1]["BLEU"][1]
    return judged.p_value


def _line(text: str) -> str:
    return " ".join(text.split())
