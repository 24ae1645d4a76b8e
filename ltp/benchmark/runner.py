"""Ways to run a classifier, timed against each other on the same sentences -> speed.csv and figures."""

from __future__ import annotations

import copy
import csv
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers.utils import logging as transformers_logging

from ltp.benchmark.backends import BACKENDS, REFERENCE, Backend, Batch, Bench, Run
from ltp.benchmark.calibration import SHAPES, calibrate, random_model
from ltp.benchmark.table import COLUMNS, operating_points
from ltp.benchmark.texts import Text, batches, read_texts
from ltp.benchmark.timing import interleaved, speedup
from ltp.common.errors import LTPError
from ltp.common.machine import cpu_threads
from ltp.export.export import require_onnx
from ltp.models import flops
from ltp.models.loading import load_pruned
from ltp.models.modeling import LTPForSequenceClassification
from ltp.results.manifest import METRICS
from ltp.results.run import read_metrics

PRUNED_REFERENCE = "ltp"
AGREEMENT = 0.98  # of an exact backend's classes: a token at its threshold may fall to either side
CLOSE = 1e-2  # logits of a regression that count as the same


@dataclass(frozen=True)
class Settings:
    """What a benchmark measures."""

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
    measured = [Measured(name, data_dirs, base, name if name in SHAPES else _title(Path(name))) for name in models]
    return _measure(measured, output, settings)


def benchmark_study(results: str | Path, output: str | Path, settings: Settings) -> list[dict[str, Any]]:
    """The same for a finished study: each task's operating point of learned pruning against its dense model.

    Raises LTPError where summary.csv has no such point.
    """
    points = operating_points(results)
    measured = [Measured(str(point.run), [point.data], point.dense, point.model) for point in points]
    return _measure(measured, output, settings)


def _title(folder: Path) -> str:
    """A run is known by its encoder, another model by its folder."""
    return read_metrics(folder)["model"] if (folder / METRICS).is_file() else folder.resolve().name


@dataclass(frozen=True)
class Measured:
    """A model to time: a run or a shape, folders of text, the unpruned model (None: its own weights), a name."""

    source: str
    data_dirs: Sequence[str | Path]
    base: str | Path | None
    title: str


def _measure(measured: Sequence[Measured], output: str | Path, settings: Settings) -> list[dict[str, Any]]:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # loading takes a moment; measuring has a bar of its own
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    rows: list[dict[str, Any]] = []
    for item in measured:
        texts = [
            text for data in item.data_dirs for text in read_texts(Path(data), settings.sentences, settings.lengths)
        ]
        model, base = load_model(item.source), load_pruned(item.base).to_base() if item.base else None
        if base and model.config.base_model_type != base.config.model_type:
            raise LTPError(f"base: {item.base} is a {base.config.model_type}, {item.source} is not")
        comparisons = len(texts) * len(settings.batch_sizes)
        with tempfile.TemporaryDirectory() as folder, tqdm(total=comparisons, desc=item.title, disable=None) as bar:
            for comparison in _comparisons(item.title, _bench(model, base, Path(folder)), texts, settings):
                rows += comparison
                _write(Path(output), rows)  # an interrupted benchmark leaves what it has
                bar.update()
    return rows


def load_model(name: str) -> LTPForSequenceClassification:
    """A run that prunes, or a shape with random weights. Raises LTPError for a model that does not prune."""
    if name in SHAPES:
        return random_model(name)
    model = load_pruned(name)
    if model.config.prune_mode == "none":
        raise LTPError(f"{name}: does not prune; give a run that does, or one of {', '.join(SHAPES)}")
    return model


def _bench(model: LTPForSequenceClassification, base: Any, folder: Path) -> Bench:
    """On a GPU in bfloat16 where it can, on the CPU in float32."""
    gpu = torch.cuda.is_available()
    half = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    base = base or copy.deepcopy(model.to_base())
    return Bench(
        model, base, folder, torch.get_num_threads(),
        torch.device("cuda" if gpu else "cpu"), torch.bfloat16 if half else torch.float32,
    )  # fmt: skip


def _comparisons(title: str, bench: Bench, texts: Sequence[Text], settings: Settings) -> Iterator[list[dict[str, Any]]]:
    """The rows of each text and batch size, one after the other."""
    runs: dict[str, Run] = {}
    for text in texts:
        if settings.flops is not None:
            bench.model.to("cpu", torch.float32)
            _, whole = next(batches(text, "sorted", len(text.rows), bench.base.config))
            calibrate(bench.model, whole, settings.flops)
            runs = {name: run for name, run in runs.items() if not _by_name(name).unpruned}
        skipped = {}
        for backend in _chosen(text, settings):
            if reason := _unfit(backend, bench):
                skipped[backend.name] = reason
            elif backend.name not in runs:
                runs[backend.name] = backend.make(bench)
        for name, reason in skipped.items():
            tqdm.write(f"{name}: left out: {reason}", file=sys.stderr)
        cost = _cost(bench, text)
        for size in settings.batch_sizes:
            compared = [backend for backend in _chosen(text, settings) if backend.name not in skipped]
            yield list(_compare(title, bench, text, size, compared, runs, settings.repeats, 1 / cost["relative"]))


