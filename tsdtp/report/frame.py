"""Run records as one tidy table of numbers, and its means and deviations over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import pandas as pd

from tsdtp.results import RunRecord

KEYS = ["task", "model", "pruning", "budget", "variant"]
FINE_TUNED = "fine_tuned"

# What tells a record from others of its cell: run, execution, when its figures were made.
Mark = tuple[Any, Any, Any]

# column -> section.key of the record
_TEXT = {
    **{key: f"identity.{key}" for key in ("run_id", "execution")},
    "config_hash": "provenance.config_hash",
    **{key: f"quality.{key}" for key in ("split", "signature")},
    **{key: f"speed.{key}" for key in ("device", "dtype", "order")},
}
# What made the figures: a run that was measured again says so in its record.
_MADE = ("command", "commit", "dirty", "date", "hardware", "trained_by", "kept_by")
_NUMBERS = {
    **{key: f"quality.{key}" for key in ("accuracy", "bleu", "chrf", "stderr", "n")},
    **{key: f"quality.{key}" for key in ("keep_precision", "keep_recall")},
    **{key: f"cost.{key}" for key in ("flops_per_example", "flops_ratio", "budget_spent_train")},
    "hf_flops_per_example": "cost.hf_flops_per_example",
    "blocks": "provenance.config.model.blocks",
    **{key: f"speed.{key}" for key in ("batch_size", "threads", "examples_per_second")},
    "latency_ms": "speed.latency_ms",
    "speed_vs_packed": "speed.vs_packed",
    "speed_vs_hf": "speed.vs_hf",
    "writing_vs_packed": "speed.generation.vs_packed",
    "writing_vs_hf": "speed.generation.vs_hf",
    "tokens_per_second": "speed.generation.tokens_per_second",
    "translation_flops_ratio": "cost.translation_flops_ratio",
    "spread_vs_packed": "speed.spread.vs_packed",
    "spread_vs_hf": "speed.spread.vs_hf",
    "peak_mib": "memory.peak_mib",
    "hf_peak_mib": "memory.hf_peak_mib",
    "memory_vs_packed": "memory.vs_packed",
}
_SETTINGS = ["n", "batch_size", "threads", "hf_flops_per_example", "hf_peak_mib", "blocks"]
# What depends on the machine and on how it was timed: no mean is of several.
TIMED = ["examples_per_second", "latency_ms", "tokens_per_second", "speed_vs_packed", "speed_vs_hf"]
TIMED += ["writing_vs_packed", "writing_vs_hf", "spread_vs_packed", "spread_vs_hf"]
# What depends on the batches, on the kind of device and, on a CPU, on the threads alone.
WEIGHED = ["peak_mib", "memory_vs_packed"]
METRICS = [name for name in _NUMBERS if name not in _SETTINGS] + ["tokens_kept_last"]


def to_frame(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One row a run; ``speed_`` and ``memory_`` tell the two ``vs_packed`` apart.

    Raises:
        ValueError: A value that should be a number is none; the run and the key are named.
    """
    columns = [*KEYS, "seed", *_TEXT, *_MADE, "machine", "timing", "weighing", *_NUMBERS]
    columns += ["tokens_kept_last", "tokens_kept"]
    frame = pd.DataFrame([_row(record) for record in records], columns=columns)
    numbers = dict.fromkeys(["budget", *_NUMBERS, "tokens_kept_last"], float)
    frame = frame.astype({"seed": int, **numbers})
    frame = comparable(frame)
    # Counted are the FLOPs of packed execution; any other spends more.
    frame.loc[frame["execution"].ne("packed"), ["flops_per_example", "flops_ratio"]] = float("nan")
    spread = frame["accuracy"] * (1 - frame["accuracy"]) / frame["n"]
    frame["stderr"] = frame["stderr"].fillna(spread**0.5)
    return frame


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """Keys so that equal ones meet: 0.1 + 0.2 and 0.3, no variant and none known."""
    return frame.assign(budget=frame["budget"].round(9), variant=frame["variant"].fillna(""))


