"""One run's validation texts through two checkouts of this project, in turn: what a change brought, and its answers.

    git worktree add /tmp/before COMMIT
    python benchmarks/commits.py /tmp/before . RUN [--onnx NAME] [--batch 1 32] [--texts 96] [--repeats 9]

RUN is a finished run of a classifier that both can load, or with --onnx (model.onnx or model.int8.onnx) export. Each
checkout has a process of its own, which waits while the other computes. Prints the ratio of times, before over after
(its median over the repeats, the least and the most), and how many texts are answered alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Start a process for each checkout, and hand them the turns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="as ltp data writes it (default: that of the run's study)")
    parser.add_argument("--onnx", default="", choices=["model.onnx", "model.int8.onnx"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--texts", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    studies = (folder / "data" for folder in options.run.resolve().parents)
    data = options.data or next((data for data in studies if (data / "task.json").is_file()), None)
    if data is None:
        sys.exit(f"{options.run}: lies in no study; name the data that it is to answer with --data")
    checkouts = (options.before.resolve(), options.after.resolve())
    with tempfile.TemporaryDirectory() as folder:
        workers = [_start(path, options, data, Path(folder, str(number))) for number, path in enumerate(checkouts)]
        for batch in options.batch:
            for worker in workers:  # one untimed pass each
                _turn(worker, batch)
            ratios, same = [], 1.0
            for repeat in range(options.repeats):
                order = (0, 1) if repeat % 2 else (1, 0)
                found = {number: _turn(workers[number], batch) for number in order}
                ratios.append(found[0][0] / found[1][0])
                alike = [one == other for one, other in zip(found[0][1], found[1][1], strict=True)]
                same = min(same, statistics.mean(alike))
            middle = statistics.median(ratios)
            print(
                f"batch {batch}: {middle:.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f}), "
                f"{100 * same:.1f} % answered alike",
                flush=True,
            )


def _start(checkout: Path, options: argparse.Namespace, data: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--worker", str(options.run.resolve()), str(data), options.onnx]
    command += [str(folder), str(options.texts), str(options.threads)]
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(options.threads)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _turn(worker: subprocess.Popen[str], batch: int) -> tuple[float, list[str]]:
    """Seconds of one pass over the texts, and the classes."""
    assert worker.stdin and worker.stdout
    print(batch, file=worker.stdin, flush=True)
    line = worker.stdout.readline().split()
    if not line:
        sys.exit("one of the two processes ended; it says above why")
    return float(line[0]), line[1:]


def work(run: str, data: str, onnx: str, folder: str, texts: str, threads: str) -> None:
    """A process: answer the texts in batches of a size that is read, and print what it took."""
    import numpy as np
    import torch
    from datasets import load_from_disk

    from ltp.training.collator import pad

    torch.set_num_threads(int(threads))
    split = load_from_disk(f"{data}/validation")
    rows = sorted(split.select(range(min(int(texts), len(split)))).to_list(), key=lambda row: len(row["input_ids"]))
    names = ("input_ids", "attention_mask", "token_type_ids")
    rows = [{name: row[name] for name in names if name in row} for row in rows]
    answer = _onnx(run, onnx, folder, int(threads)) if onnx else _pytorch(run)
    for line in sys.stdin:
        batches = [pad(rows[start : start + int(line)], 0) for start in range(0, len(rows), int(line))]
        started = time.perf_counter()
        outputs = [answer(batch) for batch in batches]
        seconds = time.perf_counter() - started
        print(seconds, *np.concatenate(outputs).argmax(-1), flush=True)


def _pytorch(run: str) -> Callable[[dict[str, Any]], Any]:
    import torch

    from ltp.models.loading import load_pruned

    model = load_pruned(run)

    @torch.inference_mode()
    def answer(batch: dict[str, Any]) -> Any:
        return model(**batch).logits.numpy()

    return answer


def _onnx(run: str, name: str, folder: str, threads: int) -> Callable[[dict[str, Any]], Any]:
    from ltp.export.session import run_session, session

    flags = ["--int8"] if "int8" in name else ["--onnx"]
    subprocess.run([sys.executable, "-P", "-m", "ltp", "export", run, "--output", folder, *flags], check=True, stdout=2)
    runtime = session(f"{folder}/{name}", threads)
    return lambda batch: run_session(runtime, batch, ["logits"])[0]


if __name__ == "__main__":
    work(*sys.argv[2:]) if sys.argv[1:2] == ["--worker"] else main()
