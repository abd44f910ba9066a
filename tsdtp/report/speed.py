"""What `tsdtp bench` measured: a table with a line a cell."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from tsdtp.atomic import write_atomic
from tsdtp.report.caption import caption
from tsdtp.report.figures import file_place, save
from tsdtp.report.frame import timed_on, to_frame
from tsdtp.report.speed_figures import draw_over_length, draw_speedup, of_several_lengths
from tsdtp.report.tables import GAP, LABELS, formatted
from tsdtp.results import RunRecord, flops_saved

NOTE = (
    "FLOPs saved is against the unpruned packed model; Time/FLOPs is the part of that which the "
    "stopwatch sees. Ratios are of medians over rounds interleaved in one process, ± their "
    "interquartile range, and in brackets 1 - p of a sign test over the rounds: with 7 of them "
    "98 % where all have the same order, and never more. Above 1× the pruned model is faster. "
    "Reached is the part of the roofline bound, measured beside it. MiB is the peak of the forward "
    "beyond weights and inputs, pruned and plain Hugging Face. Of a translator all of this is the "
    "encoder's; Writing is the whole model with so many tokens forced, where the decoder, which "
    "stays whole, dominates unless sources are long."
)


def speed_frame(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One row for each record of `tsdtp bench`; empty where there is none."""
    frame = pd.DataFrame([_row(record) for record in benchmarks(records)])
    keys = ["task", "model", "method", "dtype", "batch", "order", "length", "tokens", "flops"]
    return frame if frame.empty else frame.sort_values(keys, key=_sortable, ignore_index=True)


