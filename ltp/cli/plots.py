"""Draw the figures of a study from its tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from ltp.report.plots import write_plots

EXAMPLE = "ltp plots results --output figures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp plots``."""
    parser.add_argument("tables", help="folder of the tables (runs.csv)")
    parser.add_argument("--output", help="folder for the figures; unset: plots/ in the folder of the tables")


def run(arguments: argparse.Namespace) -> int:
    """``ltp plots``: draw the figures and name them."""
    for path in write_plots(arguments.tables, arguments.output or Path(arguments.tables) / "plots"):
        print(path)
    return 0
