"""Say how far a running study is, and when it may be done."""

from __future__ import annotations

import argparse

from ltp.grid.progress import report

EXAMPLE = "ltp progress results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp progress``."""
    parser.add_argument("results", help="folder of results")
    parser.add_argument("run", nargs="?", help="folder of a run that has just ended")


def run(arguments: argparse.Namespace) -> int:
    """``ltp progress``: how far the workflow is."""
    print(report(arguments.results, arguments.run), flush=True)
    return 0
