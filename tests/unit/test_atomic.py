"""A reader finds the old file or the new one, whatever happens to the writer."""

import os

from tsdtp.atomic import write_atomic


def test_what_is_renamed_lies_on_the_disk(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, r=real: done.append(n) or r(*a))
    write_atomic(tmp_path / "text", "words")
    assert done == ["fsync", "replace"] and (tmp_path / "text").read_text() == "words"


def test_temporary_file_is_complete_and_beside_its_target(tmp_path, monkeypatch):
    seen = []
    rename = os.replace

    def spy(source, target):
        seen.append((source.parent, source.read_text(), target.exists()))
        rename(source, target)

    monkeypatch.setattr(os, "replace", spy)
    assert write_atomic(tmp_path / "t.txt", "é\n").read_text(encoding="utf-8") == "é\n"
    assert seen == [(tmp_path, "é\n", False)]
