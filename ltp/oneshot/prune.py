"""`prune`: a fine-tuned classifier and text without labels in, the same answers at a share of the FLOPs out."""

from __future__ import annotations

import math
import numbers
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from ltp.common.errors import LTPError
from ltp.common.io import write_json, write_text
from ltp.common.machine import cpu_threads
from ltp.models.modeling import LTPForSequenceClassification
from ltp.oneshot import speed
from ltp.oneshot.agreement import texts_of
from ltp.oneshot.clock import SPEED_PASSES, Clock, enough_steps, least_seconds, sizes, steps_that_fit
from ltp.oneshot.comparison import compare_answers
from ltp.oneshot.distil import Distillation, answers, require_same_answers
from ltp.oneshot.original import Original, load_original
from ltp.oneshot.screen import card, screen
from ltp.oneshot.state import RESULT, check_output, fingerprint, move, read_plan, work_folder, write_plan
from ltp.oneshot.texts import Texts, divide, make_texts
from ltp.results.run import CHECKPOINT
from ltp.settings.oneshot import PruneSettings
from ltp.text.cleaning import expect_characters
from ltp.text.prepare import DataOrigin, write_data
from ltp.text.types import Table
from ltp.training.callbacks import Diverged
from ltp.training.environment import environment
from ltp.training.evaluation import evaluate
from ltp.training.model_card import front_matter
from ltp.training.outputs import as_predictions
from ltp.training.resuming import last_checkpoint, seconds_trained
from ltp.training.trainer import LTPTrainer

LOGITS = "answers.safetensors"
REPORT, DATA, TRAINING = "report.json", "data", "training"
EXPORT_TEXTS = 512  # of the training text, saved for `ltp export --int8` to set thresholds on
FEW_STEPS = 50
SENTENCE_TRANSFORMERS = ("config_sentence_transformers.json", "modules.json", "sentence_bert_config.json")


@dataclass(frozen=True)
class Pruned:
    """What one call gives: ``models`` by budget, the ``tokenizer``, and the ``report`` that report.json holds."""

    models: dict[float, LTPForSequenceClassification]
    tokenizer: Any
    report: dict[str, Any]

    @property
    def model(self) -> LTPForSequenceClassification:
        """The pruned model; of several, that of the largest budget."""
        return next(iter(self.models.values()))

    def __str__(self) -> str:
        return screen(self.report)


def prune(
    model: str | Path | PreTrainedModel, tokenizer: Any, texts: Sequence[str] | Sequence[tuple[str, str]],
    flops: float | Sequence[float] = 0.5, *, labels: Sequence[Any] | None = None, output: str | Path | None = None,
    **settings: Any,
) -> Pruned:  # fmt: skip
    """Prune a fine-tuned classifier to a share of its FLOPs, on texts, or pairs of texts, that need no labels.

    ``model`` is a folder, a name on the Hub or a model in memory, which stays as it is; ``tokenizer`` may be None where
    the model's folder has one. ``labels`` (N,) are only scored. ``output`` is a folder to write, which must not be
    there. ``settings`` are fields of :class:`ltp.settings.oneshot.PruneSettings`: ``minutes``, ``protect``,
    ``max_length``, ``seed``. Raises LTPError, in one line and before any work, for what cannot be used.
    """
    frame = _frame(list(texts))
    columns = tuple(frame.columns)
    if labels is not None:
        if len(labels) != len(frame):
            raise LTPError(f"labels: {len(labels)} for {len(frame)} texts; expected as many")
        frame["label"] = list(labels)
    budgets = (flops,) if isinstance(flops, (str, numbers.Real)) else tuple(flops)
    asked = PruneSettings(
        flops=budgets, text_columns=columns, label_column=None if labels is None else "label", **settings
    )
    return prune_table(model, tokenizer, Table("texts", frame), asked, None if output is None else Path(output))


def _frame(texts: list[Any]) -> pd.DataFrame:
    """The columns ``text`` and, of pairs, ``text_pair``. Raises LTPError for what is neither a text nor two."""
    pairs = bool(texts) and not isinstance(texts[0], str)
    for row, text in enumerate(texts, 1):
        fits = isinstance(text, (tuple, list)) and len(text) == 2 if pairs else isinstance(text, str)
        if not fits:
            raise LTPError(f"texts: number {row} is {text!r:.60}; expected texts, or pairs of texts, all of one kind")
        expect_characters("".join(part for part in text if isinstance(part, str)), f"texts: number {row}")
    return pd.DataFrame(texts, columns=["text", "text_pair"] if pairs else ["text"])


