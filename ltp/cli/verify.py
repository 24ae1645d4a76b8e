"""Check every file of every run below a folder against its checksum."""

from __future__ import annotations

import argparse
import sys

from ltp.common.io import shown
from ltp.results.verify import verify_tree

EXAMPLE = "ltp verify results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp verify``."""
    parser.add_argument("root", help="folder of results to check: every run below it, every file hashed")


def run(arguments: argparse.Namespace) -> int:
    """``ltp verify``: print what is ok, what is not and why. Returns 1 when anything is corrupt."""
    ok, corrupt = verify_tree(arguments.root)
    for directory in ok:
        print(f"ok       {shown(directory)}")
    for _, why in corrupt:
        print(f"CORRUPT  {why}")
    damaged = len({directory for directory, _ in corrupt})
    print(f"{len(ok)} ok, {damaged} corrupt below {shown(arguments.root)}", file=sys.stderr)
    return 1 if corrupt else 0
