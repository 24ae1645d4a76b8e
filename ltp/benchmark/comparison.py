"""One comparison: backends on the same sentences in batches of one size, their answers first and then their times."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ltp.benchmark.backends import BACKENDS, REFERENCE, Backend, BackendInputs, Batch, Run
from ltp.benchmark.calibration import calibrate
from ltp.benchmark.texts import Text, batches
from ltp.benchmark.timing import interleaved, speedup
from ltp.common.errors import LTPError
from ltp.common.machine import commit, processor_name
from ltp.export.export import require_onnx
from ltp.models import flops

PRUNED_REFERENCE = "ltp"
MIN_AGREEMENT = 0.98  # of an exact backend with its reference: rounding may move a token across its threshold
CLOSE_LOGITS = 1e-2  # difference up to which the outputs of a regression count as the same answer


def compare(
    title: str, inputs: BackendInputs, texts: Sequence[Text], batch_sizes: Sequence[int], repeats: int,
    only: Sequence[str] = (), relative_flops: float | None = None,
) -> Iterator[list[dict[str, Any]]]:  # fmt: skip
    """Compare backends on each text and batch size; yields the rows of one comparison at a time.

    ``title`` is the model's name in the table. ``only`` names backends to compare with the references (none: all).
    ``relative_flops`` sets thresholds so that each text costs that share of its FLOPs. Raises LTPError where a backend
    that should give its reference's answers does not.
    """
    runs: dict[str, Run] = {}
    for text in texts:
        if relative_flops is not None:
            inputs.model.to("cpu", torch.float32)
            _, whole = next(batches(text, "sorted", len(text.rows), inputs.base.config))
            calibrate(inputs.model, whole, relative_flops)
            runs = {name: run for name, run in runs.items() if not _by_name(name).unpruned}
        skipped = {}
        for backend in _chosen(text, only):
            if reason := _reason_to_skip(backend, inputs):
                skipped[backend.name] = reason
            elif backend.name not in runs:
                runs[backend.name] = backend.make(inputs)
        for name, reason in skipped.items():
            tqdm.write(f"{name}: left out: {reason}", file=sys.stderr)
        cost = _cost(inputs, text)
        for size in batch_sizes:
            compared = [backend for backend in _chosen(text, only) if backend.name not in skipped]
            yield list(_rows(title, inputs, text, size, compared, runs, repeats, 1 / cost["relative"]))


def _rows(
    title: str, inputs: BackendInputs, text: Text, size: int, compared: Sequence[Backend], runs: dict[str, Run],
    repeats: int, reduction: float,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The rows of one text and batch size, one for each of the ``compared``; ``reduction`` is that of the FLOPs."""
    batched = {
        kind: list(batches(text, kind, size, inputs.base.config)) for kind in {item.batches for item in compared}
    }
    logits = {item.name: _logits(runs[item.name], batched[item.batches], len(text.rows)) for item in compared}
    agreements = {
        item.name: _agreement(item, logits, item.exact and inputs.dtype == torch.float32) for item in compared
    }

    def passes(item: Backend) -> Any:
        return lambda: [runs[item.name](batch) for _, batch in batched[item.batches]]

    def first_batch(item: Backend) -> Any:
        return lambda: runs[item.name](batched[item.batches][0][1])

    seconds = interleaved(
        {item.name: passes(item) for item in compared}, repeats, inputs.device.type == "cuda",
        {item.name: first_batch(item) for item in compared},
    )  # fmt: skip
    for item in compared:
        count, times = len(batched[item.batches]), seconds[item.name]
        unpruned = item.unpruned if item.unpruned in seconds else ""
        gain = speedup(seconds[unpruned], times) if unpruned else None
        on_cpu = "onnx" in item.needs
        device = "cpu" if on_cpu else inputs.device.type
        yield {
            "backend": item.name, "title": item.title, "model": title, "text": text.name, "cut": text.cut,
            "max_length": text.max_length, "mean_tokens": np.mean([len(row["input_ids"]) for row in text.rows]),
            "batch": size, "threads": inputs.threads, "device": device,
            "weights": "int8" if not item.exact else str(torch.float32 if on_cpu else inputs.dtype).split(".")[1],
            "sentences": len(text.rows), "repeats": repeats,
            "median_ms": 1000 * median(times) / count, "min_ms": 1000 * min(times) / count,
            "max_ms": 1000 * max(times) / count, "examples_per_second": len(text.rows) / median(times),
            "speedup": speedup(seconds[REFERENCE], times), "unpruned": unpruned, "speedup_over_unpruned": gain,
            "flops_reduction": reduction if item.unpruned else 1.0,
            "share_of_reduction": gain / reduction if unpruned else None,
            "agreement": agreements[item.name][0], "largest_difference": agreements[item.name][1],
            "machine": processor_name() if device == "cpu" else torch.cuda.get_device_name(),
            "commit": commit(), "date": datetime.now(UTC).date().isoformat(),
        }  # fmt: skip


