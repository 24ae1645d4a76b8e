"""The page: opens in a browser without a fault, shows the tables' numbers, escapes what is not its own."""

from __future__ import annotations

import argparse
import csv
import html
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.fake_study import forget_lengths, metrics_of, write, write_study

from ltp.analysis.tables import write_tables
from ltp.cli import report as report_command
from ltp.common.errors import LTPError
from ltp.common.names import METHODS
from ltp.report import page, svg
from ltp.report.page import TEMPLATES, write_page
from ltp.report.plots import write_plots
from ltp.results.examples import Sentence, Word, write_examples

ATTACK = "<script>alert('x')</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def sentence(text, layers=6):
    words = text.split()
    lives = [(7 * i) % (layers + 1) for i in range(len(words))]
    made = tuple(Word(word, life, ((word, life),)) for word, life in zip(words, lives, strict=True))
    first = Word("[CLS]", layers, (("[CLS]", layers),), special=True)
    return Sentence((text,), (first, *made), layers, "positive", 0.9, "negative")


def table(folder, name):
    with open(folder / name, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of two tasks and two seeds, one run diverged, example sentences for one task."""
    root = tmp_path_factory.mktemp("study")
    paths = write_study(root, (0, 1)) + write_study(root, (0, 1), task="sst2", dense=0.91)
    write_tables([*paths, root / "sst2/seed~1/topk/keep_rate~0.9/hard/lr~2e-05/metrics.json"], root)
    row = next(row for row in table(root, "summary.csv") if row["method"] == "ltp")
    write_examples(
        root / "rotten_tomatoes/examples.json", [sentence(f"a film {ATTACK} & more"), sentence("so it goes")],
        run=row["runs"].split(";")[0], setting=row["setting"], model=row["model"], reason="cheapest", split="test",
    )  # fmt: skip
    return root, write_page(root).read_text(encoding="utf-8")


def test_the_control_has_a_mark_a_row_and_a_sentence(tmp_path):
    paths = write_study(tmp_path)
    control = metrics_of("dense+", "hard", 0, 0.85, 1.0)
    paths.append(write(tmp_path / "rotten_tomatoes/seed~0/dense+/hard/lr~2e-05", control, 50))
    write_tables(paths, tmp_path)
    text = write_page(tmp_path).read_text(encoding="utf-8")
    assert "trained as long as the longest of those that prune reaches 85.0, +1.0 points from the dense one." in text
    assert 'class="mark dense+' in text and "dense, trained as long" in text
    assert write_plots(tmp_path, tmp_path / "plots")


class Reader(HTMLParser):
    """The page's elements: (name, attributes), and the cells of its tables as (data-value, text)."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self._cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = [attrs.get("data-value"), ""]
            self.tables[-1][-1].append(self._cell)

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell[1] += data


def number(text):
    return float(re.match(r"[+−]?[\d.]+", text.strip()).group().replace("−", "-"))


def test_summary_shows_the_numbers_of_its_csv(study):
    root, text = study
    shown, rows = Reader(text).tables[0][1:], table(root, "summary.csv")
    assert len(shown) == len(rows) == 8
    keys = ["test_score", "difference", "gflops", "relative_flops", "flops_reduction"]
    for cells, row in zip(shown, rows, strict=True):
        cells = [cell for cell in cells if cell[0] is not None]
        assert [value for value, _ in cells] == [row[key] for key in keys]
        for key, (value, cell) in zip(keys, cells, strict=True):
            if value:
                scale = 100 if key == "relative_flops" else 1
                assert number(cell) == pytest.approx(scale * float(value), abs=0.051, rel=0.005)
        assert f"{float(row['test_score_low']):.1f} to {float(row['test_score_high']):.1f}" in cells[0][1]


def test_runs_table_has_every_run(study):
    root, text = study
    rows = table(root, "runs.csv")
    shown = {cells[-1][1]: cells for runs in Reader(text).tables for cells in runs if "seed~" in cells[-1][1]}
    assert set(shown) == {row["run"] for row in rows}
    for row in rows:
        values = [value for value, _ in shown[row["run"]] if value is not None]
        keys = ("seed", "validation_score", "test_score", "test_gflops", "test_relative_flops")
        assert values == [row[key] for key in keys]
    missing = next(row for row in rows if row["status"] == "missing")
    assert f"missing: {missing['reason']}" in shown[missing["run"]][-2][1]


def test_every_setting_is_a_mark_with_its_figures(study):
    root, text = study
    marks = [attrs for tag, attrs in Reader(text).elements if tag == "a" and "data-tip" in attrs and "href" in attrs]
    finals = {(row["task"], row["method"], row["setting"]) for row in table(root, "runs.csv")
              if row["stage"] in ("base", "hard") and row["status"] == "complete"}  # fmt: skip
    assert len(marks) == len(finals)
    ids = {attrs["id"] for _, attrs in Reader(text).elements if "id" in attrs}
    assert all(mark["href"].removeprefix("#") in ids for mark in marks)
    assert sum("chosen" in mark["class"] for mark in marks) == 8
    row = next(row for row in table(root, "summary.csv") if row["method"] == "ltp")
    (tip,) = [m["data-tip"] for m in marks if m["class"] == "mark ltp chosen" and m["aria-label"] in text][:1]
    assert f"test accuracy {float(row['test_score']):.1f} ± " in tip and "seed 1: validation" in tip


def test_accuracy_by_length_is_that_of_its_csv(study):
    """The table under the charts of length: the first task's right answers in each range of lengths."""
    root, text = study
    section = text[text.index('id="task-1"') : text.index('id="task-2"')]
    assert section.count("FLOPs against length, right answers") == section.count("wrong answers</h3>") == 1
    rows = [row for row in table(root, "lengths.csv") if row["task"] == "rotten_tomatoes" and row["method"] == "ltp"]
    ends = (rows[0]["shortest"], rows[0]["longest"])
    counts = {row["answer"]: int(row["examples"]) for row in rows if (row["shortest"], row["longest"]) == ends}
    line = re.search(rf'<tr><th scope="row" class="num">{"–".join(ends)}</th>(.*)</tr>', section).group(1)
    assert f'<td class="num">{sum(counts.values()) // 2}</td>' in line  # sentences, which two seeds answered
    assert f'<td class="num">{100 * counts["right"] / sum(counts.values()):.1f} <small>' in line


def test_a_study_whose_runs_recorded_no_costs_has_no_charts_of_length(study, tmp_path):
    root = tmp_path / "old"
    shutil.copytree(study[0], root, ignore=shutil.ignore_patterns("seed~*"))
    forget_lengths(root)
    text = write_page(root).read_text(encoding="utf-8")
    assert "against length" not in text and "Tokens left, layer by layer" in text


def test_text_of_data_is_escaped(study):
    _, text = study
    assert ATTACK not in text
    assert html.escape("<script>alert('x')</script>", quote=False).replace("'", "&#39;") in text
    assert [tag for tag, _ in Reader(text).elements].count("script") == 1


def test_names_of_tasks_settings_and_reasons_are_escaped(tmp_path):
    task = "<b>\"x\" & 'y'"
    write_tables(
        [write(tmp_path / "a", metrics_of("ltp", "hard", 0, 0.8, 0.5, task=task, **{"lambda": "<i>"}))], tmp_path
    )
    text = write_page(tmp_path).read_text(encoding="utf-8")
    assert "<b>" not in text.lower() and '<i>"' not in text and "λ=<" not in text
    assert "&lt;b&gt;" in text.lower() and "λ=&lt;i&gt;" in text


def test_page_asks_for_nothing_from_elsewhere(study):
    _, text = study
    for tag, attrs in Reader(text).elements:
        for name in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(", text.replace("http-equiv", "").split("<body>")[0].split("<style>")[1]
    )
    assert "default-src 'none'" in text


def test_every_method_has_a_colour():
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    for method in METHODS:
        assert f".{method.replace('+', chr(92) + '+')} {{ --c: " in style


def test_answer_is_the_summary_s(study):
    root, text = study
    for row in table(root, "summary.csv"):
        if row["method"] == "ltp":
            told = f"reach a test accuracy of {float(row['test_score']):.1f} (95\u00a0% CI"
            assert told in text and f"{float(row['flops_reduction']):.2f}\u00a0× fewer FLOPs" in text
            assert int(row["test_examples"]) == 400 and "on 400 test examples" in text


def test_missing_examples_and_runs_are_said(study, tmp_path):
    assert "ltp explain --examples sst2" in study[1]
    assert "1 missing" in " ".join(study[1].split())
    write_tables([], tmp_path)
    assert "The tables hold no runs yet." in write_page(tmp_path).read_text(encoding="utf-8")
    diverged = write(tmp_path / "a/seed~0/dense/base", metrics_of("dense", "base", 0, 0.8, 1.0, task="a"))
    write_tables([diverged], tmp_path)
    text = write_page(tmp_path).read_text(encoding="utf-8")
    assert "No finished runs that prune." in text and "Learned thresholds: no runs of learned thresholds." in text


def test_examples_of_a_run_that_is_not_in_the_tables_are_not_shown(study, tmp_path):
    root = tmp_path / "s"
    shutil.copytree(study[0], root, ignore=lambda folder, names: [name for name in names if name.startswith("seed~")])
    write_examples(
        root / "sst2/examples.json",
        [sentence("an old one")],
        run="sst2/gone",
        setting="",
        model="all-MiniLM-L6-v2",
        reason="",
    )
    assert "not in the tables, sst2/gone." in write_page(root).read_text(encoding="utf-8")
    (root / "sst2/examples.json").write_text("{")
    with pytest.raises(LTPError, match=r"examples\.json: is damaged"):
        write_page(root)


def test_same_tables_give_the_same_bytes_wherever_they_lie(study, tmp_path):
    shutil.copytree(study[0], tmp_path / "elsewhere", ignore=shutil.ignore_patterns("seed~*"))
    assert write_page(tmp_path / "elsewhere", tmp_path / "out/page.html").read_text(encoding="utf-8") == study[1]


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (74.2, 84.3, ["76", "78", "80", "82", "84"]),
        (0, 100, ["0", "20", "40", "60", "80", "100"]),
        (-0.6, 0.5, ["−0.6", "−0.4", "−0.2", "0.0", "0.2", "0.4"]),
    ],
)
def test_ticks_are_round(low, high, labels):
    found = svg.ticks(low, high)
    assert [svg.label(value, found) for value in found] == labels


