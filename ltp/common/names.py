"""TODO"""

from __future__ import annotations

METHODS = ("dense", "budget", "ltp", "topk", "manual")
STAGES = ("base", "soft", "hard")

PACKAGED_MODEL = "all-MiniLM-L6-v2"
PACKAGED_TASKS = ("rotten_tomatoes", "imdb")


METRIC_NAMES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "macro_f1": "macro F1",
    "matthews": "Matthews correlation × 100",
    "pearson": "Pearson correlation × 100",
    "spearman": "Spearman correlation × 100",
    "mean": "mean of the metrics × 100",
}
