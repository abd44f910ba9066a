"""Where pretrained models come from: a folder, or the Hugging Face hub where it answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.utils import get_session
from safetensors import SafetensorError


def hub_answers(timeout: float = 5.0) -> bool:
    """Asks the hub for a sign of life, but where HF_HUB_OFFLINE is set.

    Args:
        timeout: seconds.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=timeout)
    except Exception:  # whatever its HTTP library of the day raises
        return False
    return True


@cache
def reach_hub() -> bool:
    """Whether the hub answers, asked once; if not, the whole process goes offline, as a run may.

    Offline, what is cached still loads and all else fails at once. Left to themselves the hub's
    clients ask again for half a minute before every file, cached or not.
    """
    answers = hub_answers()
    constants.HF_HUB_OFFLINE |= not answers
    return answers


def find_source(path: str, local_dir: str | None) -> str:
    """Where to load from: a folder if there is one, the hub id otherwise.

    Args:
        path: a hub id such as `org/name`, or a folder.
        local_dir: a folder that may hold `name`.
    """
    candidates = [Path(path)]
    if local_dir is not None:
        candidates.insert(0, Path(local_dir) / Path(path).name)
    return str(next((c for c in candidates if (c / "config.json").is_file()), path))


@contextmanager
def source_of(path: str, local_dir: str | None) -> Iterator[str]:
    """Where to load from; what goes wrong there becomes one line that names the ways out.

    Raises:
        ValueError: nothing is found there, or it is damaged.
    """
    source = find_source(path, local_dir)
    hub = "" if Path(source).is_dir() or reach_hub() else ", which cannot be reached"
    try:
        yield source
    except (OSError, SafetensorError) as error:
        if Path(source).is_dir():
            reason = str(error).partition("\n")[0]
            raise ValueError(f"cannot load a pretrained model from {source}: {reason}") from error
        tried = f"folder {local_dir or path} and the hub id {path}{hub}"
        raise ValueError(
            f"model.path={path}: nothing found (tried {tried}); set TSDTP_MODEL_DIR or "
            f"model.local_dir to a folder that holds {Path(path).name}/, or allow network access"
        ) from error
