"""Hydra's side of things: where configs lie, our resolvers, one place that instantiates."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import InstantiationException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

HYDRA_VERSION_BASE = "1.3"
# In a cell's environment: the digest of the source that its sweep began with.
BEGUN_WITH = "TSDTP_CODE"
WANDB_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # the old name and the new one


def config_dir() -> str:
    """The configs: beside the package in a checkout, inside it when installed from a wheel."""
    package = Path(__file__).resolve().parent.parent
    candidates = (package / "configs", package.parent / "configs")
    return str(next(c for c in candidates if c.is_dir()))


def leaves(value: Any, join: str, items: str | None = None, path: str = "") -> Iterator[Any]:
    """Pairs of a nested value's paths and what stands at their ends.

    Args:
        value: mappings of mappings.
        join: between the keys of a path.
        items: name of a list's items, which are then numbered; None: a list is an end.
        path: of the value itself.
    """
    if items and isinstance(value, list):
        value = {f"{items}{i}": item for i, item in enumerate(value)}
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, item in value.items():
        yield from leaves(item, join, items, f"{path}{join}{key}" if path else str(key))


def task_name(name: str, source: str) -> str:
    """A task on generated data is another task, and says so in every table."""
    is_stand_in = source == "synthetic" and not name.startswith("synthetic")
    return f"{name}_synthetic" if is_stand_in else name


def run_id(
    task: str,
    source: str,
    model: str,
    method: str,
    budget: float | None,
    variant: str | None,
    seed: int,
) -> str:
    """A run's place among all runs: task/model/method[-budget][-variant]/seed."""
    named = (method, None if budget is None else f"{budget:g}", variant)
    cell = "-".join(str(part) for part in named if part is not None)
    return f"{task_name(task, source)}/{model}/{cell}/seed{seed}"


def setting(
    dtype: str,
    batch_size: int,
    order: str,
    threads: int | None,
    tokens: int | Sequence[int] | None,
    keep_schedule: Sequence[float] | None,
    num_beams: int,
    blocks: int | None = None,
) -> str:
    """Name of what a benchmark was measured with, as a variant."""
    parts = [dtype, f"batch{batch_size}", order, f"threads{threads or 'all'}"]
    parts += [] if tokens is None else [f"tokens{_joined(tokens)}"]
    parts += [] if keep_schedule is None else [f"keep{_joined(keep_schedule)}"]
    parts += [] if num_beams == 1 else [f"beam{num_beams}"]
    parts += [] if blocks is None else [f"blocks{blocks}"]
    return "_".join(parts)


def _joined(values: float | str | Sequence[float]) -> str:
    """Of words as well: what is no number is refused later, by its name."""
    several = [values] if isinstance(values, str | float | int) else values
    return "_".join(f"{v:g}" if isinstance(v, float) else str(v) for v in several)


def gpus(accelerator: str, devices: int) -> int | None:
    """How many GPUs a run asks a cluster for."""
    return devices if accelerator == "gpu" else None


def wandb_offline() -> bool:
    """Whether Weights & Biases has no key to log in with; not asked where WANDB_MODE is set."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE"):
        return False
    own = os.environ.get("WANDB_BASE_URL")
    hosts = (urlsplit(own).netloc,) if own else WANDB_HOSTS
    try:
        keys = netrc.netrc(os.environ.get("NETRC"))
        return not any(map(keys.authenticators, hosts))
    except (OSError, netrc.NetrcParseError):
        return True


def options(choices: DictConfig) -> str:
    """The groups of a composed config and what may be chosen in each, a line a group."""
    loader = GlobalHydra.instance().config_loader()
    groups = sorted(group for group in map(str, choices) if not group.startswith("hydra/"))
    return "\n".join(f"{group}: {', '.join(loader.get_group_options(group))}" for group in groups)


def register_resolvers() -> None:
    """Makes `${tsdtp.…:}` known to OmegaConf."""
    for function in (run_id, setting, task_name, gpus, wandb_offline, options):
        OmegaConf.register_new_resolver(f"tsdtp.{function.__name__}", function, replace=True)


# On import: a launcher's worker unpickles its run and never passes through `main`.
register_resolvers()


class ConfigError(ValueError):
    """What is wrong with a configuration, in words for its author."""


def missing_extra(package: str, extra: str) -> str:
    """That a package is not installed, and the command that brings it."""
    return f"{package} is not installed: pip install -e '.[{extra}]' in the clone of tsdtp"


def as_text(value: Any) -> str:
    """A value as an override has it."""
    return "null" if value is None else str(value)


def quoted(value: object) -> str:
    """A text as an override has it, whatever characters it is made of."""
    return QuotedString(str(value), Quote.single).with_quotes()


def device_count(hardware: Mapping[str, Any]) -> int:
    """Devices that a run uses; -1: all there are."""
    devices = hardware["devices"]
    return len(devices) if isinstance(devices, Sequence) else devices


def instantiate(config: DictConfig, **arguments) -> Any:
    """Builds what a node's `_target_` names; the one place that does.

    Raises:
        ConfigError: with the constructor's own words if it refuses its arguments.
    """
    try:
        return hydra_instantiate(config, _convert_="all", **arguments)
    except InstantiationException as error:
        reason = error.__cause__ if isinstance(error.__cause__, ValueError) else error
        raise ConfigError(str(reason)) from error


def given(settings: Mapping[Any, Any]) -> dict[Any, Any]:
    """Those that are not null."""
    return {key: value for key, value in settings.items() if value is not None}


def plain(config: DictConfig) -> dict[str, Any]:
    """A resolved copy as plain dictionaries and lists."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