def _row(record: RunRecord) -> dict[str, Any]:
    return {
        **{key: record.identity.get(key) for key in [*KEYS, "seed"]},
        **{name: _get(record, place) for name, place in _TEXT.items()},
        **{name: _number(record, place) for name, place in _NUMBERS.items()},
        **_made(record.provenance),
        "machine": timed_on(record),
        "timing": _timing(record.speed) if record.speed else None,
        "weighing": _weighing(record.speed) if record.speed else None,
        "tokens_kept_last": _kept_last(record),
        "tokens_kept": record.cost.get("tokens_kept"),
    }


def _made(provenance: dict[str, Any]) -> dict[str, Any]:
    """Command, code, date and machine of the figures; which code made others, and the weights."""
    measured = provenance.get("measured") or provenance
    made = {key: measured.get(key) for key in ("command", "commit", "dirty", "date")}
    made["hardware"] = _hardware(measured.get("hardware"))
    trained = dict.fromkeys(map(_code, [*provenance.get("earlier", ()), provenance]))
    if measured is not provenance or len(trained) > 1:
        made["trained_by"] = ", then ".join(trained)
    if kept := measured.get("kept"):
        made["kept_by"] = f"{', '.join(kept['sections'])} by {_code(kept)}"
    return made


def _timing(speed: dict[str, Any]) -> str:
    """How a speed was measured, beside the machine."""
    how = f"{_batches(speed)}, threads={speed.get('threads')}"
    if writing := speed.get("generation"):
        how += f", writing {writing.get('new_tokens')} tokens, beams={writing.get('num_beams')}"
    return how


def _weighing(speed: dict[str, Any]) -> str:
    """How memory was measured; it is the same on all machines of a kind."""
    on_cpu = speed.get("device") == "cpu"  # whose operators have buffers for each thread
    threads = f", threads={speed.get('threads')}" if on_cpu else ""
    return f"{speed.get('device')}, {_batches(speed)}{threads}"


def _batches(speed: Mapping[str, Any]) -> str:
    batches = f"batches of {speed.get('batch_size')} {speed.get('order') or 'plain'}"
    return f"{speed.get('dtype')}, {batches}, examples={speed.get('examples')}"


def timed_on(record: RunRecord) -> str | None:
    """The processor or GPU that the speed was measured on; None where it was not or nobody said."""
    measured = record.provenance.get("measured") or record.provenance
    kept = measured.get("kept")
    hardware = (kept if kept and "speed" in kept["sections"] else measured).get("hardware")
    if record.speed is None or not isinstance(hardware, dict):
        return None
    on_gpu = str(record.speed.get("device")).startswith("cuda")
    return hardware.get("gpu") if on_gpu else hardware.get("cpu")


def commit_of(made: Mapping[str, Any]) -> str:
    """Ten digits of a commit, and whether the code was quite that."""
    commit = made["commit"]
    name = commit[:10] if isinstance(commit, str) else "unknown"
    return name + (" with uncommitted changes" if made.get("dirty") is True else "")


def _code(provenance: dict[str, Any]) -> str:
    return f"{commit_of(provenance)} on {_hardware(provenance['hardware'])}"


def mark(record: RunRecord) -> Mark:
    """A record's own, as its row in a frame has it."""
    made = _made(record.provenance)["date"]
    return (record.identity.get("run_id"), record.identity.get("execution"), made)


def cell_name(run: Mapping[Any, Any]) -> str:
    """Method, budget and variant of a row of a frame, or of a record's identity."""
    budget = run.get("budget")
    budget = "" if bool(pd.isna(budget)) else f"{budget:g}"
    return " ".join(filter(None, (run["pruning"], budget, run.get("variant"))))


def _get(record: RunRecord, place: str) -> Any:
    section, *keys = place.split(".")
    return reduce(lambda value, key: (value or {}).get(key), keys, getattr(record, section))


def _number(record: RunRecord, place: str) -> float | None:
    return _checked(record, place, _get(record, place))


def _kept_last(record: RunRecord) -> float | None:
    kept = record.cost.get("tokens_kept") or [None]
    return _checked(record, "cost.tokens_kept", kept[-1] if isinstance(kept, list) else kept)


