"""Say what a grid will cost before it starts: runs, tokens, hours."""

from __future__ import annotations

import argparse

from ltp.cli.flags import DEFAULT_GRID
from ltp.common.errors import LTPError
from ltp.grid.grid import load_grid
from ltp.grid.plan import render_plan

EXAMPLE = """
ltp plan
ltp plan --configfile config/paper.yaml --tokens-per-second 20000 --jobs 4
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp plan``."""
    parser.add_argument("--configfile", default=DEFAULT_GRID, help="the grid (default: %(default)s)")
    parser.add_argument(
        "--tokens-per-second",
        type=float,
        default=1000.0,
        help="training speed of one job; runs.csv tells yours (default: %(default)s, a small encoder on one CPU core)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="jobs that run at a time (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """``ltp plan``: what the grid will cost."""
    if arguments.tokens_per_second <= 0 or arguments.jobs < 1:
        raise LTPError("--tokens-per-second and --jobs: expected more than 0")
    print(render_plan(load_grid(arguments.configfile), arguments.tokens_per_second, arguments.jobs))
    return 0
