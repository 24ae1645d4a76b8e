"""Distillation on altered text: one training at random budgets, with words left out of what it reads -> CSV.

    python benchmarks/altered_text.py results/evidence/mrpc/seed~0/dense/base --epochs 4.4 --output altered.csv

BASE is the dense run of a study; the data lie where the study has them. A budget is trained as the product does it,
from the dense model's outputs: on the training text, and on as many sentences of which all passes after the first are
over copies with each word left out with probability DROP, which the dense model answers too. A row has, for each
target, the difference from dense on the validation split in points and, in brackets, the divergence from the dense
model's outputs: KL, or for a number the squared error over the variance.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, ProgressCallback

from ltp.analysis.csv_files import csv_text
from ltp.common.io import write_text
from ltp.common.machine import commit, cpu_threads, processor_name
from ltp.models.loading import load_pruned
from ltp.models.modeling import LTPForSequenceClassification
from ltp.results.dataset import TOKENIZER
from ltp.settings.pruning import PruningSettings
from ltp.settings.tasks import task_title
from ltp.settings.training import TrainingSettings
from ltp.text.dataset import load
from ltp.text.tokenizer import load_tokenizer
from ltp.training.budget import Budget
from ltp.training.collator import pad
from ltp.training.evaluation import evaluate
from ltp.training.sample import learn_saliency
from ltp.training.trainer import make_trainer

BATCH = 64
COLUMNS = ("input_ids", "token_type_ids", "labels", "length")


class Altered:
    """Copies of tokenised sentences with words left out; a word is a token and the ``##`` pieces after it."""

    def __init__(self, tokenizer: Any, drop: float, seed: int) -> None:
        self.special = set(tokenizer.all_special_ids)
        self.later = {number for token, number in tokenizer.get_vocab().items() if token.startswith("##")}
        self.drop, self.random = drop, random.Random(seed)

    def kept(self, ids: Sequence[int]) -> list[int]:
        """The places of the tokens that one copy keeps."""
        words: list[list[int]] = []
        for place, number in enumerate(ids):
            if number in self.later and words and ids[words[-1][0]] not in self.special:
                words[-1].append(place)
            else:
                words.append([place])
        stay = (word for word in words if ids[word[0]] in self.special or self.random.random() >= self.drop)
        return [place for word in stay for place in word]

    def copies(self, split: datasets.Dataset, count: int) -> Iterator[dict[str, Any]]:
        """The examples of a split, ``count`` times."""
        names = [name for name in COLUMNS if name in split.column_names]
        for _ in range(count):
            for example in split.select_columns(names):
                places = self.kept(example["input_ids"])
                of_tokens = {name: [example[name][place] for place in places] for name in names[:-2]}
                yield {**of_tokens, "labels": example["labels"], "length": len(places)}


@torch.inference_mode()
def outputs_of(model: PreTrainedModel, split: datasets.Dataset) -> Tensor:
    """(N, C) outputs on a split."""
    names = [name for name in COLUMNS[:2] if name in split.column_names]
    order = np.argsort(-np.asarray(split["length"]), kind="stable")
    found: list[Tensor] = []
    for start in range(0, len(order), BATCH):
        rows = split.select(order[start : start + BATCH])
        found.append(
            model(**pad([{name: row[name] for name in names} for row in rows], model.config.pad_token_id)).logits
        )
    return torch.cat(found)[np.argsort(order)]


def divergence(ours: Tensor, theirs: Tensor) -> float:
    """Of outputs (N, C) from the dense model's."""
    if ours.shape[1] == 1:
        return float(((ours - theirs) ** 2).mean() / theirs.var())
    logs = theirs.log_softmax(-1)
    return float((logs.exp() * (logs - ours.log_softmax(-1))).sum(-1).mean())


def measure(base: Path, drop: float, settings: TrainingSettings, targets: Sequence[float]) -> dict[str, str]:
    """One training from a dense run: a cell for each target."""
    splits, info = load(base.parents[2] / "data")
    dense = load_pruned(base, info).eval()
    text, passes = splits["train"].select_columns([name for name in COLUMNS if name in splits["train"].column_names]), 1
    if drop:
        passes = math.ceil(settings.epochs)
        altered = Altered(load_tokenizer(base.parents[2] / "data" / TOKENIZER), drop, settings.seed)
        text = datasets.Dataset.from_list([*text, *altered.copies(splits["train"], passes - 1)])
    torch.manual_seed(settings.seed)
    pruning = PruningSettings(prune_mode="absolute_threshold", scoring_mode="saliency")
    model = LTPForSequenceClassification.from_base(load_pruned(base, info).to_base(), pruning)
    model.threshold_deltas.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with tempfile.TemporaryDirectory() as folder:
        shorter = replace(settings, epochs=settings.epochs / passes)
        trainer = make_trainer(model, text, info, Path(folder), shorter, outputs_of(dense, text), data_seed=1000)
        trainer.remove_callback(ProgressCallback)
        learn_saliency(model, splits["train"], settings.seed)
        trainer.add_callback(Budget(model, splits["train"], shorter).callback())
        trainer.train()
        judge = make_trainer(dense, None, info, Path(folder), TrainingSettings(precision="fp32"))
        validation, metric = {"validation": splits["validation"]}, info["primary_metric"]
        best = evaluate(judge, validation, info)["metrics"]["validation"][metric]
        theirs, cells = outputs_of(dense, splits["validation"]), {}
        for target in targets:
            Budget(model, splits["train"], replace(shorter, flops_target=target, least_flops_target=None)).meet(trainer)
            score = evaluate(trainer, validation, info)["metrics"]["validation"][metric]
            apart = divergence(outputs_of(model.eval(), splits["validation"]), theirs)
            cells[f"at {100 * target:.0f} %"] = f"{100 * (score - best):+.1f} ({apart:.3f})"
    return cells


def main() -> None:
    """Train with and without, and write the table as it grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("bases", metavar="BASE", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--epochs", type=float, required=True)
    parser.add_argument("--drop", type=float, nargs="+", default=[0.0, 0.15])
    parser.add_argument("--flops", type=float, nargs="+", default=[0.7, 0.5, 0.4, 0.3])
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before hours of training, not after
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    settings = TrainingSettings(
        learning_rate=options.learning_rate, batch_size=16, dropout=0.0, warmup=0.1, seed=options.seed,
        distillation=1.0, epochs=options.epochs, flops_target=max(options.flops), least_flops_target=min(options.flops),
    )  # fmt: skip
    rows = []
    for base in options.bases:
        for drop in options.drop:
            row = {"task": task_title(base.parents[2].name), "words left out": f"{100 * drop:.0f} %"}
            row |= measure(base, drop, settings, options.flops)
            origin = {
                "commit": commit() or "",
                "machine": processor_name(),
                "date": datetime.now(UTC).date().isoformat(),
            }
            rows.append(row | origin)
            write_text(options.output, csv_text(list(rows[0]), rows))
            print(f"{options.output}: {rows[-1]}", flush=True)


if __name__ == "__main__":
    main()