def test_collapsed_runs_are_marked_at_the_edge(tmp_path):
    home = tmp_path / "t/seed~0"
    paths = [write(home / "dense/base", metrics_of("dense", "base", 0, 0.9, 1.0, task="t"))]
    for value, score in ((0.1, 0.88), (0.4, 0.5)):
        made = metrics_of("ltp", "hard", 0, score, 0.5 - value, task="t", **{"lambda": value})
        paths.append(write(home / f"ltp/lambda~{value}/hard", made))
    write_tables(paths, tmp_path)
    marks = [
        a for tag, a in Reader(write_page(tmp_path).read_text(encoding="utf-8")).elements if "href" in a and tag == "a"
    ]
    assert [("below the axis" in mark["data-tip"]) for mark in marks if "ltp" in mark.get("class", "")].count(True) == 1


def test_page_is_made_without_torch(study):
    code = (
        "import sys; from ltp.report.page import write_page; write_page(sys.argv[1]); sys.exit('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code, str(study[0])], cwd=Path(page.__file__).parents[2]).returncode == 0
    )


def test_command_line(study, capsys):
    parser = argparse.ArgumentParser()
    report_command.add_arguments(parser)
    assert report_command.run(parser.parse_args([str(study[0])])) == 0
    assert capsys.readouterr().out.strip() == str(study[0] / "index.html")


