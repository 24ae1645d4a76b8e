"""A study of one task and encoder: its runs, their settings over seeds, and what is picked of them.

A *setting* is what the runs of one method with the same settings have in common, whatever their seed. Settings are
picked on the validation split and reported on the test split. The same classes are made from the metrics.json of
the runs (ltp.analysis.load) and from the tables (ltp.analysis.runs).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ltp.analysis.frontier import frontier, operating_point
from ltp.common.names import FINAL_STAGES, METHODS, PRUNING_METHODS
from ltp.results.run import RunManifest

UNKNOWN = ""  # the task, encoder, method or stage of a run whose metrics are missing and whose path does not name it


@dataclass(eq=False)
class Run:
    """One run. Of a run that is missing or damaged, only what its path says is known; it enters no figure."""

    directory: Path
    name: str  # the directory, relative to the tables
    status: str  # complete, diverged, missing, damaged
    reason: str = ""
    task: str = UNKNOWN
    model: str = UNKNOWN
    method: str = UNKNOWN
    stage: str = UNKNOWN
    seed: int | None = None
    label: str = ""
    metric: str = ""  # the primary one
    settings: dict[str, Any] = field(default_factory=dict)  # what shaped the run, its seed apart
    scores: dict[str, float] = field(default_factory=dict)  # split → the primary metric, in points
    relative_flops: dict[str, float] = field(default_factory=dict)  # split → share of the dense model's
    gflops: dict[str, float] = field(default_factory=dict)  # split → GFLOPs a sentence
    layers: dict[str, list[float]] = field(default_factory=dict)  # threshold, attention_tokens, ffn_tokens; (L,)
    examples: dict[str, int] = field(default_factory=dict)  # split → count
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # what the run took
    metrics: RunManifest | None = None  # all of metrics.json; None where it cannot be trusted or was not read

    @cached_property
    def setting_key(self) -> tuple[str, str]:
        """What the runs of a setting share: their method and settings."""
        settings = {key: value for key, value in self.settings.items() if key != "precision"}  # the machine's
        return self.method, json.dumps(settings, sort_keys=True)

    @property
    def is_final(self) -> bool:
        """Whether this is a model to deploy, not a step on the way, with all figures that a comparison needs."""
        figures = (self.scores, self.relative_flops)
        has_all = all(split in of_split for of_split in figures for split in ("validation", "test"))
        return self.status == "complete" and self.stage in FINAL_STAGES and has_all


@dataclass(eq=False)
class Setting:
    """The runs of one setting, one a seed, in the order of the seeds."""

    runs: list[Run]
    on_frontier: bool = False  # no other setting of the method beats it on validation

    @property
    def method(self) -> str:
        """The pruning method, or dense."""
        return self.runs[0].method

    @property
    def label(self) -> str:
        """The values that distinguish it from other settings of the method."""
        return self.runs[0].label

    def score(self, split: str) -> float:
        """Mean over seeds of the primary metric, in points."""
        return fmean(run.scores[split] for run in self.runs)

    def score_sd(self, split: str) -> float | None:
        """Its standard deviation over seeds; None for one seed."""
        return deviation(run.scores[split] for run in self.runs)

    def flops(self, split: str) -> float:
        """Mean over seeds of the FLOPs relative to the dense model's."""
        return fmean(run.relative_flops[split] for run in self.runs)

    def flops_sd(self, split: str) -> float | None:
        """Their standard deviation over seeds; None for one seed."""
        return deviation(run.relative_flops[split] for run in self.runs)

    def gflops(self, split: str) -> float:
        """Mean over seeds of the GFLOPs a sentence."""
        return fmean(run.gflops[split] for run in self.runs)

    def layers(self, name: str) -> list[float]:
        """Mean over seeds of threshold, attention_tokens or ffn_tokens: (L,); empty where the runs have none."""
        lists = [run.layers[name] for run in self.runs if name in run.layers]
        return [fmean(values) for values in zip(*lists, strict=True)] if lists else []

    def value(self, key: str) -> float | None:
        """A number among the settings, such as lambda; None where there is none."""
        value = self.runs[0].settings.get(key)
        return None if value is None else float(value)


