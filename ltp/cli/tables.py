"""Make the tables of a study of every run below a folder, and show the summary."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ltp.analysis.csv_files import read_csv
from ltp.analysis.summary import SUMMARY_COLUMNS, render_summary
from ltp.analysis.tables import SUMMARY, find_runs, write_tables
from ltp.cli.flags import DEFAULT_GRID
from ltp.common.errors import LTPError
from ltp.common.io import shown
from ltp.grid.grid import load_grid

EXAMPLE = """
ltp tables results
ltp tables --show
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp tables``."""
    parser.add_argument(
        "results",
        nargs="?",
        help=f"folder of results, with all runs below it (default: that of {DEFAULT_GRID})",
    )
    parser.add_argument("--output", help="folder for the tables; unset: the folder of results")
    parser.add_argument("--show", action="store_true", help="show the summary that is there; make no tables")


def run(arguments: argparse.Namespace) -> int:
    """``ltp tables``: make the tables and show the summary. Returns 0; runs left out are named, not errors."""
    results = arguments.results or load_grid(DEFAULT_GRID).results_dir
    output = Path(arguments.output or results)
    if not arguments.show:
        paths = find_runs(results)
        if not paths:
            raise LTPError(f"{shown(results)}: holds no runs; run snakemake first")
        output.mkdir(parents=True, exist_ok=True)
        for problem in write_tables(paths, output):
            print(problem, file=sys.stderr)
    print(render_summary(read_csv(output / SUMMARY, SUMMARY_COLUMNS)))
    return 0
