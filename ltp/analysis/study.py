"""From runs to what a study says: settings over seeds, the frontier, the operating points.

A *setting* is what the runs of one method with the same settings have in common, whatever their seed. Settings are
picked on the validation split and reported on the test split.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ltp.common.names import METHODS

FINAL_STAGES = ("base", "hard")  # soft runs are steps on the way, not models to deploy
# What tells a method's settings apart even if the study has but one; whatever else varies is added to a label.
LABEL_KEYS = {
    "dense": (),
    "budget": ("flops_target",),
    "ltp": ("temperature", "lambda"),
    "topk": ("token_keep_rate",),
    "manual": ("final_token_threshold",),
}


@dataclass
class Run:
    """One run as the tables see it; ``metrics`` is the content of metrics.json, None when it cannot be trusted."""

    directory: Path
    name: str  # the directory, relative to the tables
    status: str  # complete, diverged, missing, damaged
    reason: str = ""
    metrics: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)  # what the path alone tells of a run without metrics
    label: str = ""

    def get(self, key: str) -> Any:
        """A top-level fact (task, model, method, stage, seed), of its metrics or else of its path."""
        return (self.metrics or self.facts).get(key)

    def score(self, split: str) -> float | None:
        """The primary metric, in points."""
        value = self.metrics["metrics"].get(split, {}).get(self.metrics["primary_metric"])
        return None if value is None else 100 * value

    def flops(self, split: str, key: str = "relative") -> float | None:
        """``relative`` FLOPs (share of dense), ``gflops`` or ``dense_gflops`` a sentence."""
        return self.metrics["flops"].get(split, {}).get(key)

    def usable(self) -> bool:
        """Whether the run is complete and has all figures that a comparison needs."""
        if self.status != "complete":
            return False
        return None not in [f(split) for split in ("validation", "test") for f in (self.score, self.flops)]


@dataclass
class Setting:
    """The runs of one setting, one a seed, in the order of the seeds."""

    method: str
    label: str
    runs: list[Run]

    def score(self, split: str) -> float:
        """Mean over seeds of the primary metric, in points."""
        return fmean(run.score(split) for run in self.runs)

    def flops(self, split: str, key: str = "relative") -> float:
        """Mean over seeds of relative FLOPs or GFLOPs."""
        return fmean(run.flops(split, key) for run in self.runs)


def deviation(values: Iterable[float]) -> float | None:
    """Sample standard deviation; None for fewer than two values."""
    values = list(values)
    return stdev(values) if len(values) > 1 else None


def number(value: Any) -> str:
    """A value as tables show it: shortest decimal form of twelve digits, lists joined by semicolons."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, (list, tuple)):
        return ";".join(map(number, value))
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)


def settings_of(run: Run) -> dict[str, Any]:
    """What shaped a run, its seed apart."""
    settings = run.metrics["settings"] if run.metrics else run.facts.get("settings", {})
    return {key: value for key, value in settings.items() if key != "seed"}


def label_runs(runs: Sequence[Run]) -> None:
    """Give every run of one task a label: the settings that tell it from others of its method and stage."""
    groups: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.get("method"), run.get("stage")].append(run)
    for (method, _), members in groups.items():
        values: dict[str, set[str]] = defaultdict(set)
        known = [settings_of(run) for run in members if run.metrics]
        for settings in known:
            for key, value in settings.items():
                values[key].add(number(value))
        first = LABEL_KEYS.get(method, ())
        keys = [*first, *sorted(key for key in values if key not in first and len(values[key]) > 1)]
        for run in members:
            settings = settings_of(run)
            run.label = " ".join(f"{key}={number(settings[key])}" for key in keys if settings.get(key) is not None)


def by_setting(runs: Sequence[Run], seeds: set[int]) -> list[Setting]:
    """The final runs of one task as settings; a setting that is not complete for all of ``seeds`` is left out.

    A mean over the seeds that happened to survive would flatter a setting that sometimes diverges.
    """
    groups: dict[tuple[str, str], dict[int, Run]] = defaultdict(dict)
    for run in runs:
        if run.usable() and run.get("stage") in FINAL_STAGES and run.get("seed") in seeds:
            key = (run.get("method"), json.dumps(settings_of(run), sort_keys=True))
            groups[key][run.get("seed")] = run
    settings = [
        Setting(method, members[min(members)].label, [members[seed] for seed in sorted(members)])
        for (method, _), members in groups.items()
        if set(members) == seeds
    ]
    return sorted(settings, key=lambda s: (METHODS.index(s.method), s.flops("validation"), s.runs[0].name))


def seeds_to_compare(runs: Sequence[Run]) -> set[int]:
    """The seeds that have a sound dense run; without any, all seeds that have a finished run."""
    final = [run for run in runs if run.usable() and run.get("stage") in FINAL_STAGES]
    return {run.get("seed") for run in final if run.get("method") == "dense"} or {run.get("seed") for run in final}
