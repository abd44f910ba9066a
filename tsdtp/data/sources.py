"""Where rows come from: the hub, files, or a generator; all end as the same columns."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tsdtp.data.synthetic import generate
from tsdtp.models.hub import reach_hub

if TYPE_CHECKING:
    from datasets import Dataset


def label_ids(values: Sequence[Any], label_names: Sequence[str], where: str) -> list[int]:
    """Turns labels, given as names or as numbers, into numbers below `len(label_names)`.

    Where a name looks like the number of another one, names alone are taken. A bool is the name
    that is spelt like it, in a text file as in one that has types; without such names, 0 or 1.

    Raises:
        ValueError: if one is neither.
    """
    numbers = {form: n for n in range(len(label_names)) for form in (n, str(n))}
    names = {form: n for n, name in enumerate(label_names) for form in (name, str(name))}
    hidden = any(numbers.get(form, n) != n for form, n in names.items())
    known: dict[Any, int] = names if hidden else numbers | names
    values = _spelt(values, label_names)
    for row, value in enumerate(values):
        if not isinstance(value, Hashable) or value not in known:
            valid = ", ".join(f"{number}={name}" for number, name in enumerate(label_names))
            valid = f"the names {', '.join(map(repr, label_names))}" if hidden else valid
            raise ValueError(f"{where}: row {row} has the label {value!r}; valid: {valid}")
    return [known[value] for value in values]


def _spelt(values: Sequence[Any], label_names: Sequence[str]) -> Sequence[Any]:
    """The same, but for bools the names that are spelt like them, where there is any such name."""
    spelt = {str(name).casefold(): name for name in label_names}
    if not spelt.keys() & {"true", "false"}:
        return values
    return [spelt.get(str(v).casefold(), str(v)) if isinstance(v, bool) else v for v in values]


def standardise(
    columns: Mapping[str, Sequence[Any]],
    text_columns: Sequence[str],
    label_column: str,
    label_names: Sequence[str],
    where: str,
) -> "Dataset":
    """Checks a split and gives its columns their standard names.

    Args:
        columns: the split's columns by name; ones not needed are ignored.
        text_columns: one or two names; they become `text` and `text_pair`.
        label_column: becomes `label`, an int.
        label_names: by label number.
        where: what to call the split in an error.

    Raises:
        ValueError: if a column is missing, a text is not a string, a label is not known, or
            there is no row.
    """
    from datasets import Dataset

    for name in (*text_columns, label_column):
        if name not in columns:
            raise ValueError(f"{where} has no column {name!r}; it has: {', '.join(columns)}")
    out: dict[str, Any] = {}
    for target, name in zip(("text", "text_pair"), text_columns, strict=False):
        out[target] = columns[name][:]
        for row, text in enumerate(out[target]):
            if not isinstance(text, str):
                raise ValueError(f"{where}: row {row} has no text in {name!r} but {text!r}")
    out["label"] = label_ids(columns[label_column][:], label_names, where)
    if not out["label"]:
        raise ValueError(f"{where} has no rows")
    return Dataset.from_dict(out)


def read_hub(
    path: str,
    name: str | None,
    split: str,
    draw: Callable[["Dataset"], "Dataset"] = lambda rows: rows,
) -> dict[str, list]:
    """Loads one split from the Hugging Face hub, or offline from its cache.

    Args:
        path: of the data set.
        name: of its configuration.
        split: of its splits.
        draw: takes some of the rows, before they become Python's lists; default: all.

    Raises:
        FileNotFoundError: if the hub cannot be reached or does not have it.
        ValueError: if there is no such split.
    """
    from datasets import config, load_dataset

    if not reach_hub():
        config.HF_HUB_OFFLINE = True
    try:
        dataset = draw(load_dataset(path, name, split=split))
    except (ConnectionError, FileNotFoundError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"cannot load {path} from the hub ({reason}); task.data.source=local reads files: set "
            "TSDTP_DATA_DIR to the folder of the data sets, or task.data.local_dir to this one's"
        ) from error
    return {column: dataset[column][:] for column in dataset.column_names}


def read_synthetic(kind: str, split: str, count: int, seed: int) -> "Dataset":
    """Makes one split of a synthetic task; splits do not share a random stream."""
    from datasets import Dataset

    return Dataset.from_list(generate(kind, count, f"{seed}-{split}"))