def benchmarks(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Those of `tsdtp bench`."""
    return [r for r in records if r.speed is not None and "roofline" in r.speed]


def _sortable(column: pd.Series) -> pd.Series:
    return column if pd.api.types.is_numeric_dtype(column) else column.astype(str)


def _row(record: RunRecord) -> dict[str, Any]:
    speed, memory, pruning = record.speed or {}, record.memory or {}, record.identity["pruning"]
    sure, spread = speed["confidence"], speed["spread"]
    config = record.provenance["config"]["pruning"]
    tokens = speed["tokens"]
    return {
        **{key: record.identity[key] for key in ("task", "model")},
        "method": LABELS.get(pruning, pruning),
        "dtype": speed["dtype"],
        "batch": speed["batch_size"],
        "order": speed["order"],
        "threads": speed["threads"],
        "machine": timed_on(record),
        **{key: record.identity.get(key) for key in ("variant", "run_id", "budget")},
        "blocks": record.provenance["config"].get("model", {}).get("blocks"),
        "keep": _listed(record.provenance["config"].get("keep_schedule")),
        "layers": _listed(config.get("layers")),
        "features": config.get("task_feature_dim"),
        "fuse": config.get("fuse") or None,  # once a boolean
        "tokens": "texts" if tokens is None else "–".join(map(str, _several(tokens))),
        "length": tokens if isinstance(tokens, int) else None,
        "flops": flops_saved(record),
        **{key: speed[key] for key in ("vs_packed", "vs_hf", "latency_ms")},
        **{f"spread_{key}": spread[key] for key in ("vs_packed", "vs_hf")},
        **{f"sure_{key}": sure[key] for key in ("vs_packed", "vs_hf")},
        "end_to_end": (speed.get("end_to_end") or {}).get("vs_hf"),
        **_writing(speed.get("generation") or {}),
        "reached": speed["roofline"]["reached"],
        **{key: memory.get(key) for key in ("peak_mib", "hf_peak_mib")},
        "memory": memory.get("vs_packed"),
    }


def _listed(values: list | None) -> str | None:
    return None if values is None else ", ".join(map(str, values))


def _writing(generation: dict[str, Any]) -> dict[str, Any]:
    """What the whole of a translator does, beams and all; without values for a classifier."""
    keys = ("num_beams", "new_tokens", "tokens_per_second", "vs_packed", "vs_hf")
    return {f"writing_{key}": generation.get(key) for key in keys}


def _several(tokens: int | list[int]) -> list[int]:
    return tokens if isinstance(tokens, list) else [tokens]


def to_markdown(records: Iterable[RunRecord]) -> str:
    """A table for each task and model, as GitHub Markdown, and where its numbers come from."""
    records, parts = benchmarks(records), []
    runs = to_frame(records)
    for _, rows in speed_frame(records).groupby(["task", "model"]):
        task, model = rows[["task", "model"]].iloc[0]
        measured = runs.query("task == @task and model == @model")
        shown = pd.DataFrame([_shown(row) for row in rows.to_dict("records")])
        shown = shown.loc[:, (shown != GAP).any()]
        for column in ("Machine", "Threads", "Features"):  # the caption and the records say which
            if column in shown and shown[column][shown[column] != GAP].nunique() == 1:
                del shown[column]
        text = shown.to_markdown(index=False, disable_numparse=True)
        parts += [f"## {task} · {model}", caption(task, model, measured), text]
    return "\n\n".join([*parts, NOTE]) + "\n"


def _shown(row: dict[str, Any]) -> dict[str, str]:
    peaks = (row["peak_mib"], row["hf_peak_mib"])
    return {
        "Method": row["method"],
        "Budget": formatted(row["budget"], "{:g}"),
        "Blocks": formatted(row["blocks"], "{:.0f}"),
        "Fused": formatted(row["fuse"], "{}"),
        "Features": formatted(row["features"], "{:.0f}"),
        "Machine": row["machine"],
        "Threads": f"{row['threads']}",
        "Type": row["dtype"],
        "Batch": f"{row['batch']}",
        "Order": row["order"],
        "Tokens": row["tokens"],
        "FLOPs saved": f"{row['flops']:.2f}×",
        "vs packed": _ratio(row, "vs_packed"),
        "Time/FLOPs": f"{row['vs_packed'] / row['flops']:.2f}",
        "vs HF": _ratio(row, "vs_hf"),
        "with tokenising": formatted(row["end_to_end"], "{:.2f}×"),
        "Writing": formatted(row["writing_new_tokens"], "{:.0f} tokens"),
        "Beams": formatted(row["writing_num_beams"], "{:.0f}"),
        "Tokens/s": formatted(row["writing_tokens_per_second"], "{:.0f}"),
        "Writing vs packed": formatted(row["writing_vs_packed"], "{:.2f}×"),
        "Writing vs HF": formatted(row["writing_vs_hf"], "{:.2f}×"),
        "ms a batch": f"{row['latency_ms']:.1f}",
        "Reached": f"{row['reached']:.0%}",
        "MiB": " / ".join(formatted(peak, "{:.1f}") for peak in peaks),
    }


def _ratio(row: dict[str, Any], key: str) -> str:
    sure = min(row[f"sure_{key}"], 0.99)
    return f"{row[key]:.2f}× ± {row[f'spread_{key}']:.2f} ({sure:.0%})"


def save_speed(records: Iterable[RunRecord], out: str | Path) -> list[Path]:
    """Writes speed.md, speed.csv and figures; nothing where nothing was benchmarked."""
    records = benchmarks(records)
    if not records:
        return []
    frame = speed_frame(records)
    out = Path(out)
    paths = [
        write_atomic(out / "speed.md", to_markdown(records)),
        write_atomic(out / "speed.csv", frame.to_csv(index=False, lineterminator="\n")),
    ]
    for _, rows in frame.groupby(["task", "model"]):
        place = file_place(*rows[["task", "model"]].iloc[0])
        figures = {"benchmark": draw_speedup(rows)}  # a report's figures are in this folder, too
        if len(rows := of_several_lengths(rows)):
            figures["latency"] = draw_over_length(rows, "latency_ms", "milliseconds a batch")
            figures["memory"] = draw_over_length(rows, "peak_mib", "peak MiB of the forward")
        for name, figure in figures.items():
            paths.append(save(figure, out / f"{name}_{place}.png"))
    return paths
