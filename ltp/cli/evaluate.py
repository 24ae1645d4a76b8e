"""Score a saved model on prepared data, tokens removed, and count its FLOPs."""

from __future__ import annotations

import json


def add_arguments(parser):
    """The arguments of ``ltp evaluate``."""
    parser.add_argument("checkpoint", help="folder of a model: a run, a conversion, or a plain BERT or RoBERTa")
    parser.add_argument("--data", required=True, help="folder that `ltp data` wrote")


def run(arguments):
    """``ltp evaluate``: print scores, FLOPs and tokens per layer as JSON."""
    from ltp.training.evaluation import evaluate_checkpoint

    print(json.dumps(evaluate_checkpoint(arguments.checkpoint, arguments.data), indent=1))
    return 0
