"""Train one stage and write its run directory: metrics.json there, written last, says that it is complete."""

from ltp.cli import add_settings, read_settings
from ltp.runs import METHODS, STAGES
from ltp.settings import TrainingSettings


def add_arguments(parser):
    """The arguments of ``ltp train``."""
    parser.add_argument("--stage", required=True, choices=STAGES)
    parser.add_argument("--method", required=True, choices=METHODS)
    parser.add_argument("--checkpoint", required=True, help="what to start from: an encoder, a conversion or a run")
    parser.add_argument("--revision", help="commit of an encoder from the Hub")
    parser.add_argument("--data", required=True, help="folder that `ltp data` wrote")
    parser.add_argument("--output", required=True, help="the run directory to write")
    parser.add_argument("--teacher", help="dense run whose outputs distillation asks for")
    add_settings(parser, TrainingSettings)


def run(arguments):
    """``ltp train``: train, and say how the run did."""
    settings = read_settings(arguments, TrainingSettings)
    from ltp.stages import train

    metrics = train(
        arguments.stage, arguments.method, arguments.checkpoint, arguments.data, arguments.output, settings,
        revision=arguments.revision, teacher=arguments.teacher,
    )
    if metrics["status"] != "complete":
        print(f"{arguments.output}: {metrics['status']}: {metrics['reason']}")
        return 0
    for split, scores in metrics["metrics"].items():
        relative = 100 * metrics["flops"][split]["relative"]
        primary = metrics["primary_metric"]
        print(f"{arguments.output}: {split} {primary} {scores[primary]:.4f} at {relative:.1f} % of the dense FLOPs")
    return 0
