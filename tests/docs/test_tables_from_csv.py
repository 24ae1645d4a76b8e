"""Every table of the README and of docs/ that has a CSV is what that CSV says."""

import importlib.util
from pathlib import Path

import pytest
from helpers.fake_study import EXAMPLES, write_study

from ltp.analysis.tables import write_tables

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


def test_a_study_s_tables_are_taken_where_a_page_has_a_place_for_them(tmp_path, monkeypatch):
    write_tables(write_study(tmp_path / "study"), tmp_path / "study")
    runs = (tmp_path / "study/runs.csv").read_text().splitlines()
    columns = ["environment_commit", "environment_device_name", "environment_threads"]
    runs = [f"{line},{','.join(columns) if number == 0 else 'abc,a laptop,1'}" for number, line in enumerate(runs)]
    (tmp_path / "study/runs.csv").write_text("\n".join(runs) + "\n")
    page = tmp_path / "page.md"
    monkeypatch.setattr(tables, "DATA", tmp_path / "data")
    monkeypatch.setattr(tables, "pages", lambda: [page])
    (tmp_path / "data").mkdir()
    page.write_text("Nothing.\n")
    with pytest.raises(SystemExit, match="mine: no page has a place for it; put <!-- table mine-summary --> into one"):
        tables.take("mine", tmp_path / "study")
    page.write_text("<!-- table mine-lengths -->\n<!-- /table -->\n")
    tables.take("mine", tmp_path / "study")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine-lengths.csv"]
    text = tables.written(page)
    assert "| task | word pieces | texts | dense | LTP | top-k | manual thresholds |" in text
    assert "commit abc, a laptop, 1 thread(s) a run, 2026-01-01" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| Rotten Tomatoes")]
    assert sum(int(row[2]) for row in rows[:-1]) == EXAMPLES and rows[-1][1:3] == ["as picked on validation", ""]


def test_a_study_without_results_leaves_the_tables_as_they_are(tmp_path, monkeypatch):
    page, study = tmp_path / "page.md", tmp_path / "study"
    monkeypatch.setattr(tables, "DATA", tmp_path)
    monkeypatch.setattr(tables, "pages", lambda: [page])
    page.write_text("<!-- table mine-summary -->\n<!-- /table -->\n<!-- table mine-matched -->\n<!-- /table -->\n")
    (tmp_path / "mine-summary.csv").write_text("as it was\n")
    with pytest.raises(SystemExit, match=r"runs\.csv: cannot be read .*; make it with `ltp tables`"):
        tables.take("mine", study)
    write_tables(write_study(study)[1:], study)  # without the dense run
    with pytest.raises(SystemExit, match=r"matched\.csv: has no rows of finished runs; nothing is copied"):
        tables.take("mine", study)
    assert (tmp_path / "mine-summary.csv").read_text() == "as it was\n"


def test_what_is_odd_about_a_row_is_printed_with_it():
    figures = dict.fromkeys(("test_score", "difference", "relative_flops", "flops_reduction"), "0.5")
    figures |= {f"{key}_{end}": "0.5" for key in ("test_score", "difference") for end in ("low", "high")}
    row = {"task": "a", "metric": "accuracy", "method": "ltp", "setting": "lambda=0.1", "note": "1 diverged", **figures}
    assert "λ=0.1 (1 diverged)" in tables._summary([row])[-1]


def test_a_csv_without_origin_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "DATA", tmp_path)
    (tmp_path / "times.csv").write_text("what,ms\nours,3.5\n")
    with pytest.raises(SystemExit, match=r"times\.csv: no rows, or one without commit, machine, date at its end"):
        tables.render("times", "times.csv")
