"""What a result was measured with: versions and hardware. No host, user or path names."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

PACKAGES = (
    "tsdtp",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
)


def environment() -> dict[str, dict]:
    """Versions and hardware, ready for JSON.

    Returns:
        versions: python, cuda (of torch's build) and each of PACKAGES; None where not installed.
        hardware: cpu (model name), cores (logical, that this process may use), memory_gib (of the
            machine), gpu (name of the current one, None without), threads (torch's setting now).
    """
    packages = {name: _version(name) for name in PACKAGES}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "versions": {
            "python": platform.python_version(),
            "cuda": torch.version.cuda,
            **packages,
        },
        "hardware": {
            "cpu": _cpu_name(),
            "cores": _cores(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "gpu": gpu,
            "threads": torch.get_num_threads(),
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cores() -> int | None:
    """A container or a batch system may grant fewer cores than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu_name() -> str:
    """Model name of the first CPU; the architecture on systems that do not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