def opened(path, folder, address=""):
    """The page's elements after its scripts have run in a headless browser."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", f"--user-data-dir={folder}", "--dump-dom", f"{path.as_uri()}{address}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the page with")
class TestInABrowser:
    def test_opens_without_a_fault_and_plots_are_there(self, study, tmp_path):
        root, _ = study
        dom = opened(root / "index.html", tmp_path / "browser")
        elements = Reader(dom).elements
        attrs = elements[0][1]
        assert attrs.get("data-ready") == "true" and "data-error" not in attrs
        classes = [attrs.get("class", "") for _, attrs in elements]
        assert classes.count("plot") == 10  # five for each task
        assert sum("mark" in name and "swatch" not in name for name in classes) > 2 * 20
        assert ("p", {"class": "slider"}) in elements  # shown by the script

    def test_a_fault_would_be_seen(self, study, tmp_path):
        broken = tmp_path / "broken.html"
        text = study[1].replace("tips();", "tipz();", 1)
        broken.write_text(re.sub(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", text), encoding="utf-8")
        with pytest.raises(AssertionError):
            opened(broken, tmp_path / "browser")

    def test_foreign_scripts_do_not_run(self, study, tmp_path):
        planted = tmp_path / "planted.html"
        planted.write_text(
            study[1].replace("</main>", "<script>document.title = 'planted'</script></main>"), encoding="utf-8"
        )
        with pytest.raises(AssertionError):
            opened(planted, tmp_path / "browser")

    def test_link_into_the_closed_table_of_runs_opens_it(self, study, tmp_path):
        dom = opened(study[0] / "index.html", tmp_path / "browser", "#run-3")
        assert re.search(r'<details class="runs" id="runs-1" open="">', dom)
