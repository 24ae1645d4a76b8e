"""What a setting is called: the values that distinguish it from the others of its method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ltp.analysis.csv_files import number

if TYPE_CHECKING:
    from ltp.analysis.study import Run

# What a method's settings are called by even if the study has but one; whatever else varies is added.
LABEL_KEYS = {
    "dense": (),
    "dense+": (),
    "budget": ("flops_target",),
    "ltp": ("temperature", "lambda"),
    "topk": ("token_keep_rate",),
    "topk_budget": ("flops_target",),
    "manual": ("final_token_threshold",),
}
SHORT_KEYS = {
    "temperature": "T",
    "lambda": "λ",
    "flops_target": "target",
    "learning_rate": "lr",
    "token_keep_rate": "keep",
    "final_token_threshold": "θ",
}


def label_runs(runs: Sequence[Run]) -> None:
    """Label every run of one task by the settings in which it differs from others of its method and stage."""
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.method, run.stage].append(run)
    for (method, _), members in groups.items():
        values: dict[str, set[str]] = defaultdict(set)
        for run in members:
            if run.metrics is not None:
                for key, value in run.settings.items():
                    if key != "precision":  # the machine's choice, not the grid's
                        values[key].add(number(value))
        first = LABEL_KEYS.get(method, ())
        keys = [*first, *sorted(key for key in values if key not in first and len(values[key]) > 1)]
        for run in members:
            settings = run.settings
            run.label = " ".join(f"{key}={number(settings[key])}" for key in keys if settings.get(key) is not None)


def short_label(label: str) -> str:
    """``temperature=0.001 lambda=0.1`` → ``T=0.001 λ=0.1``."""
    pairs = [part.partition("=") for part in label.split()]
    return " ".join(f"{SHORT_KEYS.get(key, key)}{equals}{value}" for key, equals, value in pairs)
