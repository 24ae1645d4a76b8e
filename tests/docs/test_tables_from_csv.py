"""Every table of the README and of docs/ that has a CSV is what that CSV says."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs/tables.py")
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)


@pytest.mark.parametrize("page", tables.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_those_of_their_csv(page):
    assert tables.written(page) == page.read_text(encoding="utf-8"), "run python docs/tables.py"


def test_every_csv_is_shown_somewhere():
    shown = {match["name"] for page in tables.pages() for match in tables.TABLE.finditer(page.read_text("utf-8"))}
    assert {path.stem for path in tables.DATA.glob("*.csv")} == shown


def test_a_number_changed_by_hand_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "DATA", tmp_path)
    (tmp_path / "times.csv").write_text("what,ms,commit,machine,date\nours,3.5,abc,a laptop,2026-01-01\n")
    page = tmp_path / "page.md"
    page.write_text("<!-- table times -->\n| what | ms |\n<!-- /table -->\n")
    page.write_text(tables.written(page))
    assert "| ours | 3.5 |" in page.read_text() and "commit abc, a laptop, 2026-01-01" in page.read_text()
    assert tables.written(page) == page.read_text()
    page.write_text(page.read_text().replace("3.5", "2.5"))
    assert tables.written(page) != page.read_text()


def test_a_csv_without_origin_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "DATA", tmp_path)
    (tmp_path / "times.csv").write_text("what,ms\nours,3.5\n")
    with pytest.raises(SystemExit, match=r"times\.csv: no rows, or one without commit, machine, date at its end"):
        tables.render("times", "times.csv")
