"""README, CONTRIBUTING and docs/: links and anchors lead somewhere, paths and names exist, every page can be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import ltp

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs/README.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("config/*.md"), *ROOT.glob("results/*.md"), *ROOT.glob("docs/**/*.md")])
README_LINES = 150  # what can be read in a minute or so; details belong into docs/

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
FOLDERS = ("ltp", "tests", "docs", "config", "workflow", "benchmarks", "profiles", ".ci", ".github")
PATH = re.compile(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]*")
NAME_IN = re.compile(r"`([A-Za-z_][\w.]*)`(?:\(\))? in\s+\[?`([\w./-]+\.py)`")


def prose(page: Path) -> str:
    """A page without its fenced blocks, whose brackets and backticks mean something else."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that a forge makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[Path, str]]:
    """The files and anchors within the project that a page links to."""
    found = []
    for target in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            found.append(((page.parent / path).resolve() if path else page, anchor))
    return found


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page):
    for target, anchor in links(page):
        assert target.is_relative_to(ROOT) and target.exists(), f"{name(page)} links to {target}, which is not there"
        assert not anchor or anchor in anchors(target), f"{name(page)}: {name(target)} has no heading #{anchor}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_paths_in_backticks_exist(page):
    """The changelog may name what is gone; no other page may."""
    for span in SPAN.findall(prose(page)):
        for word in span.split():
            if PATH.fullmatch(word):
                assert list(ROOT.glob(word)), f"{name(page)} names `{word}`, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_lie_where_a_page_says(page):
    """`thing` in `path.py`: the file defines it, as function, class, constant or field."""
    for thing, path in NAME_IN.findall(prose(page)):
        last = re.escape(thing.rsplit(".", 1)[-1])
        defined = re.compile(rf"^\s*(def|class) {last}\b|^\s*{last}(: [^=\n]+)?(\s=|$)", re.MULTILINE)
        assert defined.search((ROOT / path).read_text(encoding="utf-8")), f"{name(page)}: `{thing}` is not in {path}"


def test_every_page_can_be_reached_from_the_index():
    """A link to a folder shows its README.md, as forges do."""
    reached, waiting = set(), [INDEX]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            found = [target / "README.md" if target.is_dir() else target for target, _ in links(page)]
            waiting += [target for target in found if target.suffix == ".md" and target.is_file()]
    assert set(PAGES) <= reached
    assert INDEX in {target for target, _ in links(ROOT / "README.md")}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_page_installs_another_project(page):
    """PyPI's `ltp` is the Language Technology Platform; this distribution is learned-token-pruning."""
    assert not re.search(r"pip install[^\n`]*[ '\"]ltp(\[|['\"`\s]|$)", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_citation_and_changelog_know_the_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == ltp.__version__
    assert f"## [{ltp.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
