"""Export a trained model: as a plain checkpoint, as one ONNX file that removes tokens, as the same in 8 bits."""

from __future__ import annotations

import argparse

EXAMPLE = """
ltp export results/imdb/seed~0/ltp/temperature~0.001/lambda~0.03/hard/lr~5e-05 --output served --onnx --int8
ltp export my-run --output plain --plain
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp export``."""
    parser.add_argument("run", help="folder of a model: a run, or a plain classifier of a supported encoder")
    parser.add_argument("--output", required=True, help="folder for what is asked for, and the tokenizer")
    parser.add_argument("--onnx", action="store_true", help="write model.onnx, checked against PyTorch")
    parser.add_argument("--int8", action="store_true", help="write model.int8.onnx, linear layers in 8 bits")
    parser.add_argument("--plain", action="store_true", help="write the encoder without pruning, for transformers")
    parser.add_argument("--data", help="sentences to check with, from `ltp data` (default: the run's own)")


def run(arguments: argparse.Namespace) -> int:
    """``ltp export``: export and say what came out."""
    from ltp.export.export import export

    for line in export(
        arguments.run, arguments.output, onnx=arguments.onnx, int8=arguments.int8, plain=arguments.plain,
        data_dir=arguments.data,
    ):  # fmt: skip
        print(line)
    return 0
