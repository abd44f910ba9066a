from __future__ import annotations

import gzip

import pytest

from tsdtp.data.parallel import (
    check_full,
    pairs_of,
    read_lines,
    read_parallel,
    without_empty,
    without_overlap,
)


def write(folder, **files):
    for name, lines in files.items():
        path = folder / name.replace("_", ".", 1)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_lines_end_at_newlines_alone(tmp_path):
    text = "a\u2028b\r\n\x0c c \x85d\n\nlast"
    (tmp_path / "x.en").write_bytes(text.encode())
    expected = ["a\u2028b", "c \x85d", "", "last"]
    assert read_lines(tmp_path / "x.en") == expected
    (tmp_path / "y.en.gz").write_bytes(gzip.compress(f"{text}\n".encode()))
    assert read_lines(tmp_path / "y.en") == expected
    (tmp_path / "z.en").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_lines(tmp_path / "z.en") == expected, "a byte order mark is no text"


def test_a_missing_side_is_named(tmp_path):
    write(tmp_path, a_en=["one"])
    with pytest.raises(FileNotFoundError, match=r"no parallel text .*a\.de .*needs both sides"):
        read_parallel(tmp_path, "a", ["en", "de"])


def test_unequal_line_counts_are_named(tmp_path):
    write(tmp_path, a_en=["one", "two"], a_de=["eins"])
    with pytest.raises(ValueError, match=r"a\.en has 2 lines and .*a\.de 1: .*same number"):
        read_parallel(tmp_path, "a", ["en", "de"])


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\n", gzip.compress(b"one\n" * 99)[:15]],
    ids=["no utf-8", "half a gzip file"],
)
def test_what_is_no_text_is_named(tmp_path, content):
    name = "a.en" if content[:2] == b"\xff\xfe" else "a.en.gz"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"cannot read .*{name} as UTF-8 text"):
        read_lines(tmp_path / "a.en")


def test_a_row_without_a_language_is_named():
    rows = [{"en": " one ", "de": "eins"}, {"en": "two", "fr": "deux"}]
    assert pairs_of(rows[:1], ["en", "de"], "x") == {"source": ["one"], "target": ["eins"]}
    with pytest.raises(ValueError, match="x: row 1 has no 'de'; it has: en, fr"):
        pairs_of(rows, ["en", "de"], "x")


def test_empty_lines_go_or_are_refused():
    pairs = {"source": ["one", "", "three"], "target": ["eins", "zwei", ""]}
    assert without_empty(pairs) == ({"source": ["one"], "target": ["eins"]}, 2)
    with pytest.raises(ValueError, match="test: line 2 of the source is empty"):
        check_full(pairs, "test")
    with pytest.raises(ValueError, match="test has no lines"):
        check_full({"source": [], "target": []}, "test")
    check_full({"source": ["one"], "target": ["eins"]}, "test")


def test_no_line_of_held_out_text_is_trained_on():
    """Neither its source nor its target, in whatever case and spacing."""
    train = {"source": ["A  dog", "cat", "cow"], "target": ["Hund", "KATZE", "Kuh"]}
    held_out = [{"source": ["a dog"], "target": ["x"]}, {"source": ["y"], "target": ["Katze "]}]
    assert without_overlap(train, held_out) == ({"source": ["cow"], "target": ["Kuh"]}, 2)
