"""Read, check, split and tokenise a task's text, once for all runs."""

from __future__ import annotations

from ltp.cli.flags import add_settings, read_settings
from ltp.common.locks import exclusive
from ltp.settings.data import DataSettings


def add_arguments(parser):
    """The arguments of ``ltp data``."""
    parser.add_argument("--output", required=True, help="folder for the tokenised splits and task.json")
    add_settings(parser, DataSettings)


def run(arguments):
    """``ltp data``: prepare the data and say what came out."""
    settings = read_settings(arguments, DataSettings)
    from ltp.text.prepare import prepare

    with exclusive(arguments.output):
        info = prepare(settings, arguments.output)
    counts = ", ".join(f"{count} {split}" for split, count in info["examples"].items())
    print(f"{info['task']}: {counts} examples in {arguments.output}")
    return 0
