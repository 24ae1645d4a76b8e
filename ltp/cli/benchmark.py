"""Time a pruned model against every unpruned way to run it, on the same sentences, in one process."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = """
ltp benchmark --study results --output results/speed.csv
ltp benchmark results/imdb/seed~0/ltp/temperature~0.001/lambda~0.03/hard/lr~5e-05 --data results/imdb/data --batch 1 8
ltp benchmark roberta-base --data results/imdb/data --flops 0.5 --output speed.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp benchmark``."""
    what = parser.add_argument_group("what to time")
    what.add_argument("models", nargs="*", metavar="MODEL", help="runs that prune; or bert-base, roberta-base")
    what.add_argument("--data", nargs="+", metavar="DIR", help="text, from `ltp data`")
    what.add_argument("--base", help="the unpruned model to compare with (default: the same weights, unpruned)")
    what.add_argument("--study", metavar="DIR", help="instead of all these: results whose operating points to time")
    what.add_argument("--only", nargs="+", default=[], metavar="NAME", help="backends that take part (default: all)")
    how = parser.add_argument_group("how")
    how.add_argument("--batch", type=int, nargs="+", default=[1, 32], help="batch sizes (default: 1 32)")
    how.add_argument("--lengths", type=int, nargs="+", default=[], help="also time text cut to these lengths")
    how.add_argument("--sentences", type=int, default=64, help="sentences of each text (default: %(default)s)")
    how.add_argument("--repeats", type=int, default=5, help="timed passes over them (default: %(default)s)")
    how.add_argument("--flops", type=float, help="set thresholds so that each text costs this share of its FLOPs")
    parser.add_argument(
        "--output",
        default="results/speed.csv",
        help="CSV to write (default: %(default)s); beside it the same as Markdown (.md), and figures in plots/",
    )


def run(arguments: argparse.Namespace) -> int:
    """``ltp benchmark``: measure, write, show."""
    from ltp.benchmark.markdown import markdown
    from ltp.benchmark.plots import write_speed_plots
    from ltp.benchmark.runner import Settings, benchmark, benchmark_study
    from ltp.benchmark.table import show
    from ltp.common.errors import LTPError
    from ltp.common.io import write_text

    if bool(arguments.study) == bool(arguments.models and arguments.data):
        raise LTPError("benchmark: give either MODEL and --data, or --study")
    settings = Settings(
        arguments.batch, arguments.sentences, arguments.repeats, arguments.lengths, arguments.flops, arguments.only
    )
    if arguments.study:
        benchmark_study(arguments.study, arguments.output, settings)
    else:
        benchmark(arguments.models, arguments.data, arguments.output, settings, arguments.base)
    print(show(arguments.output))
    table = Path(arguments.output).with_suffix(".md")
    write_text(table, markdown(arguments.output))
    print(table)
    for path in write_speed_plots(arguments.output):
        print(path)
    return 0
