"""The tables of the README and of docs/, written from docs/data/*.csv, each with its commit, machine and date.

    python docs/tables.py                      write every table anew between its marks
    python docs/tables.py --check              change nothing; say which tables differ from their CSV
    python docs/tables.py --take demo results  copy a study's tables into docs/data as demo-*.csv: of summary.csv,
                                               matched.csv and lengths.csv those that a page has a place for

A table stands between `<!-- table NAME -->` and `<!-- /table -->`; NAME is its CSV. Summary.csv, matched.csv,
lengths.csv and speed.csv of a study are known by their columns; of any other CSV the cells are shown as they are.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ltp.analysis.csv_files import read_rows
from ltp.analysis.labels import short_label
from ltp.analysis.lengths import LengthRow
from ltp.benchmark.markdown import markdown
from ltp.common.names import ALL_TASKS, METHOD_NAMES, METRIC_NAMES
from ltp.report.by_length import accuracy_by_length
from ltp.settings.tasks import task_title

DOCS = Path(__file__).parent
ROOT, DATA = DOCS.parent, DOCS / "data"
ORIGIN = ("commit", "machine", "date")
TABLE = re.compile(r"<!-- table (?P<name>[\w-]+) -->\n.*?<!-- /table -->", re.DOTALL)
Row = Mapping[str, str]


def read(name: str) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a CSV in docs/data; every row must say where it comes from."""
    with open(DATA / f"{name}.csv", encoding="utf-8", newline="") as file:
        columns, *rows = csv.reader(file)
    if columns[-3:] != list(ORIGIN) or not rows or any("" in row[-3:] for row in rows):
        raise SystemExit(f"docs/data/{name}.csv: no rows, or one without {', '.join(ORIGIN)} at its end")
    return columns, rows


def render(name: str, link: str) -> str:
    """A table in Markdown, and below it where its numbers come from."""
    if "speedup" in (DATA / f"{name}.csv").read_text(encoding="utf-8").split("\n", 1)[0].split(","):
        return f"{markdown(DATA / f'{name}.csv').strip()} <sub>[{name}.csv]({link})</sub>"
    columns, cells = read(name)
    rows = [dict(zip(columns, row, strict=True)) for row in cells]
    if "score_low" in columns:
        lines = _matched(rows)
    elif "test_score_low" in columns:
        lines = _summary(rows)
    elif "shortest" in columns:
        lines = _lengths(read_rows(DATA / f"{name}.csv", LengthRow))
    else:
        lines = _markdown(columns[:-3], [row[:-3] for row in cells])
    origins = dict.fromkeys(tuple(row[-3:]) for row in cells)
    origin = "; ".join(f"commit {commit}, {machine}, {date}" for commit, machine, date in origins)
    return "\n".join([*lines, "", f"<sub>[{name}.csv]({link}): {origin}</sub>"])


def _summary(rows: Sequence[Row]) -> list[str]:
    """Operating points: the cheapest setting of each method within one point of dense on validation."""
    several = len({row["task"] for row in rows}) > 1
    figures = ["score (95 % CI)", "vs dense (95 % CI)", "FLOPs", "FLOPs reduction"]
    head = ["task"] * several + ["method", "setting", *figures]
    cells = []
    for row in rows:
        line = [f"{task_title(row['task'])}, {METRIC_NAMES.get(row['metric'], row['metric'])}"] * several + [
            METHOD_NAMES.get(row["method"], row["method"])
        ]
        if not row["test_score"]:
            cells.append([*line, row["note"], "", "", "", ""])
            continue
        difference = _interval(row, "difference", "+") if row["difference"] else ""
        share = f"{100 * float(row['relative_flops']):.0f} %"
        fewer = f"{float(row['flops_reduction']):.2f} ×"
        setting = short_label(row["setting"]) + (f" ({row['note']})" if row["note"] else "")
        cells.append([*line, setting, _interval(row, "test_score"), difference, share, fewer])
    return _markdown(head, cells)


def _matched(rows: Sequence[Row]) -> list[str]:
    """Difference from dense at equal FLOPs, a column for each share that any curve reaches."""
    shares = sorted({float(row["relative_flops"]) for row in rows}, reverse=True)
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    found = {(row["task"], row["method"], float(row["relative_flops"])): row for row in rows}
    head = ["task"] * (len(tasks) > 1) + ["method", *(f"at {100 * share:.0f} %" for share in shares)]
    cells = []
    for task in tasks:
        for method in dict.fromkeys(row["method"] for row in rows if row["task"] == task):
            title = "all, mean" if task == ALL_TASKS else task_title(task)
            line = [title] * (len(tasks) > 1) + [METHOD_NAMES.get(method, method)]
            for share in shares:
                row = found.get((task, method, share))
                line.append(_interval(row, "difference", "+") if row else "–")
            cells.append(line)
    return _markdown(head, cells)


