"""One training stage: a checkpoint and a data directory in, a run directory out."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from ltp.common.machine import cpu_threads, peak_memory_mb
from ltp.results.run import CHECKPOINT
from ltp.text.dataset import load
from ltp.training import distributed
from ltp.training.budget import Budget
from ltp.training.callbacks import Diverged, tensorboard_logs
from ltp.training.evaluation import evaluate
from ltp.training.outputs import predict_train
from ltp.training.precision import require_precision, resolve_precision
from ltp.training.recording import TENSORBOARD, record_failure, record_run, remove_results, run_metadata
from ltp.training.resuming import last_checkpoint, prepare_state, seconds_trained
from ltp.training.sample import learn_saliency
from ltp.training.stage import Stage
from ltp.training.start import load_model, load_teacher, read_parent, resolve_start
from ltp.training.trainer import make_trainer
from ltp.training.vocabulary import only_seen_words, seen_ids

# Each stage shuffles in an order of its own: one that trains on a part of the split sees another part than its parent.
STAGE_SEEDS = {"base": 0, "soft": 1000, "hard": 2000}


def train(stage: Stage) -> dict[str, Any]:
    """Train one stage and write its run directory; returns its metrics.

    An interrupted training goes on from its last checkpoint, if the same settings made it. A loss that is not finite
    ends the run with status "diverged". Raises LTPError for what the user can fix.

    Several processes (see ltp.training.distributed) share the training where a launcher has started them: each takes
    its part of every batch, and the main one writes.
    """
    started = time.monotonic()
    require_precision(stage.settings.precision)
    transformers_logging.set_verbosity_error()
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    splits, info = load(stage.data)
    parent = read_parent(stage)
    distributed.join()
    stage = resolve_precision(stage, run_metadata(stage, info, parent))
    settings, output = stage.settings, stage.output
    metadata = run_metadata(stage, info, parent)
    if parent and parent["status"] != "complete":
        remove_results(output)
        return record_failure(output, metadata, f"parent {stage.checkpoint}: {parent['reason']}", started)

    start, metadata["tokenizer_sha256"], encoder = resolve_start(stage, info)
    if encoder:
        metadata["encoder"] = encoder
    torch.manual_seed(settings.seed)  # a new classification head is drawn here
    model = load_model(stage, start, info)
    metadata["settings"] |= asdict(model.config.pruning())
    metadata["teacher"], logits = load_teacher(stage, info)
    budget = None if settings.flops_target is None else Budget(model, splits["train"], settings)
    trainer = make_trainer(model, splits["train"], info, output / CHECKPOINT, settings, logits, STAGE_SEEDS[stage.name])
    if settings.tensorboard:
        trainer.add_callback(tensorboard_logs(output / TENSORBOARD))
    if distributed.is_main():  # every check has passed: what an earlier run left may go
        remove_results(output)
        prepare_state(output, metadata)
    distributed.wait()
    resume = last_checkpoint(output / CHECKPOINT)
    earlier = seconds_trained(resume) if resume else 0.0
    train_started = time.monotonic()
    if not resume:  # whose checkpoint has the probes
        learn_saliency(model, splits["train"], settings.seed)
    if budget:
        trainer.add_callback(budget.callback())
    try:
        if settings.epochs:
            with only_seen_words(model, seen_ids(splits["train"]), settings.weight_decay):
                trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        if budget:
            metadata["budget"] = budget.meet(trainer)
        trained = time.monotonic()
        # Before the evaluation, which leaves the precision of the training: no figure rests on these outputs.
        train_logits = predict_train(trainer, splits["train"], info["kind"]) if stage.save_train_logits else None
        # Soft runs only lead to hard runs: they are scored on the split that settings are picked by.
        names = ["validation"] if stage.name == "soft" else [name for name in splits if name != "train"]
        evaluated = evaluate(trainer, {name: splits[name] for name in names}, info)
    except Diverged as reason:
        return record_failure(output, metadata, str(reason), started, earlier)

    tokens, train_seconds = round(settings.epochs * sum(splits["train"]["length"])), earlier + trained - train_started
    predictions = evaluated.pop("predictions")
    metrics = {
        **metadata,
        **evaluated,
        "timing": {  # of all legs of an interrupted training, but for steps that were lost and made again
            "train_seconds": train_seconds,
            "train_tokens": tokens,
            "tokens_per_second": tokens / train_seconds,
            "evaluate_seconds": time.monotonic() - trained,
            "total_seconds": earlier + time.monotonic() - started,
            "peak_memory_mb": peak_memory_mb(),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "resumed": resume is not None,
        },
    }
    distributed.destroy_group()
    if not distributed.is_main():
        return metrics
    return record_run(stage, model, info, metrics, predictions, train_logits)
