"""Turn a fine-tuned classifier into one that prunes: another config, thresholds, the same weights."""

from __future__ import annotations

import argparse

from ltp.cli.flags import add_settings, read_settings
from ltp.common.locks import exclusive
from ltp.conversion.convert import convert
from ltp.settings.pruning import PruningSettings

EXAMPLE = """
ltp convert --checkpoint results/imdb/seed~0/dense/base --output converted --final-token-threshold 0.006
ltp convert --checkpoint my-classifier --output top-half --prune-mode topk --token-keep-rate 0.5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp convert``."""
    parser.add_argument("--checkpoint", required=True, help="folder of the fine-tuned model")
    parser.add_argument("--output", required=True, help="folder for the model that prunes")
    add_settings(parser.add_argument_group("how it prunes"), PruningSettings)


def run(arguments: argparse.Namespace) -> int:
    """``ltp convert``: convert and say where."""
    settings = read_settings(arguments, PruningSettings)
    with exclusive(arguments.output):
        convert(arguments.checkpoint, arguments.output, settings)
    print(f"{arguments.checkpoint} -> {arguments.output}")
    return 0
