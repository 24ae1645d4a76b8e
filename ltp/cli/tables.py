"""ltp tables: the tables of a folder of results, and the summary in the terminal."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ltp.analysis.csv_files import read_rows
from ltp.analysis.load import find_runs
from ltp.analysis.summary import SUMMARY, SummaryRow
from ltp.analysis.tables import write_tables
from ltp.common.errors import LTPError
from ltp.common.io import shown
from ltp.report.terminal import render_summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp tables``."""
    parser.add_argument("results", help="folder of results: the tables are made of every run below it")
    parser.add_argument("--output", help="folder for the tables; unset: the folder of results")
    parser.add_argument("--show", action="store_true", help="show the summary that is there; make no tables")


def run(arguments: argparse.Namespace) -> int:
    """``ltp tables``: make the tables and show the summary. Returns 0; runs left out are named, not errors."""
    output = Path(arguments.output or arguments.results)
    if not arguments.show:
        paths = find_runs(arguments.results)
        if not paths:
            raise LTPError(f"{shown(arguments.results)}: holds no runs; run snakemake first")
        output.mkdir(parents=True, exist_ok=True)
        for problem in write_tables(paths, output):
            print(problem, file=sys.stderr)
    print(render_summary(read_rows(output / SUMMARY, SummaryRow)))
    return 0
