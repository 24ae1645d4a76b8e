"""One comparison: backends on the same sentences in batches of one size, their answers first and then their times."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ltp.benchmark.backends import BACKENDS, REFERENCE, Backend, BackendInputs, Batch, Run
from ltp.benchmark.openvino_backend import require_openvino
from ltp.benchmark.texts import Text, batches
from ltp.benchmark.timing import interleaved, speedup
from ltp.common.errors import LTPError
from ltp.common.machine import commit, processor_name
from ltp.common.names import METHOD_NAMES, METHODS
from ltp.export.export import require_onnx
from ltp.models import flops
from ltp.models.calibration import calibrate
from ltp.models.prepacked_linear import has_bfloat16

PRUNED_REFERENCE = "ltp"
MAX_DIFFERENT = 0.02  # of the answers of an exact backend, or one: rounding may move a token across its threshold
CLOSE_LOGITS = 1e-2  # difference up to which the outputs of a regression count as the same answer
DENSE = METHODS[0]  # the method of what does not prune
Key = tuple[str, str]  # a backend's name and the method that it prunes by


def compare(
    title: str, points: Sequence[BackendInputs], texts: Sequence[Text], batch_sizes: Sequence[int], repeats: int,
    only: Sequence[str] = (), relative_flops: float | None = None,
) -> Iterator[list[dict[str, Any]]]:  # fmt: skip
    """Compare backends on each text and batch size; yields the rows of one comparison at a time.

    ``title`` is the model's name in the table. ``points`` are the pruned models, each by another method and all with
    the same unpruned one: a backend that prunes takes part with each of them. ``only`` names backends to compare with
    the references (none: all). ``relative_flops`` sets thresholds so that each text costs that share of its FLOPs.
    Raises LTPError where a backend that should give its reference's answers does not.
    """
    runs: dict[Key, Run] = {}
    first = points[0]
    for text in texts:
        inputs = {point.method: point for point in points}
        if relative_flops is not None:
            _, whole = next(batches(text, "sorted", len(text.rows), first.base.config))
            for point in points:
                on_device = {name: values.to(point.device) for name, values in whole.items()}
                calibrate(point.to_device(point.model), [on_device], relative_flops)
                inputs[point.method] = replace(point, text=[whole])
            runs = {key: run for key, run in runs.items() if key[1] == DENSE}
        compared: list[tuple[Backend, str]] = []
        for backend in _chosen(text, only):
            if reason := _reason_to_skip(backend, first):
                tqdm.write(f"{backend.name}: left out: {reason}", file=sys.stderr)
                continue
            compared += [(backend, method) for method in (inputs if backend.unpruned else [DENSE])]
        for backend, method in compared:
            if (backend.name, method) not in runs:
                runs[backend.name, method] = backend.make(inputs.get(method, first))
        reductions = {method: 1 / _cost(point, text)["relative"] for method, point in inputs.items()}
        for size in batch_sizes:
            yield list(_rows(title, first, text.for_batches_of(size), size, compared, runs, repeats, reductions))


def _rows(
    title: str, inputs: BackendInputs, text: Text, size: int, compared: Sequence[tuple[Backend, str]],
    runs: dict[Key, Run], repeats: int, reductions: dict[str, float],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The rows of one text and batch size, one for each of the ``compared``; ``reductions`` are those of the FLOPs."""
    kinds = {item.batches for item, _ in compared}
    batched = {kind: list(batches(text, kind, size, inputs.base.config)) for kind in kinds}
    logits = {
        (item.name, method): _logits(runs[item.name, method], batched[item.batches], len(text.rows))
        for item, method in compared
    }
    agreements = {
        (item.name, method): _agreement(item, method, logits, item.exact and inputs.dtype == torch.float32)
        for item, method in compared
    }

    def passes(item: Backend, method: str) -> Any:
        return lambda: [runs[item.name, method](batch) for _, batch in batched[item.batches]]

    def first_batch(item: Backend, method: str) -> Any:
        return lambda: runs[item.name, method](batched[item.batches][0][1])

    seconds = interleaved(
        {(item.name, method): passes(item, method) for item, method in compared},
        repeats, inputs.device.type == "cuda",
        {(item.name, method): first_batch(item, method) for item, method in compared},
    )  # fmt: skip
    several = len(reductions) > 1
    for item, method in compared:
        count, times = len(batched[item.batches]), seconds[item.name, method]
        unpruned = item.unpruned if (item.unpruned, DENSE) in seconds else ""
        gain = speedup(seconds[unpruned, DENSE], times) if unpruned else None
        device = "cpu" if item.on_cpu else inputs.device.type
        reduction = reductions.get(method, 1.0)
        agreement, largest_difference = agreements[item.name, method]
        name = f"{item.title}, {METHOD_NAMES[method]}" if several and item.unpruned else item.title
        yield {
            "backend": item.name, "method": method, "title": name, "model": title, "text": text.name, "cut": text.cut,
            "max_length": text.max_length, "mean_tokens": np.mean([len(row["input_ids"]) for row in text.rows]),
            "batch": size, "threads": inputs.threads, "device": device,
            "weights": item.weights or str(inputs.dtype).split(".")[1],
            "sentences": len(text.rows), "repeats": repeats,
            "median_ms": 1000 * median(times) / count, "min_ms": 1000 * min(times) / count,
            "max_ms": 1000 * max(times) / count, "examples_per_second": len(text.rows) / median(times),
            "speedup": speedup(seconds[REFERENCE, DENSE], times), "unpruned": unpruned, "speedup_over_unpruned": gain,
            "flops_reduction": reduction, "share_of_reduction": gain / reduction if unpruned else None,
            "agreement": agreement, "largest_difference": largest_difference,
            "machine": processor_name() if device == "cpu" else torch.cuda.get_device_name(),
            "commit": commit(), "date": datetime.now(UTC).date().isoformat(),
        }  # fmt: skip


