"""Make all runs of a grid in worker processes that stay, for a machine with a GPU and many cores.

    python benchmarks/pool.py GRID --workers 14 [--seconds 540] [--until base]

Snakemake starts a process for each run, and on a GPU starting one takes longer than many a small training. Here each
worker makes run after run by the same commands (`ltp train`, `ltp convert`), on data that `ltp data` has made, so
metrics.json is the same but for times. Seeds are made one after the other, so that what is there when the time is up is
whole; `snakemake --configfile GRID` goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import multiprocessing
import os
import shlex
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ltp.cli.main import main as ltp
from ltp.grid.grid import Grid, load_grid


@dataclass
class Job:
    """One command; ``needs`` and ``makes`` are files, ``rank`` orders the jobs that are ready, the least first."""

    command: list[str]
    makes: str
    needs: list[str] = field(default_factory=list)
    rank: tuple[int, int] = (0, 0)


STAGES = {"base": 0, "convert": 1, "soft": 2, "hard": 3}


def jobs_of(grid: Grid, until: str) -> list[Job]:
    """The commands of a grid up to a stage, without its data, which are there."""
    jobs = [
        Job(
            ["convert", f"--output={directory}", *shlex.split(grid.conversion_flags(directory))],
            item.output, [item.parent], (item.seed, STAGES["convert"]),
        )
        for directory, item in grid.conversions.items()
    ]  # fmt: skip
    for directory, run in grid.runs.items():
        data = f"{grid.results_dir}/{run.task}/data"
        flags = shlex.split(grid.training_flags(directory)) + shlex.split(grid.device_flags(directory))
        needs = [f"{data}/task.json", run.parent, *([f"{run.teacher}/metrics.json"] if run.teacher else [])]
        command = ["train", f"--data={data}", f"--output={directory}", *flags]
        jobs.append(Job(command, run.output, needs, (run.seed, STAGES[run.stage])))
    wanted = [job for job in jobs if job.rank[1] <= STAGES[until] and not Path(job.makes).is_file()]
    return sorted(wanted, key=lambda job: job.rank)


def work(pipe: Connection) -> None:
    """A worker: command after command, until its parent ends."""
    while True:
        command = pipe.recv()
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                code = ltp(command)
            except SystemExit as end:
                code = end.code
            except Exception as error:  # the worker lives on: the other runs do not depend on this one
                code = f"{type(error).__name__}: {error}"
        gc.collect()
        pipe.send((code, output.getvalue()))


def main() -> None:
    """Hand out the jobs and print what is done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("grid")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=float("inf"), help="then start no more")
    parser.add_argument("--until", choices=STAGES, default="hard", help="the last stage to make")
    options = parser.parse_args()
    import ltp.training.stages  # noqa: F401 (before the workers split off, so that they need not import it)

    started = time.monotonic()
    todo, done = jobs_of(load_grid(options.grid), options.until), 0
    total, failed = len(todo), 0
    context = multiprocessing.get_context("fork")
    pipes: list[Connection] = []
    for _ in range(options.workers):
        mine, theirs = context.Pipe()
        context.Process(target=work, args=(theirs,), daemon=True).start()
        pipes.append(mine)
    idle, busy = list(pipes), {}
    while busy or (todo and time.monotonic() - started < options.seconds):
        while idle and time.monotonic() - started < options.seconds:
            ready = next((job for job in todo if all(Path(name).is_file() for name in job.needs)), None)
            if ready is None:
                break
            todo.remove(ready)
            pipe = idle.pop()
            busy[pipe] = ready
            pipe.send(ready.command)
        if not busy:
            sys.exit(f"{len(todo)} of {total} runs have nothing to start from; first: {todo[0].makes}")
        for pipe in wait(list(busy), timeout=1.0):
            code, output = pipe.recv()
            job = busy.pop(pipe)
            idle.append(pipe)
            done += 1
            if code:
                failed += 1
                print(f"{job.makes}: {code}\n{output}", file=sys.stderr)
            if done % 25 == 0 or code:
                print(f"{done} of {total}, {failed} failed, {time.monotonic() - started:.0f} s", flush=True)
    print(f"{done} of {total} runs made, {failed} failed, {time.monotonic() - started:.0f} s")
    sys.exit(bool(failed or todo))


if __name__ == "__main__":
    main()