def _compare(
    title: str, bench: Bench, text: Text, size: int, compared: Sequence[Backend], runs: dict[str, Run], repeats: int,
    reduction: float,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Rows of one text and batch size: answers compared first, then times."""
    made = {kind: list(batches(text, kind, size, bench.base.config)) for kind in {item.batches for item in compared}}
    logits = {item.name: _answers(runs[item.name], made[item.batches], len(text.rows)) for item in compared}
    agreements = {item.name: _agreement(item, logits, item.exact and bench.dtype == torch.float32) for item in compared}

    def passes(item: Backend) -> Any:
        return lambda: [runs[item.name](batch) for _, batch in made[item.batches]]

    def first_batch(item: Backend) -> Any:
        return lambda: runs[item.name](made[item.batches][0][1])

    seconds = interleaved(
        {item.name: passes(item) for item in compared}, repeats, bench.device.type == "cuda",
        {item.name: first_batch(item) for item in compared},
    )  # fmt: skip
    for item in compared:
        count, times = len(made[item.batches]), seconds[item.name]
        unpruned = item.unpruned if item.unpruned in seconds else ""
        gain = speedup(seconds[unpruned], times) if unpruned else None
        on_cpu = "onnx" in item.needs
        yield {
            "backend": item.name, "title": item.title, "model": title, "text": text.name, "cut": text.cut,
            "max_length": text.max_length, "mean_tokens": np.mean([len(row["input_ids"]) for row in text.rows]),
            "batch": size, "threads": bench.threads, "device": "cpu" if on_cpu else bench.device.type,
            "weights": "int8" if not item.exact else str(torch.float32 if on_cpu else bench.dtype).split(".")[1],
            "sentences": len(text.rows), "repeats": repeats,
            "median_ms": 1000 * median(times) / count, "min_ms": 1000 * min(times) / count,
            "max_ms": 1000 * max(times) / count, "examples_per_second": len(text.rows) / median(times),
            "speedup": speedup(seconds[REFERENCE], times), "unpruned": unpruned, "speedup_over_unpruned": gain,
            "flops_reduction": reduction if item.unpruned else 1.0,
            "share_of_reduction": gain / reduction if unpruned else None,
            "agreement": agreements[item.name][0], "largest_difference": agreements[item.name][1],
        }  # fmt: skip


def _chosen(text: Text, settings: Settings) -> list[Backend]:
    """The backends for a text; those that others are measured against always take part."""
    wanted = {*settings.only, REFERENCE, PRUNED_REFERENCE} if settings.only else {item.name for item in BACKENDS}
    return [item for item in BACKENDS if item.name in wanted and not (text.cut and item.batches == "padded")]


def _by_name(name: str) -> Backend:
    return next(item for item in BACKENDS if item.name == name)


def _unfit(backend: Backend, bench: Bench) -> str:
    """Why a backend cannot run here; empty where it can."""
    if "onnx" in backend.needs:
        if bench.device.type != "cpu":
            return "ONNX Runtime runs on the CPU here, the others on the GPU"
        try:
            require_onnx(exporter=backend.name in ("onnx", "onnx-int8"))
        except LTPError as error:
            return str(error)
    if "compiler" in backend.needs and bench.device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        return "torch.compile needs a C++ compiler (g++ or clang++) on the PATH"
    return ""


def _answers(run: Run, batches: Sequence[tuple[list[int], Batch]], count: int) -> np.ndarray:
    """(count, C) logits in the order of the text."""
    answers: list[Any] = [None] * count
    for places, batch in batches:
        for place, logits in zip(places, run(batch), strict=True):
            answers[place] = logits
    return np.stack(answers)


def _agreement(item: Backend, logits: dict[str, np.ndarray], exact: bool) -> tuple[float, float]:
    """Share of sentences with the reference's answer, and the largest difference between logits."""
    mine, theirs = logits[item.name], logits[PRUNED_REFERENCE if item.unpruned else REFERENCE]
    difference = float(np.abs(mine - theirs).max())
    if mine.shape[1] == 1:
        same = float((np.abs(mine - theirs) <= CLOSE).mean())
    else:
        same = float((mine.argmax(-1) == theirs.argmax(-1)).mean())
    if exact and not (same >= AGREEMENT and np.isfinite(difference)):
        raise LTPError(
            f"{item.name}: answers only {100 * same:.0f} % of the sentences as it should; its times are void"
        )
    return same, difference


@torch.inference_mode()
def _cost(bench: Bench, text: Text) -> dict[str, float]:
    """FLOPs of the text with tokens removed, and without, as ltp.flops counts them."""
    model, counts = bench.placed(bench.model), ([], [], [])
    for places, batch in batches(text, "sorted", 8, bench.base.config):
        found = model(**{name: value.to(bench.device) for name, value in batch.items()})
        counts[0].append(found.attention_tokens.cpu())
        counts[1].append(found.ffn_tokens.cpu())
        counts[2].extend(len(text.rows[place]["input_ids"]) for place in places)
    return flops.summarise(
        torch.cat(counts[0]).numpy(), torch.cat(counts[1]).numpy(), counts[2],
        model.config.hidden_size, model.config.intermediate_size,
    )  # fmt: skip


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _shown(row[name]) for name in COLUMNS} for row in rows)
    os.replace(part, path)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)
