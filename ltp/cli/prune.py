"""Prune a fine-tuned classifier to a share of its FLOPs, on your own text: no labels, no study, one command."""

from __future__ import annotations

import argparse
from pathlib import Path

from ltp.cli.flags import add_settings, read_settings
from ltp.settings.oneshot import PruneSettings

EXAMPLE = """
ltp prune my-classifier --text texts.csv --flops 0.5 --output pruned
ltp prune my-classifier --text texts.csv --text-columns title body --label-column topic --output pruned --minutes 5
ltp prune my-classifier --text texts.csv --flops 0.7 0.5 0.3 --output frontier
ltp prune my-reranker --text pairs.csv --text-columns query passage --protect first --output pruned
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp prune``."""
    parser.add_argument("model", help="folder or Hub name of a fine-tuned classifier or reranker")
    parser.add_argument("--text", required=True, metavar="FILE", help="CSV, TSV, JSON Lines, Parquet, or .txt by line")
    parser.add_argument("--output", required=True, help="folder to write, which must not be there")
    add_settings(parser, PruneSettings)


def run(arguments: argparse.Namespace) -> int:
    """``ltp prune``: prune and say what came out."""
    settings = read_settings(arguments, PruneSettings)
    from ltp.oneshot.prune import prune_table
    from ltp.oneshot.state import check_output
    from ltp.oneshot.texts import read_table

    output = Path(arguments.output)
    check_output(output)
    table = read_table(arguments.text, settings)
    pruned = prune_table(arguments.model, None, table, settings, output)
    print(f"{pruned}\n\n{output}: model, tokenizer, card (README.md), report.json, and data for `ltp export`")
    return 0