def _chosen(text: Text, only: Sequence[str]) -> list[Backend]:
    """The backends for a text; those that others are measured against always take part."""
    names = {*only, REFERENCE, PRUNED_REFERENCE} if only else {item.name for item in BACKENDS}
    return [item for item in BACKENDS if item.name in names and not (text.cut and item.batches == "padded")]


def _reason_to_skip(backend: Backend, inputs: BackendInputs) -> str:
    """Why a backend cannot run here; empty where it can."""
    if inputs.device.type != "cpu":
        if backend.on_cpu:
            return "it runs on the CPU, the others on the GPU"
        if backend.weights == "bfloat16":
            return "the others have that precision too, on this GPU"
    try:
        if "onnx" in backend.needs or "exporter" in backend.needs:
            require_onnx(exporter="exporter" in backend.needs)
        if "openvino" in backend.needs:
            require_openvino(int8="nncf" in backend.needs)
    except LTPError as error:
        return str(error)
    if "bert_blocks" in backend.needs and not inputs.model.layout.has_bert_blocks:
        return f"written for modules named as BERT's, not for those of {inputs.base.config.model_type}"
    if "bfloat16" in backend.needs and not has_bfloat16():
        return "the processor has no bfloat16 in hardware"
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


def _agreement(item: Backend, method: str, logits: dict[Key, np.ndarray], exact: bool) -> tuple[float, float]:
    """Share of sentences with the reference's answer, and the largest difference between logits.

    The reference prunes as the backend does: the same model, in PyTorch.

    Raises LTPError for an ``exact`` backend more of whose answers differ than MAX_DIFFERENT allows.
    """
    ours, theirs = logits[item.name, method], logits[PRUNED_REFERENCE if item.unpruned else REFERENCE, method]
    difference = float(np.abs(ours - theirs).max())
    if ours.shape[1] == 1:
        same = (np.abs(ours - theirs) <= CLOSE_LOGITS).reshape(-1)
    else:
        same = ours.argmax(-1) == theirs.argmax(-1)
    most = max(1, int(MAX_DIFFERENT * len(same)))
    if exact and not (np.count_nonzero(~same) <= most and np.isfinite(difference)):
        raise LTPError(
            f"{item.name}: has its reference's answer for only {np.count_nonzero(same)} of {len(same)} sentences; "
            f"expected all but {most} at most, else its times mean nothing"
        )
    return float(same.mean()), difference


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
        model.sizes,
    )  # fmt: skip
