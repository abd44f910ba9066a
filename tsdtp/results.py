"""One run, one folder, one record: ``metrics.json`` is the only link between a run and a report.

Units: accuracy and its standard error are fractions, BLEU and chrF run from 0 to 100. Ratios of
speed and memory are the unpruned figure over this run's: above 1 is faster, or smaller; those of
FLOPs are this run's over the plain model's, below 1 is less.
A value that was not measured is null or absent, and reports show it as a gap.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tsdtp.atomic import write_atomic

RECORD_NAME = "metrics.json"
PREDICTIONS, EXAMPLES = "predictions.csv.gz", "examples.json"  # beside it, of a classifier
TRANSLATIONS, REFERENCES = "translations.txt", "references.txt"  # beside it, of a translator

# Settings of a config in which two runs of one cell may differ.
NOT_IDENTITY = (
    *("output_dir", "run_id", "variant", "callbacks", "logger", "log_every_n_steps"),
    *("overwrite", "ckpt_path", "changed_settings", "changed_code", "dry_run"),
)
# Settings that some records and files of users lack, or alone still have, and what they stand for.
LATER = {
    "hardware.num_workers": 0,
    "model.blocks": None,
    "pruning.gate_noise": False,
    "pruning.soft_until": 1.0,
    "task.data.lines_per_text": 1,
    "teacher.others": [],
    "teacher.noise": 0.0,
    "teacher.sampled": False,
    "teaching.batch_size": 64,
    "teaching.every": 0,
    "validate_every": 1,
    "warm_start": True,
}
METRICS = ("accuracy", "bleu")  # by which a task may be judged
_REQUIRED = {
    "identity": ("task", "pruning", "model", "seed", "budget", "run_id", "execution"),
    "provenance": (
        *("command", "commit", "dirty", "versions"),
        *("hardware", "date", "config", "config_hash"),
    ),
    "quality": (),
    "cost": (),
}
_OPTIONAL = ("speed", "memory")
# What a report reads from them: where it is there, of this kind.
_KINDS: dict[type, tuple[str, ...]] = {
    dict: (
        *("provenance.config", "provenance.versions", "provenance.measured", "provenance.start"),
        *("speed.generation", "speed.spread", "memory.generation"),
    ),
    str: (
        *("identity.run_id", "identity.execution", "quality.split", "quality.signature"),
        *("provenance.command", "provenance.commit", "provenance.date", "provenance.config_hash"),
        *("speed.device", "speed.dtype", "speed.order"),
    ),
}
_CALLED = {dict: "an object", str: "a string"}


@dataclass(frozen=True)
class RunRecord:
    """What one run was, where it ran, and what came out; checked when it is made.

    Attributes:
        identity: task, pruning, model, seed, budget (float or None), run_id, execution; and
            variant, a name for what else tells the run from others, where it has one.
        provenance: command, commit, dirty, versions, hardware, date, config, config_hash; and,
            where known, code (digest of the source), seconds that the run took, startup_seconds (of
            them, before it read its config), slots (cells that ran at a time), data (digests of
            the files that it read), measured (what made the figures of a later `tsdtp eval`, with
            the same keys), start (the run that it started from), teachers (further runs that it
            learnt from), earlier (the runs whose checkpoint it went on from, each with its command,
            code and seconds).
        quality: accuracy, or bleu, chrf, signature and p_vs_start (of a paired bootstrap against
            the run that it started from); stderr; n; split; keep_precision, keep_recall.
        cost: flops_per_example, packed_flops_per_example (unpruned), hf_flops_per_example (plain
            and padded), flops_ratio, tokens_kept (a fraction per layer), budget_spent_train; of a
            translation, translation_flops_ratio and cross_attention_flops_ratio.
        speed: device, dtype, batch_size, threads, examples_per_second, latency_ms, vs_packed,
            vs_hf, spread, confidence, rounds, examples; and of a translation, whose figures these
            are the encoder's, generation (the same of writing, tokens_per_second, num_beams,
            new_tokens); None if not measured.
        memory: peak_mib, vs_packed, hf_peak_mib, weights_mib, and generation likewise; None if not
            measured.

    Raises:
        ValueError: A section or key is missing or of the wrong kind; all of them are named.
    """

    identity: dict[str, Any]
    provenance: dict[str, Any]
    quality: dict[str, Any]
    cost: dict[str, Any]
    speed: dict[str, Any] | None = None
    memory: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        sections = {field.name: getattr(self, field.name) for field in fields(self)}
        if problems := list(_problems(sections)):
            raise ValueError("; ".join(problems))

    def to_dict(self) -> dict[str, Any]:
        """The record as nested dictionaries, a copy."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any, source: str | Path = "record") -> RunRecord:
        """Builds a record; an error is one line that opens with ``source``."""
        if not isinstance(data, dict):
            raise ValueError(f"{source}: expected a JSON object, found {type(data).__name__}")
        known = (*_REQUIRED, *_OPTIONAL)
        unknown = [f"unknown section '{name}'" for name in data if name not in known]
        if problems := [*_problems(data), *unknown]:
            raise ValueError(f"{source}: {'; '.join(problems)}")
        return cls(**data)


