"""Train one stage and write its run directory: metrics.json there, written last, says that it is complete."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ltp.cli.flags import add_settings, read_settings
from ltp.common import gpus
from ltp.common.errors import LTPError
from ltp.common.locks import exclusive
from ltp.common.names import METHODS, STAGES
from ltp.settings.training import TrainingSettings
from ltp.training import distributed
from ltp.training.environment import require_gpus

EXAMPLE = """
ltp train --stage base --method dense --checkpoint all-MiniLM-L6-v2 --data data --output dense --learning-rate 1e-4
ltp train --stage soft --method ltp --checkpoint converted --data data --output soft --temperature 1e-3 --lambda 0.03
ltp train --stage soft --method budget --checkpoint converted --data data --output soft --flops-target 0.5
ltp train --stage hard --method ltp --checkpoint soft --data data --output hard --learning-rate 5e-5
"""

TRAINING = ("epochs", "batch_size", "accumulation_steps", "precision", "seed", "checkpoint_minutes", "tensorboard")
WEIGHTS = ("learning_rate", "weight_decay", "warmup", "max_grad_norm", "dropout", "freeze_embeddings")
THRESHOLDS = (
    "flops_target", "least_flops_target", "temperature", "lambda_", "lambda_warmup", "threshold_learning_rate",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``ltp train``."""
    what = parser.add_argument_group("what is trained")
    what.add_argument("--stage", required=True, choices=STAGES, help="which stage")
    what.add_argument("--method", required=True, choices=METHODS, help="how tokens are pruned; dense: not at all")
    what.add_argument("--checkpoint", required=True, help="what to start from: an encoder, a conversion or a run")
    what.add_argument("--revision", help="commit of an encoder from the Hub")
    what.add_argument("--data", required=True, help="folder that `ltp data` wrote")
    what.add_argument("--output", required=True, help="the run directory to write")
    add_settings(parser.add_argument_group("the training"), TrainingSettings, TRAINING)
    add_settings(parser.add_argument_group("the weights"), TrainingSettings, WEIGHTS)
    add_settings(parser.add_argument_group("the thresholds"), TrainingSettings, THRESHOLDS)
    learned = parser.add_argument_group("distillation")
    add_settings(learned, TrainingSettings, ("distillation",))
    learned.add_argument("--teacher", help="dense run whose outputs distillation learns from")
    learned.add_argument(
        "--save-train-logits",
        "--teach",  # its name in the params of finished runs, which Snakemake would make again if the grid changed it
        action="store_true",
        help="also write the outputs on the training split, for a later --teacher",
    )
    devices = parser.add_argument_group("devices")
    devices.add_argument("--processes", type=int, default=1, help="processes that share the training, one GPU each")
    devices.add_argument("--gpus", type=int, default=0, help="GPUs that must be there (default: take one if there is)")


def run(arguments: argparse.Namespace) -> int:
    """``ltp train``: train, and say how the run did."""
    settings = read_settings(arguments, TrainingSettings)
    if arguments.processes < 1:
        raise LTPError(f"processes: {arguments.processes} is too small; expected at least 1")
    if distributed.is_launched():  # by torchrun or accelerate, perhaps by the lines below
        return _train(arguments, settings)
    with gpus.reserved(arguments.processes):
        if arguments.processes > 1:
            return distributed.launch(arguments.processes, arguments.command_line)
        return _train(arguments, settings)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Imports without garbage collection, which takes a fifth of their time and finds nothing; nor does it later."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()


def _train(arguments: argparse.Namespace, settings: TrainingSettings) -> int:
    require_gpus(arguments.gpus)
    with _without_collector():
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
