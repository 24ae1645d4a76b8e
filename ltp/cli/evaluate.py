"""Score a saved model on prepared data, with its pruning, and count its FLOPs."""

from __future__ import annotations

import argparse
import json

EXAMPLE = "ltp evaluate results/imdb/seed~0/dense/base --data results/imdb/data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp evaluate``."""
    parser.add_argument("checkpoint", help="folder of a model: a run, a conversion, or a plain classifier")
    parser.add_argument("--data", required=True, help="folder that `ltp data` wrote")


def run(arguments: argparse.Namespace) -> int:
    """``ltp evaluate``: print scores, FLOPs and tokens per layer as JSON."""
    from ltp.training.evaluation import evaluate_checkpoint

    print(json.dumps(evaluate_checkpoint(arguments.checkpoint, arguments.data), indent=1))
    return 0
