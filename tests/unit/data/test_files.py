import gzip

import pandas as pd
import pytest

from tsdtp.data.files import read_file

FRAME = pd.DataFrame({"text": ["one", 'a lone " quote', "null"], "label": ["0", "1", "1"]})


def write(frame: pd.DataFrame, path, ending: str):
    if ending.startswith("parquet"):
        content = frame.to_parquet()
        path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    elif ending.startswith("jsonl"):
        frame.to_json(path, orient="records", lines=True)
    elif ending.startswith("csv"):
        frame.to_csv(path, index=False)
    else:
        opener = gzip.open if ending.endswith("gz") else open
        with opener(path, "wt") as file:
            file.writelines("\t".join(row) + "\n" for row in [list(frame), *frame.to_numpy()])
    return path


@pytest.mark.parametrize(
    "ending", ["tsv", "tsv.gz", "csv", "csv.gz", "jsonl", "jsonl.gz", "parquet", "parquet.gz"]
)
def test_every_format_gives_back_what_was_written(tmp_path, ending):
    frame = read_file(write(FRAME, tmp_path / f"train.{ending}", ending))
    assert frame["text"].tolist() == FRAME["text"].tolist()
    assert frame["label"].tolist() == FRAME["label"].tolist()


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_a_byte_order_mark_is_no_text(tmp_path, ending):
    path = write(FRAME, tmp_path / f"train.{ending}", ending)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(read_file(path)) == ["text", "label"]


def test_a_lone_quote_does_not_swallow_lines(tmp_path):
    lines = ["text\tlabel", '"he said\t0', "nothing\t1", 'and left"\t0', 'a "b" c\t1']
    (tmp_path / "train.tsv").write_text("\n".join(lines))
    expected = ['"he said', "nothing", 'and left"', 'a "b" c']
    assert read_file(tmp_path / "train.tsv")["text"].tolist() == expected


def test_a_missing_file_is_named_with_the_way_to_set_its_place(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.tsv.*TSDTP_DATA_DIR"):
        read_file(tmp_path / "train.tsv")


def test_an_unknown_format_lists_the_valid_ones(tmp_path):
    (tmp_path / "train.xlsx").touch()
    with pytest.raises(ValueError, match=r"train\.xlsx.*\.tsv, \.csv, \.jsonl, \.parquet"):
        read_file(tmp_path / "train.xlsx")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", b"text\tlabel\nx\t0\ny\t0\tz\n"),
        ("b.tsv", b"text\tlabel\ny\tz\t0\nx\t0\n"),
        ("a.csv", b"text,label\ny, z,0\nx,0\n"),
        ("a.jsonl", b"{oops"),
        ("a.tsv.gz", b"not gzip"),
        ("b.csv.gz", gzip.compress(b"text,label\nx,0\n" * 99)[:-12]),
        ("c.csv.gz", gzip.compress(b"text,label\nx,0\n")[:10] + b"\xff" * 20),
    ],
    # Bytes of gzip hold the time, which names no test.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unreadable_file_gives_one_line_that_names_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name) as error:
        read_file(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("ending", "mark"), [("tsv", "\t"), ("csv", ",")])
def test_a_row_that_is_too_short_is_no_empty_text(tmp_path, ending, mark):
    path = tmp_path / f"train.{ending}"
    path.write_text(f"label{mark}text\n1{mark}good\n0{mark}\n\n1{mark}fine\n")
    assert read_file(path)["text"].tolist() == ["good", "", "fine"]
    path.write_text(f"label{mark}text\n1{mark}good\n0\n1{mark}fine\n")
    with pytest.raises(ValueError, match=rf"{path.name}.*: row 1 has fewer cells than its header"):
        read_file(path)


@pytest.mark.parametrize("ending", ["tsv", "csv"])
def test_a_text_may_be_a_book(tmp_path, ending):
    frame = pd.DataFrame({"text": ["word " * 40_000, "x"], "label": ["0", "1"]})
    assert read_file(write(frame, tmp_path / f"train.{ending}", ending)).equals(frame)
