"""Lightning module for a pruned translator, judged by BLEU over the whole corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from transformers import PreTrainedTokenizerBase

from tsdtp.models import PrunedSeq2Seq
from tsdtp.models.budget import inputs_of
from tsdtp.models.decoder_cost import DecoderShape
from tsdtp.results import write_atomic
from tsdtp.tasks.metrics import TranslationCost
from tsdtp.tasks.optim import AdamW
from tsdtp.tasks.pruning_task import PruningTask

TRANSLATIONS = "translations.txt"


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
        **settings,
    ) -> None:
        super().__init__(model, optim, teacher, **settings)
        self.tokenizer, self.references = tokenizer, references
        self.generation = {"do_sample": False, **(generation or {})}
        self.bootstrap = bootstrap
        self.written: dict[int, str] = {}
        self.whole = TranslationCost(model.shape, DecoderShape.of(model.config), model.pruner)

    def on_validation_epoch_start(self) -> None:
        """Forgets the translations of the validation before."""
        self.written = {}

    def validation_step(self, batch: dict, batch_index: int) -> None:
        """Translates a batch."""
        inputs = inputs_of(batch)
        output = self.model(**inputs)
        self.count(output, batch)
        self.whole.update(output, batch["labels"])
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
        self.summarise(translation_quality(hypotheses, references, self.bootstrap))
        self.summary["cost"] |= self.whole.compute()
        self.whole.reset()

    def save_outputs(self, folder: Path) -> None:
        """Writes the translations, one a line."""
        lines = [" ".join(text.split()) + "\n" for text in self.written.values()]
        write_atomic(folder / TRANSLATIONS, "".join(lines))


def translation_quality(
    hypotheses: Sequence[str], references: Sequence[str], bootstrap: int = 0
) -> dict:
    """BLEU and chrF of a whole corpus, as sacrebleu computes them.

    Post, "A Call for Clarity in Reporting BLEU Scores", WMT 2018.

    Args:
        hypotheses: translations, as text.
        references: one for each.
        bootstrap: resamplings for the standard error (Koehn, EMNLP 2004); 0: none.

    Returns:
        bleu and chrf (0 to 100), signature, and stderr of BLEU where there are resamplings.
    """
    bleu, chrf = BLEU(), CHRF()
    score = bleu.corpus_score(hypotheses, [references], n_bootstrap=max(bootstrap, 1))
    quality = {
        "bleu": score.score,
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
        "signature": str(bleu.get_signature()),
    }
    if bootstrap > 1:
        quality["stderr"] = score._ci / 1.96  # sacrebleu gives half of a 95 % interval
    return quality