@dataclass(eq=False)
class Study:
    """The runs of one task and encoder, whatever has become of them."""

    task: str
    model: str
    runs: list[Run]

    @property
    def metric(self) -> str:
        """The primary metric, of the runs that count if there are any; "score" where no run names one."""
        named = sorted((run for run in self.runs if run.metric), key=lambda run: run.status != "complete")
        return named[0].metric if named else "score"

    def leave_out(self, run: Run, reason: str) -> None:
        """Take a run for damaged from here on."""
        run.status, run.reason = "damaged", reason
        for name in ("seeds", "settings", "incomplete"):
            self.__dict__.pop(name, None)

    @cached_property
    def seeds(self) -> set[int]:
        """The seeds to compare: those that have a final dense run; without any, all that have a final run."""
        final = [(run.method, run.seed) for run in self.runs if run.is_final and run.seed is not None]
        return {seed for method, seed in final if method == "dense"} or {seed for _, seed in final}

    @cached_property
    def settings(self) -> list[Setting]:
        """The final settings that have a run for each of the seeds, by method and FLOPs on validation.

        A mean over the seeds that happened to survive would flatter a setting that sometimes diverges.
        """
        settings = [setting for setting in self._grouped() if len(setting.runs) == len(self.seeds)]
        for method in METHODS:
            members = [setting for setting in settings if setting.method == method]
            for i in frontier([(setting.score("validation"), setting.flops("validation")) for setting in members]):
                members[i].on_frontier = True
        return settings

    @cached_property
    def incomplete(self) -> list[Setting]:
        """The final settings that lack the run of a seed: they enter no comparison."""
        return [setting for setting in self._grouped() if len(setting.runs) < len(self.seeds)]

    def _grouped(self) -> list[Setting]:
        groups: dict[tuple[str, str], dict[int, Run]] = defaultdict(dict)
        for run in self.runs:
            if run.is_final and run.seed in self.seeds:
                groups[run.setting_key][run.seed] = run
        settings = [Setting([members[seed] for seed in sorted(members)]) for members in groups.values()]
        return sorted(settings, key=lambda s: (METHODS.index(s.method), s.flops("validation"), s.runs[0].name))

    @property
    def dense(self) -> Setting | None:
        """The dense setting; of several, the best on validation."""
        dense = [setting for setting in self.settings if setting.method == "dense"]
        return max(dense, key=lambda setting: setting.score("validation"), default=None)

    def of(self, method: str) -> list[Setting]:
        """The settings of a method."""
        return [setting for setting in self.settings if setting.method == method]

    def operating_point(self, method: str) -> Setting | None:
        """A pruning method's cheapest setting within TOLERANCE points of dense on validation; None: there is none."""
        dense = self.dense
        return operating_point(self.of(method), dense) if dense and method != "dense" else None

    def reported(self) -> list[Setting]:
        """What the summary reports: dense, and each method's operating point."""
        points = [self.dense, *(self.operating_point(method) for method in METHODS[1:])]
        return [setting for setting in points if setting]

    def representatives(self) -> list[Setting]:
        """A setting for each pruning method: its operating point, or without one its best on validation."""
        found = []
        for method in PRUNING_METHODS:
            members = [setting for setting in self.of(method) if setting.on_frontier]
            best = max(members, key=lambda setting: setting.score("validation"), default=None)
            found.append(self.operating_point(method) or best)
        return [setting for setting in found if setting]


def deviation(values: Iterable[float]) -> float | None:
    """Sample standard deviation; None for fewer than two values."""
    values = list(values)
    return stdev(values) if len(values) > 1 else None


def studies_of(runs: Iterable[Run]) -> list[Study]:
    """The runs by task and encoder; one without an encoder, since it never finished, belongs to its task's studies.

    A task none of whose runs has an encoder is a study without one. Runs of no known task are in none.
    """
    runs = list(runs)
    keys = {(run.task, run.model) for run in runs if run.task and run.model}
    keys |= {(run.task, UNKNOWN) for run in runs if run.task and run.task not in {task for task, _ in keys}}
    return [
        Study(task, model, [run for run in runs if run.task == task and run.model in (model, UNKNOWN)])
        for task, model in sorted(keys)
    ]
