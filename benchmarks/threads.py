"""One process with all cores' threads against a process a core: texts a second and delay -> CSV.

    python benchmarks/threads.py MODEL.onnx DATA --output docs/data/serving-threads.csv [--batch 1 32] [--repeats 3]

MODEL.onnx is a file that `ltp export` wrote; DATA is a folder that `ltp data` wrote, whose test texts are served. Each
repeat measures both ways once, in turn, in new processes that start together and serve for SECONDS; figures are medians
over the repeats. It needs the machine to itself.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import time
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

from ltp.benchmark.texts import read_texts
from ltp.common.machine import commit, cpu_threads, processor_name
from ltp.export.session import run_session, session
from ltp.settings.tasks import task_title
from ltp.training.collator import pad

SECONDS = 8.0
TEXTS = 256


def serve(model: Path, data: Path, batch: int, threads: int, ready: Barrier) -> tuple[float, float]:
    """Texts a second and the median delay of a batch in milliseconds, of one process."""
    runtime = session(model, threads)
    rows = next(read_texts(data, TEXTS, ())).rows
    made = [pad(rows[start : start + batch], 0) for start in range(0, len(rows), batch)]
    for inputs in made[: max(1, len(made) // 4)]:
        run_session(runtime, inputs)
    ready.wait()
    delays, served, started = [], 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        inputs = made[len(delays) % len(made)]
        before = time.perf_counter()
        run_session(runtime, inputs)
        delays.append(time.perf_counter() - before)
        served += len(inputs["input_ids"])
    return served / (time.perf_counter() - started), 1000 * median(delays)


def measure(model: Path, data: Path, batch: int, processes: int, threads: int) -> tuple[float, float]:
    """Texts a second of all processes together, and the median of their delays in milliseconds."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(processes) as pool:
        ready = manager.Barrier(processes)
        found = pool.starmap(serve, [(model, data, batch, threads, ready)] * processes, chunksize=1)
        pool.close()
        pool.join()
    return sum(rate for rate, _ in found), median(delay for _, delay in found)


def main() -> None:
    """Measure both ways, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    cores = cpu_threads() or multiprocessing.cpu_count()
    ways = {f"1 process, {cores} threads": (1, cores), f"{cores} processes, 1 thread each": (cores, 1)}
    rows = []
    for batch in options.batch:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, (processes, threads) in ways.items():
                found[name].append(measure(options.model, options.data, batch, processes, threads))
        for name, pairs in found.items():
            rates, delays = zip(*pairs, strict=True)
            rows.append(
                {
                    "texts": task_title(options.data.resolve().parent.name), "batch": batch, "way": name,
                    "texts a second": f"{median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})",
                    "delay of a batch, ms": f"{median(delays):.1f}",
                    "commit": commit() or "", "machine": f"{processor_name()}, {cores} cores",
                    "date": datetime.now(UTC).date().isoformat(),
                }
            )  # fmt: skip
            print(f"batch {batch}, {name}: {rows[-1]['texts a second']} texts/s, {rows[-1]['delay of a batch, ms']} ms")
    with options.output.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