def _chosen(text: Text, only: Sequence[str]) -> list[Backend]:
    """The backends for a text; those that others are measured against always take part."""
    names = {*only, REFERENCE, PRUNED_REFERENCE} if only else {item.name for item in BACKENDS}
    return [item for item in BACKENDS if item.name in names and not (text.cut and item.batches == "padded")]


def _by_name(name: str) -> Backend:
    return next(item for item in BACKENDS if item.name == name)


def _reason_to_skip(backend: Backend, inputs: BackendInputs) -> str:
    """Why a backend cannot run here; empty where it can."""
    if "onnx" in backend.needs:
        if inputs.device.type != "cpu":
            return "ONNX Runtime runs on the CPU here, the others on the GPU"
        try:
            require_onnx(exporter=backend.name in ("onnx", "onnx-int8"))
        except LTPError as error:
            return str(error)
    if "compiler" in backend.needs and inputs.device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        return "torch.compile needs a C++ compiler (g++ or clang++) on the PATH"
    return ""


def _logits(run: Run, batches: Sequence[tuple[list[int], Batch]], count: int) -> np.ndarray:
    """(count, C) logits in the order of the text."""
    in_order: list[Any] = [None] * count
    for row_numbers, batch in batches:
        for number, logits in zip(row_numbers, run(batch), strict=True):
            in_order[number] = logits
    return np.stack(in_order)


def _agreement(item: Backend, logits: dict[str, np.ndarray], exact: bool) -> tuple[float, float]:
    """Share of sentences with the reference's answer, and the largest difference between logits.

    Raises LTPError for an ``exact`` backend whose share is below MIN_AGREEMENT.
    """
    ours, theirs = logits[item.name], logits[PRUNED_REFERENCE if item.unpruned else REFERENCE]
    difference = float(np.abs(ours - theirs).max())
    if ours.shape[1] == 1:
        same = float((np.abs(ours - theirs) <= CLOSE_LOGITS).mean())
    else:
        same = float((ours.argmax(-1) == theirs.argmax(-1)).mean())
    if exact and not (same >= MIN_AGREEMENT and np.isfinite(difference)):
        raise LTPError(
            f"{item.name}: has its reference's answer for only {100 * same:.0f} % of the sentences; expected at least "
            f"{100 * MIN_AGREEMENT:.0f} %, else its times mean nothing"
        )
    return same, difference


@torch.inference_mode()
def _cost(inputs: BackendInputs, text: Text) -> dict[str, float]:
    """FLOPs of the text with tokens removed, and without (ltp.models.flops.summarise)."""
    model = inputs.to_device(inputs.model)
    counts: tuple[list[torch.Tensor], list[torch.Tensor], list[int]] = ([], [], [])
    for row_numbers, batch in batches(text, "sorted", 8, inputs.base.config):
        output = model(**{name: value.to(inputs.device) for name, value in batch.items()})
        counts[0].append(output.attention_tokens.cpu())
        counts[1].append(output.ffn_tokens.cpu())
        counts[2].extend(len(text.rows[number]["input_ids"]) for number in row_numbers)
    return flops.summarise(
        torch.cat(counts[0]).numpy(), torch.cat(counts[1]).numpy(), counts[2],
        model.config.hidden_size, model.config.intermediate_size,
    )  # fmt: skip
