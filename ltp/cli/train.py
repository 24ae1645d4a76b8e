"""Train one stage and write its run directory: metrics.json there, written last, says that it is complete."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from ltp.cli.flags import add_settings, read_settings
from ltp.common import gpus
from ltp.common.errors import LTPError
from ltp.common.locks import exclusive
from ltp.common.names import METHODS, STAGES
from ltp.settings.training import TrainingSettings
from ltp.training import distributed
from ltp.training.environment import require_gpus


def add_arguments(parser):
    """The arguments of ``ltp train``."""
    parser.add_argument("--stage", required=True, choices=STAGES)
    parser.add_argument("--method", required=True, choices=METHODS)
    parser.add_argument("--checkpoint", required=True, help="what to start from: an encoder, a conversion or a run")
    parser.add_argument("--revision", help="commit of an encoder from the Hub")
    parser.add_argument("--data", required=True, help="folder that `ltp data` wrote")
    parser.add_argument("--output", required=True, help="the run directory to write")
    parser.add_argument("--teacher", help="dense run whose outputs distillation asks for")
    parser.add_argument(
        "--save-train-logits",
        "--teach",
        action="store_true",
        help="also write the outputs that distillation learns from",
    )
    parser.add_argument("--processes", type=int, default=1, help="processes that share the training, one GPU each")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs that must be there (default: take one if there is)")
    add_settings(parser, TrainingSettings)


def run(arguments):
    """``ltp train``: train, and say how the run did."""
    settings = read_settings(arguments, TrainingSettings)
    if arguments.processes < 1:
        raise LTPError(f"processes: {arguments.processes} is too small; expected at least 1")
    if distributed.is_launched():  # by torchrun or accelerate, perhaps by the lines below
        return _train(arguments, settings)
    with gpus.reserved(arguments.processes):
        if arguments.processes > 1:
            return distributed.launch(arguments.processes, arguments.given)
        return _train(arguments, settings)


def _train(arguments, settings):
    require_gpus(arguments.gpus)
    from ltp.training.stage import Stage
    from ltp.training.stages import train

    stage = Stage(
        arguments.stage, arguments.method, arguments.checkpoint, Path(arguments.data), Path(arguments.output), settings,
        revision=arguments.revision, teacher=arguments.teacher and Path(arguments.teacher),
        save_train_logits=arguments.save_train_logits,
    )  # fmt: skip
    with exclusive(arguments.output) if distributed.is_main() else nullcontext():
        metrics = train(stage)
    if not distributed.is_main():
        return 0
    if metrics["status"] != "complete":
        print(f"{arguments.output}: {metrics['status']}: {metrics['reason']}")
        return 0
    for split, scores in metrics["metrics"].items():
        relative = 100 * metrics["flops"][split]["relative"]
        primary = metrics["primary_metric"]
        print(f"{arguments.output}: {split} {primary} {scores[primary]:.4f} at {relative:.1f} % of the dense FLOPs")
    return 0
