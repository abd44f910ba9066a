"""What a table's caption says: read from the records, nothing assumed."""

from __future__ import annotations

import pandas as pd

from tsdtp.report.frame import commit_of

LEGEND = (
    "Budget and Spent are fractions of the plain encoder's FLOPs, Spent as measured on the "
    "evaluation data. Quality is mean ± sample standard deviation over seeds; (SE) marks a single "
    "seed with the standard error of its evaluation sample instead (binomial for accuracy). The "
    "plain Hugging Face forward has the quality of the unpruned packed model, which computes the "
    "same: a test holds the two to equal outputs. Speed above 1× is faster, in memory smaller, "
    "against unpruned packed execution (packed) or the plain padded Hugging Face forward (HF). "
    "Ex/s is examples per second, Kept the fraction of tokens that reach the end of the last "
    "layer. A number in brackets says of how many of the seeds a mean is. – is missing or not "
    "measured, or was measured on several machines or in several ways (memory: with several kinds "
    "of batches or device): such speeds have no mean."
)

TRANSLATION = (
    "Spent, FLOPs, Speed, Ex/s and Memory are of the encoder alone; Whole is the fraction of the "
    "FLOPs of encoder, cross-attention and decoder, Writing the speed of the whole model at a "
    "given number of tokens. On single sentences it gains little by nature: the decoder, which "
    "stays whole, dominates"
)


def caption(task: str, model: str, rows: pd.DataFrame, finished: str = "") -> str:
    """One sentence in parts: what, on which data, where, from which code, when.

    Args:
        task: Task of the table.
        model: Model of the table.
        rows: The runs of the table, as ``to_frame`` gives them; may be empty.
        finished: State of the sweep, empty where none is known.
    """
    parts = [f"{task} with {model}"]
    if not rows.empty:
        parts += [_data(rows), _listing(rows, "seed", "seed", "seeds"), *_setting(rows)]
        parts += [_commits(rows), _mixed(rows, "trained_by", "of them trained by")]
        parts += [_mixed(rows, "kept_by", "of them"), _dates(rows)]
        parts += [TRANSLATION] if _values(rows, "bleu") else []
    return "; ".join(part for part in [*parts, finished] if part) + "."


def _data(rows: pd.DataFrame) -> str:
    parts = [_mixed(rows, "split"), _mixed(rows, "n", "n ="), _mixed(rows, "signature")]
    return ", ".join(part for part in parts if part)


def _setting(rows: pd.DataFrame) -> list[str]:
    place = [_mixed(rows, "hardware"), _mixed(rows, "execution", "execution")]
    if not _values(rows, "examples_per_second"):
        return [*place, "speed not measured"]
    names = ("device", "dtype", "batch_size", "threads", "order")
    speed = [_mixed(rows, name, name.replace("_", " ")) for name in names]
    return [*place, ", ".join(part for part in speed if part)]


def _commits(rows: pd.DataFrame) -> str:
    states = {commit_of(row) for row in rows.to_dict("records")}
    return ("mixed commits " if len(states) > 1 else "commit ") + ", ".join(sorted(states))


def _dates(rows: pd.DataFrame) -> str:
    days = [date[:10] for date in _values(rows, "date")]
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


def _values(rows: pd.DataFrame, column: str) -> list[str]:
    """The values of a column, each once, in order, whole numbers without a point."""
    values = sorted(rows[column].dropna().unique().tolist())
    return [f"{v:.0f}" if isinstance(v, float) else str(v) for v in values]


def _listing(rows: pd.DataFrame, column: str, one: str = "", many: str = "") -> str:
    """``seed 1`` or ``seeds 1, 2``; empty without a value."""
    values = _values(rows, column)
    name = many if len(values) > 1 else one
    return f"{name} {', '.join(values)}".strip() if values else ""


def _mixed(rows: pd.DataFrame, column: str, name: str = "") -> str:
    """Like a listing, for what ought to be one value: several are marked as mixed."""
    values = _values(rows, column)
    separator = " / " if any("," in value for value in values) else ", "
    text = f"{name} {separator.join(values)}".strip() if values else ""
    return f"{text} (mixed)" if len(values) > 1 else text
