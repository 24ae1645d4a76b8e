"""Make a fine-tuned BERT or RoBERTa classifier ready to prune: another config, thresholds, the same weights."""

from __future__ import annotations

from ltp.cli.flags import add_settings, read_settings
from ltp.common.locks import exclusive
from ltp.conversion.convert import convert
from ltp.settings.pruning import PruningSettings


def add_arguments(parser):
    """The arguments of ``ltp convert``."""
    parser.add_argument("--checkpoint", required=True, help="folder of the fine-tuned model")
    parser.add_argument("--output", required=True, help="folder for the model that prunes")
    add_settings(parser, PruningSettings)


def run(arguments):
    """``ltp convert``: convert and say where."""
    settings = read_settings(arguments, PruningSettings)
    with exclusive(arguments.output):
        convert(arguments.checkpoint, arguments.output, settings)
    print(f"{arguments.checkpoint} -> {arguments.output}")
    return 0
