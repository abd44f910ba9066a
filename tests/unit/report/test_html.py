"""The page: whole in one file, hostile text harmless, and alive in a real browser."""

from __future__ import annotations

import gzip
import json
import re
import shutil

import pandas as pd
import pytest

from tsdtp.cli.report import main
from tsdtp.report.html import PAGE
from tsdtp.results import EXAMPLES, PREDICTIONS, write_record

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


def example(index: int, prediction: int, kept_layers: list[int]) -> dict:
    tokens = ["[CLS]", HOSTILE if index == 0 else "word", "[SEP]"]
    answer = {"index": index, "label": 1, "prediction": prediction, "probability": 0.75}
    return {**answer, "tokens": tokens, "kept": 2, "kept_layers": kept_layers}


@pytest.fixture
def page(tmp_path, make_record):
    """The address of a report on two methods with examples, TS-DTP right where DTP is wrong."""
    records = [make_record("none", budget=None), make_record("topk", quality={"accuracy": 0.5})]
    for method, prediction in (("ts_dtp", 1), ("dtp", 0)):
        records.append(make_record(method, variant=HOSTILE if method == "dtp" else None))
        folder = tmp_path / f"run{len(records) - 1}"
        folder.mkdir()
        shown = [example(0, prediction, [3, 1, 3]), example(1, 1, [3, 0, 3])]
        content = {"labels": ["bad", "good"], "layers": 3, "examples": shown}
        (folder / EXAMPLES).write_text(json.dumps(content))
        header = "index,label,prediction,probability,tokens,kept\n"
        rows = [f"{i},1,{1 if i else prediction},0.75,{10 + i},5\n" for i in range(8)]
        (folder / PREDICTIONS).write_bytes(gzip.compress((header + "".join(rows)).encode()))
    for number, record in enumerate(records):
        write_record(tmp_path / f"run{number}", record)
    assert main([str(tmp_path), "--quiet"]) == 0
    return tmp_path / PAGE


def test_the_page_needs_nothing_but_itself(page):
    text = page.read_text(encoding="utf-8")
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", text)
    assert addresses and all(a.startswith(("data:", "#")) for a in addresses if a != "x")
    assert "http://" not in re.sub(r"data:[^\"]*", "", text)
    assert text.count("<table") == 3, "a task, the paired tests, what is kept of which"
    assert "ts_dtp 0.5 seed" in text and re.search(r"<td>47\.\d</td>", text), "5 of 10 or 11"
    assert "tsdtp train" in text and "a" * 40 in text, "where the numbers come from"


def test_the_page_says_what_the_others_are_compared_with(page, capsys):
    assert "unpruned model, ts_dtp with every other" in page.read_text(encoding="utf-8")
    assert main([str(page.parent), "--quiet", "--reference", f"dtp {HOSTILE}"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "ts_dtp with every other" not in text and "− ts_dtp 0.5</td>" in text
    (pair,) = pd.read_csv(page.parent / "paired.csv").to_dict("records")
    assert pair["second"] == "ts_dtp 0.5" and f"<td>{100 * pair['difference']:+.2f}</td>" in text
    assert main([str(page.parent), "--reference", "ts_dtp"]) == 0
    where = f"the unpruned model, ts_dtp: {page.parent / 'paired.csv'}, {page}\n"
    assert f"paired tests, each method with {where}" in capsys.readouterr().out
    before = page.read_text(encoding="utf-8")
    assert main([str(page.parent), "--reference", "topk"]) == 2
    assert "'topk'; valid: dtp" in capsys.readouterr().err and before == page.read_text("utf-8")


def test_methods_that_are_not_compared_with_each_other_are_named(tmp_path, make_record, capsys):
    for number, method in enumerate(("ltp", "topk", "ts_dtp")):
        write_record(tmp_path / method, make_record(method, variant="mine" if number else None))
        answers = gzip.compress(b"index,label,prediction\n0,1,1\n")
        (tmp_path / method / PREDICTIONS).write_bytes(answers)
    assert main([str(tmp_path), "--quiet"]) == 0
    said = capsys.readouterr().err
    assert "no run is called ts_dtp, so" in said and "ltp 0.5, topk 0.5 mine, ts_dtp 0.5" in said
    assert main([str(tmp_path), "--quiet", "--reference", "ts_dtp mine"]) == 0
    assert "no run is called" not in capsys.readouterr().err


def test_hostile_text_is_text(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("<script") == 2 and "<img src=x" not in text


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.mark.slow
def test_it_sorts_filters_and_explains_in_a_browser(browser, page):
    tab = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    problems = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(page.as_uri())

    def column(number: int) -> list[str]:
        return (
            tab.locator("table").first.locator(f"tbody tr > :nth-child({number})").all_inner_texts()
        )

    names = tab.locator("table").first.locator("thead button").all_inner_texts()
    accuracy = names.index("Accuracy (%)") + 1
    tab.get_by_role("button", name="Accuracy (%)").press("Enter")
    values = [float(text.split()[0]) for text in column(accuracy)]
    assert values == sorted(values) and len(set(values)) > 1
    tab.get_by_role("button", name="Accuracy (%)").click()
    assert [float(text.split()[0]) for text in column(accuracy)] == sorted(values, reverse=True)

    numbers = {"−0.5": -0.5, "+0.3": 0.3, "< 0.001": 0.001, "89.7 ± 0.2": 89.7, "1.80×": 1.8}
    words = ["ts_dtp 0.4 − topk 0.4", "none"]
    for text, value in {**numbers, **dict(zip(words, words, strict=True)), "–": None}.items():
        cell = "text => value({cells: [{}, {textContent: text}]}, 1)"
        assert tab.evaluate(cell, text) == value, "a name is not sorted by the budget in it"

    assert tab.locator("#list > li").count() == 2
    tab.get_by_label("Show").select_option("differ")
    assert tab.locator("#list > li").count() == 1
    first, second = tab.locator("#list .reading").all()
    assert "ts_dtp 0.5 seed 1: good" in first.inner_text() and "right" in first.inner_text()
    assert "wrong, it is good" in second.inner_text() and HOSTILE in second.inner_text()
    assert first.locator(".dropped").get_attribute("title") == "dropped in block 2"
    assert first.locator(".kept").count() == 2
    tab.get_by_label("Method").select_option(index=1)
    tab.get_by_label("Show").select_option("wrong")
    assert tab.locator("#list > li").count() == 1

    tab.locator("details summary").first.click()
    assert tab.locator("dl:visible").first.locator("dd").first.inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390, "fits a phone"
    assert tab.evaluate("window.hacked") is None and not problems
    tab.close()
