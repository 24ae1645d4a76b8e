"""A benchmark: every backend with every model, text and batch size -> speed.csv."""

from __future__ import annotations

import copy
import csv
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers.utils import logging as transformers_logging

from ltp.benchmark.backends import BACKENDS, BackendInputs
from ltp.benchmark.comparison import compare
from ltp.benchmark.shapes import SHAPES, random_model
from ltp.benchmark.table import COLUMNS, operating_points
from ltp.benchmark.texts import read_texts
from ltp.common.errors import LTPError
from ltp.common.machine import cpu_threads
from ltp.export.export import calibration_batches, require_classifier
from ltp.models.loading import load_pruned
from ltp.models.modeling import LTPForSequenceClassification
from ltp.results.checkpoint import positions
from ltp.results.manifest import METRICS
from ltp.results.run import read_metrics
from ltp.text.dataset import load


@dataclass(frozen=True)
class Settings:
    """What a benchmark measures: the options of ``ltp benchmark``, checked. Raises LTPError for a bad one."""

    batch_sizes: Sequence[int] = (1, 32)
    sentences: int = 64
    repeats: int = 5
    lengths: Sequence[int] = ()
    flops: float | None = None
    only: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = {item.name for item in BACKENDS}
        for name in ("batch_sizes", "lengths"):
            if any(value < (1 if name == "batch_sizes" else 4) for value in getattr(self, name)):
                raise LTPError(f"{name}: {list(getattr(self, name))} has a value that is too small")
        if self.sentences < 1 or self.repeats < 1:
            raise LTPError(f"sentences, repeats: {self.sentences} and {self.repeats}; expected at least 1")
        if self.flops is not None and not 0 < self.flops < 1:
            raise LTPError(f"flops: {self.flops} is not between 0 and 1")
        if unknown := set(self.only) - names:
            raise LTPError(f"only: {', '.join(sorted(unknown))} is none of {', '.join(sorted(names))}")


def benchmark(
    models: Sequence[str], data_dirs: Sequence[str | Path], output: str | Path, settings: Settings,
    base: str | Path | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Time every backend on every text; writes ``output`` (CSV) and returns its rows.

    ``models`` are runs, or names from SHAPES for random weights of a published size. ``base`` is the unpruned model
    to compare with; unset: the run's own weights without pruning. ``settings.flops`` sets thresholds so that the
    text costs that share. Raises LTPError where backends that should agree do not.
    """
    titles = _titles(models)
    timed = [
        TimedModel({_method(name): name}, data_dirs, base, title) for name, title in zip(models, titles, strict=True)
    ]
    return _benchmark(timed, output, settings)


def benchmark_study(results: str | Path, output: str | Path, settings: Settings) -> list[dict[str, Any]]:
    """`benchmark` of a finished study: each task's operating points, one a method, against its dense model.

    Raises LTPError where no task has one.
    """
    points = operating_points(results)
    timed = [
        TimedModel({method: str(run) for method, run in point.runs.items()}, [point.data], point.dense, point.model)
        for point in points
    ]
    return _benchmark(timed, output, settings)


def _titles(models: Sequence[str]) -> list[str]:
    """A run is called by its encoder, another model by its folder; of several with one name also by their paths."""
    titles = [name if name in SHAPES else _title(Path(name)) for name in models]
    if len(set(titles)) == len(titles):
        return titles
    common = os.path.commonpath([Path(name).absolute() for name in models])
    return [
        f"{title} ({os.path.relpath(name, common)})" if titles.count(title) > 1 else title
        for title, name in zip(titles, models, strict=True)
    ]


def _title(folder: Path) -> str:
    return read_metrics(folder)["model"] if (folder / METRICS).is_file() else folder.resolve().name


@dataclass(frozen=True)
class TimedModel:
    """An encoder to time, and on what.

    ``sources`` are, by method, runs that prune it, or a name from SHAPES; ``data_dirs`` hold the text,
    ``base`` is the unpruned model to compare with (None: the first one's weights without pruning), ``title`` is the
    encoder's name in the table.
    """

    sources: Mapping[str, str]
    data_dirs: Sequence[str | Path]
    base: str | Path | None
    title: str


def _benchmark(timed: Sequence[TimedModel], output: str | Path, settings: Settings) -> list[dict[str, Any]]:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # loading takes a moment; measuring has a bar of its own
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    rows: list[dict[str, Any]] = []
    for item in timed:
        texts = [
            text
            for data in item.data_dirs
            for text in read_texts(Path(data), settings.sentences, settings.lengths, max(settings.batch_sizes))
        ]
        count = len(texts) * len(settings.batch_sizes)
        with tempfile.TemporaryDirectory() as folder, tqdm(total=count, desc=item.title) as bar:
            inputs = _backend_inputs(item, Path(folder))
            limit = positions(inputs[0].base.config.to_dict())
            if (longest := max((text.max_length for text in texts), default=0)) > limit:
                raise LTPError(f"lengths: {longest} is more than the {limit} tokens that {item.title} takes")
            for comparison in compare(
                item.title, inputs, texts, settings.batch_sizes, settings.repeats,
                settings.only, settings.flops,
            ):  # fmt: skip
                rows += comparison
                _write(Path(output), rows)  # an interrupted benchmark leaves what it has
                bar.update()
    return rows


def load_model(name: str) -> LTPForSequenceClassification:
    """A run that prunes, or a shape with random weights. Raises LTPError for a model that does not prune."""
    if name in SHAPES:
        return random_model(name)
    model = require_classifier(load_pruned(name), name, "timings are of")
    if model.config.prune_mode == "none":
        raise LTPError(f"{name}: does not prune; give a run that does, or one of {', '.join(SHAPES)}")
    return model


def _backend_inputs(item: TimedModel, folder: Path) -> list[BackendInputs]:
    """One for each of the sources: on a GPU in bfloat16 where it has that, on the CPU in float32."""
    gpu = torch.cuda.is_available()
    half = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    device, dtype = torch.device("cuda" if gpu else "cpu"), torch.bfloat16 if half else torch.float32
    models = {method: load_model(source) for method, source in item.sources.items()}
    base = load_pruned(item.base).to_base() if item.base else copy.deepcopy(next(iter(models.values())).to_base())
    splits = [load(Path(data))[0]["train"] for data in item.data_dirs]
    text = [batch for split in splits for batch in calibration_batches(split, base.config.pad_token_id)]
    for method, model in models.items():
        if model.config.base_model_type != base.config.model_type:
            raise LTPError(f"base: {item.base} is a {base.config.model_type}, {item.sources[method]} is not")
    return [
        BackendInputs(method, model, base, folder, torch.get_num_threads(), device, dtype, text)
        for method, model in models.items()
    ]


def _method(source: str) -> str:
    """How a run prunes; a model that is not a run, such as one with random weights, as for a share of the FLOPs."""
    return read_metrics(Path(source))["method"] if (Path(source) / METRICS).is_file() else "budget"


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _as_text(row[name]) for name in COLUMNS} for row in rows)
    os.replace(part, path)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)