def flops_saved(record: RunRecord) -> float:
    """FLOPs of the unpruned packed model over those spent; a head may read one token in both."""
    return record.cost["packed_flops_per_example"] / record.cost["flops_per_example"]


def _problems(data: dict[str, Any]) -> Iterator[str]:
    """Names everything that keeps ``data`` from being a record."""
    for name, keys in _REQUIRED.items():
        section = data.get(name)
        if not isinstance(section, dict):
            missing = name not in data
            yield f"missing section '{name}'" if missing else f"section '{name}' is not an object"
            continue
        yield from (f"missing key '{name}.{key}'" for key in keys if key not in section)
    for name in _OPTIONAL:
        if not isinstance(data.get(name), dict | None):
            yield f"section '{name}' is neither an object nor null"
    if isinstance(data.get("identity"), dict):
        yield from _identity_problems(data["identity"])
    for kind, places in _KINDS.items():
        yield from (problem for place in places if (problem := _kind_problem(data, place, kind)))


def _kind_problem(data: dict[str, Any], place: str, kind: type) -> str | None:
    name, key = place.split(".")
    section = data.get(name)
    value = section.get(key) if isinstance(section, dict) else None
    if value is None or isinstance(value, kind):
        return None
    return f"{place} is {value!r}, expected {_CALLED[kind]} or null"


def _identity_problems(identity: dict[str, Any]) -> Iterator[str]:
    for key in ("task", "pruning", "model"):
        if not isinstance(identity.get(key, ""), str):
            yield f"identity.{key} is {identity[key]!r}, expected a string"
    if not isinstance(identity.get("variant"), str | None):
        yield f"identity.variant is {identity['variant']!r}, expected a string or null"
    if type(identity.get("seed", 0)) is not int:
        yield f"identity.seed is {identity['seed']!r}, expected an integer"
    budget = identity.get("budget")
    if isinstance(budget, bool) or not isinstance(budget, int | float | None):
        yield f"identity.budget is {budget!r}, expected a number or null"


def main_metric(record: RunRecord) -> float | None:
    """The figure that a task is judged by; None if it was not measured."""
    return next((record.quality[k] for k in METRICS if k in record.quality), None)


def write_record(folder: str | Path, record: RunRecord) -> Path:
    """Writes ``folder/metrics.json`` atomically and returns its path; the folder is made if absent.

    JSON has no NaN or infinity: such numbers are written as null.

    Raises:
        ValueError: The record holds something JSON cannot say, such as a tensor.
    """
    path = Path(folder) / RECORD_NAME
    try:
        text = json.dumps(finite(record.to_dict()), indent=2, ensure_ascii=False, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error
    return write_atomic(path, text + "\n")


def finite(value: Any) -> Any:
    """The same with null in place of numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_record(path: str | Path) -> RunRecord:
    """Reads one record.

    Args:
        path: The file, or the run's folder.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged; the message is one line that opens with its name.
    """
    path = Path(path)
    path = path / RECORD_NAME if path.is_dir() else path
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such record") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable record ({error})") from error
    return RunRecord.from_dict(data, source=path)


def read_records(folder: str | Path) -> tuple[dict[Path, RunRecord], list[str]]:
    """Every ``metrics.json`` under a folder by its path, sorted, and a line for each damaged one.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder (looked for {RECORD_NAME} files in it)")
    records, warnings = {}, []
    for path in sorted(folder.rglob(RECORD_NAME)):
        try:
            records[path] = read_record(path)
        except ValueError as error:
            warnings.append(str(error))
    return records, warnings


def read_translations(folder: str | Path) -> tuple[list[str], list[str]]:
    """What a run wrote, and the references, sentence by sentence.

    Raises:
        FileNotFoundError: One of the two files is not there.
        ValueError: They have not as many lines.
    """
    written, references = (
        (Path(folder) / name).read_text(encoding="utf-8").split("\n")[:-1]
        for name in (TRANSLATIONS, REFERENCES)
    )
    if len(written) != len(references):
        found = f"{len(written)} lines, {REFERENCES} {len(references)}"
        raise ValueError(f"{Path(folder) / TRANSLATIONS}: {found}")
    return written, references


def target_language(languages: Sequence[str]) -> str:
    """Of a pair of them, as sacrebleu calls it: `zh` of `zh_CN`."""
    return re.split("[-_]", languages[1])[0]


def config_hash(config: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that name a configuration, whatever the order of its keys.

    Raises:
        ValueError: The configuration holds something JSON cannot say.
    """
    try:
        text = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    except TypeError as error:
        raise ValueError(f"cannot hash this configuration: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()[:12]