def prune_table(
    model: str | Path | PreTrainedModel, tokenizer: Any, table: Table, settings: PruneSettings, output: Path | None
) -> Pruned:
    """`prune` on a table of text, as ``ltp prune`` reads it."""
    clock = Clock(settings.minutes)
    if output is not None:
        check_output(output)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # loading takes a moment
    datasets.disable_progress_bars()
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    original = load_original(model, tokenizer)
    texts = make_texts(original, table, settings)
    original.tokenizer.model_max_length = texts.max_length  # whoever serves the model then cuts where it was calibrated
    with work_folder(output) as folder:
        pruned = _Call(original, texts, settings, folder, clock).run()
        if output is not None:
            move(folder, output)
    return pruned


class _Call:
    """The steps of one call, in ``folder``."""

    def __init__(self, original: Original, texts: Texts, settings: PruneSettings, folder: Path, clock: Clock) -> None:
        self.original, self.texts, self.settings, self.folder, self.clock = original, texts, settings, folder, clock
        self.targets = sorted(settings.flops, reverse=True)

    def run(self) -> Pruned:
        """Answers of the original, a training a budget, the comparison; all of it below ``folder``/result."""
        mark = fingerprint(self.original, self.texts, self.settings)
        plan = read_plan(self.folder, mark)
        if plan is None:
            plan = self._begin(mark)
        else:
            begun = last_checkpoint(self.folder / TRAINING / CHECKPOINT)
            self.clock = Clock(self.settings.minutes, plan["seconds"] + (seconds_trained(begun) if begun else 0.0))
            self._say("going on where an earlier call was interrupted")
        train, kept = divide(self.texts, plan["kept"], plan["train"])
        logits = load_file(self.folder / LOGITS)
        train, kept = self._labelled(train, logits["train"]), self._labelled(kept, logits["kept"])
        distillation = Distillation(self.original, train, logits["train"], self._info(), self.settings, plan["look"])
        if "steps" not in plan:
            plan |= self._measure(distillation, plan, len(kept.rows))
            write_plan(self.folder, plan | {"seconds": self.clock.elapsed})
        shares = ", ".join(f"{100 * target:g} %" for target in self.targets)
        self._say(f"training for {shares} of the FLOPs: {plan['steps']} steps")
        trainer = distillation.run(plan["steps"], self.folder / TRAINING, {"fingerprint": mark})
        models, points = {}, []
        for target in self.targets:
            self._say(
                f"{100 * target:g} %: setting thresholds, comparing answers on {len(kept.rows):,} texts kept aside"
            )
            budget = distillation.set_thresholds(trainer, target)
            found = self._evaluated(trainer, kept)
            models[target] = distillation.variant(trainer.model)
            answered = np.array(found["predictions"]["test"]["predictions"])
            points.append(
                {
                    "target": target, "kept": len(kept.rows), "flops": found["flops"]["test"]["relative"],
                    "gflops": found["flops"]["test"]["gflops"], "layers": found["layers"], "budget": budget,
                    **compare_answers(kept, texts_of(kept.frame), logits["kept"].numpy(), answered),
                }
            )  # fmt: skip
        self._say("milliseconds of both, in turn")
        for target, point in zip(self.targets, points, strict=True):
            point["speed"] = speed.measure(self.original, models[target], kept, plan["timed"])
        report = self._report(train, kept, plan, points, distillation.settings.precision)
        self._write(models, report, train, kept)
        return Pruned(models, self.original.tokenizer, report)

    def _begin(self, mark: str) -> dict[str, Any]:
        """Measure the original, choose the texts, and write down its answers on them."""
        columns = " and ".join(self.texts.task.text_columns)
        self._say(f"{len(self.texts.rows):,} texts, read from {columns}; measuring {self.original.name}")
        few = self.texts.rows.select(range(min(32, len(self.texts.rows))))
        require_same_answers(self.original, few)  # and the first call is slower
        _, seconds = answers(self.original, few)
        chosen = sizes(len(self.texts.rows), len(few) / seconds, self.clock.left)
        least = least_seconds(chosen, len(few) / seconds, len(self.targets))
        if least > self.clock.left:
            self._say(
                f"minutes: {self.settings.minutes:g} is less than this model and text need: answers and timing alone "
                f"take some {math.ceil((self.clock.elapsed + least) / 60)} minutes, and one step is trained; "
                "a smaller max_length makes it less"
            )
        train, kept = divide(self.texts, chosen.kept, chosen.train)
        logits: dict[str, Tensor] = {}
        taken = 0.0
        for name, part in (("kept", kept), ("train", train)):
            logits[name], seconds = answers(self.original, part.rows, f"the original's answers, {name}")
            taken += seconds
        for name, outputs in logits.items():
            if not torch.isfinite(outputs).all():
                raise LTPError(f"model: its outputs on {name} texts are not finite numbers; it cannot be learned from")
        save_file(logits, self.folder / LOGITS)
        plan = {
            "fingerprint": mark, "seconds": self.clock.elapsed,
            "per_second": (len(kept.rows) + len(train.rows)) / taken,
            **vars(chosen), "look": min(chosen.look, len(train.rows)),
        }  # fmt: skip
        write_plan(self.folder, plan)
        return plan

    def _measure(self, distillation: Distillation, plan: dict[str, Any], kept: int) -> dict[str, Any]:
        """How many training steps fit."""
        self._say("measuring a training step")
        step, thresholds = distillation.measure(self.folder / "probe")
        after = (kept + SPEED_PASSES * plan["timed"]) / plan["per_second"] + thresholds
        seconds = self.clock.left - len(self.targets) * after
        return {"steps": steps_that_fit(len(distillation.rows), seconds, step), "step_seconds": step}

    def _evaluated(self, trainer: LTPTrainer, kept: Texts) -> dict[str, Any]:
        try:
            return evaluate(trainer, {"test": kept.rows}, self._info())
        except Diverged as reason:
            raise LTPError(f"training: {reason}; try more text or another --seed") from None

    def _labelled(self, part: Texts, logits: Tensor) -> Texts:
        """The texts with the original's answers in the column that the trainer reads."""
        found = as_predictions(logits.numpy(), part.task.kind == "regression")
        return replace(part, rows=part.rows.add_column("labels", found))

    def _info(self) -> dict[str, Any]:
        task = self.texts.task
        return {"kind": task.kind, "metrics": list(task.metrics), "num_labels": task.num_labels}

    def _report(
        self, train: Texts, kept: Texts, plan: dict[str, Any], points: list[dict[str, Any]], precision: str
    ) -> dict[str, Any]:
        few = plan["steps"] < min(FEW_STEPS, enough_steps(len(train.rows)))
        return {
            "model": self.original.name,
            "texts": {
                "train": len(train.rows), "kept": len(kept.rows), "mean_tokens": float(np.mean(kept.rows["length"])),
                "max_length": kept.max_length, "cut": kept.count_cut(self.original.tokenizer),
            },
            "protect": self.settings.protect, "seed": self.settings.seed, "minutes": self.settings.minutes,
            "steps": plan["steps"], "points": points, "seconds": self.clock.elapsed,
            "note": f"Training steps that fitted: {plan['steps']}. More --minutes may bring more equal answers."
            if few else None,
            "environment": environment(precision),
        }  # fmt: skip

    def _write(
        self, models: dict[float, LTPForSequenceClassification], report: dict[str, Any], train: Texts, kept: Texts
    ) -> None:
        result = self.folder / RESULT
        shutil.rmtree(result, ignore_errors=True)
        several = len(models) > 1
        for point, (target, model) in zip(report["points"], models.items(), strict=True):
            folder = result / f"flops-{target:g}" if several else result
            model.to("cpu").save_pretrained(folder)
            self._write_data(folder / DATA, train, kept)
            self.original.tokenizer.save_pretrained(folder)
            self._copy_use(folder)
            write_text(folder / "README.md", card(report, point, front_matter(self.original.name)))
            write_json(folder / REPORT, {**report, "points": [point]})
        if several:
            from ltp.report.budgets import write_frontier

            write_json(result / REPORT, report)
            write_frontier(report["model"], report["points"], result / "frontier")

    def _write_data(self, folder: Path, train: Texts, kept: Texts) -> None:
        """What `ltp export`, `ltp evaluate` and `ltp benchmark` read: text kept aside, and text for thresholds."""
        some = train.take(range(min(EXPORT_TEXTS, len(train.rows))))
        splits = (("train", some), ("validation", kept))
        origin = DataOrigin(
            self.original.name, None, kept.max_length, {}, {"source": "memory"}, "kept", self.settings.seed
        )
        tables = ((name, _arrow(part)) for name, part in splits)
        write_data(folder, tables, self.original.tokenizer, self.texts.task, origin)

    def _copy_use(self, folder: Path) -> None:
        """What sentence-transformers keeps beside a model: how a CrossEncoder turns outputs into scores, prompts."""
        for name in SENTENCE_TRANSFORMERS:
            if self.original.folder and (self.original.folder / name).is_file():
                shutil.copyfile(self.original.folder / name, folder / name)

    def _say(self, what: str) -> None:
        minutes, seconds = divmod(int(self.clock.elapsed), 60)
        print(f"[{minutes}:{seconds:02d}] {what}", file=sys.stderr, flush=True)


def _arrow(part: Texts) -> pa.Table:
    """The tokenised texts as a table."""
    table: pa.Table = part.rows.with_format("arrow")[:]
    return table
