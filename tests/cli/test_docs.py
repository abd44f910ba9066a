"""What the docs show runs: their Python as it stands, their commands in a fast variant."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from shown import commands, fast
from tiny import REPOSITORY

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
