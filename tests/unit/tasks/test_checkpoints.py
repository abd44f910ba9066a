from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from tsdtp.tasks.checkpoints import RotatingCheckpoints, damage, previous_of


def checkpoint(epoch: int) -> dict:
    return {"state_dict": {"w": torch.full((1000,), float(epoch))}, "loops": {}, "epoch": epoch}


def epoch_in(path) -> int | None:
    return None if damage(path) else torch.load(path, weights_only=True)["epoch"]


def test_the_one_before_is_kept(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    for epoch in range(3):
        RotatingCheckpoints().save_checkpoint(checkpoint(epoch), path)
    assert (epoch_in(previous_of(path)), epoch_in(path)) == (1, 2)
    assert len(list(path.parent.iterdir())) == 2


def test_what_a_killed_process_left_half_written_goes(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # it had no time
        patch.setattr(os, "fsync", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            RotatingCheckpoints().save_checkpoint(checkpoint(0), path)
    assert len(list(tmp_path.iterdir())) == 1
    RotatingCheckpoints().save_checkpoint(checkpoint(1), path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("crash_at", [0, 1, 2])
def test_at_every_moment_a_whole_one_lies_there(tmp_path, monkeypatch, crash_at):
    path = tmp_path / "last.ckpt"
    for epoch in range(2):
        RotatingCheckpoints().save_checkpoint(checkpoint(epoch), path)
    real, renames = os.replace, []

    def crash(source, target):
        renames.append(target)
        if len(renames) == crash_at + 1:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        RotatingCheckpoints().save_checkpoint(checkpoint(2), path)
    found = {epoch_in(p) for p in (path, previous_of(path)) if p.exists()}
    assert found in ({0, 1}, {1}), "the newest whole one was lost"


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [lambda d: d[:-1000], lambda d: d[:10], lambda d: b"", flip],
    ids=["shorter", "a beginning", "empty", "a bit flipped"],
)
def test_damage_is_found(tmp_path, spoil):
    path = tmp_path / "last.ckpt"
    RotatingCheckpoints().save_checkpoint(checkpoint(0), path)
    assert damage(path) is None
    path.write_bytes(spoil(path.read_bytes()))
    reason = damage(path)
    assert reason and "\n" not in reason


def test_other_files_are_no_checkpoints(tmp_path):
    path = tmp_path / "nan_batch.pt"
    torch.save({"batch": {}}, path)
    assert damage(path) == "not a training checkpoint"
    torch.save(damage, path)  # a function: unpickling it could run anything
    assert damage(path)
    assert damage(tmp_path / "nowhere.ckpt")
