"""The grid: which runs a study has, where each lies, and the command-line flags of each stage.

With the reader (checks and defaults), the only module that knows what a grid's sections mean. Layout of the results:

    R/TASK/data/                                             R is the grid's results_dir
    R/TASK/seed~S/dense/base/
    R/TASK/seed~S/dense+/converted/                          its fine-tunings in hard/lr~X/
    R/TASK/seed~S/ltp/converted/
    R/TASK/seed~S/ltp/temperature~T/lambda~L/soft/           its fine-tunings in hard/lr~X/
    R/TASK/seed~S/budget/converted/                          likewise topk_budget
    R/TASK/seed~S/budget/soft/                               the one training for all targets
    R/TASK/seed~S/budget/target~X/hard/                      its weights, thresholds set for the target
    R/TASK/seed~S/topk/keep_rate~K/converted/                its fine-tunings in hard/lr~X/
    R/TASK/seed~S/manual/threshold~V/converted/              its fine-tunings in hard/lr~X/
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from ltp.common.errors import LTPError
from ltp.grid.reader import GridConfig, load_file, read_config, tag
from ltp.grid.schema import TRAINING_KEYS
from ltp.results.checkpoint import checkpoint_files
from ltp.settings.data import DataSettings
from ltp.settings.local_files import text_files
from ltp.settings.pruning import PruningSettings

_What = tuple[str, str, int]  # task, method, seed


@dataclass(frozen=True)
class Conversion:
    """A base model converted to one that prunes.

    ``settings`` are keyword arguments of PruningSettings, ``parent`` is the metrics.json of its base run.
    """

    task: str
    method: str  # dense+, budget, ltp, topk, manual
    seed: int
    settings: Mapping[str, Any]
    directory: str
    checkpoint: str  # the base run's directory
    parent: str

    @property
    def output(self) -> str:
        """The file that is written last."""
        return f"{self.directory}/conversion.json"


@dataclass(frozen=True)
class Run:
    """One training; ``settings`` are the keyword arguments of TrainingSettings that are not None."""

    task: str
    method: str  # dense, dense+, budget, ltp, topk, manual
    stage: str  # base, soft, hard
    seed: int
    settings: Mapping[str, Any]
    name: str  # for messages: `rotten_tomatoes soft temperature~0.001 lambda~0.1`
    directory: str
    checkpoint: str  # what the training starts from: the encoder, a run's directory or a conversion's
    parent: str  # the file that must be there first
    teacher: str | None  # directory of the dense run that distillation learns from

    @property
    def output(self) -> str:
        """The file whose presence means that the run is complete."""
        return f"{self.directory}/metrics.json"


class Grid:
    """All conversions and runs of a checked grid, by directory, parents before children.

    ``config`` is the mapping that a YAML loader made of the file. Raises LTPError for the first problem in it.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config: GridConfig = read_config(config)
        self.results_dir = self.config.results_dir
        self.conversions: dict[str, Conversion] = {}
        self.runs: dict[str, Run] = {}
        for task, seed in product(self.config.tasks, self.config.seeds):
            self._add_study(task, seed)

    def _add_study(self, task: str, seed: int) -> None:
        """One task's conversions and runs for one seed."""
        sections, root = self.config.tasks[task], f"{self.results_dir}/{task}/seed~{seed}"
        soft, hard, baselines = sections["soft"], sections["hard"], sections["baselines"]
        data = f"{self.results_dir}/{task}/data/task.json"
        encoder = self.config.model["checkpoint"]
        base = self._add_run((task, "dense", "base", seed), sections["base"], f"{root}/dense/base", encoder, data)

        threshold = {"final_token_threshold": soft["final_token_threshold"], "score_length": soft["score_length"]}
        if soft["lambdas"]:
            converted = self._add_conversion((task, "ltp", seed), threshold, f"{root}/ltp/converted", base)
        for temperature, lambda_ in product(soft["temperatures"], soft["lambdas"]):
            point = f"{root}/ltp/temperature~{tag(temperature)}/lambda~{tag(lambda_)}"
            settings = soft | {"temperature": temperature, "lambda_": lambda_}
            learned = self._add_run(
                (task, "ltp", "soft", seed), settings, f"{point}/soft", converted.directory, converted.output
            )
            self._add_hard_runs((task, "ltp", seed), hard, point, learned)
        if soft["flops_targets"]:
            pruning = {"scoring_mode": soft["scoring_mode"]}
            self._add_budget_runs((task, "budget", seed), pruning, soft["flops_targets"], base)

        trained = hard | {"epochs": baselines["epochs"]}
        if baselines["dense"] is not None:  # as long as the longest of those that prune
            targets = (soft["flops_targets"], (baselines["topk"] or {}).get("flops_targets") or ())
            longest = max([baselines["epochs"], *(budget_epochs(soft, hard, each) for each in targets if each)])
            converted = self._add_conversion(
                (task, "dense+", seed), {"prune_mode": "none"}, f"{root}/dense+/converted", base
            )
            self._add_hard_runs((task, "dense+", seed), hard | {"epochs": longest}, f"{root}/dense+", converted)
        topk = baselines["topk"] or {}
        for rate in topk.get("keep_rates", ()):
            pruning, point = {"prune_mode": "topk", "token_keep_rate": rate}, f"{root}/topk/keep_rate~{tag(rate)}"
            if topk["scoring_mode"] != PruningSettings.scoring_mode:  # else the flags stay those of finished studies
                pruning["scoring_mode"] = topk["scoring_mode"]
            converted = self._add_conversion((task, "topk", seed), pruning, f"{point}/converted", base)
            self._add_hard_runs((task, "topk", seed), trained, point, converted)
        if topk.get("flops_targets"):
            pruning = {"prune_mode": "topk", "scoring_mode": soft["scoring_mode"]}
            self._add_budget_runs((task, "topk_budget", seed), pruning, topk["flops_targets"], base)
        for value in (baselines["manual"] or {}).get("final_token_thresholds", ()):
            pruning, point = threshold | {"final_token_threshold": value}, f"{root}/manual/threshold~{tag(value)}"
            converted = self._add_conversion((task, "manual", seed), pruning, f"{point}/converted", base)
            self._add_hard_runs((task, "manual", seed), trained, point, converted)

    def _add_budget_runs(self, what: _What, pruning: dict[str, Any], targets: list[float], base: Run) -> None:
        """One training at random FLOPs budgets; then thresholds, or top-k's keep rates, for each target.

        Where the grid does not say how long, it trains as long as as many λ runs and their fine-tunings.
        """
        task, method, seed = what
        section = self.config.tasks[task]
        soft, hard, root = section["soft"], section["hard"], f"{self.results_dir}/{task}/seed~{seed}/{method}"
        converted = self._add_conversion(what, pruning, f"{root}/converted", base)
        settings = soft | {
            "learning_rate": soft["budget_learning_rate"] or soft["learning_rate"],
            "epochs": budget_epochs(soft, hard, targets),
            "threshold_learning_rate": None,
            "lambda_warmup": None,
            "flops_target": max(targets),
            "least_flops_target": min(targets) if len(targets) > 1 else None,
        }
        shared = self._add_run(
            (task, method, "soft", seed), settings, f"{root}/soft", converted.directory, converted.output
        )
        for target in targets:
            settings = hard | {"flops_target": target, "epochs": 0.0, "distillation": None}
            directory = f"{root}/target~{tag(target)}/hard"
            self._add_run((task, method, "hard", seed), settings, directory, shared.directory, shared.output)

    def _add_conversion(self, what: _What, settings: dict[str, Any], directory: str, base: Run) -> Conversion:
        conversion = Conversion(*what, settings, directory, base.directory, base.output)
        self.conversions[directory] = conversion
        return conversion

    def _add_hard_runs(self, what: _What, section: dict[str, Any], point: str, parent: Run | Conversion) -> None:
        task, method, seed = what
        for rate in section["learning_rates"]:
            settings, directory = section | {"learning_rate": rate}, f"{point}/hard/lr~{tag(rate)}"
            self._add_run((task, method, "hard", seed), settings, directory, parent.directory, parent.output)

    def _add_run(
        self, what: tuple[str, str, str, int], section: dict[str, Any], directory: str, checkpoint: str, parent: str
    ) -> Run:
        task, method, stage, seed = what
        settings = {key: value for key, value in section.items() if key in TRAINING_KEYS and value is not None}
        settings["seed"] = seed
        teacher = f"{self.results_dir}/{task}/seed~{seed}/dense/base" if settings.get("distillation") else None
        kind = stage if method in ("dense", "ltp") else f"{method} {stage}"
        varied = [part for part in Path(directory).relative_to(self.results_dir).parts[1:] if "~" in part]
        name = " ".join([task, kind, *(varied if len(self.config.seeds) > 1 else varied[1:])])
        run = Run(*what, settings, name, directory, checkpoint, parent, teacher)
        self.runs[directory] = run
        return run

    def teacher_outputs(self, task: str, seed: int) -> list[str]:
        """The dense run's file, where some run of the task and seed learns from it."""
        base = f"{self.results_dir}/{task}/seed~{seed}/dense/base/metrics.json"
        return [base] if self._distils(task) else []

    def _distils(self, task: str) -> bool:
        return any(self.config.tasks[task][stage]["distillation"] for stage in ("soft", "hard"))

    def data_inputs(self, task: str) -> list[str]:
        """The local files that a task's data are made from: its text, and the encoder's config and tokenizer.

        Empty for packaged and Hub sources, and for text that is not there or ambiguous: `ltp data` says what is wrong.
        """
        settings: DataSettings = self.config.tasks[task]["data"]
        files = self.encoder_inputs(weights=False)
        if settings.source == "local":
            with contextlib.suppress(LTPError):
                files += map(os.path.normpath, text_files(Path(settings.path or ""), settings.get_task()))
        return files

    def encoder_inputs(self, weights: bool = True) -> list[str]:
        """The files of a local encoder: config, tokenizer and, unless left out, weights. Empty for other sources."""
        if self.config.model["source"] != "local":
            return []
        return list(map(os.path.normpath, checkpoint_files(Path(self.config.model["path"]), weights=weights)))

    def data_flags(self, task: str) -> str:
        """The flags of ``ltp data`` but ``--output``, quoted for a shell."""
        settings = self.config.tasks[task]["data"]
        return flags({field.name: getattr(settings, field.name) for field in fields(settings)})

    def conversion_flags(self, directory: str) -> str:
        """The flags of ``ltp convert`` but ``--output``, quoted for a shell."""
        conversion = self.conversions[directory]
        return flags({"checkpoint": conversion.checkpoint} | dict(conversion.settings))

    def training_flags(self, directory: str) -> str:
        """The flags of ``ltp train`` but ``--data``, ``--output`` and ``device_flags``, quoted for a shell.

        Runs are made again when these change. For precision ``auto`` they say fp32, the default when it was not yet
        there, and ``device_flags`` overrides it: so a study that was finished then keeps its runs.
        """
        run = self.runs[directory]
        what: dict[str, Any] = {
            "stage": run.stage,
            "method": run.method,
            "checkpoint": run.checkpoint,
            "teacher": run.teacher,
        }
        if run.stage == "base":
            what |= {"revision": self.config.model["revision"], "teach": self._distils(run.task)}
        precision = run.settings["precision"]
        return flags(what | dict(run.settings) | {"precision": "fp32" if precision == "auto" else precision})

    def device_flags(self, directory: str) -> str:
        """The flags of ``ltp train`` that say on what it runs. They follow ``training_flags`` and override those."""
        automatic = self.runs[directory].settings["precision"] == "auto"
        return flags(
            {
                "processes": self.config.processes,
                "gpus": self.config.gpus,
                "precision": "auto" if automatic else None,
            }
        )


def load_grid(path: str | Path) -> Grid:
    """The grid in a YAML file. Raises LTPError for the first problem in it."""
    return Grid(load_file(path))


def budget_epochs(soft: Mapping[str, Any], hard: Mapping[str, Any], targets: Sequence[float]) -> float:
    """Epochs of the one training for all FLOPs targets: where the grid does not say, of as many λ runs together."""
    epochs = soft["budget_epochs"]
    return float(tag((soft["epochs"] + hard["epochs"]) * len(targets)) if epochs is None else epochs)


def flags(settings: Mapping[str, Any]) -> str:
    """Settings as command-line flags, quoted for a shell: ``--learning-rate=2e-05 --labels no yes --tensorboard``.

    None and False are left out, lists are repeated values. ``=`` keeps a negative number from being read as a flag.
    """
    parts: list[str] = []
    for name, value in settings.items():
        flag = "--" + name.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            parts.append(flag)
        elif isinstance(value, (list, tuple)):
            parts += [flag, *map(str, value)]
        else:
            parts.append(f"{flag}={value if isinstance(value, str) else tag(value)}")
    return shlex.join(parts)
