"""speed.csv: what a benchmark measured, one row for each backend, model, text and batch size."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ltp.analysis.csv_files import read_csv
from ltp.analysis.frontier import TOLERANCE
from ltp.analysis.runs import RUNS, read_studies
from ltp.common.errors import LTPError
from ltp.common.names import METHODS, PRUNING_METHODS
from ltp.results.dataset import INFO, read_info

TIMED_KINDS = ("classification", "regression")
COLUMNS = {
    "backend": "short name",
    "title": "what it is",
    "method": "how it prunes; dense: not",
    "model": "encoder of a run, else folder or shape",
    "text": "task whose text it is",
    "cut": "true: text cut and joined to sentences of one length",
    "max_length": "tokens at which sentences are cut",
    "mean_tokens": "mean length of the sentences",
    "batch": "sentences in a batch",
    "threads": "threads",
    "device": "cpu or cuda",
    "weights": "number format of the matrix products",
    "sentences": "sentences in a pass",
    "repeats": "passes timed",
    "median_ms": "median over the passes of the mean time of a batch, in ms",
    "min_ms": "the fastest pass's",
    "max_ms": "the slowest pass's",
    "examples_per_second": "sentences a second in the median pass",
    "speedup": "against hf-dynamic: median over the passes of the ratio",
    "unpruned": "the backend that this one is without pruning",
    "speedup_over_unpruned": "against that one",
    "flops_reduction": "unpruned FLOPs / pruned FLOPs on these sentences",
    "share_of_reduction": "speedup_over_unpruned / flops_reduction",
    "agreement": "share of the sentences answered as by the reference (hf-dynamic, or ltp where it prunes)",
    "largest_difference": "between its logits and the reference's",
    "machine": "name of the processor, or of the GPU",
    "commit": "commit of this package, -dirty where its files differ from it; empty outside of a checkout",
    "date": "day of the measurement, UTC",
}


def read_speed(path: str | Path) -> list[dict[str, str]]:
    """The rows of a speed.csv. Raises LTPError where it is missing or not one."""
    return read_csv(path, tuple(COLUMNS), maker="benchmark")


@dataclass(frozen=True)
class OperatingPoint:
    """What a study recommends for a task: a pruned run by each method, the dense run to measure against, their text."""

    model: str
    runs: dict[str, Path]
    dense: Path
    data: Path


def operating_points(results: str | Path) -> list[OperatingPoint]:
    """Each task's operating point of every method: of several seeds, the first. Raises LTPError for none."""
    root = Path(results)
    points = []
    for study in read_studies(root):
        data = root / study.task / "data"
        if (kind := _kind(data)) not in TIMED_KINDS:
            print(f"{study.task}: left out: timings are of classifiers, its kind is {kind}", file=sys.stderr)
            continue
        runs = {setting.method: setting.runs[0].directory for setting in study.reported()}
        dense = runs.pop(METHODS[0], None)
        pruned = {method: run for method, run in runs.items() if method in PRUNING_METHODS}
        if dense and pruned:
            points.append(OperatingPoint(study.model, pruned, dense, data))
    if not points:
        why = f"no task has a pruned setting within {TOLERANCE:g} point of dense; name the run to time"
        raise LTPError(f"{root / RUNS}: {why}")
    return points


def _kind(data: Path) -> str:
    """The kind of a task; where its data are not there, that they are missed is said where they are read."""
    return read_info(data)["kind"] if (data / INFO).is_file() else TIMED_KINDS[0]


def show(path: str | Path) -> str:
    """The table for a terminal: a block for each model, text and batch size."""
    lines: list[str] = []
    block = None
    for row in read_speed(path):
        cut = f"cut to {row['max_length']}" if row["cut"] == "true" else f"at most {row['max_length']}"
        now = (
            f"{row['model']} on {row['text']}, {cut} tokens, {float(row['mean_tokens']):.0f} on average, "
            f"batch {row['batch']}, {row['threads']} threads, {row['device']}"
        )
        if now != block:
            block = now
            lines += [
                "",
                now,
                f"  {'':44} {'ms a batch':>16} {'sentences/s':>12} {'speed-up':>9} {'of FLOPs':>9} {'agree':>6}",
            ]
        share = f"{float(row['share_of_reduction']):.2f}" if row["share_of_reduction"] else ""
        times = f"{float(row['median_ms']):.2f} ({float(row['max_ms']) - float(row['min_ms']):.2f})"
        rate, gain, agreement = (float(row[name]) for name in ("examples_per_second", "speedup", "agreement"))
        lines.append(f"  {row['title']:44} {times:>16} {rate:>12.1f} {gain:>8.2f}× {share:>9} {agreement:>6.0%}")
    return "\n".join(lines[1:])
