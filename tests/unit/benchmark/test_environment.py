"""What is recorded about a machine, and what must not be."""

import getpass
import json
import os
import re
import shutil
import socket
import subprocess
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from tsdtp.benchmark.environment import PACKAGES, _version, environment, git_state, now

UNKNOWN = {"commit": None, "dirty": None}
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git")


def git(folder, *arguments):
    """Runs git without the user's configuration (hooks, signing)."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    variables |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path):
    package = tmp_path / "repository" / "package"
    package.mkdir(parents=True)
    (package / "module.py").write_text("x = 1\n")
    git(package.parent, "init")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-m", "first")
    return package.parent


def test_environment_is_json_with_these_keys():
    record = json.loads(json.dumps(environment()))
    assert set(record) == {"versions", "hardware"}
    assert set(record["versions"]) == {"python", "cuda", *PACKAGES}
    assert set(record["hardware"]) == {"cpu", "cores", "memory_gib", "gpu", "threads"}


def test_environment_known_answers():
    record = environment()
    assert record["versions"]["torch"] == version("torch")
    assert record["hardware"]["threads"] == torch.get_num_threads()
    assert record["hardware"]["cores"] >= 1
    assert record["hardware"]["memory_gib"] > 0
    assert record["hardware"]["cpu"]
    assert (record["hardware"]["gpu"] is None) == (not torch.cuda.is_available())


def test_environment_names_neither_host_nor_user_nor_paths():
    record = environment()
    text = json.dumps([list(part.values()) for part in record.values()])
    names = {socket.gethostname(), socket.gethostname().split(".")[0], getpass.getuser()}
    assert names.isdisjoint(re.split(r"[^\w.-]+", text))
    assert str(Path.home()) not in text
    assert os.getcwd() not in text


def test_a_package_that_is_not_installed_has_no_version():
    assert _version("a-package-that-nobody-has") is None


def test_now_is_utc_to_the_second():
    moment = datetime.fromisoformat(now())
    assert moment.utcoffset() == timedelta(0)
    assert moment.microsecond == 0


def test_git_state_outside_a_repository(tmp_path):
    assert git_state(tmp_path) == UNKNOWN


def test_git_state_of_a_missing_folder(tmp_path):
    assert git_state(tmp_path / "missing") == UNKNOWN


def test_git_state_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state() == UNKNOWN


def test_git_state_of_this_package_is_json():
    assert set(json.loads(json.dumps(git_state()))) == {"commit", "dirty"}


@needs_git
def test_git_state_of_a_repository(repository):
    head = git(repository, "rev-parse", "HEAD").strip()
    assert git_state(repository / "package") == {"commit": head, "dirty": False}
    (repository / "package" / "module.py").write_text("x = 2\n")
    assert git_state(repository / "package") == {"commit": head, "dirty": True}


@needs_git
def test_git_state_inside_a_hook_is_still_the_folder_s(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert git_state(repository)["dirty"] is False


@needs_git
def test_git_state_of_a_folder_that_the_repository_does_not_track(repository):
    installed = repository / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "module.py").write_text("x = 1\n")
    assert git_state(installed) == UNKNOWN


@needs_git
def test_git_state_before_the_first_commit(tmp_path):
    (tmp_path / "module.py").write_text("x = 1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    assert git_state(tmp_path) == UNKNOWN
