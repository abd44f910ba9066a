"""What the docs show runs: their Python as it stands, their commands in a fast variant."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from shown import commands, fast
from tiny import FAST, REPOSITORY

from tsdtp.results import read_record

# The cells of every sweep are composed by `tsdtp validate` already, which takes a minute.
SWEEPS = ("sweep=smoke",)
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))


@pytest.mark.usefixtures("no_hub")
def test_the_library_page_runs_from_top_to_bottom():
    names: dict = {}
    page = (REPOSITORY / "docs" / "library.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(block, names)
    assert 0.4 < names["spent"] < 0.8
    assert [[*numbers] for numbers in names["found"]] == [["LABEL_0"]] * 31
    assert type(names["plain"]).__name__ == "BertForSequenceClassification"


def test_a_method_in_a_package_of_its_own_as_contributing_shows_it(tsdtp, monkeypatch):
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    block = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)
    topk = (REPOSITORY / "configs" / "pruning" / "topk.yaml").read_text()
    settings = re.sub("_target_: .*", "_target_: my_package.mine.Mine", topk)
    files = {"my_package/mine.py": block and block[1], "my_configs/pruning/mine.yaml": settings}
    for name, text in files.items():
        assert text and name in page
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text(text)
    monkeypatch.syspath_prepend(Path.cwd())
    outcome = tsdtp("train", "pruning=mine", "pruning.budget=0.6", *FAST, "--config-dir=my_configs")
    assert outcome.code == 0, outcome.err
    cost = read_record(Path("outputs/runs/synthetic_sentence/tiny_bert/mine-0.6/seed0")).cost
    assert 0.5 < cost["flops_ratio"] < 0.7
    assert min(cost["tokens_kept"]) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("page", [page.name for page in DOCS])
def test_the_commands_of_a_page_run(page, tsdtp, reference):
    for command in commands((REPOSITORY / "docs" / page).read_text()):
        name, *arguments = fast(command)
        if name == "sweep" and not set(SWEEPS) & set(arguments):
            continue
        outcome = tsdtp(name, *arguments)
        assert outcome.code == 0, f"{command}\n{outcome.err}"


@pytest.fixture
def reference(tsdtp, tmp_path):
    """The folder that one command reports on, with the last seeds of SST-2 alone."""
    folder, others = "outputs/reference/classification/sst2", shutil.ignore_patterns("seed[0-2]")
    shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=others)


PAGES = [*DOCS, REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"]


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for path, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"
