"""Time a pruned model against every unpruned way to run it, on the same sentences, in one process."""

from __future__ import annotations


def add_arguments(parser):
    """The arguments of ``ltp benchmark``."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="runs that prune; or bert-base, roberta-base")
    parser.add_argument("--study", metavar="DIR", help="instead: results whose operating points to time")
    parser.add_argument("--data", nargs="+", metavar="DIR", help="text, from `ltp data`")
    parser.add_argument("--output", default="results/speed.csv", help="CSV to write; figures go to plots/ beside it")
    parser.add_argument("--base", help="the unpruned model to compare with (default: the same weights, unpruned)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32], help="batch sizes")
    parser.add_argument("--lengths", type=int, nargs="+", default=[], help="also time text cut to these lengths")
    parser.add_argument("--sentences", type=int, default=64, help="sentences of each text")
    parser.add_argument("--repeats", type=int, default=5, help="timed passes over them")
    parser.add_argument("--flops", type=float, help="set thresholds so that each text costs this share of its FLOPs")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="backends that take part")


def run(arguments):
    """``ltp benchmark``: measure, write, show."""
    from ltp.benchmark.plots import write_speed_plots
    from ltp.benchmark.runner import Settings, benchmark, benchmark_study
    from ltp.benchmark.table import show
    from ltp.common.errors import LTPError

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
    for path in write_speed_plots(arguments.output):
        print(path)
    return 0
