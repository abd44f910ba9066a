"""Config files by name: presets of a group, and folders of the user's own."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from tsdtp.cli.config import ConfigError, config_dir, quoted


def user_folder(folder: str | Path | None) -> list[str]:
    """The override by which a config folder of the user's own is searched as well."""
    if folder is None:
        return []
    place = quoted(f"file://{Path(folder).resolve()}")  # no URI: Hydra takes % for a letter
    return [f"hydra.searchpath=[{place}]"]


def load_preset(group: str, name: str) -> DictConfig:
    """Reads configs/GROUP/NAME.yaml, or a file of the user's own.

    Raises:
        ConfigError: for an unknown name, with the valid ones, or a file that is no such yaml.
    """
    folder = Path(config_dir()) / group
    path = Path(name) if name.endswith(".yaml") else folder / f"{name}.yaml"
    if not path.is_file():
        valid = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ConfigError(f"no such {group}: {name}; valid: {valid}, or a file ending in .yaml")
    try:
        preset = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(preset, DictConfig):
        raise ConfigError(f"{path}: a list; valid: keys with values, as in the others of {group}")
    return preset
