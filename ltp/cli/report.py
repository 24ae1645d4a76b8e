"""ltp report: the page of the tables."""

from __future__ import annotations

import argparse

from ltp.report.page import PAGE, write_page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp report``."""
    parser.add_argument("results", help="folder with runs.csv and summary.csv, and examples.json in its tasks' folders")
    parser.add_argument("--output", help=f"the page to write; unset: {PAGE} in the folder of results")


def run(arguments: argparse.Namespace) -> int:
    """``ltp report``: write the page and name it."""
    print(write_page(arguments.results, arguments.output))
    return 0