def _lengths(rows: Sequence[LengthRow]) -> list[str]:
    """Accuracy and, in brackets, FLOPs for each range of lengths; first the FLOPs on validation text."""
    methods = list(dict.fromkeys(row.method for row in rows))
    cells = []
    for task in dict.fromkeys(row.task for row in rows):
        found = accuracy_by_length([row for row in rows if row.task == task])
        for line in found["rows"]:
            of_method = dict(zip(found["methods"], line["cells"], strict=True))
            shown = [
                f"{cell['accuracy']:.1f} ({cell['flops']:.0f} %)" if (cell := of_method.get(method)) else ""
                for method in methods
            ]
            cells.append([task_title(task), line["tokens"], f"{line['sentences']}", *shown])
        picked = dict(zip(found["methods"], found["validation"], strict=True))
        shown = [f"({picked[method]:.0f} %)" if method in picked else "" for method in methods]
        cells.append([task_title(task), "as picked on validation", "", *shown])
    return _markdown(["task", "word pieces", "texts", *(METHOD_NAMES.get(m, m) for m in methods)], cells)


def _interval(row: Row, key: str, sign: str = "") -> str:
    value, low, high = (float(row[part]) for part in (key, f"{key}_low", f"{key}_high"))
    spread = f" ± {float(row[f'{key}_sd']):.1f}" if row.get(f"{key}_sd") else ""
    return f"{value:{sign}.1f}{spread} ({low:{sign}.1f} to {high:{sign}.1f})"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def pages() -> list[Path]:
    """The pages that may hold tables."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def written(page: Path) -> str:
    """A page with its tables as their CSVs have them."""

    def table(match: re.Match[str]) -> str:
        link = f"{'docs/' if page.parent == ROOT else ''}data/{match['name']}.csv"
        return f"<!-- table {match['name']} -->\n{render(match['name'], link)}\n<!-- /table -->"

    return TABLE.sub(table, page.read_text(encoding="utf-8"))


def take(name: str, results: Path) -> None:
    """Copy a study's tables that a page has a place for into docs/data, with where its runs were made."""
    places = {match["name"] for page in pages() for match in TABLE.finditer(page.read_text(encoding="utf-8"))}
    wanted = [table for table in ("summary", "matched", "lengths") if f"{name}-{table}" in places]
    if not wanted:
        raise SystemExit(f"{name}: no page has a place for it; put <!-- table {name}-summary --> into one")
    runs = [row for row in _read(results / "runs.csv") if row["status"] == "complete"]
    tables = {table: _read(results / f"{table}.csv") for table in wanted}
    if empty := [table for table, rows in tables.items() if not rows or not runs]:
        raise SystemExit(f"{results / empty[0]}.csv: has no rows of finished runs; nothing is copied")
    origin = {
        "commit": _only(row["environment_commit"] for row in runs),
        "machine": _only(
            f"{row['environment_device_name']}, {row['environment_threads']} thread(s) a run" for row in runs
        ),
        "date": max(row["timing_finished_at"] for row in runs)[:10],
    }
    for table, found in tables.items():
        rows = [row | origin for row in found]
        with open(DATA / f"{name}-{table}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _read(path: Path) -> list[Row]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise SystemExit(f"{path}: cannot be read ({error.strerror}); make it with `ltp tables`") from None


def _only(values: Iterable[str]) -> str:
    return " and ".join(sorted(set(values), reverse=True))


def main() -> int:
    """Write, check or take; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a table differs")
    parser.add_argument("--take", nargs=2, metavar=("NAME", "RESULTS"), help="copy a study's tables into docs/data")
    arguments = parser.parse_args()
    if arguments.take:
        take(arguments.take[0], Path(arguments.take[1]))
    status = 0
    for page in pages():
        text = written(page)
        if text == page.read_text(encoding="utf-8"):
            continue
        if arguments.check:
            print(f"{page.relative_to(ROOT)}: differs from docs/data; run python docs/tables.py", file=sys.stderr)
            status = 1
        else:
            page.write_text(text, encoding="utf-8")
            print(page.relative_to(ROOT))
    return status


if __name__ == "__main__":
    sys.exit(main())
