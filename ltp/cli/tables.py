"""Make the tables of a study, and show operating points and scores at equal FLOPs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ltp.analysis.csv_files import read_rows
from ltp.analysis.load import other_runs, runs_of_study
from ltp.analysis.matched import MATCHED, MatchedRow
from ltp.analysis.runs import read_studies
from ltp.analysis.summary import SUMMARY, SummaryRow
from ltp.analysis.tables import write_tables
from ltp.cli.flags import DEFAULT_GRID
from ltp.common.errors import LTPError
from ltp.common.io import shown
from ltp.grid.grid import load_grid
from ltp.report.terminal import render_tables

EXAMPLE = """
ltp tables results
ltp tables --show
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp tables``."""
    runs = "the runs that its grid asks for, or where no workflow has started in it, every run below it"
    parser.add_argument(
        "results",
        nargs="?",
        help=f"folder of a study: the tables are made of {runs} (default: that of {DEFAULT_GRID})",
    )
    parser.add_argument("--output", help="folder for the tables; unset: the folder of results")
    parser.add_argument("--show", action="store_true", help="show the tables that are there; make none")


def run(arguments: argparse.Namespace) -> int:
    """``ltp tables``: make the tables and show operating points and scores at equal FLOPs. Returns 0.

    Runs left out are named on the error stream; they are no error.
    """
    results = arguments.results or load_grid(DEFAULT_GRID).results_dir
    output = Path(arguments.output or results)
    if not arguments.show:
        paths = runs_of_study(results)
        if not paths:
            raise LTPError(f"{shown(results)}: holds no runs; run snakemake first")
        output.mkdir(parents=True, exist_ok=True)
        for problem in filter(None, [*write_tables(paths, output), other_runs(results, paths)]):
            print(problem, file=sys.stderr)
    summary, matched = read_rows(output / SUMMARY, SummaryRow), read_rows(output / MATCHED, MatchedRow)
    print(render_tables(read_studies(output), summary, matched))
    return 0
