"""Score × rule × training: what each is worth at the same share of the FLOPs -> CSV.

    python benchmarks/ablation.py BASE... --output docs/data/ablation.csv [--flops 0.5 0.35] [--scores saliency]

BASE is the dense run of a study whose grid asks for distillation, such as results/evidence/sst2/seed~0/dense/base; the
data lie where the study has them. Every score (mean attention, relative, contribution, saliency) meets every rule
(thresholds, top-k; to top-k the first two are one, for they rank a sentence's tokens alike), with thresholds or keep
rates set on the dense model's weights alone; set after fine-tuning for that one target; and set after one training at
random budgets, which serves all targets. The two trainings take the same EPOCHS in all.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from ltp.analysis.csv_files import csv_text
from ltp.common.io import write_text
from ltp.common.machine import commit, processor_name
from ltp.conversion.convert import convert
from ltp.results.run import read_metrics
from ltp.settings.pruning import SCORING_MODES, PruningSettings
from ltp.settings.tasks import task_title
from ltp.settings.training import TrainingSettings
from ltp.training.stage import Stage
from ltp.training.stages import train

RULES = {"threshold": ("budget", "absolute_threshold"), "top-k": ("topk_budget", "topk")}  # method and prune_mode
TITLES = ("mean attention (the paper's)", "over the median", "contribution", "predicted saliency")
SCORES = dict(zip(SCORING_MODES, TITLES, strict=True))


class Ablation:
    """All trainings from one dense run, at the FLOPs ``targets`` and with the same ``epochs`` in all."""

    def __init__(self, base: Path, folder: Path, targets: list[float], epochs: float, rate: float) -> None:
        self.base, self.folder, self.targets, self.epochs, self.rate = base, folder, targets, epochs, rate
        self.data = base.parents[2] / "data"
        self.seed = read_metrics(base)["seed"]

    def run(self, stage: str, method: str, checkpoint: Path, name: str, **settings: Any) -> tuple[Path, dict[str, Any]]:
        """One training from ``checkpoint``; where it is, and its metrics."""
        output = self.folder / name
        teacher = self.base if settings["epochs"] else None
        made = TrainingSettings(
            learning_rate=self.rate, batch_size=16, dropout=0.0, warmup=0.1, seed=self.seed,
            distillation=1.0 if teacher else 0.0, **settings,
        )  # fmt: skip
        return output, train(Stage(stage, method, str(checkpoint), self.data, output, made, teacher=teacher))

    def rows(self, score: str, rule: str) -> list[dict[str, str]]:
        """One row for each kind of training."""
        method, mode = RULES[rule]
        name = f"{score} {rule}"
        start = self.folder / name / "converted"
        convert(self.base, start, PruningSettings(prune_mode=mode, scoring_mode=score))
        most, least = max(self.targets), min(self.targets)
        once, _ = self.run(
            "soft", method, start, f"{name}/once", epochs=self.epochs, flops_target=most,
            least_flops_target=None if least == most else least,
        )  # fmt: skip
        found: dict[str, dict[str, str]] = {"none": {}, "for each target": {}, "once at random budgets": {}}
        for target in self.targets:
            apart = self.epochs / len(self.targets)
            ends = {
                "none": (start, 0.0),
                "for each target": (start, apart),
                "once at random budgets": (once, 0.0),
            }
            for kind, (checkpoint, epochs) in ends.items():
                _, metrics = self.run(
                    "hard", method, checkpoint, f"{name}/{kind}/{target}", epochs=epochs, flops_target=target
                )
                found[kind][f"at {100 * target:.0f} %"] = _cell(metrics)
        return [
            {"task": task_title(self.data.parent.name), "score": SCORES[score], "rule": rule, "training": kind} | cells
            for kind, cells in found.items()
        ]


def _cell(metrics: dict[str, Any]) -> str:
    """The score on the test split, and the share of the FLOPs there."""
    score = 100 * metrics["metrics"]["test"][metrics["primary_metric"]]
    return f"{score:.1f} ({100 * metrics['flops']['test']['relative']:.0f} %)"


def main() -> None:
    """Train all, and write the table as it grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("bases", metavar="BASE", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--flops", type=float, nargs="+", default=[0.5, 0.35])
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--scores", nargs="+", choices=SCORING_MODES, default=SCORING_MODES)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)  # before hours of training, not after
    origin = {"commit": commit() or "", "machine": processor_name()}
    rows: list[dict[str, str]] = []
    for base in options.bases:
        metrics = read_metrics(base)
        date = datetime.now(UTC).date().isoformat()
        dense = {f"at {100 * target:.0f} %": _cell(metrics) for target in options.flops}
        rows.append(
            {"task": task_title(base.parents[2].name), "score": "dense", "rule": "", "training": ""}
            | dense | origin | {"date": date}
        )  # fmt: skip
        for score, rule in product(options.scores, RULES):
            if (score, rule) == ("relative", "top-k"):
                continue
            with tempfile.TemporaryDirectory() as folder:
                ablation = Ablation(base, Path(folder), options.flops, options.epochs, options.learning_rate)
                rows += [row | origin | {"date": date} for row in ablation.rows(score, rule)]
            write_text(options.output, csv_text(list(rows[0]), rows))
            print(f"{options.output}: {rows[-1]['task']}, {score}, {rule}", flush=True)


if __name__ == "__main__":
    main()
