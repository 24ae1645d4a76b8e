"""Read, check, split and tokenise a task's text, once for all runs."""

from __future__ import annotations

import argparse

from ltp.cli.flags import add_settings, read_settings
from ltp.common.locks import exclusive
from ltp.settings.data import DataSettings

EXAMPLE = """
ltp data --task rotten_tomatoes --max-length 64 --output data
ltp data --task sst2 --source local --path glue/SST-2 --output data
ltp data --task tickets --source local --path tickets.csv --text-columns subject body --label-column team --output data
"""

GROUPS = {
    "the text": ("task", "source", "path", "subset", "revision"),
    "the encoder whose tokenizer is used": ("model", "model_source", "model_revision"),
    "where texts are cut": ("max_length", "test_max_lengths"),
    "the splits": ("train_examples", "validation_examples", "test_examples", "test", "split_seed"),
    "a task of your own": ("text_columns", "label_column", "kind", "labels", "metrics", "primary_metric"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp data``."""
    parser.add_argument("--output", required=True, help="folder for the tokenised splits and task.json")
    for title, names in GROUPS.items():
        add_settings(parser.add_argument_group(title), DataSettings, names)


def run(arguments: argparse.Namespace) -> int:
    """``ltp data``: prepare the data and say what came out."""
    settings = read_settings(arguments, DataSettings)
    from ltp.text.dataset import load
    from ltp.text.prepare import prepare

    with exclusive(arguments.output):
        info = prepare(settings, arguments.output)
        lengths = list(load(arguments.output)[0]["train"]["length"])
    counts = ", ".join(f"{count} {split}" for split, count in info["examples"].items())
    print(f"{info['task']}: {counts} examples in {arguments.output}")
    if cut := sum(length >= settings.max_length for length in lengths):
        print(f"max_length: {cut} of {len(lengths)} training texts are cut at {settings.max_length} word pieces")
    for split in ("train", "validation", "test"):
        asked, there = getattr(settings, f"{split}_examples"), info["examples"].get(split, 0)
        if asked and there < asked:
            print(f"{split}_examples: {asked} asked, {there} used: the text has too few")
    return 0