def _checked(record: RunRecord, place: str, value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        run = record.identity["run_id"]
        raise ValueError(f"run {run}: {place} is {value!r}, expected a number or null")
    return value


def _hardware(hardware: Any) -> str | None:
    """``gpu X, cores 8`` from whatever the run wrote down."""
    if isinstance(hardware, dict):
        return ", ".join(f"{k} {v}" for k, v in hardware.items() if v not in (None, "")) or None
    return hardware


def unique_runs(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Keeps one row for each cell and seed, so that a repeated run is not counted as a seed.

    Packed goes before any other execution, then the newest; a line names each run left out.
    """
    cell = [*KEYS, "seed"]
    ranked = frame.assign(_packed=frame["execution"].eq("packed"))
    ranked = ranked.sort_values(["_packed", "date"], kind="stable", na_position="first")
    repeated = ranked.duplicated(cell, keep="last")
    warnings = [
        f"run {run['run_id']} ({run['date']}) left out: another {run['pruning']} run on "
        f"{run['task']} with {run['model']} has its budget, variant and seed {run['seed']}"
        for run in ranked.loc[repeated].to_dict("records")
    ]
    return frame.drop(index=ranked.index[repeated]), warnings


def with_fine_tuned(frame: pd.DataFrame) -> pd.DataFrame:
    """Adds a ``fine_tuned`` row for each ``none`` run: the plain padded Hugging Face forward.

    Same weights and same function, so the quality is shared; the speed follows from the measured
    ratio to the packed one: a run of another execution adds no row. Nor does one on fewer blocks:
    the plain forward, with all of them, is another function. It also computes padding: its FLOPs
    and memory are never those of the packed run, but a gap unless the record holds them as
    ``hf_flops_per_example``, ``hf_peak_mib``.
    """
    packed = (frame["pruning"] == "none") & frame["execution"].eq("packed")
    rows = frame[packed & frame["blocks"].isna()].copy()
    ratio = pd.Series(rows["speed_vs_hf"]).replace(0, float("nan"))
    unpruned = rows["flops_per_example"] / rows["flops_ratio"]
    rows = rows.assign(
        pruning=FINE_TUNED,
        examples_per_second=rows["examples_per_second"] / ratio,
        latency_ms=rows["latency_ms"] * ratio,
        spread_vs_packed=float("nan"),
        spread_vs_hf=float("nan"),
        speed_vs_packed=1 / ratio,
        speed_vs_hf=ratio / ratio,
        writing_vs_packed=1 / rows["writing_vs_hf"],
        writing_vs_hf=rows["writing_vs_hf"] / rows["writing_vs_hf"],
        tokens_per_second=rows["tokens_per_second"] / rows["writing_vs_hf"],
        translation_flops_ratio=float("nan"),
        flops_per_example=rows["hf_flops_per_example"],
        flops_ratio=rows["hf_flops_per_example"] / unpruned,
        peak_mib=rows["hf_peak_mib"],
        memory_vs_packed=rows["peak_mib"] / rows["hf_peak_mib"],
    )
    return pd.concat([frame, rows], ignore_index=True)


def aggregate(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean, sample standard deviation and count over seeds of each cell.

    Returns:
        One row for each (task, model, pruning, budget, variant): ``runs``, ``execution`` (several
        with a slash between them), and for every metric
        ``<metric>_mean``, ``<metric>_std`` (NaN for one seed) and ``<metric>_count``, which is 0
        of what was timed on several machines, or in several ways.
    """
    timed = frame["machine"].astype(str) + frame["timing"].astype(str)
    ways = [(timed, "examples_per_second", TIMED), (frame["weighing"], "peak_mib", WEIGHED)]
    for way, measured, columns in ways:
        frame = frame.assign(way=way.where(frame[measured].notna()))
        several = frame.groupby(KEYS, dropna=False)["way"].transform("nunique")
        frame.loc[pd.Series(several) > 1, columns] = float("nan")
    groups = frame.groupby(KEYS, dropna=False)
    numbers = groups[METRICS].agg(["mean", "std", "count"])
    numbers.columns = [f"{metric}_{statistic}" for metric, statistic in numbers.columns]
    numbers.insert(0, "runs", groups.size())
    numbers.insert(1, "execution", groups["execution"].agg(lambda each: " / ".join(each.unique())))
    return numbers.reset_index()
