"""A small real study in a copy of the project: started, killed, damaged and compared by the fault matrix."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from faults.warm import CLIENT, PATIENCE, SOCKET

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "environment.yml", "workflow", "profiles")
HOME = Path("results/sst2/seed~0")
RUNS = {  # stage → its directory below the copy of the project
    "data": Path("results/sst2/data"),
    "base": HOME / "dense/base",
    "convert": HOME / "ltp/converted",
    "soft": HOME / "ltp/temperature~0.01/lambda~0.2/soft",
    "hard": HOME / "ltp/temperature~0.01/lambda~0.2/hard/lr~0.001",
}
TARGETS = ("base", "soft", "hard", "tables")  # all but figures and the page, which take longer than the rest
MANIFESTS = {"data": "task.json", "convert": "conversion.json"}


def record(stage: str) -> Path:
    """The file whose presence says that a stage is complete."""
    return RUNS[stage] / MANIFESTS.get(stage, "metrics.json")


def grid_of(encoder: Path, text: Path, **sections) -> dict:
    """A grid of three trainings on a tiny encoder, with a checkpoint after every step."""
    return {
        "model": {"source": "local", "path": str(encoder)},
        "tasks": {"sst2": {"source": "local", "path": str(text)}},
        "data": {"max_length": 24, "train_examples": None, "validation_examples": None, "test_examples": None},
        "training": {"batch_size": 8, "checkpoint_minutes": 1.0e-6, "distillation": 0.5},
        "base": {"learning_rate": 1.0e-3, "epochs": 2},
        "soft": {
            "temperatures": [0.01], "lambdas": [0.2], "learning_rate": 1.0e-3, "threshold_learning_rate": 2.0e-3,
            "final_token_threshold": 0.06, "score_length": 16, "epochs": 2,
        },
        "hard": {"learning_rates": [1.0e-3], "epochs": 2},
        "baselines": {"topk": None, "manual": None},
    } | sections  # fmt: skip


def checkout(folder: Path, grid: dict, main: str = CLIENT) -> Path:
    """A copy of the project with this grid, whose ``ltp`` commands are those of the warm process."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, folder / part)
    shutil.copytree(ROOT / "ltp", folder / "ltp", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "ltp/__main__.py").write_text(main)
    (folder / "config").mkdir()
    (folder / "config/grid.yaml").write_text(yaml.safe_dump(grid))
    return folder


def start(folder: Path, warm: str, *arguments: str, **environment: str) -> subprocess.Popen:
    """Start Snakemake in a process group of its own, as a shell does; what it says goes to ``said.txt``."""
    # One thread for the base run too: others would wait for each other where the machine is busy.
    one_thread = ("--cores", "2", "--set-threads", "train_base=1")
    with open(folder / "said.txt", "wb") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *(arguments or TARGETS), *one_thread],
            cwd=folder, env={**os.environ, SOCKET: warm, **environment}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip


def said(folder: Path) -> str:
    """What the last Snakemake in this copy has said so far."""
    return (folder / "said.txt").read_text(encoding="utf-8", errors="replace")


def run(folder: Path, warm: str, *arguments: str, **environment: str) -> str:
    """Run Snakemake to its end, which must be a good one; returns what it said."""
    process = start(folder, warm, *arguments, **environment)
    assert process.wait(PATIENCE) == 0, said(folder)
    return said(folder)


def job_processes(folder: Path, needle: str) -> list[int]:
    """The ``ltp`` commands below this copy of the project whose arguments hold ``needle``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(folder):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[1:3] == [b"-m", b"ltp"] and any(needle.encode() in word for word in words):
                    found.append(int(entry.name))
        except OSError:  # it has just ended
            continue
    return found


def wait_for(what, seconds: float = PATIENCE):
    """The first true answer of ``what()``."""
    until = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < until, "what was waited for did not come"
        time.sleep(0.03)
    return answer


def end(process: subprocess.Popen) -> None:
    """End what is left of a workflow and its jobs, whatever has become of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def told(folder: Path) -> dict[str, dict]:
    """Every record below the results but for its timings, by path."""
    found = {}
    for name in ("metrics.json", "conversion.json", "task.json"):
        for path in (folder / "results").rglob(name):
            content = json.loads(path.read_text(encoding="utf-8"))
            content.pop("timing", None)
            found[str(path.relative_to(folder))] = content
    return found


def table(folder: Path) -> list[dict[str, str]]:
    """runs.csv without its timing columns."""
    with open(folder / "results/runs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if not key.startswith("timing_")} for row in rows]
