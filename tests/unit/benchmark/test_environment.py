"""What is recorded about a machine, and what must not be."""

import getpass
import json
import os
import re
import socket
from importlib.metadata import version
from pathlib import Path

import torch

from tsdtp.benchmark.environment import PACKAGES, _version, environment


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
