"""Reads the grid file: checks it, and merges defaults, common sections and each task's own values.

Every problem is an LTPError of one line that names the key by its path in the file.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ltp.common.errors import LTPError
from ltp.common.names import ALL_TASKS, PACKAGED_MODEL, PACKAGED_TASKS, STAGES
from ltp.grid.schema import GRID_SCHEMA, SECTIONS, SWEEPS, TRAINING_KEYS
from ltp.grid.validation import check, dotted, fill_defaults, read_numbers, short_repr
from ltp.results.checkpoint import check_checkpoint
from ltp.results.checkpoint import read_config as read_encoder_config
from ltp.results.encoders import ENCODERS
from ltp.settings.data import DataSettings
from ltp.settings.training import TrainingSettings

MERGE_KEY = "tag:yaml.org,2002:merge"  # <<, which may stand in a mapping more than once
# Keys of ``training`` that the base stage goes without, and why.
NOT_IN_BASE = {
    "distillation": "the base stage has no dense model to learn from",
    "freeze_embeddings": "the base stage trains all weights",
}


def tag(value: float) -> str:
    """A number as it stands in paths and flags: 1.0e-5 and 0.00001 are both ``1e-05``; whole numbers have no point."""
    return str(value) if isinstance(value, int) else f"{float(value):.12g}"


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, of which YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE_KEY:
                continue
            if (first := lines.setdefault(key.value, line)) != line:
                problem = f"{key.value} is there twice, see line {first}; remove one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)


def load_file(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises LTPError, in one line, for a file that is missing or is not one."""
    path = Path(path)
    if not path.is_file():
        raise LTPError(f"{path}: not there; expected a grid such as config/grid.yaml")
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except UnicodeDecodeError:
        raise LTPError(f"{path}: not text in UTF-8; save it as such") from None
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise LTPError(f"{path}: not YAML{place}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise LTPError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise LTPError(f"{path}: {short_repr(config)} is not a grid; expected keys such as tasks at the top level")
    try:
        json.dumps(config, default=str, skipkeys=True)  # which finds what holds itself
    except ValueError:
        raise LTPError(f"{path}: an alias stands inside of what it is an alias for; write the values there") from None
    return config


@dataclass(frozen=True)
class GridConfig:
    """A checked grid.

    ``model`` holds source, name, path, revision and ``checkpoint``, the name or folder that the base stage starts from.
    ``tasks`` maps each task's name to its complete sections: ``data`` (a DataSettings), ``base``, ``soft``, ``hard``
    (mappings that include the keys of ``training``) and ``baselines``.
    """

    results_dir: str
    seeds: list[int]
    gpus: int
    processes: int
    model: dict[str, Any]
    tasks: dict[str, dict[str, Any]]


def read_config(config: Mapping[str, Any]) -> GridConfig:
    """Check a grid and fill it in. Raises LTPError for the first problem. Local files are looked up from here."""
    raw = read_numbers(copy.deepcopy(dict(config)), GRID_SCHEMA)
    check(raw, GRID_SCHEMA)
    common = fill_defaults({key: value for key, value in raw.items() if key not in ("tasks", *SECTIONS)}, GRID_SCHEMA)
    _check_path("results_dir", common["results_dir"])
    if os.path.normpath(common["results_dir"]) in (".", ".."):
        raise LTPError(f"results_dir: {common['results_dir']!r} is no folder of its own; expected one such as results")
    _refuse_duplicates("seeds", common["seeds"])
    processes = _read_processes(common["processes"], common["gpus"])
    model = _read_model(common["model"])
    tasks = {name: _TaskReader(raw, name, model, processes).read() for name in raw["tasks"]}
    results_dir = os.path.normpath(common["results_dir"])
    return GridConfig(results_dir, common["seeds"], common["gpus"], processes, model, tasks)


class _TaskReader:
    """Reads one task. Its own values override the common sections, and those the defaults."""

    def __init__(self, raw: Mapping[str, Any], name: str, model: Mapping[str, Any], processes: int) -> None:
        _check_task_name(name)
        self.raw, self.name, self.model, self.processes = raw, name, model, processes
        self.own: Mapping[str, Any] = raw["tasks"][name] or {}

    def read(self) -> dict[str, Any]:
        sections = GRID_SCHEMA["properties"]
        merged = {key: _merge(self.raw.get(key, {}), self.own.get(key, {})) for key in SECTIONS}
        training = fill_defaults(merged["training"], sections["training"])
        task: dict[str, Any] = {"data": self._data(fill_defaults(merged["data"], sections["data"]))}
        for stage in STAGES:
            task[stage] = fill_defaults({**training, **merged[stage]}, sections[stage])
            self._check_stage(stage, task[stage])
        task["soft"]["flops_targets"] = task["soft"]["flops_targets"] or []
        if task["soft"]["flops_targets"] and "lambdas" not in merged["soft"]:
            task["soft"]["lambdas"] = []
        self._check_lambdas(task["soft"]["lambdas"])
        for key, why in NOT_IN_BASE.items():
            if key in merged["base"]:
                raise LTPError(f"{self._where(('base', key))}: {why}; put it under training or soft")
            task["base"][key] = None

        baselines = task["baselines"] = fill_defaults(merged["baselines"], sections["baselines"])
        if baselines["epochs"] is None:  # as long as soft and hard together: what a λ run trains
            baselines["epochs"] = float(tag(task["soft"]["epochs"] + task["hard"]["epochs"]))  # 0.3 + 0.6 is 0.9
        for keys in SWEEPS:
            values: Any = task
            for key in keys:
                values = values[key] if values else ()
            _refuse_duplicates(self._where(keys), values or ())
        return task

    def _check_lambdas(self, lambdas: Sequence[float]) -> None:
        """Refuse soft masks for a local encoder that they do not fit."""
        if not lambdas or self.model["source"] != "local":
            return
        kind = read_encoder_config(Path(self.model["path"]))["model_type"]
        if not ENCODERS[kind].soft_masks:
            raise LTPError(
                f"{self._where(('soft', 'lambdas'))}: soft masks do not fit {kind}, which normalises what enters each "
                "layer; set soft.flops_targets in their place"
            )

    def _where(self, keys: tuple[str, ...]) -> str:
        """Where the file says ``keys``: in the task's own section or the common one, in the stage's or in training."""
        places = [("tasks", self.name, *keys), keys]
        if keys[0] in STAGES:
            places += [("tasks", self.name, "training", *keys[1:]), ("training", *keys[1:])]
        return dotted(next((place for place in places if _reaches(self.raw, place)), keys))

    def _check_stage(self, stage: str, settings: Mapping[str, Any]) -> None:
        """Check what the schema cannot express: how the settings of one stage fit together."""
        try:
            TrainingSettings(**{key: value for key, value in settings.items() if key in TRAINING_KEYS})
        except LTPError as error:
            key, _, message = str(error).partition(": ")
            raise LTPError(f"{self._where((stage, key))}: {message}") from None
        parts = settings["accumulation_steps"] * self.processes
        if settings["batch_size"] % parts:
            raise LTPError(
                f"{self._where((stage, 'batch_size'))}: {settings['batch_size']} cannot be divided among "
                f"{self.processes} processes with {settings['accumulation_steps']} accumulation steps; expected a "
                f"multiple of {parts}"
            )

    def _data(self, section: Mapping[str, Any]) -> DataSettings:
        given = {key: value for key, value in self.own.items() if key not in SECTIONS}
        if "source" not in given and Path(given.get("path") or "").is_file():
            where = dotted(("tasks", self.name, "path"))
            raise LTPError(f"{where}: {short_repr(given['path'])} is a file here; add source: local to read it")
        given.setdefault("source", "packaged" if self.name in PACKAGED_TASKS else "hub")
        if given["source"] == "local" and "path" in given:
            where = dotted(("tasks", self.name, "path"))
            _check_path(where, given["path"])
            if not Path(given["path"]).exists():
                raise LTPError(
                    f"{where}: {short_repr(given['path'])} is not there; expected a file or a folder of text, "
                    f"looked up from {Path.cwd()}"
                )
        model = {"model": self.model["checkpoint"], "model_source": self.model["source"]}
        try:
            return DataSettings(task=self.name, **model, model_revision=self.model["revision"], **given, **section)
        except LTPError as error:
            key, _, message = str(error).partition(": ")
            where = self._where(("data", key)) if key in section else dotted(("tasks", self.name, key))
            raise LTPError(f"{where.removesuffix('.task')}: {message}") from None


def _read_processes(processes: int | None, gpus: int) -> int:
    """Processes of one training: as many as its GPUs, where it has any."""
    if processes is not None and gpus and processes != gpus:
        raise LTPError(f"processes: {processes} with gpus: {gpus}; expected one for each GPU; leave processes out")
    return processes or max(1, gpus)


def _read_model(model: dict[str, Any]) -> dict[str, Any]:
    source = model["source"]
    needed, other = ("path", "name") if source == "local" else ("name", "path")
    if source == "packaged" and model["name"] is None:
        model["name"] = PACKAGED_MODEL
    if model[needed] is None:
        what = "the model's folder" if source == "local" else "the model's name on the Hub, such as roberta-base"
        raise LTPError(f"model.{needed}: missing for source {source}; expected {what}")
    for key in (other,) if source == "hub" else (other, "revision"):
        if model[key] is not None:
            raise LTPError(f"model.{key}: {short_repr(model[key])} does not go with source {source}; leave it out")
    if source == "packaged" and model["name"] != PACKAGED_MODEL:
        raise LTPError(
            f"model.name: {short_repr(model['name'])} is not packaged; expected {PACKAGED_MODEL}, or source: hub"
        )
    if source == "local":
        _check_path("model.path", model["path"])
        try:
            check_checkpoint(Path(model["path"]))
        except LTPError as error:
            raise LTPError(f"model.path: {str(error).removeprefix('model: ')}") from None
    return model | {"checkpoint": model[needed]}


def _merge(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``common``, overridden by ``own`` key by key through nested mappings; a list is replaced whole."""
    merged = dict(common)
    for key, value in own.items():
        both = isinstance(merged.get(key), Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _reaches(config: Any, path: tuple[str, ...]) -> bool:
    """Whether the mapping says something under this path."""
    for key in path:
        if not isinstance(config, Mapping) or key not in config:
            return False
        config = config[key]
    return True


def _check_task_name(name: str) -> None:
    """Refuse names of tasks that cannot be a folder: a task's name is used in paths and in tables."""
    if not re.fullmatch(r"\w[\w.+-]{0,63}", name):
        raise LTPError(
            f"tasks: {short_repr(name)} cannot name a folder; expected up to 64 letters, digits, _, -, + and dots, "
            "and a letter or digit first"
        )
    if name in ("logs", "plots", "benchmarks") or name.endswith((".csv", ".html")):
        raise LTPError(f"tasks: {name} is the name of a folder or file of the results; choose another")
    if name == ALL_TASKS:
        raise LTPError(f"tasks: {name} stands for the mean over the tasks in the tables; choose another name")


def _check_path(where: str, path: str) -> None:
    """Refuse brackets, which are wildcards to Snakemake, and line breaks, which would split a line of a log."""
    if not path.isprintable() or set("{}<>") & set(path):
        raise LTPError(f"{where}: {short_repr(path)} holds one of {{}}<> or control characters; choose another name")


def _refuse_duplicates(where: str, values: Sequence[float]) -> None:
    """Refuse numbers with the same tag, such as 1.0e-5 and 0.00001: they would be one run."""
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if first.setdefault(tag(value), index) != index:
            raise LTPError(f"{where}[{index}]: {value} is there twice, see {where}[{first[tag(value)]}]; remove one")
